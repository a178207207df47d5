"""Generators make digits-sized images of any number of latents, the critic scores them."""

import pytest
import torch

from armsrace.models import gan, zoo
from armsrace.models.layers import parameters


@pytest.mark.parametrize("build", [gan.original, gan.compact])
def test_latents_become_images(build) -> None:
    network = build(filters=4)
    images = network(torch.randn(3, 128))
    assert images.shape == (3, 1, 28, 28)
    assert images.min() > 0 and images.max() < 1
    assert network.latents == 128


def test_the_original_has_the_papers_size() -> None:
    layers = [parameters(layer) for layer in gan.original() if parameters(layer)]
    assert layers == [
        128 * 4096 + 4096, 25 * 256 * 128 + 128, 25 * 128 * 64 + 64, 25 * 64 + 1,
    ]  # fmt: skip


@pytest.mark.parametrize(("kernel", "side"), [(5, 4), (4, 3)])
def test_the_critic_scores_images(kernel: int, side: int) -> None:
    network = gan.critic(4, kernel)
    assert network(torch.rand(3, 1, 28, 28)).shape == (3, 1)
    assert network[:-2](torch.rand(3, 1, 28, 28)).shape == (3, 16, side, side)


def test_samples_follow_the_generator_and_leave_no_trace() -> None:
    network, state = gan.compact(filters=4), torch.get_rng_state()
    first = network.sample(7)
    assert first.shape == (7, 1, 28, 28) and not first.requires_grad
    assert torch.equal(first, network.sample(7, torch.Generator().manual_seed(0)))
    assert not torch.equal(first, network.sample(7, torch.Generator().manual_seed(1)))
    assert torch.equal(state, torch.get_rng_state()) and network.training


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="count must be >= 1, got 0"):
        gan.compact(filters=4).sample(0)


def test_the_zoo_builds_both() -> None:
    assert isinstance(zoo.build("defense-gan"), gan.Generator)
    assert parameters(zoo.build("defense-gan-original")) > 2 * parameters(zoo.build("defense-gan"))
