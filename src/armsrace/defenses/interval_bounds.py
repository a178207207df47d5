"""Interval bound propagation (Gowal et al. 2018): a box of images in, a box of logits out.

Every image of the box has its logits in that box. So a class whose least logit exceeds the greatest
of all others is proved. First the bounds of each kind of layer, then the proof and the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.contracts import (
    UNIT,
    Bounds,
    check_at_least,
    check_classes,
    check_images,
    check_labels,
)
from armsrace.models.layers import Maxout, Shift
from armsrace.training.recipe import Objective

Box = tuple[Tensor, Tensor]
"""The least and the greatest value of each feature."""

KAPPA = 0.5


def interval_bounds(model: nn.Module, lower: Tensor, upper: Tensor) -> Box:
    """Bounds of what a network returns for any input between two others.

    An affine layer with weights W and bias b takes the center μ of the box to Wμ + b, and its
    radius r to Vr, V the magnitudes of W. Activations and pooling never decrease, so they are
    applied to both ends.

    Args:
        model: a layer, or an nn.Sequential of layers: linear, convolution, batch normalization, the
            zoo's `Shift` and `Maxout`, ReLU and other activations that never decrease, pooling,
            flattening, dropout. Dropout and batch normalization are as in evaluation mode.
        lower: (N, …), the least value of each input.
        upper: the same shape, the greatest; nowhere below `lower`.

    Returns:
        The least and the greatest value of each output, as of the model. Differentiable.

    Raises:
        TypeError: the network has a layer whose bounds are not known.

    Differences from the paper:
        * Rounding errors of the arithmetic are not added to the box, as in the authors' code. In
          float32 the logits of a small network carry about 1e-5 of it.

    Cost:
        Two forward passes.

    References:
        Gowal et al. 2018, "On the effectiveness of interval bound propagation for training
        verifiably robust models", §3.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> lower, upper = defenses.interval_bounds(model, digits.images - 0.1, digits.images + 0.1)
        >>> bool(((lower < model(digits.images)) & (model(digits.images) < upper)).all())
        True
    """
    if lower.shape != upper.shape:
        raise ValueError(
            f"lower and upper must have one shape, got {tuple(lower.shape)} and "
            f"{tuple(upper.shape)}"
        )
    if not bool((lower <= upper).all()):
        raise ValueError("lower must be <= upper, got an empty box or NaN")
    return _through(_layers(model), (lower, upper))


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested nn.Sequential, in order."""
    if type(model) is nn.Sequential:
        for part in model:
            yield from _layers(part)
    else:
        yield model


def _through(layers: Iterator[nn.Module] | list[nn.Module], box: Box) -> Box:
    """The box behind the last of these layers."""
    for layer in layers:
        # The exact class: one that inherits may compute anything.
        rule = _RULES.get(type(layer))
        if rule is None:
            raise TypeError(
                f"model must have layers with known interval bounds, got {type(layer).__name__}; "
                f"known are {', '.join(sorted(known.__name__ for known in _RULES))}"
            )
        box = rule(layer, box)
    return box


def _affine(layer: nn.Module, box: Box, absolute: Callable[[Tensor], Tensor]) -> Box:
    """Center and radius through an affine layer; `absolute` is the layer with |W| and no bias."""
    lower, upper = box
    center, radius = layer((lower + upper) / 2), absolute((upper - lower) / 2)
    return center - radius, center + radius


def _linear(layer: nn.Module, box: Box) -> Box:
    assert isinstance(layer, nn.Linear)
    return _affine(layer, box, lambda radius: functional.linear(radius, layer.weight.abs()))


def _convolution(layer: nn.Module, box: Box) -> Box:
    assert isinstance(layer, nn.Conv2d)
    # The layer's own function pads, with zeros or with other pixels.
    return _affine(layer, box, lambda radius: layer._conv_forward(radius, layer.weight.abs(), None))


def _batch_norm(layer: nn.Module, box: Box) -> Box:
    assert isinstance(layer, nn.BatchNorm2d)
    if layer.running_mean is None or layer.running_var is None:
        raise TypeError("model must have BatchNorm2d layers with running statistics, got none")
    scale = (layer.running_var + layer.eps).rsqrt()
    offset = -layer.running_mean * scale
    if layer.affine:
        scale, offset = scale * layer.weight, offset * layer.weight + layer.bias
    scale, offset = scale.view(-1, 1, 1), offset.view(-1, 1, 1)
    first, second = (end * scale + offset for end in box)
    return torch.minimum(first, second), torch.maximum(first, second)


def _maxout(layer: nn.Module, box: Box) -> Box:
    assert isinstance(layer, Maxout)
    lower, upper = (
        end.unflatten(1, (layer.units, -1)).amax(dim=2) for end in _linear(layer.linear, box)
    )
    return lower, upper


def _rising(layer: nn.Module, box: Box) -> Box:
    """A layer that never decreases in any of its inputs."""
    return layer(box[0]), layer(box[1])


def _leaky(layer: nn.Module, box: Box) -> Box:
    slope = float(getattr(layer, "negative_slope", getattr(layer, "alpha", 0.0)))
    check_at_least(f"the slope of {type(layer).__name__}", slope, 0)
    return _rising(layer, box)


def _same(layer: nn.Module, box: Box) -> Box:
    return box


_RULES: dict[type[nn.Module], Callable[[nn.Module, Box], Box]] = {
    nn.Linear: _linear, nn.Conv2d: _convolution, nn.BatchNorm2d: _batch_norm, Maxout: _maxout,
    nn.LeakyReLU: _leaky, nn.ELU: _leaky, nn.Dropout: _same, nn.Identity: _same,
    **dict.fromkeys(
        (
            Shift, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Flatten, nn.Unflatten,
            nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
        ),
        _rising,
    ),
}  # fmt: skip


def interval_margins(
    model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, bounds: Bounds = UNIT
) -> Tensor:
    """Lower bounds of how far the logit of the label is above each other, around each image.

    The last layer is elided: its rows are subtracted before the box goes through, so that what two
    logits have in common cancels. The bound of z_y − z_c is (w_y − w_c)ᵀμ + b_y − b_c − vᵀr for
    the center μ and the radius r of the last features, v the magnitudes of w_y − w_c.

    Args:
        model: as for `interval_bounds`; its last layer is an nn.Linear.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: L∞, in pixel units.
        bounds: the box of valid pixels.

    Returns:
        (N, K): at the label 0, elsewhere the bound. Differentiable.

    Raises:
        TypeError: the last layer is not linear, or a layer is not known.

    Cost:
        Two forward passes.

    References:
        Gowal et al. 2018, §3 (the last layer's elision).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> defenses.interval_margins(model, digits.images, digits.labels, 0.1).shape
        torch.Size([8, 10])
    """
    check_images(images, bounds)
    check_labels(labels, len(images))
    check_at_least("epsilon", epsilon, 0)
    *body, last = _layers(model)
    if type(last) is not nn.Linear:
        raise TypeError(f"model must end with a Linear layer, got {type(last).__name__}")
    check_classes(labels, last.out_features)
    lower, upper = _through(body, (bounds.clip(images - epsilon), bounds.clip(images + epsilon)))
    center, radius = (lower + upper) / 2, (upper - lower) / 2
    logits = last(center)
    apart = (last.weight[:, None] - last.weight).abs()[labels]
    return logits.gather(1, labels[:, None]) - logits - (apart @ radius[:, :, None])[:, :, 0]


@torch.no_grad()
def certified(
    model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, bounds: Bounds = UNIT
) -> Tensor:
    """Which images no perturbation within epsilon can take from their class: a proof.

    Args:
        model: as for `interval_margins`, as are images, labels, epsilon and bounds.

    Returns:
        (N,) bool: True where every image within epsilon and the box is classified as the label.
        False says nothing.

    Cost:
        Two forward passes.

    References:
        Gowal et al. 2018, §3.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(100)
        >>> near, far = (
        ...     defenses.certified(model, digits.images, digits.labels, epsilon)
        ...     for epsilon in (0.01, 0.1)
        ... )
        >>> bool(near.sum() > far.sum())
        True
    """
    margins = interval_margins(model, images, labels, epsilon, bounds)
    return (margins > 0).scatter(1, labels[:, None], True).all(dim=1)


def interval_loss(epsilon: float, kappa: float = KAPPA) -> Objective:
    """The objective κ J(z, y) + (1 − κ) J(ẑ, y): cross-entropy of the logits and of the worst ones.

    ẑ holds the greatest logit of each wrong class and the least of the true one, all relative to
    the true one, with the last layer elided.

    Args:
        epsilon: L∞, in pixel units.
        kappa: κ in [0, 1].

    References:
        Gowal et al. 2018, §3.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> known = (model, digits.images, digits.labels)
        >>> bool(defenses.interval_loss(0.1)(*known) > defenses.interval_loss(0.0)(*known))
        True
    """
    check_at_least("epsilon", epsilon, 0)
    check_at_least("kappa", kappa, 0)
    if kappa > 1:
        raise ValueError(f"kappa must be <= 1, got {kappa:g}")

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        clean = functional.cross_entropy(model(images), labels)
        if kappa == 1:
            return clean
        worst = -interval_margins(model, images, labels, epsilon)
        return kappa * clean + (1 - kappa) * functional.cross_entropy(worst, labels)

    return objective


def interval_schedule(
    epsilon: float, *, warm_up: float = 1 / 30, ramp_up: float = 1 / 6, kappa: float = KAPPA
) -> Callable[[float], Objective]:
    """The authors' schedule: clean training, then ε rises from 0 and κ falls from 1, linearly.

    At the full ε from the first step all boxes overlap, and the network stays at one answer.

    Args:
        epsilon: the full ε, L∞, in pixel units.
        warm_up: the fraction of training on clean images; the authors' is 2,000 of 60,000 steps.
        ramp_up: the fraction after it over which ε and κ change; the authors' is 10,000 of 60,000.
        kappa: κ at the end.

    Returns:
        From the progress of training, 0 to 1, to the objective.

    References:
        Gowal et al. 2018, and the defaults of the authors' code (`train.py`).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> objective = defenses.interval_schedule(0.1)
        >>> early, late = (
        ...     objective(x)(model, digits.images, digits.labels) for x in (0.05, 0.9)
        ... )
        >>> bool(early < late)
        True
    """
    check_at_least("warm_up", warm_up, 0)
    if not 0 < ramp_up <= 1 - warm_up:
        raise ValueError(f"ramp_up must lie in (0, 1 - warm_up], got {ramp_up:g}")
    interval_loss(epsilon, kappa)

    def objective(progress: float) -> Objective:
        share = min(max(progress - warm_up, 0.0) / ramp_up, 1.0)
        return interval_loss(share * epsilon, 1 - share * (1 - kappa))

    return objective
