"""The one-pixel attack where the answer is known, when it stops, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.sparse.one_pixel import TUTORIAL
from armsrace.norms import distances
from tests.attacks.cases import Counting

SIDE = 8
BLACK = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64)
LABEL = torch.tensor([0])


def hills(*peaks: tuple[int, int], threshold: float = 0.95) -> nn.Module:
    """One class per peak, which wins where its pixel is white, and class 0 where none is.

    A pixel counts less the farther it is from the peak. So the search can improve step by step, but
    one pixel beside the peak is not enough.
    """
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    layer = nn.Linear(SIDE * SIDE, 1 + len(peaks)).double()
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(-threshold)
        layer.bias[0] = 0
        for number, (row, column) in enumerate(peaks, start=1):
            away = (rows - row) ** 2 + (columns - column) ** 2
            layer.weight[number] = (-away.double() / 10).exp().flatten()
        layer.weight *= 10
        layer.bias *= 10
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize("base", ["random", "best"])
def test_the_one_pixel_that_decides_is_found(base: Any) -> None:
    result = attacks.one_pixel(
        hills((5, 2)), BLACK, LABEL, population=40, generations=60, base=base, label_below=0.5
    )
    assert result.success.all()
    assert (result.images[0, 0] != 0).nonzero().tolist() == [[5, 2]]


def test_targets_choose_the_pixel() -> None:
    peaks = [(1, 6), (6, 1)]
    model, black = hills(*peaks), BLACK.expand(2, -1, -1, -1).clone()
    # Equal images get equal numbers, so only the targets can make the difference.
    result = attacks.one_pixel(
        model, black, LABEL.expand(2), population=40, generations=60, target_above=0.5,
        targets=torch.tensor([1, 2]),
    )  # fmt: skip
    assert result.success.all()
    for image, (row, column) in zip(result.images, peaks, strict=True):
        assert (image[0] != 0).nonzero().tolist() == [[row, column]]


@pytest.mark.parametrize("generations", [0, 3])
def test_a_hopeless_search_costs_every_generation(generations: int) -> None:
    model = Counting(hills((5, 2), threshold=2.0)).eval()
    result = attacks.one_pixel(model, BLACK, LABEL, population=7, generations=generations)
    assert not result.success.any() and torch.equal(result.images, BLACK)
    assert int(result.queries) == 2 + 7 * (1 + generations) == model.forwards
    assert int(result.gradients) == 0


def test_an_image_is_done_when_the_model_is_sure_enough(
    s3_cnn: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits[0][:6], digits[1][:6]
    options: dict[str, Any] = {"pixels": 100, "population": 20, "generations": 15, "base": "best"}
    first, sure, never = (
        attacks.one_pixel(s3_cnn, images, labels, label_below=below, **options)
        for below in (1.0, 0.05, 0.0)
    )
    assert (never.queries == 2 + 20 * 16).all()
    assert (first.queries <= sure.queries).all() and (sure.queries <= never.queries).all()
    assert first.queries.sum() < sure.queries.sum() < never.queries.sum()
    early = sure.queries < never.queries
    with torch.no_grad():
        left = s3_cnn(sure.images).softmax(dim=1).gather(1, labels[:, None])[:, 0]
    assert early.sum() >= 2 and (left[early] < 0.05).all()
    assert torch.equal(first.success, never.success)


def test_no_more_pixels_than_allowed_change_in_color_too() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, 3, 6, 6, generator=generator)
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 4)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(4, 108, generator=generator))
        labels = model(images).argmax(dim=1)
    for pixels in (1, 3):
        result = attacks.one_pixel(model, images, labels, pixels=pixels, generations=20)
        sizes = distances(result.images - images, "l0")
        assert (sizes <= pixels).all() and result.success.sum() >= 3
        assert (sizes[result.success] > 0).all()


def test_the_tutorials_options_are_accepted() -> None:
    small = TUTORIAL | {"population": 40, "generations": 60}
    assert attacks.one_pixel(hills((5, 2)), BLACK, LABEL, **small).success.all()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"pixels": 0}, "pixels must be >= 1, got 0"),
        ({"population": 3}, "population must be >= 4, got 3"),
        ({"population": 2, "base": "best"}, "population must be >= 3, got 2"),
        ({"generations": -1}, "generations must be >= 0, got -1"),
        ({"base": "worst"}, "base must be one of random, best, got 'worst'"),
        ({"colors": "gray"}, "colors must be one of normal, uniform, got 'gray'"),
        ({"mutation": (0.5, 0.4)}, "mutation must be an interval"),
        ({"mutation": (-0.5, 0.4)}, "mutation must be >= 0, got -0.5"),
        ({"label_below": 1.5}, "label_below must be <= 1, got 1.5"),
        ({"target_above": -1}, "target_above must be >= 0, got -1"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.one_pixel(hills((5, 2)), BLACK, LABEL, **options)
