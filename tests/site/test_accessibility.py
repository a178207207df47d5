"""What axe finds on the pages in both themes, wide and narrow, and where the keyboard goes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

from armsrace.resources import chapter_file
from tests.site.playground_page import ANSWERED, PATIENCE
from tests.site.site_browser import READY, SIZES, chromium_path, served

SITE = Path(__file__).resolve().parents[2] / "_build" / "html"
PLAYGROUND = "_static/playground/index.html"
SHORT = (
    "book/intro.html", "book/gallery.html", "book/teaching.html", PLAYGROUND,
    f"slides/{chapter_file('fgsm').stem}.html",
)  # fmt: skip
# Each takes axe so long that it is checked light and wide, dark and narrow, but not all four ways.
LONG = (
    f"chapters/{chapter_file('one_step_training').stem}.html",
    "book/ledger.html",
    "book/api.html",
)
WIDE, NARROW = (width for width, _ in SIZES)
CASES = [(path, *way) for path in SHORT for way in product(("light", "dark"), (WIDE, NARROW))]
CASES += [(path, *way) for path in LONG for way in (("light", WIDE), ("dark", NARROW))]
GRAVE = ("serious", "critical")
# site.js measures a box that may scroll when it comes near the window, so axe looks after a reader
# has been everywhere.
VIOLATIONS = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  document.querySelectorAll("details").forEach((folded) => (folded.open = true));
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight / 2) {
    scrollTo({ top: y, behavior: "instant" });
    for (let waited = 0; waited < 3; waited++) await frame();
  }
  return (await axe.run({ resultTypes: ["violations"] })).violations.map(
    ({ id, impact, nodes }) => [id, impact, nodes.map((node) => node.target.join(" "))]);
}"""
FOCUSED = """() => { const at = document.activeElement, box = at.getBoundingClientRect();
  const { outlineStyle, boxShadow } = getComputedStyle(at);
  const ring = outlineStyle !== "none" || boxShadow !== "none";
  return [at.outerHTML.slice(0, 90), at.innerText, box.width * box.height > 0 && ring] }"""

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here: the site is not opened"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(SITE) as address:
        yield address


def opened(browser: Browser, address: str, scheme: str = "light", width: int = WIDE) -> Page:
    page = browser.new_page(
        color_scheme=scheme, reduced_motion="reduce", viewport={"width": width, "height": 900}
    )
    page.goto(address)
    page.wait_for_function(READY)
    if address.endswith(PLAYGROUND):
        page.wait_for_function(ANSWERED, timeout=PATIENCE)
    return page


def grave(page: Page) -> list[str]:
    """The rules that a page breaks seriously, with the elements that break them."""
    page.evaluate(AXE_SCRIPT)
    return [
        f"{rule}: {len(where)} elements, such as {', '.join(where[:3])}"
        for rule, impact, where in page.evaluate(VIOLATIONS)
        if impact in GRAVE
    ]


@pytest.mark.parametrize(("path", "scheme", "width"), CASES)
def test_axe_finds_nothing_grave(browser: Browser, address, path, scheme, width) -> None:
    page = opened(browser, address + path, scheme, width)
    if not path.startswith("slides/"):
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert grave(page) == []
    page.close()


def test_axe_notices_what_is_grave(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(
        "<!doctype html><html lang=en><title>t</title><main><h1>h</h1><img src='x.png'><input>"
        "<p style='color: #bbb'>faint</p><button></button></main></html>"
    )
    found = "\n".join(grave(page))
    for rule in ("image-alt", "label", "color-contrast", "button-name"):
        assert f"{rule}: 1 elements" in found
    page.close()


@pytest.mark.parametrize("path", [SHORT[0], LONG[0]])
def test_keyboard_skips_to_the_text_and_is_seen_on_its_way(browser, address, path) -> None:
    page = opened(browser, address + path)
    page.keyboard.press("Tab")
    assert "Skip to main content" in page.evaluate(FOCUSED)[1]
    unseen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        element, _, seen = page.evaluate(FOCUSED)
        if not seen:
            unseen.append(element)
    assert unseen == []
    page.close()
