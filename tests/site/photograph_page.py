"""The playground's photographs, opened and waited for, and what tests run in their page."""

from __future__ import annotations

from playwright.sync_api import Browser, Page

from tests.site.playground_page import PATH, PATIENCE

DONE = "document.getElementById('photo-panel').dataset.state === 'done'"
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

# An image (3, 224, 224) of a canvas in levels of 255.
CANVAS = """(name) => { const canvas = document.getElementById(name);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const plane = canvas.width * canvas.height;
  return Array.from({ length: 3 * plane }, (_, at) =>
    data[4 * (at % plane) + Math.floor(at / plane)]); }"""
# Classes and shares of a table of bars.
BARS = """(name) => [...document.querySelectorAll(`#${name} tr`)].map((row) =>
  [row.children[0].textContent, parseFloat(row.children[2].textContent)])"""
_LOADED = """
  const folder = "/_static/playground/";
  const { network } = await import(folder + "photographs/network.js");
  const { lossGradient } = await import(folder + "network.js");
  const description = await (await fetch(folder + "photographs.json")).json();
  const content = await (await fetch(folder + "photograph_weights.bin")).arrayBuffer();
  const net = network(description, content);
"""
GRADIENTS = f"""async ([images, labels]) => {{ {_LOADED}
  const found = images.map((levels, at) => {{
    const image = Float32Array.from(levels, (level) => level / 255);
    const {{ logits, gradient }} = lossGradient(net, image, labels[at]);
    return [[...logits], [...gradient]];
  }});
  return {{ logits: found.map((one) => one[0]), gradients: found.map((one) => one[1]) }};
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
