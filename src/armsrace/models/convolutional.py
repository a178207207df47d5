"""Networks for colour images, and the LeNet of DeepFool's table: images in [0, 1] to logits."""

from __future__ import annotations

from torch import nn

from armsrace.models.layers import Shift


def _normalised(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def cifar_cnn(width: int = 32) -> nn.Sequential:
    """Six convolutions, every second of stride 2 in place of pooling, for CIFAR-10 (N, 3, 32, 32).

    The idea of the all-convolutional net (Springenberg et al. 2015) that Su et al. attack, a third
    as wide and with batch normalisation, so that it trains on a CPU in minutes.
    """
    return nn.Sequential(
        Shift(-0.5), *_normalised(3, width), *_normalised(width, width, 2),
        *_normalised(width, 2 * width), *_normalised(2 * width, 2 * width, 2),
        *_normalised(2 * width, 4 * width), *_normalised(4 * width, 4 * width, 2),
        nn.Flatten(), nn.Linear(4 * width * 16, 10),
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
