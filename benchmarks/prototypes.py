"""Nearest prototypes, trained and certified as Voráček and Hein 2022 do, beside linear synthesis.

A prototype is a piece without latents. Ninety of them per class have as many numbers as the zoo's
linear-synthesis. They are trained by the paper's objective: how far the lower bound
max_i min_j (‖x − w_j‖² − ‖x − w_i‖²) / (2 ‖w_j − w_i‖), i of the image's class and j of another,
falls short of 2.5. Training images are those from number 6,000 on.

"train" writes the prototypes to _build; "certify" stores, digit by digit, in
data/measured/prototypes.json whether the class is right, that bound, the radius by
`evaluation.certify` (which uses the box and several prototypes at once), and the distance of the
nearest adversarial image that DDN finds (1e9: none). "gtlvq" does
the same for the network that Saralajew, Holdijk and Villmann publish with their paper, given as
--weights (an .h5 file of their repository; it needs the package h5py). There the bound is their
hypothesis margin: half of the difference of the distances to the nearest plane of another class and
of the own one. Its tangent planes are pieces with an orthonormal B; ours must have ‖B‖ < 1, so B is
multiplied by .999.

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


def certify(name: str, model: LinearSynthesis, count: int, settings: str) -> None:
    """Certify the first digits by the paper's bound and by our certificate, and attack them."""
    data = datasets.load("mnist", "test").take(count)
    columns: dict[str, list[float]] = {"right": [], "bound": [], "radius": [], "distance": []}
    for start in range(0, count, AT_ONCE):
        images, labels = (part[start : start + AT_ONCE] for part in (data.images, data.labels))
        known = (_nearest if name == "nearest prototypes" else _margins)(model, images, labels)
        proved = evaluation.certify(model, images)
        found = attacks.ddn(model, images, labels)
        right = proved.labels == labels
        distances = evaluation.perturbation_sizes(images, found, "l2").double().clamp_max(1e9)
        # Neither of the two is always the larger: our search holds three pieces at most.
        proofs = torch.maximum(known - 1e-9, proved.radii)
        assert (distances >= proofs)[right].all(), "an attack inside a proved radius"
        columns["right"] += right.double().tolist()
        columns["bound"] += known.clamp_min(0).tolist()
        columns["radius"] += (proved.radii * right).tolist()
        columns["distance"] += distances.tolist()
        shares = {
            key: sum(value >= 1.58 for value in columns[key]) / len(columns[key])
            for key in ("bound", "radius", "distance")
        }
        CONSOLE.print(start + len(labels), sum(columns["right"]) / len(columns["right"]), shares)
    record("prototypes", name, columns, settings=settings, n=count, data=data.source)


def _nearest(model: LinearSynthesis, images: Tensor, labels: Tensor) -> Tensor:
    """The bound of Voráček and Hein."""
    flat, prototypes = images.flatten(1).double(), model.means.detach()
    return bound(flat, prototypes, pairs(flat, labels, prototypes))


def _margins(model: LinearSynthesis, images: Tensor, labels: Tensor) -> Tensor:
    """The hypothesis margin of Saralajew et al."""
    with torch.no_grad():
        costs = model.costs(images.flatten(1).double()).clamp_min(0).sqrt()
    least = costs.view(len(images), CLASSES, -1).amin(2)
    own = torch.nn.functional.one_hot(labels, CLASSES).bool()
    return (least.where(~own, torch.inf).amin(1) - least[own]) / 2


def trained() -> LinearSynthesis:
    """The prototypes of `train`."""
    prototypes = load_file(PATH)["prototypes"].double()
    return _pieces(prototypes, torch.zeros(*prototypes.shape, 1))


def published(path: Path) -> LinearSynthesis:
    """GTLVQ's tangent planes, rounded to float16."""
    import h5py

    with h5py.File(path) as file:
        group = file["tangent_distance_1"]["capsule_1"]["tangent_distance_1"]
        means, factors = (torch.from_numpy(group[f"{k}:0"][:]) for k in ("prototypes", "matrices"))
    return _pieces(means, 0.999 * factors)


def _pieces(means: Tensor, factors: Tensor) -> LinearSynthesis:
    """Linear synthesis without prices, of numbers that float16 holds, in float64."""
    means, factors = means.half().double(), factors.half().double()
    return LinearSynthesis.of(means, factors, torch.zeros(len(means)).double(), classes=CLASSES)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=["train", "certify", "gtlvq"])
    parser.add_argument("--digits", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--decay", type=float, default=0.9)
    parser.add_argument("--weights", type=Path, help="an .h5 file of saralajew/robust_NPCs")
    given = parser.parse_args()
    words = f"{given.epochs} epochs, step size {given.rate:g}, times {given.decay:g} per epoch"
    for name in given.names:
        if name == "train":
            train(given.epochs, given.rate, given.decay)
        elif name == "certify":
            settings = f"{PER_CLASS} prototypes per class; {words}"
            certify("nearest prototypes", trained(), given.digits, settings)
        else:
            settings = "published by its authors; bound: hypothesis margin"
            certify(name, published(given.weights), given.digits, settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
