"""The playground's photographs, opened and waited for, and what tests run in their page."""

from __future__ import annotations

import base64

import torch
from playwright.sync_api import Browser, Page
from torch import Tensor

from tests.site.playground_page import PATH, PATIENCE

DONE = "document.getElementById('photo-panel').dataset.state === 'done'"
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

# Numbers as text: as lists they would take many seconds.
_ENCODED = """const encoded = (numbers) => btoa(Array.from(new Uint8Array(numbers.buffer),
  (byte) => String.fromCharCode(byte)).join(""));"""
CANVAS = f"""(name) => {{ {_ENCODED} const canvas = document.getElementById(name);
  return encoded(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
}}"""
# Classes and shares of a table of bars.
BARS = """(name) => [...document.querySelectorAll(`#${name} tr`)].map((row) =>
  [row.children[0].textContent, parseFloat(row.children[2].textContent)])"""
_LOADED = f"""{_ENCODED}
  const folder = "/_static/playground/";
  const {{ network }} = await import(folder + "photographs/network.js");
  const {{ lossGradient }} = await import(folder + "network.js");
  const description = await (await fetch(folder + "photographs.json")).json();
  const content = await (await fetch(folder + "photograph_weights.bin")).arrayBuffer();
  const net = network(description, content);
"""
GRADIENT = f"""async ([levels, label]) => {{ {_LOADED}
  const image = Float32Array.from(atob(levels), (one) => one.charCodeAt(0) / 255);
  const {{ logits, gradient }} = lossGradient(net, image, label);
  return [encoded(logits), encoded(gradient)];
}}"""
THREE_STEPS = f"""async () => {{ {_LOADED}
  const {{ pgd }} = await import(folder + "attacks.js");
  const image = new Float32Array(3 * 224 * 224).fill(0.5);
  const attacked = () => net.forward(pgd(net, image, {{ label: 1, epsilon: 2 / 255, steps: 3 }}));
  attacked();
  const began = performance.now();
  attacked();
  return performance.now() - began;
}}"""


def gradient(page: Page, levels: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """What the browser computes of an image in levels (3, H, W): logits (K,), and the gradient."""
    text = base64.b64encode(levels.to(torch.uint8).numpy().tobytes()).decode()
    logits, slopes = (
        torch.frombuffer(bytearray(base64.b64decode(part)), dtype=torch.float32)
        for part in page.evaluate(GRADIENT, [text, label])
    )
    return logits, slopes.view_as(levels)


def levels(page: Page, name: str) -> Tensor:
    """The picture of a canvas (3, H, W) in levels of 255."""
    found = bytearray(base64.b64decode(page.evaluate(CANVAS, f"photo-{name}")))
    pixels = torch.frombuffer(found, dtype=torch.uint8)
    side = int((len(pixels) / 4) ** 0.5)
    return pixels.view(side, side, 4)[:, :, :3].permute(2, 0, 1).float()


def bars(page: Page, name: str) -> dict[str, float]:
    """The classes of a table of bars, and their shares in percent."""
    return dict(page.evaluate(BARS, f"photo-{name}-bars"))


def opened(browser: Browser, address: str, **options: object) -> Page:
    """The page after the first answer about a photograph."""
    page = browser.new_page(**options)
    page.goto(address + PATH)
    page.locator("#steps").fill("1")
    page.get_by_role("button", name="Load the network").click()
    page.wait_for_selector("#photo-panel[data-state=done]", timeout=PATIENCE)
    return page


def settled(page: Page) -> None:
    """Wait until the newest attack is answered."""
    page.wait_for_function(DONE, timeout=PATIENCE)
