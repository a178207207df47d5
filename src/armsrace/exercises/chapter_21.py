"""Checks of chapter 21: levels added in dB, an echo in a room, a loss without a scale."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.margins import logits_ratio, margin
from armsrace.attacks.rooms import reverberated
from armsrace.exercises import Exercise


def check_levels(answer: object) -> None:
    """Judge `together(levels)`: the level in dB (N,) of sounds (N, M) that play at once."""
    levels = torch.tensor([[60.0, 60.0, 60.0], [0.0, 50.0, -200.0], [96.0, 90.0, 20.0]])
    exercise = Exercise("21.1")
    solve = exercise.solution(answer, levels)
    if solve is None:
        return
    found = solve(levels)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,), "return one level for each row."
    )
    exercise.require(
        not torch.allclose(found, levels.sum(1)),
        "levels are logarithms: their sum would be the product of the powers.",
    )
    right = 10 * (10 ** (levels / 10)).sum(1).log10()
    exercise.require(
        not torch.allclose(found, 20 * (10 ** (levels / 20)).sum(1).log10(), atol=1e-3),
        "powers add, not amplitudes: ten dB are a factor of ten in power.",
    )
    exercise.require(
        not torch.allclose(found, right / 10, atol=1e-3), "that is in Bel: a dB is a tenth of one."
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-3),
        "from dB to powers, add, and back: 10 log10 of the sum of 10^(level / 10).",
    )
    exercise.confirm(
        "Three sounds as loud as each other make 4.8 dB more; a faint one adds nothing."
    )


def check_echo(answer: object) -> None:
    """Judge `in_room(waves, responses)`: (N, T) through (N, L), cut to T samples."""
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(3, 40, generator=generator)
    responses = torch.randn(3, 12, generator=generator)
    exercise = Exercise("21.2")
    solve = exercise.solution(answer, waves, responses)
    if solve is None:
        return
    found = solve(waves, responses)
    exercise.require(
        isinstance(found, Tensor) and found.shape == waves.shape, "return as many samples as came."
    )
    exercise.require(not found.is_complex(), "return real samples: torch.fft.irfft.")
    circular = torch.fft.irfft(torch.fft.rfft(waves) * torch.fft.rfft(responses, 40), 40)
    exercise.require(
        not torch.allclose(found, circular, atol=1e-4),
        "the end of the sound echoes at its beginning: pad both to T + L - 1 samples first.",
    )
    right = reverberated(waves[:, None, None], responses).flatten(1)
    exercise.require(
        torch.allclose(found, right, atol=1e-4),
        "sample t is the sum over k of responses[k] times waves[t - k].",
    )
    exercise.confirm(
        "A room is a convolution, and so a product of spectra: linear, differentiable."
    )


def check_ratio(answer: object) -> None:
    """Judge `ratio(logits, labels)`: the difference-of-logits ratio (N,) of logits (N, K)."""
    logits = torch.tensor([[4.0, 1.0, 2.0, 0.0], [0.0, 3.0, 2.5, -1.0], [-5.0, -3.0, -9.0, -4.0]])
    labels = torch.tensor([0, 2, 1])
    exercise = Exercise("21.3")
    solve = exercise.solution(answer, logits, labels)
    if solve is None:
        return
    found = solve(logits, labels)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,), "return one number for each image."
    )
    right = logits_ratio(logits, labels)
    exercise.require(not torch.allclose(found, -right), "the sign: an attacker climbs this loss.")
    exercise.require(
        not torch.allclose(found, margin(logits, labels)),
        "that is the margin: it is a hundred times greater for logits a hundred times greater.",
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-5),
        "the best other logit less the label's own, over the first logit less the third.",
    )
    exercise.require(
        torch.allclose(solve(100 * logits, labels), right, atol=1e-5),
        "a hundredfold of the logits must change nothing.",
    )
    exercise.confirm("No temperature hides its gradient.")
