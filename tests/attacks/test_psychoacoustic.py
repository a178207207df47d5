"""The model of the ear against published values, and what the attack on it promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.audio.psychoacoustic import (
    WAVES,
    Hearing,
    absolute_threshold,
    audible,
    bark,
    imperceptible,
    maskers,
    spreading,
)
from armsrace.datasets.speech import RATE, speak
from armsrace.recipes import listener
from tests.attacks.cases import Counting

QUICK: dict[str, Any] = {"first_steps": 10, "steps": 40}
Words = tuple[Tensor, Tensor]


def tone(hertz: float, amplitude: float = 0.5) -> Tensor:
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(4096) / RATE).view(1, 1, 1, -1)


def test_the_threshold_in_silence_is_terhardts() -> None:
    """At 1 kHz 3.37 dB, at 3.3 kHz the minimum, -4.98; at 100 Hz 22.95."""
    found = absolute_threshold(torch.tensor([1000.0, 3300.0, 100.0]))
    torch.testing.assert_close(found, torch.tensor([3.3691, -4.9809, 22.9529]), atol=2e-3, rtol=0)
    curve = absolute_threshold(torch.linspace(20, 4000, 400))
    assert 3200 < 20 + 3980 * curve.argmin() / 399 < 3500


def test_bark_counts_critical_bands() -> None:
    """Zwicker's bands end at 100, 510, 1080, 2000 and 3700 Hz: 1, 5, 9, 13 and 17 Bark."""
    edges = torch.tensor([100.0, 510.0, 1080.0, 2000.0, 3700.0])
    wanted = torch.tensor([1.0, 5.0, 9.0, 13.0, 17.0])
    torch.testing.assert_close(bark(edges), wanted, atol=0.25, rtol=0)


def test_a_masker_reaches_upwards_the_further_the_louder_it_is() -> None:
    away = torch.tensor([-1.0, 0.0, 1.0])
    assert spreading(away, torch.tensor(40.0)).tolist() == [-27, 0, -27]
    torch.testing.assert_close(spreading(away, torch.tensor(90.0))[2], torch.tensor(-8.5))


def test_of_two_peaks_within_half_a_bark_the_louder_masks() -> None:
    levels = torch.full((1, 1, 9), -60.0)
    levels[0, 0, [2, 4, 7]] = torch.tensor([50.0, 60.0, 55.0])
    pitch, quiet = 0.2 * torch.arange(9.0), torch.zeros(9)
    found = maskers(levels, pitch, quiet)[0, 0]
    assert (found > -torch.inf).nonzero()[:, 0].tolist() == [4, 7]
    torch.testing.assert_close(found[4], torch.tensor(60.0))
    assert (maskers(levels, pitch, quiet + 58)[0, 0] > -torch.inf).nonzero()[:, 0].tolist() == [4]


def test_a_tone_hides_its_neighbor_and_not_a_distant_one() -> None:
    hearing, loud = Hearing(RATE), tone(1000)
    threshold = hearing.threshold(loud)[0, :, 16]
    for hertz, hidden in ((1125, True), (875, True), (3000, False), (250, False)):
        faint = hearing.levels(tone(hertz, 0.5e-2), loud)[0, :, 16]
        place = int(faint.argmax())
        assert hearing.hertz[place] == hertz
        assert bool(faint[place] < threshold[place]) == hidden


def test_levels_are_relative_to_the_sound_beside() -> None:
    hearing, loud = Hearing(RATE), tone(1000)
    assert hearing.levels(loud, loud).max() == pytest.approx(96)
    assert hearing.levels(loud / 100, loud).max() == pytest.approx(56, abs=1e-3)
    assert (hearing.levels(0 * loud, loud) == -60).all()


def test_silence_masks_what_an_ear_in_silence_does_not_hear() -> None:
    hearing = Hearing(RATE)
    quiet = absolute_threshold(hearing.hertz).float()
    threshold = hearing.threshold(torch.zeros(2, 1, 1, 4096))
    torch.testing.assert_close(threshold, quiet[:, None].expand(2, -1, 33))


def test_sounds_do_not_mask_each_other() -> None:
    hearing = Hearing(RATE)
    both = hearing.threshold(torch.cat([tone(1000), tone(2000)]))
    for place, hertz in enumerate((1000, 2000)):
        torch.testing.assert_close(both[place], hearing.threshold(tone(hertz))[0])


@pytest.mark.parametrize("options", [{"rate": 0}, {"window": 2}, {"hop": 0}])
def test_bad_settings_of_the_ear_are_named(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be >="):
        Hearing(**options)


@pytest.mark.peers
@pytest.mark.slow
def test_the_single_masker_is_arts() -> None:
    """Their model adds what a masker spreads in the same way; their silence lies 12 dB lower."""
    module = pytest.importorskip("art.attacks.evasion.imperceptible_asr.imperceptible_asr")
    theirs = module.PsychoacousticMasker(window_size=512, hop_size=128, sample_rate=RATE)
    hearing = Hearing(RATE)
    pitch, place, level = bark(hearing.hertz), 64, torch.tensor(80.0, dtype=torch.float64)
    ours = level - 6.025 - 0.275 * pitch[place] + spreading(pitch - pitch[place], level)
    found = theirs.calculate_individual_threshold(np.array([level.item()]), np.array([place]))[0]
    torch.testing.assert_close(ours, torch.from_numpy(found).double(), atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def hearer() -> nn.Module:
    model = listener(speak(400, torch.Generator().manual_seed(0)))
    model.zero_grad(set_to_none=True)
    return model


@pytest.fixture(scope="module")
def said(hearer: nn.Module) -> Words:
    sounds = speak(40, torch.Generator().manual_seed(1))
    with torch.no_grad():
        right = hearer(sounds.images).argmax(1) == sounds.labels
    assert right.double().mean() > 0.85
    return sounds.images[right][:4], sounds.labels[right][:4]


def test_it_says_the_target_and_is_heard_less_than_plain_steps(
    hearer: nn.Module, said: Words
) -> None:
    waves, labels = said
    targets = (labels + 3) % 10
    plain = attacks.pgd(
        hearer, waves, labels, epsilon=0.03, steps=15, targets=targets, bounds=WAVES
    )
    hidden = imperceptible(hearer, waves, labels, targets=targets, **QUICK)
    with torch.no_grad():
        heard_as = hearer(hidden.images).argmax(1)
    assert torch.equal(hidden.success, heard_as == targets) and hidden.success.sum() >= 3
    assert hidden.images.abs().max() <= 1
    both, hearing = hidden.success & plain.success, Hearing(RATE)
    threshold = hearing.threshold(waves)
    loud, faint = (
        audible(hearing, result.images - waves, waves, threshold)[both]
        for result in (plain, hidden)
    )
    assert both.any() and (faint < 0.5 * loud).all()


def test_a_failed_search_gives_the_original_back(said: Words) -> None:
    waves, labels = said

    def deaf(sounds: Tensor) -> Tensor:
        return 50 * torch.eye(10)[0] + 0 * sounds.sum((1, 2, 3))[:, None]

    result = imperceptible(deaf, waves, labels, targets=torch.full_like(labels, 4), **QUICK)
    assert not result.success.any() and torch.equal(result.images, waves)


def test_a_word_that_is_said_already_stays_as_it_is(hearer: nn.Module, said: Words) -> None:
    waves, labels = said
    result = imperceptible(hearer, waves, (labels + 1) % 10, targets=labels, **QUICK)
    assert result.success.all() and torch.equal(result.images, waves)


def test_a_sound_does_not_depend_on_its_neighbors(hearer: nn.Module, said: Words) -> None:
    waves, labels = said
    targets = (labels + 3) % 10
    model = hearer.double()
    whole = imperceptible(model, waves.double(), labels, targets=targets, **QUICK)
    alone = imperceptible(model, waves[2:3].double(), labels[2:3], targets=targets[2:3], **QUICK)
    hearer.float()
    torch.testing.assert_close(whole.images[2:3], alone.images, atol=1e-6, rtol=0)


def test_passes_are_counted_and_nothing_is_touched(hearer: nn.Module, said: Words) -> None:
    waves, labels = (part[:2] for part in said)
    before, state = waves.clone(), torch.get_rng_state()
    model = Counting(hearer)
    result = imperceptible(model, waves, labels, targets=(labels + 3) % 10, first_steps=3, steps=4)
    assert model.forwards == result.queries.sum() == 2 * (3 + 4 + 2)
    assert model.backwards == result.gradients.sum() == 2 * (3 + 4)
    assert torch.equal(waves, before) and torch.equal(torch.get_rng_state(), state)
    assert all(weight.grad is None for weight in hearer.parameters())


@pytest.mark.parametrize(
    ("name", "value", "minimum"),
    [("epsilon", -0.1, 0), ("steps", 0, 1), ("first_steps", 0, 1), ("step_size", -1, 0),
     ("weight", -1, 0)],
)  # fmt: skip
def test_bad_options_are_named(
    hearer: nn.Module, said: Words, name: str, value: float, minimum: int
) -> None:
    waves, labels = said
    with pytest.raises(ValueError, match=f"{name} must be >= {minimum}, got"):
        imperceptible(hearer, waves, labels, targets=labels, **{name: value})


def test_sounds_outside_the_box_are_refused(hearer: nn.Module, said: Words) -> None:
    waves, labels = said
    with pytest.raises(ValueError, match=r"images must lie in \[-1.0, 1.0\]"):
        imperceptible(hearer, 3 * waves, labels, targets=labels)
