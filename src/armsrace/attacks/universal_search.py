"""How a universal perturbation is found: mini-batches, a step for each, the best of all passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from armsrace.attacks.deepfool import deepfool
from armsrace.attacks.margins import margin
from armsrace.attacks.norms import distances, project, steepest
from armsrace.attacks.problem import Problem
from armsrace.contracts import Norm

Method = Literal["deepfool", "ascent"]
METHODS: tuple[Method, ...] = get_args(Method)


class Search:
    """The way of one perturbation (1, C, H, W) through the images, and what it cost each (N,)."""

    def __init__(
        self, problem: Problem, norm: Norm, epsilon: float, generator: torch.Generator
    ) -> None:
        self.problem, self.norm, self.epsilon, self.generator = problem, norm, epsilon, generator
        self.queries = torch.zeros_like(problem.labels)
        self.gradients = torch.zeros_like(problem.labels)

    def under(self, perturbation: Tensor, chosen: Tensor | slice = slice(None)) -> Tensor:
        """The chosen images (M, C, H, W) under a perturbation, inside the box."""
        return self.problem.bounds.clip(self.problem.images[chosen] + perturbation)

    def run(self, method: Method, rate: float, passes: int, batch_size: int) -> Tensor:
        """The best perturbation (1, C, H, W) found."""
        best = current = torch.zeros_like(self.problem.images[:1])
        margins, record = self._judge(current)
        scale = margins.abs().mean() / 3
        total = passes * -(-len(self.problem.images) // batch_size)
        for number, chosen in enumerate(self._batches(passes, batch_size)):
            if method == "deepfool":
                change = self._turning(current, chosen)
            else:
                length = 5 * self.epsilon / total * (1 - number / total)
                change = length * self._rising(current, chosen, scale)
            current = project(current + change, self.norm, self.epsilon)
            if (number + 1) % (total // passes) == 0:
                _, share = self._judge(current)
                if share > record:
                    best, record = current, share
                if record >= rate:
                    break
        return best

    def _batches(self, passes: int, batch_size: int) -> Iterator[Tensor]:
        for _ in range(passes):
            order = torch.randperm(
                len(self.problem.images), generator=self.generator, device=self.generator.device
            )
            yield from order.to(self.problem.images.device).split(batch_size)

    def _judge(self, perturbation: Tensor) -> tuple[Tensor, float]:
        margins, fooled = self.problem.loss(self.under(perturbation), margin)
        self.queries += 1
        return margins, fooled.double().mean().item()

    def _turning(self, perturbation: Tensor, chosen: Tensor) -> Tensor:
        part, start = self.problem.subset(chosen), self.under(perturbation, chosen)
        found = deepfool(part.model, start, part.labels, norm="l2", bounds=part.bounds)
        self.queries[chosen] += found.queries
        self.gradients[chosen] += found.gradients
        moves = found.images - start
        sizes = distances(moves, "l2")
        if not sizes.any():
            return torch.zeros_like(perturbation)
        together = moves.sum(dim=0, keepdim=True)
        length = sizes.sum() / (sizes > 0).sum()
        smallest = torch.finfo(together.dtype).tiny
        return together * (length / distances(together, "l2").clamp_min(smallest))

    def _rising(self, perturbation: Tensor, chosen: Tensor, scale: Tensor) -> Tensor:
        part, start = self.problem.subset(chosen), self.under(perturbation, chosen)
        slopes, _ = part.ascent(start, lambda *given: torch.sigmoid(margin(*given) / scale))
        self.queries[chosen] += 1
        self.gradients[chosen] += 1
        return steepest(slopes.mean(dim=0, keepdim=True), self.norm, start[:1], part.bounds)
