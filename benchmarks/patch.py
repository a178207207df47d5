"""A patch that is taken for a toaster, trained on 12 photographs and judged on 8 others.

`train` stores the patch in data/measured/patch.png; `measure` stores in patch.json, image by image,
in what share of places and rotations each photograph is classified as the target, and in what share
correctly, by the part of the photograph that the patch covers. A control has the patch's pixels in
random order.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch import Generator, Tensor

from armsrace import datasets, evaluation, zoo
from armsrace.attacks import physical
from armsrace.attacks.sparse.adversarial_patch import paste_patch, train_patch
from armsrace.ledger.measurements import is_recorded, record
from armsrace.resources import data_root, replacing

CONSOLE = Console()
STUDY, NETWORK, DATA = "patch", "efficientnet-lite0", "imagenet-samples"
TARGET = 859
"""A toaster, as in the paper."""
TRAINED = slice(0, 12)
"""The first 12 photographs; no class of the other 8 is among theirs."""
SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
"""Of a photograph's area."""
LARGEST, DEGREES, STEPS, BATCH = 0.2, 20.0, 500, 6
PLACES = 10
JUDGED = (
    ("held out", "patch"), ("held out", "control"), ("held out", "photograph"),
    ("trained", "patch"),
)  # fmt: skip
FILE = data_root() / "measured" / "patch.png"


def train() -> None:
    """Train the patch and store it in 8 bits."""
    data, model = datasets.load(DATA), zoo.load(NETWORK).eval().requires_grad_(False)
    images, labels = data.images[TRAINED], data.labels[TRAINED]
    patch = train_patch(
        model, images, labels, targets=torch.full_like(labels, TARGET),
        epsilon=LARGEST * images[0, 0].numel(), degrees=DEGREES, steps=STEPS, batch_size=BATCH,
    )  # fmt: skip
    pixels = (255 * patch).round().byte().permute(1, 2, 0).numpy()
    with replacing(FILE) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG", optimize=True)


def stored_patch() -> Tensor:
    """The patch (3, S, S) in [0, 1]."""
    return torch.from_numpy(np.array(Image.open(FILE))).permute(2, 0, 1).float() / 255


def measure(split: str, share: float, seen: str) -> None:
    """Record one size of the patch, or of its control, on one half of the photographs."""
    data, model = datasets.load(DATA), zoo.load(NETWORK).eval()
    chosen = TRAINED if split == "trained" else slice(TRAINED.stop, None)
    images, labels = data.images[chosen], data.labels[chosen]
    patch = stored_patch()
    draws = Generator().manual_seed(2)
    if seen == "control":
        order = torch.randperm(patch[0].numel(), generator=draws)
        patch = patch.flatten(1)[:, order].view_as(patch)
    found, right = torch.zeros(2, len(images)).double()
    for _ in range(PLACES):
        view = paste_patch(images, patch, *_places(images, share, draws))
        if seen == "photograph":
            view = physical.camera(view, draws)
        with torch.no_grad():
            classes = model(view).argmax(dim=1)
        found += (classes == TARGET).double() / PLACES
        right += (classes == labels).double() / PLACES
    columns = {"target": found.tolist(), "label": right.tolist()}
    name = key(split, share, seen)
    settings = (
        f"{NETWORK}; target {datasets.IMAGENET_CLASSES[TARGET]}; {PLACES} places and rotations up "
        f"to {DEGREES:g}° for each image; {STEPS} training steps of {BATCH} on 12 photographs"
    )
    record(
        STUDY, name, columns, settings=settings, n=len(images), data=datasets.describe(DATA)
    )  # fmt: skip
    shares = {
        k: evaluation.with_interval(sum(row) / len(row), len(row)) for k, row in columns.items()
    }
    CONSOLE.print(name, shares)


def key(split: str, share: float, seen: str) -> str:
    """Under which a measurement is stored."""
    return f"{split}: {share:.0%}: {seen}"


def _places(images: Tensor, share: float, draws: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Centers, radii and degrees of discs that cover a share of each image."""
    count, side = len(images), images.shape[3]
    radius = math.sqrt(share / math.pi) * side
    centers = radius + (side - 2 * radius) * torch.rand(count, 2, generator=draws)
    degrees = DEGREES * (2 * torch.rand(count, generator=draws) - 1)
    return centers, torch.full((count,), radius), degrees


def main() -> None:
    """Train the patch where it is missing, and record what is not recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="train and measure anew")
    given = parser.parse_args()
    if given.again or not FILE.is_file():
        train()
    for split, seen in JUDGED:
        for share in SHARES:
            if given.again or not is_recorded(STUDY, key(split, share, seen)):
                measure(split, share, seen)


if __name__ == "__main__":
    main()
