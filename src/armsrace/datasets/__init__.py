"""MNIST and CIFAR-10: find, fetch, verify, load."""

from armsrace.datasets.dataset import Dataset
from armsrace.datasets.loading import (
    HELD_OUT,
    available,
    cifar10,
    describe,
    held_out,
    load,
    mnist,
    training,
)
from armsrace.datasets.sources import DatasetCorrupt, DatasetNotFound
from armsrace.datasets.status import FileStatus, download, status

__all__ = [
    "HELD_OUT",
    "Dataset",
    "DatasetCorrupt",
    "DatasetNotFound",
    "FileStatus",
    "available",
    "cifar10",
    "describe",
    "download",
    "held_out",
    "load",
    "mnist",
    "status",
    "training",
]
