"""Nearest prototypes, trained and certified as Voráček and Hein 2022 do, beside linear synthesis.

A prototype is a piece without latents. Ninety of them per class have as many numbers as the zoo's
linear-synthesis. They are trained by the paper's objective: how far the lower bound
max_i min_j (‖x − w_j‖² − ‖x − w_i‖²) / (2 ‖w_j − w_i‖), i of the image's class and j of another,
falls short of 2.5. Training images are those from number 6,000 on.

"train" writes the prototypes to _build; "certify" stores, digit by digit, in
data/measured/prototypes.json whether the class is right, that bound, the radius by
`evaluation.certify` (which uses the box and several prototypes at once), and the distance of the
nearest adversarial image that DDN finds (1e9: none).

Differences from the paper: ninety prototypes per class instead of 400, and fewer epochs; of an
image's own class the ten nearest prototypes are tried for the largest bound.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor

from armsrace import attacks, datasets, evaluation
from armsrace.ledger.measurements import record
from armsrace.models.linear_synthesis import LinearSynthesis

CONSOLE = Console()
CLASSES, PER_CLASS, NEAREST = 10, 90, 10
EPSILON, BATCH, MOMENTUM = 2.5, 500, 0.9
HELD_OUT, AT_ONCE = 6000, 100
PATH = Path("_build/prototypes.safetensors")


def pairs(images: Tensor, labels: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """The prototypes i and j (N,) of the bound of flat images (N, P)."""
    distances = torch.cdist(images, prototypes).square()
    apart = 2 * torch.cdist(prototypes, prototypes)
    classes = torch.arange(len(prototypes), device=images.device) // PER_CLASS
    own = classes == labels[:, None]
    near = distances.where(own, torch.inf).topk(NEAREST, largest=False).indices
    gaps = distances[:, None] - distances.gather(1, near)[..., None]
    ratios = (gaps / apart[near]).where(~own[:, None], torch.inf)
    least = ratios.min(2)
    best = least.values.argmax(1)
    rows = torch.arange(len(images), device=images.device)
    return near[rows, best], least.indices[rows, best]


def bound(images: Tensor, prototypes: Tensor, chosen: tuple[Tensor, Tensor]) -> Tensor:
    """(‖x − w_j‖² − ‖x − w_i‖²) / (2 ‖w_j − w_i‖), (N,), negative where j is nearer."""
    i, j = (prototypes[part] for part in chosen)
    gap = (images - j).square().sum(1) - (images - i).square().sum(1)
    return gap / (2 * (j - i).norm(dim=1))


def shifted(images: Tensor) -> Tensor:
    """Half of the images (N, 28, 28), each moved by a pixel in one of four directions."""
    ways = torch.randint(8, (len(images),))
    moved = images.clone()
    for way, (step, side) in enumerate(((1, 1), (-1, 1), (1, 2), (-1, 2))):
        moved[ways == way] = images[ways == way].roll(step, side)
    return moved


def train(epochs: int, rate: float, decay: float) -> None:
    """Train from random training images; store the prototypes in float16."""
    torch.manual_seed(0)
    data = datasets.load("mnist", "train")
    images, labels = data.images[HELD_OUT:, 0], data.labels[HELD_OUT:]
    starts = [(labels == label).nonzero()[:, 0] for label in range(CLASSES)]
    starts = [place[torch.randperm(len(place))[:PER_CLASS]] for place in starts]
    prototypes = images[torch.cat(starts)].flatten(1).clone().requires_grad_()
    optimizer = torch.optim.SGD([prototypes], rate, MOMENTUM, nesterov=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
    began = time.process_time()
    for epoch in range(epochs):
        found = []
        for part in torch.randperm(len(images)).split(BATCH):
            x, y = shifted(images[part]).flatten(1), labels[part]
            with torch.no_grad():
                chosen = pairs(x, y, prototypes)
            radii = bound(x, prototypes, chosen)
            optimizer.zero_grad()
            (EPSILON - radii).clamp_min(0).mean().backward()
            optimizer.step()
            found.append(radii.detach())
        schedule.step()
        radii = torch.cat(found)
        seconds = time.process_time() - began
        known = ", ".join(f"> {size}: {(radii > size).double().mean():.4f}" for size in (0, 1.58))
        CONSOLE.print(f"{epoch}: {known}, {seconds:.0f} s")
        PATH.parent.mkdir(exist_ok=True)
        save_file({"prototypes": prototypes.detach().half()}, PATH)


def certify(count: int, settings: str) -> None:
    """Certify the first digits by the bound and by our certificate, and attack them."""
    prototypes = load_file(PATH)["prototypes"].double()
    factors = torch.zeros(*prototypes.shape, 1, dtype=torch.float64)
    offsets = torch.zeros(len(prototypes), dtype=torch.float64)
    model = LinearSynthesis.of(prototypes, factors, offsets, classes=CLASSES)
    data = datasets.load("mnist", "test").take(count)
    columns: dict[str, list[float]] = {"right": [], "bound": [], "radius": [], "distance": []}
    for start in range(0, count, AT_ONCE):
        images, labels = (part[start : start + AT_ONCE] for part in (data.images, data.labels))
        flat = images.flatten(1).double()
        known = bound(flat, prototypes, pairs(flat, labels, prototypes))
        proved = evaluation.certify(model, images)
        found = attacks.ddn(model, images, labels)
        right = proved.labels == labels
        distances = evaluation.perturbation_sizes(images, found, "l2").double().clamp_max(1e9)
        assert (known <= proved.radii + 1e-4)[right].all(), "the box and more prototypes only help"
        assert (distances >= proved.radii)[right].all(), "an attack inside a proved radius"
        columns["right"] += right.double().tolist()
        columns["bound"] += known.clamp_min(0).tolist()
        columns["radius"] += (proved.radii * right).tolist()
        columns["distance"] += distances.tolist()
        CONSOLE.print(f"{start + len(labels)}: {sum(v >= 1.58 for v in columns['radius'])} at 1.58")
    record(
        "prototypes", "nearest prototypes", columns,
        settings=f"{PER_CLASS} prototypes per class; {settings}", n=count, data=data.source,
    )  # fmt: skip


def main() -> None:
    """Train, certify, or both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=["train", "certify"])
    parser.add_argument("--digits", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--decay", type=float, default=0.9)
    given = parser.parse_args()
    if "train" in given.names:
        train(given.epochs, given.rate, given.decay)
    if "certify" in given.names:
        words = f"{given.epochs} epochs, step size {given.rate:g}, times {given.decay:g} per epoch"
        certify(given.digits, words)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
