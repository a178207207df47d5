"""Deep Image Prior: it learns the image, each by itself, and can be stopped and passed."""

import pytest
import torch

from armsrace.attacks.adaptive import bpda, unrolled
from armsrace.defenses import DeepImagePrior, Purified, deep_image_prior
from armsrace.randomness import Keys

SMALL = {"widths": (8, 8), "skip": 2}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Three smooth pictures of 12 × 12."""
    rows = torch.linspace(0, 3, 12)
    return torch.stack([(0.5 + 0.5 * torch.sin(k * rows))[None, :, None] * torch.cos(rows / 4) ** 2
                        for k in (1, 2, 3)])  # fmt: skip


def test_the_residual_falls(images) -> None:
    path = DeepImagePrior(**SMALL).path(images, [1, 10, 60])
    assert path.images.shape == (3, 3, 1, 12, 12) and path.residuals.shape == (3, 3)
    assert (path.residuals.diff(dim=0) < 0).all()
    assert (path.residuals[-1] < 0.1 * path.residuals[0]).all()
    change = (path.images - images).square().flatten(2).mean(dim=2)
    assert torch.allclose(path.residuals, change)


def test_a_longer_run_passes_by_the_shorter(images) -> None:
    path = DeepImagePrior(**SMALL).path(images, [5, 9])
    assert torch.equal(DeepImagePrior(5, **SMALL)(images), path.images[0])
    assert torch.equal(DeepImagePrior(9, **SMALL)(images), path.images[1])


def test_a_batch_is_its_images_one_by_one(images) -> None:
    # In float64: another batch may take another convolution, and Adam makes much of rounding.
    prior, images = DeepImagePrior(15, **SMALL), images.double()
    alone = torch.cat([prior(image[None]) for image in images])
    assert torch.allclose(prior(images), alone, rtol=0, atol=1e-8)


def test_images_leave_when_they_are_near_enough(images) -> None:
    free = DeepImagePrior(**SMALL).path(images, range(1, 41))
    near = free.residuals[20].median().item()
    stopped = DeepImagePrior(tolerance=near, **SMALL).path(images, [40])
    for place in range(len(images)):
        within = (free.residuals[:, place] <= near).nonzero()
        step = int(within[0]) if len(within) else 39
        assert torch.allclose(stopped.images[0, place], free.images[step, place], atol=1e-3)
    assert len({int((free.residuals[:, k] <= near).int().argmax()) for k in range(3)}) > 1


def test_it_is_repeatable_and_leaves_no_trace(images) -> None:
    before, prior = torch.get_rng_state(), DeepImagePrior(4, **SMALL)
    kept = images.clone()
    first = prior(images)
    assert torch.equal(first, prior(images)) and torch.equal(images, kept)
    assert torch.equal(torch.get_rng_state(), before)
    assert not first.requires_grad


def test_a_generator_given_is_drawn_from(images) -> None:
    prior = DeepImagePrior(4, generator=torch.Generator().manual_seed(1), **SMALL)
    assert not torch.equal(prior(images), prior(images))


def test_the_straight_through_gradient_is_the_classifiers_at_what_was_drawn(images) -> None:
    torch.manual_seed(0)
    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 3), torch.nn.Tanh())
    prior = DeepImagePrior(6, **SMALL)
    moving, drawn = images.clone().requires_grad_(), prior(images).requires_grad_()
    through = Purified(bpda(prior), classifier)(moving)
    (grad,) = torch.autograd.grad(through[:, 0].sum(), moving)
    (expected,) = torch.autograd.grad(classifier(drawn)[:, 0].sum(), drawn)
    assert torch.allclose(grad, expected) and grad.abs().max() > 0


def test_color_and_double_precision() -> None:
    images = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    drawn = DeepImagePrior(3, **SMALL)(images)
    assert drawn.shape == images.shape and drawn.dtype == torch.float64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be >= 1"),
        ({"tolerance": -1.0}, "tolerance must be >= 0"),
        ({"learning_rate": -0.1}, "learning_rate must be >= 0"),
        ({"jitter": -0.1}, "jitter must be >= 0"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        DeepImagePrior(**settings)


@pytest.mark.parametrize("at", [[], [0, 3], [3, 3], [5, 2]])
def test_stations_must_rise(at, images) -> None:
    with pytest.raises(ValueError, match="at must hold rising numbers"):
        DeepImagePrior(**SMALL).path(images, at)


def test_bad_images_are_refused(images) -> None:
    with pytest.raises(ValueError, match="images"):
        DeepImagePrior(2, **SMALL)(2 * images + 1)


@pytest.mark.parametrize("tolerance", [None, 0.02])
def test_unrolled_it_gives_the_same_images(images, tolerance: float | None) -> None:
    prior = DeepImagePrior(12, tolerance=tolerance, **SMALL)
    moving = images.double().requires_grad_()
    on_graph = unrolled(prior)(moving)
    assert torch.allclose(on_graph, prior(images.double()), rtol=0, atol=1e-8)
    (gradient,) = torch.autograd.grad(on_graph.sum(), moving)
    assert gradient.isfinite().all() and (gradient != 0).any()
    assert not unrolled(prior)(images).requires_grad


@pytest.mark.parametrize("steps", [2, 4])
def test_the_gradient_through_the_steps_is_that_of_differences(
    images, monkeypatch, steps: int
) -> None:
    x = images[:2].double()
    # Weights are tied to the pixels: here another image must get the same ones.
    monkeypatch.setattr(deep_image_prior, "Keys", lambda _: Keys(x))
    prior = DeepImagePrior(steps, learning_rate=1e-4, **SMALL)
    draws = torch.Generator().manual_seed(0)
    way, weights = (torch.randn(x.shape, generator=draws, dtype=x.dtype) for _ in range(2))
    moving = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((unrolled(prior)(moving) * weights).sum(), moving)
    ends = [((prior(x + h * way) * weights).sum()).item() for h in (1e-5, -1e-5)]
    assert (gradient * way).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-2)


def test_an_adam_on_the_graph_is_pytorch_s() -> None:
    draws = torch.Generator().manual_seed(0)
    start = torch.randn(5, generator=draws, dtype=torch.float64)
    grads = torch.randn(6, 5, generator=draws, dtype=torch.float64)
    grads[:, 0] = 0
    theirs = torch.optim.Adam([variable := start.clone().requires_grad_()], lr=0.1)
    ours = deep_image_prior.GraphAdam([start], 0.1)
    for grad in grads:
        variable.grad = grad.clone()
        theirs.step()
        (stepped,) = ours.step([grad])
    assert torch.allclose(stepped, variable.detach(), rtol=0, atol=1e-12)
    # A gradient of exactly zero, as that of a bias before a normalization, gives no NaN.
    moving = grads[0].clone().requires_grad_()
    (out,) = deep_image_prior.GraphAdam([start], 0.1).step([moving])
    assert torch.autograd.grad(out.sum(), moving)[0].isfinite().all()
