"""Build the site from the chapters, and serve it."""

from __future__ import annotations

import functools
import gzip
import http
import http.server
import io
import json
import time
import webbrowser
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import nbformat
from rich.console import Console

from armsrace.evaluation import arena
from armsrace.ledger.measurements import MIME
from armsrace.publishing import launch_notebooks, playground, redirects, slides
from armsrace.publishing.execution import execute_chapters, has_outputs
from armsrace.publishing.layout import FailedNotebooksError, Layout, Notebook, notebooks
from armsrace.publishing.render import render
from armsrace.publishing.repository import SWITCH_ON
from armsrace.resources import CLONE, replacing

COMPRESSED = ("text/", "application/json", "application/javascript", "image/svg")


def build(
    chapter: str | None = None,
    profile: str = "reader",
    *,
    force: bool = False,
    root: Path = CLONE,
    console: Console | None = None,
    solutions_from: date | None = None,
) -> Path:
    """Execute what changed, render the pages and return the site's folder.

    Args:
        chapter: execute only the one on this topic, such as "fgsm", and show the others as they
            were last executed.
        profile: "reader", "paper" or "smoke".
        force: execute all notebooks.
        root: the clone.
        console: where progress is shown.
        solutions_from: for a class, the day on which its site has solutions; before it, neither
            pages nor downloads have any. The clone has them always.

    Raises:
        FailedNotebooksError: some notebooks failed. The site was built all the same: their pages
            show the error and no outputs.
        BookError: a page cannot be rendered.
        ValueError: no chapter has this topic, or $ARMSRACE_REPOSITORY is unusable.
    """
    began = time.monotonic()
    console = console or Console()
    layout = Layout(profile, root)
    repository = layout.repository
    pages = notebooks(root)
    chapters = [page for page in pages if page.is_chapter]
    # Pages after the first chapter that are not chapters report what the chapters measured.
    begin = pages.index(chapters[0])
    reports = [page for page in pages[begin:] if not page.is_chapter]
    chosen = _choose(chapters, chapter)
    first = [page for page in pages if page in chosen or page in pages[:begin]]
    failed = _failures(first, layout, force=force, console=console)
    ran = [page for page in chapters if has_outputs(page, layout)]
    measured = collect([page.name for page in ran], layout)
    records = [layout.records / f"{page.name}.json" for page in ran]
    depends = [measured, *filter(Path.is_file, records)]
    failed |= _failures(reports, layout, force=force, depends=depends, console=console)
    held_back = solutions_from if solutions_from and date.today() < solutions_from else None
    launch_notebooks.write_all(pages, layout, solutions=held_back is None)
    slides.write_all(pages, layout)
    playground.export(layout.playground)
    outcomes = arena.read()
    arena.publish(outcomes, layout.static / "arena")
    arena.publish_images(outcomes, layout.static / "arena")
    absent = [
        page.label for page in pages if page not in ran and (page.is_chapter or page in failed)
    ]
    rendered = render(layout, absent, console, held_back)
    redirects.write_all(layout.html, root)
    seconds = time.monotonic() - began
    verb = "built" if rendered else "nothing changed in"
    console.print(f"{verb} {layout.html.relative_to(root)} ({seconds:.1f} s)", highlight=False)
    if repository is None:
        console.print(f"no buttons for Colab, Binder and JupyterHub: to have them, {SWITCH_ON}")
    if failed:
        raise FailedNotebooksError(failed)
    return layout.html


def _choose(chapters: Sequence[Notebook], topic: str | None) -> list[Notebook]:
    """The chapter on this topic; all chapters without one."""
    chosen = [page for page in chapters if topic in (None, page.topic)]
    if not chosen:
        known = ", ".join(page.topic for page in chapters)
        raise ValueError(f"chapter must be one of {known}, got {topic!r}")
    return chosen


def _failures(pages: Sequence[Notebook], layout: Layout, **options: Any) -> dict[Notebook, str]:
    """Execute the notebooks and return the errors of those that failed."""
    try:
        execute_chapters(pages, layout, **options)
    except FailedNotebooksError as failure:
        return dict(failure.errors)
    return {}


def collect(names: Iterable[str], layout: Layout) -> Path:
    """Write the measurements of the executed notebooks to one file and return its path.

    A claim that is measured twice keeps its last measurement. The paper profile's file is part of
    the repository. It is added to, since its chapters may be executed one by one; ValueError names
    it if it cannot be read.
    """
    paper = layout.profile == "paper"
    folder = layout.root / "data" if paper else layout.build
    path = folder / "measured" / f"{layout.profile}.json"
    rows = _stored(path) if paper and path.is_file() else {}
    for name in names:
        rows |= {row["id"]: row for row in measurements(layout.notebooks / f"{name}.ipynb")}
    content = json.dumps([rows[key] for key in sorted(rows)], indent=2) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return path


def measurements(notebook: Path) -> list[dict[str, Any]]:
    """The measurements in an executed notebook's outputs, in order; those of removed cells, too."""
    found = []
    for cell in nbformat.read(notebook, 4).cells:
        hidden = {"remove-cell", "remove-output"} & set(cell.metadata.get("tags", ()))
        rows = [output.get("data", {}).get(MIME) for output in cell.get("outputs", ())]
        found += [row | {"shown": not hidden} for row in rows if row is not None]
    return found


def _stored(path: Path) -> dict[str, dict[str, Any]]:
    """The measurements in a file, by claim."""
    try:
        return {row["id"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read, restore it: {error!r}") from error


def serve(
    port: int = 8000, open_browser: bool = True, *, profile: str = "reader", root: Path = CLONE
) -> None:
    """Serve the built site on this machine until interrupted.

    Args:
        port: 0 takes a free one.
        open_browser: show the site in a browser.
        profile: whose site.
        root: the clone.

    Raises:
        FileNotFoundError: the site was not built.
    """
    html = Layout(profile, root).html
    if not (html / "index.html").is_file():
        raise FileNotFoundError(f"{html} has no site: run `armsrace build` first")
    handler = functools.partial(SiteHandler, directory=str(html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        Console().print(f"serving {address} (Ctrl-C stops)")
        if open_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


class SiteHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a log, and texts compressed, as public hosts do."""

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Send the headers and return the content; None if there is no such file."""
        path = Path(self.translate_path(self.path))
        kind = self.guess_type(str(path))
        accepted = "gzip" in self.headers.get("Accept-Encoding", "")
        if not (accepted and path.is_file() and kind.startswith(COMPRESSED)):
            return super().send_head()
        content = gzip.compress(path.read_bytes())
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
