"""Run Jupyter Book on outputs that already exist, and skip it if nothing has changed."""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from rich.console import Console

from armsrace.ledger.measurements import MIME
from armsrace.publishing.execution import digest_files, files_under
from armsrace.publishing.layout import Layout
from armsrace.publishing.mathematics import mathml
from armsrace.publishing.repository import substitutions
from armsrace.resources import replacing

SOURCES = ("book", "chapters", "src", "data")
EXECUTES = "Executing notebook"
# Sphinx can read and write pages in parallel, but Jupyter Book's command has no option for it.
# And for each citation, pybtex has all installed packages searched for what they offer to it.
PROGRAM = """
import importlib.metadata
from functools import cache, partial
import armsrace.publishing
importlib.metadata.entry_points = cache(importlib.metadata.entry_points)
from jupyter_book import sphinx
from jupyter_book.cli.main import main
sphinx.build_sphinx = partial(sphinx.build_sphinx, jobs={jobs})
main()
"""


class BookError(Exception):
    """The site cannot be built; the message says why."""


def render(
    layout: Layout, unexecuted: Sequence[str], console: Console, solutions_from: date | None = None
) -> bool:
    """Build the pages.

    Args:
        layout: where the build reads and writes.
        unexecuted: pages to show without outputs, because they failed or only one chapter is built.
            References to their figures cannot be resolved, so warnings are errors only without any.
        console: where progress is shown.
        solutions_from: the day on which solutions appear, if they are held back.

    Returns:
        False if all sources are unchanged since the last build.

    Raises:
        BookError: Jupyter Book failed; the message has its warnings and errors.
    """
    config = _write_config(layout, unexecuted, solutions_from)
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
        # The warning may be about a page before its last change: start from scratch.
        shutil.rmtree(pages)
        log, code = _run([*command, *strict], layout.root, console)
    with replacing(layout.records / "site.log") as temporary:
        temporary.write_text(log, encoding="utf-8")
    if code != 0:
        # Sphinx keeps what it has read, and would not warn a second time.
        shutil.rmtree(pages, ignore_errors=True)
        raise BookError(f"Jupyter Book failed:\n{_complaints(log)}")
    if EXECUTES in log:
        raise BookError("Jupyter Book executed a notebook that should have come from the cache")
    with replacing(stamp) as temporary:
        temporary.write_text(state, encoding="utf-8")
    return True


def _write_config(layout: Layout, unexecuted: Sequence[str], solutions_from: date | None) -> Path:
    """Write the book's configuration with the folders and pages of this build."""
    config = yaml.safe_load((layout.root / "_config.yml").read_text(encoding="utf-8"))
    config["execute"] |= {"cache": str(layout.cache), "exclude_patterns": list(unexecuted)}
    repository = layout.repository
    config["sphinx"]["config"] |= {
        "armsrace_profile": layout.profile,
        "armsrace_repository": repository.url if repository else "",
        "armsrace_solutions_from": solutions_from.isoformat() if solutions_from else "",
    }
    if solutions_from:
        config["sphinx"]["config"]["html_copy_source"] = False
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
    """The hash of all sources of the pages."""
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
    """The log's warnings and errors; its last lines if there are none."""
    lines = log.splitlines()
    marked = [line for line in lines if "WARNING" in line or "ERROR" in line]
    return "\n".join(marked or lines[-20:])


def markdown(text: str) -> str:
    """Markdown with tables and dollar mathematics as HTML, formulas as MathML.

    Wide formulas scroll, by keyboard too. Raises FormulaError for a formula that cannot be read.
    """
    return str(_MARKDOWN.render(text)).replace(_WIDE, f'{_WIDE[:-1]} tabindex="0">')


def inline(text: str) -> str:
    """The same, without a paragraph around it."""
    return str(_MARKDOWN.renderInline(text))


def code(cell: NotebookNode) -> Iterator[str]:
    """A cell's outputs, or its code if it has none. A measurement's note shows only if alone."""
    figure = cell.metadata.get("mystnb", {})
    outputs = [output for output in cell.outputs if not is_glued(output)]
    shown = [output for output in outputs if MIME not in output.get("data", {})]
    alt = str(figure.get("image", {}).get("alt", ""))
    yield from (_output(output, alt) for output in shown or outputs)
    if not outputs:
        yield highlight(cell.source, PythonLexer(), HtmlFormatter(noclasses=True))
    if caption := figure.get("figure", {}).get("caption"):
        yield f'<p class="caption">{inline(caption)}</p>'


def is_glued(output: NotebookNode) -> bool:
    """Whether an output is a number for the page's sentences, which the page does not show."""
    return "scrapbook" in output.get("metadata", {})


def _output(output: NotebookNode, alt: str) -> str:
    """The richest form of an output that a page without a kernel can show."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "text/html" in data:
        return str(data["text/html"])
    if "image/png" in data:
        picture = data["image/png"].strip()
        return f'<img src="data:image/png;base64,{picture}" alt="{html.escape(alt)}">'
    if "text/markdown" in data:
        return markdown(data["text/markdown"])
    return f"<pre>{html.escape(data.get('text/plain', ''))}</pre>"


def _math(content: str, options: dict[str, Any]) -> str:
    """A formula as MathML."""
    return mathml(content, options["display_mode"])


_WIDE = '<div class="math block">'
_MARKDOWN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=_math)
