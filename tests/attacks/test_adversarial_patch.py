"""One patch for all images: placed exactly, exact on a linear model, good for digits not seen."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.sparse.adversarial_patch import paste_patch, train_patch
from armsrace.contracts import Bounds

Digits = tuple[Tensor, Tensor]
ONE, NONE = torch.ones(1).double(), torch.zeros(1).double()


def _placed(patch: Tensor, center: tuple[float, float], radius: float, turn: float) -> Tensor:
    """A patch on a black image (1, H, W) of 20 × 30 pixels."""
    black = torch.zeros(1, len(patch), 20, 30).double()
    centers = torch.tensor([center]).double()
    return paste_patch(black, patch, centers, radius * ONE, turn * ONE)[0]


def test_a_disc_hides_the_pixels_whose_centers_it_contains() -> None:
    seen = _placed(torch.ones(1, 8, 8).double(), (12.0, 7.0), 3.2, 0.0)[0]
    down, right = torch.meshgrid(torch.arange(20) + 0.5, torch.arange(30) + 0.5, indexing="ij")
    assert torch.equal(seen == 1, (right - 12) ** 2 + (down - 7) ** 2 <= 3.2**2)
    assert int((seen == 1).sum()) == 32


def test_the_patch_is_seen_upright_and_turns_counterclockwise() -> None:
    """A patch of 8 × 8 in a disc of its own size: its pixels are the image's."""
    patch = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    inside = _placed(torch.ones(1, 8, 8).double(), (10.0, 9.0), 4.0, 0.0)[0, 5:13, 6:14] == 1
    for turn, turned in ((0.0, patch), (90.0, torch.rot90(patch, 1, (1, 2)))):
        seen = _placed(patch, (10.0, 9.0), 4.0, turn)[:, 5:13, 6:14]
        torch.testing.assert_close(seen[:, inside], turned[:, inside], rtol=0, atol=1e-12)


def test_a_small_disc_shows_all_of_the_patch() -> None:
    """Left half 0, right half 1: so it is at any size."""
    patch = torch.zeros(1, 16, 16).double()
    patch[..., 8:] = 1
    seen = _placed(patch, (10.0, 9.0), 4.0, 0.0)[0]
    assert seen[8, 6:9].max() == 0 and seen[8, 11:14].min() == 1


def test_paste_has_the_gradient_of_both() -> None:
    images = torch.rand(2, 1, 6, 7, generator=torch.Generator().manual_seed(1)).double()
    patch = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(2)).double()
    place = torch.tensor([[3.1, 2.7], [4.0, 3.3]]).double(), 1.9 * ONE.repeat(2), ONE.repeat(2)
    given = (0.2 + 0.6 * images).requires_grad_(), patch.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, p: paste_patch(x, p, *place), given)


@pytest.mark.parametrize("epsilon", [0, 1, 2, 5, 50, 150, 784])
def test_no_more_pixels_than_the_budget_at_any_place(digits: Digits, epsilon: int) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    images = 0.1 + 0.8 * digits[0]
    options: dict[str, Any] = {"epsilon": epsilon, "smallest": 1.0, "steps": 1}
    found = attacks.adversarial_patch(flat, images, digits[1], **options)
    covered = (found.images != images).any(dim=1).flatten(1).sum(dim=1)
    assert covered.max() <= epsilon
    # A disc of 50 pixels may cover 2 % of them less for each half pixel of its radius.
    assert epsilon < 50 or epsilon == 784 or covered.min() > 0.6 * epsilon
    if epsilon == 784:
        assert covered.min() > 0.7 * 784 * math.pi / 4, "as large as fits"


def test_a_linear_model_wants_the_sign_of_its_weights() -> None:
    """The same weight everywhere: black or white, whichever raises the target, wherever it is."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 2)).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 144) / 10)
    images = torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(3)).double()
    labels = torch.zeros(6, dtype=torch.int64)
    for target, value in ((1, 1.0), (0, 0.0)):
        patch = train_patch(
            model, images, labels, epsilon=40, targets=labels + target, steps=40, degrees=180
        )
        assert patch.shape == (1, 6, 6)
        middle = patch[0, 1:-1, 1:-1]
        torch.testing.assert_close(middle, torch.full_like(middle, value), rtol=0, atol=1e-9)
    lost = train_patch(model, images, labels, epsilon=40, steps=40)
    assert lost[0, 1:-1, 1:-1].min() == 1, "without targets it leaves the label"


def test_it_aims_at_its_target_on_digits_it_has_not_seen(s3_cnn: nn.Module, digits: Digits) -> None:
    images, labels = digits
    settings: dict[str, Any] = {"epsilon": 200, "smallest": 1.0, "degrees": 10}
    target = torch.full_like(labels, 3)
    patch = train_patch(
        s3_cnn, images[:100], labels[:100], targets=target[:100], steps=60, batch_size=25,
        **settings,
    )  # fmt: skip
    radius = patch.shape[-1] / 2 * torch.ones(100)
    centers, turn = 14 * torch.ones(100, 2), torch.zeros(100)
    shares = []
    for disc in (patch, 0.5 * torch.ones_like(patch)):
        seen = paste_patch(images[100:200], disc, centers, radius, turn)
        with torch.no_grad():
            shares.append(float((s3_cnn(seen).argmax(dim=1) == 3).double().mean()))
    assert shares[0] > 0.5 and shares[0] > 5 * shares[1], shares


def test_the_same_draws_train_the_same_patch(trained: nn.Module, digits: Digits) -> None:
    task = trained, digits[0][:30], digits[1][:30]
    options: dict[str, Any] = {"epsilon": 100, "steps": 4}
    patch = train_patch(*task, **options)
    found = attacks.adversarial_patch(*task, **options)
    assert (found.gradients.sum(), found.queries.sum()) == (40, 40 + 30)
    assert patch.min() >= 0 and patch.max() <= 1
    for seed, same in ((0, True), (1, False)):
        again = train_patch(*task, **options, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(patch, again) == same


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"epsilon": -1}, "epsilon must be >= 0, got -1"),
        ({"smallest": 1.5}, "smallest must be <= 1, got 1.5"),
        ({"smallest": -0.5}, "smallest must be >= 0, got -0.5"),
        ({"degrees": -1}, "degrees must be >= 0, got -1"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"step_size": 0}, "step_size must be >= 1e-06, got 0"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
    ],
)
def test_bad_options_are_named(
    options: dict[str, Any], rule: str, trained: nn.Module, digits: Digits
) -> None:
    for function in (attacks.adversarial_patch, train_patch):
        with pytest.raises(ValueError, match=re.escape(rule)):
            function(trained, digits[0][:2], digits[1][:2], **({"epsilon": 50} | options))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("patch", torch.ones(3, 4, 4), "patch must have shape (1, 4, 4), got (3, 4, 4)"),
        ("centers", torch.ones(2), "centers must have shape (1, 2), got (2,)"),
        ("radii", torch.ones(2), "radii must have shape (1,), got (2,)"),
        ("degrees", torch.ones(2), "degrees must have shape (1,), got (2,)"),
        ("images", 2 * torch.ones(1, 1, 9, 9), "images must lie in [0.0, 1.0]"),
    ],
)
def test_bad_places_are_named(name: str, value: Tensor, rule: str) -> None:
    given = {
        "images": torch.zeros(1, 1, 9, 9), "patch": torch.ones(1, 4, 4),
        "centers": torch.ones(1, 2), "radii": torch.ones(1), "degrees": torch.ones(1),
    }  # fmt: skip
    with pytest.raises(ValueError, match=re.escape(rule)):
        paste_patch(**(given | {name: value}))
    gray = paste_patch(
        200 * torch.ones(1, 1, 9, 9), *list(given.values())[1:], bounds=Bounds(0, 255)
    )
    assert gray.max() == 200 and gray.min() == 1
