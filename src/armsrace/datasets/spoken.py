"""Ten words spoken by a synthesiser: sounds without a data set, for attacks on hearing.

A source (a glottal pulse train and noise) through three moving resonances, the source–filter model
(Fant 1960) with formants in parallel, in the short-time Fourier domain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from armsrace.contracts import check_count
from armsrace.datasets.phones import PHONES, WORDS

RATE = 8000
"""Samples a second."""
LENGTH = 4096
"""Samples a sound: 0.512 s."""
WINDOW, HOP = 256, 64
GLIDE = 0.012
"""How fast one phone turns into the next, in seconds."""
BANDWIDTHS = (70.0, 110.0, 170.0)


@dataclass(frozen=True)
class Sounds:
    """Sounds as images one pixel high, so that every attack takes them, and the words they say.

    images: (N, 1, 1, 4096) float32 in [-1, 1], 8,000 samples a second. labels: (N,) int64, 0 to 9.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """The number of sounds."""
        return len(self.images)


def speak(count: int, generator: Generator) -> Sounds:
    """`count` words of as many speakers, every word as often as every other, in a random order.

    Each has its own pitch (90 to 230 Hz, falling), vocal tract (formants times 0.92 to 1.12), pace,
    start, loudness (largest sample 0.25 to 0.9) and background noise (15 to 35 dB below the word).
    Raises ValueError or TypeError unless count is an integer >= 1.
    """
    check_count("count", count)
    order = torch.randperm(count, generator=generator)
    labels = (torch.arange(count) % len(WORDS))[order]
    parts = [_said(part, generator) for part in labels.split(500)]
    return Sounds(torch.cat(parts), labels)


def _said(labels: Tensor, generator: Generator) -> Tensor:
    """The words (N,) as sounds (N, 1, 1, T)."""
    between = _Draws(len(labels), generator)
    tracks = _tracks(labels, between)
    window = torch.hann_window(WINDOW)
    sources = (_pulses(between), torch.randn(len(labels), LENGTH, generator=generator))
    voice, noise = (
        torch.stft(source, WINDOW, HOP, window=window, return_complex=True) for source in sources
    )
    hertz = torch.linspace(0, RATE / 2, WINDOW // 2 + 1)[:, None]
    formants = resonances(hertz, tracks, between(0.92, 1.12))
    band = ((hertz - tracks[:, 5:6]) / 150).sigmoid() * ((tracks[:, 6:7] - hertz) / 150).sigmoid()
    shaped = voice * formants * tracks[:, 3:4] + noise * band * tracks[:, 4:5]
    waves = torch.istft(shaped, WINDOW, HOP, window=window, length=LENGTH)
    loudness = waves.square().mean(1, keepdim=True).sqrt()
    hiss = torch.randn(waves.shape, generator=generator) * 10 ** (-between(15, 35)[:, None] / 20)
    waves = waves + loudness * hiss
    waves = waves * (between(0.25, 0.9)[:, None] / waves.abs().amax(1, keepdim=True))
    return waves[:, None, None]


@dataclass(frozen=True)
class _Draws:
    """Numbers (N, *shape) uniform between two ends."""

    count: int
    generator: Generator

    def __call__(self, low: float, high: float, shape: Sequence[int] = ()) -> Tensor:
        return low + (high - low) * torch.rand(self.count, *shape, generator=self.generator)


def _tracks(labels: Tensor, between: _Draws) -> Tensor:
    """What each phone asks for (N, 7, F), frame by frame, one phone gliding into the next."""
    longest = max(map(len, WORDS.values()))
    silence = PHONES["stop"]._replace(seconds=0.0)
    table = torch.tensor(
        [
            [*(PHONES[name] for name in word), *[silence] * (longest - len(word))]
            for word in WORDS.values()
        ]
    )[labels]
    lengths = table[:, :, 7] * between(0.8, 1.15, (1,)) * between(0.85, 1.15, (longest,))
    # Long words are spoken faster, as they must be to fit; the rest is silence.
    pace = (0.44 / lengths.sum(1, keepdim=True)).clamp_max(1)
    ends = (lengths * pace).cumsum(1)
    ends = ends + (LENGTH / RATE - 0.02 - ends[:, -1:]) * between(0.1, 0.9, (1,)) + 0.01
    starts = ends - lengths * pace
    times = torch.arange(LENGTH // HOP + 1) * HOP / RATE
    after = (times - starts[:, :, None]) / GLIDE
    weights = after.sigmoid() - ((times - ends[:, :, None]) / GLIDE).sigmoid()
    wanted = torch.einsum("npf,npk->nkf", weights, table[:, :, :7])
    # Frequencies are means of the phones'; amplitudes fade with the phones themselves.
    shares = weights.sum(1, keepdim=True).clamp_min(1e-6)
    wanted[:, [0, 1, 2, 5, 6]] /= shares
    return wanted


def _pulses(between: _Draws) -> Tensor:
    """A pulse train (N, T) of falling pitch: all harmonics up to 3.8 kHz, summed in closed form."""
    times = torch.linspace(0, 1, LENGTH)
    pitch = (90 * (230 / 90) ** between(0, 1))[:, None] * (1 - between(0.05, 0.3)[:, None] * times)
    phase = (2 * math.pi / RATE * pitch.double()).cumsum(1)
    harmonics = (3800 / pitch.amax(1, keepdim=True)).floor()
    half = (phase / 2).sin()
    half = torch.where(half.abs() < 1e-6, 1e-6, half)
    return (((harmonics + 0.5) * phase).sin() / (2 * half) - 0.5).float()


def resonances(hertz: Tensor, tracks: Tensor, tract: Tensor) -> Tensor:
    """The gain (N, frequencies, F) of three formants over a source that falls with frequency."""
    gain = torch.zeros(())
    for place, width in enumerate(BANDWIDTHS):
        centre = tracks[:, place : place + 1] * tract[:, None, None]
        # Higher formants are weaker: 3 dB less each.
        gain = gain + 0.7**place / (1 + ((hertz - centre) / width).square()).sqrt()
    return gain * 300 / (300 + hertz)
