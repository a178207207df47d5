"""The page with the image behind each cell of the arena: what it shows is what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from PIL import Image
from playwright.sync_api import Browser, Page

from armsrace.evaluation import arena
from armsrace.resources import CLONE
from tests.site import playground_scripts as scripts
from tests.site.site_browser import chromium_path, problems, served

PATH = "_static/arena/index.html"
DONE = "document.body.dataset.state === 'done'"
RECORDED = CLONE / "data" / "measured" / "arena"

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here"),
]


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    arena.publish_images(arena.read(), folder / "_static" / "arena")
    with served(folder) as address:
        yield address


def opened(browser: Browser, address: str, cell: str = "", **options: object) -> Page:
    page = browser.new_page(**options)
    page.goto(f"{address}{PATH}{cell}")
    page.wait_for_function(DONE)
    return page


def test_page_is_whole_and_asks_no_network(browser: Browser, address: str) -> None:
    assert problems(browser, address, PATH) == []


def test_an_address_leads_to_its_cell_and_the_image_is_the_recorded_one(browser, address) -> None:
    described = json.loads((RECORDED / "images.json").read_text(encoding="utf-8"))
    with Image.open(RECORDED / "images.png") as sheet:
        ink = 1 - np.asarray(sheet, dtype=float) / 255
    place = next(
        index for index, cell in enumerate(described["cells"])
        if (cell["defense"], cell["attack"], cell["norm"]) == ("s3-cnn", "ddn", "l2")
    )  # fmt: skip
    cell, tile = described["cells"][place], place + 1
    row, column = divmod(tile, described["columns"])
    expected = ink[28 * row :, 28 * column :][:28, :28]
    page = opened(browser, address, "#s3-cnn/ddn/l2")
    assert "against ddn, L2" in page.inner_text("#cell-title")
    assert f"Reads {cell['reads']}" in page.inner_text("#said")
    assert f"L2 {cell['l2']:.2f}" in page.inner_text("#said")
    shown = page.evaluate("""() => [...document.getElementById("attacked").getContext("2d")
      .getImageData(0, 0, 28, 28).data].filter((_, at) => at % 4 === 0)""")
    # Ink is drawn from white to a dark blue, red 31.
    drawn = (255 - np.array(shown, dtype=float).reshape(28, 28)) / (255 - 31)
    assert np.abs(drawn - expected).max() < 0.01
    page.close()


def test_keyboard_walks_through_the_cells_and_menus_choose_them(browser, address) -> None:
    page = opened(browser, address)
    chosen = page.locator("#cells [aria-pressed=true]")
    assert chosen.count() == 1
    chosen.focus()
    first = page.inner_text("#cell-title")
    page.keyboard.press("ArrowRight")
    second = page.inner_text("#cell-title")
    page.keyboard.press("ArrowDown")
    assert len({first, second, page.inner_text("#cell-title")}) == 3
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.locator("#defense").select_option("rbf")
    page.locator("#attack").select_option("fgsm linf")
    assert "RBF against fgsm" in page.inner_text("#cell-title")
    assert page.evaluate("location.hash") == "#rbf/fgsm/linf"
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_page_is_named_legible_and_passes_axe(browser, address, scheme, width) -> None:
    page = opened(browser, address, color_scheme=scheme, viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(scripts.FAINT) == []
    page.evaluate(AXE_SCRIPT)
    wrong = page.evaluate("""async () => (await axe.run()).violations
      .map(({ id, nodes }) => [id, nodes.map((node) => node.target.join(" "))])""")
    assert wrong == []
    page.close()
