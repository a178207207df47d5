from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from armsrace import cli
from armsrace.publishing import site
from armsrace.publishing.repository import VARIABLE, Repository, find_repository, public_address
from armsrace.resources import CLONE
from tests.publishing.small_book import runs

GITHUB = "https://github.com/some/book"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(VARIABLE, raising=False)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def add_origin(clone: Path, url: str) -> None:
    subprocess.run(["git", "-C", str(clone), "remote", "add", "origin", url], check=True)


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        (GITHUB, GITHUB),
        (f"{GITHUB}.git", GITHUB),
        (f"{GITHUB}/", GITHUB),
        ("git@github.com:some/book.git", GITHUB),
        ("github.com:some/book", GITHUB),
        ("ssh://git@github.com:22/some/book.git", GITHUB),
        ("git://GitHub.com/some/book.git", GITHUB),
        ("https://name:secret@github.com/some/book.git", GITHUB),
        ("https://git.example.org:8443/group/sub/book", "https://git.example.org:8443/group/sub/book"),
        ("/srv/git/book.git", None),
        ("../book", None),
        ("file:///srv/git/book.git", None),
        ("C:\\git\\book", None),
        ("C:/git/book", None),
        ("work:some/book", None),
        ("http://localhost:3000/some/book", None),
        ("https://127.0.0.1/some/book", None),
        ("https://github.com", None),
        ("", None),
    ],
)  # fmt: skip
def test_remote_becomes_a_public_address(remote: str, address: str | None) -> None:
    assert public_address(remote) == address


def test_the_variable_wins_over_the_remote_and_a_folder_counts_as_none(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_repository(clone) is None
    add_origin(clone, "git@github.com:some/book.git")
    assert find_repository(clone) == Repository(GITHUB)
    monkeypatch.setenv(VARIABLE, "https://gitlab.com/group/sub/book.git")
    assert find_repository(clone) == Repository("https://gitlab.com/group/sub/book")
    monkeypatch.setenv(VARIABLE, "my-book")
    with pytest.raises(ValueError, match=f"{VARIABLE} must be a repository's public address.*my-"):
        find_repository(clone)
    monkeypatch.delenv(VARIABLE)
    subprocess.run(["git", "-C", str(clone), "remote", "set-url", "origin", str(clone)], check=True)
    assert find_repository(clone) is None


def test_a_folder_in_another_clone_does_not_take_its_remote(clone: Path) -> None:
    add_origin(clone, GITHUB)
    (clone / "inner").mkdir()
    assert find_repository(clone / "inner") is None


@pytest.mark.parametrize(
    ("url", "colab", "binder", "theme"),
    [
        (GITHUB, "https://colab.research.google.com/github/some/book/blob/b/c.ipynb",
         "gh/some/book/b", True),
        ("https://gitlab.com/some/book", None, "gl/some%2Fbook/b", True),
        ("https://gitlab.com/group/sub/book", None, "gl/group%2Fsub%2Fbook/b", False),
        ("https://codeberg.org/a/book", None, "git/https%3A%2F%2Fcodeberg.org%2Fa%2Fbook/b", False),
    ],
)  # fmt: skip
def test_each_host_gets_the_buttons_that_work_for_it(
    url: str, colab: str | None, binder: str, theme: bool
) -> None:
    repository = Repository(url)
    assert repository.name == "book"
    assert repository.colab("b/c.ipynb") == colab
    assert repository.binder("b", "c.ipynb") == f"https://mybinder.org/v2/{binder}?labpath=c.ipynb"
    assert repository.has_theme_buttons is theme


def test_build_refuses_a_variable_that_is_no_address(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "nowhere")
    build = site.build
    monkeypatch.setattr(site, "build", lambda *a, **k: build(*a, **k, root=project))
    outcome = CliRunner().invoke(cli.app, ["build"], env={"COLUMNS": "200"})
    assert outcome.exit_code == 1 and "public address" in outcome.output
    assert runs(project) == [], "it is said before anything is executed"


def test_no_file_of_this_repository_names_an_address_of_its_own() -> None:
    listed = subprocess.run(
        ["git", "-C", str(CLONE), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    endings = (".md", ".py", ".yml", ".toml", ".cff", ".js", ".html", ".txt")
    own = re.compile(r"git(?:hub|lab)\.com[/:][\w.-]+/(?:the-)?arms-?race")
    texts = {name: (CLONE / name).read_text() for name in listed if name.endswith(endings)}
    assert len(texts) > 100
    assert [name for name, text in texts.items() if own.search(text)] == []
