"""MNIST, CIFAR-10 and ImageNet photographs, found and verified, and the reader's own images."""

from armsrace.datasets.dataset import Dataset
from armsrace.datasets.image_folders import Pictures, celeba, image_folder, picture
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
from armsrace.datasets.sources import (
    CIFAR10_CLASSES,
    IMAGENET_CLASSES,
    DatasetCorrupt,
    DatasetNotFound,
)
from armsrace.datasets.status import FileStatus, download, status

__all__ = [
    "CIFAR10_CLASSES",
    "HELD_OUT",
    "IMAGENET_CLASSES",
    "Dataset",
    "DatasetCorrupt",
    "DatasetNotFound",
    "FileStatus",
    "Pictures",
    "available",
    "celeba",
    "cifar10",
    "describe",
    "download",
    "held_out",
    "image_folder",
    "load",
    "mnist",
    "picture",
    "status",
    "training",
]
