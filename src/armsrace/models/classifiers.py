"""The classifiers of the literature: images (N, C, H, W) in [0, 1] to logits (N, classes).

Softmax is never part of a model and normalisation always is. Layers that TensorFlow pads "same"
at stride 2 are padded symmetrically here, which for these kernel sizes is the same window.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from torch import Tensor, nn

from armsrace.models.layers import Maxout, Shift

Pair = tuple[nn.Module, nn.Module]


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> Pair:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()


def _initialised(
    model: nn.Sequential, weights: Callable[[Tensor], Tensor], bias: float
) -> nn.Sequential:
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weights(layer.weight)
            nn.init.constant_(cast(Tensor, layer.bias), bias)
    return model


def softmax_regression(classes: int = 10, features: int = 784) -> nn.Sequential:
    """A linear map: the model whose loss FGSM maximises exactly (Goodfellow et al. 2015, §4–5)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))


def maxout(units: int = 240, pieces: int = 5) -> nn.Sequential:
    """Two maxout layers with dropout: the net of Goodfellow et al. 2015, §4, for flat MNIST."""
    return nn.Sequential(
        nn.Flatten(), nn.Dropout(0.2), Maxout(784, units, pieces), nn.Dropout(0.5),
        Maxout(units, units, pieces), nn.Dropout(0.5), nn.Linear(units, 10),
    )  # fmt: skip


def s3_cnn() -> nn.Sequential:
    """Three convolutions of 16, 32 and 64 filters, no pooling: the tutorial's network.

    The first keeps the size, the two others halve it without padding; Glorot initialisation.
    """
    model = nn.Sequential(
        *_convolution(1, 16, 3, padding=1), *_convolution(16, 32, 3, stride=2),
        *_convolution(32, 64, 3, stride=2), nn.Flatten(), nn.Linear(64 * 6 * 6, 10),
    )  # fmt: skip
    return _initialised(model, nn.init.xavier_uniform_, bias=0.0)


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
    return _initialised(model, truncated, bias=0.1)


def _strided_convolutions(dropout: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(0.2 if dropout else 0.0), *_convolution(1, 64, 8, stride=2, padding=3),
        *_convolution(64, 128, 6, stride=2), *_convolution(128, 128, 5),
        nn.Dropout(0.5 if dropout else 0.0), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def _two_convolutions(first: Pair, second: Pair, flat: int) -> nn.Sequential:
    return nn.Sequential(
        *first, *second, nn.Dropout(0.25), nn.Flatten(), nn.Linear(flat, 128), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip


def _dense(units: int, layers: int, dropouts: int) -> nn.Sequential:
    body: list[nn.Module] = [nn.Flatten()]
    for index in range(layers):
        body += [nn.Linear(784 if index == 0 else units, units), nn.ReLU()]
        body += [nn.Dropout(0.5)] if index < dropouts else []
    return nn.Sequential(*body, nn.Linear(units, 10))


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
