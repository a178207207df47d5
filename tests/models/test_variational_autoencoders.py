"""A variational autoencoder returns images of its input's shape, and is made of its two parts."""

import torch
from torch import nn

from armsrace.models.autoencoders import VariationalAutoencoder, manifold_vae, s3_vae


def test_the_s3_vae_is_two_convolutions_and_the_way_back() -> None:
    model = s3_vae(latents=3).eval()
    images = torch.rand(5, 1, 28, 28)
    mean, log_variance = model.encode(images)
    assert mean.shape == log_variance.shape == (5, 3)
    decoded = model.decode(mean)
    assert decoded.shape == images.shape
    assert torch.equal(decoded, decoded.clamp(0, 1))
    assert torch.equal(model(images), decoded)


def test_the_manifold_vae_is_two_dense_layers_and_the_way_back() -> None:
    model = manifold_vae(latents=4, units=6).eval()
    images = torch.rand(5, 1, 28, 28)
    mean, log_variance = model.encode(images)
    assert mean.shape == log_variance.shape == (5, 4)
    assert model(images).shape == images.shape
    sizes = [
        (part.in_features, part.out_features) for part in model.decoder if hasattr(part, "bias")
    ]
    assert sizes == [(4, 6), (6, 6), (6, 784)]


def test_encoder_and_decoder_are_arguments() -> None:
    identity = VariationalAutoencoder(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 4)),
        nn.Sequential(nn.Linear(2, 4), nn.Unflatten(1, (1, 2, 2))),
    )
    with torch.no_grad():
        identity.encoder[1].weight.copy_(torch.eye(4))
        identity.encoder[1].bias.zero_()
    mean, log_variance = identity.encode(torch.tensor([[[[0.1, 0.2], [0.3, 0.4]]]]))
    assert torch.allclose(mean, torch.tensor([[0.1, 0.2]]))
    assert torch.allclose(log_variance, torch.tensor([[0.3, 0.4]]))
    pixels = identity.decoder(mean)
    assert torch.allclose(identity.decode(mean), 1 / (1 + (-pixels).exp()))
