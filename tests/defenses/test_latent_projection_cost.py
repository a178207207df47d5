"""Latent search: who is dropped, who is done, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.optim import SGD

from armsrace.defenses import LatentSearch, inversion_path, invert
from tests.defenses.latent_decoders import (
    LATENTS,
    RUGGED,
    SEARCH,
    Linear,
    Wells,
    rugged_images,
    some_images,
    targets,
)


@pytest.mark.parametrize("winner", range(5))
def test_halving_keeps_the_winner_of_separated_restarts(winner) -> None:
    """Gradient descent keeps the order of starts on a bowl: the nearest one wins every round."""
    decoder, wanted = Linear(), targets(3)
    away = torch.full((5,), 0.5, dtype=torch.float64)
    away[winner] = 0.1
    starts = wanted[:, None] + away[None, :, None] * torch.ones(LATENTS, dtype=torch.float64)
    slow = LatentSearch(LATENTS, restarts=5, steps=8, optimizer=partial(SGD, lr=0.1))
    images = decoder(wanted).detach()
    plain = invert(decoder, images, replace(slow, halving=0), starts=starts)
    halved = invert(decoder, images, slow, starts=starts)
    torch.testing.assert_close(halved.latents, plain.latents, atol=1e-12, rtol=0)
    only = invert(decoder, images, replace(slow, restarts=1), starts=starts[:, [winner]])
    torch.testing.assert_close(halved.latents, only.latents, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("restarts", "steps", "halving", "expected"),
    [
        (4, 8, 0, [4, 4, 4, 4, 4, 4, 4, 4]),
        (4, 8, 1, [4, 3, 3, 2, 2, 1, 1, 1]),
        (4, 8, 2, [4, 3, 2, 1, 1, 1, 1, 1]),
        (4, 1, 1, [1]),
        (1, 3, 1, [1, 1, 1]),
    ],
)
def test_survivors(restarts, steps, halving, expected) -> None:
    search = LatentSearch(2, restarts=restarts, steps=steps, halving=halving)
    assert search.survivors() == expected


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_work_falls_with_the_power(power) -> None:
    kept = LatentSearch(2, restarts=1000, steps=1000, halving=power).survivors()
    assert sum(kept) / 1e6 == pytest.approx(1 / (1 + power), abs=2e-3)


@pytest.mark.parametrize(("halving", "gradients"), [(0, 160), (1, 100), (1000, 43)])
def test_work_is_counted_exactly(halving, gradients) -> None:
    """40 steps of 4 restarts; halved once, 4, 3, 2 and 1 for 10 each; or 4 and then 1 for 39."""
    decoder = Linear()
    images = decoder(targets(5)).detach()
    decoder.decoded = 0
    found = invert(decoder, images, replace(SEARCH, halving=halving))
    assert found.decodings.sum() == decoder.decoded
    assert (found.gradients == gradients).all()


def test_finished_images_leave_the_batch() -> None:
    decoder = Linear()
    images = torch.cat([decoder(targets(4)), some_images(4)]).detach()
    decoder.decoded = 0
    stopped = invert(decoder, images, replace(SEARCH, tolerance=1e-4))
    assert stopped.decodings.sum() == decoder.decoded
    whole = invert(decoder, images, SEARCH)
    assert (stopped.distances[:4] <= 1e-4).all() and (stopped.distances[4:] > 1e-4).all()
    assert (stopped.gradients[:4] < whole.gradients[:4]).all()
    torch.testing.assert_close(stopped.latents[4:], whole.latents[4:], rtol=0, atol=1e-6)
    assert torch.equal(stopped.gradients[4:], whole.gradients[4:])


def test_search_ends_when_every_image_is_done() -> None:
    decoder = Linear()
    found = invert(decoder, decoder(targets(4)).detach(), replace(SEARCH, tolerance=1e-4))
    assert (found.gradients < 60).all()


def test_of_restarts_done_at_once_the_nearest_wins_and_the_first_of_equals() -> None:
    """z² draws z and −z alike, so that two starts tie exactly."""
    image = torch.full((1, 1, 1, 1), 0.09, dtype=torch.float64)
    search = LatentSearch(1, restarts=4, steps=5, tolerance=0.1)
    for first, second in ((0.31, -0.31), (-0.31, 0.31)):
        starts = torch.tensor([0.5, first, 0.4, second], dtype=torch.float64).view(1, 4, 1)
        found = invert(lambda z: z.square()[..., None, None], image, search, starts=starts)
        assert found.latents.item() == first
        assert found.gradients.item() == 4


def test_a_path_passes_where_shorter_searches_end() -> None:
    images, at = rugged_images(6), [1, 4, 12]
    search = replace(RUGGED, restarts=3, steps=12, halving=0)
    path = inversion_path(Wells(), images, search, at)
    for steps, found in zip(at, path, strict=True):
        alone = invert(Wells(), images, replace(search, steps=steps))
        assert torch.equal(found.latents, alone.latents)
        assert torch.equal(found.distances, alone.distances)
        assert torch.equal(found.gradients, alone.gradients)
    assert path[-1].distances.mean() < path[0].distances.mean()


def test_a_path_goes_on_past_finished_images_and_stops_at_its_last_station() -> None:
    decoder = Linear()
    images, search = decoder(targets(4)).detach(), replace(SEARCH, tolerance=1e-4)
    early, late = inversion_path(decoder, images, search, [3, search.steps])
    assert (early.distances > 1e-4).any() and (late.distances <= 1e-4).all()
    assert torch.equal(late.latents, invert(decoder, images, search).latents)
    (only,) = inversion_path(decoder, images, search, [3])
    assert torch.equal(only.latents, early.latents)


@pytest.mark.parametrize("at", [[], [0, 3], [3, 2], [3, 3], [3, 61]])
def test_a_path_refuses_steps_that_do_not_rise_within_the_search(at) -> None:
    with pytest.raises(ValueError, match=r"at must hold rising numbers from 1 to \d+ steps"):
        inversion_path(Linear(), some_images(2), SEARCH, at)


def test_full_precision_decodes_nothing_twice() -> None:
    """A step decodes each restart once; the end decodes where the last one stands, and the best."""
    decoder = Linear()
    found = invert(decoder, some_images(3), replace(SEARCH, steps=8))
    assert (found.decodings == found.gradients + 2).all()
