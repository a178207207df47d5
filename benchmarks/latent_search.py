"""How near Defense-GAN's search gets, by steps and restarts: `benchmarks/latent_search.py`.

FGSM images of classifier A are redrawn, as on the page, on more digits. Stored in
data/measured/latent_search.json: for the best of 1, 2, 5 and 10 restarts, all kept to the end, the
mean squared error and the accuracy after several numbers of steps, and the same for the page's own
search, which drops restarts early and lowers its rate.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from rich.console import Console
from torch.optim.lr_scheduler import LinearLR

from armsrace import attacks, datasets, defenses, zoo
from armsrace.ledger.measurements import record
from armsrace.models.gan import LATENTS

CONSOLE = Console()
STUDY, NETWORK, DECODER = "latent_search", "defense-gan-a", "defense-gan"
EPSILON, HALVING = 0.3, 60.0
LENGTHS, RESTARTS = [10, 25, 50, 100, 200], [1, 2, 5, 10]
BATCH = 20


def measure(count: int) -> None:
    """Record the errors and accuracies on FGSM images of digits drawn with seed 0."""
    model, generator = zoo.load(NETWORK), zoo.load(DECODER)
    data = datasets.load("mnist", "test").take(count, torch.Generator().manual_seed(0))
    attacked = attacks.fgsm(model, data.images, data.labels, epsilon=EPSILON).images
    most, last = RESTARTS[-1], LENGTHS[-1]
    single = defenses.LatentSearch(LATENTS, restarts=1, steps=last)
    falling = partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=last)
    thinned = defenses.LatentSearch(LATENTS, most, last, schedule=falling, halving=HALVING)
    apart: list[list[defenses.Inversion]] = []
    own: list[defenses.Inversion] = []
    for part in torch.arange(count).split(BATCH):
        images = attacked[part]
        starts = thinned.starts(images, None).flatten(0, 1)[:, None]
        copies = images.repeat_interleave(most, 0)
        apart.append(defenses.inversion_path(generator, copies, single, LENGTHS, starts=starts))
        own.append(defenses.invert(generator, images, thinned))

    def reading(found: list[defenses.Inversion]) -> tuple[torch.Tensor, torch.Tensor]:
        """The errors, and which results are classified correctly, both (N, R)."""
        with torch.no_grad():
            read = torch.cat([model(part.images).argmax(1) for part in found]).view(count, -1)
        far = torch.cat([part.distances for part in found]).view(count, -1)
        return far.double(), (read == data.labels[:, None]).double()

    columns: dict[str, list[float]] = {"steps": [float(length) for length in LENGTHS]}
    readings = [reading([path[index] for path in apart]) for index in range(len(LENGTHS))]
    for restarts in RESTARTS:
        best = [far[:, :restarts].argmin(dim=1, keepdim=True) for far, _ in readings]
        for name, side in (("error", 0), ("accuracy", 1)):
            columns[f"{name}, R = {restarts}"] = [
                both[side].gather(1, which).mean().item()
                for both, which in zip(readings, best, strict=True)
            ]
    far, right = reading(own)
    columns["own"] = [far.mean().item(), right.mean().item()]
    columns["own gradients"] = [torch.cat([part.gradients for part in own]).double().mean().item()]
    settings = f"{NETWORK}; FGSM, ε = {EPSILON}; {DECODER}; the best of R restarts, none dropped"
    record(STUDY, "restarts", columns, settings=settings, n=count, data=datasets.describe("mnist"))
    CONSOLE.print(columns)


def main() -> None:
    """Record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, default=100)
    measure(parser.parse_args().digits)


if __name__ == "__main__":
    main()
