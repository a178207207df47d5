"""Curves and medians, on models whose answers are known, and on the shipped network."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, evaluation
from armsrace.contracts import AttackResult


class Threshold(nn.Module):
    """Class 1 where the mean pixel is above one half: distance to the border is exact."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(dim=1)
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


@pytest.fixture
def grays() -> tuple[Tensor, Tensor]:
    levels = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.6])
    images = levels.view(5, 1, 1, 1).expand(5, 1, 4, 4).contiguous()
    return images, torch.tensor([0, 0, 0, 0, 0])


def test_accuracy_counts(grays) -> None:
    assert evaluation.accuracy(Threshold(), *grays, batch_size=2) == pytest.approx(0.8)


def test_curve_is_exact_on_a_linear_model(grays) -> None:
    epsilons = (0, 0.05, 0.15, 0.25, 0.35, 0.45)
    curve = evaluation.robustness_curve(Threshold(), attacks.fgsm, *grays, epsilons, batch_size=2)
    assert curve.accuracies == pytest.approx((0.8, 0.8, 0.6, 0.4, 0.2, 0.0))
    assert curve.n == 5 and curve.epsilons == epsilons


def test_curve_at_zero_is_the_clean_accuracy(s3_cnn, digits) -> None:
    curve = evaluation.robustness_curve(s3_cnn, attacks.fgsm, *digits, (0, 0.1))
    assert curve.accuracies[0] == evaluation.accuracy(s3_cnn, *digits)
    assert curve.accuracies[1] < curve.accuracies[0]


def test_curve_never_credits_an_attack_with_a_wrong_image_made_right(grays) -> None:
    def blank(model, images, labels, *, epsilon) -> AttackResult:
        none = torch.zeros(len(images), dtype=torch.int64)
        return AttackResult(images, none.bool(), none, none)

    curve = evaluation.robustness_curve(Threshold(), blank, *grays, (0.1,))
    assert curve.accuracies == pytest.approx((0.8,))


def test_curve_refuses_a_negative_budget(grays) -> None:
    with pytest.raises(ValueError, match="epsilon must be >= 0, got -1"):
        evaluation.robustness_curve(Threshold(), attacks.fgsm, *grays, (0, -1))


def result(images: Tensor, success: list[bool]) -> AttackResult:
    none = torch.zeros(len(images), dtype=torch.int64)
    return AttackResult(images, torch.tensor(success), none, none)


def test_failures_are_infinitely_far() -> None:
    clean = torch.zeros(3, 2, 1, 2)
    moved = clean.clone()
    moved[0, 0, 0, 0] = 0.5
    moved[1] = 0.25
    found = result(moved, [True, True, False])
    assert evaluation.perturbation_sizes(clean, found, "l0").tolist() == [1, 2, float("inf")]
    assert evaluation.perturbation_sizes(clean, found, "l1").tolist() == [0.5, 1.0, float("inf")]
    assert evaluation.median_distance(clean, found, "linf") == 0.5
    assert evaluation.median_distance(clean, result(moved, [True, False, False]), "l2") == np.inf


def test_median_is_numpys() -> None:
    clean = torch.zeros(6, 1, 2, 2)
    moved = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    sizes = evaluation.perturbation_sizes(clean, result(moved, [True] * 6), "l2")
    expected = np.median(sizes.numpy())
    assert evaluation.median_distance(clean, result(moved, [True] * 6), "l2") == pytest.approx(
        expected
    )
    half = result(moved, [True] * 3 + [False] * 3)
    assert evaluation.median_distance(clean, half, "l2") == np.inf


def test_the_two_views_of_a_curve_agree(grays) -> None:
    images, labels = grays
    distances = (0.5 - images.mean(dim=(1, 2, 3))).clamp_min(0)
    epsilons = (0, 0.05, 0.15, 0.25, 0.35, 0.45)
    fixed = evaluation.robustness_curve(Threshold(), attacks.fgsm, images, labels, epsilons)
    assert evaluation.accuracy_at(distances, epsilons).accuracies == pytest.approx(fixed.accuracies)


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_batches_and_devices_do_not_matter(s3_cnn, digits, batch_size) -> None:
    # In float64: another batch is another convolution kernel, whose rounding can turn a sign.
    model, images, labels = copy.deepcopy(s3_cnn).double(), digits[0][:40].double(), digits[1][:40]
    attack = evaluation.seeded(partial(attacks.pgd, epsilon=0.2, steps=5), seed=3)
    whole = attack(model, images, labels)
    for devices in (None, ["cpu"], ["cpu", "cpu"]):
        parts = evaluation.attack_in_batches(
            attack, model, images, labels, batch_size=batch_size, devices=devices
        )
        assert torch.equal(parts.success, whole.success)
        torch.testing.assert_close(parts.images, whole.images, rtol=0, atol=1e-9)


def test_targets_are_cut_along(s3_cnn, digits) -> None:
    model, images, labels = copy.deepcopy(s3_cnn).double(), digits[0][:10].double(), digits[1][:10]
    attack, targets = partial(attacks.fgsm, epsilon=0.2), (labels + torch.arange(10) % 9 + 1) % 10
    whole = attack(model, images, labels, targets=targets)
    cut = partial(evaluation.attack_in_batches, attack, model, images, labels, batch_size=4)
    parts = cut(targets=targets)
    assert torch.equal(parts.success, whole.success)
    torch.testing.assert_close(parts.images, whole.images, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="targets must have length 10, got 3"):
        cut(targets=targets[:3])


def test_seeds_differ(s3_cnn, digits) -> None:
    attack = partial(attacks.pgd, epsilon=0.2, steps=1)
    one, other = (
        evaluation.seeded(attack, seed)(s3_cnn, digits[0][:4], digits[1][:4]) for seed in (0, 1)
    )
    assert not torch.equal(one.images, other.images)


def test_devices_need_a_module(grays) -> None:
    attack = partial(attacks.fgsm, epsilon=0.1)
    with pytest.raises(TypeError, match=r"model must be an nn\.Module"):
        evaluation.attack_in_batches(attack, Threshold().forward, *grays, devices=["cpu"])
    with pytest.raises(ValueError, match="devices must not be empty"):
        evaluation.attack_in_batches(attack, Threshold(), *grays, devices=[])


def test_optimality_is_the_area_between_the_curves() -> None:
    """Against the integral of the two curves on a fine grid."""
    generator = torch.Generator().manual_seed(0)
    best = torch.rand(40, generator=generator, dtype=torch.float64)
    best[:4] = 0  # misclassified
    worse = best * (1 + torch.rand(40, generator=generator, dtype=torch.float64))
    worse[-2:] = torch.inf
    grid = torch.linspace(0, best.max().item(), 200_001, dtype=torch.float64)

    def area(sizes: torch.Tensor) -> float:
        """Under the share of images that no perturbation up to a budget turns."""
        robust = 1 - torch.searchsorted(sizes.sort().values, grid, right=True) / len(sizes)
        return torch.trapezoid(robust, grid).item()

    whole = 0.9 * best.max().item()
    wanted = 1 - (area(worse) - area(best)) / (whole - area(best))
    assert evaluation.optimality(worse, best) == pytest.approx(wanted, abs=1e-4)
    assert 0 < wanted < 1


def test_optimality_of_nothing_to_find() -> None:
    same = torch.full((3,), 0.5)
    assert evaluation.optimality(same, same) == 1
    assert evaluation.optimality(same * 2, same) == 0
    with pytest.raises(ValueError, match="envelope must be finite"):
        evaluation.optimality(same, same * torch.inf)
    with pytest.raises(ValueError, match="same shape"):
        evaluation.optimality(same, same[:2])
