"""One descent of many latents: images leave it when they are done, restarts when they have lost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.defenses.latent_search import Decoder, LatentSearch, check_shape
from armsrace.precision import autocast


@dataclass(frozen=True)
class Inversion:
    """What a latent search found, image by image.

    latents: (N, L), those of the least objective over all restarts and steps.
    images: (N, C, H, W), what the decoder draws of them.
    distances: (N,), mean squared errors a pixel, without the penalty.
    decodings: (N,) int64, latents decoded for this image, all restarts together.
    gradients: (N,) int64, latents differentiated for this image.
    """

    latents: Tensor
    images: Tensor
    distances: Tensor
    decodings: Tensor
    gradients: Tensor


class Descent:
    """The latents (n, r, L) of the n images left, r restarts each, and what was found of all N.

    decoder: latents (M, L) to images (M, C, H, W). images: (N, C, H, W). starts: (N, R, L).
    differentiable: keep the steps on the graph.
    """

    def __init__(
        self,
        decoder: Decoder,
        images: Tensor,
        starts: Tensor,
        search: LatentSearch,
        differentiable: bool,
    ) -> None:
        self.decoder, self.images, self.search = decoder, images, search
        self.differentiable = differentiable
        self.left = torch.arange(len(images), device=images.device)
        self.found = torch.zeros_like(starts[:, 0])
        self.decodings, self.gradients = torch.zeros_like(self.left), torch.zeros_like(self.left)
        self.latents = self._variable(search.allowed(starts.detach().clone()))
        self.best = self.latents.detach().clone()
        self.lowest = torch.full_like(self.best[..., 0], torch.inf)
        self.optimizer = search.optimizer_of(self.latents, differentiable)
        self.schedule = search.schedule(self.optimizer) if search.schedule else None

    def step(self) -> None:
        """One gradient step of all latents left; the best that each has met are kept."""
        objective = self._objective(self.latents, self.left, self.search.precision)
        self._remember(objective)
        self.latents.grad = self._slope(objective)
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.search.projection is not None:
            with torch.set_grad_enabled(self.differentiable):
                self.latents.copy_(self.search.allowed(self.latents.clone()))

    def stop_finished(self) -> None:
        """Let the images go of which a restart is within the tolerance."""
        tolerance = self.search.tolerance
        if tolerance is None:
            return
        done = (self.lowest <= tolerance).any(dim=1)
        if done.any():
            self._settle(done)
            kept = (~done).nonzero()
            self._keep(kept, torch.arange(self.best.shape[1], device=kept.device)[None])

    def drop_losers(self, count: int) -> None:
        """Let all but the `count` best restarts of each image go; of equals the first stay."""
        if count >= self.best.shape[1]:
            return
        reached = self._exact(self.best, self.lowest, self.left)
        order = reached.sort(dim=1, stable=True).indices[:, :count]
        rows = torch.arange(len(order), device=order.device)[:, None]
        self._keep(rows, order.sort(dim=1).values)

    def finish(self) -> Inversion:
        """What was found of all N images so far; the descent can go on after it."""
        if len(self.left):
            with torch.no_grad():
                last = self._objective(self.latents, self.left, self.search.precision)
            self._remember(last)
            self._settle(torch.ones_like(self.left, dtype=torch.bool))
        everyone = torch.arange(len(self.images), device=self.left.device)
        with torch.set_grad_enabled(self.differentiable):
            drawn = self._decode(self.found[:, None], everyone, None)[:, 0]
            distances = (drawn - self.images).square().flatten(1).mean(dim=1)
        return Inversion(
            self.found.clone(), drawn, distances, self.decodings.clone(), self.gradients.clone()
        )

    def _decode(self, latents: Tensor, rows: Tensor, precision: torch.dtype | None) -> Tensor:
        """Images (n, r, C, H, W) of the latents (n, r, L) of the images numbered rows (n,)."""
        with autocast(self.images.device, precision):
            drawn = self.decoder(latents.flatten(0, 1))
        check_shape("decoder", drawn, (latents.shape[:2].numel(), *self.images.shape[1:]))
        self.decodings[rows] += latents.shape[1]
        return drawn.to(self.images.dtype).unflatten(0, latents.shape[:2])

    def _objective(self, latents: Tensor, rows: Tensor, precision: torch.dtype | None) -> Tensor:
        """Mean squared error plus penalty (n, r) of latents (n, r, L)."""
        # The optimizer edits the latents in place; a graph must hold those of this step.
        latents = latents.clone()
        change = self._decode(latents, rows, precision) - self.images[rows][:, None]
        objective = change.square().flatten(2).mean(dim=2)
        if self.search.penalty is not None:
            penalty = self.search.penalty(latents.flatten(0, 1))
            check_shape("penalty", penalty, (objective.numel(),))
            objective = objective + penalty.view_as(objective)
        return objective

    @torch.no_grad()
    def _exact(self, latents: Tensor, objective: Tensor, rows: Tensor) -> Tensor:
        """The objective (n, r) of latents, computed anew where it was in reduced precision."""
        if self.search.precision is not None:
            objective = self._objective(latents, rows, None)
        return objective.nan_to_num(torch.inf, torch.inf)

    def _slope(self, objective: Tensor) -> Tensor:
        self.gradients[self.left] += objective.shape[1]
        slope: Tensor | None = None
        if objective.requires_grad:
            slope = torch.autograd.grad(
                objective.sum(), self.latents, create_graph=self.differentiable, allow_unused=True
            )[0]
        if slope is None:
            raise ValueError("decoder must be differentiable in its latents, got a constant")
        return slope

    def _remember(self, objective: Tensor) -> None:
        objective = objective.detach()
        better = objective < self.lowest
        self.lowest = torch.where(better, objective, self.lowest)
        latents = self.latents if self.differentiable else self.latents.detach()
        self.best = torch.where(better[..., None], latents, self.best)

    def _settle(self, done: Tensor) -> None:
        """Write down the best latents of the images chosen by a bool mask (n,)."""
        rows, best = self.left[done], self.best[done]
        lowest, which = self._exact(best, self.lowest[done], rows).min(dim=1)
        if not lowest.isfinite().all():
            raise ValueError("decoder must return finite images, got NaN or infinity")
        self.found[rows] = best[torch.arange(len(rows), device=rows.device), which]

    def _keep(self, rows: Tensor, columns: Tensor) -> None:
        """Go on with the latents at rows (n', 1) and columns (n' or 1, r') of those here."""
        self.left = self.left[rows[:, 0]]
        self.best, self.lowest = self.best[rows, columns], self.lowest[rows, columns]
        old, self.latents = self.latents, self._variable(self.latents[rows, columns])
        state = self.optimizer.state.pop(old, {})
        self.optimizer.state[self.latents] = {
            name: value[rows, columns] if getattr(value, "shape", None) == old.shape else value
            for name, value in state.items()
        }
        self.optimizer.param_groups[0]["params"] = [self.latents]

    def _variable(self, latents: Tensor) -> Tensor:
        # torch's optimizers edit a leaf without a graph, and anything else with one.
        if self.differentiable:
            return latents.requires_grad_().clone()
        return latents.detach().requires_grad_()
