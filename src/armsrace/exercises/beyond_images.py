"""Checks of the exercises on sounds: levels in dB, a room, how loud a change is, hidden noise."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.audio.psychoacoustic import WAVES, Hearing
from armsrace.attacks.audio.room_simulation import reverberated
from armsrace.datasets.speech import RATE, speak
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
        "levels are logarithms: adding them multiplies the powers.",
    )
    right = 10 * (10 ** (levels / 10)).sum(1).log10()
    exercise.require(
        not torch.allclose(found, 20 * (10 ** (levels / 20)).sum(1).log10(), atol=1e-3),
        "powers add, not amplitudes: 10 dB are a factor of 10 in power.",
    )
    exercise.require(
        not torch.allclose(found, right / 10, atol=1e-3),
        "your result is in bels: a dB is a tenth of a bel.",
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-3),
        "convert dB to powers, add them, and convert back: 10 log10 Σ 10^(level / 10).",
    )
    exercise.confirm(
        "Three equally loud sounds are 4.8 dB louder than one. A faint one adds nothing."
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
        "return as many samples as the waves have.",
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
    exercise.confirm("A room is a convolution, a product of spectra: linear and differentiable.")


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
    exercise.confirm("A peak says nothing about masking: the same −20 dB may be loud or inaudible.")


class TravelingHearing(Hearing):
    """`Hearing`, whose parts an answer in another process can use."""

    travels = ("rate", "window", "hop", "hertz", "levels", "threshold")


def check_hidden_noise(answer: object) -> None:
    """Check `hide(hearing, sounds)`: changes (N, 1, 1, T), as strong as can be, and hardly heard.

    hearing: `Hearing`. sounds: (N, 1, 1, T). At most 1 % of the cells of each change may be above
    the masking threshold. On average the sounds may be at most 15.5 dB stronger than the changes.
    """
    exercise, allowed, bar = Exercise("Hide the most"), 0.01, 15.5
    hearing, sounds = TravelingHearing(RATE), speak(4, torch.Generator().manual_seed(77)).images
    solve = exercise.solution(answer, hearing, sounds[:1])
    if solve is None:
        return
    found = solve(hearing, sounds.clone())
    exercise.require(
        isinstance(found, Tensor) and found.shape == sounds.shape,
        f"return changes of shape {tuple(sounds.shape)}.",
    )
    change = found.detach()
    exercise.require(
        bool(torch.isfinite(change).all() & change.flatten(1).any(dim=1).all()),
        "some change is zero, or has a sample that is not a number.",
    )
    played = sounds + change
    exercise.require(
        torch.equal(WAVES.clip(played), played), "some sample of sound plus change is beyond ±1."
    )
    heard = hearing.levels(change, sounds) > hearing.threshold(sounds)
    most = float(heard.double().flatten(1).mean(dim=1).max())
    exercise.require(most <= allowed, f"{most:.1%} of the cells of a change are heard; 1% may be.")
    ratio = sounds.flatten(1).norm(dim=1) / change.flatten(1).norm(dim=1)
    level = float(20 * ratio.log10().mean())
    exercise.require(
        level <= bar,
        f"the sounds are {level:.1f} dB stronger than your changes; the bar is {bar}. Give each "
        "cell as much as the threshold allows there.",
    )
    exercise.confirm(f"The sounds are {level:.1f} dB stronger than what they hide.")
