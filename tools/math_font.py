"""Cut the part of STIX Two Math that formulas use, as the site carries it.

The committed `STIXTwoMath.woff2` was made by `python tools/math_font.py STIXTwoMath-Regular.ttf`
from the font (SIL Open Font License) in the wheel of ziamath 0.13; needs fonttools and brotli.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fontTools import subset

TARGET = "src/armsrace/publishing/mathematics/static/STIXTwoMath.woff2"
# Latin and accents, Greek, punctuation, invisible operators, letterlike signs, arrows, operators,
# fences, braces; then mathematical letters: bold, script, double-struck, Greek, two digits.
RANGES = (
    "20-7e,a0-ff,2c6,2d8-2dc,300-30f,391-3d6,3f5,2010-203f,2057,20d7,2061-2064,2102,210b,210e-2113,"
    "2115,211a-211d,2124,212c,2130-2133,2190-2199,21a6,21d0-21d5,2200-226f,2282-2287,2295,2297,"
    "2299,22a4,22a5,22c0-22c6,22ee-22f1,2308-230b,23b4,23b5,23dc-23df,2605,27e8,27e9,2a7d,2a7e,"
    "2b1d,1d400-1d467,1d49c-1d4b5,1d538-1d551,1d6e2-1d71b,1d7cf,1d7d9"
)


def unicodes(ranges: str) -> set[int]:
    """The characters of comma-separated hexadecimal numbers and ranges."""
    pairs = (part.split("-") for part in ranges.split(","))
    return {code for pair in pairs for code in range(int(pair[0], 16), int(pair[-1], 16) + 1)}


def main(source: str) -> None:
    """Write the font; source: the whole one."""
    options = subset.Options(flavor="woff2", hinting=False, layout_features=["dtls", "ss04"])
    options.drop_tables += ["DSIG", "GPOS"]
    options.name_IDs = [0, 1, 2, 3, 5, 13, 14]
    font = subset.load_font(source, options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=unicodes(RANGES))
    cutter.subset(font)
    subset.save_font(font, Path(TARGET), options)


if __name__ == "__main__":
    main(sys.argv[1])
