from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from armsrace import cli
from armsrace.publishing import site
from armsrace.publishing.layout import ChapterError
from tests.publishing.small_book import COUNTING, chapter, execute, runs


def is_running(process: int, seconds: float = 20) -> bool:
    """Whether a process still runs after it had some time to notice that it should end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.2)
    return True


def test_dead_kernel_is_named(project: Path) -> None:
    (project / "chapters/01_one.md").write_text(chapter("import os\nos._exit(1)"))
    with pytest.raises(ChapterError, match=r"01_one.md:\d+, cell 3: DeadKernelError"):
        execute(project)


@pytest.mark.slow
@pytest.mark.parametrize("forked", [False, True])
def test_killed_build_leaves_nothing_half_written(project: Path, forked: bool) -> None:
    if forked:  # One notebook alone is executed by processes of its own.
        toc = project / "_toc.yml"
        toc.write_text(toc.read_text() + "  - file: chapters/02_two\n")
        (project / "chapters/02_two.md").write_text(chapter("import time\ntime.sleep(60)"))
    waiting = (
        "import os, time\nfrom pathlib import Path\n"
        'Path("../part").write_text(str(os.getpid()))\nPath("../part").rename("../started")\n'
        "time.sleep(60)"
    )
    (project / "chapters/01_one.md").write_text(chapter(waiting))
    program = (
        "from pathlib import Path; from armsrace import datasets;"
        "from armsrace.publishing.layout import Layout, notebooks;"
        "from armsrace.publishing.execution import execute_chapters;"
        "datasets.describe = str; root = Path.cwd();"
        "execute_chapters(notebooks(root), Layout('reader', root))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=project) as build:
        while not (project / "started").exists() and build.poll() is None:
            time.sleep(0.1)
        build.send_signal(signal.SIGKILL)
    assert build.returncode == -signal.SIGKILL
    assert not is_running(int((project / "started").read_text()))
    assert list((project / "_build").rglob("*.ipynb")) == []
    assert list((project / "_build").rglob("*.json")) == []
    for path in (project / "chapters").iterdir():
        path.write_text(chapter(COUNTING))
    execute(project)
    assert runs(project) == ["reader"] * (1 + forked)


def test_failing_build_exits_with_an_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "chapters/01_one.md").write_text(chapter("1 / 0"))
    build = site.build
    monkeypatch.setattr(site, "build", lambda *a, **k: build(*a, **k, root=project))
    for step in ("launch_notebooks.write_all", "slides.write_all", "playground.export", "render"):
        monkeypatch.setattr(f"armsrace.publishing.site.{step}", lambda *_, **__: True)
    result = CliRunner().invoke(cli.app, ["build"])
    assert result.exit_code == 1
    said = result.output.splitlines()
    assert said[-2] == "built, but these failed and show no results:"
    assert said[-1].startswith("  chapters/01_one.md:") and "ZeroDivisionError" in said[-1]


@pytest.mark.slow
def test_failing_cell_is_named_and_the_other_chapters_go_on(project: Path, processes: None) -> None:
    failing = chapter("x = 1", 'raise RuntimeError("no luck")')
    (project / "chapters/02_two.md").write_text(failing)
    toc = project / "_toc.yml"
    toc.write_text(toc.read_text().replace("01_one", "02_two\n  - file: chapters/01_one"))
    line = failing.splitlines().index('raise RuntimeError("no luck")') + 1
    with pytest.raises(ChapterError) as error:
        execute(project)
    assert str(error.value) == f"chapters/02_two.md:{line}, cell 4: RuntimeError: no luck"
    folder = project / "_build/notebooks/reader"
    assert sorted(path.name for path in folder.iterdir()) == ["01_one.ipynb", "02_two.failed.ipynb"]
    assert not (project / "_build/records/reader/02_two.json").exists()


def test_chapter_edited_while_it_runs_is_refused(project: Path) -> None:
    text = chapter('from pathlib import Path\nPath("01_one.md").open("a").write("More.")')
    (project / "chapters/01_one.md").write_text(text)
    with pytest.raises(ChapterError, match=r"01_one.md: changed while it was executed"):
        execute(project)


def test_chapter_without_parameters_is_refused(project: Path) -> None:
    text = chapter(COUNTING).replace("[parameters]", "[other]")
    (project / "chapters/01_one.md").write_text(text)
    with pytest.raises(ChapterError, match=r"01_one.md: a chapter needs a cell tagged"):
        execute(project)
