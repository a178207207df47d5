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
LANDING = "book/intro.html"
API = "book/api.html"
PATHS = (
    LANDING, "book/gallery.html", "book/teaching.html", PLAYGROUND,
    f"slides/{chapter_file('fgsm').stem}.html",
    f"chapters/{chapter_file('one_step_training').stem}.html",
    "book/ledger.html",
    API,
)  # fmt: skip
WIDE, NARROW = (width for width, _ in SIZES)
# The landing page all four ways, each other page light and wide, dark and narrow.
CASES = [(LANDING, *way) for way in product(("light", "dark"), (WIDE, NARROW))]
CASES += [(path, *way) for path in PATHS[1:] for way in (("light", WIDE), ("dark", NARROW))]
# axe compares each element's colors with what may lie behind it. The API page has 34,000 elements
# in a few dozen styles, all of which one module's entries show.
CONTRAST_WITHIN = {API: "[id='module-armsrace.datasets']"}
GRAVE = ("serious", "critical")
# site.js measures a box that may scroll when it comes near the window, so axe looks after a reader
# has been everywhere.
VIOLATIONS = """async (part) => {
  const frame = () => new Promise(requestAnimationFrame);
  document.querySelectorAll("details").forEach((folded) => (folded.open = true));
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight / 2) {
    scrollTo({ top: y, behavior: "instant" });
    for (let waited = 0; waited < 3; waited++) await frame();
  }
  const found = async (where, options) => (await axe.run(where, {
    resultTypes: ["violations"], ...options })).violations.map(
    ({ id, impact, nodes }) => [id, impact, nodes.map((node) => node.target.join(" "))]);
  if (part === null) return found(document, {});
  if (!document.querySelector(part)) throw new Error(`${part} is not on the page`);
  return [
    ...await found(document, { rules: { "color-contrast": { enabled: false } } }),
    ...await found(part, { runOnly: ["color-contrast"] }),
  ];
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


def grave(page: Page, contrast_within: str | None = None) -> list[str]:
    """The rules that a page breaks seriously, with the elements that break them."""
    page.evaluate(AXE_SCRIPT)
    return [
        f"{rule}: {len(where)} elements, such as {', '.join(where[:3])}"
        for rule, impact, where in page.evaluate(VIOLATIONS, contrast_within)
        if impact in GRAVE
    ]


@pytest.mark.parametrize(("path", "scheme", "width"), CASES)
def test_axe_finds_nothing_grave(browser: Browser, address, path, scheme, width) -> None:
    page = opened(browser, address + path, scheme, width)
    if not path.startswith("slides/"):
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert grave(page, CONTRAST_WITHIN.get(path)) == []
    page.close()


def test_axe_notices_what_is_grave(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(
        "<!doctype html><html lang=en><title>t</title><main><h1>h</h1><img src='x.png'><input>"
        "<p style='color: #bbb'>faint</p><button></button></main></html>"
    )
    for part in (None, "main"):
        found = "\n".join(grave(page, part))
        for rule in ("image-alt", "label", "color-contrast", "button-name"):
            assert f"{rule}: 1 elements" in found
    page.close()


@pytest.mark.parametrize("path", [LANDING, PATHS[5]])
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
