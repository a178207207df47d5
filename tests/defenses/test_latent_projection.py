"""The purifier: its composition, and gradients around, beside and through its search."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from armsrace import attacks
from armsrace.attacks.adaptive import bpda, unrolled
from armsrace.defenses import LatentProjection, LatentSearch, Purified, invert

PIXELS = 8
SEARCH = LatentSearch(2, restarts=3, steps=6, optimizer=partial(SGD, lr=1.0, momentum=0.5))


def decode(latents: Tensor) -> Tensor:
    weights = torch.linspace(-2, 2, 2 * PIXELS, dtype=latents.dtype).view(2, PIXELS)
    return (latents @ weights).sigmoid().view(-1, 1, 2, 4)


def fixed(images: Tensor) -> Tensor:
    """Starts that do not depend on the pixels, as finite differences need them."""
    starts = torch.linspace(-1, 1, 6, dtype=images.dtype).view(3, 2)
    return starts.expand(len(images), 3, 2)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 1, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 3)).double()


def test_purified_reads_what_the_search_found(images, classifier) -> None:
    purifier = LatentProjection(decode, SEARCH)
    model = Purified(purifier, classifier)
    found = invert(decode, images, SEARCH)
    assert torch.equal(model.purify(images), found.images)
    assert torch.equal(model(images), classifier(found.images))
    assert torch.equal(model(images), model(images))
    with torch.inference_mode():
        assert torch.equal(model(images), classifier(found.images))


def test_generator_draws_anew_at_each_call(images) -> None:
    generator = torch.Generator().manual_seed(3)
    purifier = LatentProjection(decode, replace(SEARCH, restarts=1), generator=generator)
    first, second = purifier(images), purifier(images)
    assert not torch.equal(first, second)
    generator.manual_seed(3)
    assert torch.equal(purifier(images), first)


def test_modules_inside_are_registered_and_held_in_evaluation_mode(images) -> None:
    decoder = nn.Sequential(nn.Linear(2, PIXELS), nn.Dropout(), nn.Sigmoid(),
                            nn.Unflatten(1, (1, 2, 4))).double()  # fmt: skip
    purifier = LatentProjection(decoder, SEARCH)
    assert dict(purifier.named_parameters()).keys() == {"decoder.0.weight", "decoder.0.bias"}
    trained, evaluated = purifier.train()(images), purifier.eval()(images)
    assert torch.equal(trained, evaluated)


def test_bpda_gradient_is_the_identitys_backward(images, classifier) -> None:
    labels = torch.tensor([0, 1, 2, 0])
    purifier = LatentProjection(decode, SEARCH)
    model = Purified(bpda(purifier), classifier)
    inputs = images.clone().requires_grad_()
    nn.functional.cross_entropy(model(inputs), labels, reduction="sum").backward()
    # By hand: the loss is softmax of a linear map, so its gradient at the purified image is known.
    weight = classifier[1].weight.detach()
    wrong = model(images).detach().softmax(1) - nn.functional.one_hot(labels, 3)
    torch.testing.assert_close(inputs.grad, (wrong @ weight).view_as(images))


def test_plain_purifier_shows_attacks_no_gradient(images, classifier) -> None:
    labels = torch.zeros(4, dtype=torch.int64)
    model = Purified(LatentProjection(decode, SEARCH), classifier)
    with pytest.raises(ValueError, match="must be differentiable"):
        attacks.fgsm(model, images, labels, epsilon=0.1)
    opened = Purified(bpda(model.purifier), classifier)
    found = attacks.pgd(opened, images, labels, epsilon=0.3, steps=2)
    assert torch.equal(model(found.images).argmax(1) != labels, found.success)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"halving": 0},
        {"optimizer": partial(SGD, lr=1.0)},
        {"optimizer": partial(SGD, lr=1.0, momentum=0.5, nesterov=True)},
        {"optimizer": partial(Adam, lr=0.1)},
        {"penalty": lambda z: 0.01 * z.square().sum(1)},
        {"projection": lambda z: z / z.norm(dim=1, keepdim=True).clamp_min(1)},
        {"tolerance": 0.05},
    ],
    ids=["halving", "plain", "descent", "nesterov", "adam", "penalty", "projection", "tolerance"],
)
def test_unrolled_gradient_equals_finite_differences(images, change) -> None:
    purifier = LatentProjection(decode, replace(SEARCH, **change), starts=fixed)
    weights = torch.linspace(-1, 1, PIXELS, dtype=images.dtype).view(1, 1, 2, 4)
    inputs = images.clone().requires_grad_()
    purified = unrolled(purifier)(inputs)
    # torch's Adam counts its steps in float32 where it is differentiated.
    torch.testing.assert_close(purified.detach(), purifier(images), rtol=0, atol=1e-5)
    (grad,) = torch.autograd.grad((purified * weights).sum(), inputs)
    shifts = 1e-5 * torch.eye(PIXELS, dtype=images.dtype).view(PIXELS, 1, 1, 2, 4)
    # One pixel at a time, both ways, of every image.
    both = [purifier((images + way * shifts).flatten(0, 1)) for way in (1, -1)]
    values = [(side * weights).flatten(1).sum(1).view(PIXELS, 4) for side in both]
    measured = (values[0] - values[1]).T / 2e-5
    assert grad.norm() > 1e-3
    torch.testing.assert_close(grad.flatten(1), measured, rtol=1e-4, atol=1e-8)


def test_unrolled_costs_no_graph_where_none_is_asked_for(images) -> None:
    purifier = LatentProjection(decode, SEARCH)
    assert not purifier(images, differentiable=True).requires_grad
    with torch.no_grad():
        assert not purifier(images.requires_grad_(), differentiable=True).requires_grad
    assert purifier(images, differentiable=True).requires_grad
