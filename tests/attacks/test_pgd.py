"""What PGD promises beyond the common properties: restarts, losses, predictions as input."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.contracts import Norm
from armsrace.losses import cross_entropy, margin

Digits = tuple[Tensor, Tensor]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return cross_entropy(model(images), labels)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.06), ("l2", 0.8), ("l1", 3.0)])
def test_restarts_are_never_worse(
    norm: Norm, epsilon: float, targeted: bool, trained: nn.Module, digits: Digits
) -> None:
    images, labels = digits[0][:100], digits[1][:100]
    targets = (labels + 1) % 10 if targeted else None
    results = [
        attacks.pgd(
            trained, images, labels, epsilon=epsilon, steps=3, norm=norm, restarts=restarts,
            targets=targets, generator=_generator(0),
        )
        for restarts in (1, 2, 5)
    ]  # fmt: skip
    for fewer, more in itertools.pairwise(results):
        assert (more.success >= fewer.success).all(), "a success was lost"
        kept = fewer.success
        assert torch.equal(more.images[kept], fewer.images[kept]), "the first success is kept"
        reached = _loss(trained, more.images, labels if targets is None else targets)
        before = _loss(trained, fewer.images, labels if targets is None else targets)
        gained = (before - reached if targeted else reached - before)[~more.success]
        assert (gained >= -1e-5).all(), "a worse image was chosen"
    assert 0 < results[0].success.double().mean() < 1, "the case is too easy or too hard"


def test_restarts_stop_for_images_already_fooled(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:50], digits[1][:50]
    result = attacks.pgd(trained, images, labels, epsilon=0.06, steps=3, restarts=4)
    assert (result.gradients[~result.success] == 12).all()
    assert set(result.gradients.tolist()) <= {3, 6, 9, 12} and (result.gradients == 3).any()
    assert torch.equal(result.queries, result.gradients // 3 * 4 + 1)


def test_an_image_already_wrong_counts_as_fooled(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:50], digits[1][:50]
    with torch.no_grad():
        wrong = trained(images).argmax(dim=1) != labels
    assert wrong.any()
    assert torch.equal(attacks.pgd(trained, images, labels, epsilon=0.0).success, wrong)


def test_the_margin_is_climbed_where_asked(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:100], digits[1][:100]
    options: dict[str, Any] = {"epsilon": 0.05, "steps": 10, "random_start": False}
    by_margin = attacks.pgd(trained, images, labels, loss=margin, **options)
    by_entropy = attacks.pgd(trained, images, labels, **options)
    with torch.no_grad():
        one, other = (margin(trained(r.images), labels) for r in (by_margin, by_entropy))
    assert one.mean() > other.mean() and not torch.equal(by_margin.images, by_entropy.images)


def test_more_steps_climb_higher(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:100], digits[1][:100]
    reached = [
        float(_loss(trained, attacks.pgd(
            trained, images, labels, epsilon=0.1, steps=steps, random_start=False
        ).images, labels).mean())
        for steps in (1, 5, 20)
    ]  # fmt: skip
    assert reached[0] < reached[1] < reached[2]


def test_predictions_made_in_inference_mode_serve_as_input(
    trained: nn.Module, digits: Digits
) -> None:
    """Autograd refuses inference tensors; predicted labels often are some."""
    with torch.inference_mode():
        images = digits[0][:10].clone()
        logits = trained(images)
        labels, targets = logits.argmax(dim=1), logits.argmin(dim=1)
    inside = attacks.pgd(trained, images, labels, epsilon=0.1, targets=targets)
    plain = attacks.pgd(
        trained, digits[0][:10], labels.clone(), epsilon=0.1, targets=targets.clone()
    )
    assert torch.equal(inside.images, plain.images)
