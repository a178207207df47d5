"""Checks of the exercises on sounds: adding levels in dB, a room, how loud a change is."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.audio.room_simulation import reverberated
from armsrace.exercises import Exercise


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


def check_loudness(answer: object) -> None:
    """Check `loudness(sounds, changes)`: the peak of each change in dB relative to its sound's.

    Both are (N, T); the result is (N,), negative where the change is quieter.
    """
    sounds = torch.tensor([[0.5, -1.0, 0.25], [0.1, 0.2, -0.4]])
    changes = torch.tensor([[0.0, 0.01, -0.1], [0.04, 0.0, 0.02]])
    exercise = Exercise("How loud is the change?")
    solve = exercise.solution(answer, sounds, changes)
    if solve is None:
        return
    found = solve(sounds, changes)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (2,), "return one level for each sound."
    )
    peaks = changes.abs().amax(1) / sounds.abs().amax(1)
    energy = 10 * (changes.square().sum(1) / sounds.square().sum(1)).log10()
    hints = {
        "amplitudes have a factor of 20; 10 is for powers.": 10 * peaks.log10(),
        "a quiet change has a negative level: divide by the sound's peak.": -20 * peaks.log10(),
        "compare the loudest samples, not the energies.": energy,
    }
    for hint, wrong in hints.items():
        exercise.require(not torch.allclose(found, wrong, atol=1e-3), hint)
    exercise.require(
        torch.allclose(found, 20 * peaks.log10(), atol=1e-3),
        "both changes have a tenth of their sound's peak: −20 dB. A sample may be negative.",
    )
    exercise.confirm("A peak says nothing of masking: the same −20 dB may be loud or inaudible.")
