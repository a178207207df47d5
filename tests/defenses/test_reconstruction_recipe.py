"""What a "Rec" classifier learns from: the generator's drawings, under the images' own labels."""

from dataclasses import replace

import pytest
import torch

from armsrace import datasets, recipes
from armsrace.datasets import Dataset
from armsrace.recipes import reconstructed


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """Six digits, whatever MNIST is at hand."""
    return datasets.load("mnist", "test").take(6)


def test_each_image_is_drawn_near_itself_under_its_label(digits: Dataset) -> None:
    drawn = reconstructed(4, digits)
    assert torch.equal(drawn.labels, digits.labels[:4])
    apart = (drawn.images[:, None] - digits.images[None]).square().flatten(2).mean(dim=2)
    assert torch.equal(apart.argmin(dim=1), torch.arange(4))
    assert 0 < apart.diagonal().max() < 0.02


def test_a_digit_is_drawn_alike_in_any_company(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A few steps tell whether starts and batches are the image's own. Sixty of them in float32 may
    # end in another valley where a batch of another size rounds differently.
    monkeypatch.setattr(recipes, "RECONSTRUCTION", replace(recipes.RECONSTRUCTION, steps=3))
    monkeypatch.setattr(recipes, "reduced_precision", lambda device: None)
    alone = replace(digits, images=digits.images[1:2], labels=digits.labels[1:2])
    together = reconstructed(2, digits).images[1:]
    torch.testing.assert_close(reconstructed(1, alone).images, together, atol=0.02, rtol=0)


def test_no_more_than_there_are(digits: Dataset) -> None:
    with pytest.raises(ValueError, match="n must be between 1 and 6"):
        reconstructed(7, digits)
