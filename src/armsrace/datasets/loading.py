"""The public loaders: images float32 (N, C, H, W) in [0, 1] and labels int64 (N,)."""

from __future__ import annotations

from dataclasses import replace

from armsrace.contracts import check_choice
from armsrace.datasets.dataset import Dataset
from armsrace.datasets.reading import read_embedded, read_split
from armsrace.datasets.search import cache_folder, locate
from armsrace.datasets.sources import SPLITS, TITLES, WHEELS, DatasetNotFound, Split

HELD_OUT = 6_000


def load(name: str, split: str = "test") -> Dataset:
    """The data set from the first place that holds it, every file checked.

    Where the test images are nowhere, MNIST falls back on the 5,000 embedded training digits and
    CIFAR-10 on its 20 embedded test images, and says so once.
    Raises DatasetNotFound, DatasetCorrupt, or ValueError for an unknown name or split.
    """
    check_choice("name", name, tuple(TITLES))
    check_choice("split", split, SPLITS)
    which: Split = "train" if split == "train" else "test"
    try:
        folder = locate(name, which)
    except DatasetNotFound as error:
        if which != "test":
            raise
        return _stand_in(name, which, error)
    return read_split(name, which, folder)


def mnist(split: str = "test") -> Dataset:
    """MNIST: `load("mnist", split)`, images (N, 1, 28, 28). Source: LeCun et al. 1998."""
    return load("mnist", split)


def cifar10(split: str = "test") -> Dataset:
    """CIFAR-10: `load("cifar10", split)`, images (N, 3, 32, 32). Source: Krizhevsky 2009."""
    return load("cifar10", split)


def training(name: str = "mnist") -> Dataset:
    """Training images 6,000 and up: what the zoo trains on. Raises as `load` does."""
    full = load(name, "train")
    return replace(full, images=full.images[HELD_OUT:], labels=full.labels[HELD_OUT:])


def held_out(name: str = "mnist") -> Dataset:
    """The first 6,000 training images, which no model of the zoo has seen.

    Without MNIST's training file, the 5,000 embedded digits, which are among them.
    """
    try:
        full = load(name, "train")
    except DatasetNotFound as error:
        if name != "mnist":
            raise
        return _stand_in(name, "held-out", error)
    images, labels = full.images[:HELD_OUT].clone(), full.labels[:HELD_OUT].clone()
    return replace(full, images=images, labels=labels, split="held-out")


def available(name: str) -> bool:
    """Whether `load(name)` finds the test images, fetches them, or has embedded ones instead."""
    try:
        load(name)
    except DatasetNotFound:
        return False
    return True


def describe(name: str) -> str:
    """What `load(name, "test")` gives and where from, without a machine's paths."""
    try:
        data = load(name, "test")
    except DatasetNotFound:
        return f"{TITLES[name]}, not available"
    if data.source == "embedded":
        return f"{data.description}, from the {WHEELS[name]} wheel"
    cached = data.path == cache_folder(name)
    return f"{data.description}, from {'the user cache' if cached else '$ARMSRACE_DATA'}"


def _stand_in(name: str, split: str, absent: DatasetNotFound) -> Dataset:
    """The embedded images, or one error that says where both they and the full set are missing."""
    try:
        return read_embedded(name, split)
    except DatasetNotFound as error:
        raise DatasetNotFound(f"{absent} In its place, {error}") from error
