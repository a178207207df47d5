from __future__ import annotations

from pathlib import Path

import pytest
from small_book import COUNTING, chapter

from armsrace import datasets


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of one chapter that notes in runs.txt each time that it is executed."""
    monkeypatch.setattr(datasets, "describe", lambda name: f"{name} of the tests")
    for folder in ("chapters", "book", "src/armsrace/publishing", "data/checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nparts:\n- chapters:\n  - file: chapters/01_one\n"
    )
    (tmp_path / "book/intro.md").write_text("# An introduction\n")
    (tmp_path / "chapters/01_one.md").write_text(chapter(COUNTING))
    (tmp_path / "src/armsrace/attack.py").write_text("STEP = 1\n")
    (tmp_path / "src/armsrace/cli.py").write_text("")
    (tmp_path / "src/armsrace/publishing/site.py").write_text("")
    (tmp_path / "data/claims.yml").write_text("claims: []\n")
    (tmp_path / "requirements.lock").write_text("torch==2\n")
    return tmp_path
