"""Time analysis by synthesis: the paper's protocol, ours and a loop over ten decoders; and exact.

All on the same images, samples and threads, one after the other in one process. The loop is shaped
as the authors' code: samples compared pixel by pixel, in each step one decoder after the other, and
one backward pass that goes on to the weights. Whether their loader froze those we have not seen, so
the loop runs with frozen ones too. The choice of samples and the search are timed apart, the
clock is the search's: against that alone, with frozen weights, ours has its hardest race.
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
from armsrace.defenses import AdamSearch, AnalysisBySynthesis, PolishedSearch
from armsrace.defenses.analysis_by_synthesis.inference import (
    PriorSamples,
    evidence,
    projected_grad_norm,
    within,
)
from armsrace.models.abs_vae import ClassDecoders, ClassVaes


@dataclass(frozen=True)
class Timed:
    """Costs (N, K) and latents (N, K, L) that a search came to; seconds of processor and clock."""

    costs: Tensor
    latents: Tensor
    choice: float
    processor: float
    clock: float


def alone(vaes: ClassVaes, which: int, frozen: bool) -> nn.Sequential:
    """The decoder of one class, without groups."""
    decoder = copy.deepcopy(vaes.decoder)
    for part in decoder:
        for name, value in (*part.named_parameters(), *part.named_buffers()):
            if value.ndim:
                chosen = value.chunk(vaes.classes)[which].detach().clone()
                weight = isinstance(value, nn.Parameter)
                setattr(part, name, nn.Parameter(chosen, not frozen) if weight else chosen)
        if isinstance(part, nn.ConvTranspose2d):
            part.groups = 1
    return decoder.eval()


def nearest(samples: PriorSamples, pixels: Tensor) -> Tensor:
    """The best sample (N, K, L) by the differences of all pixels, eight images at a time."""
    lengths = samples.latents.square().sum(dim=1) / 2
    chosen = [
        torch.stack([
            ((drawn - part[:, None]).square().sum(dim=2) + lengths).argmin(dim=1)
            for drawn in samples.images
        ], dim=1)
        for part in pixels.split(8)
    ]  # fmt: skip
    return samples.latents[torch.cat(chosen)]


def looped(
    decoders: list[nn.Sequential], pixels: Tensor, starts: Tensor, search: AdamSearch
) -> tuple[Tensor, Tensor]:
    """The paper's search: in each step, one decoder after the other."""
    latents = starts.clone().requires_grad_()
    adam = torch.optim.Adam([latents], lr=search.rate)
    lowest, best = torch.full_like(latents[..., 0], torch.inf), latents.detach().clone()
    for step in range(search.steps + 1):
        each = zip(decoders, latents.unbind(dim=1), strict=True)
        drawn = [decoder(part[..., None, None]).sigmoid().flatten(1) for decoder, part in each]
        errors = torch.stack([(one - pixels).square().sum(dim=1) for one in drawn], dim=1)
        values = evidence(errors, latents.square().sum(dim=2))
        better = values.detach() < lowest
        lowest = torch.where(better, values.detach(), lowest)
        best = torch.where(better[..., None], latents.detach(), best)
        if step < search.steps:
            adam.zero_grad()
            values.sum().backward()
            adam.step()
            with torch.no_grad():
                latents.copy_(within(latents, search.radius))
    return lowest, best


def timed(choose: Callable[[], Tensor], search: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Timed:
    """Run once and measure the choice of starts, and the search from them."""
    begun = time.process_time()
    starts = choose()
    clock, processor = time.perf_counter(), time.process_time()
    found = search(starts)
    spent = time.process_time() - processor, time.perf_counter() - clock
    return Timed(*found, processor - begun, *spent)


def main() -> None:
    """Run all of them on the first test digits and print what they took and came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--samples", type=int, default=8000)
    chosen = parser.parse_args()
    vaes = cast(ClassVaes, zoo.load("abs"))
    images = datasets.load("mnist", "test").take(chosen.images).images
    pixels = images.flatten(1)
    generators = ClassDecoders(vaes)
    model = AnalysisBySynthesis(generators, samples=chosen.samples)

    def loop(frozen: bool) -> Timed:
        decoders = [alone(vaes, which, frozen) for which in range(vaes.classes)]
        return timed(lambda: nearest(model.samples, pixels),
                     lambda starts: looped(decoders, pixels, starts, AdamSearch()))  # fmt: skip

    def ours(search: AdamSearch | PolishedSearch) -> Timed:
        def batched(starts: Tensor) -> tuple[Tensor, Tensor]:
            batches = zip(*(part.split(model.batch_size) for part in (pixels, starts)), strict=True)
            parts = [search(generators, *batch) for batch in batches]
            return torch.cat([p.values for p in parts]), torch.cat([p.latents for p in parts])

        return timed(lambda: model.samples.best(pixels), batched)

    rows = {
        "loop": loop(frozen=False), "loop, weights frozen": loop(frozen=True),
        "adam": ours(AdamSearch()), "exact": ours(PolishedSearch()),
    }  # fmt: skip
    base = rows["loop"]
    titles = "choice, s", "search, s", "clock, s", "both / loop", "same", "cost ≤ loop's", "slope"
    table = Table("", *titles)
    for name, row in rows.items():
        same = (row.costs.argmin(1) == base.costs.argmin(1)).float().mean()
        lower = (row.costs <= base.costs * (1 + 1e-5)).float().mean()
        slope = projected_grad_norm(generators, pixels, row.latents).median()
        table.add_row(
            name, *(f"{part / len(images):.3f}" for part in (row.choice, row.processor, row.clock)),
            f"{(row.choice + row.processor) / (base.choice + base.processor):.2f}",
            f"{same:.1%}", f"{lower:.1%}", f"{slope:.2g}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
