"""Time the latent search against the plain one: every restart to its end, in the decoder's float32.

A classifier, the first test digits that it classifies correctly, and the same after FGSM; both are
purified by both searches, from the same starts, one after the other in one process and on the same
threads. The result goes to data/measured/inversion.json, one decoder at a time.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from measure import first_right
from rich.console import Console
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LinearLR, MultiStepLR

from armsrace import attacks, datasets, zoo
from armsrace.defenses import LatentSearch, invert
from armsrace.ledger.measurements import record
from armsrace.models.autoencoders import VariationalAutoencoder
from armsrace.precision import reduced_precision

CONSOLE = Console()
EPSILON = 0.3
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "ours": {},
    "Defense-GAN's": {
        "optimizer": partial(SGD, lr=10.0, momentum=0.7),
        "schedule": partial(MultiStepLR, milestones=[160], gamma=0.1),
        "spread": 128**-0.5,
    },
}


@dataclass(frozen=True)
class Run:
    """A search of all digits: time by the wall and by the processor, what it found and decoded.

    distance: the mean over the digits of the mean squared error a pixel. accuracy: of the
    classifier on what was found. decodings: latents decoded a digit, over all restarts. peak:
    the most memory that the process had held by then, in GiB.
    """

    seconds: float
    processor: float
    distance: float
    accuracy: float
    decodings: float
    peak: float


def decoder_of(name: str) -> tuple[Callable[[Tensor], Tensor], int]:
    """A network of the zoo, in channels_last, from latents to images, and how many latents."""
    model = zoo.load(name).to(memory_format=torch.channels_last)
    if isinstance(model, VariationalAutoencoder):
        return model.decode, model.decoder[0].in_features
    return model, model.latents


def timed(
    decoder: Callable[[Tensor], Tensor], classifier: nn.Module, images: Tensor, labels: Tensor,
    search: LatentSearch,
) -> Run:  # fmt: skip
    """Purify the images (N, C, H, W) once."""
    wall, processor = time.perf_counter(), time.process_time()
    found = invert(decoder, images, search)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    with torch.no_grad():
        read = classifier(found.images).argmax(dim=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    distance, accuracy = found.distances.mean().item(), (read == labels).double().mean().item()
    decodings = found.decodings.double().mean().item()
    return Run(wall, processor, distance, accuracy, decodings, peak)


def compare(name: str, reader: str, digits: int, search: LatentSearch) -> dict[str, dict[str, Run]]:
    """Both searches of clean digits and of attacked ones; the plain one is `search` as it is."""
    decoder, latents = decoder_of(name)
    search = replace(search, latents=latents)
    quick = {"precision": reduced_precision()}
    searches = {
        "plain": search,
        "halved": replace(search, halving=1.0),
        "halved, reduced precision": replace(search, halving=1.0, **quick),
        "halved harder, a fifth more steps, reduced precision": replace(
            search, halving=2.0, steps=6 * search.steps // 5, **quick
        ),
    }
    if search.schedule is None:
        falling = partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=search.steps)
        early = replace(search, schedule=falling, halving=20.0, **quick)
        searches["thinned early at a falling rate, reduced precision"] = early
    classifier, (images, labels) = zoo.load(reader), first_right(reader, digits)
    attacked = attacks.fgsm(classifier, images, labels, epsilon=EPSILON).images
    kinds = {"clean": images, f"FGSM, ε = {EPSILON}": attacked}
    # The first steps of a process are slow.
    invert(decoder, images[:2], replace(search, steps=2))
    return {
        kind: {
            method: timed(decoder, classifier, wanted, labels, one)
            for method, one in searches.items()
        }
        for kind, wanted in kinds.items()
    }


def main() -> None:
    """Time the decoders asked for and store their rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", help="decoders of the zoo")
    parser.add_argument("--classifier", default="tramer-a")
    parser.add_argument("--digits", type=int, default=100)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="ours")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    threads = "one thread" if chosen.threads == 1 else f"{chosen.threads} threads"
    settings = {"restarts": chosen.restarts, "steps": chosen.steps}
    search = LatentSearch(1, halving=0, **settings, **OPTIMIZERS[chosen.optimizer])
    for name in chosen.names:
        runs = compare(name, chosen.classifier, chosen.digits, search)
        columns = {
            f"{kind}; {method}": list(asdict(run).values())
            for kind, of in runs.items()
            for method, run in of.items()
        }
        words = (
            f"{chosen.restarts} restarts of {chosen.steps} steps, {chosen.optimizer} optimizer; "
            f"classifier {chosen.classifier}; {threads}; columns: "
            + ", ".join(field.name for field in fields(Run))
        )
        record("inversion", name, columns, settings=words, n=chosen.digits,
               data=datasets.describe("mnist"))  # fmt: skip
        CONSOLE.print(name, runs)


if __name__ == "__main__":
    main()
