from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
from small_book import COUNTING, chapter, runs
from typer.testing import CliRunner

from armsrace import cli
from armsrace.publishing import site
from armsrace.publishing.layout import ChapterError, Layout, notebooks
from armsrace.publishing.measured import collect
from armsrace.publishing.notebooks import Record, execute_chapters, has_outputs


def execute(project: Path, profile: str = "reader", **options: object) -> list[Record]:
    return execute_chapters(notebooks(project), Layout(profile, project), **options)


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


def outputs(path: Path) -> list[str]:
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    return [output.text for cell in cells for output in cell.outputs]


def test_chapter_is_executed_once_and_its_outputs_kept(
    project: Path, processes: None
) -> None:
    (record,) = execute(project)
    assert execute(project) == [record]
    assert runs(project) == ["reader"]
    assert outputs(project / "_build/notebooks/reader/01_one.ipynb") == ["42\n"]
    assert has_outputs(notebooks(project)[0], Layout("reader", project))
    assert record.seconds > 0
    assert record.data == "mnist of the tests"


def test_changed_code_is_executed_and_changed_prose_is_only_renewed(project: Path) -> None:
    source, done = project / "chapters/01_one.md", project / "_build/notebooks/reader/01_one.ipynb"
    execute(project)
    source.write_text(chapter(COUNTING, prose="Better prose."))
    execute(project)
    assert runs(project) == ["reader"]
    assert "Better prose." in done.read_text()
    assert outputs(done) == ["42\n"]
    source.write_text(chapter(COUNTING.replace("6 * 7", "6 * 8")))
    execute(project)
    assert outputs(done) == ["48\n"]


def test_changed_library_and_force_execute_again(project: Path) -> None:
    execute(project)
    (project / "src/armsrace/attack.py").write_text("STEP = 2\n")
    execute(project)
    execute(project, force=True)
    assert runs(project) == ["reader"] * 3


def test_profiles_have_their_own_folders(project: Path) -> None:
    execute(project)
    execute(project, "smoke")
    execute(project)
    assert runs(project) == ["reader", "smoke"]
    injected = nbformat.read(project / "_build/notebooks/smoke/01_one.ipynb", 4).cells[2]
    assert "injected-parameters" in injected.metadata.tags
    assert 'profile = "smoke"' in injected.source
    assert "injected" not in (project / "_build/notebooks/reader/01_one.ipynb").read_text()


def test_chapter_without_parameters_is_refused(project: Path) -> None:
    text = chapter(COUNTING).replace("[parameters]", "[other]")
    (project / "chapters/01_one.md").write_text(text)
    with pytest.raises(ChapterError, match=r"01_one.md: a chapter needs a cell tagged"):
        execute(project)


def test_failing_cell_is_named_and_the_other_chapters_go_on(
    project: Path, processes: None
) -> None:
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


def test_failing_build_exits_with_an_error(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "chapters/01_one.md").write_text(chapter("1 / 0"))
    build = site.build
    monkeypatch.setattr(site, "build", lambda *a, **k: build(*a, **k, root=project))
    result = CliRunner().invoke(cli.app, ["build"])
    assert result.exit_code == 1
    assert "chapters/01_one.md" in result.output
    assert "ZeroDivisionError" in result.output


def test_dead_kernel_is_named(project: Path) -> None:
    (project / "chapters/01_one.md").write_text(chapter("import os\nos._exit(1)"))
    with pytest.raises(ChapterError, match=r"01_one.md:\d+, cell 3: DeadKernelError"):
        execute(project)


def test_measurements_are_collected_and_a_report_follows_them(project: Path) -> None:
    mime = "application/vnd.armsrace.measurement+json"
    show = f'from IPython.display import display\ndisplay({{"{mime}": ROW}}, raw=True)'
    row = {"id": "a-claim", "value": 0.5, "n": 10}
    (project / "chapters/01_one.md").write_text(chapter(show.replace("ROW", repr(row))))
    execute(project)
    layout = Layout("reader", project)
    path = collect(["01_one"], layout)
    assert json.loads(path.read_text()) == [row]
    before = execute(project, depends=[path])
    path.write_text("[]")
    assert execute(project, depends=[path]) != before


def test_paper_measurements_are_added_to_those_of_the_repository(project: Path) -> None:
    path = project / "data/measured/paper.json"
    path.parent.mkdir()
    path.write_text('[{"id": "another", "value": 1}]')
    assert collect([], Layout("paper", project)) == path
    assert json.loads(path.read_text()) == [{"id": "another", "value": 1}]


def test_killed_build_leaves_nothing_half_written(project: Path) -> None:
    waiting = (
        "import os, time\nfrom pathlib import Path\n"
        'Path("../part").write_text(str(os.getpid()))\nPath("../part").rename("../started")\n'
        "time.sleep(60)"
    )
    (project / "chapters/01_one.md").write_text(chapter(waiting))
    program = (
        "from pathlib import Path; from armsrace import datasets;"
        "from armsrace.publishing.layout import Layout, notebooks;"
        "from armsrace.publishing.notebooks import execute_chapters;"
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
    (project / "chapters/01_one.md").write_text(chapter(COUNTING))
    execute(project)
    assert runs(project) == ["reader"]


def test_chapter_edited_while_it_runs_is_refused(project: Path) -> None:
    text = chapter('from pathlib import Path\nPath("01_one.md").open("a").write("More.")')
    (project / "chapters/01_one.md").write_text(text)
    with pytest.raises(ChapterError, match=r"01_one.md: changed while it was executed"):
        execute(project)


def test_outputs_are_found_by_the_notebook_as_jupyter_book_reads_it(project: Path) -> None:
    from jupyter_cache import get_cache

    execute(project)
    fresh = jupytext.read(project / "chapters/01_one.md")
    _, merged = get_cache(str(project / "_build/cache/reader")).merge_match_into_notebook(fresh)
    assert merged.cells[-1].outputs[0].text == "42\n"
