"""What a reader would notice on a page, found by a real browser that reaches no network."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, Route, sync_playwright

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
SIZES = ((1360, 900), (390, 844))

IMAGES = """async () => { const late = [...document.images];
  late.forEach(i => { i.loading = 'eager' });
  await Promise.all(late.map(i => i.decode().catch(() => null)));
  return late.filter(i => !(i.complete && i.naturalWidth))
    .map(i => (i.getAttribute('src') || '').slice(0, 80)) }"""
FORMULAS = """() => { const written = [...document.querySelectorAll('.math')];
  const seen = m => !m.checkVisibility() || m.getBoundingClientRect().width > 2;
  const drawn = f => [...f.querySelectorAll(':scope > math')]
    .filter(m => m.textContent.trim() && seen(m)).length === 1;
  return {written: written.length, drawn: written.filter(drawn).length,
    wrong: document.querySelectorAll('merror, math [style*="color"], .math code').length} }"""
RAW = ("$$", "\\(", "\\[", "??", "{ref}", "{cite")
TEXT = """() => { const a = (document.querySelector('article') || document.body).cloneNode(true);
  a.querySelectorAll('pre, code, script, style, math').forEach(e => e.remove());
  return a.textContent }"""
SHOWN = "f => [...f.querySelectorAll('img')].findIndex(i => i.offsetParent !== null)"
READY = "document.fonts.ready.then(() => true)"


def chromium_path() -> str | None:
    """The browser of this machine, None where it has none."""
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, served from this machine."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def started(*flags: str) -> Iterator[Browser]:
    """A headless browser, with further flags."""
    with sync_playwright() as playwright:
        arguments = [*FLAGS, *flags]
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=arguments)
        yield browser
        browser.close()


def problems(browser: Browser, address: str, path: str) -> list[str]:
    """All that is wrong with one page, wide and narrow, in words; empty where nothing is."""
    found: list[str] = []

    def local_only(route: Route) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            found.append(f"asks the network for {route.request.url}")
            route.abort()

    page = browser.new_page()
    page.route("**/*", local_only)
    page.on("pageerror", lambda error: found.append(f"script error: {error}"))
    page.on("console", lambda m: found.append(f"console: {m.text}") if m.type == "error" else None)
    page.goto(address + path, wait_until="load")
    page.wait_for_function(READY)
    found += _contents(page)
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        found += _sliders(page)
        if (needed := page.evaluate("document.documentElement.scrollWidth")) > width:
            found.append(f"is {needed} pixels wide in a window of {width}")
    page.close()
    return found


def _contents(page: Page) -> list[str]:
    found = [f"image does not load: {source}" for source in page.evaluate(IMAGES)]
    formulas = page.evaluate(FORMULAS)
    if formulas["drawn"] != formulas["written"] or formulas["wrong"]:
        found.append(f"mathematics: {formulas}")
    text = page.evaluate(TEXT)
    found += [f"raw text on the page: {sign}" for sign in RAW if sign in text]
    if page.query_selector(".system-message, .problematic"):
        found.append("an unresolved reference")
    return found


def _sliders(page: Page) -> list[str]:
    found = []
    for figure in page.query_selector_all("figure.ar-slider"):
        name, control = figure.get_attribute("id"), figure.query_selector("input[type=range]")
        if control is None:
            found.append(f"slider {name} has no control")
            continue
        last = int(control.get_attribute("max") or 0)
        for key, expected in (("Home", 0), ("End", last), ("ArrowLeft", last - 1)):
            control.press(key)
            if (shown := figure.evaluate(SHOWN)) != expected:
                found.append(f"slider {name} shows picture {shown} for {expected}")
    return found
