"""Does this evaluation lie? Signs that a model hides its gradient rather than withstands attack.

After Athalye, Carlini and Wagner 2018, §3.1, and Carlini et al. 2019, §5. A warning is no proof,
and silence is none either: a defense is judged by an attack made for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from armsrace.attacks import fgsm, pgd
from armsrace.attacks.problem import Problem, posed
from armsrace.attacks.randomness import default_generator, signs
from armsrace.contracts import UNIT, Bounds, Model, are_probabilities, check_at_least


@dataclass(frozen=True)
class Check:
    """One question put to the model: whether the answer is the healthy one, and the numbers."""

    question: str
    healthy: bool
    evidence: str


@dataclass(frozen=True)
class MaskingReport:
    """The answers, in the order asked; `suspicious` where any is unhealthy."""

    checks: tuple[Check, ...]

    @property
    def suspicious(self) -> bool:
        """Whether any check warns."""
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
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> MaskingReport:
    """Ask a model six questions that a masked gradient answers wrongly (L∞).

    Args:
        model: images to logits (N, K); probabilities are reported, then taken as log p.
        images: (N, C, H, W), pixels inside `bounds`; a hundred or so are enough.
        labels: (N,) int64, the true classes.
        epsilon: the budget of the attacks, in pixel units.
        surrogate: another model of the same task, whose adversarial images are tried on this one.
        steps: of PGD.
        bounds: the box; a budget as wide as the box must break every model.
        generator: for the random search; a new one seeded 0 by default.

    Raises ValueError or TypeError naming the argument and the rule it breaks.
    """
    check_at_least("epsilon", epsilon, 1e-6)
    with torch.no_grad():
        first, second = model(images), model(images)
    probabilities = are_probabilities(first)
    attacked = _log_of(model) if probabilities else model
    checks = [
        Check("Does it return logits?", not probabilities,
              "rows sum to 1: softmax outputs" if probabilities else "rows do not sum to 1"),
        Check("Is it deterministic?", bool(torch.equal(first, second)),
              f"two passes differ by at most {(first - second).abs().max():.2g}"),
        *_of_gradients(attacked, images, labels, epsilon, surrogate, steps, bounds, generator),
    ]  # fmt: skip
    return MaskingReport(tuple(checks))


def _of_gradients(
    model: Model, images: Tensor, labels: Tensor, epsilon: float, surrogate: Model | None,
    steps: int, bounds: Bounds, generator: torch.Generator | None,
) -> Iterator[Check]:  # fmt: skip
    with posed(model, images, labels, None, bounds) as problem:
        gradient, _ = problem.ascent(images)
        zero = (gradient.flatten(1).abs().amax(dim=1) == 0).float().mean().item()
        yield Check("Is there a gradient?", zero < 0.05, f"exactly zero for {zero:.0%} of images")
        one_step = _error(fgsm(model, images, labels, epsilon=epsilon, bounds=bounds).success)
        iterate = partial(pgd, model, images, labels, bounds=bounds)
        white = _error(iterate(epsilon=epsilon, steps=steps).success)
        evidence = f"error {white:.1%} after {steps} steps, {one_step:.1%} after one"
        yield Check("Is iterating no weaker than one step?", white >= one_step - 0.01, evidence)
        width = bounds.upper - bounds.lower
        most = _error(iterate(epsilon=width, steps=2 * steps).success)
        evidence = f"error {most:.1%} at ε = {width:g}, the whole box"
        yield Check("Does the error reach 100 % as ε grows?", most >= 0.99, evidence)
        blind = _error(_without_gradient(problem, epsilon, surrogate, steps, generator))
        way = "random search" if surrogate is None else "transfer or random search"
        evidence = f"error {white:.1%} with the gradient, {blind:.1%} by {way}"
        yield Check("Is the gradient no weaker than no gradient?", white >= blind - 0.01, evidence)


def _without_gradient(
    problem: Problem, epsilon: float, surrogate: Model | None, steps: int,
    generator: torch.Generator | None,
) -> Tensor:  # fmt: skip
    candidates: list[Tensor] = []
    images, bounds = problem.images, problem.bounds
    if surrogate is not None:
        found = pgd(surrogate, images, problem.labels, epsilon=epsilon, steps=steps, bounds=bounds)
        candidates.append(found.images)
    draws = default_generator(generator)
    candidates += [bounds.clip(images + epsilon * signs(images, draws)) for _ in range(20)]
    return torch.stack([problem.loss(candidate)[1] for candidate in candidates]).any(dim=0)


def _log_of(model: Model) -> Model:
    return lambda images: model(images).clamp_min(torch.finfo(images.dtype).tiny).log()


def _error(success: Tensor) -> float:
    return success.float().mean().item()
