from __future__ import annotations

import gzip
import re
import shutil
import threading
import time
import urllib.request
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from armsrace import ledger
from armsrace.ledger.measurements import MIME
from armsrace.publishing import site
from armsrace.publishing.execution import processor_name
from armsrace.publishing.layout import FailedNotebooksError
from armsrace.publishing.render import BookError
from armsrace.publishing.repository import public_address
from armsrace.publishing.site import build, serve
from armsrace.resources import CLONE
from tests.publishing.small_book import COUNTING, HEADER, cell, chapter, runs

NAMED = {"colab.research.google.com", "mybinder.org"}


@pytest.fixture
def book(project: Path) -> Path:
    """The small book under this repository's configuration, without the pages of the library."""
    shutil.copytree(CLONE / "book", project / "book", dirs_exist_ok=True)
    (project / "book/intro.md").write_text("# An introduction\n\nTo [run](how_to_run.md).\n")
    (project / "book/ledger.md").write_text("# The ledger\n")
    shutil.copy(CLONE / "_config.yml", project)
    toc = {"format": "jb-book", "root": "book/intro"}
    files = ["chapters/01_one", "book/how_to_run", "book/ledger"]
    toc["chapters"] = [{"file": name} for name in files]
    (project / "_toc.yml").write_text(yaml.safe_dump(toc))
    return project


@pytest.mark.slow
def test_site_shows_outputs_and_is_rebuilt_only_where_something_changed(book: Path) -> None:
    page = build(root=book) / "chapters/01_one.html"
    assert "42" in page.read_text()
    assert "executed on mnist of the tests" in page.read_text()
    assert (page.parents[1] / "notebooks/01_one.ipynb").is_file()
    for edition in ("student", "instructor"):
        assert f'href="../notebooks/{edition}/01_one.ipynb"' in page.read_text()
        assert (page.parents[1] / f"notebooks/{edition}/01_one.ipynb").is_file()
    assert "Slides" not in page.read_text(), "none of its cells is tagged"
    assert NAMED.isdisjoint(re.findall(r"[\w.]+", page.read_text().lower()))
    told = (page.parents[1] / "book/how_to_run.html").read_text()
    assert f"seconds of work in all, on {processor_name()} (CPU, " in told
    assert re.search(r'<a [^>]*href="../chapters/01_one.html">.*A title</', told)
    assert "ARMSRACE_REPOSITORY=" in told and "git clone" not in told and "{{" not in told
    built = page.stat().st_mtime_ns
    build(root=book)
    assert page.stat().st_mtime_ns == built
    assert runs(book) == ["reader"]
    (book / "book/_static/style.css").write_text("/* another */")
    build(root=book)
    assert (page.parents[1] / "_static/style.css").read_text() == "/* another */"
    built = page.stat().st_mtime_ns
    # The text stays and the outputs change: Sphinx alone would keep the old page.
    (book / "src/armsrace/attack.py").write_text("STEP = 3\n")
    build(root=book)
    assert runs(book) == ["reader"] * 2
    assert page.stat().st_mtime_ns != built


EXERCISE = """from types import SimpleNamespace

exercises, one = SimpleNamespace(check_one=print), None
exercises.check_one(one)"""
SOLUTION = """---
tags: [hide-input]
mystnb: {code_prompt_show: "Show a solution"}
---
one_solution = "the secret of the solution"
print("what only the solution prints")"""


@pytest.mark.slow
def test_solutions_are_held_back_until_their_day(book: Path) -> None:
    (book / "chapters/01_one.md").write_text(chapter(COUNTING, EXERCISE, SOLUTION))
    secrets = "secret of the solution", "only the solution prints"

    def leaking(**options: object) -> list[str]:
        """Files of the site, and notebooks to launch, that have a solution."""
        html = build(root=book, **options)
        places = [*html.rglob("*"), *(book / "_build/launch").rglob("*")]
        texts = {
            path: path.read_text(errors="ignore") for path in places
            if path.suffix in (".html", ".ipynb", ".md", ".txt", ".js")
        }  # fmt: skip
        return [
            path.relative_to(book / "_build").as_posix() for path, text in texts.items()
            if any(secret in text for secret in secrets)
        ]  # fmt: skip

    page = book / "_build/html/chapters/01_one.html"
    before = leaking()
    places = ("html/chapters/01_one.html", "html/notebooks/01_one.ipynb",
              "html/notebooks/instructor/01_one.ipynb", "launch/01_one.ipynb")  # fmt: skip
    assert set(places) <= set(before)
    tomorrow = date.today() + timedelta(days=1)
    assert leaking(solutions_from=tomorrow) == []
    text = page.read_text()
    day = f"{tomorrow:%B} {tomorrow.day}, {tomorrow.year}"
    assert f"A solution will be here on {day}." in text and "42" in text
    assert "notebooks/student/01_one.ipynb" in text and "instructor" not in text
    assert (page.parents[1] / "notebooks/01_one.ipynb").is_file()
    assert sorted(leaking(solutions_from=date.today())) == sorted(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("repository", "named", "theme"),
    [
        ("git@github.com:some/book.git", {"colab.research.google.com", "mybinder.org"}, True),
        ("https://git.example.org/some/book", {"mybinder.org"}, False),
    ],
)
def test_launch_buttons_lead_to_the_repository(
    book: Path, monkeypatch: pytest.MonkeyPatch, repository: str, named: set[str], theme: bool
) -> None:
    monkeypatch.setenv("ARMSRACE_REPOSITORY", repository)
    html = build(root=book)
    page = (html / "chapters/01_one.html").read_text()
    assert NAMED & {*re.findall(r"[\w.]+", page.lower())} == named
    url = public_address(repository)
    assert f'data-repository="{url}"' in page
    assert (f"{url}/issues/new" in page) is theme
    told = (html / "book/how_to_run.html").read_text()
    assert f"git clone {url}" in re.sub("<[^>]+>", "", told)
    assert ("Colab" in told) is ("colab.research.google.com" in named)
    assert "ARMSRACE_REPOSITORY=" not in told and "{{" not in told


@pytest.mark.slow
def test_warning_fails_the_build_and_is_shown(book: Path) -> None:
    (book / "chapters/01_one.md").write_text(chapter(COUNTING, prose="See [x](missing.md)."))
    for _ in range(2):
        with pytest.raises(BookError, match=r"01_one.md.*missing.md"):
            build(root=book)


def test_formula_that_cannot_be_read_fails_the_build_and_is_shown(book: Path) -> None:
    (book / "chapters/01_one.md").write_text(chapter(COUNTING, prose=r"The $\nosuch x$."))
    with pytest.raises(BookError, match=r"01_one.md.*nosuch"):
        build(root=book)


PICTURES = """
import base64, io
import numpy as np
from IPython.display import HTML, Image, display
from PIL import Image as Picture

def png(seed, height):
    noise = np.random.default_rng(seed).integers(0, 4, (height, 120, 3), dtype=np.uint8) * 85
    picture, file = Picture.fromarray(noise), io.BytesIO()
    # A palette, as plots have, but for the photograph.
    (picture if seed == 2 else picture.quantize(64)).save(file, format="PNG")
    return file.getvalue()

def tag(seed, height, more=""):
    data = base64.b64encode(png(seed, height)).decode()
    return f'<img src="data:image/png;base64,{data}" alt="a > b"{more}>'

display(Image(png(0, 80), width=60))
HTML(tag(1, 80) + tag(2, 80, " hidden") + tag(3, 2))"""


def attributes(tag: str) -> dict[str, str]:
    return dict(re.findall(r'([a-z]+)="([^"]*)"', tag))


@pytest.mark.slow
def test_pages_are_light(book: Path) -> None:
    """Formulas and pictures are ready-made, and a page loads only what it uses."""
    prose = "A formula $x^2$.\n\n$$ y = 1 $$ (label)"
    (book / "chapters/01_one.md").write_text(chapter(PICTURES, prose=prose))
    for text in ("One text.", "Another text."):  # what is light already must survive a build
        (book / "book/how_to_run.md").write_text(f"# How to run\n\n{text}\n")
        html = build(root=book)
        page = (html / "chapters/01_one.html").read_text()
        assert page.count("<math") == 2 and '<span class="eqno">(1)' in page
        tags = re.findall(r'<img (?:[^>"]|"[^"]*")*>', page)
        images = [attributes(tag) for tag in tags if "logo" not in tag]
        sizes = [(image["width"], image["height"]) for image in images]
        assert sizes == [("60", "40"), ("120", "80"), ("120", "80"), ("120", "2")]
        assert images[0]["fetchpriority"] == "high" and "loading" not in images[0]
        assert [image["loading"] for image in images[1:]] == ["lazy"] * 3
        assert all('width="' in tag and "loading" not in tag for tag in tags if "logo" in tag)
        assert [image["alt"] for image in images[1:]] == ["a > b"] * 3
        for seed, image in enumerate(images[:3]):
            noise = np.random.default_rng(seed).integers(0, 4, (80, 120, 3), dtype=np.uint8) * 85
            with Image.open(html / "chapters" / image["src"]) as picture:
                assert picture.format == "WEBP"
                pixels = np.asarray(picture.convert("RGB"))
            if seed == 2:  # a photograph: with losses, even of noise about half of them
                assert np.corrcoef(pixels.flatten(), noise.flatten())[0, 1] > 0.6
            else:
                assert np.array_equal(pixels, noise)
        assert images[3]["src"].startswith("data:image/png;base64,")
        assert page.count('rel="stylesheet"') == 1 and "searchindex.js" not in page
        assert "searchindex.js" in (html / "search.html").read_text()
        style = (html / "_static/book.css").read_text()
        assert ".fa-magnifying-glass:before" in style and ".fa-guitar" not in style


@pytest.mark.slow
def test_one_chapter_is_built_beside_others_that_were_never_executed(book: Path) -> None:
    (book / "chapters/02_two.md").write_text(chapter("1 / 0"))
    toc = book / "_toc.yml"
    toc.write_text(toc.read_text().replace("- file: chapters/01_one", (
        "- file: chapters/01_one\n- file: chapters/02_two")))  # fmt: skip
    html = build("one", root=book)
    assert "42" in (html / "chapters/01_one.html").read_text()
    assert "not executed in this build" in (html / "chapters/02_two.html").read_text()


@pytest.mark.slow
def test_failing_chapter_costs_its_own_page_and_no_other(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armsrace.ledger.measurements.CLONE", book)
    claim = next(c for c in ledger.load_claims().values() if c.band and not (c.above or c.below))
    row = {"id": claim.id, "value": sum(claim.band) / 2, "n": 10, "note": "", "data": "some"}
    row |= {"device": "CPU", "date": "2026-01-01", "commit": "x"}
    measuring = f"from IPython.display import display\ndisplay({{{MIME!r}: {row!r}}}, raw=True)"
    failing = 'from pathlib import Path\nassert not Path("../broken").exists(), "no luck"'
    works = chapter(failing, 'print("worked", "once")', measuring)
    (book / "chapters/02_two.md").write_text(works)
    toc = book / "_toc.yml"
    both = "chapters/01_one\n- file: chapters/02_two"
    toc.write_text(toc.read_text().replace("chapters/01_one", both))
    html = build(root=book)
    assert "worked once" in (html / "chapters/02_two.html").read_text()
    assert not [line for line in ledger.check("reader") if line.startswith(f"{claim.id}:")]

    # The code stays as it is, so that its old outputs would still fit it.
    (book / "src/armsrace/attack.py").write_text("STEP = 3\n")
    (book / "broken").touch()
    for _ in range(2):  # It stays stale, and is tried again.
        with pytest.raises(
            FailedNotebooksError, match=r"^chapters/02_two.md:\d+, cell 3: AssertionError: no luck$"
        ):
            build(root=book)
    assert runs(book) == ["reader"] * 2
    assert "42" in (html / "chapters/01_one.html").read_text()
    page = (html / "chapters/02_two.html").read_text()
    assert "This page failed" in page and "cell 3: AssertionError: no luck" in page
    assert "worked once" not in page and "executed on" not in page
    assert not (html / "notebooks/02_two.ipynb").exists()
    for name in ("intro", "ledger"):
        told = (html / f"book/{name}.html").read_text()
        assert "Pages that failed" in told and 'href="../chapters/02_two.html"' in told
    (problem,) = [line for line in ledger.check("reader") if line.startswith(f"{claim.id}:")]
    assert "got not measured (nothing" in problem

    (book / "broken").unlink()
    build(root=book)
    assert "worked once" in (html / "chapters/02_two.html").read_text()
    assert "ar-failed" not in (html / "chapters/02_two.html").read_text()
    assert "ar-failed" not in (html / "book/intro.html").read_text()


@pytest.mark.slow
def test_failing_report_costs_its_own_page_and_no_other(book: Path) -> None:
    (book / "book/ledger.md").write_text(HEADER + "# The ledger\n\n" + cell("1 / 0"))
    with pytest.raises(
        FailedNotebooksError, match=r"book/ledger.md:\d+, cell 2: ZeroDivisionError"
    ):
        build(root=book)
    html = book / "_build/html"
    assert "42" in (html / "chapters/01_one.html").read_text()
    assert "This page failed" in (html / "book/ledger.html").read_text()
    assert 'href="../book/ledger.html"' in (html / "book/intro.html").read_text()


@pytest.mark.slow
def test_a_report_between_chapters_waits_for_the_last(book: Path) -> None:
    (book / "chapters/02_two.md").write_text(chapter(COUNTING))
    counted = 'print(len(open("../runs.txt").read().split()), "chapters before")'
    (book / "book/ledger.md").write_text(HEADER + "# The ledger\n\n" + cell(counted))
    toc = {"format": "jb-book", "root": "book/intro"}
    files = ["chapters/01_one", "book/how_to_run", "book/ledger", "chapters/02_two"]
    (book / "_toc.yml").write_text(yaml.safe_dump(toc | {"chapters": [{"file": f} for f in files]}))
    assert "2 chapters before" in (build(root=book) / "book/ledger.html").read_text()


def test_unknown_chapter_is_refused(book: Path) -> None:
    with pytest.raises(ValueError, match="chapter must be one of one, got 'seven'"):
        build("seven", root=book)


def test_served_site_is_what_was_built(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileNotFoundError, match="run `armsrace build` first"):
        serve(root=project)
    html = project / "_build/html"
    html.mkdir(parents=True)
    (html / "index.html").write_text("the site")
    opened: list[str] = []
    monkeypatch.setattr(site.webbrowser, "open", opened.append)
    threading.Thread(target=serve, args=(0,), kwargs={"root": project}, daemon=True).start()
    while not opened:
        time.sleep(0.05)
    with urllib.request.urlopen(opened[0]) as answer:
        assert answer.read() == b"the site"
    request = urllib.request.Request(f"{opened[0]}/index.html", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.read()) == b"the site"
