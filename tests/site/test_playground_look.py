"""The playground as a reader meets it: whole, named, legible, in the site's theme."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.site import playground_scripts as scripts
from tests.site.playground_page import PATH, opened, settled
from tests.site.site_browser import chromium_path, problems, served

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here"),
]


def test_page_is_whole_and_asks_no_network(browser: Browser, address: str) -> None:
    assert problems(browser, address, PATH) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_that_is_shown_has_a_name_and_contrast(browser, address, scheme: str) -> None:
    page = opened(browser, address, color_scheme=scheme)
    page.get_by_label("Targeted PGD").check()
    page.get_by_role("button", name="Draw one").click()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    settled(page)
    session = page.context.new_cdp_session(page)
    tree = session.send("Accessibility.getFullAXTree")["nodes"]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree
             if not node["ignored"] and node["role"]["value"] in scripts.NEED_A_NAME]  # fmt: skip
    assert len(named) > 30
    assert [role for role, name in named if not name.strip()] == []
    assert page.evaluate(scripts.FAINT) == []
    page.close()


@pytest.mark.parametrize(("mode", "scheme", "theme"), [
    (None, "dark", "dark"), ("auto", "light", "light"), ("dark", "light", "dark"),
    ("light", "dark", "light"),
])  # fmt: skip
def test_theme_is_the_sites_or_the_systems(browser, address, mode, scheme, theme) -> None:
    page = browser.new_page(color_scheme=scheme)
    if mode:
        page.add_init_script(f"localStorage.setItem('mode', '{mode}')")
    page.goto(address + PATH)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    page.close()


def test_damaged_weights_are_named(browser: Browser, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "_static/playground/weights.bin"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    with served(tmp_path) as address:
        page = browser.new_page()
        page.goto(address + PATH)
        page.wait_for_function("document.getElementById('status').textContent.includes('damaged')")
        assert "weights.bin is damaged" in page.inner_text("#status")
        page.close()
