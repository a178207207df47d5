"""Run Jupyter Book on outputs that exist already, and skip it where nothing changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console

from armsrace.publishing.keys import digest_files, files_under
from armsrace.publishing.layout import Layout
from armsrace.publishing.repository import substitutions
from armsrace.resources import replacing

SOURCES = ("book", "chapters", "src", "data")
EXECUTES = "Executing notebook"
# Sphinx reads and writes pages in parallel where asked to; Jupyter Book's command does not ask.
PROGRAM = """
from functools import partial
from jupyter_book import sphinx
from jupyter_book.cli.main import main
sphinx.build_sphinx = partial(sphinx.build_sphinx, jobs={jobs})
main()
"""


class BookError(Exception):
    """The site cannot be built as asked; the message says why."""


def render(layout: Layout, unexecuted: Sequence[str], console: Console) -> bool:
    """Build the pages; False where all their sources are as at the last build.

    unexecuted: pages shown without outputs, since they failed or one chapter alone is built;
    references to their figures cannot be resolved then, so warnings are errors only where there are
    none.
    Raises BookError with what Jupyter Book complained of.
    """
    config = _write_config(layout, unexecuted)
    stamp, state = layout.records / "site.stamp", _state(layout, config)
    index = layout.html / "index.html"
    if index.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == state:
        return False
    stamp.unlink(missing_ok=True)
    command = [
        sys.executable, "-c", PROGRAM.format(jobs=os.cpu_count() or 1), "build",
        str(layout.root), "--config", str(config), "--path-output", str(layout.output),
    ]  # fmt: skip
    strict = [] if unexecuted else ["-W", "--keep-going"]
    pages = layout.html.parent / ".doctrees"
    renewed = pages.is_dir()
    log, code = _run([*command, *strict], layout.root, console)
    if code != 0 and renewed:
        # The warning may be about what a page said before it changed: start from nothing.
        shutil.rmtree(pages)
        log, code = _run([*command, *strict], layout.root, console)
    with replacing(layout.records / "site.log") as temporary:
        temporary.write_text(log, encoding="utf-8")
    if code != 0:
        # Sphinx keeps what it has read, and would not warn of it a second time.
        shutil.rmtree(pages, ignore_errors=True)
        raise BookError(f"Jupyter Book failed:\n{_complaints(log)}")
    if EXECUTES in log:
        raise BookError("Jupyter Book executed a notebook that should have come from the cache")
    with replacing(stamp) as temporary:
        temporary.write_text(state, encoding="utf-8")
    return True


def _write_config(layout: Layout, unexecuted: Sequence[str]) -> Path:
    """The book's configuration, with the places and pages of this build."""
    config = yaml.safe_load((layout.root / "_config.yml").read_text(encoding="utf-8"))
    config["execute"] |= {"cache": str(layout.cache), "exclude_patterns": list(unexecuted)}
    repository = layout.repository
    config["sphinx"]["config"] |= {
        "armsrace_profile": layout.profile,
        "armsrace_repository": repository.url if repository else "",
    }
    config["parse"]["myst_substitutions"] = substitutions(repository)
    if repository and repository.has_theme_buttons:
        config["repository"] = {"url": repository.url, "branch": "main"}
        config["html"] |= {"use_repository_button": True, "use_issues_button": True}
    extensions = config["sphinx"]["local_extensions"]
    config["sphinx"]["local_extensions"] = {
        name: str(layout.root / folder) for name, folder in extensions.items()
    }
    path = layout.records / "config.yml"
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _state(layout: Layout, config: Path) -> str:
    """The hash of all that the pages are made of."""
    folders = [layout.root / name for name in SOURCES]
    own = [layout.root / name for name in ("_toc.yml", "requirements.lock")]
    known = [path for ending in ("json", "failure") for path in layout.records.glob(f"*.{ending}")]
    built = [config, *known, *files_under(layout.static)]
    sources = [path for path in files_under(*folders) if "__pycache__" not in path.parts]
    return digest_files([*sources, *own, *built], layout.root)


def _run(command: Sequence[str], folder: Path, console: Console) -> tuple[str, int]:
    """Run a command, show its last line while it runs, and return all lines and the exit code."""
    lines = []
    with (
        console.status("building the pages") as status,
        subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        assert process.stdout is not None  # since stdout is a pipe
        for line in process.stdout:
            lines.append(line)
            status.update(f"building the pages: {line.strip()[:70]}")
    return "".join(lines), process.returncode


def _complaints(log: str) -> str:
    """The lines that tell what is wrong; the end of the log where none is marked."""
    lines = log.splitlines()
    marked = [line for line in lines if "WARNING" in line or "ERROR" in line]
    return "\n".join(marked or lines[-20:])
