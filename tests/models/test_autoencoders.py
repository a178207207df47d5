"""Autoencoders: shapes, what a bottleneck forgets, and what training them minimizes."""

import pytest
import torch
from torch import nn

from armsrace.models.autoencoders import Team, magnet_1, magnet_2
from armsrace.models.layers import parameters
from armsrace.training.objectives import diverse, noisy, reconstruction


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


# Three filters of 3×3 a layer: 30 numbers from one channel, 84 from three, 28 back to one.
@pytest.mark.parametrize(("build", "size"), [(magnet_1, 30 + 3 * 84 + 28), (magnet_2, 142)])
def test_shape_range_and_size(build, size, images) -> None:
    model = build()
    rebuilt = model(images)
    assert rebuilt.shape == images.shape
    assert rebuilt.min() > 0 and rebuilt.max() < 1
    assert parameters(model) == size


def test_the_first_sees_means_of_four_codes_and_the_second_does_not(images) -> None:
    # Swapping two pixels of a pooling window reaches no code of I beyond its neighborhood's mean.
    first = magnet_1().double()
    code = first[:3](images.double())
    assert code.shape == (6, 3, 4, 4)
    assert torch.allclose(
        code, first[:2](images.double()).unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    )


def test_team_gives_each_member_a_channel(images) -> None:
    team = Team(3)
    rebuilt = team(images)
    assert rebuilt.shape == (6, 3, 8, 8)
    assert torch.equal(rebuilt[:, 1:2], team[1](images))
    assert not torch.allclose(rebuilt[:, :1], rebuilt[:, 1:2])


def test_noise_stays_in_the_box_and_has_its_size(images) -> None:
    torch.manual_seed(0)
    gray = torch.full((100, 1, 20, 20), 0.5)
    assert (noisy(gray, 0.1) - gray).std().item() == pytest.approx(0.1, rel=0.02)
    assert noisy(images, 1.0).min() == 0 and noisy(images, 1.0).max() == 1
    assert torch.equal(noisy(images, 0.0), images)


class Constant(nn.Module):
    """Answers the same gray for every pixel, through a sigmoid."""

    def __init__(self, *levels: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(levels).logit().view(1, -1, 1, 1))
        self.end = nn.Sigmoid()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.end(self.logits.expand(len(images), -1, *images.shape[2:]))


def test_objective_is_squared_error_plus_activity() -> None:
    white = torch.zeros(4, 1, 5, 5)
    labels = torch.zeros(4, dtype=torch.int64)
    value = reconstruction(noise=0.1, activity=0.01)(Constant(0.2), white, labels)
    assert value.item() == pytest.approx(0.04 + 0.01 * 25 * 0.04)


def test_diversity_is_the_squared_distance_to_the_mean() -> None:
    white = torch.zeros(4, 1, 5, 5)
    labels = torch.zeros(4, dtype=torch.int64)
    value = diverse(0.5, activity=0.0)(Constant(0.2, 0.4), white, labels)
    assert value.item() == pytest.approx((0.04 + 0.16) / 2 - 0.5 * 0.01)


def test_the_objective_leaves_no_hook(images) -> None:
    model = magnet_2()
    reconstruction()(model, images, torch.zeros(6, dtype=torch.int64))
    assert not any(layer._forward_hooks for layer in model.modules())


@pytest.mark.parametrize("name", ["alpha", "noise", "activity"])
def test_negative_weights_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be >= 0, got -1"):
        diverse(**{"alpha": 0.0, name: -1.0})


def test_training_lowers_the_error_that_it_claims_to() -> None:
    images = (torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(1)) > 0.7).float()
    labels = torch.zeros(32, dtype=torch.int64)
    torch.manual_seed(0)
    model, objective = magnet_2(), reconstruction()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    before = (model(images) - images).square().mean().item()
    for _ in range(200):
        optimizer.zero_grad()
        objective(model, images, labels).backward()
        optimizer.step()
    assert (model(images) - images).square().mean().item() < before / 4
