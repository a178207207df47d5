"""Latent descent: a line search from the image to what a model generates for another class.

Schott, Rauber, Bethge and Brendel 2019, §4 and the authors' code (`LineSearchAttack`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.attacks.generative.decoder import explained
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_count
from armsrace.norms import batch_view


def latent_descent(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    explain: Callable[[Tensor], Tensor],
    coarse: int = 50,
    binary_search_steps: int = 10,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """The first adversarial image on the line from x to another class's reconstruction of it.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        explain: images (N, C, H, W) to their reconstructions by each class, (N, K, C, H, W): for
            analysis by synthesis `lambda x: model.explain(x).images`, for a nearest neighbor
            `model.nearest`. It is called once, and not counted.
        coarse: equal steps in which the line is first walked.
        binary_search_steps: bisections of the step at which the image became adversarial.
        targets: (N,) int64 wanted classes; by default the most likely other one of each image.
        bounds: the box of valid pixels.

    Returns:
        The nearest adversarial image found on the line, per image; the clean image where there is
        none.

    Differences from the paper:
        * The authors' code walks 51 coarse points, of which the first is the image, and continues
          in finer equal steps. Here the last step is bisected.

    Cost:
        At most 2 + coarse + binary_search_steps forward passes per image, no backward pass.

    References:
        Schott, Rauber, Bethge and Brendel 2019, "Towards the first adversarially robust neural
        network model on MNIST", §4.

    Example:
        >>> digits = datasets.load("mnist").take(200)
        >>> model = defenses.NearestNeighbor(digits.images, digits.labels)
        >>> known = (digits.images[:8], digits.labels[:8])
        >>> attacks.latent_descent(model, *known, explain=model.nearest).success.all()
        tensor(True)
    """
    check_count("coarse", coarse)
    check_count("binary_search_steps", binary_search_steps, 0)
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        logits = context.logits(context.images)
        x_adv, queries = context.images.clone(), torch.ones_like(context.labels)
        active = (~context.is_adversarial(logits)).nonzero()[:, 0]
        if len(active) > 0:
            part = context.select(active)
            line = _Line(part, _reconstructions(part, logits[active], explain, images.dtype))
            line.walk(coarse)
            line.bisect(binary_search_steps, 1 / coarse)
            x_adv[active], queries[active] = line.result(), queries[active] + line.queries
        return context.minimal_result(x_adv, queries, torch.zeros_like(queries))


def _reconstructions(
    context: AttackContext, logits: Tensor, explain: Callable[[Tensor], Tensor],
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """Each image (M, C, H, W) as its target, or the most likely other class, reconstructs it."""
    others = logits.scatter(1, context.labels[:, None], -torch.inf).argmax(dim=1)
    classes = others if context.targets is None else context.targets
    drawn = explained(explain, context.images, logits.shape, dtype)
    return drawn[torch.arange(len(classes), device=classes.device), classes]


class _Line:
    """The lines from M images to their reconstructions, and where they become adversarial.

    queries (M,): the points tried.
    """

    def __init__(self, context: AttackContext, ends: Tensor) -> None:
        self._context, self._direction = context, ends - context.images
        # Of the line, (M,): the smallest that is adversarial so far; infinity if none is.
        self._fraction = torch.full_like(ends[:, 0, 0, 0], torch.inf)
        self.queries = torch.zeros_like(context.labels)

    def walk(self, steps: int) -> None:
        """Equal steps from the image, until it is adversarial."""
        for step in range(1, steps + 1):
            active = self._fraction.isinf().nonzero()[:, 0]
            if len(active) == 0:
                return
            fraction = torch.full_like(self._fraction[active], step / steps)
            self._fraction[active[self._is_adversarial(active, fraction)]] = step / steps

    def bisect(self, times: int, width: float) -> None:
        """Closer to the image, the boundary being within `width` of the fractions found."""
        active = self._fraction.isfinite().nonzero()[:, 0]
        if len(active) == 0:
            return
        lower = self._fraction[active] - width
        for _ in range(times):
            middle = (lower + self._fraction[active]) / 2
            is_adversarial = self._is_adversarial(active, middle)
            self._fraction[active[is_adversarial]] = middle[is_adversarial]
            lower = torch.where(is_adversarial, lower, middle)

    def result(self) -> Tensor:
        """The points found (M, C, H, W); the clean image where there is none."""
        every = torch.arange(len(self._fraction), device=self._fraction.device)
        return self._points(every, self._fraction.nan_to_num(posinf=0))

    def _is_adversarial(self, active: Tensor, fraction: Tensor) -> Tensor:
        """(M,) bool for the points at these fractions; one query each."""
        part = self._context.select(active)
        self.queries[active] += 1
        return part.is_adversarial(part.logits(self._points(active, fraction)))

    def _points(self, active: Tensor, fraction: Tensor) -> Tensor:
        """The points (M, C, H, W) at these fractions of the lines."""
        points = self._context.images[active] + batch_view(fraction) * self._direction[active]
        return self._context.bounds.clip(points)
