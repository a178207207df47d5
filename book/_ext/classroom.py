"""What `armsrace build` makes for a class: where the site has it, and what the strips call it."""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.application import Sphinx


def _folders(app: Sphinx) -> dict[str, tuple[Path, str]]:
    """Folders of the site, each with where it was built and the label of what lies in it."""
    build = Path(app.srcdir) / "_build"
    return {
        "notebooks/student": (build / "launch" / "student", "Students' notebook"),
        "notebooks/instructor": (build / "launch" / "instructor", "Instructor's notebook"),
        "slides": (build / "slides" / app.config.armsrace_profile, "Slides"),
    }


def files_of(app: Sphinx, name: str) -> list[tuple[str, str]]:
    """The files that a chapter has for a class, from the site's root, and their labels."""
    return [
        (f"{folder}/{path.name}", label)
        for folder, (built, label) in _folders(app).items()
        for path in (built / f"{name}.ipynb", built / f"{name}.html")
        if path.is_file()
    ]


def offer(app: Sphinx, error: Exception | None) -> None:
    """Copy the files to where the strips link to."""
    for folder, (built, _) in _folders(app).items():
        if error is not None:
            continue
        shutil.rmtree(Path(app.outdir) / folder, ignore_errors=True)
        if built.is_dir():
            shutil.copytree(built, Path(app.outdir) / folder)
