"""Ten words spoken by a synthesizer: sounds without a data set, for attacks on speech recognition.

The source–filter model (Fant 1960): a glottal pulse train and noise pass through three moving
resonances, the formants, in parallel, in the short-time Fourier domain.

Formants of the vowels are after Peterson and Barney 1952, Table II (men). All other numbers are
ours, chosen so that the words differ. Half a second at 8 kHz only resembles the English digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from armsrace.contracts import check_count

RATE = 8000
"""Samples per second."""
LENGTH = 4096
"""Samples per sound: 0.512 s."""
WINDOW, HOP = 256, 64
GLIDE = 0.012
"""The time in which one phone changes to the next, in seconds."""
BANDWIDTHS = (70.0, 110.0, 170.0)


class Phone(NamedTuple):
    """One speech sound: three formants, the sources that excite them, and its length.

    first, second, third: formants in Hz. voice, noise: amplitudes of the two sources, from 0 to 1.
    low, high: the band of the noise in Hz. seconds: the mean length.
    """

    first: float
    second: float
    third: float
    voice: float = 1.0
    noise: float = 0.0
    low: float = 0.0
    high: float = 4000.0
    seconds: float = 0.11


PHONES = {
    "i": Phone(270, 2290, 3010),
    "ih": Phone(390, 1990, 2550, seconds=0.09),
    "e": Phone(480, 2100, 2600, seconds=0.12),
    "eh": Phone(530, 1840, 2480, seconds=0.09),
    "a": Phone(730, 1090, 2440, seconds=0.12),
    "uh": Phone(640, 1190, 2390, seconds=0.12),
    "schwa": Phone(500, 1400, 2400, 0.8, seconds=0.07),
    "o": Phone(570, 840, 2410, seconds=0.13),
    "u": Phone(300, 870, 2240, seconds=0.16),
    "w": Phone(300, 610, 2200, 0.7, seconds=0.07),
    "r": Phone(310, 1060, 1380, 0.7, seconds=0.07),
    "n": Phone(250, 1450, 2300, 0.4, seconds=0.08),
    "z": Phone(300, 1400, 2500, 0.3, 0.4, 2800, 4000, 0.07),
    "v": Phone(280, 1000, 2200, 0.35, 0.1, 1000, 4000, 0.05),
    "s": Phone(300, 1600, 2500, 0.0, 0.6, 2800, 4000, 0.09),
    "f": Phone(300, 1000, 2200, 0.0, 0.25, 1000, 4000, 0.08),
    "th": Phone(300, 1400, 2500, 0.0, 0.15, 1500, 4000, 0.07),
    "stop": Phone(300, 1500, 2500, 0.0, 0.0, seconds=0.05),
    "t": Phone(300, 1600, 2600, 0.0, 0.6, 2000, 4000, 0.03),
    "k": Phone(300, 1800, 2400, 0.0, 0.5, 1200, 2600, 0.03),
}
WORDS = {
    "zero": ("z", "ih", "r", "o"),
    "one": ("w", "uh", "n"),
    "two": ("t", "u"),
    "three": ("th", "r", "i"),
    "four": ("f", "o", "r"),
    "five": ("f", "a", "ih", "v"),
    "six": ("s", "ih", "stop", "k", "s"),
    "seven": ("s", "eh", "v", "schwa", "n"),
    "eight": ("e", "ih", "stop", "t"),
    "nine": ("n", "a", "ih", "n"),
}


@dataclass(frozen=True)
class Sounds:
    """Sounds as images one pixel high, so that every attack accepts them, with their words.

    Args:
        images: (N, 1, 1, 4096) float32 in [-1, 1], 8,000 samples per second.
        labels: (N,) int64, 0 to 9.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """The number of sounds."""
        return len(self.images)


def speak(count: int, generator: Generator) -> Sounds:
    """Synthesize words of different speakers, each word equally often, in a random order.

    Each speaker has a pitch (90 to 230 Hz, falling), a vocal tract (formants times 0.92 to 1.12), a
    pace, a start, a loudness (largest sample 0.25 to 0.9) and background noise (15 to 35 dB below
    the word).

    Args:
        count: how many words and speakers.
        generator: for all random numbers.

    References:
        Fant 1960, "Acoustic theory of speech production"; Peterson and Barney 1952, "Control
        methods used in a study of the vowels", Table II.
    """
    check_count("count", count)
    order = torch.randperm(count, generator=generator)
    labels = (torch.arange(count) % len(WORDS))[order]
    parts = [_synthesized(part, generator) for part in labels.split(500)]
    return Sounds(torch.cat(parts), labels)


def _synthesized(labels: Tensor, generator: Generator) -> Tensor:
    """The words (N,) as sounds (N, 1, 1, T)."""
    uniform = _Uniform(len(labels), generator)
    tracks = _tracks(labels, uniform)
    window = torch.hann_window(WINDOW)
    sources = (_pulses(uniform), torch.randn(len(labels), LENGTH, generator=generator))
    voice, noise = (
        torch.stft(source, WINDOW, HOP, window=window, return_complex=True) for source in sources
    )
    hertz = torch.linspace(0, RATE / 2, WINDOW // 2 + 1)[:, None]
    formants = resonances(hertz, tracks, uniform(0.92, 1.12))
    band = ((hertz - tracks[:, 5:6]) / 150).sigmoid() * ((tracks[:, 6:7] - hertz) / 150).sigmoid()
    shaped = voice * formants * tracks[:, 3:4] + noise * band * tracks[:, 4:5]
    waves = torch.istft(shaped, WINDOW, HOP, window=window, length=LENGTH)
    loudness = waves.square().mean(1, keepdim=True).sqrt()
    hiss = torch.randn(waves.shape, generator=generator) * 10 ** (-uniform(15, 35)[:, None] / 20)
    waves = waves + loudness * hiss
    waves = waves * (uniform(0.25, 0.9)[:, None] / waves.abs().amax(1, keepdim=True))
    return waves[:, None, None]


@dataclass(frozen=True)
class _Uniform:
    """Random numbers (N, *shape), uniform between two ends."""

    count: int
    generator: Generator

    def __call__(self, low: float, high: float, shape: Sequence[int] = ()) -> Tensor:
        return low + (high - low) * torch.rand(self.count, *shape, generator=self.generator)


def _tracks(labels: Tensor, uniform: _Uniform) -> Tensor:
    """The phones' first seven numbers over F frames (N, 7, F), gliding from phone to phone."""
    longest = max(map(len, WORDS.values()))
    silence = PHONES["stop"]._replace(seconds=0.0)
    table = torch.tensor(
        [
            [*(PHONES[name] for name in word), *[silence] * (longest - len(word))]
            for word in WORDS.values()
        ]
    )[labels]
    lengths = table[:, :, 7] * uniform(0.8, 1.15, (1,)) * uniform(0.85, 1.15, (longest,))
    # Long words are spoken faster, so that they fit; the rest is silence.
    pace = (0.44 / lengths.sum(1, keepdim=True)).clamp_max(1)
    ends = (lengths * pace).cumsum(1)
    ends = ends + (LENGTH / RATE - 0.02 - ends[:, -1:]) * uniform(0.1, 0.9, (1,)) + 0.01
    starts = ends - lengths * pace
    times = torch.arange(LENGTH // HOP + 1) * HOP / RATE
    after = (times - starts[:, :, None]) / GLIDE
    weights = after.sigmoid() - ((times - ends[:, :, None]) / GLIDE).sigmoid()
    tracks = torch.einsum("npf,npk->nkf", weights, table[:, :, :7])
    # Frequencies are means over phones; amplitudes fade in and out with the phones.
    total = weights.sum(1, keepdim=True).clamp_min(1e-6)
    tracks[:, [0, 1, 2, 5, 6]] /= total
    return tracks


def _pulses(uniform: _Uniform) -> Tensor:
    """A pulse train (N, T) of falling pitch: all harmonics up to 3.8 kHz, summed in closed form."""
    times = torch.linspace(0, 1, LENGTH)
    pitch = (90 * (230 / 90) ** uniform(0, 1))[:, None] * (1 - uniform(0.05, 0.3)[:, None] * times)
    phase = (2 * math.pi / RATE * pitch.double()).cumsum(1)
    harmonics = (3800 / pitch.amax(1, keepdim=True)).floor()
    half = (phase / 2).sin()
    half = torch.where(half.abs() < 1e-6, 1e-6, half)
    return (((harmonics + 0.5) * phase).sin() / (2 * half) - 0.5).float()


def resonances(hertz: Tensor, tracks: Tensor, tract: Tensor) -> Tensor:
    """The gain (N, frequencies, F) of three formants for a source that falls with frequency."""
    gain = torch.zeros(())
    for k, width in enumerate(BANDWIDTHS):
        center = tracks[:, k : k + 1] * tract[:, None, None]
        # Higher formants are weaker: 3 dB less each.
        gain = gain + 0.7**k / (1 + ((hertz - center) / width).square()).sqrt()
    return gain * 300 / (300 + hertz)
