"""Checks of the exercises on sounds: adding levels in dB, a room, a scale-free loss."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.audio.room_simulation import reverberated
from armsrace.exercises import Exercise
from armsrace.losses import dlr, margin


def check_levels(answer: object) -> None:
    """Check `together(levels)`: the level in dB (N,) of M sounds (N, M) that play at once."""
    levels = torch.tensor([[60.0, 60.0, 60.0], [0.0, 50.0, -200.0], [96.0, 90.0, 20.0]])
    exercise = Exercise("Levels that add")
    solve = exercise.solution(answer, levels)
    if solve is None:
        return
    found = solve(levels)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,), "return one level for each row."
    )
    exercise.require(
        not torch.allclose(found, levels.sum(1)),
        "levels are logarithms: their sum is the product of the powers.",
    )
    right = 10 * (10 ** (levels / 10)).sum(1).log10()
    exercise.require(
        not torch.allclose(found, 20 * (10 ** (levels / 20)).sum(1).log10(), atol=1e-3),
        "powers add, not amplitudes: 10 dB are a factor of 10 in power.",
    )
    exercise.require(
        not torch.allclose(found, right / 10, atol=1e-3),
        "that is in bels: a dB is a tenth of a bel.",
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-3),
        "convert dB to powers, add them, and convert back: 10 log10 Σ 10^(level / 10).",
    )
    exercise.confirm(
        "Three equally loud sounds are 4.8 dB louder than one; a faint one adds nothing."
    )


def check_echo(answer: object) -> None:
    """Check `in_room(waves, responses)`: waves (N, T) convolved with responses (N, L)."""
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(3, 40, generator=generator)
    responses = torch.randn(3, 12, generator=generator)
    exercise = Exercise("A sound in a room")
    solve = exercise.solution(answer, waves, responses)
    if solve is None:
        return
    found = solve(waves, responses)
    exercise.require(
        isinstance(found, Tensor) and found.shape == waves.shape,
        "return as many samples as there are in the waves.",
    )
    exercise.require(not found.is_complex(), "return real samples: torch.fft.irfft.")
    circular = torch.fft.irfft(torch.fft.rfft(waves) * torch.fft.rfft(responses, 40), 40)
    exercise.require(
        not torch.allclose(found, circular, atol=1e-4),
        "the end of the sound echoes at its beginning: pad both to T + L − 1 samples first.",
    )
    right = reverberated(waves[:, None, None], responses).flatten(1)
    exercise.require(
        torch.allclose(found, right, atol=1e-4),
        "sample t is the sum over k of responses[k] times waves[t - k].",
    )
    exercise.confirm(
        "A room is a convolution, which is a product of spectra: linear and differentiable."
    )


def check_ratio(answer: object) -> None:
    """Check `ratio(logits, labels)`: the difference-of-logits ratio (N,) of logits (N, K)."""
    logits = torch.tensor([[4.0, 1.0, 2.0, 0.0], [0.0, 3.0, 2.5, -1.0], [-5.0, -3.0, -9.0, -4.0]])
    labels = torch.tensor([0, 2, 1])
    exercise = Exercise("A loss without a scale")
    solve = exercise.solution(answer, logits, labels)
    if solve is None:
        return
    found = solve(logits, labels)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,), "return one number for each image."
    )
    right = dlr(logits, labels)
    exercise.require(
        not torch.allclose(found, -right), "the sign is wrong: an attacker maximizes this loss."
    )
    exercise.require(
        not torch.allclose(found, margin(logits, labels)),
        "that is the margin: it is 100 times larger for logits that are 100 times larger.",
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-5),
        "take the best other logit minus the label's, divided by the largest minus the third.",
    )
    exercise.require(
        torch.allclose(solve(100 * logits, labels), right, atol=1e-5),
        "multiplying the logits by 100 must change nothing.",
    )
    exercise.confirm("No temperature can hide its gradient.")
