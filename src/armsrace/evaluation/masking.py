"""Can this evaluation be trusted? Signs that a model hides its gradient instead of being robust.

After Athalye, Carlini and Wagner 2018, §3.1, and Carlini et al. 2019, §5. A warning proves nothing,
and neither does its absence: a defense must be evaluated by an adaptive attack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from armsrace.attacks import fgsm, pgd, square
from armsrace.attacks.base import AttackContext, attack_context, call_model
from armsrace.contracts import UNIT, Bounds, Model, are_probabilities, check_at_least, check_count


@dataclass(frozen=True)
class Check:
    """One check: the question, whether the answer is the healthy one, and the measured numbers."""

    question: str
    healthy: bool
    evidence: str


@dataclass(frozen=True)
class MaskingReport:
    """The checks, in order. The report is suspicious if any is unhealthy."""

    checks: tuple[Check, ...]

    @property
    def suspicious(self) -> bool:
        """Whether any check is unhealthy."""
        return not all(check.healthy for check in self.checks)

    def __str__(self) -> str:
        return "\n".join(
            f"{'ok     ' if check.healthy else 'WARNING'}  {check.question}: {check.evidence}"
            for check in self.checks
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{'✓' if check.healthy else '⚠'}</td><td>{check.question}</td>"
            f"<td>{check.evidence}</td></tr>"
            for check in self.checks
        )
        return f'<table class="ar-masking"><tbody>{rows}</tbody></table>'


def masking_report(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    surrogate: Model | None = None,
    steps: int = 40,
    queries: int = 200,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> MaskingReport:
    """Run six checks that a masked gradient fails (L∞).

    Args:
        model: images to logits (N, K); probabilities fail the first check; the others use log p.
        images: (N, C, H, W), pixels inside `bounds`; about a hundred are enough.
        labels: (N,) int64, the true classes.
        epsilon: the budget of the attacks, in pixel units.
        surrogate: another model of the same task; its adversarial images are tried on this one too.
        steps: of PGD.
        queries: of the square attack, a random search on scores that needs no gradient.
        bounds: the box of valid pixels; a budget as wide as the box must break every model.
        generator: for the square attack; a new one seeded 0 by default.

    Returns:
        The report. Two errors count as equal if they differ by at most 1 % or one image.

    References:
        Athalye, Carlini and Wagner 2018, "Obfuscated gradients give a false sense of security",
        §3.1; Carlini et al. 2019, "On evaluating adversarial robustness", §5.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(20)
        >>> evaluation.masking_report(model, digits.images, digits.labels, epsilon=0.2).suspicious
        False
    """
    check_at_least("epsilon", epsilon, 1e-6)
    check_count("queries", queries, 3)
    with torch.no_grad():
        first, second = (call_model(model, images.clone()) for _ in range(2))
    probabilities = are_probabilities(first)
    attacked = _log_of(model) if probabilities else model
    checks = [
        Check("Does it return logits?", not probabilities,
              "rows sum to 1: softmax outputs" if probabilities else "rows do not sum to 1"),
        Check("Is it deterministic?", bool(torch.equal(first, second)),
              f"two passes differ by at most {(first - second).abs().max():.2g}"),
        *_gradient_checks(
            attacked, images, labels, epsilon, steps, bounds,
            partial(_without_gradient, surrogate=surrogate, queries=queries, generator=generator),
            f"square, {queries} queries" + (", or transfer" if surrogate is not None else ""),
        ),
    ]  # fmt: skip
    return MaskingReport(tuple(checks))


def _gradient_checks(
    model: Model, images: Tensor, labels: Tensor, epsilon: float, steps: int, bounds: Bounds,
    without_gradient: Callable[..., Tensor], method: str,
) -> Iterator[Check]:  # fmt: skip
    """The four checks that attack the model."""
    with attack_context(model, images, labels, None, bounds) as context:
        zero = _error(context.loss_and_grad(images)[1].flatten(1).abs().amax(dim=1) == 0)
        yield Check("Is there a gradient?", zero < 0.05, f"exactly zero for {zero:.0%} of images")
        one_step = _error(fgsm(model, images, labels, epsilon=epsilon, bounds=bounds).success)
        iterate = partial(pgd, model, images, labels, bounds=bounds)
        white_box = _error(iterate(epsilon=epsilon, steps=steps).success)
        at_most = white_box + max(0.01, 1 / len(images)) + 1e-6
        evidence = f"error {white_box:.1%} after {steps} steps, {one_step:.1%} after one"
        yield Check(
            "Does iterating do at least as well as one step?", one_step <= at_most, evidence
        )
        unbounded = _error(iterate(epsilon=bounds.width, steps=2 * steps).success)
        evidence = f"error {unbounded:.1%} at ε = {bounds.width:g}, the whole box"
        yield Check("Does the error reach 100 % as ε grows?", unbounded >= 0.99, evidence)
        black_box = _error(without_gradient(context, epsilon, steps))
        evidence = f"error {white_box:.1%} with the gradient, {black_box:.1%} without ({method})"
        yield Check("Do gradient attacks match gradient-free ones?", black_box <= at_most, evidence)


def _without_gradient(
    context: AttackContext, epsilon: float, steps: int, surrogate: Model | None, queries: int,
    generator: torch.Generator | None,
) -> Tensor:  # fmt: skip
    """(N,) bool: fooled by the square attack, or by images from the surrogate."""
    images, labels, bounds = context.images, context.labels, context.bounds
    success = square(
        context.model, images, labels, epsilon=epsilon, queries=queries, bounds=bounds,
        generator=generator,
    ).success  # fmt: skip
    if surrogate is not None:
        found = pgd(surrogate, images, labels, epsilon=epsilon, steps=steps, bounds=bounds)
        success = success | context.loss(found.images)[1]
    return success


def _log_of(model: Model) -> Model:
    """The model with log-probabilities as logits."""
    return lambda images: model(images).clamp_min(torch.finfo(images.dtype).tiny).log()


def _error(success: Tensor) -> float:
    """The fraction of images on which an attack succeeded."""
    return success.float().mean().item()
