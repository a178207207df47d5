"""What a page weighs, and that nothing on it moves when a picture comes."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Response

from armsrace.resources import chapter_file
from tests.site.site_browser import READY, chromium_path, served
from tests.site.site_links import pages

SITE = Path(__file__).resolve().parents[2] / "_build" / "html"
PLAYGROUND = "_static/playground/index.html"
PAGES = pages(SITE)
KILO = 1000
PAGE, SCRIPT, INLINED = 600 * KILO, 300 * KILO, 10 * KILO
IMG = re.compile(r'<img\b(?:[^>"]|"[^"]*")*>')
SHIFTS = """() => { window.shifted = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true }) }"""
# Boxes that scroll and that a keyboard does not reach, each looked at when it is in view.
UNREACHED = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const found = [];
  const boxes = "article pre, .cell_output > .output, .pst-scrollable-table-container";
  for (const box of document.querySelectorAll(boxes)) {
    if (!box.checkVisibility()) continue;
    box.scrollIntoView({ block: "center" });
    await frame(); await frame(); await frame();
    const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (scrolls !== box.tabIndex >= 0) found.push(box.textContent.trim().slice(0, 60));
    window.looked = (window.looked ?? 0) + scrolls;
  }
  return found;
}"""
PHONE = {"width": 412, "height": 823}

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here: the site is not opened"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(SITE) as address:
        yield address


def compressed(text: bytes) -> int:
    return len(gzip.compress(text, 6))


@pytest.mark.parametrize("path", [*PAGES, PLAYGROUND])
def test_page_is_light_and_stands_still(browser: Browser, address: str, path: str) -> None:
    page = browser.new_page(viewport=PHONE)
    page.add_init_script(f"({SHIFTS})()")
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(address + path, wait_until="networkidle")
    page.wait_for_function(READY)
    weighed = [one for one in answers if one.request.resource_type not in ("image", "media")]
    weights = {one.url.removeprefix(address): compressed(one.body()) for one in weighed if one.ok}
    assert path in weights
    assert sum(weights.values()) <= PAGE, weights
    assert page.evaluate("window.shifted") < 0.1
    if path != "search.html":
        assert not [url for url in weights if "searchindex" in url]
    page.close()


@pytest.mark.parametrize("path", [*PAGES, PLAYGROUND])
def test_pictures_are_small_files_of_known_size(path: str) -> None:
    text = (SITE / path).read_text(encoding="utf-8")
    tags = IMG.findall(text)
    assert [tag[:80] for tag in tags if not re.search(r'\swidth="\d+" height="\d+"', tag)] == []
    inlined = [len(data) for data in re.findall(r"data:image/[^\"')]+", text)]
    assert max(inlined, default=0) <= INLINED
    waited_for = [tag for tag in tags if "/_images/" in tag and 'loading="lazy"' not in tag]
    assert len(waited_for) <= 1


@pytest.mark.parametrize("name", ["fgsm", "inside", "analysis_by_synthesis"])
def test_a_keyboard_reaches_what_scrolls(browser: Browser, address: str, name: str) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(f"{address}chapters/{chapter_file(name).stem}.html", wait_until="load")
    assert page.evaluate(UNREACHED) == []
    assert page.evaluate("window.looked") >= 1
    page.close()


def test_no_script_is_large() -> None:
    """Uncompressed, whether a page loads it or not."""
    sizes = {path.relative_to(SITE).as_posix(): path.stat().st_size for path in SITE.rglob("*.js")}
    assert sizes
    assert {name: size for name, size in sizes.items() if size > SCRIPT} == {}
