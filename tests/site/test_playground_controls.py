"""The playground by keyboard, mouse and touch."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.site import playground_scripts as scripts
from tests.site.playground_page import DONE, settled
from tests.site.site_browser import chromium_path

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here"),
]


def focused(page: Page) -> str:
    """The id, name or label of what has the focus."""
    return page.evaluate(
        "[document.activeElement].map(e => e.getAttribute('aria-label') || e.id || e.value)[0]"
    )


def tab_to(page: Page, wanted: str) -> None:
    for _ in range(30):
        if focused(page) == wanted:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not reach {wanted}")


def told(page: Page) -> str:
    settled(page)
    return page.inner_text("#status")


def test_keyboard_reaches_and_moves_everything(page: Page) -> None:
    assert "PGD, ε = 0.15" in told(page)
    tab_to(page, "a 7, set 1 of 10")
    page.keyboard.press("ArrowRight")
    assert focused(page) == "a 8, set 1 of 10"
    assert "it is a 8" in (told(page), page.inner_text("#undefended .said"))[1]
    tab_to(page, "others")
    page.keyboard.press("Enter")
    assert (
        page.get_by_role("radio", name="a 8, set 2 of 10").get_attribute("aria-checked") == "true"
    )
    tab_to(page, "pgd")
    page.keyboard.press("ArrowRight")
    assert "Targeted PGD" in told(page)
    tab_to(page, "target")
    page.keyboard.press("3")
    assert "Targeted PGD towards 3" in told(page)
    assert "that the network reads a 3" in page.inner_text("#threat")
    tab_to(page, "epsilon")
    page.keyboard.press("ArrowRight")
    assert "ε = 0.155" in told(page)
    tab_to(page, "steps")
    page.keyboard.press("Home")
    assert "1 gradient an image" in page.inner_text("#threat")
    tab_to(page, "knows")
    page.keyboard.press("Space")
    assert "the purifier's too" in page.inner_text("#threat")


def test_attack_breaks_the_undefended_and_knowledge_breaks_the_purified(page: Page) -> None:
    page.locator("#epsilon").fill("0")
    assert told(page).count("right") == 3
    page.locator("#epsilon").fill("0.25")
    settled(page)
    confidence = (
        "d => Number(document.querySelector('#purified .true .share').textContent.slice(0, -1))"
    )
    before = page.evaluate(confidence)
    page.get_by_label("The attacker knows the purifier").check()
    assert "Undefended: reads 7" not in told(page)
    assert page.evaluate(confidence) <= before
    settled(page, DONE)
    points = page.get_attribute("#undefended .line", "points") or ""
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert len(heights) == 11 and heights[0] < heights[-1], "confidence must fall as ε grows"


def test_newest_of_many_requests_wins(page: Page) -> None:
    page.evaluate("""() => { const slider = document.getElementById("epsilon");
      for (let step = 1; step <= 60; step++) {
        slider.value = step / 200;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
      } }""")
    assert "ε = 0.3." in told(page)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_drawn_stroke_is_read_as_a_one(page: Page, by: str) -> None:
    page.get_by_label("FGSM").check()
    page.get_by_role("button", name="Draw one").click()
    assert not page.is_visible("#rows")
    if by == "mouse":
        box = page.locator("#paper").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 80, box["y"] + 30)
        page.mouse.down()
        page.mouse.move(box["x"] + 75, box["y"] + 130, steps=5)
        page.mouse.up()
    else:
        page.keyboard.press("Space")
        for _ in range(10):
            page.keyboard.press("ArrowDown")
    settled(page)
    assert page.is_visible("#rows")
    assert page.input_value("#truth") == "1"
    page.locator("#truth").select_option("7")
    settled(page)
    assert "it is a 7" in page.inner_text("#undefended .said")
    page.get_by_role("button", name="Clear").click()
    assert not page.is_visible("#rows")


def test_drawing_is_centered_as_mnist_is(page: Page) -> None:
    image = np.array(page.evaluate(scripts.CENTERED, [280, 20, 150, 80, 270])).reshape(28, 28)
    rows, columns = np.nonzero(image > 0.5)
    assert np.ptp(rows) + 1 == 20 and np.ptp(columns) + 1 == 10
    places = np.arange(28) + 0.5
    assert (image.sum(axis=1) * places).sum() / image.sum() == pytest.approx(14, abs=0.5)
    assert (image.sum(axis=0) * places).sum() / image.sum() == pytest.approx(14, abs=0.5)
    assert page.evaluate(scripts.CENTERED, [280, 5, 5, 5, 5]) is None
