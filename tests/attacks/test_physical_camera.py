"""The synthetic camera, and the destruction rate by hand."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from armsrace.attacks import physical

Digits = tuple[Tensor, Tensor]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits: Digits) -> Tensor:
    return digits[0][:20].double()


def test_camera_repeats_by_seed_and_ignores_batch_mates(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The noise follows from the bits of the photograph so far, and so from the last of them.
    monkeypatch.setattr(physical, "noise", lambda photograph, sigma, generator: photograph)
    together = physical.camera(images, _generator(3))
    assert torch.equal(together, physical.camera(images, _generator(3)))
    assert (together - physical.camera(images, _generator(4))).abs().mean() > 1e-3
    for place in (0, 11):
        alone = physical.camera(images[place : place + 1], _generator(3))
        # JPEG rounds sums of whole numbers divided by 8: the last bit decides a tie, for a block.
        assert ((alone[0] - together[place]).abs() > 1e-9).double().mean() < 0.2


def test_camera_gets_worse_with_strength(images: Tensor) -> None:
    lost = [
        float((physical.camera(images, _generator(), strength) - images).abs().mean())
        for strength in (0.0, 0.5, 1.0, 3.0)
    ]
    assert lost == sorted(lost) and 0 < lost[0] < 0.01 and lost[3] > 2 * lost[1]


def test_a_screen_adds_fringes(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the other parts at rest, a white screen's photograph is its moiré."""
    white = torch.ones_like(images[:2])
    for part in ("blur", "contrast", "brightness", "jpeg"):
        monkeypatch.setattr(physical, part, lambda photograph, value: photograph)
    monkeypatch.setattr(physical, "noise", lambda photograph, sigma, generator: photograph)
    monkeypatch.setattr(physical, "_warp", lambda given, matrices: given)
    fringes = []
    monkeypatch.setattr(physical, "moire", lambda *given: fringes.append(given) or given[0])
    physical.camera(white, _generator(), 2.0)
    assert fringes == []
    physical.camera(white, _generator(), 2.0, screen=True)
    ((_, depth, pitch, degrees),) = fringes
    assert 0 < depth.min() <= depth.max() <= 0.6
    assert pitch.min() >= 0.8 and pitch.max() <= 1.2 and degrees.abs().max() <= 10


def test_the_parts_are_the_cameras_ranges_alone(images: Tensor) -> None:
    at_rest, once, twice = (physical.parts(_generator(), k) for k in (0.0, 1.0, 2.0))
    assert list(once) == list(twice) and len(once) == 10
    for name, part in at_rest.items():
        # JPEG begins at quality 95.
        assert (part(images) - images).abs().max() < (0.1 if name == "JPEG" else 1e-9), name
    for name in once:
        changes = [float((parts[name](images) - images).abs().mean()) for parts in (once, twice)]
        assert 1e-4 < changes[0] < changes[1], name
    torch.testing.assert_close(once["blur"](images), physical.blur(images, 0.8))
    torch.testing.assert_close(twice["contrast, down"](images), physical.contrast(images, 0.4))
    moved = physical.affine(images, 5, 1.05, (1.12, 1.12))
    torch.testing.assert_close(once["rotation, scale, shift"](images), moved)


def test_camera_leaves_most_digits_legible(trained: nn.Module, digits: Digits) -> None:
    with torch.no_grad():
        seen = trained(physical.camera(digits[0], _generator())).argmax(dim=1)
    assert (seen == digits[1]).double().mean() > 0.75


class _Brightness(nn.Module):
    """Class 1 where the only pixel is above a half, else class 0."""

    def forward(self, images: Tensor) -> Tensor:
        value = images.flatten(1)[:, :1]
        return torch.cat([0 * value, 10 * (value - 0.5)], dim=1)


def test_destruction_rate_by_hand() -> None:
    """Five images of class 0; pixels say what is predicted before, after attack, after photo."""
    clean = torch.tensor([0.1, 0.1, 0.1, 0.9, 0.1]).view(5, 1, 1, 1)
    attacked = torch.tensor([0.6, 0.7, 0.9, 0.9, 0.2]).view(5, 1, 1, 1)
    labels = torch.zeros(5, dtype=torch.int64)
    # Counted: the first three. Darkened by 0.25 the first two are class 0 again.
    rate = physical.destruction_rate(
        _Brightness(), clean, attacked, labels, lambda images: images - 0.25 * (images > 0.3)
    )
    assert rate == pytest.approx(2 / 3)
    assert physical.destruction_rate(_Brightness(), clean, attacked, labels, torch.clone) == 0.0
    none = lambda images: torch.zeros_like(images)  # noqa: E731
    assert physical.destruction_rate(_Brightness(), clean, attacked, labels, none) == 1.0


def test_destruction_rate_is_undefined_without_adversarials() -> None:
    clean, labels = torch.full((2, 1, 1, 1), 0.1), torch.zeros(2, dtype=torch.int64)
    rule = "adversarials must fool the model on an image it classifies correctly"
    with pytest.raises(ValueError, match=rule):
        physical.destruction_rate(_Brightness(), clean, clean, labels, torch.clone)
    with pytest.raises(ValueError, match=re.escape("adversarials must have shape (2, 1, 1, 1)")):
        physical.destruction_rate(_Brightness(), clean, clean[:1], labels, torch.clone)
