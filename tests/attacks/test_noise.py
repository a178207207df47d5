"""Noise finds the edge of a model whose edge is known, and never moves a pixel otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armsrace import attacks
from armsrace.contracts import Bounds, Model, Norm
from armsrace.norms import distances

KINDS = [
    (attacks.salt_and_pepper, "l0", 40.0),
    (attacks.gaussian_noise, "l2", 3.0),
    (attacks.uniform_noise, "linf", 0.2),
]
every_kind = pytest.mark.parametrize(("attack", "norm", "edge"), KINDS)
LABELS = torch.zeros(6, dtype=torch.int64)


def gray(count: int = 6) -> Tensor:
    """Different images (N, 3, 16, 16) about mid-gray, float64, whose random numbers differ."""
    return 0.5 + 1e-3 * torch.arange(count, dtype=torch.float64).view(-1, 1, 1, 1).expand(
        -1, 3, 16, 16
    )


def walled(norm: Norm, edge: float) -> Model:
    """A model of `gray` images that gives way at this distance from each, and not before."""
    clean = gray()

    def model(images: Tensor) -> Tensor:
        every = torch.stack([distances(images - one, norm) for one in clean]).amin(dim=0)
        return torch.stack([torch.zeros_like(every), 3 * (every - edge)], dim=1)

    return model


@every_kind
def test_the_edge_is_found(attack, norm: Norm, edge: float) -> None:
    """From beyond it, to the resolution of the bisection: a 64th of the level."""
    images = gray()
    found = attack(walled(norm, edge), images, LABELS)
    assert found.success.all()
    sizes = distances(found.images - images, norm)
    assert (sizes > edge).all() and (sizes < 1.05 * edge).all()


@every_kind
def test_more_draws_are_never_farther(attack, norm: Norm, edge: float, trained, digits) -> None:
    images, labels = digits[0][:30], digits[1][:30]
    few, many = (attack(trained, images, labels, repeats=repeats, levels=5) for repeats in (10, 40))
    assert (many.success >= few.success).all() and many.success.sum() >= 20
    both = few.success & many.success
    sizes = [distances(found.images - images, norm)[both] for found in (few, many)]
    assert (sizes[1] <= sizes[0]).all() and sizes[1].mean() < 0.95 * sizes[0].mean()
    assert (few.queries <= 2 + 10 * 7).all() and (many.queries > few.queries).any()


def test_salt_and_pepper_sets_whole_pixels_to_the_ends() -> None:
    images = gray()
    box = Bounds(-1.0, 2.0)
    found = attacks.salt_and_pepper(walled("l0", 40), images, LABELS, bounds=box)
    changed = found.images != images
    assert torch.equal(changed.any(dim=1), changed.all(dim=1))
    ends = found.images[changed]
    assert set(ends.tolist()) == {-1.0, 2.0}
    assert 0.3 < (ends > 0).double().mean() < 0.7


def test_the_norm_chooses_among_the_draws(trained, digits) -> None:
    """The same noise, kept for its few pixels or for its short way."""
    images, labels = digits[0][:60], digits[1][:60]

    def means(norm: Norm) -> tuple[float, float]:
        found = attacks.salt_and_pepper(trained, images, labels, norm=norm)
        assert found.success.float().mean() > 0.9
        change = found.images - images
        moved = (change != 0).flatten(1).any(dim=1)
        pixels, length = (distances(change[moved], kind) for kind in ("l0", "l2"))
        return pixels.mean().item(), (length**2 / pixels).mean().item()

    (fewer, steep), (more, gentle) = means("l0"), means("l2")
    assert fewer < more and gentle < steep


@pytest.mark.peers
def test_fewer_queries_than_foolbox_for_the_same_noise(s3_cnn, digits) -> None:
    foolbox = pytest.importorskip("foolbox")
    images, labels = digits[0][:60], digits[1][:60]
    wrapped = foolbox.PyTorchModel(s3_cnn, bounds=(0, 1), device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = foolbox.attacks.SaltAndPepperNoiseAttack(steps=100)(
            wrapped, images, labels, epsilons=None
        )[1]
    ours = attacks.salt_and_pepper(s3_cnn, images, labels, norm="l2")
    assert ours.queries.double().mean() < 100
    sizes = (distances(found - images, "l2").median() for found in (ours.images, theirs))
    assert ours.success.all() and next(sizes) <= 1.02 * next(sizes)


@every_kind
@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"repeats": 0}, "repeats must be >= 1, got 0"),
        ({"levels": 0}, "levels must be >= 1, got 0"),
        ({"binary_search_steps": -1}, "binary_search_steps must be >= 0, got -1"),
    ],
)
def test_bad_options(attack, norm, edge, options, rule) -> None:
    with pytest.raises(ValueError, match=rule):
        attack(walled(norm, edge), gray(), LABELS, **options)


def test_bad_norm() -> None:
    with pytest.raises(ValueError, match="norm must be one of l0, l2, got 'linf'"):
        attacks.salt_and_pepper(walled("l0", 40), gray(), LABELS, norm="linf")
