"""Callables to attack a defended model through: the attack itself stays an ordinary one.

Each wrapper is a module from images to what it wraps, with another gradient: so that
`nn.Sequential(straight_through(purifier), classifier)` is a model for any attack.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from armsrace.attacks.smoothed import SmoothedGradient, smoothed_gradient
from armsrace.attacks.wrappers import (
    DifferentiablePurifier,
    Expectation,
    Purifier,
    StraightThrough,
    Unrolled,
)
from armsrace.contracts import Model, check_choice, check_count

__all__ = ["SmoothedGradient", "expectation", "smoothed_gradient", "straight_through", "unrolled"]


def straight_through(purifier: Purifier, *, backward: Purifier | None = None) -> nn.Module:
    """A purifier whose gradient is taken to be that of the identity, or of a stand-in (BPDA).

    Args:
        purifier: images (N, C, H, W) to images of the same shape and dtype. It need not be
            differentiable, and runs without a graph.
        backward: a differentiable stand-in g(x) ≈ purifier(x), whose gradient at x is used in
            place of the identity's.

    Gives: a module with exactly the purifier's values. Raises ValueError where these have another
    shape or dtype than the stand-in's. Source: Athalye, Carlini and Wagner 2018, §4.1.

    >>> images = torch.tensor([[[[0.2, 0.7]]]], requires_grad=True)
    >>> attacks.composition.straight_through(torch.round)(images).sum().backward()
    >>> images.grad
    tensor([[[[1., 1.]]]])
    """
    return StraightThrough(purifier, backward)


def expectation(
    model: Model,
    samples: int,
    *,
    average: Literal["probabilities", "logits"] = "probabilities",
    one_pass: bool = False,
) -> nn.Module:
    """The mean answer of a randomised model, and so the mean gradient (EOT).

    Args:
        model: images (N, C, H, W) to logits (N, K), drawing anew at each call from a generator of
            its own: seed that generator to repeat a run.
        samples: evaluations averaged; each query of the mean costs as many queries of the model.
        average: "probabilities" gives the logarithm of the mean probabilities, the confidences of
            the randomised model; "logits" the mean of the logits.
        one_pass: send the `samples` copies as one batch. Quicker, and only right for a model that
            draws for each image of a batch, whatever its pixels.

    Gives: a module from images to logits (N, K). Raises ValueError or TypeError naming the
    argument and the rule it breaks. Source: Athalye et al. 2018, "Synthesizing Robust Adversarial
    Examples", §2.1. The paper averages the loss, log p(y): an attack that is handed one row of
    logits an image cannot. The mean of the logits comes nearest; the mean of the probabilities
    lets evaluations that are fooled already weigh less.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> noisy = lambda images: model(images + 0.1 * torch.randn_like(images))
    >>> attacks.composition.expectation(noisy, samples=10)(digits.images).shape
    torch.Size([8, 10])
    """
    check_count("samples", samples)
    check_choice("average", average, ("probabilities", "logits"))
    return Expectation(model, samples, average, one_pass)


def unrolled(purifier: DifferentiablePurifier) -> nn.Module:
    """A purifier with its true gradient, through every step of its own optimisation.

    Args:
        purifier: called as purifier(images, differentiable=True), images (N, C, H, W); it must
            then keep its inner gradient steps on the graph, from the images to what it returns.

    Gives: a module from images to images. Raises ValueError where what comes back does not depend
    differentiably on the images. Memory grows with the number of steps, and through many of them
    the gradient may vanish (Athalye et al. 2018, §3): print its norm before any accuracy.

    >>> halved = lambda images, differentiable=False: images / 2
    >>> images = torch.ones(1, 1, 2, 2, requires_grad=True)
    >>> attacks.composition.unrolled(halved)(images).sum().backward()
    >>> images.grad.unique()
    tensor([0.5000])
    """
    return Unrolled(purifier)
