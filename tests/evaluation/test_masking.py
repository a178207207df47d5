"""Each sign of a masked gradient is seen where it is, and a healthy network shows none."""

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, evaluation
from armsrace.contracts import UNIT
from armsrace.evaluation import masking

EPSILON = 0.25


@pytest.fixture
def few(digits) -> tuple[Tensor, Tensor]:
    return digits[0][:60], digits[1][:60]


def warned(model, few, **settings) -> set[str]:
    report = evaluation.masking_report(
        model, *few, epsilon=EPSILON, steps=20, queries=60, **settings
    )
    assert report.suspicious == any(not check.healthy for check in report.checks)
    return {check.question for check in report.checks if not check.healthy}


def test_a_plain_network_is_healthy(s3_cnn, few) -> None:
    report = evaluation.masking_report(s3_cnn, *few, epsilon=EPSILON, surrogate=s3_cnn)
    assert not report.suspicious, str(report)
    assert len(report.checks) == 6
    assert "WARNING" not in str(report)


def test_softmax_outputs(s3_cnn, few) -> None:
    assert "Does it return logits?" in warned(lambda images: s3_cnn(images).softmax(1), few)


def test_saturated_logits_have_no_gradient_and_a_transfer_shows_it(s3_cnn, few) -> None:
    questions = warned(lambda images: 1e4 * s3_cnn(images), few, surrogate=s3_cnn)
    assert "Is there a gradient?" in questions
    assert "Do gradient attacks match gradient-free ones?" in questions
    assert "Does the error reach 100 % as ε grows?" in questions


def test_saturated_logits_are_found_out_without_a_surrogate_too(s3_cnn, few) -> None:
    report = evaluation.masking_report(
        lambda images: 1e4 * s3_cnn(images), *few, epsilon=EPSILON, steps=5, queries=60
    )
    verdict = report.checks[-1]
    assert not verdict.healthy and "square, 60 queries" in verdict.evidence


def test_rounded_input(s3_cnn, few) -> None:
    def rounded(images: Tensor) -> Tensor:
        # Rounding has the gradient zero; a graph must still lead back to the images.
        return s3_cnn((images * 4).round() / 4)

    questions = warned(rounded, few, surrogate=s3_cnn)
    assert {"Is there a gradient?", "Do gradient attacks match gradient-free ones?"} <= questions


def test_noise(s3_cnn, few) -> None:
    def noisy(images: Tensor) -> Tensor:
        return s3_cnn(images + 0.1 * torch.randn_like(images))

    with torch.random.fork_rng():
        assert "Is it deterministic?" in warned(noisy, few)


class Ripples(nn.Module):
    """A network behind fine waves: the slope at a point says nothing of where the loss goes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images - 0.01 * (images * 400).sin())


@pytest.mark.parametrize(("more", "healthy"), [(0, True), (1, True), (2, False)])
def test_one_image_is_chance_and_two_are_a_sign(few, more: int, healthy: bool) -> None:
    zeros = torch.zeros_like(few[1])

    def stubborn(images: Tensor) -> Tensor:
        return torch.tensor([2.0, 0.0]) + 0 * images.flatten(1)[:, :2]

    def blind(problem, epsilon: float, steps: int) -> Tensor:
        return torch.arange(len(problem.labels)) < more

    checks = masking._gradient_checks(stubborn, few[0], zeros, 0.1, 2, UNIT, blind, "by fiat")
    assert list(checks)[-1].healthy == healthy


def test_misleading_gradients(s3_cnn, few) -> None:
    questions = warned(Ripples(s3_cnn), few, surrogate=s3_cnn)
    assert "Does iterating do at least as well as one step?" in questions or (
        "Do gradient attacks match gradient-free ones?" in questions
    )


def test_the_network_trained_on_fgsm_images_masks(few) -> None:
    from armsrace import zoo

    model = zoo.load("s3-cnn-fgsm")
    single = attacks.fgsm(model, *few, epsilon=0.3).success.float().mean()
    many = attacks.pgd(model, *few, epsilon=0.3, steps=40).success.float().mean()
    assert many > single + 0.2, "the single step flatters the network"


def test_bad_budget(s3_cnn, few) -> None:
    with pytest.raises(ValueError, match="epsilon must be >= 1e-06, got 0"):
        evaluation.masking_report(s3_cnn, *few, epsilon=0)
    with pytest.raises(ValueError, match="queries must be >= 3, got 2"):
        evaluation.masking_report(s3_cnn, *few, epsilon=EPSILON, queries=2)


def test_report_as_html(s3_cnn, few) -> None:
    report = evaluation.masking_report(s3_cnn, *few, epsilon=EPSILON, steps=2, queries=5)
    markup = report._repr_html_()
    assert markup.count("<tr>") == 6
