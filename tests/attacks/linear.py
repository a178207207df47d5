"""Small linear models, whose worst cases are known."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

from armsrace.contracts import Norm
from armsrace.losses import cross_entropy

SHAPE = (1, 2, 4)
PIXELS = 8


def linear(classes: int, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(PIXELS, classes).double()
    layer.weight.data = torch.randn(classes, PIXELS, generator=generator, dtype=torch.float64)
    layer.bias.data = torch.randn(classes, generator=generator, dtype=torch.float64)
    return nn.Sequential(nn.Flatten(), layer)


def centered(classes: int, seed: int = 0) -> nn.Module:
    """As `linear`, with equal logits in the middle of the box, so that boundaries cross it."""
    model = linear(classes, seed)
    layer = model[1]  # type: ignore[index]
    layer.bias.data = -layer.weight.data.sum(dim=1) / 2
    return model


def some_images(count: int, seed: int = 1) -> Tensor:
    """Some pixels at exactly 0 and 1, the others between."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(count, *SHAPE, generator=generator, dtype=torch.float64)
    return (1.6 * values - 0.3).clamp(0, 1)


def some_labels(count: int, classes: int) -> Tensor:
    return torch.arange(count) % classes


def two_classes(norm: Norm, count: int = 40) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A linear model, images, the classes it predicts, and how far the other one is (count,).

    Without the box the distance is the margin over the dual norm of its gradient.
    """
    model, images = linear(2), some_images(count)
    with torch.no_grad():
        logits = model(images)
    weight = model[1].weight.detach()  # type: ignore[index]
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    margins = (logits[:, 1] - logits[:, 0]).abs()
    exact = margins / torch.linalg.vector_norm(weight[1] - weight[0], ord=dual)
    return model, images, logits.argmax(dim=1), exact


def loss_of(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return cross_entropy(model(images), labels)


def slopes_of(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    return torch.autograd.grad(cross_entropy(model(images), labels).sum(), images)[0]


def corners(image: Tensor, epsilon: float) -> Tensor:
    """All the corners (256, 1, 2, 4) of the L∞ ball cut by the box."""
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=PIXELS)), dtype=image.dtype)
    return (image + epsilon * signs.view(-1, *SHAPE)).clamp(0, 1)
