"""Parts of a data set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from armsrace import datasets


def test_take_and_where(tiny_mnist, cache: Path) -> None:
    tiny_mnist.write(cache)
    data = datasets.load("mnist")
    assert torch.equal(data.take(2).images, data.images[:2])
    draws = [data.take(4, torch.Generator().manual_seed(s)).labels for s in (3, 3)]
    assert torch.equal(*draws)
    shuffled = data.take(5, torch.Generator().manual_seed(1))
    assert not torch.equal(shuffled.images, data.images)
    assert torch.equal(shuffled.images.sum(), data.images.sum())
    kept = torch.tensor([True, False, True, False, False])
    assert torch.equal(data.where(kept).labels, data.labels[kept])
    assert data.where(kept, torch.tensor([1, 0])).labels.tolist() == [1, 0]
    for n in (0, 6):
        with pytest.raises(ValueError, match=f"n must be between 1 and 5, got {n}"):
            data.take(n)
    with pytest.raises(ValueError, match="labels must have shape"):
        data.where(kept, torch.tensor([1]))
    with pytest.raises(ValueError, match="kept must be bool"):
        data.where(torch.tensor([0, 2]))
