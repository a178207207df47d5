"""The front end of the listener: band by band, and its gradient."""

from __future__ import annotations

import math

import torch

from armsrace.models.audio import FLOOR, LogMel, mel_filters, sound_classifier

RATE = 8000


def test_bands_are_triangles_equally_wide_in_mel() -> None:
    filters = mel_filters(RATE, 1025, 32)
    hertz = torch.linspace(0, RATE / 2, 1025)
    mels = 2595 * (1 + hertz[filters.argmax(1)] / 700).log10()
    torch.testing.assert_close(mels.diff(), mels.diff().mean().expand(31), atol=6, rtol=0)
    assert filters.min() == 0 and (filters.amax(1) > 0.8).all() and filters.max() <= 1
    # Neighbors share every frequency between them: inside the range the triangles sum to 1.
    inside = (hertz > hertz[filters[0].argmax()]) & (hertz < hertz[filters[-1].argmax()])
    torch.testing.assert_close(filters.sum(0)[inside], torch.ones(int(inside.sum())))


def test_a_tone_lights_the_band_it_lies_in() -> None:
    front = LogMel(RATE)
    for hertz in (300.0, 1000.0, 3000.0):
        wave = torch.sin(2 * math.pi * hertz * torch.arange(4096) / RATE).view(1, 1, 1, -1)
        found = front(wave)
        assert found.shape == (1, 1, 32, 33)
        band = int(found[0, 0, :, 16].argmax())
        assert front.filters[band, round(hertz / RATE * 256)] > 0.3


def test_silence_is_the_floor() -> None:
    silence = torch.zeros(2, 1, 1, 4096)
    torch.testing.assert_close(LogMel(RATE)(silence), torch.full((2, 1, 32, 33), math.log(FLOOR)))


def test_the_gradient_reaches_the_samples() -> None:
    torch.manual_seed(0)
    model = sound_classifier().double()
    waves = 0.3 * torch.randn(2, 1, 1, 4096, dtype=torch.float64)
    wave, way = waves.clone().requires_grad_(), torch.randn_like(waves)
    (grad,) = torch.autograd.grad(model(wave)[:, 3].sum(), wave)
    step = 1e-6
    with torch.no_grad():
        apart = (model(waves + step * way) - model(waves - step * way))[:, 3].sum() / (2 * step)
    torch.testing.assert_close((grad * way).sum(), apart, rtol=1e-4, atol=1e-7)
