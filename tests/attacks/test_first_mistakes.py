"""What one hands in who comes from another library, and the error that says what to hand in."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, evaluation

DIGITS = (torch.full((2, 1, 28, 28), 0.5), torch.tensor([3, 4]))
MODEL = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


class Failing(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        raise RuntimeError("its own fault")


@pytest.mark.parametrize("epsilon", ["8/255", [0.1, 0.2], torch.tensor([[0.1, 0.2]])])
def test_epsilon_is_one_number(epsilon: Any) -> None:
    with pytest.raises(TypeError, match="epsilon must be a number, "):
        attacks.pgd(MODEL, *DIGITS, epsilon=epsilon)


def test_bounds_are_no_pair() -> None:
    ends: Any = (0, 1)
    with pytest.raises(TypeError, match=re.escape("bounds must be Bounds(lower, upper), got (0, ")):
        attacks.fgsm(MODEL, *DIGITS, epsilon=0.1, bounds=ends)


def test_generator_is_no_seed() -> None:
    seed: Any = 7
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator or None, got 7"):
        attacks.pgd(MODEL, *DIGITS, epsilon=0.1, generator=seed)


def test_model_is_no_name() -> None:
    name: Any = "s3-cnn"
    with pytest.raises(TypeError, match="model must be callable, images to logits, got 's3-cnn'"):
        attacks.pgd(name, *DIGITS, epsilon=0.1)


@pytest.mark.parametrize("attack", [attacks.pgd, attacks.auto_pgd])
def test_loss_is_no_name(attack: Any) -> None:
    with pytest.raises(TypeError, match=r"loss must be a function such as .*, got 'ce'"):
        attack(MODEL, *DIGITS, epsilon=0.1, loss="ce")


def test_images_of_numpy_are_no_float32() -> None:
    images, labels = DIGITS
    with pytest.raises(RuntimeError) as caught:
        attacks.fgsm(MODEL, torch.from_numpy(images.double().numpy()), labels, epsilon=0.1)
    assert caught.value.__notes__ == [
        "images have the dtype torch.float64, the model's weights torch.float32"
    ]


def test_a_fault_of_the_model_is_left_alone() -> None:
    with pytest.raises(RuntimeError, match="own fault") as caught:
        attacks.fgsm(nn.Sequential(MODEL, Failing()), *DIGITS, epsilon=0.1)
    assert not hasattr(caught.value, "__notes__")


def test_a_curve_asks_for_an_attack_with_a_budget() -> None:
    with pytest.raises(TypeError, match=r"attack must take epsilon=.* accuracy_at"):
        evaluation.robustness_curve(MODEL, attacks.deepfool, *DIGITS, [0.0, 0.1])
    made: Any = attacks.fgsm(MODEL, *DIGITS, epsilon=0.1)
    with pytest.raises(TypeError, match=re.escape("attack must be a function such as")):
        evaluation.robustness_curve(MODEL, made, *DIGITS, [0.0, 0.1])
