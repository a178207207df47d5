"""Two photographs and a thousand classes: what attacks hold in memory, and which classes count."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from armsrace import attacks
from armsrace.attacks.minimal.universal import universal_perturbation
from armsrace.contracts import AttackResult, Bounds
from armsrace.norms import distances

CLASSES, VALUES = 1_000, 3 * 224 * 224
WIDE = Bounds(-50, 50)
ROWS = 28
"""Photographs in one forward pass: at 5 MB for a layer's activations, a network's are 2 GB."""
LARGEST = 2**24
"""Numbers in one tensor, 64 MB; ten gradients of two photographs have 3 million."""


class LargestTensor(TorchDispatchMode):
    """Notes the most numbers that a tensor had while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                # A view of one number in a thousand places is in memory once.
                stored = value.untyped_storage().nbytes() // value.element_size()
                self.numbers = max(self.numbers, min(stored, value.numel()))
        return result


class Pooled(nn.Module):
    """A quick network for photographs: 8 × 8 means of each channel, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        self.register_buffer("weights", torch.randn(3 * 64, CLASSES, generator=draws))
        self.rows, self.backwards = 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.rows = max(self.rows, len(images))
        logits = nn.functional.avg_pool2d(images - 0.5, 28).flatten(1) @ self.weights
        if logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, gradient: Tensor) -> None:
        self.backwards += 1


def small_substitute() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(56), nn.Flatten(), nn.Linear(48, CLASSES))


FGSM = partial(attacks.fgsm, epsilon=0.01)
# As few steps as show what a step takes; what decides on memory is left at its default.
CALLS: dict[str, tuple[Callable[..., AttackResult], dict[str, Any]]] = {
    "adversarial-patch": (attacks.adversarial_patch, {"epsilon": 5000, "steps": 2}),
    "alma": (attacks.alma, {"steps": 3}),
    "auto-pgd": (attacks.auto_pgd, {"epsilon": 0.01, "steps": 3}),
    "auto-pgd-l1": (attacks.auto_pgd, {"epsilon": 5.0, "steps": 3, "norm": "l1"}),
    "auto-pgd-aimed": (
        attacks.auto_pgd,
        {"epsilon": 0.01, "steps": 3, "target_classes": 9},
    ),
    "bim": (attacks.bim, {"epsilon": 0.01, "steps": 3}),
    "boundary": (attacks.boundary, {"queries": 60}),
    "brendel-bethge": (attacks.brendel_bethge, {"steps": 3}),
    "brendel-bethge-l0": (attacks.brendel_bethge, {"steps": 3, "norm": "l0"}),
    "carlini-wagner-l0": (attacks.carlini_wagner_l0, {"steps": 3, "largest_constant": 10.0}),
    "carlini-wagner-l2": (attacks.carlini_wagner_l2, {"steps": 3, "binary_search_steps": 2}),
    "carlini-wagner-linf": (attacks.carlini_wagner_linf, {"steps": 3, "largest_constant": 0.1}),
    "ddn": (attacks.ddn, {"steps": 3}),
    "deepfool": (attacks.deepfool, {}),
    "deepfool-linf": (attacks.deepfool, {"norm": "linf"}),
    "ead": (attacks.ead, {"steps": 3, "binary_search_steps": 2}),
    "fab": (attacks.fab, {"steps": 3}),
    "fab-l1": (attacks.fab, {"steps": 3, "norm": "l1"}),
    "fab-aimed": (attacks.fab, {"steps": 2, "target_classes": 9}),
    "fgsm": (attacks.fgsm, {"epsilon": 0.01}),
    "finite-difference": (attacks.finite_difference, {"epsilon": 0.01, "steps": 1}),
    "fmn": (attacks.fmn, {"steps": 3}),
    "fmn-l0": (attacks.fmn, {"steps": 3, "norm": "l0"}),
    "gaussian-noise": (attacks.gaussian_noise, {"queries": 30}),
    "hop-skip-jump": (attacks.hop_skip_jump, {"queries": 150}),
    "jsma": (attacks.jsma, {"gamma": 6 / 224**2}),
    "least-likely": (attacks.least_likely, {"epsilon": 0.01, "steps": 3}),
    "mi-fgsm": (attacks.mi_fgsm, {"epsilon": 0.01, "steps": 3}),
    "minimum-norm": (
        attacks.minimum_norm,
        {"approach_steps": 3, "steps": 3, "final_steps": 3},
    ),
    "one-pixel": (attacks.one_pixel, {"generations": 1}),
    "one-pixel-many": (attacks.one_pixel, {"generations": 1, "population": 40, "pixels": 5}),
    "pgd": (attacks.pgd, {"epsilon": 0.01, "steps": 3}),
    "pgd-restarts": (attacks.pgd, {"epsilon": 0.01, "steps": 1, "restarts": 20}),
    "pointwise": (attacks.pointwise, {"queries": 60}),
    "rand-fgsm": (attacks.rand_fgsm, {"epsilon": 0.01}),
    "rays": (attacks.rays, {"queries": 60}),
    "salt-and-pepper": (attacks.salt_and_pepper, {"queries": 30}),
    "sigma-zero": (attacks.sigma_zero, {"steps": 3}),
    "square": (attacks.square, {"epsilon": 0.01, "queries": 30}),
    "square-l1": (attacks.square, {"epsilon": 5.0, "queries": 30, "norm": "l1"}),
    "substitute": (
        attacks.substitute,
        {"build": small_substitute, "attack": FGSM, "rounds": 2, "epochs": 1},
    ),
    "superdeepfool": (attacks.superdeepfool, {"steps": 2}),
    "transfer": (attacks.transfer, {"source": small_substitute(), "attack": FGSM}),
    "uniform-noise": (attacks.uniform_noise, {"queries": 30}),
    "universal": (attacks.universal, {"epsilon": 0.03, "passes": 1}),
    "universal-ascent": (
        attacks.universal,
        {"epsilon": 0.03, "passes": 2, "method": "ascent"},
    ),
}
WITHOUT = {"greedy_explanation", "latent_descent", "on_manifold"}
"""They ask for a decoder, whose size is that of the search."""


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """Smooth random images, so that classes are not decided by a pixel."""
    draws = torch.Generator().manual_seed(1)
    coarse = torch.rand(6, 3, 28, 28, generator=draws)
    return nn.functional.interpolate(coarse, size=224, mode="bilinear").clamp(0, 1)


def test_every_attack_is_tried() -> None:
    called = {getattr(attack, "__name__", "") for attack, _ in CALLS.values()}
    public = {name for name in attacks.__all__ if name in vars(attacks)}
    adaptive = {"EstimatedGradient", "bpda", "eot", "estimated_gradient", "unrolled"}
    assert public - called - WITHOUT - adaptive == set()


@pytest.mark.parametrize("name", CALLS)
def test_memory_is_bounded(name: str, photographs: Tensor) -> None:
    (attack, options), model = CALLS[name], Pooled()
    images = photographs[:2]
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    model.rows, model.backwards = 0, 0
    if attack is attacks.substitute:
        options = options | {"seeds": photographs[2:]}
    with LargestTensor() as largest:
        result = attack(model, images, labels, **options)
    assert model.rows <= ROWS, f"{model.rows} photographs in one pass"
    assert largest.numbers <= LARGEST, f"a tensor of {largest.numbers / VALUES:.0f} photographs"
    # Ten classes at most are differentiated, whatever their number.
    assert result.gradients.max() <= 10 * result.queries.max()
    assert result.images.shape == images.shape


@pytest.mark.parametrize(
    "attack",
    [
        partial(attacks.one_pixel, population=30, generations=1),
        partial(attacks.finite_difference, epsilon=0.01, steps=1, samples=10),
    ],
)
def test_batch_size_bounds_a_pass_and_changes_nothing(
    attack: Callable[..., AttackResult], photographs: Tensor
) -> None:
    model, images = Pooled().double(), photographs[:2].double()
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    whole = attack(model, images, labels)
    for batch_size in (4, 12):
        model.rows = 0
        parts = attack(model, images, labels, batch_size=batch_size)
        assert model.rows == batch_size
        torch.testing.assert_close(parts.images, whole.images, rtol=0, atol=1e-12)
        assert torch.equal(parts.queries, whole.queries)


def _thousand(nearest: int) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor, Tensor]:
    """A linear model, an image (1, 1, 4, 4), its label 0, and its exact distance (1,).

    Class k is the k-th likeliest; the boundary with the class `nearest` is nearer than all others,
    since its gradient is as long as ten of theirs.
    """
    draws = torch.Generator().manual_seed(3)
    image = torch.rand(1, 1, 4, 4, generator=draws, dtype=torch.float64)
    weights = torch.randn(CLASSES, 16, generator=draws, dtype=torch.float64)
    weights = weights / weights.norm(dim=1, keepdim=True)
    weights[nearest] *= 10
    ranks = torch.arange(CLASSES, dtype=torch.float64)
    logits = torch.where(ranks > 0, -1.0 - ranks / CLASSES, 0.0)
    bias = logits - image.flatten(1) @ weights.T

    def model(batch: Tensor) -> Tensor:
        return batch.flatten(1) @ weights.T + bias

    lengths = (weights - weights[0]).norm(dim=1)
    distance = torch.where(ranks > 0, -logits / lengths, torch.inf)
    assert distance.argmin() == nearest
    return model, image, torch.tensor([0]), distance.amin()[None]


DEEPFOOL = partial(attacks.deepfool, overshoot=1e-6, bounds=WIDE)
FAB = partial(attacks.fab, norm="l2", steps=1, bounds=WIDE)
SUPERDEEPFOOL = partial(attacks.superdeepfool, overshoot=1e-6, bounds=WIDE)


@pytest.mark.parametrize("attack", [DEEPFOOL, FAB, SUPERDEEPFOOL])
def test_the_nearest_of_a_thousand_is_among_the_ten_likeliest(
    attack: Callable[..., AttackResult],
) -> None:
    """The fifth likeliest class is the nearest: ten candidates find what all find."""
    model, images, labels, exact = _thousand(nearest=5)
    ten, all_of_them = (
        attack(model, images, labels),
        attack(model, images, labels, candidates=CLASSES),
    )
    for found in (ten, all_of_them):
        assert found.success.all()
        sizes = distances(found.images - images, "l2")
        torch.testing.assert_close(sizes, exact, rtol=1e-2, atol=0)
    assert ten.gradients.max() < CLASSES <= all_of_them.gradients.min()
    torch.testing.assert_close(
        distances(ten.images - images, "l2"), distances(all_of_them.images - images, "l2")
    )


@pytest.mark.parametrize("attack", [DEEPFOOL, FAB, SUPERDEEPFOOL])
def test_a_class_that_is_no_candidate_is_not_found(attack: Callable[..., AttackResult]) -> None:
    """The fiftieth likeliest is the nearest, so ten candidates do not suffice, and sixty do."""
    model, images, labels, exact = _thousand(nearest=50)
    ten, sixty = (attack(model, images, labels, candidates=count) for count in (10, 60))
    assert ten.success.all() and sixty.success.all()
    torch.testing.assert_close(distances(sixty.images - images, "l2"), exact, rtol=1e-2, atol=0)
    assert (distances(ten.images - images, "l2") > 3 * exact).all()


@pytest.mark.parametrize(
    ("attack", "options", "rule"),
    [
        (attacks.deepfool, {"candidates": 1}, "candidates must be >= 2, got 1"),
        (attacks.superdeepfool, {"candidates": 1}, "candidates must be >= 2, got 1"),
        (attacks.fab, {"candidates": 0}, "candidates must be >= 2, got 0"),
        (attacks.universal, {"epsilon": 0.1, "candidates": 1}, "candidates must be >= 2, got 1"),
        (universal_perturbation, {"epsilon": 0.1, "candidates": 2.5}, "must be an integer"),
        (attacks.one_pixel, {"batch_size": 0}, "batch_size must be >= 1, got 0"),
        (
            attacks.finite_difference,
            {"epsilon": 0.1, "batch_size": 0},
            "batch_size must be >= 1, got 0",
        ),
    ],
)
def test_bad_options(attack: Callable[..., Any], options: dict[str, Any], rule: str) -> None:
    images, labels = torch.full((2, 1, 4, 4), 0.5), torch.tensor([0, 1])
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises((ValueError, TypeError), match=rule):
        attack(model, images, labels, **options)
