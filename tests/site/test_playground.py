"""The playground in a real browser computes what PyTorch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, zoo
from armsrace.defenses.purifier import Purified
from tests.site import playground_scripts as scripts
from tests.site.site_browser import chromium_path

ROWS = ("undefended", "trained", "purified")

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here"),
]


def reference(row: str) -> nn.Module:
    plain = zoo.load("s3-cnn")
    return {
        "undefended": plain,
        "trained": zoo.load("manifold-robust"),
        "purified": Purified(zoo.load("magnet-1"), plain).eval(),
    }[row]


@pytest.fixture(scope="module")
def digits(folder: Path) -> Tensor:
    pixels = np.fromfile(folder / "_static/playground/digits.bin", np.uint8)
    return torch.tensor(pixels.reshape(-1, 1, 28, 28), dtype=torch.float32) / 255


@pytest.fixture(scope="module")
def labels(digits: Tensor) -> Tensor:
    return torch.arange(10).repeat(len(digits) // 10)


def gradients(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_()
    logits = model(images)
    nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    assert images.grad is not None
    return logits.detach(), images.grad


def exact_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """In float64, with p − 1 as minus the sum of the others, which rounding does not take away."""
    images = images.double().requires_grad_()
    logits = model.double()(images)
    slopes = logits.detach().softmax(dim=1).scatter(1, labels[:, None], 0)
    slopes = slopes.scatter(1, labels[:, None], -slopes.sum(dim=1, keepdim=True))
    return torch.autograd.grad(logits, images, slopes)[0].flatten(1)


@pytest.mark.parametrize("row", ROWS)
def test_logits_and_gradients_are_those_of_pytorch(page, digits, labels, row: str) -> None:
    found = page.evaluate(scripts.GRADIENTS, row)
    logits, gradient = (torch.tensor(found[name]) for name in ("logits", "gradients"))
    model = reference(row)
    expected, slopes = gradients(model, digits, labels)
    apart = (logits - expected).abs().max(), (gradient - slopes.flatten(1)).abs().max()
    assert len(digits) == 100
    assert max(apart) < 1e-4
    assert torch.equal(logits.argmax(dim=1), expected.argmax(dim=1))
    # Where a network is sure, its gradient is tiny: then the same must hold of its direction.
    exact = exact_gradients(model, digits, labels)
    steepest = exact.abs().amax(dim=1, keepdim=True)
    relative = ((gradient - exact).abs() / steepest).max()
    firm = exact.abs() > 1e-3 * steepest
    same = (gradient.sign() == exact.sign())[firm].double().mean()
    print(f"{row}: logits differ by at most {apart[0]:.1e}, gradients by {apart[1]:.1e}, "
          f"by {relative:.1e} of the steepest; {same:.2%} of signs agree")  # fmt: skip
    assert relative < 1e-3 and same == 1


@pytest.mark.parametrize("row", ROWS)
def test_attacks_are_those_of_the_library(page, digits, labels, row: str) -> None:
    model, epsilon, steps, count = reference(row), 0.2, 10, 20
    images, classes = digits[:count], labels[:count]
    settings = {"epsilon": epsilon, "steps": steps, "count": count}
    found = page.evaluate(scripts.ATTACKS, [row, settings])
    one, many, wanted = (torch.tensor(part).view_as(images) for part in found["images"])
    for adversarial in (one, many, wanted):
        assert (adversarial - images).abs().max() <= epsilon + 1e-6
        assert adversarial.min() >= 0 and adversarial.max() <= 1
    fooled = model(many).argmax(dim=1) != classes
    library = attacks.pgd(model, images, classes, epsilon=epsilon, steps=steps)
    assert abs(int(fooled.sum()) - int(library.success.sum())) <= 2
    targets = (classes + 1) % 10
    hits = model(wanted).argmax(dim=1) == targets
    library = attacks.pgd(model, images, classes, epsilon=epsilon, steps=steps, targets=targets)
    assert abs(int(hits.sum()) - int(library.success.sum())) <= 2
    assert found["again"] == found["images"][1][0], "the start must not change"
    # In float32 the library's slope is 0 where the network is sure, and the step with it.
    step = attacks.fgsm(model.double(), images.double(), classes, epsilon=epsilon).images
    unsure = exact_gradients(model, images, classes).abs().amax(dim=1) > 1e-10
    assert unsure.sum() >= count / 2
    assert ((one - step).abs() < 1e-5)[unsure].double().mean() > 0.999


@pytest.mark.parametrize("row", ROWS)
def test_forty_steps_take_no_time(page, row: str) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        """Milliseconds of processor time: other programs do not count."""
        metrics = session.send("Performance.getMetrics")["metrics"]
        return 1000 * next(one["value"] for one in metrics if one["name"] == "ThreadTime")

    began = busy()
    quickest = page.evaluate(scripts.FORTY_STEPS, row)
    mean = (busy() - began) / scripts.RUNS
    print(f"{row}: 40 PGD steps in {mean:.0f} ms of processor time, {quickest:.0f} ms by the clock")
    # The aim is 250 ms; slower machines may take more.
    assert mean < 750
