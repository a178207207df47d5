"""Does this evaluation lie? Signs that a model hides its gradient rather than withstands attack.

After Athalye, Carlini and Wagner 2018, §3.1, and Carlini et al. 2019, §5. A warning is no proof, and
silence is none either: a defense is judged by an attack made for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.attacks import fgsm, pgd
from armsrace.attacks.problem import posed
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
        single = _error(fgsm(model, images, labels, epsilon=epsilon, bounds=bounds).success)
        white = pgd(model, images, labels, epsilon=epsilon, steps=steps, bounds=bounds).success
        iterated = _error(white)
        yield Check("Is iterating stronger than one step?", iterated >= single - 0.01,
                    f"error {iterated:.1%} after {steps} steps, {single:.1%} after one")  # fmt: skip
        width = bounds.upper - bounds.lower
        whole = pgd(model, images, labels, epsilon=width, steps=2 * steps, bounds=bounds)
        most = _error(whole.success)
        yield Check("Does the error reach 100 % as ε grows?", most >= 0.99,
                    f"error {most:.1%} at ε = {width:g}, the whole box")  # fmt: skip
        black, names = torch.zeros_like(white), "random search"
        if surrogate is not None:
            transferred = pgd(surrogate, images, labels, epsilon=epsilon, steps=steps, bounds=bounds)
            with torch.no_grad():
                black, names = problem.fooled(problem.logits(transferred.images)), "transfer or random search"
        draws = default_generator(generator)
        for _ in range(20):
            noisy = bounds.clip(images + epsilon * signs(images, draws))
            black = black | problem.loss(noisy)[1]
        blind = _error(black)
        yield Check("Is the gradient stronger than no gradient?", iterated >= blind - 0.01,
                    f"error {iterated:.1%} with the gradient, {blind:.1%} by {names}")  # fmt: skip


def _log_of(model: Model) -> Model:
    return lambda images: model(images).clamp_min(torch.finfo(images.dtype).tiny).log()


def _error(success: Tensor) -> float:
    return success.float().mean().item()
