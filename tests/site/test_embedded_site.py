"""The whole site, built from nothing on the images that come with the packages, offline."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import pytest
from PIL import Image
from playwright.sync_api import Browser

from armsrace.publishing.layout import Layout, Notebook, notebooks
from armsrace.resources import CLONE, chapter_file
from tests.site.site_browser import TEXT, chromium_path, problems, served
from tests.site.site_links import broken

PROFILE = "smoke"
PAGES = notebooks(CLONE)
PARTS = ("book", "chapters", "src", "data", "_toc.yml", "_config.yml", "requirements.lock")
BUILD = """
import sys
from pathlib import Path
from armsrace import datasets
from armsrace.publishing.site import build
for name in ("mnist", "cifar10"):
    assert datasets.load(name).source == "embedded", name
build(profile=sys.argv[2], root=Path(sys.argv[1]))
"""
EXCUSES = re.compile(r"\bnan\b|not on this machine|not available")
EMPTY_CELLS = """() => [...document.querySelectorAll("table.ar-table td")]
  .map(cell => cell.textContent.trim()).filter(text => /^$|\\b(nan|inf|None)\\b/.test(text))"""

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The site of the smoke profile, built by a copy of the clone: nothing is left from before."""
    root = tmp_path_factory.mktemp("embedded")
    for name in PARTS:
        copy = shutil.copytree if (CLONE / name).is_dir() else shutil.copy
        copy(CLONE / name, root / name)
    environment = {key: value for key, value in os.environ.items() if key != "ARMSRACE_DATA"}
    environment |= {"ARMSRACE_OFFLINE": "1", "XDG_CACHE_HOME": str(root / "cache")}
    environment["PYTHONPATH"] = str(root / "src")
    command = [sys.executable, "-c", BUILD, str(root), PROFILE]
    subprocess.run(command, env=environment, check=True)
    return Layout(PROFILE, root)


@pytest.fixture(scope="module")
def address(layout: Layout) -> Iterator[str]:
    with served(layout.html) as address:
        yield address


def outputs(page: Notebook, layout: Layout) -> Iterator[nbformat.NotebookNode]:
    """All that an executed notebook shows."""
    for cell in nbformat.read(layout.notebooks / f"{page.name}.ipynb", 4).cells:
        yield from cell.get("outputs", ())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_figure_shows_something(page: Notebook, layout: Layout) -> None:
    cells = jupytext.read(page.path).cells
    wanted = sum("figure" in cell.metadata.get("mystnb", {}) for cell in cells)
    shown = (output.get("data", {}) for output in outputs(page, layout))
    pictures = [data["image/png"] for data in shown if "image/png" in data]
    assert len(pictures) >= wanted
    for picture in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("L")
        low, high = image.getextrema()
        assert high - low > 50, "a picture of one color"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.skipif(chromium_path() is None, reason="no Chromium here: the site is not opened")
def test_every_page_is_whole(page: Notebook, layout: Layout, browser: Browser, address) -> None:
    path = Path(page.label).with_suffix(".html").as_posix()
    assert problems(browser, address, path) == []
    assert broken(layout.html, layout.html / path) == []
    tab = browser.new_page()
    tab.goto(address + path)
    assert EXCUSES.findall(tab.evaluate(TEXT)) == []
    assert tab.evaluate(EMPTY_CELLS) == []
    tab.close()


def test_pages_say_which_images_they_used(layout: Layout) -> None:
    told = {
        page.name: (layout.html / page.label).with_suffix(".html").read_text(encoding="utf-8")
        for page in PAGES
    }
    for topic in ("fgsm", "few_pixels", "deep_image_prior"):
        assert "embedded test images (no full CIFAR-10 found)" in told[chapter_file(topic).stem]
    for page in (page for page in PAGES if page.is_chapter):
        assert "executed on MNIST, 5,000 embedded training digits" in told[page.name], page.name


def test_the_checks_notice_excuses_and_empty_cells(browser: Browser) -> None:
    tab = browser.new_page()
    tab.set_content(
        "<article><p>CIFAR-10 is not on this machine. A nanometer is fine, nan is not.</p>"
        "<table class=ar-table><tr><td>nan</td><td></td><td>∞</td><td>17.3% inf</td><td>1</td></tr>"
        "</table></article>"
    )
    assert EXCUSES.findall(tab.evaluate(TEXT)) == ["not on this machine", "nan", "nan"]
    assert tab.evaluate(EMPTY_CELLS) == ["nan", "", "17.3% inf"]
    tab.close()
