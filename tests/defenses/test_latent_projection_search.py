"""Latent search: exact on linear decoders, and independent of the batch."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adam, RMSprop
from torch.optim.lr_scheduler import MultiStepLR

from armsrace.defenses import LatentSearch, invert
from tests.defenses.latent_decoders import (
    LATENTS,
    PIXELS,
    RUGGED,
    SEARCH,
    Linear,
    Wells,
    rugged_images,
    some_images,
    targets,
)

OPTIMIZERS = {
    "descent": SEARCH.optimizer,
    "momentum": partial(SGD, lr=2.0, momentum=0.5),
    "Adam": partial(Adam, lr=0.05),
    "RMSprop": partial(RMSprop, lr=0.01),
}


@pytest.mark.parametrize("halving", [0, 1, 3])
def test_recovers_the_latents_of_a_linear_decoder(halving) -> None:
    decoder, wanted = Linear(), targets(5)
    found = invert(decoder, decoder(wanted).detach(), replace(SEARCH, halving=halving))
    torch.testing.assert_close(found.latents, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.images, decoder(wanted).detach(), atol=1e-4, rtol=0)
    assert found.distances.max() < 1e-9


def test_default_optimizer_recovers_them_too() -> None:
    """Adam at a constant rate circles the minimum: closely, but without end."""
    wanted, decoder = targets(5), Linear()
    found = invert(decoder, decoder(wanted).detach(), LatentSearch(LATENTS))
    torch.testing.assert_close(found.latents, wanted, atol=1e-3, rtol=0)


def test_finds_the_projection_of_any_image() -> None:
    """The nearest image of a linear decoder is known: x − ½ projected onto the rows of W."""
    decoder, images = Linear(), some_images(6)
    found = invert(decoder, images, SEARCH)
    wanted = (images.flatten(1) - 0.5) @ decoder.weight.detach().T
    torch.testing.assert_close(found.latents, wanted, atol=1e-4, rtol=0)
    expected = (decoder(wanted) - images).square().flatten(1).mean(1).detach()
    torch.testing.assert_close(found.distances, expected, atol=1e-9, rtol=0)


def test_ridge_penalty_shrinks_as_known() -> None:
    """The minimum of ‖zW − (x − ½)‖² / P + λ ‖z‖² is the projection over 1 + λ P."""
    decoder, images = Linear(), some_images(6)
    search = replace(SEARCH, penalty=lambda z: 0.1 * z.square().sum(1), steps=80,
                     optimizer=partial(SGD, lr=1.0))  # fmt: skip
    found = invert(decoder, images, search)
    wanted = (images.flatten(1) - 0.5) @ decoder.weight.detach().T / (1 + 0.1 * PIXELS)
    torch.testing.assert_close(found.latents, wanted, atol=1e-4, rtol=0)
    alone = (decoder(found.latents) - images).square().flatten(1).mean(1).detach()
    torch.testing.assert_close(found.distances, alone)


def test_projection_holds_and_keeps_the_sign() -> None:
    def onto_ball(latents: Tensor) -> Tensor:
        return latents * (0.05 / latents.norm(dim=1, keepdim=True)).clamp_max(1)

    decoder, wanted = Linear(), targets(6, reach=0.1)
    search = replace(SEARCH, projection=onto_ball)
    found = invert(decoder, decoder(wanted).detach(), search)
    assert (found.latents.norm(dim=1) <= 0.05 + 1e-12).all()
    torch.testing.assert_close(found.latents, onto_ball(wanted), atol=1e-4, rtol=0)


def test_schedule_is_stepped_once_a_step() -> None:
    frozen = partial(MultiStepLR, milestones=[3], gamma=0.0)
    decoder, images = Linear(), some_images(4)
    whole = invert(decoder, images, replace(SEARCH, schedule=frozen))
    short = invert(decoder, images, replace(SEARCH, steps=3, halving=0))
    kept = replace(SEARCH, halving=0, schedule=frozen)
    assert torch.equal(invert(decoder, images, kept).latents, short.latents)
    assert (whole.distances > short.distances - 1e-12).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("halving", [0, 1, 3])
def test_batch_gives_what_single_images_give(name, halving) -> None:
    images = rugged_images(7)
    search = replace(RUGGED, optimizer=OPTIMIZERS[name], halving=halving, tolerance=1e-3)
    batch = invert(Wells(), images, search)
    single = [invert(Wells(), image[None], search) for image in images]
    for field in ("latents", "images", "distances", "decodings", "gradients"):
        joined = torch.cat([getattr(found, field) for found in single])
        torch.testing.assert_close(getattr(batch, field), joined, atol=1e-9, rtol=0)
    assert batch.distances.std() > 0


def test_more_restarts_never_worsen() -> None:
    images = rugged_images(9)
    runs = [
        invert(Wells(), images, replace(RUGGED, restarts=restarts, halving=0)).distances
        for restarts in (1, 2, 3, 5, 8)
    ]
    for fewer, more in itertools.pairwise(runs):
        assert (more <= fewer).all()
    assert (runs[-1] < runs[0] - 1e-4).any()


def test_given_starts_are_used() -> None:
    images, wanted = rugged_images(5), torch.linspace(-0.8, 0.8, 5, dtype=torch.float64)
    starts = torch.full((5, 2, 1), 3.0, dtype=torch.float64)
    starts[:, 1, 0] = wanted
    found = invert(Wells(), images, replace(RUGGED, restarts=2), starts=starts)
    assert torch.equal(found.latents[:, 0], wanted)
    assert found.distances.max() < 1e-20
    assert torch.equal(starts[:, 0, 0], torch.full((5,), 3.0, dtype=torch.float64))


def test_many_decoders_work_as_one() -> None:
    """One start each and no early end: the decoder may tell its rows apart by their place."""
    decoders = [Linear(), Linear(), Linear()]
    for turn, decoder in enumerate(decoders):
        decoder.weight.data = decoder.weight.data.roll(turn, dims=1)

    def together(latents: Tensor) -> Tensor:
        parts = [decoders[i](latents[i::3]) for i in range(3)]
        return torch.stack(parts, dim=1).flatten(0, 1)

    images, search = some_images(4), replace(SEARCH, restarts=1)
    starts = targets(12)[:, None]
    joint = invert(together, images.repeat_interleave(3, dim=0), search, starts=starts)
    for i, decoder in enumerate(decoders):
        alone = invert(decoder, images, search, starts=starts[i::3])
        torch.testing.assert_close(joint.latents[i::3], alone.latents)
        torch.testing.assert_close(joint.distances[i::3], alone.distances)
