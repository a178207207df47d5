"""The classifiers of the literature: images (N, C, H, W) in [0, 1] to logits (N, classes).

Softmax is never part of a model and normalization always is. Layers that TensorFlow pads "same" at
stride 2 are padded symmetrically here, which for these kernel sizes is the same window. First the
networks for MNIST, by paper, then those for CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from armsrace.models.layers import Maxout, Shift

Pair = tuple[nn.Module, nn.Module]


def softmax_regression(classes: int = 10, features: int = 784) -> nn.Sequential:
    """A linear map: the model whose loss FGSM maximizes exactly (Goodfellow et al. 2015, §4–5)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))


def maxout(units: int = 240, pieces: int = 5) -> nn.Sequential:
    """Two maxout layers with dropout: the net of Goodfellow et al. 2015, §4, for flat MNIST."""
    return nn.Sequential(
        nn.Flatten(), nn.Dropout(0.2), Maxout(784, units, pieces), nn.Dropout(0.5),
        Maxout(units, units, pieces), nn.Dropout(0.5), nn.Linear(units, 10),
    )  # fmt: skip


def rbf(classes: int = 10, features: int = 784) -> nn.Sequential:
    """Goodfellow et al. 2015's shallow RBF network for MNIST: one quadratic unit per class."""
    return nn.Sequential(nn.Flatten(), QuadraticUnits(features, classes))


class QuadraticUnits(nn.Module):
    """Radial basis functions: per class a center μ and a diagonal β > 0.

    The logits are −(x − μ)ᵀβ(x − μ), at most 0. Each is a log-confidence: p(k | x) =
    exp(−(x − μ_k)ᵀβ_k(x − μ_k)) of Goodfellow et al. 2015, §7. The confidences of one image need
    not sum to 1, and all are near 0 far from every center. The paper's β is a matrix; a diagonal
    one has 784 numbers per class and not 307,720.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(0.1 * torch.rand(classes, features))
        # A pixel that is black in every digit keeps the precision it starts with: at exp(−3) an
        # image with gray there is far from all centers, at exp(−5) it is not.
        self.log_precisions = nn.Parameter(torch.full((classes, features), -3.0))

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, D) to logits (N, K)."""
        precisions = self.log_precisions.exp()
        weighted = precisions * self.centers
        # The square multiplied out: two matrix products in place of N · K · D differences.
        constant = (weighted * self.centers).sum(dim=1)
        quadratic = features.square() @ precisions.T - 2 * features @ weighted.T + constant
        return -quadratic.clamp_min(0)


def s3_cnn() -> nn.Sequential:
    """Three convolutions of 16, 32 and 64 filters, no pooling: the tutorial's network.

    The first keeps the size, the two others halve it without padding; Glorot initialization.
    """
    model = nn.Sequential(
        *_convolution(1, 16, 3, padding=1), *_convolution(16, 32, 3, stride=2),
        *_convolution(32, 64, 3, stride=2), nn.Flatten(), nn.Linear(64 * 6 * 6, 10),
    )  # fmt: skip
    return _initialized(model, nn.init.xavier_uniform_, bias=0.0)


def trained_detector() -> nn.Sequential:
    """Two small convolutions and a linear layer: "clean" or "adversarial" for 28 × 28 images.

    After Gong, Wang and Ku 2017, whose detector is a binary classifier of images. Ours is small:
    4,466 parameters.
    """
    model = nn.Sequential(
        *_convolution(1, 12, 3, stride=2), *_convolution(12, 24, 3, stride=2), nn.Flatten(),
        nn.Linear(24 * 6 * 6, 2),
    )  # fmt: skip
    return _initialized(model, nn.init.xavier_uniform_, bias=0.0)


def interval_cnn() -> nn.Sequential:
    """Two convolutions of 16 and 32 filters, each halving the sides, and 50 units, for MNIST.

    For interval bounds (Gowal et al. 2018): small, since every layer widens the box.
    """
    return nn.Sequential(
        *_convolution(1, 16, 4, stride=2, padding=1), *_convolution(16, 32, 4, stride=2, padding=1),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 50), nn.ReLU(), nn.Linear(50, 10),
    )  # fmt: skip


def lenet() -> nn.Sequential:
    """LeNet as Caffe has it: 20 and 50 filters of 5×5, each pooled, and 500 units, for MNIST.

    Moosavi-Dezfooli et al. 2016 name a LeNet without its sizes; this is the common one.
    """
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip


def dense_500_150() -> nn.Sequential:
    """Two dense layers of 500 and 150 units for MNIST (Moosavi-Dezfooli et al. 2016, Table 1)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 150), nn.ReLU(),
        nn.Linear(150, 10),
    )  # fmt: skip


def carlini_wagner() -> nn.Sequential:
    """The MNIST network of Papernot et al. 2016 and Carlini and Wagner 2017, Table I.

    Pixels are shifted to [-0.5, 0.5] as in the authors' code; one dropout, after the first dense
    layer, as there and unlike the table.
    """
    return nn.Sequential(
        Shift(-0.5), *_convolution(1, 32, 3), *_convolution(32, 32, 3), nn.MaxPool2d(2),
        *_convolution(32, 64, 3), *_convolution(64, 64, 3), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(1024, 200), nn.ReLU(), nn.Dropout(0.5), nn.Linear(200, 200), nn.ReLU(),
        nn.Linear(200, 10),
    )  # fmt: skip


def madry() -> nn.Sequential:
    """Madry et al. 2018's MNIST network: two padded 5×5 convolutions with pooling, 1,024 units."""
    model = nn.Sequential(
        *_convolution(1, 32, 5, padding=2), nn.MaxPool2d(2), *_convolution(32, 64, 5, padding=2),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 7 * 7, 1024), nn.ReLU(), nn.Linear(1024, 10),
    )  # fmt: skip
    truncated = partial(nn.init.trunc_normal_, std=0.1, a=-0.2, b=0.2)
    return _initialized(model, truncated, bias=0.1)


def tramer(letter: str) -> nn.Sequential:
    """Tramèr et al. 2018's MNIST networks A to D (appendix; the authors' `mnist.py`).

    Raises ValueError for another letter.
    """
    if letter == "A":
        return _two_convolutions(_convolution(1, 64, 5), _convolution(64, 64, 5), 64 * 20 * 20)
    if letter == "B":
        return _strided_convolutions()
    if letter == "C":
        return _two_convolutions(_convolution(1, 128, 3), _convolution(128, 64, 3), 64 * 24 * 24)
    if letter == "D":
        return _dense(300, layers=4, dropouts=4)
    raise ValueError(f"letter must be one of A, B, C, D, got {letter!r}")


def defense_gan(letter: str) -> nn.Sequential:
    """Samangouei et al. 2018's classifiers A to F (appendix; the authors' `network_builder.py`).

    E is D and F is B, each without dropout. Raises ValueError for another letter.
    """
    if letter == "A":
        convolutions = _convolution(1, 64, 5, padding=2), _convolution(64, 64, 5, stride=2)
        return _two_convolutions(*convolutions, 64 * 12 * 12)
    if letter == "C":
        convolutions = _convolution(1, 128, 3, padding=1), _convolution(128, 64, 5, stride=2)
        return _two_convolutions(*convolutions, 64 * 12 * 12)
    if letter in ("B", "F"):
        return _strided_convolutions(dropout=letter == "B")
    if letter in ("D", "E"):
        return _dense(200, layers=2, dropouts=1 if letter == "D" else 0)
    raise ValueError(f"letter must be one of A, B, C, D, E, F, got {letter!r}")


def schott_cnn() -> nn.Sequential:
    """The CNN that Schott et al. 2019 compare analysis by synthesis with (the authors' code).

    20 filters of 5×5, 70 of 4×4 and 256 of 3×3 at stride 2, 10 of 5×5; batch normalization and ELU
    between them.
    """
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.BatchNorm2d(20), nn.ELU(),
        nn.Conv2d(20, 70, 4, stride=2), nn.BatchNorm2d(70), nn.ELU(),
        nn.Conv2d(70, 256, 3, stride=2), nn.BatchNorm2d(256), nn.ELU(),
        nn.Conv2d(256, 10, 5), nn.Flatten(),
    )  # fmt: skip


def cifar_cnn(width: int = 32) -> nn.Sequential:
    """Six convolutions, every second of stride 2 in place of pooling, for CIFAR-10 (N, 3, 32, 32).

    The idea of the all-convolutional net (Springenberg et al. 2015) that Su et al. attack, a third
    as wide and with batch normalization, so that it trains on a CPU in minutes.
    """
    return nn.Sequential(
        Shift(-0.5), *_normalized(3, width), *_normalized(width, width, 2),
        *_normalized(width, 2 * width), *_normalized(2 * width, 2 * width, 2),
        *_normalized(2 * width, 4 * width), *_normalized(4 * width, 4 * width, 2),
        nn.Flatten(), nn.Linear(4 * width * 16, 10),
    )  # fmt: skip


def cifar_resnet(width: int = 32) -> nn.Sequential:
    """A residual network of three blocks for CIFAR-10 (N, 3, 32, 32), each halving the sides.

    The deep image prior was shown on residual networks for ImageNet; this one trains on a CPU.
    """
    return nn.Sequential(
        Shift(-0.5), nn.Conv2d(3, width, 3, padding=1, bias=False),
        Residual(width, 2 * width, 2), Residual(2 * width, 4 * width, 2),
        Residual(4 * width, 8 * width, 2), nn.BatchNorm2d(8 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 10),
    )  # fmt: skip


class Residual(nn.Module):
    """Two 3×3 convolutions and a shortcut: features (N, inputs, H, W) to (N, outputs, …).

    He et al. 2016, "Identity mappings": normalized before each convolution, so that the shortcut is
    linear from end to end.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.past = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.through = nn.Sequential(
            *_normalized(inputs, outputs, stride),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """The sum of both, H and W divided by the stride."""
        activated = self.first(features)
        total: Tensor = self.past(activated) + self.through(activated)
        return total


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> Pair:
    """A convolution and its ReLU."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()


def _normalized(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """A 3×3 convolution with batch normalization and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def _initialized(
    model: nn.Sequential, weights: Callable[[Tensor], Tensor], bias: float
) -> nn.Sequential:
    """The model, its weights drawn again and its biases set."""
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weights(layer.weight)
            nn.init.constant_(cast(Tensor, layer.bias), bias)
    return model


def _strided_convolutions(dropout: bool = True) -> nn.Sequential:
    """B of Tramèr et al., B and F of Samangouei et al."""
    return nn.Sequential(
        nn.Dropout(0.2 if dropout else 0.0), *_convolution(1, 64, 8, stride=2, padding=3),
        *_convolution(64, 128, 6, stride=2), *_convolution(128, 128, 5),
        nn.Dropout(0.5 if dropout else 0.0), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def _two_convolutions(first: Pair, second: Pair, flat: int) -> nn.Sequential:
    """A and C of both."""
    return nn.Sequential(
        *first, *second, nn.Dropout(0.25), nn.Flatten(), nn.Linear(flat, 128), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip


def _dense(units: int, layers: int, dropouts: int) -> nn.Sequential:
    """D of Tramèr et al., D and E of Samangouei et al."""
    body: list[nn.Module] = [nn.Flatten()]
    for index in range(layers):
        body += [nn.Linear(784 if index == 0 else units, units), nn.ReLU()]
        body += [nn.Dropout(0.5)] if index < dropouts else []
    return nn.Sequential(*body, nn.Linear(units, 10))
