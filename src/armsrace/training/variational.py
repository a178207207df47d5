"""Objectives of networks whose confidences are no softmax: VAEs and quadratic units."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.models.class_vaes import ClassVaes
from armsrace.models.vae import VariationalAutoencoder
from armsrace.training.recipe import normal_like


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)) in nats, (N,), of latents (N, L) with these moments."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def evidence_bound(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The negative evidence lower bound in nats an image: binary cross-entropy of the pixels + KL.

    Kingma and Welling 2014, eq. 10 with one sample, drawn from torch's global generator. Pixels in
    [0, 1] are the chances of ink. Raises TypeError where the model is no VariationalAutoencoder.
    """
    if not isinstance(model, VariationalAutoencoder):
        raise TypeError(f"model must be a VariationalAutoencoder, got {type(model).__name__}")
    mean, log_variance = model.encode(images)
    latents = mean + (log_variance / 2).exp() * normal_like(mean)
    pixels = functional.binary_cross_entropy_with_logits(
        model.decoder(latents), images, reduction="sum"
    )
    return pixels / len(images) + gaussian_divergence(mean, log_variance).mean()


def class_evidence(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Squared error of the pixels + KL in nats, an image, each by its own class's autoencoder.

    Schott et al. 2019, with β = 1 as in an author's code. labels: the classes in turn, 0, …, K − 1,
    0, …, as `balanced` orders them, so that one grouped pass trains all. One sample of the latents,
    from torch's global generator. Raises TypeError where the model is no ClassVaes, ValueError
    where the labels are not in turn.
    """
    if not isinstance(model, ClassVaes):
        raise TypeError(f"model must be a ClassVaes, got {type(model).__name__}")
    turn = torch.arange(len(labels), device=labels.device) % model.classes
    if len(labels) % model.classes or not torch.equal(labels, turn):
        raise ValueError(f"labels must be 0, …, {model.classes - 1} in turn")
    planes = images.view(-1, model.classes, *images.shape[2:])
    mean, log_variance = model.encode(planes)
    drawn = model.decode(mean + (log_variance / 2).exp() * normal_like(mean))
    divergence = gaussian_divergence(mean.flatten(0, 1), log_variance.flatten(0, 1))
    return (drawn - planes).square().sum() / len(images) + divergence.mean()


def separate_confidences(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of the classes, each confidence exp(logit) by itself.

    For a network whose logits are log-confidences, at most 0, that need not sum to 1.
    """
    logits = model(images)
    own = functional.one_hot(labels, logits.shape[1]).to(logits)
    # At a centre another class's confidence is 1 and its loss infinite.
    other = torch.log(-torch.expm1(logits.clamp_max(-1e-6)))
    return -(own * logits + (1 - own) * other).sum(dim=1).mean()
