from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from armsrace.publishing import execution as keys
from armsrace.publishing.execution import library_key
from armsrace.publishing.layout import Layout, notebooks
from armsrace.resources import CLONE


def test_notebooks_follow_the_table_of_contents_and_leave_out_prose(project: Path) -> None:
    (found,) = notebooks(project)
    assert (found.label, found.name, found.number) == ("chapters/01_one.md", "01_one", 1)
    assert found.is_chapter


def test_the_book_of_this_repository_is_read() -> None:
    found = {page.name: page for page in notebooks(CLONE)}
    chapters = [page for page in found.values() if page.is_chapter]
    assert [page.number for page in chapters][:4] == [1, 2, 3, 4]
    assert [page.topic for page in chapters][:3] == ["observation", "evaluation", "fgsm"]
    topics = [page.topic for page in chapters]
    assert len(topics) == len(set(topics)), "a topic names one chapter"
    assert not found["intro"].is_chapter


def test_figures_of_the_book_have_names_of_their_own() -> None:
    """Sphinx finds a name twice only when every chapter has been executed."""
    texts = [path.read_text() for path in (CLONE / "chapters").glob("*.md")]
    names = Counter(re.findall(r"^ +name: (fig-\S+)$", "\n".join(texts), re.MULTILINE))
    assert len(names) > 50
    assert [name for name, times in names.items() if times > 1] == []


def test_numbers_of_chapters_are_in_file_names_alone() -> None:
    """Prose refers to a chapter by its label, the topic; Sphinx puts the number there."""
    for page in CLONE.glob("[bc]*/*.md"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"\b[Cc]hapters? \d+|\d\d_[a-z]\w+", text) == [], page.name
        if page.parent.name == "chapters":
            assert f"\n({page.stem[3:]})=\n# " in text, page.name


def test_missing_file_is_named(project: Path) -> None:
    (project / "chapters/01_one.md").unlink()
    with pytest.raises(FileNotFoundError, match=r"_toc.yml names chapters/01_one, but"):
        notebooks(project)


def test_unknown_profile_and_folder_without_a_book_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="profile must be one of reader, paper, smoke, got 'x'"):
        Layout("x", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no _toc.yml"):
        Layout("reader", tmp_path)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("src/armsrace/attack.py", True),
        ("src/armsrace/new.py", True),
        ("data/claims.yml", True),
        ("data/checkpoints/net.safetensors", True),
        ("data/measured/paper.json", True),
        ("requirements.lock", True),
        ("src/armsrace/publishing/site.py", False),
        ("src/armsrace/cli/book.py", False),
        ("src/armsrace/attack.pyc", False),
        ("book/intro.md", False),
    ],
)
def test_outputs_are_stale_where_what_they_come_from_changed(
    project: Path, name: str, counts: bool
) -> None:
    before = library_key(project, "reader")
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("changed")
    assert (library_key(project, "reader") != before) == counts


def test_paper_profile_does_not_make_itself_stale(project: Path) -> None:
    before = library_key(project, "paper")
    (project / "data/measured").mkdir()
    (project / "data/measured/paper.json").write_text("[]")
    assert library_key(project, "paper") == before


def test_other_data_make_outputs_stale(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = library_key(project, "reader")
    monkeypatch.setattr("armsrace.datasets.describe", lambda name: f"other {name}")
    assert library_key(project, "reader") != before


@pytest.mark.parametrize("variable", ["ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"])
def test_other_instructions_make_outputs_stale(
    project: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    before = library_key(project, "reader")
    if variable == "ATEN_CPU_CAPABILITY":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    else:
        monkeypatch.setattr(keys, "reduced_precision", lambda: "another")
    assert library_key(project, "reader") != before
