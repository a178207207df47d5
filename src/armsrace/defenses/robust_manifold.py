"""The robust manifold defense: training that makes a classifier agree on close images of a decoder.

Jalal, Ilyas, Daskalakis and Dimakis 2017, §3.3, and the authors' code. The overpowered attack finds
pairs of a decoder's images that are close to each other and that the classifier tells apart; the
training objective lowers the divergence of these pairs. The other half of the paper,
invert-and-classify, is `Purified(LatentProjection(decoder, search), classifier)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from armsrace.attacks.generative.overpowered import overpowered
from armsrace.contracts import Model, check_at_least, check_count
from armsrace.models import zoo
from armsrace.models.autoencoders import VariationalAutoencoder
from armsrace.training.recipe import Objective


def robust_manifold_loss(
    base: Objective,
    *,
    epsilon: float,
    decoder: str | VariationalAutoencoder = "manifold-vae",
    pairs: int = 32,
    steps: int = 50,
    every: int = 8,
    weight: float = 0.5,
) -> Objective:
    """The base objective plus, in some batches, the divergence of overpowered pairs.

    Args:
        base: the objective to which it is added.
        epsilon: how far apart the two of a pair may be, L2 in pixel units.
        decoder: a VariationalAutoencoder, or its name in the zoo, in whose range the pairs are.
        pairs: how many starts are drawn; the mean is over the pairs found.
        steps: of the attack, which works on the network as it is at this step.
        every: one batch in so many has pairs, on average: it is drawn at random, so that a resumed
            run needs no count.
        weight: the factor of the mean divergence.

    Returns:
        (model, images, labels) to the loss.

    Raises:
        CheckpointError: the decoder has no weights yet, when the first pairs are needed.

    Differences from the paper:
        * The authors attack 50 pairs for 500 steps at every fifth epoch, with a weight of 1e-2. For
          a run of few epochs ours come more often, with fewer steps and a larger weight.
        * The divergence KL(first ‖ second) is lowered, not the cross-entropy, which also rewards
          confidence in the first.

    Cost:
        In one batch of `every`, as `overpowered` of so many pairs and steps, and one forward and
        backward pass of the pairs.

    References:
        Jalal, Ilyas, Daskalakis and Dimakis 2017, "The robust manifold defense", §3.3.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> clean = defenses.at_temperature(1.0)
        >>> objective = defenses.robust_manifold_loss(clean, epsilon=2.0, steps=5, every=1)
        >>> objective(model, digits.images, digits.labels).ndim
        0
    """
    for name, value in (("pairs", pairs), ("steps", steps), ("every", every)):
        check_count(name, value)
    for name, bound in (("epsilon", epsilon), ("weight", weight)):
        check_at_least(name, bound, 0)
    loaded = cache(zoo.load)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        loss = base(model, images, labels)
        if int(torch.randint(every, ())) > 0:
            return loss
        vae = loaded(decoder, images.device) if isinstance(decoder, str) else decoder
        if not isinstance(vae, VariationalAutoencoder):
            raise TypeError(f"decoder must name a VariationalAutoencoder, got {decoder!r}")
        latents = vae.encode(images[:1])[0].shape[1]
        starts = torch.randn(pairs, 2, latents).to(images.device)
        attacked = overpowered(model, vae.decode, starts, epsilon=epsilon, steps=steps)
        if not attacked.found.any():
            return loss
        return loss + weight * divergence_apart(model, attacked.images[attacked.found]).mean()

    return objective


def divergence_apart(model: Model, pairs: Tensor) -> Tensor:
    """KL(C(first) ‖ C(second)) in nats (N,), C the model's confidences.

    Args:
        model: images to logits (N, K).
        pairs: of images (N, 2, C, H, W).

    Example:
        >>> model, pairs = zoo.load("softmax"), torch.rand(3, 2, 1, 28, 28)
        >>> defenses.divergence_apart(model, pairs).shape
        torch.Size([3])
    """
    log_c = model(pairs.flatten(0, 1)).log_softmax(dim=1).unflatten(0, (-1, 2))
    first, second = log_c.unbind(dim=1)
    return (first.exp() * (first - second)).sum(dim=1)


def from_weights(name: str) -> Callable[[nn.Module], nn.Module]:
    """For `Recipe.around`: training continues from the weights of the zoo's network of that name.

    The paper retrains a classifier that it has (§3.3). The architecture must be the same.

    Example:
        >>> network = zoo.load("softmax")
        >>> defenses.robust_manifold.from_weights("softmax")(network) is network
        True
    """

    def begin(network: nn.Module) -> nn.Module:
        network.load_state_dict(zoo.load(name).state_dict())
        return network

    return begin
