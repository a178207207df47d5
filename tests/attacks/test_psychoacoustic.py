"""The imperceptible attack: what it promises of success, of hearing, of counts and of traces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.hearing import Hearing
from armsrace.attacks.psychoacoustic import WAVES, audible, imperceptible
from armsrace.datasets.spoken import RATE, speak
from armsrace.training.listening import listener

from .cases import Counting

QUICK: dict[str, Any] = {"first_steps": 10, "steps": 40}
Words = tuple[Tensor, Tensor]


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


def test_a_sound_does_not_depend_on_its_neighbours(hearer: nn.Module, said: Words) -> None:
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
