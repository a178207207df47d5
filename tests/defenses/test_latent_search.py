"""Latent search: exact on linear decoders, independent of the batch, exactly counted."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import MultiStepLR

from armsrace.defenses import LatentSearch, invert

LATENTS, PIXELS = 3, 16


class Linear(nn.Module):
    """½ + z W, with orthonormal rows of W; it counts what it decodes and notes its mode."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        noise = torch.randn(PIXELS, LATENTS, generator=seeded(1), dtype=dtype)
        self.weight = nn.Parameter(torch.linalg.qr(noise)[0].T.contiguous())
        self.decoded, self.trained = 0, False

    def forward(self, latents: Tensor) -> Tensor:
        self.decoded += len(latents)
        self.trained |= self.training
        return (0.5 + latents @ self.weight).view(-1, 1, 4, 4)


class Wells(nn.Module):
    """One latent on a rugged way: cos 7z drawn beside z / 4, so that most starts get stuck."""

    def forward(self, latents: Tensor) -> Tensor:
        pair = torch.cat([0.5 + latents / 4, 0.5 + (7 * latents).cos() / 2], dim=1)
        return pair.view(-1, 1, 1, 2)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def targets(count: int, reach: float = 0.1) -> Tensor:
    """Latents whose images lie inside [0, 1]."""
    return reach * torch.randn(count, LATENTS, generator=seeded(2), dtype=torch.float64)


def some_images(count: int) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=seeded(3), dtype=torch.float64)


def rugged_images(count: int) -> Tensor:
    wanted = torch.linspace(-0.8, 0.8, count, dtype=torch.float64)[:, None]
    return Wells()(wanted)


# The Hessian is 2 / PIXELS times the identity: this rate halves the error at each step.
SEARCH = LatentSearch(LATENTS, restarts=4, steps=40, optimizer=partial(SGD, lr=PIXELS / 4))
RUGGED = LatentSearch(1, restarts=8, steps=32, optimizer=partial(Adam, lr=0.05))
OPTIMIZERS = {
    "descent": SEARCH.optimizer,
    "momentum": partial(SGD, lr=2.0, momentum=0.5),
    "Adam": partial(Adam, lr=0.05),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.01),
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
    for fewer, more in zip(runs, runs[1:], strict=False):
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
    assert torch.equal(stopped.latents[4:], whole.latents[4:])
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


def test_a_diverging_restart_loses_and_alone_is_an_error() -> None:
    decoder, images = Linear(), Linear()(targets(2)).detach()
    starts = torch.full((2, 2, LATENTS), 1e200, dtype=torch.float64)
    starts[:, 1] = 0
    for halving in (0, 1):
        search = replace(SEARCH, restarts=2, halving=halving)
        found = invert(decoder, images, search, starts=starts)
        torch.testing.assert_close(found.latents, targets(2), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="decoder must return finite images"):
        invert(decoder, images, replace(SEARCH, restarts=1), starts=starts[:, :1])


def test_repeatable_and_without_a_trace() -> None:
    decoder, images = Linear().train(), some_images(4).requires_grad_()
    decoder.weight.grad = torch.ones_like(decoder.weight)
    before, state = torch.get_rng_state(), copy.deepcopy(decoder.state_dict())
    runs = []
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            runs.append(invert(decoder, images, replace(SEARCH, steps=3), generator=seeded(5)))
    assert all(torch.equal(run.latents, runs[0].latents) for run in runs)
    assert not runs[0].images.requires_grad and not runs[0].latents.requires_grad
    assert torch.equal(torch.get_rng_state(), before)
    assert decoder.training and not decoder.trained
    assert torch.equal(decoder.weight.grad, torch.ones_like(decoder.weight))
    assert images.grad is None and torch.equal(state["weight"], decoder.weight)
    other = invert(decoder, images, replace(SEARCH, steps=3), generator=seeded(6))
    assert not torch.equal(other.latents, runs[0].latents)


def test_half_precision_searches_and_full_precision_answers() -> None:
    decoder = Linear(torch.float32)
    images, seen = decoder(targets(6).float()).detach(), set[torch.dtype]()

    def decode(latents: Tensor) -> Tensor:
        drawn = decoder(latents)
        seen.add(drawn.dtype)
        return drawn

    search = replace(SEARCH, precision=torch.bfloat16)
    found = invert(decode, images, search)
    assert seen == {torch.bfloat16, torch.float32}
    assert found.images.dtype == found.latents.dtype == torch.float32
    assert torch.equal(found.images, decoder(found.latents).detach())
    expected = (found.images - images).square().flatten(1).mean(1)
    torch.testing.assert_close(found.distances, expected)
    assert found.distances.max() < 1e-4


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"latents": 0}, ValueError, "latents must be >= 1, got 0"),
        ({"restarts": 0}, ValueError, "restarts must be >= 1, got 0"),
        ({"steps": 2.0}, TypeError, "steps must be an integer, got 2.0"),
        ({"halving": -1.0}, ValueError, "halving must be >= 0, got -1"),
        ({"spread": -1.0}, ValueError, "spread must be >= 0, got -1"),
        ({"tolerance": -0.1}, ValueError, "tolerance must be >= 0, got -0.1"),
    ],
)
def test_bad_settings(change, error, message) -> None:
    with pytest.raises(error, match=message):
        replace(SEARCH, **change)


@pytest.mark.parametrize(
    ("starts", "error", "message"),
    [
        (torch.zeros(2, 4, 2), ValueError, r"starts must have shape \(2, 4, 3\), got \(2, 4, 2\)"),
        (torch.zeros(2, 4, 3), TypeError, "starts must be torch.float64 as the images"),
        (torch.full((2, 4, 3), torch.nan).double(), ValueError, "starts must be finite"),
    ],
)
def test_bad_starts(starts, error, message) -> None:
    with pytest.raises(error, match=message):
        invert(Linear(), some_images(2), SEARCH, starts=starts)


def test_bad_images_and_decoders() -> None:
    images = some_images(2)
    with pytest.raises(ValueError, match="images must lie in"):
        invert(Linear(), images + 1, SEARCH)
    with pytest.raises(ValueError, match=r"decoder must return shape \(8, 1, 4, 4\), got \(8, 3\)"):
        invert(lambda z: z, images, SEARCH)
    with pytest.raises(ValueError, match=r"penalty must return shape \(8,\), got \(8, 3\)"):
        invert(Linear(), images, replace(SEARCH, penalty=lambda z: z))
    with pytest.raises(ValueError, match=r"projection must return shape \(8, 3\), got \(8,\)"):
        invert(Linear(), images, replace(SEARCH, projection=lambda z: z[:, 0]))
    constants = (lambda z: torch.zeros(len(z), 1, 4, 4), lambda z: Linear()(0 * z.detach()))
    for constant in constants:
        with pytest.raises(ValueError, match="decoder must be differentiable in its latents"):
            invert(constant, images, SEARCH)
