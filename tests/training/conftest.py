"""The folder of the full MNIST, where there is one."""

from pathlib import Path

import pytest

from armsrace import datasets


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    try:
        return datasets.load("mnist", "train").path
    except datasets.DatasetNotFound as error:
        pytest.skip(f"needs the full MNIST: {error}")
