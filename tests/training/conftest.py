"""The folder of the full MNIST, where there is one, and a data set that is learnt in seconds."""

from pathlib import Path

import pytest
import torch

from armsrace import datasets
from armsrace.datasets import Dataset


@pytest.fixture(scope="module")
def stripes() -> Dataset:
    """512 images whose class is the half that is bright."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (512,), generator=generator)
    images = 0.3 * torch.rand(512, 1, 28, 28, generator=generator)
    images[labels == 1, :, :14] += 0.2
    return Dataset(images, labels, "mnist", "train", "unverified", Path())


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    try:
        return datasets.load("mnist", "train").path
    except datasets.DatasetNotFound as error:
        pytest.skip(f"needs the full MNIST: {error}")
