"""Make the built pages light: few requests before the text shows, nothing that is not used.

Runs when all pages are written, over those of Sphinx and the slides alike, and leaves a page that
is light already as it is, since Sphinx rewrites changed pages only.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import stylesheets
from pictures import Pictures
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SCRIPT = re.compile(r"[ \t]*<script\b(?P<attributes>[^>]*)>(?P<body>.*?)</script>\n?", re.DOTALL)
SOURCE = re.compile(r'src="([^"?]+)[^"]*"')
PRELOAD = re.compile(r'<link rel="preload" as="script"[^>]*>\n?')
OPTIONS = "_static/documentation_options.js"
SEARCH = ("searchtools.js", "language_data.js", "searchindex.js")
ICONS = "fontawesome.js"
CLASSES = re.compile(r'class="([^"]*)"')
PICTURE = re.compile(r"_images/([\w.-]+)")
THEME = "scripts/pydata-sphinx-theme.js"
MEASURING = re.compile(
    r'"complete"===document\.readyState\?(\w+)\(\):window\.addEventListener\("load",\1\)'
)
MEASURED = 'void"site.js"'
# Wherever a page is, its icons are signs of a font: the theme's style sheet has them, too.
UNUSED = ("scripts/fontawesome.js", "vendor/fontawesome", "sphinx-thebe.js", "sphinx-thebe.css")


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Rewrite the pages of the site."""
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    static = site / "_static"
    pages = [path for path in site.rglob("*.html") if static not in path.parents]
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    names = [name for name in stylesheets.sheets(texts.values()) if name != "sphinx-thebe.css"]
    if names:
        stylesheets.bundle(static, names, _words(site, texts.values()))

    def lightened(page: Path) -> str:
        return Pictures(site, page).lighten(_scripts(texts[page], static, page.name))

    pictures = set()
    # Most of the time goes into compressing pictures, for which Python lets go of its lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lightened, texts))
    for (page, text), light in zip(texts.items(), found, strict=True):
        if names:
            light = stylesheets.link(light, static)
        if light != text:
            page.write_text(light, encoding="utf-8")
        pictures.update(PICTURE.findall(light))
    _measure_in_view(static)
    _remove_unused(static)
    for path in (site / "_images").glob("*"):
        if path.name not in pictures:
            path.unlink()


def _scripts(text: str, static: Path, name: str) -> str:
    """The page without what it does not use; scripts from files do not keep its text waiting."""

    def light(found: re.Match[str]) -> str:
        source = SOURCE.search(found["attributes"])
        if source is None:
            return found.group()
        file = source.group(1).rpartition("/")[2]
        if file == ICONS or (file in SEARCH and name != "search.html"):
            return ""
        if source.group(1).endswith(OPTIONS):
            # Inline scripts beside it add to the options and cannot wait for a deferred file.
            return f"<script>{(static / Path(OPTIONS).name).read_text(encoding='utf-8')}</script>\n"
        if re.search(r"\b(defer|async|type)\b", found["attributes"]):
            return found.group()
        return f"<script defer{found['attributes']}></script>\n"

    return PRELOAD.sub("", SCRIPT.sub(light, text))


def _words(site: Path, texts: Iterable[str]) -> set[str]:
    """All that can be an element's class: in a page, or as a word in a script."""
    found: set[str] = set()
    for text in texts:
        for classes in CLASSES.findall(text):
            found.update(classes.split())
        for script in SCRIPT.finditer(text):
            found.update(stylesheets.WORD.findall(script["body"]))
    for path in site.rglob("*.js"):
        if path.name != ICONS and path.name not in SEARCH[1:]:
            found.update(stylesheets.WORD.findall(path.read_text(encoding="utf-8")))
    return found


def _measure_in_view(static: Path) -> None:
    """Leave it to site.js to find the boxes that scroll: the theme lays the whole page out for it.

    Raises ExtensionError where the theme's script has changed and nobody noticed.
    """
    script = static / THEME
    if not script.is_file():
        return
    text, count = MEASURING.subn(MEASURED, script.read_text(encoding="utf-8"))
    if count == 0 and MEASURED in text:
        return  # Done by an earlier build.
    if count != 1:
        raise ExtensionError(f"{THEME} no longer measures what scrolls in the way this build knows")
    script.write_text(text, encoding="utf-8")


def _remove_unused(static: Path) -> None:
    for name in UNUSED:
        path = static / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in static.rglob("*.map"):
        path.unlink()


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Connect to Sphinx, after all that adds files or pages."""
    app.connect("build-finished", lighten, priority=900)
    return {"version": "1", "parallel_read_safe": True}
