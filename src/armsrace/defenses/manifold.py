"""The robust manifold defense: training that pulls close pairs of a decoder's images together.

Jalal, Ilyas, Daskalakis and Dimakis 2017, §3.3, and the authors' code. Invert-and-classify, the
other half, is `Purified(LatentProjection(decoder, search), classifier)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from armsrace.attacks.overpowered import overpowered
from armsrace.contracts import Model, check_at_least, check_count
from armsrace.models import zoo
from armsrace.models.vae import VariationalAutoencoder
from armsrace.training.recipe import Objective


def divergence_apart(model: Model, pairs: Tensor) -> Tensor:
    """KL(C(first) ‖ C(second)) in nats (N,), of pairs of images (N, 2, C, H, W).

    >>> model, pairs = zoo.load("softmax"), torch.rand(3, 2, 1, 28, 28)
    >>> defenses.divergence_apart(model, pairs).shape
    torch.Size([3])
    """
    logs = model(pairs.flatten(0, 1)).log_softmax(dim=1).unflatten(0, (-1, 2))
    first, second = logs.unbind(dim=1)
    return (first.exp() * (first - second)).sum(dim=1)


def with_pairs(
    base: Objective,
    *,
    epsilon: float,
    decoder: str | VariationalAutoencoder = "manifold-vae",
    pairs: int = 32,
    steps: int = 50,
    every: int = 8,
    weight: float = 0.5,
) -> Objective:
    """The base objective plus, every so many batches, the divergence of overpowered pairs.

    epsilon: how far the two of a pair may be apart, L2 in pixel units.
    decoder: a VariationalAutoencoder, or its name in the zoo, from whose range the pairs are.
    pairs: how many starts are drawn; those found count, by their mean.
    steps: of the attack, which works on the network as it now is.
    every: batches with pairs come by lot, one in so many on average, so that a resumed run needs
        no count. weight: what their mean divergence is multiplied by.

    The authors attack 50 pairs for 500 steps at every fifth epoch and weigh them by 1e-2; ours,
    for a run of few epochs, are more often, of fewer steps, and weigh more. What is lowered is
    KL(first ‖ second), not the cross-entropy: that also rewards certainty of the first. Raises
    ValueError or TypeError naming the argument and the rule it breaks, and CheckpointError where
    the decoder has no weights yet.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> objective = defenses.with_pairs(defenses.at_temperature(1.0), epsilon=2.0, steps=5, every=1)
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
        made = overpowered(model, vae.decode, starts, epsilon=epsilon, steps=steps)
        if not made.found.any():
            return loss
        return loss + weight * divergence_apart(model, made.images[made.found]).mean()

    return objective


def from_weights(name: str) -> Callable[[nn.Module], nn.Module]:
    """For `Recipe.around`: training goes on from the weights of the zoo's network of that name.

    The paper retrains a classifier that it has (§3.3). Raises as `zoo.load` does, and RuntimeError
    where the architecture is another.

    >>> network = zoo.load("softmax")
    >>> defenses.manifold.from_weights("softmax")(network) is network
    True
    """

    def begin(network: nn.Module) -> nn.Module:
        network.load_state_dict(zoo.load(name).state_dict())
        return network

    return begin
