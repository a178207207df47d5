from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from armsrace import attacks
from armsrace.publishing.redirects import MOVED, SECTIONS
from armsrace.resources import chapter_file
from tests.site.site_browser import chromium_path, problems, served
from tests.site.site_links import broken, pages

SITE = Path(__file__).resolve().parents[2] / "_build" / "html"
PAGES = pages(SITE)
BROKEN_PAGE = """<!doctype html><html><head><script src="https://example.org/x.js"></script></head>
<body style="width: 3000px"><article><img src="missing.png"><a href="gone.html">x</a>
<a href="#nowhere">y</a><span class="math">\\(x\\)</span> see {ref}
<figure class="ar-slider" id="stuck"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
<input type="range" min="0" max="3" value="0"></figure></article>
<script>nothing()</script>
</body></html>"""
SIGNS = ("network", "script error", "image does not", "mathematics", "{ref}", "wide", "stuck")

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here: the site is not opened"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(SITE) as address:
        yield address


def test_site_is_built_with_all_chapters() -> None:
    chapters = {path.stem for path in (SITE.parents[1] / "chapters").glob("*.md")}
    assert chapters
    assert chapters <= {Path(page).stem for page in PAGES}, "run `make book` first"


def test_site_opens_on_the_landing_page(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.wait_for_url("**/book/intro.html")
    page.close()


@pytest.mark.parametrize("path", PAGES)
def test_page_is_whole(browser: Browser, address: str, path: str) -> None:
    assert problems(browser, address, path) == []


@pytest.mark.parametrize("path", PAGES)
def test_page_links_lead_somewhere(path: str) -> None:
    assert broken(SITE, SITE / path) == []


@pytest.mark.parametrize("old", MOVED)
def test_an_old_address_leads_to_the_chapter(browser: Browser, address: str, old: str) -> None:
    page = browser.new_page()
    places = {"exercises": f"{MOVED[old]}#exercises", **SECTIONS.get(old, {})}
    for anchor, place in places.items():
        topic, _, there = place.partition("#")
        page.goto(f"{address}/chapters/{old}.html#{anchor}")
        page.wait_for_url(f"**/chapters/{chapter_file(topic).stem}.html#{there}")
        assert page.locator(f"[id='{there}']").count() == 1
    page.close()
    assert broken(SITE, SITE / "chapters" / f"{old}.html") == []


def test_every_chapter_has_a_slider_a_strip_and_its_notebook() -> None:
    for page in (page for page in PAGES if page.startswith("chapters/")):
        text = (SITE / page).read_text(encoding="utf-8")
        assert 'class="ar-slider"' in text, page
        assert 'class="ar-strip"' in text, page
        assert (SITE / "notebooks" / f"{Path(page).stem}.ipynb").is_file(), page


def test_commands_can_be_copied() -> None:
    """Two hyphens are two hyphens, in tables and in sentences."""
    text = "".join((SITE / page).read_text(encoding="utf-8") for page in PAGES)
    commands = re.findall(r"python benchmarks/\w+\.py [^<;]*", text)
    assert [command for command in commands if " --" in command]
    assert [command for command in commands if re.search(r" –\w|[‘’]", command)] == []


@pytest.mark.parametrize("name", ["carlini_wagner_l2", "bpda", "masking_report"])
def test_search_finds_functions(browser: Browser, address: str, name: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q={name}")
    page.locator(f"#search-results a[href*='book/api.html'][href$='.{name}']").first.wait_for()
    page.close()


def test_gallery_has_a_card_for_every_attack(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/book/gallery.html")
    cards = page.locator("section.ar-card")
    assert {f"attacks-{name}" for name in attacks.__all__} <= set(
        cards.evaluate_all("cards => cards.map(card => card.id)")
    )
    for card in cards.all():
        assert card.locator("img").count() >= 2
        assert len(card.locator("p").nth(1).text_content() or "") > 20
        assert card.locator("a[href*='chapters/']").count() == 1
    page.close()


def test_ledger_is_filtered(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/book/ledger.html")
    rows = page.locator("tr[data-verdict]")
    page.get_by_label("Verdict").select_option("reproduced")
    assert 0 < rows.locator("visible=true").count() < rows.count()
    page.get_by_label("Words").fill("there is no such claim")
    assert rows.locator("visible=true").count() == 0
    assert page.get_by_text(f"0 of {rows.count()} claims").is_visible()
    page.close()


def test_ledger_has_what_the_chapters_measured(browser: Browser, address: str) -> None:
    measured = json.loads((SITE.parent / "measured" / "reader.json").read_text(encoding="utf-8"))
    page = browser.new_page()
    page.goto(f"{address}/book/ledger.html")
    told = page.locator("tr[data-verdict]:not([data-verdict='not measured'])").count()
    assert told >= len(measured) > 0
    page.close()


def test_checks_notice_what_is_broken(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(BROKEN_PAGE)
    with served(tmp_path) as address:
        found = "\n".join(problems(browser, address, "page.html"))
    assert [sign for sign in SIGNS if sign not in found] == []
    assert broken(tmp_path, page) == ["#nowhere", "gone.html", "missing.png"]
