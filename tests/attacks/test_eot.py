"""EOT: a randomized model's mean prediction, its gradient, and what it is good for."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.adaptive import eot
from tests.attacks.linear import linear, some_images

Digits = tuple[Tensor, Tensor]


class Noisy(nn.Module):
    """A model behind noise that is new for each image and each call."""

    def __init__(self, inner: nn.Module, seed: int = 0) -> None:
        super().__init__()
        self.inner, self.generator = inner, torch.Generator().manual_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        noise = torch.randn(images.shape, generator=self.generator, dtype=images.dtype)
        return self.inner(images + 0.5 * noise)


@pytest.mark.parametrize("one_pass", [False, True])
def test_the_mean_of_the_logits_of_a_linear_model_is_its_own(one_pass: bool) -> None:
    images = some_images(3)
    mean = eot(Noisy(linear(4)), 4_000, average="logits", one_pass=one_pass)
    apart = (mean(images) - linear(4)(images)).abs().max()
    assert 0 < apart < 0.1 < (Noisy(linear(4))(images) - linear(4)(images)).abs().max()


def test_probabilities_are_averaged_exactly() -> None:
    """Two calls by turns: the mean is worked out by hand, and survives logits of 1,000."""
    answers = iter([torch.tensor([[1000.0, 0.0]]), torch.tensor([[0.0, 2.0]])])
    found = eot(lambda images: next(answers), 2)(torch.ones(1, 1, 2, 2))
    other = torch.tensor([0.0, 2.0]).softmax(dim=0)
    torch.testing.assert_close(found.exp(), torch.stack([1 + other[0], other[1]])[None] / 2)
    torch.testing.assert_close(found.exp().sum(), torch.tensor(1.0))


def test_one_pass_keeps_the_samples_of_each_image_together() -> None:
    images = some_images(3)
    still = eot(linear(4), 5, one_pass=True)
    torch.testing.assert_close(still(images), linear(4)(images).log_softmax(dim=1))
    torch.testing.assert_close(eot(linear(4), 5)(images), still(images))


def test_the_gradient_of_the_mean_is_the_mean_gradient() -> None:
    images = some_images(4)
    mean = eot(Noisy(linear(4), seed=1), 3, average="logits")
    found = torch.autograd.functional.jacobian(mean, images)
    calls = Noisy(linear(4), seed=1)
    each = [torch.autograd.functional.jacobian(calls, images) for _ in range(3)]
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0))


def test_the_mean_gradient_points_better_than_one_draw(trained: nn.Module, digits: Digits) -> None:
    """Noise in front of the network: one step along the mean gradient fools it more often."""
    images, labels = digits[0][:100], digits[1][:100]
    fractions = [
        attacks.transfer(
            eot(Noisy(trained, seed=9), 20), images, labels,
            source=eot(Noisy(trained, seed=1), samples),
            attack=partial(attacks.fgsm, epsilon=0.1),
        ).success.double().mean()
        for samples in (1, 40)
    ]  # fmt: skip
    assert fractions[1] > fractions[0] + 0.05


@pytest.mark.parametrize(
    ("options", "kind", "rule"),
    [
        ({"samples": 0}, ValueError, "samples must be >= 1, got 0"),
        ({"samples": 1.5}, TypeError, "samples must be an integer"),
        ({"samples": 2, "average": "loss"}, ValueError, "average must be one of probabilities, lo"),
    ],
)
def test_bad_expectations_are_named(options: Any, kind: type[Exception], rule: str) -> None:
    with pytest.raises(kind, match=rule):
        eot(linear(4), **options)
