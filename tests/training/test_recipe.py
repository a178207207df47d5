"""Mirrored and shifted images are those images, mirrored and shifted, and nothing else."""

import torch
from torch import nn

from armsrace.datasets import Dataset
from armsrace.recipes import every_other_pair
from armsrace.training.recipe import augmented, mirrored_and_shifted


def _moves(image: torch.Tensor, reach: int) -> set[bytes]:
    """Every image that shifting and mirroring can make, as bytes."""
    padded = nn.functional.pad(image, (reach,) * 4)
    height, width = image.shape[1:]
    return {
        padded[:, top : top + height, left : left + width].contiguous().numpy().tobytes()
        for top in range(2 * reach + 1)
        for left in range(2 * reach + 1)
    }


def test_every_image_is_one_of_its_own_moves() -> None:
    images = torch.rand(40, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        moved = mirrored_and_shifted(images, reach=2)
    mirrored = 0
    for image, found in zip(images, moved, strict=True):
        upright, turned = _moves(image, 2), _moves(image.flip(2), 2)
        seen = found.contiguous().numpy().tobytes()
        assert seen in upright | turned
        mirrored += seen in turned
    assert 8 < mirrored < 32
    assert len({image.numpy().tobytes() for image in moved}) > 35, "all moved alike"


def test_the_objective_has_a_gradient_for_float32_weights() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(10))
    images = torch.rand(8, 3, 8, 8)
    model(images)
    loss = augmented(model, images, torch.arange(8))
    loss.backward()
    assert loss.dtype == torch.float32 and loss > 0
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32 and parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_halves_are_disjoint_and_whole(stripes: Dataset) -> None:
    even, odd = every_other_pair(0, stripes), every_other_pair(1, stripes)
    pairs = stripes.images.unflatten(0, (-1, 2))
    assert torch.equal(even.images, pairs[::2].flatten(0, 1))
    assert torch.equal(odd.images, pairs[1::2].flatten(0, 1))
    assert torch.equal(odd.labels, stripes.labels.view(-1, 2)[1::2].flatten())
