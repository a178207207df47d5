"""A sound that says another word to the machine and the same to an ear (Qin et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.hearing import Hearing
from armsrace.attacks.margins import cross_entropy
from armsrace.attacks.norms import column
from armsrace.attacks.pgd import ascend
from armsrace.attacks.problem import Problem, gradient_of, posed
from armsrace.contracts import AttackResult, Bounds, Model, check_at_least, check_count

WAVES = Bounds(-1.0, 1.0)
"""The box of valid samples."""


def imperceptible(
    model: Model,
    waves: Tensor,
    labels: Tensor,
    *,
    targets: Tensor,
    epsilon: float = 0.03,
    first_steps: int = 50,
    steps: int = 300,
    step_size: float = 2e-3,
    weight: float = 1.0,
    hearing: Hearing | None = None,
) -> AttackResult:
    """A targeted sound whose change an ear should not hear beside the original.

    Args:
        model: sounds to logits (N, K).
        waves: (N, 1, 1, T), samples in [-1, 1].
        labels: (N,) int64, the words said.
        targets: (N,) int64, the words wanted.
        epsilon: the largest change of a sample where the first stage ends.
        first_steps: of that stage, plain signed steps of 2.5 · epsilon / first_steps.
        steps: of the second stage, with Adam.
        step_size: of Adam's first step, in sample units; it falls to zero in a straight line.
        weight: α at the start, of the dB heard against the nats of the target.
        hearing: the ear; one for 8,000 samples a second by default.

    The first stage makes the sound say the target at any price within epsilon. The second lowers
    −log p(target) + α · (the mean over the cells of the dB above the masking threshold). Every 20
    steps α grows by a fifth for a sound that fools, every 50 it shrinks by a fifth for one that
    does not. Of the sounds that fooled, the one least heard is kept; where none did, or where the
    target is heard already, the original comes back. The paper shrinks epsilon in the first stage;
    here the second is left to do so. Its code compares powers, where its equations and we compare
    their logarithms. Raises ValueError or TypeError naming the argument and the rule it breaks.
    """
    check_at_least("epsilon", epsilon, 0)
    check_count("first_steps", first_steps)
    check_count("steps", steps)
    check_at_least("step_size", step_size, 0)
    check_at_least("weight", weight, 0)
    hearing = hearing or Hearing()
    with posed(model, waves, labels, targets, WAVES) as problem:
        start = ascend(
            problem, problem.images, epsilon, first_steps, 2.5 * epsilon / first_steps, "linf",
            cross_entropy,
        )  # fmt: skip
        found = _hide(problem, start, hearing, steps, step_size, weight)
        count = torch.full_like(labels, first_steps + steps)
        return problem.finish_nearest(found, count + 1, count)


def audible(hearing: Hearing, change: Tensor, beside: Tensor, threshold: Tensor) -> Tensor:
    """The mean dB (N,) by which the cells of a change (N, 1, 1, T) stand above the threshold."""
    excess = hearing.levels(change, beside) - threshold
    return excess.clamp_min(0).flatten(1).mean(1)


def _hide(
    problem: Problem, start: Tensor, hearing: Hearing, steps: int, step_size: float, weight: float
) -> Tensor:
    """The least audible sound (N, 1, 1, T) that fooled on the way down from `start`."""
    clean, threshold = problem.images, hearing.threshold(problem.images)
    change = (start - clean).requires_grad_()
    adam = torch.optim.Adam([change], lr=step_size)
    weights = torch.full_like(clean[:, 0, 0, 0], weight)
    said = problem.loss(clean)[1]
    found, least = clean.clone(), torch.where(said, 0.0, torch.inf).to(weights.dtype)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            sounds = problem.bounds.clip(clean + change)
            logits = problem.logits(sounds)
            heard = audible(hearing, change, clean, threshold)
            losses = -problem.adversarial_loss(logits, cross_entropy) + weights * heard
            change.grad = gradient_of(losses.sum(), change)
        with torch.no_grad():
            fooled = problem.fooled(logits)
            better = fooled & (heard < least)
            found = torch.where(column(better), sounds, found)
            least = torch.where(better, heard, least)
            if step % 20 == 0:
                weights = torch.where(fooled, 1.2 * weights, weights)
            if step % 50 == 0:
                weights = torch.where(fooled, weights, 0.8 * weights)
            adam.param_groups[0]["lr"] = step_size * (1 - (step - 1) / steps)
            adam.step()
    return found.detach()
