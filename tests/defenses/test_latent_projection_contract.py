"""Latent search: no trace, no accident, and errors that name the argument."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from armsrace.defenses import invert
from tests.defenses.latent_decoders import LATENTS, SEARCH, Linear, seeded, some_images, targets


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


def least_is_zero() -> bool:
    """Whether numbers below the least normal one are taken for zero in this thread."""
    return bool((torch.tensor([1e-40]) * 1 == 0).item())


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="the processor cannot")
@pytest.mark.parametrize("already", [False, True])
def test_tiny_numbers_are_zero_in_the_search_alone(already: bool) -> None:
    seen = []

    def watched(latents: Tensor) -> Tensor:
        seen.append(least_is_zero())
        return decoder(latents)

    decoder, images = Linear(), some_images(1)
    torch.set_flush_denormal(already)
    try:
        invert(watched, images, replace(SEARCH, steps=2))
        assert all(seen) and least_is_zero() == already
        with pytest.raises(ValueError, match="starts must have shape"):
            invert(watched, images, SEARCH, starts=torch.zeros(1, 1, 1))
        assert least_is_zero() == already
    finally:
        torch.set_flush_denormal(False)


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
