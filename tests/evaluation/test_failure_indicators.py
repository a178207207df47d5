"""Each indicator is raised by the failure that it names, and by a healthy attack none."""

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, evaluation
from armsrace.evaluation.failure_indicators import incomplete
from armsrace.losses import margin


@pytest.fixture
def few(digits) -> tuple[Tensor, Tensor]:
    return digits[0][:24], digits[1][:24]


def indicators(model, few, **settings) -> evaluation.FailureIndicators:
    given = {"epsilon": 0.25, "steps": 20, "draws": 3} | settings
    return evaluation.failure_indicators(model, *few, **given)


def test_an_attack_on_a_plain_network_shows_none(s3_cnn, few) -> None:
    found = indicators(s3_cnn, few)
    assert found.n == 24 and found.success > 0.95
    assert found.unavailable_gradients == found.transfer_failure == 0
    assert found.silent_success == found.unconstrained_failure == 0
    assert found.unstable_predictions < 0.1
    assert "silent success: 0.00" in str(found) and "\nn:" not in str(found)


def test_success_is_that_of_pgd(s3_cnn, few) -> None:
    found = indicators(s3_cnn, few, epsilon=0.08)
    plain = attacks.pgd(s3_cnn, *few, epsilon=0.08, steps=20, random_start=False, loss=margin)
    assert 0.1 < found.success < 0.9
    assert found.success == pytest.approx(plain.success.float().mean().item(), abs=0.05)


def test_rounding_has_no_gradient(s3_cnn, few) -> None:
    found = indicators(lambda images: s3_cnn((images * 4).round() / 4), few)
    assert found.unavailable_gradients == 1 and found.unconstrained_failure > 0.9
    assert found.success < 0.1


def test_ripples_are_unstable(s3_cnn, few) -> None:
    def rippled(images: Tensor) -> Tensor:
        return s3_cnn(images) * (1 + (images.sum(dim=(1, 2, 3)) * 300).sin()[:, None])

    assert indicators(rippled, few).unstable_predictions > 0.5


class Ring(nn.Module):
    """Two classes of a pixel's value: class 1 between .5 and .6."""

    def forward(self, images: Tensor) -> Tensor:
        pixel = images[:, 0, 0, 0]
        inside = 0.05 - (pixel - 0.55).abs()
        # The gradient goes up, past the ring.
        up = pixel - pixel.detach()
        return torch.stack([torch.zeros_like(pixel), inside.detach() + up], dim=1)


def test_an_attack_that_passes_the_class_is_silent() -> None:
    images = torch.full((3, 1, 1, 1), 0.2)
    images[2] = 0.3
    labels = torch.zeros(3, dtype=torch.int64)
    found = indicators(Ring(), (images, labels), epsilon=0.6)
    assert found.silent_success == 1 and found.success == 0 and found.unconstrained_failure == 0
    stopped = indicators(Ring(), (images, labels), epsilon=0.32)
    assert stopped.silent_success == pytest.approx(1 / 3)
    assert stopped.success == pytest.approx(2 / 3)


def test_steps_that_are_too_small_are_incomplete(s3_cnn, few) -> None:
    slow = indicators(s3_cnn, few, step_size=0.005)
    quick = indicators(s3_cnn, few, step_size=0.1)
    assert slow.incomplete_optimization > 0.9
    assert quick.incomplete_optimization < slow.incomplete_optimization


def test_a_flat_or_finished_loss_is_complete_and_a_straight_one_is_not() -> None:
    time = torch.linspace(0, 1, 41)
    losses = torch.stack([time, torch.zeros(41), (4 * time).clamp_max(1), -time, time.sin()], dim=1)
    assert incomplete(losses).tolist() == [True, False, False, False, True]


def test_another_judge_shows_a_transfer_failure(s3_cnn, few) -> None:
    def refusing(images: Tensor, labels: Tensor) -> Tensor:
        wrong = s3_cnn(images).argmax(dim=1) != labels
        return wrong & (torch.arange(len(labels)) % 2 == 0)

    found = indicators(s3_cnn, few, is_adversarial=refusing)
    assert found.transfer_failure == pytest.approx(0.5, abs=0.06)
    assert found.success == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_other_norms(s3_cnn, few, norm: str) -> None:
    found = indicators(s3_cnn, few, norm=norm, epsilon=5.0 if norm == "l2" else 60.0)
    assert found.success > 0.9 and found.unconstrained_failure == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epsilon": 0.0}, "epsilon must be >="),
        ({"steps": 9}, "steps must be >= 10"),
        ({"draws": 0}, "draws must be >= 1"),
        ({"norm": "l0"}, "norm must be one of"),
        ({"noise": -1.0}, "noise must be >= 0"),
    ],
)
def test_bad_settings_are_named(s3_cnn, few, settings, words) -> None:
    with pytest.raises(ValueError, match=words):
        indicators(s3_cnn, few, **settings)
