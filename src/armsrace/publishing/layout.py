"""Where a build reads and writes, and which notebooks the table of contents names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from armsrace.publishing.repository import Repository, find_repository
from armsrace.resources import CLONE

Profile = Literal["reader", "paper", "smoke"]


class ChapterError(Exception):
    """A chapter cannot be executed; the message names chapter, cell and error."""


class FailedNotebooksError(ChapterError):
    """Some notebooks failed, each with its error, while the others were executed."""

    def __init__(self, errors: Mapping[Notebook, str]) -> None:
        super().__init__("\n".join(errors.values()))
        self.errors = errors


@dataclass(frozen=True)
class Layout:
    """The folders of one profile's build; profiles share none but the launch notebooks'."""

    profile: str = "reader"
    root: Path = CLONE

    def __post_init__(self) -> None:
        # By hand: `contracts` would bring torch into each process that executes a notebook.
        if self.profile not in (known := get_args(Profile)):
            raise ValueError(f"profile must be one of {', '.join(known)}, got {self.profile!r}")
        if not (self.root / "_toc.yml").is_file():
            raise FileNotFoundError(f"{self.root} has no _toc.yml: the book is built in a clone")

    @property
    def build(self) -> Path:
        """All that a build writes."""
        return self.root / "_build"

    @property
    def repository(self) -> Repository | None:
        """Where the clone's repository is to be had; None where it has no public address."""
        return find_repository(self.root)

    @property
    def cache(self) -> Path:
        """The jupyter-cache that Jupyter Book takes the outputs from."""
        return self.build / "cache" / self.profile

    @property
    def notebooks(self) -> Path:
        """Executed notebooks, for download."""
        return self.build / "notebooks" / self.profile

    @property
    def records(self) -> Path:
        """What is known of each execution: key, seconds, device; or `NAME.failure`, its error."""
        return self.build / "records" / self.profile

    @property
    def static(self) -> Path:
        """What goes into the site's `_static` and is made at build."""
        return self.build / "static"

    @property
    def playground(self) -> Path:
        """Networks and pictures for the playground, beside its page."""
        return self.static / "playground"

    @property
    def launch(self) -> Path:
        """Notebooks without outputs, for Colab, Binder and JupyterHub."""
        return self.build / "launch"

    @property
    def slides(self) -> Path:
        """Slides of the executed chapters, and what shows their formulas."""
        return self.build / "slides" / self.profile

    @property
    def output(self) -> Path:
        """The folder under which Jupyter Book makes its own `_build`."""
        return self.root if self.profile == "reader" else self.build / "sites" / self.profile

    @property
    def html(self) -> Path:
        """The built site."""
        return self.output / "_build" / "html"


@dataclass(frozen=True)
class Notebook:
    """A page of the book that is executed: a MyST text notebook."""

    path: Path
    root: Path

    @property
    def name(self) -> str:
        """The file's name without its ending, by which its products are called."""
        return self.path.stem

    @property
    def label(self) -> str:
        """The file as it is named in messages."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def is_chapter(self) -> bool:
        """Whether it measures; the other notebooks report what the chapters measured."""
        return self.path.parent.name == "chapters"

    @property
    def topic(self) -> str:
        """The name without its number: what the chapter is called by elsewhere."""
        return topic_of(self.name)

    @property
    def number(self) -> int | None:
        """The chapter's number, from its file name."""
        found = re.match(r"(\d+)_", self.name)
        return int(found.group(1)) if found else None


def notebooks(root: Path = CLONE) -> list[Notebook]:
    """The notebooks in the order of `_toc.yml`; pages of prose alone are left out.

    Raises FileNotFoundError for an entry without a file.
    """
    found = []
    for entry in _entries(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))):
        path = root / f"{entry}.md"
        if not path.is_file():
            raise FileNotFoundError(f"_toc.yml names {entry}, but {entry}.md does not exist")
        if re.search(r"^kernelspec:", _front_matter(path), re.MULTILINE):
            found.append(Notebook(path, root))
    return found


def numbering(root: Path = CLONE) -> dict[str, tuple[int, str]]:
    """{topic: (number, entry)} of the pages that `_toc.yml` numbers, as Sphinx counts them."""
    parts = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8")).get("parts", [])
    entries = [entry for part in parts if part.get("numbered") for entry in _entries(part)]
    return {
        topic_of(Path(entry).name): (number, entry) for number, entry in enumerate(entries, start=1)
    }


def topic_of(name: str) -> str:
    """A file's name without a number before it."""
    return re.sub(r"^\d+_", "", name)


def _entries(node: Any) -> list[str]:
    """All `root` and `file` values below a node of the table of contents, in order."""
    if isinstance(node, list):
        return [entry for child in node for entry in _entries(child)]
    if not isinstance(node, dict):
        return []
    own = [node[key] for key in ("root", "file") if key in node]
    return own + [entry for child in node.values() for entry in _entries(child)]


def _front_matter(path: Path) -> str:
    """The YAML header of a MyST file; empty where it has none."""
    parts = path.read_text(encoding="utf-8").split("---\n", 2)
    return parts[1] if len(parts) == 3 and not parts[0] else ""
