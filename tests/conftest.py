"""What many tests share: digits, a network trained on them, a shipped one, and stripes."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores; more threads than cores wait for one another. Set before numpy and
    # torch are imported, this holds for them and for every process that a test starts.
    os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor, nn
from torch.nn import functional

import armsrace.publishing  # noqa: F401 (before any test has nbformat imported, which it hastens)
from armsrace import zoo
from armsrace.datasets import Dataset, embedded
from tests.perturbation import Perturbation

HELD_BACK = 500


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--perturb", type=int, metavar="SEED",
        help="round convolutions and sums as another machine might: no test may depend on that",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    seed = config.getoption("--perturb")
    if seed is not None:
        perturbation = Perturbation(seed)
        perturbation.__enter__()
        config.add_cleanup(lambda: perturbation.__exit__(None, None, None))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """A network that a test draws is the same in each run and in each order of the tests."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def all_digits() -> tuple[Tensor, Tensor]:
    """The 5,000 embedded digits (5000, 1, 28, 28), float32 in [0, 1], and labels (5000,)."""
    pixels, labels = embedded.digits()
    images = torch.from_numpy(pixels.astype("float32"))[:, None] / 255
    return images, torch.from_numpy(labels.astype("int64"))


@pytest.fixture(scope="session")
def digits(all_digits: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """500 of the embedded digits, none of which any network of the tests was trained on."""
    images, labels = all_digits
    return images[:HELD_BACK], labels[:HELD_BACK]


@pytest.fixture(scope="session")
def trained(all_digits: tuple[Tensor, Tensor]) -> nn.Sequential:
    """A small network with batch normalisation and dropout, about 90 % right; do not change it."""
    images, labels = all_digits
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 5, stride=3), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(6 * 8 * 8, 10),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for chosen in torch.randint(HELD_BACK, len(images), (150, 100)):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture
def model(trained: nn.Sequential) -> nn.Sequential:
    """A copy of the trained network that a test may change, in evaluation mode."""
    return copy.deepcopy(trained)


@pytest.fixture(scope="session")
def s3_cnn() -> nn.Module:
    """The shipped 16-32-64 network."""
    return zoo.load("s3-cnn")


@pytest.fixture(scope="module")
def stripes() -> Dataset:
    """512 images whose class is the half that is bright."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (512,), generator=generator)
    images = 0.3 * torch.rand(512, 1, 28, 28, generator=generator)
    images[labels == 1, :, :14] += 0.2
    return Dataset(images, labels, "mnist", "train", "unverified", Path())
