"""Defense-GAN, and invert-and-classify: images are projected onto the range of a decoder.

Defense-GAN (Samangouei, Kabkab and Chellappa 2018, §3) searches the range of a GAN's generator G;
invert-and-classify (Jalal, Ilyas, Daskalakis and Dimakis 2017, §3) that of any decoder, such as a
VAE's. Both look for z* = argmin_z ‖G(z) − x‖₂² by L gradient steps from R random starts, and
classify G(z*) in place of x. Here both are one purifier in front of a classifier:

    Purified(LatentProjection(decoder, search), classifier)

`LatentSearch` holds the settings, `invert` is the search alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from armsrace.contracts import Decoder, check_at_least, check_count, check_images
from armsrace.models.layers import eval_mode
from armsrace.precision import autocast
from armsrace.randomness import Keys, default_generator


class LatentProjection(nn.Module):
    """A purifier: each image becomes the nearest one found in the range of a decoder.

    `Purified(LatentProjection(decoder, search), classifier)` is Defense-GAN where the decoder is a
    GAN's generator, and invert-and-classify for any decoder.

    Args:
        decoder: G, latents (M, L) to images (M, C, H, W).
        search: the settings.
        starts: images (N, C, H, W) to starts (N, R, L), such as an encoder's latents, in place of
            random ones.
        generator: where random starts are drawn from, call by call. None begins a new generator,
            seeded 0, at each call, so that an image is always purified alike.

    Differences from the paper:
        * The result has no gradient. An attack goes through `attacks.adaptive.bpda`, or through
          `attacks.adaptive.unrolled`, which calls the module with differentiable=True.

    Cost:
        As `invert`, for each call.

    References:
        Samangouei, Kabkab and Chellappa 2018, "Defense-GAN", §3, Figure 1.
        Jalal, Ilyas, Daskalakis and Dimakis 2017, "The robust manifold defense", §3.

    Example:
        >>> vae, search = zoo.load("manifold-vae"), defenses.LatentSearch(latents=20, steps=10)
        >>> defenses.LatentProjection(vae.decode, search)(torch.ones(2, 1, 28, 28)).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self,
        decoder: Decoder,
        search: LatentSearch,
        *,
        starts: Callable[[Tensor], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.decoder, self.search = decoder, search
        self.starts, self.generator = starts, generator

    def forward(self, images: Tensor, *, differentiable: bool = False) -> Tensor:
        """G(z*) for images x (N, C, H, W), of the same shape."""
        return self.invert(images, differentiable=differentiable).images

    def invert(self, images: Tensor, *, differentiable: bool = False) -> Inversion:
        """The search itself, with its latents, distances and costs."""
        starts = None
        if self.starts is not None:
            with torch.no_grad():
                starts = self.starts(images.detach())
        return invert(
            self.decoder, images, self.search,
            starts=starts, generator=self.generator, differentiable=differentiable,
        )  # fmt: skip


@dataclass(frozen=True)
class LatentSearch:
    """The settings of a search for an image's latents; the paper's L is `steps`, its R `restarts`.

    Args:
        latents: the length of a latent vector z.
        restarts: R, descents per image, each from a start of its own.
        steps: L, gradient steps per descent.
        optimizer: called with the list of latents. Any optimizer of torch that treats each number
            by itself, such as SGD, Adam or RMSprop, but not LBFGS. Where the search is to be
            differentiated, it is called with differentiable=True as well.
        schedule: called with the optimizer; a schedule of torch, stepped once per step.
        spread: the standard deviation of the starts, which are normal around 0.
        penalty: latents (M, L) to (M,), added to the mean squared error.
        projection: latents (M, L) to the latents allowed, applied to starts and after each step.
        halving: h ≥ 0. After a fraction t of the steps each image keeps its best R (1 − t)^h
            restarts, rounded up. The work is then 1 / (1 + h) of all restarts'; 0 keeps them all.
        tolerance: an image is done once one of its restarts has an objective of at most this.
        precision: the dtype in which the decoder descends, by autocast:
            `reduced_precision(device)` is bfloat16 where that is faster. The choice between
            restarts, and what is returned, are computed without it.

    Differences from the paper:
        * The default optimizer is Adam and the default spread 0.3, for decoders of latents of unit
          variance. In as many steps they come nearer than Defense-GAN's SGD with lr=10 and
          momentum=0.7, a tenth of the rate after 80 % of the steps, spread=128**-0.5: starts near
          0 seldom get stuck, and more steps then help more than more restarts.
        * Restarts that are behind are dropped (`halving`); the paper keeps all R. Successive
          halving (Jamieson and Talwalkar 2016, Figure 1) gives each round the same work, and so
          drops most in the first steps, where restarts that will win are still behind.

    References:
        Samangouei, Kabkab and Chellappa 2018, "Defense-GAN", §3; their code (the optimizer).

    Example:
        >>> defenses.LatentSearch(latents=20, restarts=4, steps=8).survivors()
        [4, 3, 3, 2, 2, 1, 1, 1]
    """

    latents: int
    restarts: int = 10
    steps: int = 200
    optimizer: Callable[..., Optimizer] = partial(Adam, lr=0.1, betas=(0.7, 0.9))
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    spread: float = 0.3
    penalty: Callable[[Tensor], Tensor] | None = None
    projection: Callable[[Tensor], Tensor] | None = None
    halving: float = 1.0
    tolerance: float | None = None
    precision: torch.dtype | None = None

    def __post_init__(self) -> None:
        for name in ("latents", "restarts", "steps"):
            check_count(name, getattr(self, name))
        for name in ("spread", "halving"):
            check_at_least(name, getattr(self, name), 0)
        if self.tolerance is not None:
            check_at_least("tolerance", self.tolerance, 0)

    def survivors(self) -> list[int]:
        """How many restarts an image keeps after each step."""
        remaining = (1 - step / self.steps for step in range(1, self.steps + 1))
        return [max(1, math.ceil(self.restarts * t**self.halving)) for t in remaining]

    def starts(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Normal starts (N, R, L) for images (N, C, H, W), by their pixels and the generator."""
        keys, generator = Keys(images), default_generator(generator)
        # One draw per restart: the first of many are those of few.
        starts = [keys.normal((self.latents,), generator) for _ in range(self.restarts)]
        return self.spread * torch.stack(starts, dim=1)


@dataclass(frozen=True)
class Inversion:
    """What a latent search found for each image.

    latents: z* (N, L), of the least objective over all restarts and steps.
    images: G(z*) (N, C, H, W).
    distances: (N,), mean squared errors per pixel, without the penalty.
    decodings: (N,) int64, latents decoded for this image, all restarts together.
    gradients: (N,) int64, latents differentiated for this image.
    """

    latents: Tensor
    images: Tensor
    distances: Tensor
    decodings: Tensor
    gradients: Tensor


def invert(
    decoder: Decoder,
    images: Tensor,
    search: LatentSearch,
    *,
    starts: Tensor | None = None,
    generator: torch.Generator | None = None,
    differentiable: bool = False,
) -> Inversion:
    """The latents z* whose image G(z*) has the least mean squared error to x, plus the penalty.

    A start follows from the generator, the pixels of its image and the number of its restart:
    neither other images nor more restarts change it. Device and dtype follow the images.

    Args:
        decoder: G, latents (M, L) to images (M, C, H, W), each row by itself; a module is held in
            evaluation mode. The rows are the restarts of the first image, then of the second, …,
            without those that are finished or dropped: with one restart and no tolerance, they are
            the images in their order.
        images: x (N, C, H, W) in [0, 1].
        search: the settings.
        starts: (N, R, L), in place of random ones.
        generator: where starts are drawn from; a new one seeded 0 by default.
        differentiable: the result depends on the images through every step, where a gradient is
            asked for. The starts and the choice of the best have none. Memory grows with the steps.

    Returns:
        The best latents of all restarts and steps. A restart that diverges loses to the others.

    Raises:
        ValueError: every restart of an image diverges.

    Cost:
        R L / (1 + h) forward and backward passes of the decoder per image, and a few forward ones;
        fewer with a tolerance.

    References:
        Samangouei, Kabkab and Chellappa 2018, "Defense-GAN", §3.

    Example:
        >>> vae, digits = zoo.load("manifold-vae"), datasets.load("mnist").take(4)
        >>> search = defenses.LatentSearch(latents=20, restarts=2, steps=20)
        >>> found = defenses.invert(vae.decode, digits.images, search)
        >>> found.latents.shape, found.distances.shape
        (torch.Size([4, 20]), torch.Size([4]))
    """
    at = [search.steps]
    return _search(decoder, images, search, at, starts, generator, differentiable)[0]


def inversion_path(
    decoder: Decoder,
    images: Tensor,
    search: LatentSearch,
    at: Sequence[int],
    *,
    starts: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> list[Inversion]:
    """What one search has found after each of the numbers of steps in `at`.

    Args:
        decoder: as for `invert`, as are images, search, starts and generator.
        at: increasing numbers of steps, from 1 to those of the search.

    Returns:
        An inversion per number. Without halving and without a schedule, the one after k steps is
        what a search of k steps finds.

    Example:
        >>> vae, digits = zoo.load("manifold-vae"), datasets.load("mnist").take(4)
        >>> search = defenses.LatentSearch(latents=20, restarts=2, steps=20)
        >>> early, late = defenses.inversion_path(vae.decode, digits.images, search, at=[5, 20])
        >>> (late.distances < early.distances).all()
        tensor(True)
    """
    at = list(at)
    if not at or at != sorted(set(at)) or at[0] < 1 or at[-1] > search.steps:
        raise ValueError(f"at must hold rising numbers from 1 to {search.steps} steps, got {at}")
    return _search(decoder, images, search, at, starts, generator, False)


def _search(
    decoder: Decoder,
    images: Tensor,
    search: LatentSearch,
    at: Sequence[int],
    starts: Tensor | None,
    generator: torch.Generator | None,
    differentiable: bool,
) -> list[Inversion]:
    """The one search, with its result after each of the numbers of steps."""
    check_images(images)
    on_graph = differentiable and images.requires_grad and torch.is_grad_enabled()
    # Where the decoder's sigmoid is saturated, as on the ground of a digit, its slopes are below
    # the least normal number, on which a processor takes many times as long.
    with eval_mode(decoder), torch.inference_mode(False), torch.enable_grad(), _flushing():
        x = images if on_graph else images.detach().clone()
        if starts is None:
            starts = search.starts(x, generator)
        _check_starts(starts, search, x)
        descent, path = _Descent(decoder, x, starts, search, on_graph), []
        for step, survivors in enumerate(search.survivors()[: at[-1]], start=1):
            if len(descent.active):
                descent.step()
                descent.stop_finished()
            if len(descent.active):
                descent.drop_restarts(survivors)
            if step in at:
                path.append(descent.result())
    return path


@contextmanager
def _flushing() -> Iterator[None]:
    """Take numbers below the least normal one for zero, in this thread."""
    # torch does not tell the mode, but it shows.
    already = (torch.tensor([1e-40], dtype=torch.float32, device="cpu") * 1 == 0).item()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(bool(already))


def _check_starts(starts: Tensor, search: LatentSearch, images: Tensor) -> None:
    """Raise unless starts are finite (N, R, L) of the images' dtype."""
    wanted = (len(images), search.restarts, search.latents)
    if starts.shape != wanted:
        raise ValueError(f"starts must have shape {wanted}, got {tuple(starts.shape)}")
    if starts.dtype != images.dtype:
        raise TypeError(f"starts must be {images.dtype} as the images, got {starts.dtype}")
    if not starts.isfinite().all():
        raise ValueError("starts must be finite, got NaN or infinity")


class _Descent:
    """Gradient descent on the latents z (n, r, L) of the n images still under search, r restarts.

    decoder: G. x: (N, C, H, W). starts: (N, R, L). on_graph: keep the steps on the graph.
    active (n,): the places of the n images among all N. best_z (n, r, L), best (n, r): what each
    restart has found so far, and its objective.
    """

    def __init__(
        self, decoder: Decoder, x: Tensor, starts: Tensor, search: LatentSearch, on_graph: bool
    ) -> None:
        self.decoder, self.x, self.search, self.on_graph = decoder, x, search, on_graph
        self.active = torch.arange(len(x), device=x.device)
        self.results = torch.zeros_like(starts[:, 0])
        self.decodings = torch.zeros_like(self.active)
        self.gradients = torch.zeros_like(self.active)
        self.z = self._variable(self._project(starts.detach().clone()))
        self.best_z = self.z.detach().clone()
        self.best = torch.full_like(self.best_z[..., 0], torch.inf)
        self.optimizer = self._new_optimizer()
        self.schedule = search.schedule(self.optimizer) if search.schedule else None

    def step(self) -> None:
        """One gradient step of all latents still under search."""
        objective = self._objective(self.z, self.active, self.search.precision)
        self._update_best(objective)
        self.z.grad = self._grad(objective)
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.search.projection is not None:
            with torch.set_grad_enabled(self.on_graph):
                self.z.copy_(self._project(self.z.clone()))

    def stop_finished(self) -> None:
        """End the search of images of which a restart is within the tolerance."""
        if self.search.tolerance is None:
            return
        done = (self.best <= self.search.tolerance).any(dim=1)
        if done.any():
            self._store(done)
            rows = (~done).nonzero()
            self._select(rows, torch.arange(self.best.shape[1], device=rows.device)[None])

    def drop_restarts(self, survivors: int) -> None:
        """Keep the best restarts of each image; of equals the first."""
        if survivors >= self.best.shape[1]:
            return
        best = self._exact(self.best_z, self.best, self.active)
        columns = best.sort(dim=1, stable=True).indices[:, :survivors].sort(dim=1).values
        self._select(torch.arange(len(columns), device=columns.device)[:, None], columns)

    def result(self) -> Inversion:
        """What was found of all N images so far; the descent can go on after it."""
        if len(self.active):
            with torch.no_grad():
                last = self._objective(self.z, self.active, self.search.precision)
            self._update_best(last)
            self._store(torch.ones_like(self.active, dtype=torch.bool))
        everyone = torch.arange(len(self.x), device=self.x.device)
        with torch.set_grad_enabled(self.on_graph):
            images = self._decode(self.results[:, None], everyone, None)[:, 0]
            distances = (images - self.x).square().flatten(1).mean(dim=1)
        return Inversion(
            self.results.clone(), images, distances, self.decodings.clone(), self.gradients.clone()
        )

    def _objective(self, z: Tensor, rows: Tensor, precision: torch.dtype | None) -> Tensor:
        """‖G(z) − x‖₂² / P plus the penalty (n, r), for z (n, r, L) of the images at rows (n,).

        P: the number of pixel values.
        """
        # The optimizer edits the latents in place; a graph must hold those of this step.
        z = z.clone()
        error = self._decode(z, rows, precision) - self.x[rows][:, None]
        objective = error.square().flatten(2).mean(dim=2)
        if self.search.penalty is not None:
            penalty = self.search.penalty(z.flatten(0, 1))
            _check_shape("penalty", penalty, (objective.numel(),))
            objective = objective + penalty.view_as(objective)
        return objective

    def _decode(self, z: Tensor, rows: Tensor, precision: torch.dtype | None) -> Tensor:
        """G(z) (n, r, C, H, W) for z (n, r, L) of the images at rows (n,), counted for each."""
        with autocast(self.x.device, precision):
            images = self.decoder(z.flatten(0, 1))
        _check_shape("decoder", images, (z.shape[:2].numel(), *self.x.shape[1:]))
        self.decodings[rows] += z.shape[1]
        return images.to(self.x.dtype).unflatten(0, z.shape[:2])

    def _grad(self, objective: Tensor) -> Tensor:
        """The gradient (n, r, L) of the objective (n, r); each row's depends on itself alone."""
        self.gradients[self.active] += objective.shape[1]
        grad: Tensor | None = None
        if objective.requires_grad:
            grad = torch.autograd.grad(
                objective.sum(), self.z, create_graph=self.on_graph, allow_unused=True
            )[0]
        if grad is None:
            raise ValueError("decoder must be differentiable in its latents, got a constant")
        return grad

    def _update_best(self, objective: Tensor) -> None:
        """Keep the latents whose objective (n, r) is less than the best so far."""
        objective = objective.detach()
        better = objective < self.best
        self.best = torch.where(better, objective, self.best)
        z = self.z if self.on_graph else self.z.detach()
        self.best_z = torch.where(better[..., None], z, self.best_z)

    @torch.no_grad()
    def _exact(self, z: Tensor, objective: Tensor, rows: Tensor) -> Tensor:
        """The objective (n, r) of z, computed again where it was in reduced precision."""
        if self.search.precision is not None:
            objective = self._objective(z, rows, None)
        return objective.nan_to_num(torch.inf, torch.inf)

    def _store(self, done: Tensor) -> None:
        """Store z* of the images chosen by a bool mask (n,): the best of their restarts."""
        rows, best_z = self.active[done], self.best_z[done]
        least, restart = self._exact(best_z, self.best[done], rows).min(dim=1)
        if not least.isfinite().all():
            raise ValueError("decoder must return finite images, got NaN or infinity")
        self.results[rows] = best_z[torch.arange(len(rows), device=rows.device), restart]

    def _select(self, rows: Tensor, columns: Tensor) -> None:
        """Search on with images at rows (n', 1) and restarts at columns (n' or 1, r')."""
        self.active = self.active[rows[:, 0]]
        self.best_z, self.best = self.best_z[rows, columns], self.best[rows, columns]
        old, self.z = self.z, self._variable(self.z[rows, columns])
        state = self.optimizer.state.pop(old, {})
        self.optimizer.state[self.z] = {
            name: value[rows, columns] if getattr(value, "shape", None) == old.shape else value
            for name, value in state.items()
        }
        self.optimizer.param_groups[0]["params"] = [self.z]

    def _project(self, z: Tensor) -> Tensor:
        """The latents allowed in place of z (n, r, L)."""
        if self.search.projection is None:
            return z
        rows = z.flatten(0, 1)
        projected = self.search.projection(rows)
        _check_shape("projection", projected, rows.shape)
        return projected.view_as(z)

    def _variable(self, z: Tensor) -> Tensor:
        """z as torch's optimizers edit it: a leaf without a graph, anything else with one."""
        return z.requires_grad_().clone() if self.on_graph else z.detach().requires_grad_()

    def _new_optimizer(self) -> Optimizer:
        """The optimizer of z, whose steps stay on the graph if asked to."""
        if not self.on_graph:
            return self.search.optimizer([self.z])
        optimizer = self.search.optimizer([self.z], differentiable=True)
        if isinstance(optimizer, SGD) and optimizer.defaults["momentum"]:
            # torch's first momentum is the gradient cut off from its graph, unless there is one.
            optimizer.state[self.z]["momentum_buffer"] = torch.zeros_like(self.z).detach()
        return optimizer


def _check_shape(name: str, answer: Tensor, wanted: tuple[int, ...]) -> None:
    """Raise unless what the callable of that name returned has the shape wanted."""
    if answer.shape != wanted:
        raise ValueError(f"{name} must return shape {tuple(wanted)}, got {tuple(answer.shape)}")
