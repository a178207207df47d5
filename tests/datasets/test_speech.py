"""The synthetic speaker: reproducible, varied, and with the pitch and formants it was asked for."""

from __future__ import annotations

import pytest
import torch

from armsrace.datasets.speech import LENGTH, PHONES, RATE, WORDS, resonances, speak


def test_sounds_are_images_one_pixel_high() -> None:
    sounds = speak(25, torch.Generator().manual_seed(0))
    assert sounds.images.shape == (25, 1, 1, LENGTH) and sounds.images.dtype == torch.float32
    assert sounds.labels.dtype == torch.int64 and len(sounds) == 25
    peaks = sounds.images.flatten(1).abs().amax(1)
    assert peaks.min() >= 0.25 - 1e-4 and peaks.max() <= 0.9 + 1e-4
    assert sounds.labels.bincount(minlength=10).tolist() == [3] * 5 + [2] * 5


def test_the_generator_decides_and_nothing_else() -> None:
    state = torch.get_rng_state()
    first, again, other = (speak(4, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    assert torch.equal(torch.get_rng_state(), state)


def test_two_voices_say_a_word_differently() -> None:
    sounds = speak(40, torch.Generator().manual_seed(0))
    ones = sounds.images[sounds.labels == 1].flatten(1)
    ones = ones / ones.norm(dim=1, keepdim=True)
    alike = (ones @ ones.T).fill_diagonal_(0)
    assert alike.abs().max() < 0.6


def test_words_sound_as_their_phones_say() -> None:
    """An s is high noise and six has two; two ends low; silence surrounds every word."""
    sounds = speak(100, torch.Generator().manual_seed(0))
    window = torch.hann_window(256)
    power = torch.stft(sounds.images.flatten(1), 256, window=window, return_complex=True).abs() ** 2
    high = power[:, 90:].sum((1, 2)) / power.sum((1, 2))
    energy = {word: high[sounds.labels == k].mean() for k, word in enumerate(WORDS)}
    assert max(energy, key=lambda word: energy[word]) == "six"
    assert energy["six"] > 5 * energy["one"]
    middle = sounds.images[..., LENGTH // 4 : -LENGTH // 4].square().mean()
    assert sounds.images[..., :40].square().mean() < 0.1 * middle


@pytest.mark.parametrize("tract", [1.0, 1.1])
def test_a_vowels_formants_stand_where_its_phone_puts_them(tract: float) -> None:
    """Of the i at 270, 2290 and 3010 Hz, and all higher in a shorter vocal tract."""
    hertz = torch.linspace(0, RATE / 2, 4001)[:, None]
    track = torch.tensor(PHONES["i"])[None, :7, None]
    gain = resonances(hertz, track, torch.tensor([tract]))[0, :, 0]
    peaks = (gain[1:-1] > gain[:-2]) & (gain[1:-1] > gain[2:])
    found = hertz[1:-1, 0][peaks]
    wanted = tract * torch.tensor([270.0, 2290.0, 3010.0])
    torch.testing.assert_close(found, wanted, atol=30, rtol=0)


@pytest.mark.parametrize(("count", "error"), [(0, ValueError), (1.5, TypeError)])
def test_a_bad_count_is_named(count, error) -> None:
    with pytest.raises(error, match="count must be"):
        speak(count, torch.Generator())
