"""Ten autoencoders in one network: groups that know nothing of one another."""

import torch
from torch import nn

from armsrace.models.abs_vae import ClassVaes
from armsrace.models.autoencoders import VariationalAutoencoder
from tests.models.small_vaes import small


def alone(model: ClassVaes, which: int) -> VariationalAutoencoder:
    """The autoencoder of one class, without groups."""
    model = small()
    for part in (*model.encoder, *model.decoder):
        for name, value in (*part.named_parameters(), *part.named_buffers()):
            if value.ndim:
                chosen = value.chunk(3)[which].detach().clone()
                kept = nn.Parameter(chosen) if isinstance(value, nn.Parameter) else chosen
                setattr(part, name, kept)
        part.groups = 1
    encoder = nn.Sequential(*model.encoder, nn.Flatten())
    decoder = nn.Sequential(nn.Unflatten(1, (2, 1, 1)), *model.decoder)
    return VariationalAutoencoder(encoder, decoder).eval()


def test_each_class_is_an_autoencoder_of_its_own() -> None:
    model, generator = small(), torch.Generator().manual_seed(1)
    images = torch.rand(4, 3, 28, 28, generator=generator)
    latents = torch.randn(4, 3, 2, generator=generator)
    mean, log_variance = model.encode(images)
    drawn = model.decode(latents)
    assert drawn.shape == images.shape and mean.shape == log_variance.shape == latents.shape
    for which in range(3):
        own = alone(model, which)
        expected = own.encode(images[:, which : which + 1])
        torch.testing.assert_close((mean[:, which], log_variance[:, which]), expected)
        torch.testing.assert_close(drawn[:, which : which + 1], own.decode(latents[:, which]))


def test_logits_are_the_errors_of_the_encoders_latents() -> None:
    model = small()
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    logits = model(images)
    for which in range(3):
        own = alone(model, which)
        latents, _ = own.encode(images)
        error = (own.decode(latents) - images).square().flatten(1).sum(dim=1)
        expected = -(error + latents.square().sum(dim=1) / 2) / 2
        torch.testing.assert_close(logits[:, which], expected)
    torch.testing.assert_close(model(images[:1]), logits[:1])
