"""Activations are the layers' own answers, and reading them leaves no trace."""

import pytest
import torch
from torch import Tensor, nn

from armsrace.models import zoo
from armsrace.models.activations import activations

GENERATOR = torch.Generator().manual_seed(9)
IMAGES = torch.rand(5, 1, 28, 28, generator=GENERATOR)


def test_they_are_the_partial_networks_answers() -> None:
    model = zoo.load("s3-cnn")
    found = activations(model, IMAGES)
    assert list(found) == [str(index) for index in range(8)]
    for index, output in enumerate(found.values()):
        with torch.no_grad():
            assert torch.equal(output, model[: index + 1](IMAGES))
    assert found["5"].shape == (5, 64, 6, 6)
    assert not any(output.requires_grad for output in found.values())


def test_named_layers_come_alone_and_may_have_parts() -> None:
    model = nn.ModuleDict({"body": nn.Sequential(nn.Flatten(), nn.Linear(784, 4))})
    model.forward = lambda images: model["body"](images)  # type: ignore[method-assign]
    found = activations(model, IMAGES, ["body"])
    assert list(found) == ["body"] and found["body"].shape == (5, 4)


def test_a_layer_that_works_in_place_does_not_rewrite_the_one_before() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(inplace=True))
    found = activations(model, IMAGES)
    assert (found["1"] < 0).any() and torch.equal(found["1"].relu(), found["2"])


def test_no_trace_is_left() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Dropout(0.5), nn.Linear(784, 3))
    model[2].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    state = torch.get_rng_state()
    first, second = activations(model, IMAGES), activations(model, IMAGES)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(part._forward_hooks for part in model.modules())


def test_hooks_go_after_an_error_too() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    model.train()
    with pytest.raises(RuntimeError):
        activations(model, IMAGES)
    assert model.training and not any(part._forward_hooks for part in model.modules())


class Odd(nn.Module):
    """One layer used twice, one never, one that answers a number."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.twice, self.idle, self.act = twice, nn.ReLU(), nn.ReLU()
        self.mean = nn.Flatten(0)

    def forward(self, images: Tensor) -> Tensor:
        """The images."""
        images = self.act(images)
        return self.act(images) if self.twice else self.mean(images)


@pytest.mark.parametrize(
    ("model", "images", "layers", "kind", "message"),
    [
        (lambda images: images, IMAGES, None, TypeError, "model must be an nn.Module"),
        (nn.Flatten(), IMAGES[0], None, ValueError, r"images must have shape \(N, C, H, W\)"),
        (nn.Sequential(nn.Flatten()), IMAGES, ["9"], ValueError, "layers must be among .*got 9"),
        (Odd(True), IMAGES, ["act"], ValueError, "act ran twice"),
        (Odd(False), IMAGES, ["idle"], ValueError, "take part in the forward pass, got idle"),
        (Odd(False), IMAGES, ["mean"], ValueError, r"answer \(5, ...\), mean answered \(3920,\)"),
    ],
)
def test_refusals(model, images, layers, kind, message: str) -> None:
    with pytest.raises(kind, match=message):
        activations(model, images, layers)
