"""A disc that a reader moves: by mouse, touch and keyboard, on a wide page and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Locator, Page

from armsrace import figures
from armsrace.resources import CLONE
from tests.site.site_browser import SIZES, chromium_path, served

CENTERS = [20.0, 50.0, 80.0]
TEXTS = [[f"row {row}, column {column}" for column in range(3)] for row in range(3)]

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here: the site is not opened"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with nothing but the figure, in the book's style."""
    folder = tmp_path_factory.mktemp("movable")
    shutil.copy(CLONE / "book" / "_static" / "style.css", folder)
    figure = figures.movable(
        torch.full((3, 100, 100), 0.5), torch.ones(3, 40, 40), 20.0, CENTERS, CENTERS, TEXTS,
        "A disc.", "a gray square", start=(1, 1),
    )  # fmt: skip
    (folder / "page.html").write_text(
        '<!doctype html><html lang="en"><head><title>A disc</title>'
        '<meta name="viewport" content="width=device-width">'
        '<link rel="stylesheet" href="style.css"></head>'
        f'<body><article class="bd-article"><div class="cell_output">{figure.html}</div></article>'
        "</body></html>"
    )
    with served(Path(folder)) as address:
        yield f"{address}page.html"


@pytest.fixture(params=zip(SIZES, ("light", "dark"), strict=True), ids=["wide", "phone, dark"])
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    (width, height), theme = request.param
    page = browser.new_page(viewport={"width": width, "height": height}, has_touch=True)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    yield page
    assert errors == []
    page.close()


def point(page: Page, column: int, row: int) -> tuple[float, float]:
    """Where on the screen a center is."""
    box = page.locator(".ar-movable-ground").bounding_box()
    assert box is not None
    return (
        box["x"] + CENTERS[column] / 100 * box["width"],
        box["y"] + CENTERS[row] / 100 * box["height"],
    )


def is_at(page: Page, column: int, row: int) -> bool:
    """Whether disc, text and both controls are at a place, to a pixel."""
    box = disc(page).bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    near = all(abs(a - b) < 1.5 for a, b in zip(middle, point(page, column, row), strict=True))
    across, down = page.get_by_role("slider").all()
    told = page.locator("output").text_content() == TEXTS[row][column]
    return near and told and (across.input_value(), down.input_value()) == (str(column), str(row))


def disc(page: Page) -> Locator:
    return page.locator(".ar-movable-disc")


def test_it_begins_where_it_was_put(page: Page) -> None:
    assert is_at(page, 1, 1)
    box, ground = disc(page).bounding_box(), page.locator(".ar-movable-ground").bounding_box()
    assert box is not None and ground is not None
    assert abs(box["width"] - 0.4 * ground["width"]) < 1 and abs(box["height"] - box["width"]) < 1
    style = "e => [getComputedStyle(e).padding, getComputedStyle(e).clipPath]"
    assert disc(page).evaluate(style) == ["0px", "circle(50%)"], "a frame would shift the disc"
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_a_mouse_drags_it_to_the_nearest_place(page: Page) -> None:
    page.mouse.move(*point(page, 1, 1))
    page.mouse.down()
    x, y = point(page, 2, 0)
    page.mouse.move(x + 4, y - 3, steps=5)
    assert is_at(page, 2, 0), "it follows before it is dropped"
    page.mouse.move(x + 2000, y, steps=2)
    page.mouse.up()
    assert is_at(page, 2, 0), "outside the picture it stays at the edge"
    page.mouse.move(*point(page, 0, 2))
    assert is_at(page, 2, 0), "after that the pointer moves without it"


def test_a_click_and_a_touch_put_it(page: Page) -> None:
    page.mouse.click(*point(page, 0, 2))
    assert is_at(page, 0, 2)
    page.touchscreen.tap(*point(page, 2, 1))
    assert is_at(page, 2, 1)


def test_the_keyboard_moves_it(page: Page) -> None:
    across, down = page.get_by_role("slider").all()
    across.focus()
    page.keyboard.press("ArrowRight")
    assert is_at(page, 2, 1)
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert is_at(page, 2, 0)
    assert down.get_attribute("aria-valuetext") == f"1; {TEXTS[0][2]}"
    page.keyboard.press("End")
    assert is_at(page, 2, 2)
