"""The same images as Foolbox and torchattacks, on the shipped network and real digits.

Under L∞ Foolbox, torchattacks' FGSM and its PGD do our operations in our order: float32 images are
the same. torchattacks averages the loss where we sum it; over 64 images, a power of two, that
changes no bit of a direction. The others round elsewhere by one unit in the last place: both peers
in an L2 norm, torchattacks' BIM where it clips, its momentum where it normalises. In float32 that
may turn the sign of a gradient that is zero but for rounding, and with it a whole step, or put a
unit on the other side of its kink; after 40 L2 steps a pixel in a hundred is off by up to 3e-3. So
these are compared in float64, where everything is the same to 1e-6, and on images with a gradient
longer than 1e-9: Foolbox does not normalise one shorter than 1e-12, and hardly moves the image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

Digits = tuple[Tensor, Tensor]
Exact = tuple[nn.Module, Tensor, Tensor]
TOLERANCE = 1e-6


def check_same(ours: Tensor, theirs: Tensor, clean: Tensor) -> None:
    assert (ours - clean).abs().max() > 0.01, "nothing moved, so nothing was compared"
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE)


def slopes(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the loss in the images."""
    images = images.clone().requires_grad_()
    loss = functional.cross_entropy(model(images), labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0]
