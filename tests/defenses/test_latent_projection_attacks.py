"""Attacks on invert-and-classify: by way of an autoencoder, a substitute, and its own range."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, zoo
from armsrace.attacks.black_box.substitute import train_substitute
from armsrace.defenses import LatentProjection, LatentSearch, Purified
from armsrace.models import classifiers
from armsrace.models.autoencoders import VariationalAutoencoder

Digits = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def vae() -> VariationalAutoencoder:
    loaded = zoo.load("manifold-vae")
    assert isinstance(loaded, VariationalAutoencoder)
    return loaded


def inverted(vae: VariationalAutoencoder, classifier: nn.Module) -> Purified:
    """Invert-and-classify, each search begun where the VAE's encoder says."""
    search = LatentSearch(20, restarts=1, steps=25)
    projection = LatentProjection(
        vae.decode, search, starts=lambda images: vae.encode(images)[0][:, None]
    )
    return Purified(projection, classifier)


def test_the_encoder_is_a_surrogate_to_attack_from(s3_cnn, vae, digits: Digits) -> None:
    """classifier(G(E(x))) is fooled, and what fools it is handed to invert-and-classify."""
    images, labels = digits[0][:16], digits[1][:16]
    surrogate, defended = nn.Sequential(vae, s3_cnn), inverted(vae, s3_cnn)
    attack = partial(attacks.pgd, epsilon=0.3, steps=8)
    own = attack(surrogate, images, labels)
    moved = attacks.transfer(defended, images, labels, source=surrogate, attack=attack)
    assert own.success.double().mean() > 0.9
    assert torch.equal(moved.images, own.images) and (moved.gradients == 0).all()
    with torch.no_grad():
        assert torch.equal(moved.success, defended(moved.images).argmax(dim=1) != labels)


def test_the_search_on_the_range_passes_the_projection(s3_cnn, vae, digits: Digits) -> None:
    """An image of the range is projected nearly onto itself, and read as the attacker wished."""
    images, labels = digits[0][:16], digits[1][:16]
    found = attacks.on_manifold(
        s3_cnn, images, labels, decoder=vae.decode, encoder=lambda x: vae.encode(x)[0],
        steps=50, confidence=2.0,
    )  # fmt: skip
    with torch.no_grad():
        fooled = inverted(vae, s3_cnn)(found.images).argmax(dim=1) != labels
    assert found.success.double().mean() > 0.9
    assert fooled.double().mean() > 0.6


def test_a_substitute_is_trained_on_the_defended_network(s3_cnn, vae, digits: Digits) -> None:
    """The black-box attack takes invert-and-classify as it is."""
    defended = inverted(vae, s3_cnn)
    trained = train_substitute(
        defended, digits[0][100:130], build=classifiers.softmax_regression, rounds=1, epochs=10,
        learning_rate=0.05,
    )  # fmt: skip
    with torch.no_grad():
        same = trained.model(digits[0][:60]).argmax(1) == defended(digits[0][:60]).argmax(1)
    assert same.double().mean() > 0.3, "three times as good as chance"
