"""The playground, opened and waited for."""

from __future__ import annotations

from playwright.sync_api import Browser, Page

PATH = "_static/playground/index.html"
ANSWERED = "['answered', 'done'].includes(document.body.dataset.state)"
DONE = "document.body.dataset.state === 'done'"
PATIENCE = 240_000


def opened(browser: Browser, address: str, **options: object) -> Page:
    """The page after its first answer, at few steps, so that tests are quick."""
    page = browser.new_page(**options)
    page.goto(address + PATH)
    settled(page)
    page.locator("#steps").fill("5")
    settled(page)
    return page


def settled(page: Page, what: str = ANSWERED) -> None:
    """Wait until the newest attack is answered, or with DONE until its curves are drawn too."""
    page.wait_for_function(what, timeout=PATIENCE)
