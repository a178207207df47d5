"""Time analysis by synthesis: the paper's protocol, ours and a loop over ten decoders; and exact.

All on the same images, samples and threads, one after the other in one process. The loop is what
the authors' code does: each class's decoder by itself, with its normalisation, as modules of torch.
Processor time, which other programs on the machine disturb least, stands beside the clock's.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from armsrace import datasets, zoo
from armsrace.defenses import (
    AdamSearch,
    AnalysisBySynthesis,
    LevenbergMarquardt,
    PolishedSearch,
)
from armsrace.defenses.class_search import evidence, slope_left, within
from armsrace.models.class_decoders import ClassDecoders
from armsrace.models.class_vaes import ClassVaes


@dataclass(frozen=True)
class Timed:
    """Costs (N, K) and latents (N, K, L) that a search came to, and its seconds."""

    costs: Tensor
    latents: Tensor
    clock: float
    processor: float


def alone(vaes: ClassVaes, which: int) -> nn.Sequential:
    """The decoder of one class, without groups."""
    decoder = copy.deepcopy(vaes.decoder)
    for part in decoder:
        for name, value in (*part.named_parameters(), *part.named_buffers()):
            if value.ndim:
                chosen = value.chunk(vaes.classes)[which].detach().clone()
                kept = nn.Parameter(chosen, False) if isinstance(value, nn.Parameter) else chosen
                setattr(part, name, kept)
        if isinstance(part, nn.ConvTranspose2d):
            part.groups = 1
    return decoder.eval()


def looped(
    decoders: list[nn.Sequential], pixels: Tensor, starts: Tensor, search: AdamSearch
) -> tuple[Tensor, Tensor]:
    """The paper's search, one class after the other."""
    costs, found = [], []
    for which, decoder in enumerate(decoders):
        latents = starts[:, 0, which].clone().requires_grad_()
        adam = torch.optim.Adam([latents], lr=search.rate)
        lowest = torch.full_like(latents[:, 0], torch.inf)
        best = latents.detach().clone()
        for step in range(search.steps + 1):
            drawn = decoder(latents[..., None, None]).sigmoid().flatten(1)
            error = (drawn - pixels).square().sum(dim=1)
            values = evidence(error, latents.square().sum(dim=1))
            better = values.detach() < lowest
            lowest = torch.where(better, values.detach(), lowest)
            best = torch.where(better[:, None], latents.detach(), best)
            if step < search.steps:
                (latents.grad,) = torch.autograd.grad(values.sum(), latents)
                adam.step()
                with torch.no_grad():
                    latents.copy_(within(latents, search.radius))
        costs.append(lowest)
        found.append(best)
    return torch.stack(costs, dim=1), torch.stack(found, dim=1)


def timed(search: Callable[[], tuple[Tensor, Tensor]]) -> Timed:
    """Run once and measure."""
    clock, processor = time.perf_counter(), time.process_time()
    found = search()
    return Timed(*found, time.perf_counter() - clock, time.process_time() - processor)


def main() -> None:
    """Run all of them on the first test digits and print what they took and came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--samples", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    vaes = cast(ClassVaes, zoo.load("abs"))
    digits = datasets.load("mnist", "test")
    images, labels = digits.images[: chosen.images], digits.labels[: chosen.images]
    pixels = images.flatten(1)
    generators = ClassDecoders(vaes)
    begun = time.process_time()
    model = AnalysisBySynthesis(generators, samples=chosen.samples)
    console = Console()
    console.print(f"{chosen.samples} samples: {time.process_time() - begun:.1f} s of processor")
    adam, three = AdamSearch(), LevenbergMarquardt()
    first, starts = model.samples.best(pixels), model.samples.best(pixels, three.starts)
    decoders = [alone(vaes, which) for which in range(vaes.classes)]

    def ours(
        search: AdamSearch | LevenbergMarquardt | PolishedSearch, begin: Tensor
    ) -> tuple[Tensor, Tensor]:
        halves = zip(pixels.split(50), begin.split(50), strict=True)
        parts = [search(generators, *half) for half in halves]
        return torch.cat([p.values for p in parts]), torch.cat([p.latents for p in parts])

    rows = {
        "loop over ten decoders": timed(lambda: looped(decoders, pixels, first, adam)),
        "adam": timed(lambda: ours(adam, first)),
        "exact": timed(lambda: ours(PolishedSearch(), first)),
        "Levenberg–Marquardt, three starts": timed(lambda: ours(three, starts)),
    }
    base = rows["loop over ten decoders"]
    table = Table("", "s an image", "of the loop", "same", "cost ≤ loop's", "slope", "right")
    for name, row in rows.items():
        same = (row.costs.argmin(1) == base.costs.argmin(1)).float().mean()
        lower = (row.costs <= base.costs * (1 + 1e-5)).float().mean()
        slope = slope_left(generators, pixels, row.latents).median()
        right = (row.costs.argmin(1) == labels).float().mean()
        table.add_row(
            name, f"{row.processor / len(images):.3f} ({row.clock / len(images):.3f})",
            f"{row.processor / base.processor:.2f}", f"{same:.1%}", f"{lower:.1%}",
            f"{slope:.2g}", f"{right:.1%}",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
