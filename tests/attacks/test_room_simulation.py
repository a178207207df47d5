"""Simulated rooms: paths counted by hand, convolution against scipy, rooms drawn anew."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.signal import fftconvolve
from torch import Tensor

from armsrace.attacks.adaptive import eot
from armsrace.attacks.audio.room_simulation import (
    InRooms,
    mirror_paths,
    reverberated,
    room_responses,
)


def test_the_first_paths_of_a_room_are_those_of_a_billiard_table() -> None:
    """Straight; off the floor and off the ceiling; off the four side walls."""
    size, speaker, ear = (
        torch.tensor([row]) for row in ([4.0, 3, 2.5], [1.0, 1, 1], [3.0, 2, 1.5])
    )
    paths, walls = mirror_paths(size, speaker, ear)
    assert (walls == 0).sum() == 1 and (walls == 1).sum() == 6
    straight = math.sqrt(2**2 + 1**2 + 0.5**2)
    assert paths[0, walls == 0].item() == pytest.approx(straight)
    once = [(4, 1, 0.5), (4, 1, 0.5), (2, 3, 0.5), (2, 3, 0.5), (2, 1, 2.5), (2, 1, 2.5)]
    wanted = sorted(math.hypot(*way) for way in once)
    assert sorted(paths[0, walls == 1].tolist()) == pytest.approx(wanted)


def test_a_response_begins_with_the_direct_wave_and_fades() -> None:
    responses = room_responses(20, torch.Generator().manual_seed(0))
    assert responses.shape == (20, 1024) and (responses >= 0).all()
    torch.testing.assert_close(responses.norm(dim=1), torch.ones(20))
    assert (responses[:, 0] > 0).all()
    halves = responses.square().unflatten(1, (2, 512)).sum(2)
    assert (halves[:, 1] < 0.5 * halves[:, 0]).all()
    assert halves[:, 1].mean() < 0.2 * halves[:, 0].mean()


def test_the_same_generator_builds_the_same_rooms() -> None:
    first, again, other = (room_responses(3, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_reverberation_is_scipys_convolution() -> None:
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(3, 1, 1, 500, generator=generator, dtype=torch.float64)
    responses = torch.randn(3, 90, generator=generator, dtype=torch.float64)
    found = reverberated(waves, responses).flatten(1)
    for row, wave, response in zip(found, waves.flatten(1), responses, strict=True):
        wanted = fftconvolve(wave.numpy(), response.numpy())[:500]
        torch.testing.assert_close(row, torch.from_numpy(wanted))


def test_each_sound_has_a_room_of_its_own_anew_at_each_call() -> None:
    responses = torch.eye(4)[:, :3].clone()
    responses[3] = torch.tensor([0.0, 0.5, 0.5])
    heard = InRooms(lambda waves: waves.flatten(1), responses, torch.Generator().manual_seed(0))
    click = torch.zeros(50, 1, 1, 6)
    click[..., 0] = 1
    first, second = heard(click)[:, :3], heard(click)[:, :3]
    assert {tuple(row) for row in first.tolist()} == {tuple(row) for row in responses.tolist()}
    assert not torch.equal(first, second)


def test_the_expectation_over_rooms_has_a_gradient() -> None:
    responses = room_responses(10, torch.Generator().manual_seed(0), length=64)

    def model(waves: Tensor) -> Tensor:
        return torch.stack([waves.flatten(1).sum(1), waves.flatten(1)[:, 0]], dim=1)

    mean = eot(InRooms(model, responses), 5, average="logits", one_pass=True)
    waves = torch.rand(2, 1, 1, 80, requires_grad=True)
    grad = torch.autograd.grad(mean(waves)[:, 0].sum(), waves)[0]
    # The first sample echoes most within the cut.
    assert (grad > 0).all() and (grad[..., 0] > grad[..., -1]).all()


@pytest.mark.parametrize(
    ("count", "options", "name"), [(0, {}, "count"), (1, {"length": 1}, "length")]
)
def test_bad_settings_are_named(count: int, options: dict[str, int], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be >="):
        room_responses(count, torch.Generator(), **options)
