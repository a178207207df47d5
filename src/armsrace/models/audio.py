"""A small classifier of sounds that takes the waveform itself, so that gradients reach it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 1e-3
"""Added to each band's power before the logarithm: what is fainter is as silence."""


class LogMel(nn.Module):
    """Waveforms (N, 1, 1, T) in [-1, 1] to log-powers (N, 1, bands, frames) on the mel scale.

    The usual front end of speech recognition: squared short-time Fourier transform (Hann window,
    centered, silence beyond the ends), triangular bands equally wide in mel, 2595 log10(1 + f/700)
    (O'Shaughnessy 1987), and a logarithm.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, rate: int, window: int = 256, hop: int = 128, bands: int = 32) -> None:
        super().__init__()
        self.size, self.hop = window, hop
        self.register_buffer("window", torch.hann_window(window))
        self.register_buffer("filters", mel_filters(rate, window // 2 + 1, bands))

    def forward(self, waves: Tensor) -> Tensor:
        """Waveforms (N, 1, 1, T) to (N, 1, bands, 1 + T // hop)."""
        spectrum = torch.stft(
            waves.flatten(1), self.size, self.hop, window=self.window.to(waves.dtype),
            pad_mode="constant", return_complex=True,
        )  # fmt: skip
        power = spectrum.real.square() + spectrum.imag.square()
        return ((self.filters.to(waves.dtype) @ power) + FLOOR).log()[:, None]


def mel_filters(rate: int, frequencies: int, bands: int) -> Tensor:
    """Triangles (bands, frequencies) over 0 to rate / 2 Hz, each with a peak of at most 1."""
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700, dtype=torch.float64))
    mels = torch.linspace(0, 1, bands + 2, dtype=torch.float64) * top
    corners = 700 * (10 ** (mels / 2595) - 1)
    hertz = torch.linspace(0, rate / 2, frequencies, dtype=torch.float64)
    low, center, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (hertz - low) / (center - low), (high - hertz) / (high - center)
    return torch.minimum(rising, falling).clamp_min(0).float()


def sound_classifier(rate: int = 8000, classes: int = 10) -> nn.Module:
    """Three convolutions over the log-mel spectrogram, (N, 1, 1, T) to logits (N, classes)."""
    return nn.Sequential(
        LogMel(rate),
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(512, classes),
    )  # fmt: skip
