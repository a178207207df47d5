"""Objectives other than cross-entropy: of autoencoders, VAEs and RBF networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.contracts import check_at_least
from armsrace.models.abs_vae import ClassVaes
from armsrace.models.autoencoders import VariationalAutoencoder
from armsrace.training.recipe import Objective, normal_like

NOISE = 0.1
ACTIVITY = 1e-9


def reconstruction(noise: float = NOISE, activity: float = ACTIVITY) -> Objective:
    """MagNet's autoencoders: the mean squared error of what is made of a noisy image.

    Labels are not used.

    Args:
        noise: the standard deviation, in pixel units.
        activity: the weight of the squared outputs of all sigmoids, summed over an image and
            averaged over the batch.

    References:
        Meng and Chen 2017, and the authors' code for what the paper leaves open.
    """
    return diverse(0.0, noise, activity)


def diverse(alpha: float, noise: float = NOISE, activity: float = ACTIVITY) -> Objective:
    """`reconstruction` of a team, minus α times the squared distance of each to their mean.

    An image made against one member then need not fool another. The model maps images (N, 1, H, W)
    to (N, members, H, W).

    Args:
        alpha: α >= 0.
        noise: as for `reconstruction`.
        activity: as for `reconstruction`.

    References:
        Meng and Chen 2017.
    """
    for name, value in (("alpha", alpha), ("noise", noise), ("activity", activity)):
        check_at_least(name, value, 0)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with _sigmoid_outputs(model) as outputs:
            rebuilt = model(noisy(images, noise))
        error = functional.mse_loss(rebuilt, images.expand_as(rebuilt))
        spread = (rebuilt - rebuilt.mean(dim=1, keepdim=True)).square().mean()
        energy = torch.stack([output.square().sum() for output in outputs]).sum() / len(images)
        return error - alpha * spread + activity * energy

    return objective


def noisy(images: Tensor, deviation: float) -> Tensor:
    """Images (N, C, H, W) plus normal noise of this deviation, clipped to [0, 1].

    Draws from torch's global generator, as an objective may.
    """
    return (images + deviation * normal_like(images)).clamp(0, 1)


@contextmanager
def _sigmoid_outputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """While it lasts, the outputs of all sigmoids, as they are computed."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        outputs.append(output)

    layers = (layer for layer in model.modules() if isinstance(layer, nn.Sigmoid))
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def evidence_bound(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The negative evidence lower bound, in nats per image: cross-entropy of the pixels + KL.

    Pixels in [0, 1] are the probabilities of ink. One sample of the latents, from torch's global
    generator. The model is a VariationalAutoencoder. Kingma and Welling 2014, eq. 10.
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
    """Squared error of the pixels + KL in nats, per image, each by its own class's autoencoder.

    Schott et al. 2019, with β = 1 as in an author's code. The model is a ClassVaes. The labels are
    the classes in turn, 0, …, K − 1, 0, …, as `balanced` orders them, so that one grouped pass
    trains all. One sample of the latents, from torch's global generator.
    """
    if not isinstance(model, ClassVaes):
        raise TypeError(f"model must be a ClassVaes, got {type(model).__name__}")
    in_turn = torch.arange(len(labels), device=labels.device) % model.classes
    if len(labels) % model.classes or not torch.equal(labels, in_turn):
        raise ValueError(f"labels must be 0, …, {model.classes - 1} in turn")
    planes = images.view(-1, model.classes, *images.shape[2:])
    mean, log_variance = model.encode(planes)
    rebuilt = model.decode(mean + (log_variance / 2).exp() * normal_like(mean))
    divergence = gaussian_divergence(mean.flatten(0, 1), log_variance.flatten(0, 1))
    return (rebuilt - planes).square().sum() / len(images) + divergence.mean()


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)) in nats, (N,), of latents (N, L) with these moments."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def separate_confidences(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of the classes, each confidence exp(logit) by itself.

    For a network whose logits are log-confidences, at most 0, that need not sum to 1, as an RBF
    network's are.
    """
    logits = model(images)
    own = functional.one_hot(labels, logits.shape[1]).to(logits)
    # At a center another class's confidence is 1 and its loss infinite.
    other = torch.log(-torch.expm1(logits.clamp_max(-1e-6)))
    return -(own * logits + (1 - own) * other).sum(dim=1).mean()
