"""DeepFool is exact on a linear model, and never returns a failure as an image."""

import pytest
import torch
from torch import Tensor

from armsrace import attacks, evaluation
from armsrace.contracts import Bounds

WIDE = Bounds(-50, 50)


@pytest.fixture(params=[2, 10])
def linear(request) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K, 12), images (30, 1, 3, 4) and the labels that the linear model gives them."""
    draws = torch.Generator().manual_seed(request.param)
    weights = torch.randn(request.param, 12, generator=draws, dtype=torch.float64)
    images = 0.4 + 0.2 * torch.rand(30, 1, 3, 4, generator=draws, dtype=torch.float64)
    return weights, images, (images.flatten(1) @ weights.T).argmax(dim=1)


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_the_distance_is_exact_on_a_linear_model(linear, norm, dual) -> None:
    weights, images, labels = linear
    logits = images.flatten(1) @ weights.T
    gaps = logits.gather(1, labels[:, None]) - logits
    lengths = torch.linalg.vector_norm(weights[labels][:, None] - weights, ord=dual, dim=2)
    expected = (gaps / lengths).scatter(1, labels[:, None], torch.inf).amin(dim=1)
    found = attacks.deepfool(
        lambda batch: batch.flatten(1) @ weights.T, images, labels, norm=norm, overshoot=1e-6,
        bounds=WIDE,
    )  # fmt: skip
    assert found.success.all()
    sizes = evaluation.perturbation_sizes(images, found, norm)
    torch.testing.assert_close(sizes, expected, rtol=1e-5, atol=1e-9)


def test_a_pixel_at_the_edge_of_the_box_does_not_stall_the_search() -> None:
    """The steepest pixel is white already: only the other can turn the image."""

    def model(images: Tensor) -> Tensor:
        margin = 10 * images[:, 0, 0, 0] + images[:, 0, 0, 1] - 10.5
        return torch.stack([torch.zeros_like(margin), margin], dim=1)

    image = torch.tensor([[[[1.0, 0.2]]]])
    found = attacks.deepfool(model, image, torch.tensor([0]), overshoot=1e-4)
    assert found.success.all()
    assert found.images[0, 0, 0, 0] == 1
    assert found.images[0, 0, 0, 1] == pytest.approx(0.5, abs=1e-3)


def test_misclassified_images_stay_and_failures_come_back_clean(model, digits) -> None:
    images, labels = digits[0][:40], digits[1][:40]
    wrong = (labels + 1) % 10
    already = attacks.deepfool(model, images, wrong)
    at_once = model(images).argmax(dim=1) != wrong
    assert torch.equal(already.images[at_once], images[at_once])
    failed = attacks.deepfool(lambda batch: model(batch.round()) + 0 * batch.sum(), images, labels)
    assert torch.equal(failed.images, images)
    assert (evaluation.perturbation_sizes(images, failed, "l2")[~failed.success] == torch.inf).all()


def test_it_is_shorter_than_one_step(model, digits) -> None:
    images, labels = digits[0][:60], digits[1][:60]
    right = model(images).argmax(dim=1) == labels
    found = attacks.deepfool(model, images, labels)
    single = attacks.fgsm(model, images, labels, epsilon=3.0, norm="l2")
    both = right & found.success & single.success
    nearest = evaluation.perturbation_sizes(images, found, "l2")[both]
    assert found.success.all() and both.sum() > 30
    assert nearest.mean() < 0.5 * evaluation.perturbation_sizes(images, single, "l2")[both].mean()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"norm": "l1"}, "norm must be one of l2, linf"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"overshoot": -0.1}, "overshoot must be >= 0, got -0.1"),
    ],
)
def test_bad_options(model, digits, options, rule) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.deepfool(model, digits[0][:2], digits[1][:2], **options)
