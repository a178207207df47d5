"""Chapters of a few cells, for the tests of the build."""

from __future__ import annotations

from pathlib import Path

from armsrace.publishing.execution import Record, execute_chapters
from armsrace.publishing.layout import Layout, notebooks

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
PARAMETERS = """```{code-cell} ipython3
:tags: [parameters]

profile = "reader"
seed = 0
```

"""


def cell(code: str) -> str:
    return f"```{{code-cell}} ipython3\n{code}\n```\n\n"


def chapter(*code: str, prose: str = "Some prose.") -> str:
    return HEADER + f"# A title\n\n{prose}\n\n" + PARAMETERS + "".join(map(cell, code))


COUNTING = 'with open("../runs.txt", "a") as runs: runs.write(profile + " ")\nprint(6 * 7)'


def runs(project: Path) -> list[str]:
    """The profiles under which the project's chapter was executed, in order."""
    path = project / "runs.txt"
    return path.read_text().split() if path.exists() else []


def execute(project: Path, profile: str = "reader", **options: object) -> list[Record]:
    return execute_chapters(notebooks(project), Layout(profile, project), **options)
