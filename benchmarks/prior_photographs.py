"""Deep Image Prior on photographs with a thousand classes: `benchmarks/prior_photographs.py`.

EfficientNet-Lite0 and Foolbox's 20 ImageNet photographs, at half the usual size: a prior for
224 × 224 pixels takes four times as long. BIM at several ε on the classifier alone; the recordings
in data/measured/prior_photographs.json have, for each photograph, whether the drawing is classified
correctly at several numbers of steps, and its distance. What is there is not measured again, so
that a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse

import torch
from prior_paths import attacked
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from armsrace import datasets, zoo
from armsrace.defenses import DeepImagePrior
from armsrace.ledger.measurements import is_recorded, record, recorded
from armsrace.models.layers import predict

CONSOLE = Console()
STUDY, NETWORK, DATA = "prior_photographs", "efficientnet-lite0", "imagenet-samples"
SIDE = 112
SIZES = (0, 2, 4, 8, 16)
STEPS = [25, 50, 75, 100, 150, 200, 250, 300]
WIDTHS, RATE, JITTER = (32,) * 5, 0.02, 0.0
"""Chosen by the residuals of four clean photographs: at the authors' rate of .01 and with their
jitter, 300 steps leave three times as much."""
Columns = dict[str, list[float]]


def samples() -> tuple[nn.Module, Tensor, Tensor, str]:
    """The network, the photographs (20, 3, SIDE, SIDE), their labels, and what they are."""
    data = datasets.load(DATA)
    images = functional.interpolate(data.images, size=(SIDE, SIDE), mode="area")
    model = zoo.load(NETWORK).eval().requires_grad_(False)
    return model, images, data.labels, f"{data.description}, at {SIDE} × {SIDE}"


def follow(size: int, index: int, columns: Columns) -> None:
    """One photograph at one ε of 255, on the prior's path."""
    model, images, labels, data = samples()
    clean, label = images[index][None], labels[index][None]
    image = attacked(model, clean, label, size / 255)
    prior = DeepImagePrior(widths=WIDTHS, learning_rate=RATE, jitter=JITTER)
    path = prior.path(image, STEPS)
    right = (predict(model, path.images[:, 0]).argmax(dim=1) == label).double()
    apart = (path.images[:, 0] - clean).square().flatten(1).mean(dim=1)
    row = {"photograph": index, "undefended": (predict(model, image).argmax(1) == label).item()}
    for k, step in enumerate(STEPS):
        row |= {
            f"{step} steps": right[k].item(),
            f"{step} steps, to the input": path.residuals[k, 0].item(),
            f"{step} steps, to the clean": apart[k].item(),
        }
    for key, value in row.items():
        columns.setdefault(key, []).append(float(value))
    settings = (
        f"{NETWORK}; BIM, 10 steps of ε/5, ε = {size}/255; {len(WIDTHS)} scales of {WIDTHS[0]} "
        f"channels, learning rate {RATE:g}, no jitter"
    )
    record(
        STUDY, f"bim-{size}", columns, settings=settings, n=len(columns["photograph"]), data=data
    )


def main() -> None:
    """Photograph by photograph, at each ε of 255."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=SIZES)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    jobs = [(index, size) for index in range(chosen.photographs) for size in chosen.sizes]
    for index, size in jobs:
        name = f"bim-{size}"
        columns = recorded(STUDY)[name].columns if is_recorded(STUDY, name) else {}
        if index not in columns.get("photograph", []):
            follow(size, index, columns)
            CONSOLE.print(index, size, [columns[f"{step} steps"][-1] for step in STEPS])


if __name__ == "__main__":
    main()
