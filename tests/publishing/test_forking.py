"""Notebooks that are executed by copies of a process which has imported everything already."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest

from armsrace.publishing import execution, forking
from armsrace.publishing.layout import ChapterError
from tests.publishing.small_book import chapter, execute

pytestmark = pytest.mark.skipif(not forking.AVAILABLE, reason="processes are not forked here")

ABOUT = """import os, sys
print("torch" in sys.modules, "sklearn.metrics" in sys.modules, get_ipython().__class__.__name__)
print(os.getcwd(), "" in sys.path, os.environ["ARMSRACE_BUILD"], __name__)
print(os.getpid() == os.getsid(0))"""
COMPUTING = """import torch
from armsrace import attacks, datasets, figures, zoo
digits = datasets.load("mnist", "test").take(20)
model = zoo.load("s3-cnn").requires_grad_(True)
optimizer = torch.optim.Adam(model.parameters())
torch.set_num_threads(2)
model(digits.images).sum().backward()
optimizer.step()
print(attacks.pgd(zoo.load("softmax"), digits.images, digits.labels, epsilon=0.2, steps=5).success)
figures.image_grid(digits.images[:2], ["a", "b"])"""


def two(project: Path, first: str, second: str) -> None:
    """Make it a book of two chapters: one alone is executed by processes of its own."""
    toc = project / "_toc.yml"
    toc.write_text(toc.read_text() + "  - file: chapters/02_two\n")
    for name, code in (("01_one", first), ("02_two", second)):
        (project / f"chapters/{name}.md").write_text(chapter(code))


def outputs(project: Path, name: str) -> list[nbformat.NotebookNode]:
    return nbformat.read(project / f"_build/notebooks/reader/{name}.ipynb", 4).cells[-1].outputs


@pytest.mark.slow
def test_kernel_has_imported_everything_and_is_a_kernel_like_any(
    project: Path, forks: None
) -> None:
    two(project, ABOUT, COMPUTING)
    execute(project)
    (said,) = outputs(project, "01_one")
    chapters = (project / "chapters").resolve()
    assert said.text.splitlines() == [
        "True True ZMQInteractiveShell", f"{chapters} True 1 __main__", "True",
    ]  # fmt: skip
    # Without the official digits, a note on standard error stands before them.
    found, picture = outputs(project, "02_two")[-2:]
    assert "True" in found.text and "image/png" in picture.data


@pytest.mark.slow
def test_forked_kernels_compute_what_others_do(
    project: Path, forks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    two(project, COMPUTING, COMPUTING)
    execute(project)
    forked = [outputs(project, name) for name in ("01_one", "02_two")]
    monkeypatch.setattr(forking, "AVAILABLE", False)
    execute(project, force=True)
    assert [outputs(project, name) for name in ("01_one", "02_two")] == forked


@pytest.mark.slow
def test_dead_kernel_and_dead_engine_are_named(project: Path, forks: None) -> None:
    two(project, "import os\nos._exit(3)", "import os, signal\nos.kill(os.getppid(), 9)")
    with pytest.raises(ChapterError) as error:
        execute(project)
    dead, ended = sorted(str(error.value).splitlines())
    assert dead.startswith("chapters/01_one.md:") and "cell 3: DeadKernelError" in dead
    assert ended == "chapters/02_two.md: its process ended before its last cell"


@pytest.mark.slow
def test_broken_import_ends_the_build_and_is_not_waited_for(tmp_path: Path, capfd) -> None:
    (tmp_path / "papermill.py").write_text('raise ImportError("papermill is broken")')
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    with pytest.raises(RuntimeError, match="could not be imported, see above"):
        forking.Server(execution.kernel_environment(1) | {"PYTHONPATH": path})
    assert "papermill is broken" in capfd.readouterr().err
