from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import jupytext
import nbformat
import pytest

from armsrace.publishing.execution import Record, has_outputs
from armsrace.publishing.layout import Layout, notebooks
from armsrace.publishing.site import collect
from tests.publishing.small_book import COUNTING, chapter, execute, runs


def outputs(path: Path) -> list[str]:
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    return [output.text for cell in cells for output in cell.outputs]


def test_chapter_is_executed_once_and_its_outputs_kept(project: Path, processes: None) -> None:
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


@pytest.mark.parametrize("tag", [None, "remove-cell", "remove-output", "hide-input"])
def test_measurements_are_collected_and_a_report_follows_them(
    project: Path, tag: str | None
) -> None:
    mime = "application/vnd.armsrace.measurement+json"
    show = f'from IPython.display import display\ndisplay({{"{mime}": ROW}}, raw=True)'
    row = {"id": "a-claim", "value": 0.5, "n": 10}
    tags = f':tags: ["{tag}"]\n' if tag else ""
    code = tags + show.replace("ROW", repr(row))
    (project / "chapters/01_one.md").write_text(chapter(code))
    execute(project)
    layout = Layout("reader", project)
    path = collect(["01_one"], layout)
    assert json.loads(path.read_text()) == [row | {"shown": tag in (None, "hide-input")}]
    before = execute(project, depends=[path])
    path.write_text("[]")
    assert execute(project, depends=[path]) != before


def test_paper_measurements_are_added_to_those_of_the_repository(project: Path) -> None:
    path = project / "data/measured/paper.json"
    path.parent.mkdir()
    path.write_text('[{"id": "another", "value": 1}]')
    assert collect([], Layout("paper", project)) == path
    assert json.loads(path.read_text()) == [{"id": "another", "value": 1}]


def test_outputs_are_found_by_the_notebook_as_jupyter_book_reads_it(project: Path) -> None:
    from jupyter_cache import get_cache

    execute(project)
    fresh = jupytext.read(project / "chapters/01_one.md")
    _, merged = get_cache(str(project / "_build/cache/reader")).merge_match_into_notebook(fresh)
    assert merged.cells[-1].outputs[0].text == "42\n"


def test_the_longest_start_first_and_those_of_unknown_length_before_them(project: Path) -> None:
    names = ("01_one", "02_two", "03_three")
    entries = "\n".join(f"  - file: chapters/{name}" for name in names)
    toc = f"format: jb-book\nroot: book/intro\nparts:\n- chapters:\n{entries}\n"
    (project / "_toc.yml").write_text(toc)
    for name in names:
        code = f'with open("../order.txt", "a") as order: order.write("{name} ")'
        (project / f"chapters/{name}.md").write_text(chapter(code))
    for seconds in (5.0, 9.0):
        record = Record("", seconds, "", "", "", "reader", "", ())
        path = project / "_build/records/reader" / f"{names[int(seconds > 5)]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(record)))
    execute(project)
    assert (project / "order.txt").read_text().split() == ["03_three", "02_two", "01_one"]
