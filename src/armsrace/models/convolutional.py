"""Networks for colour images, and two for MNIST that other papers compare with.

Images in [0, 1] to logits.
"""

from __future__ import annotations

from torch import Tensor, nn

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


class Residual(nn.Module):
    """Two 3×3 convolutions and a way past them: features (N, inputs, H, W) to (N, outputs, …).

    He et al. 2016, "Identity mappings": normalised before each convolution, so that the way past
    is linear from end to end.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.past = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.through = nn.Sequential(
            *_normalised(inputs, outputs, stride),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """The sum of both ways, H and W divided by the stride."""
        ready = self.first(features)
        total: Tensor = self.past(ready) + self.through(ready)
        return total


def cifar_resnet(width: int = 32) -> nn.Sequential:
    """A residual network of three blocks for CIFAR-10 (N, 3, 32, 32), each halving the sides.

    The defense of chapter 16 was shown on residual networks for ImageNet; this one trains on a CPU.
    """
    return nn.Sequential(
        Shift(-0.5), nn.Conv2d(3, width, 3, padding=1, bias=False),
        Residual(width, 2 * width, 2), Residual(2 * width, 4 * width, 2),
        Residual(4 * width, 8 * width, 2), nn.BatchNorm2d(8 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 10),
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


def schott_cnn() -> nn.Sequential:
    """The CNN that Schott et al. 2019 set beside analysis by synthesis (the authors' code).

    20 filters of 5×5, 70 of 4×4 and 256 of 3×3 at stride 2, 10 of 5×5; batch normalisation and ELU
    between them.
    """
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.BatchNorm2d(20), nn.ELU(),
        nn.Conv2d(20, 70, 4, stride=2), nn.BatchNorm2d(70), nn.ELU(),
        nn.Conv2d(70, 256, 3, stride=2), nn.BatchNorm2d(256), nn.ELU(),
        nn.Conv2d(256, 10, 5), nn.Flatten(),
    )  # fmt: skip
