"""Few pixels: as few as a linear model needs, all of them of use, and none counted twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.norms import distances

IMAGE = torch.full((1, 1, 1, 6), 0.5, dtype=torch.float64)
LABEL = torch.tensor([0])


def _linear(weights: list[float], gap: float) -> nn.Module:
    """Class 1 wins where the weighted sum of the changes of six pixels exceeds the gap."""
    layer = nn.Linear(6, 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0] * 6, weights]))
        layer.bias.copy_(torch.tensor([0.0, -gap - 0.5 * sum(weights)]))
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize(
    ("gap", "needed"), [(0.9, [0]), (1.5, [0, 3]), (2.2, [0, 3, 5]), (-0.1, [])]
)
def test_a_linear_model_needs_its_heaviest_pixels(gap: float, needed: list[int]) -> None:
    """Each pixel can give half of its weight at most: 1, .75, .5, .25 and so on."""
    model = _linear([2.0, 0.2, -0.1, -1.5, 0.5, 1.0], gap)
    found = attacks.carlini_wagner_l0(model, IMAGE, LABEL)
    assert found.success.all()
    assert (found.images != IMAGE).flatten().nonzero()[:, 0].tolist() == needed


def test_a_pixel_counts_once_with_all_its_channels() -> None:
    image = torch.full((1, 3, 1, 2), 0.5, dtype=torch.float64)

    def model(images: Tensor) -> Tensor:
        first = images[:, :, 0, 0].sum(dim=1) - 2.4
        return torch.stack([torch.zeros_like(first), first], dim=1)

    found = attacks.carlini_wagner_l0(model, image, LABEL)
    assert found.success.all() and distances(found.images - image, "l0").tolist() == [1.0]
    assert (found.images != image)[0, :, 0, 0].all(), "one channel alone cannot do it"


def test_every_pixel_is_needed(model: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    """Putting back any one pixel undoes the attack, on nearly all digits."""
    images, labels = digits[0][:8], digits[1][:8]
    found = attacks.carlini_wagner_l0(model, images, labels)
    assert found.success.all()
    undone = total = 0
    for image, clean, label in zip(found.images, images, labels, strict=True):
        places = (image != clean).any(dim=0).nonzero()
        for row, column in places.tolist():
            restored = image.clone()
            restored[:, row, column] = clean[:, row, column]
            undone += int(model(restored[None]).argmax(dim=1) == label)
            total += 1
    assert undone >= 0.95 * total


def test_confidence_costs_pixels_and_is_kept(
    model: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits[0][:8], digits[1][:8]
    targets = (labels + 1) % 10
    near, sure = (
        attacks.carlini_wagner_l0(model, images, labels, targets=targets, confidence=k)
        for k in (0.0, 3.0)
    )
    logits = model(sure.images).detach()
    rivals = logits.scatter(1, targets[:, None], -torch.inf).amax(dim=1)
    lead = logits.gather(1, targets[:, None])[:, 0] - rivals
    assert sure.success.all() and (lead >= 3).all()
    counts = [distances(found.images - images, "l0").mean() for found in (near, sure)]
    assert counts[0] < counts[1]


def test_rounded_images_have_so_many_levels(
    model: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images = (digits[0][:4] * 255).round() / 255
    found = attacks.carlini_wagner_l0(model, images, digits[1][:4], levels=256)
    assert found.success.all()
    steps = found.images * 255
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"drop": 1.0}, "drop must be > 0 and < 1, got 1.0"),
        ({"largest_constant": 0.5}, "largest_constant must be >= 1, got 0.5"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
    ],
)
def test_bad_options_are_named(options: dict[str, float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.carlini_wagner_l0(_linear([1.0] * 6, 1.0), IMAGE, LABEL, **options)
