"""The square attack finds the worst case of a linear model, with squares of the paper's sizes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.black_box import square as squares
from armsrace.contracts import UNIT, Bounds
from armsrace.norms import distances

Digits = tuple[Tensor, Tensor]
WIDE = Bounds(-50, 50)


@pytest.fixture
def linear() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A model of two classes, images (6, 1, 4, 4), labels, and the gap's gradient (16,)."""
    draws = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double().requires_grad_(False)
    model[1].weight.copy_(torch.randn(2, 16, generator=draws, dtype=torch.float64))
    images = 0.3 + 0.4 * torch.rand(6, 1, 4, 4, generator=draws, dtype=torch.float64)
    return model, images, model(images).argmax(dim=1), model[1].weight[1] - model[1].weight[0]


def _least(linear: tuple[nn.Module, Tensor, Tensor, Tensor], dual: int) -> Tensor:
    """The exact distance (6,) of each image to the boundary; dual 1 for L∞, 2 for L2."""
    model, images, _, slope = linear
    logits = model(images)
    return (logits[:, 1] - logits[:, 0]).abs() / slope.norm(p=dual)


def test_it_finds_the_worst_corner_of_a_linear_model(linear) -> None:
    model, images, labels, slope = linear
    epsilon = 0.9 * _least(linear, 1).min().item()
    found = attacks.square(model, images, labels, epsilon=epsilon, queries=600)
    away = torch.where(labels == 1, -1.0, 1.0).view(-1, 1, 1, 1) * slope.sign().view(1, 1, 4, 4)
    assert not found.success.any(), "no image within epsilon is another class"
    torch.testing.assert_close(found.images, images + epsilon * away, rtol=0, atol=1e-12)
    assert (found.queries == 600).all()


@pytest.mark.parametrize(("norm", "dual", "enough"), [("linf", 1, 1.01), ("l2", 2, 1.6)])
def test_it_succeeds_just_beyond_the_exact_distance(linear, norm, dual, enough) -> None:
    model, images, labels, _ = linear
    for place, least in enumerate(_least(linear, dual).tolist()):
        for fraction, expected in ((0.99, False), (enough, True)):
            one = images[place : place + 1], labels[place : place + 1]
            found = attacks.square(
                model, *one, epsilon=fraction * least, queries=300, norm=norm, bounds=WIDE
            )
            assert bool(found.success) == expected


def test_an_image_that_fools_asks_no_more(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:100], digits[1][:100]
    found = attacks.square(trained, images, labels, epsilon=0.25, queries=60)
    with torch.no_grad():
        wrong = trained(images).argmax(dim=1) != labels
    assert wrong.any() and (found.queries[wrong] == 2).all()
    assert torch.equal(found.images[wrong], images[wrong])
    assert (found.queries[~found.success] == 60).all()
    early = found.success & ~wrong
    assert early.sum() > 30 and found.queries[early].unique().numel() > 10
    again = attacks.square(trained, images, labels, epsilon=0.25, queries=61)
    assert (again.success >= found.success).double().mean() > 0.9


def test_the_squares_follow_the_paper() -> None:
    """p = 0.8 and 28 × 28 pixels; halved after 10, 50, 200, ... of 10,000 iterations."""
    image, places = torch.zeros(1, 28, 28), (0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)
    sides = [squares.side_of(squares.fraction_at(p / 10_000, 0.8), image) for p in places]
    assert sides == [25, 25, 18, 13, 9, 6, 4, 3, 2, 2, 1]
    assert squares.side_of(squares.fraction_at(1.0, 1e-9), image) == 1
    assert squares.side_of(squares.fraction_at(0, 1.0), image, 3) == 28


def test_a_double_bump_is_the_papers() -> None:
    """Equation 2: at most 1/1² + ... + 1/(n + 1)², less toward the rim; the halves opposed."""
    bump = squares.double_bump(5, torch.zeros(1, dtype=torch.float64))

    def height(rows: int, columns: int) -> Tensor:
        middle, n = (rows // 2, columns // 2), max(rows, columns) // 2
        away = [[max(abs(r - middle[0]), abs(s - middle[1])) for s in range(columns)]
                for r in range(rows)]  # fmt: skip
        sums = [[sum(1 / j**2 for j in range(k + 1, n + 2)) for k in row] for row in away]
        values = torch.tensor(sums, dtype=torch.float64)
        return values / values.norm()

    expected = torch.cat([height(2, 5), -height(3, 5)]) / 2**0.5
    torch.testing.assert_close(bump, expected)
    assert squares.double_bump(1, bump).tolist() == [[-1.0]]


def test_a_move_changes_one_square(digits: Digits) -> None:
    clean = digits[0][:50]
    draws = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(50, *shape, generator=draws)

    current = squares.stripes(clean, 0.3, UNIT, drawn(1, 1, 28))
    signs = (current - clean).sign()
    assert (signs.amax(dim=2) * signs.amin(dim=2) >= 0).all(), "a column has one sign"
    assert 0.4 < (signs.amax(dim=2) > 0).double().mean() < 0.6
    moved = squares.linf_square(clean, current, 7, 0.3, UNIT, drawn(3))
    changed = (moved != current)[:, 0]
    for across in (changed.any(dim=1), changed.any(dim=2)):
        extent = across.int().argmax(dim=1), 27 - across.flip(1).int().argmax(dim=1)
        assert across.any(dim=1).all() and (extent[1] - extent[0]).max() == 6
    ends = (moved == (clean + 0.3).clamp(0, 1)) | (moved == (clean - 0.3).clamp(0, 1))
    assert ends.all(), "a pixel is at one of the ends of its range"


def test_an_l2_move_keeps_its_length(digits: Digits) -> None:
    clean = 0.5 * digits[0][:50].double() + 0.25
    draws = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(50, *shape, generator=draws, dtype=torch.float64)

    current = squares.bumps(clean, 1.0, "l2", UNIT, drawn(1, 5, 5))
    moved = squares.l2_square(clean, current, 5, 1.0, UNIT, drawn(6))
    for images in (current, moved):
        torch.testing.assert_close(
            distances(images - clean, "l2"), torch.ones(50, dtype=torch.float64)
        )
    cleaned = ((moved == clean) & (current != clean)).flatten(1).sum(dim=1)
    # The second square, where the first does not cover it; the bumps leave a pixel round the rim.
    assert cleaned.median() > 12 and cleaned.min() < 25


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"queries": 2}, "queries must be >= 3, got 2"),
        ({"norm": "l0"}, "norm must be one of linf, l2, l1, got 'l0'"),
        ({"share": 0.0}, "share must be > 0 and <= 1, got 0"),
        ({"share": 1.5}, "share must be > 0 and <= 1, got 1.5"),
    ],
)
def test_bad_options(
    trained: nn.Module, digits: Digits, options: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        attacks.square(trained, digits[0][:2], digits[1][:2], epsilon=0.1, **options)
