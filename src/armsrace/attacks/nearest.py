"""What the Carlini–Wagner attacks share: the nearest success of each image, and what it cost."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.margins import Loss, margin
from armsrace.attacks.norms import column
from armsrace.attacks.problem import Problem
from armsrace.contracts import AttackResult, check_at_least, check_count


class Nearest:
    """The M images still under search, and the nearest success of each so far.

    places (M,): their indices in the batch given. clean (M, C, H, W): as given. best (M, C, H, W):
    the nearest success, else the clean image. sizes (M,): its distance, else infinity. threshold
    (M,): the margin in logits that counts as success.
    """

    def __init__(self, problem: Problem, confidence: float) -> None:
        _, margins = problem.ascent(problem.images, margin)
        self._whole, self._part = problem, problem
        self._results = problem.images.clone()
        self._passes = torch.ones_like(problem.labels)
        self.places = torch.arange(len(margins), device=margins.device)
        self.clean, self.best = problem.images, problem.images
        self.sizes = torch.full_like(margins, torch.inf)
        # The last pass must find the same class, and a batch of another size rounds differently.
        noise = 64 * torch.finfo(margins.dtype).eps * (1 + margins.abs())
        self.threshold = confidence + noise
        self.keep((margins <= 0) | (margins < confidence))

    def ask(self, images: Tensor, loss: Loss = margin) -> tuple[Tensor, Tensor]:
        """The gradient (M, C, H, W) of the margins in the images, and the margins (M,)."""
        self._passes[self.places] += 1
        return self._part.ascent(images, loss)

    def offer(self, images: Tensor, margins: Tensor, sizes: Tensor) -> Tensor:
        """Keep the images that are adversarial and nearer than the best; (M,) bool: adversarial."""
        reached = margins >= self.threshold
        nearer = reached & (sizes < self.sizes)
        self.sizes = torch.where(nearer, sizes, self.sizes)
        self.best = torch.where(column(nearer), images, self.best)
        return reached

    def lacking(self, margins: Tensor) -> Tensor:
        """How far margins (M,) fall short of success, the paper's f₆: 0 where they reach it."""
        return (self.threshold - margins).clamp_min(0)

    def keep(self, kept: Tensor) -> None:
        """Search on for those chosen by a bool mask (M,) alone; what the others found stays."""
        self._results[self.places] = self.best
        self.places, self.clean, self.best = self.places[kept], self.clean[kept], self.best[kept]
        self.sizes, self.threshold = self.sizes[kept], self.threshold[kept]
        self._part = self._part.subset(kept)

    def finish(self) -> AttackResult:
        """What was found, judged by one more pass; the clean image where nothing was."""
        self._results[self.places] = self.best
        return self._whole.finish_nearest(self._results, self._passes, self._passes)


def check_options(
    confidence: float, steps: int, step_size: float, initial_constant: float, levels: int | None
) -> None:
    """Raise ValueError or TypeError, naming option and rule, where one of them cannot be."""
    check_at_least("confidence", confidence, 0)
    check_count("steps", steps)
    check_at_least("step_size", step_size, 1e-6)
    check_at_least("initial_constant", initial_constant, 1e-12)
    if levels is not None:
        check_count("levels", levels, 2)
