"""Analysis by synthesis in the playground: its drawings, its half-spaces, and pixels to flip."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page
from torch import Tensor

from armsrace import defenses, zoo
from armsrace.models.abs_vae import ClassDecoders
from armsrace.resources import CLONE
from tests.site import playground_scripts as scripts
from tests.site.playground_page import PATIENCE, opened, settled
from tests.site.site_browser import chromium_path

LOAD = "Load the ten generators"
DRAWN = "document.getElementById('synthesis-panel').dataset.state === 'done'"
COUNT = 8
EXPLAINED = """async (count) => {
  const { checked, load } = await import("/_static/playground/defenses.js");
  const { explainer } = await import("/_static/playground/synthesis/search.js");
  const { manifest, digits } = await load(location.href);
  const content = await checked(location.href, manifest, "synthesis.bin");
  const { classes, explain } = explainer(manifest.synthesis, content);
  return Array.from({ length: count }, (_, at) => {
    const image = Float32Array.from(digits.subarray(784 * at, 784 * at + 784), (v) => v / 255);
    return Array.from({ length: classes }, (_, label) => {
      const { latents, drawing, cost } = explain(label, image);
      return { latents, cost, drawing: [...drawing] };
    });
  });
}"""
HALFSPACE = """async ([winner, rival, clean]) => {
  const { bestFlip, covered, flipped, halfspace } =
    await import("/_static/playground/synthesis/halfspaces.js");
  const space = halfspace(winner, rival);
  const length = Math.hypot(...space.normal);
  const at = clean.map((pixel, i) => pixel + (space.normal[i] * space.distance) / length);
  return { ...space, at, covered: covered(space, at, clean), best: bestFlip(space, clean, clean),
    flips: clean.map(flipped) };
}"""

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here"),
]


@pytest.fixture(scope="module")
def digits(folder: Path) -> Tensor:
    pixels = np.fromfile(folder / "_static/playground/digits.bin", np.uint8)
    return torch.tensor(pixels.reshape(-1, 1, 28, 28), dtype=torch.float32) / 255


@pytest.fixture
def panel(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page with the panel open, on a desk or, where the test asks for it, in a hand."""
    options = getattr(request, "param", {})
    page = opened(browser, address, **options)
    page.get_by_role("button", name=LOAD).click()
    drawn(page)
    yield page
    page.close()


def drawn(page: Page) -> None:
    page.wait_for_function(DRAWN, timeout=PATIENCE)


def place(page: Page, row: int, column: int) -> tuple[float, float]:
    """Where a pixel of the board is in the window."""
    page.locator("#board").scroll_into_view_if_needed()
    box = page.locator("#board").bounding_box()
    assert box is not None
    x, y = ((at + 0.5) / 28 for at in (column, row))
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def count(page: Page) -> int:
    return int(page.inner_text("#board-count").split()[0])


def test_drawings_and_costs_are_those_of_the_library(page: Page, digits: Tensor) -> None:
    found = page.evaluate(EXPLAINED, COUNT)
    latents, costs, drawings = (
        torch.tensor([[one[key] for one in row] for row in found])
        for key in ("latents", "cost", "drawing")
    )
    decoders = ClassDecoders(zoo.load("abs"))
    images = digits[:COUNT].flatten(1)
    with torch.no_grad():
        expected = decoders.draw(latents)
        errors = (images[:, None] - expected).square().sum(dim=2)
    # The browser's weights are float16.
    assert (drawings - expected).abs().max() < 0.02
    torch.testing.assert_close(costs, errors + latents.square().sum(dim=2) / 2, atol=0.1, rtol=0)
    assert (latents.norm(dim=2) <= 5.001).all()
    exact = defenses.AnalysisBySynthesis(decoders, inference="exact", samples=500)
    optimal = exact.explain(digits[:COUNT]).costs
    gaps = costs / optimal - 1
    own = gaps.gather(1, torch.arange(COUNT)[:, None])
    assert torch.equal(costs.argmin(dim=1), optimal.argmin(dim=1))
    assert own.max() < 0.02 and gaps.median() < 0.01
    assert (gaps < 0.05).double().mean() > 0.85


def test_halfspace_is_where_the_held_drawings_cost_the_same(page: Page) -> None:
    draw = torch.rand(3, 784, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clean, winner, rival = draw
    prices = 1.5, 4.0
    costs = [
        ((clean - drawing).square().sum() + price).item()
        for drawing, price in zip((winner, rival), prices, strict=True)
    ]
    # The order of the two does not matter for the identity; the nearer one has won.
    held = [
        {"drawing": drawing.tolist(), "cost": cost}
        for drawing, cost in zip((winner, rival), costs, strict=True)
    ]
    held.sort(key=lambda one: one["cost"])
    found = page.evaluate(HALFSPACE, [*held, clean.tolist()])
    at = torch.tensor(found["at"], dtype=torch.float64)
    drawings = [torch.tensor(one["drawing"], dtype=torch.float64) for one in held]
    latent = [
        one["cost"] - (clean - d).square().sum() for one, d in zip(held, drawings, strict=True)
    ]
    there = [(at - d).square().sum() + k for d, k in zip(drawings, latent, strict=True)]
    torch.testing.assert_close(there[0], there[1])
    assert (at - clean).norm().item() == pytest.approx(found["distance"])
    assert found["distance"] > 0 and found["covered"] == pytest.approx(1)
    normal = drawings[1] - drawings[0]
    gains = (torch.tensor(found["flips"]) - clean) * normal
    assert found["best"] == int(gains.argmax())
    assert found["flips"] == (clean < 0.5).long().tolist()


def test_mouse_flips_a_pixel_and_takes_it_back(panel: Page) -> None:
    assert count(panel) == 0
    assert panel.inner_text("#synthesis-reads").startswith("7 ✓")
    assert panel.inner_text("#network-reads").startswith("7 ✓")
    before = panel.locator("#drawings .cost").all_inner_texts()
    panel.mouse.click(*place(panel, 20, 20))
    drawn(panel)
    assert count(panel) == 1 and "‖δ‖₂ = 1.00" in panel.inner_text("#board-count")
    after = panel.locator("#drawings .cost").all_inner_texts()
    assert len(after) == 10 and all(one != two for one, two in zip(before, after, strict=True))
    panel.mouse.click(*place(panel, 20, 20))
    drawn(panel)
    assert count(panel) == 0
    panel.mouse.click(*place(panel, 3, 4))
    panel.mouse.click(*place(panel, 3, 5))
    panel.get_by_role("button", name="Undo").click()
    drawn(panel)
    assert count(panel) == 1
    panel.get_by_role("button", name="Reset").click()
    drawn(panel)
    assert count(panel) == 0


def test_keyboard_flips_and_chooses_a_rival(panel: Page) -> None:
    panel.locator("#board").focus()
    panel.keyboard.press("ArrowRight")
    assert "At row 15, column 16" in panel.inner_text("#play-status")
    panel.keyboard.press("Space")
    drawn(panel)
    assert count(panel) == 1
    assert "1 flipped. The network reads" in panel.inner_text("#play-status")
    panel.locator("#drawings [aria-checked=true]").focus()
    chosen = panel.get_attribute("#normal", "aria-label")
    seen = set()
    for _ in range(10):
        panel.keyboard.press("ArrowRight")
        seen.add(panel.get_attribute("#normal", "aria-label"))
    assert chosen in seen and len(seen) == 9, "every rival of the winner can be chosen"


@pytest.mark.parametrize(
    "panel",
    [{"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}],
    indirect=True,
)
def test_finger_flips_pixels_and_suggestions_go_toward_the_rival(panel: Page) -> None:
    assert panel.evaluate("document.documentElement.scrollWidth") <= 390
    panel.touchscreen.tap(*place(panel, 10, 6))
    drawn(panel)
    assert count(panel) == 1
    share = "document.querySelector('#drawings [aria-checked=true] .meter span').style.width"
    panel.get_by_role("button", name="Reset").tap()
    drawn(panel)
    shares = []
    for flips in range(1, 4):
        panel.get_by_role("button", name="Suggest a pixel").tap()
        drawn(panel)
        assert count(panel) == flips
        shares.append(float(panel.evaluate(share).rstrip("%")))
    assert 0 < shares[0] < shares[1] < shares[2]


def test_fewest_pixels_are_kept_until_another_digit_is_chosen(panel: Page) -> None:
    for _ in range(25):
        if panel.inner_text("#synthesis-record") != "–":
            break
        panel.get_by_role("button", name="Suggest a pixel").click()
        drawn(panel)
    record = int(panel.inner_text("#synthesis-record"))
    assert 2 <= record == count(panel)
    assert "✗" in panel.inner_text("#synthesis-reads")
    panel.get_by_role("button", name="Suggest a pixel").click()
    drawn(panel)
    assert int(panel.inner_text("#synthesis-record")) == record
    panel.get_by_role("radio", name=re.compile("a 3, set")).click()
    drawn(panel)
    assert panel.inner_text("#synthesis-record") == "–" and count(panel) == 0
    assert panel.inner_text("#synthesis-reads").startswith("3 ✓")


@pytest.mark.parametrize("panel", [
    {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
], indirect=True)  # fmt: skip
def test_panel_is_named_legible_and_passes_axe(panel: Page) -> None:
    panel.get_by_role("button", name="Suggest a pixel").click()
    drawn(panel)
    settled(panel)
    session = panel.context.new_cdp_session(panel)
    tree = session.send("Accessibility.getFullAXTree")["nodes"]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree
             if not node["ignored"] and node["role"]["value"] in scripts.NEED_A_NAME]  # fmt: skip
    assert len(named) > 50
    assert [role for role, name in named if not name.strip()] == []
    assert panel.evaluate(scripts.FAINT) == []
    panel.evaluate(AXE_SCRIPT)
    wrong = panel.evaluate("""async () =>
      (await axe.run("#synthesis", { resultTypes: ["violations"] })).violations
        .map(({ id, nodes }) => [id, nodes.map((node) => node.target.join(" "))])""")
    assert wrong == []


def test_pages_that_the_playground_links_to_exist() -> None:
    folder = CLONE / "book" / "_static" / "playground"
    text = "".join(path.read_text(encoding="utf-8") for path in
                   [folder / "index.html", *folder.rglob("*.js")])  # fmt: skip
    linked = set(re.findall(r"\.\./\.\./(chapters|book)/(\w+)\.html", text))
    assert len(linked) >= 7
    assert [one for one in linked if not (CLONE / one[0] / f"{one[1]}.md").is_file()] == []
