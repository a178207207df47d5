"""The objectives are the formulas, and training lowers them."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from armsrace.models.abs_vae import ClassVaes
from armsrace.models.autoencoders import VariationalAutoencoder
from armsrace.models.classifiers import QuadraticUnits
from armsrace.models.layers import predict
from armsrace.training.objectives import (
    class_evidence,
    evidence_bound,
    gaussian_divergence,
    separate_confidences,
)
from armsrace.training.recipe import balanced


def drawn(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def small() -> VariationalAutoencoder:
    return VariationalAutoencoder(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 4)),
        nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4))),
    )


def test_gaussian_divergence_is_torchs() -> None:
    mean, log_variance = drawn(5, 3) - 0.5, 2 * drawn(5, 3) - 1
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(gaussian_divergence(mean, log_variance), expected, atol=1e-6)


def test_evidence_bound_is_pixels_plus_divergence() -> None:
    model, images = small(), drawn(7, 1, 4, 4)
    with torch.no_grad():
        # Next to no variance, so that the sample is the mean.
        model.encoder[1].bias[2:], model.encoder[1].weight[2:] = -60.0, 0.0
    mean, log_variance = model.encode(images)
    pixels = functional.binary_cross_entropy(model.decode(mean), images, reduction="none")
    expected = pixels.sum(dim=(1, 2, 3)) + gaussian_divergence(mean, log_variance)
    found = evidence_bound(model, images, torch.zeros(7, dtype=torch.int64))
    assert found.item() == pytest.approx(expected.mean().item(), rel=1e-4)


def test_evidence_bound_needs_a_variational_autoencoder() -> None:
    with pytest.raises(TypeError, match="VariationalAutoencoder, got Linear"):
        evidence_bound(nn.Linear(2, 2), torch.rand(1, 1, 1, 2), torch.zeros(1))


def test_class_evidence_is_squared_error_plus_divergence_of_the_own_class() -> None:
    model, images = ClassVaes(classes=2, latents=3).eval(), drawn(6, 1, 28, 28)
    with torch.no_grad():
        for part in model.encoder[-1].parameters():
            # Next to no variance, so that the sample is the mean.
            part.view(2, 2, 3, -1)[:, 1] = 0.0
        model.encoder[-1].bias.view(2, 2, 3)[:, 1] = -60.0
        planes = images.view(3, 2, 28, 28)
        mean, log_variance = model.encode(planes)
        error = (model.decode(mean) - planes).square().flatten(2).sum(dim=2)
        divergence = gaussian_divergence(mean.flatten(0, 1), log_variance.flatten(0, 1))
        found = class_evidence(model, images, torch.tensor([0, 1] * 3))
    assert found.item() == pytest.approx((error.mean() + divergence.mean()).item(), rel=1e-4)


def test_class_evidence_needs_its_model_and_the_classes_in_turn() -> None:
    with pytest.raises(TypeError, match="ClassVaes, got Linear"):
        class_evidence(nn.Linear(2, 2), drawn(2, 1, 28, 28), torch.tensor([0, 1]))
    for labels in ([0, 1, 0], [0, 0], [1, 0]):
        with pytest.raises(ValueError, match="labels must be 0, …, 1 in turn"):
            class_evidence(ClassVaes(2, 2), drawn(len(labels), 1, 28, 28), torch.tensor(labels))


def test_a_balanced_order_has_the_classes_in_turn_and_no_image_twice() -> None:
    labels = (10 * drawn(500)).long() // 3
    order = balanced(labels)
    rarest = int(labels.bincount().min())
    assert torch.equal(labels[order], torch.arange(4).repeat(rarest))
    assert len(order.unique()) == len(order) == 4 * rarest
    assert not torch.equal(order, balanced(labels))


def test_separate_confidences_is_a_binary_cross_entropy_a_class() -> None:
    logits, labels = -2 * drawn(6, 4) - 0.01, torch.tensor([0, 1, 2, 3, 0, 1])
    own = functional.one_hot(labels, 4).float()
    expected = functional.binary_cross_entropy(logits.exp(), own, reduction="sum") / 6
    found = separate_confidences(lambda images: logits, torch.empty(6), labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_center_of_another_class_has_a_finite_loss_and_gradient() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    loss = separate_confidences(lambda images: logits, torch.empty(1), torch.tensor([0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("build", "objective"),
    [
        (small, evidence_bound),
        (lambda: nn.Sequential(nn.Flatten(), QuadraticUnits(16, 2)), separate_confidences),
    ],
)
def test_training_lowers_the_objective(build, objective) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, images = build(), (drawn(64, 1, 4, 1) > 0.5).float().expand(-1, -1, -1, 4)
        labels = (images[:, 0, 0, 0] > 0.5).long()
        loss = partial(objective, model, images, labels)
        before = loss().item()
        adam = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(150):
            adam.zero_grad()
            loss().backward()
            adam.step()
        assert loss().item() < 0.8 * before
        if objective is separate_confidences:
            right = predict(model, images).argmax(dim=1) == labels
            assert right.float().mean() > 0.9
