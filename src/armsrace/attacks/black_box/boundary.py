"""The boundary attack: a random walk along the decision boundary, on decisions alone.

Brendel, Rauber and Bethge 2018, Algorithm 1 and §2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, PerImage, attack_context, check_start
from armsrace.attacks.black_box.starting_points import halved, starts
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_count,
    query_limit,
)
from armsrace.norms import batch_view, distances
from armsrace.randomness import Keys, default_generator

START_BISECTIONS = 10
"""Of the line from the image to its start; a thousandth of the line is left."""
SPHERE_EVERY = 10
"""After so many steps the point on the sphere is judged without the step to the image."""
SPHERE_RATE, SPHERE_GAIN = 0.4, 0.3
SOURCE_RATE, SOURCE_GAIN = 0.2, 0.05
"""The fraction of candidates that should stay adversarial, and how much one answer changes the
logarithm of a step size. The sphere is judged ten times less often, so each answer counts more."""
CONVERGED = 1e-7
"""A source step that is a smaller fraction of the distance is below the resolution of float32."""

Watch = Callable[[int, Tensor, Tensor], object]


def boundary(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 5000,
    spherical_step: float = 0.2,
    source_step: float = 0.01,
    tries: int = 50,
    queries: int | None = None,
    start: Tensor | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
    watch: Watch | None = None,
) -> AttackResult:
    """From an adversarial image toward the clean one, by random steps that stay adversarial (L2).

    Each step moves orthogonally to the direction of the clean image, back onto the sphere around
    it, then toward it. Both step sizes are fractions of the distance to the clean image. They grow
    with each success and shrink with each failure.

    Args:
        model: images to answers (N, K) of any kind, of which only the greatest is used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        steps: candidates per image; the paper takes 25,000 where it reports MNIST.
        spherical_step: δ, the first step on the sphere. One that is too small cannot grow on a
            boundary that is rough at its scale, such as that of a network behind rounded pixels.
        source_step: ε, the first step toward the image.
        tries: noise images at most, in search of an adversarial one to start from.
        queries: forward passes per image at most, at least 3; no limit by default.
        start: (N, C, H, W), adversarial images to start from instead of noise.
        targets: (N,) int64 wanted classes. Noise is seldom classified as one of them, so give
            images of these classes as `start`.
        bounds: the box of valid pixels.
        generator: source of noise and steps; a new one seeded 0 by default.
        watch: called as watch(step, images, queries) after each step, until all images have
            converged, with the images (N, C, H, W) and the queries (N,) so far. These are what a
            run of so many steps would give.

    Returns:
        The nearest adversarial images; the clean image where no noise is adversarial.

    Raises:
        ValueError: also where a `start` is not adversarial.

    Differences from the paper:
        * The step sizes change after each answer, so that 40 % of the points on the sphere and 20 %
          of the candidates stay adversarial. The paper estimates these rates in windows, which
          would change the sizes only a few times within 5,000 steps.
        * Noise is salt and pepper with a random fraction of white per image and try. Uniform noise
          is nearly always classified as the same class.
        * The start is first moved toward the image by bisection.

    Cost:
        One forward pass per step, and another in every tenth step, for the sphere. No gradients.

    References:
        Brendel, Rauber and Bethge 2018, "Decision-based adversarial attacks: reliable attacks
        against black-box machine learning models", Algorithm 1; §2.2 (proposal), §2.3 (step sizes).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.boundary(model, digits.images, digits.labels, steps=100)
        >>> found.success.all(), found.gradients.sum()
        (tensor(True), tensor(0))
    """
    check_count("steps", steps)
    check_count("tries", tries)
    check_at_least("spherical_step", spherical_step, 0)
    check_at_least("source_step", source_step, 0)
    limit = query_limit(queries)
    checked = attack_context(model, images, labels, targets, bounds, decisions=True)
    with checked as context, torch.no_grad():
        if start is not None:
            check_start(start, images, bounds)
        generator = default_generator(generator)
        best_adv, used = context.images.clone(), torch.ones_like(context.labels)
        active = (~context.is_adversarial(context.logits(best_adv))).nonzero()[:, 0]
        keys = Keys(best_adv)
        if len(active) > 0:
            given_start = None if start is None else start[active]
            tries = int(min(tries, limit - 2))
            x_adv, found, tried = starts(
                context.select(active), given_start, keys[active], tries, generator
            )
            used[active] += tried
            x_adv, active = x_adv[found], active[found]
        if len(active) > 0:
            part = context.select(active)
            x_adv, bisections = halved(part, x_adv, START_BISECTIONS, limit - 1 - used[active])
            used[active] += bisections
            best_adv[active] = x_adv
            walk = _Walk(part, keys[active], x_adv, spherical_step, source_step)
            for step in range(1, steps + 1):
                judge_sphere = step % SPHERE_EVERY == 0
                done = used[active] + judge_sphere > limit - 2
                if step > 1:
                    done |= walk.epsilon < CONVERGED
                if done.any():
                    walk.select(~done)
                    active = active[~done]
                    if len(active) == 0:
                        break
                walk.step(generator, judge_sphere)
                used[active] += 1 + judge_sphere
                best_adv[active] = walk.x_adv
                if watch is not None:
                    watch(step, best_adv.clone(), used.clone())
        return context.minimal_result(best_adv, used, torch.zeros_like(used))


class _Walk(PerImage):
    """The random walks of the images under search.

    x_adv (N, C, H, W): the nearest adversarial images so far. delta and epsilon (N,): δ and ε, the
    sizes of the steps on the sphere and toward the clean image, as fractions of the distance.
    """

    def __init__(
        self, context: AttackContext, keys: Keys, x_adv: Tensor, spherical_step: float,
        source_step: float,
    ) -> None:  # fmt: skip
        self.context, self.keys, self.x_adv = context, keys, x_adv
        self.delta = torch.full_like(x_adv[:, 0, 0, 0], spherical_step)
        self.epsilon = torch.full_like(x_adv[:, 0, 0, 0], source_step)

    def select(self, active: Tensor) -> None:
        """Keep the walks chosen by a bool mask (M,)."""
        super().select(active)
        self.context, self.keys = self.context.select(active), self.keys[active]

    def step(self, generator: torch.Generator, judge_sphere: bool) -> None:
        """One candidate per image, accepted where it is adversarial and nearer; δ and ε adapt."""
        context, x = self.context, self.context.images
        distance = distances(x - self.x_adv, "l2")
        sphere = context.bounds.clip(self._on_sphere(distance, generator))
        candidates = context.bounds.clip(self._toward_source(sphere, distance))
        is_adversarial = context.is_adversarial(context.logits(candidates))
        # Rounding and the box may leave a candidate as far away as the image was.
        nearer = is_adversarial & (distances(x - candidates, "l2") < distance)
        self.x_adv = torch.where(batch_view(nearer), candidates, self.x_adv)
        self.epsilon = _adapted(self.epsilon, is_adversarial, SOURCE_RATE, SOURCE_GAIN)
        if judge_sphere:
            is_adversarial = context.is_adversarial(context.logits(sphere))
            self.delta = _adapted(self.delta, is_adversarial, SPHERE_RATE, SPHERE_GAIN)
        # No step is longer than the distance.
        self.delta, self.epsilon = self.delta.clamp_max(1), self.epsilon.clamp_max(1)

    def _on_sphere(self, distance: Tensor, generator: torch.Generator) -> Tensor:
        """A random step orthogonal to the source direction, projected back onto the sphere."""
        x = self.context.images
        source = x - self.x_adv
        eta = self.keys.normal(source.shape[1:], generator)
        along = (eta * source).flatten(1).sum(dim=1) / distance.square()
        eta = eta - batch_view(along) * source
        smallest = torch.finfo(distance.dtype).tiny
        length = self.delta * distance / distances(eta, "l2").clamp_min(smallest)
        longer = (1 + self.delta.square()).sqrt()
        return x + (batch_view(length) * eta - source) / batch_view(longer)

    def _toward_source(self, sphere: Tensor, distance: Tensor) -> Tensor:
        """The point on the sphere, moved to (1 − ε) times the distance from the image."""
        source = self.context.images - sphere
        wanted = (1 - self.epsilon) * distance
        fraction = 1 - wanted / distances(source, "l2")
        return sphere + batch_view(fraction.clamp_min(0)) * source


def _adapted(step_size: Tensor, is_adversarial: Tensor, rate: float, gain: float) -> Tensor:
    """Step sizes (N,), larger after a success and smaller after a failure.

    They stay the same on average where the fraction `rate` of the candidates is adversarial.
    """
    return step_size * (gain * (is_adversarial.to(step_size) - rate)).exp()
