"""The library's docstrings as autodoc reads them: lines of `name: meaning` become a list.

Sections with a heading ("Args:") are napoleon's; this is for lines without one, as of a result's
columns.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

ARGUMENT = re.compile(r"^([a-z_]+(?:, [a-z_]+)*):(?: |$)")


def list_arguments(
    app: Sphinx, what: str, name: str, object_: Any, options: Any, lines: list[str]
) -> None:
    """Make a list of a docstring's block of `name: meaning` lines, continued by indented ones."""
    blocks = "\n".join(lines).split("\n\n")
    lines[:] = "\n\n".join(map(_as_list, blocks)).split("\n")


def _as_list(block: str) -> str:
    rows = block.strip("\n").split("\n")
    starts = [row for row in rows if not row.startswith(" ")]
    is_list = all(ARGUMENT.match(row) for row in starts) and not rows[0].startswith(" ")
    if not is_list:
        return block
    return "\n".join(
        f"  {row.strip()}" if row.startswith(" ") else ARGUMENT.sub(r"* **\1**: ", row)
        for row in rows
    )


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Connect to Sphinx."""
    app.connect("autodoc-process-docstring", list_arguments)
    return {"version": "1", "parallel_read_safe": True}
