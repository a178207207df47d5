"""Build the site from the chapters, and show it."""

from __future__ import annotations

import functools
import gzip
import http
import http.server
import io
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from rich.console import Console

from armsrace.publishing import launch, playground, slides
from armsrace.publishing.layout import Layout, Notebook, notebooks
from armsrace.publishing.measured import collect
from armsrace.publishing.notebooks import execute_chapters, has_outputs
from armsrace.publishing.pages import BookError, render
from armsrace.resources import CLONE

COMPRESSED = ("text/", "application/json", "application/javascript", "image/svg")


def build(
    chapter: int | None = None,
    profile: str = "reader",
    *,
    force: bool = False,
    root: Path = CLONE,
    console: Console | None = None,
) -> Path:
    """Execute what changed, render the pages and return the site's folder.

    chapter: execute this one only and show the others as they were last executed; profile:
    reader, paper or smoke; force: execute all.
    Raises ChapterError where a cell fails, BookError where a page does or a chapter does not exist.
    """
    began = time.monotonic()
    console = console or Console()
    layout = Layout(profile, root)
    pages = notebooks(root)
    chapters = [page for page in pages if page.is_chapter]
    # What stands behind the first chapter and is none reports what the chapters measured.
    begin = pages.index(chapters[0])
    reports = [page for page in pages[begin:] if not page.is_chapter]
    chosen = _choose(chapters, chapter)
    first = [page for page in pages if page in chosen or page in pages[:begin]]
    execute_chapters(first, layout, force=force, console=console)
    ran = [page for page in chapters if has_outputs(page, layout)]
    measured = collect([page.name for page in ran], layout)
    records = [layout.records / f"{page.name}.json" for page in ran]
    depends = [measured, *filter(Path.is_file, records)]
    execute_chapters(reports, layout, force=force, depends=depends, console=console)
    launch.write_all(pages, layout)
    slides.write_all(pages, layout)
    playground.export(layout.playground)
    absent = [page.label for page in chapters if page not in ran]
    rendered = render(layout, absent, console)
    seconds = time.monotonic() - began
    verb = "built" if rendered else "nothing changed in"
    console.print(f"{verb} {layout.html.relative_to(root)} ({seconds:.1f} s)", highlight=False)
    return layout.html


def serve(
    port: int = 8000, open_browser: bool = True, *, profile: str = "reader", root: Path = CLONE
) -> None:
    """Serve the built site on this machine until interrupted.

    port: 0 takes a free one. Raises FileNotFoundError where nothing was built.
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
    """Serves files without a line for each request, and texts compressed, as public hosts do."""

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Send the headers and return what follows them; None where there is no such file."""
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


def _choose(chapters: Sequence[Notebook], number: int | None) -> list[Notebook]:
    chosen = [page for page in chapters if number in (None, page.number)]
    if not chosen:
        known = ", ".join(str(page.number) for page in chapters)
        raise BookError(f"chapter must be one of {known}, got {number}")
    return chosen
