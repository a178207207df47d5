"""Links of the built pages that lead nowhere."""

from __future__ import annotations

import functools
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse


def pages(site: Path) -> list[str]:
    """The pages of a built site but for its static files and those that only lead to another."""
    return sorted(
        path.relative_to(site).as_posix()
        for path in site.rglob("*.html")
        if "_static" not in path.parts
        and 'http-equiv="refresh"'
        not in path.read_text(encoding="utf-8").partition("<body")[0].lower()
    )


class Links(HTMLParser):
    """Collects what a page refers to, and the anchors that it offers."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        wanted = {"a": "href", "link": "href", "img": "src", "script": "src"}.get(tag)
        if wanted and given.get(wanted):
            self.targets.add(str(given[wanted]))
        self.anchors |= {str(given[name]) for name in ("id", "name") if given.get(name)}


@functools.cache
def read(page: Path) -> Links:
    """The links and anchors of a page, parsed once: each page is the target of all others."""
    links = Links()
    links.feed(page.read_text(encoding="utf-8"))
    return links


def broken(site: Path, page: Path) -> list[str]:
    """The links of a page to files or anchors of this site that do not exist."""
    found = []
    for target in sorted(read(page).targets):
        if urlparse(target).scheme or target.startswith("//"):
            continue
        address, anchor = urldefrag(target)
        file = page.parent / unquote(urlparse(address).path) if address else page
        file = file / "index.html" if file.is_dir() else file
        file = file.resolve()
        there = file.is_file() and site.resolve() in file.parents
        anchored = anchor and file.suffix == ".html"
        if not there or (anchored and unquote(anchor) not in read(file).anchors):
            found.append(target)
    return found
