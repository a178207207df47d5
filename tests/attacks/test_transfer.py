"""What fools one network, tried on another."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, zoo
from armsrace.contracts import Bounds

Digits = tuple[Tensor, Tensor]
FGSM = partial(attacks.fgsm, epsilon=0.3)


def test_the_images_are_the_source_s_and_the_verdict_the_victim_s(
    trained: nn.Module, s3_cnn: nn.Module, digits: Digits
) -> None:
    images, labels = digits[0][:100], digits[1][:100]
    found = attacks.transfer(s3_cnn, images, labels, source=trained, attack=FGSM)
    own = FGSM(trained, images, labels)
    assert torch.equal(found.images, own.images)
    with torch.no_grad():
        verdict = s3_cnn(own.images).argmax(dim=1) != labels
    assert torch.equal(found.success, verdict) and not torch.equal(found.success, own.success)
    assert (found.queries == 1).all() and (found.gradients == 0).all()


def test_adversarial_images_carry_over_and_noise_does_not(
    s3_cnn: nn.Module, digits: Digits
) -> None:
    """From the linear model: another architecture, and none of the victim's weights."""
    images, labels = digits[0][:200], digits[1][:200]
    found = attacks.transfer(s3_cnn, images, labels, source=zoo.load("softmax"), attack=FGSM)
    signs = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).sign()
    with torch.no_grad():
        noisy = s3_cnn((images + 0.3 * signs).clamp(0, 1)).argmax(dim=1) != labels
    assert found.success.double().mean() > noisy.double().mean() + 0.2


def test_targets_and_bounds_reach_the_attack(trained: nn.Module, digits: Digits) -> None:
    images, labels = 0.5 * digits[0][:20], digits[1][:20]
    targets, given = (labels + 1) % 10, []

    def attack(model: Any, images: Tensor, labels: Tensor, **options: Any) -> Any:
        given.append(options)
        return attacks.fgsm(model, images, labels, epsilon=0.3, **options)

    found = attacks.transfer(
        trained, images, labels, source=zoo.load("softmax"), attack=attack, targets=targets,
        bounds=Bounds(0, 0.5),
    )  # fmt: skip
    assert given[0]["bounds"] == Bounds(0, 0.5) and torch.equal(given[0]["targets"], targets)
    with torch.no_grad():
        assert torch.equal(found.success, trained(found.images).argmax(dim=1) == targets)
    with pytest.raises(TypeError, match="targets"):
        attacks.transfer(
            trained, images, labels, source=trained, attack=attacks.deepfool, targets=targets
        )
