"""The networks of the zoo: what each name builds, and how its weights are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from armsrace.models import autoencoders, class_vaes, classifiers, convolutional, gan, rbf, vae


@dataclass(frozen=True)
class Entry:
    """One network of the zoo; `storage` is the dtype of its weights on disk, float32 in memory."""

    build: Callable[[], nn.Module]
    about: str
    dataset: str = "mnist"
    storage: torch.dtype = torch.float32


_BYTES = torch.int8
TEMPERATURES = (1, 2, 5, 10, 20, 30, 40, 50, 100)
"""Those of defensive distillation (Papernot et al. 2016, §V)."""

ENTRIES: dict[str, Entry] = {
    "softmax": Entry(classifiers.softmax_regression, "softmax regression"),
    "logistic-3-vs-7": Entry(
        partial(classifiers.softmax_regression, classes=2),
        "logistic regression, 3 (class 0) against 7 (class 1)",
    ),
    "maxout": Entry(classifiers.maxout, "Goodfellow's maxout network", storage=torch.float16),
    "maxout-fgsm": Entry(
        classifiers.maxout, "maxout, half its loss on FGSM images (ε = .25)", storage=torch.float16
    ),
    "s3-cnn": Entry(classifiers.s3_cnn, "the 16-32-64 convolutional network of chapter 1"),
    "s3-cnn-fgsm": Entry(classifiers.s3_cnn, "the same, trained on FGSM images alone (ε = .3)"),
    "carlini-wagner": Entry(classifiers.carlini_wagner, "the Carlini–Wagner network"),
    "carlini-wagner-odd": Entry(
        classifiers.carlini_wagner, "the same, trained on every other pair of images"
    ),
    "carlini-wagner-even": Entry(
        classifiers.carlini_wagner, "the same, trained on the other pairs"
    ),
    "lenet": Entry(convolutional.lenet, "LeNet, 20 and 50 filters", storage=torch.float16),
    "dense-500-150": Entry(
        convolutional.dense_500_150, "784-500-150-10 units, dense", storage=torch.float16
    ),
    "cifar-cnn": Entry(
        convolutional.cifar_cnn, "six convolutions for CIFAR-10, 32 to 128 filters", "cifar10"
    ),
    "cifar-resnet": Entry(
        convolutional.cifar_resnet,
        "a residual network of three blocks for CIFAR-10",
        "cifar10",
        _BYTES,
    ),
    "s3-cnn-rand-fgsm": Entry(
        classifiers.s3_cnn, "the 16-32-64 network, trained on RAND+FGSM images alone (ε = .3)"
    ),
    "manifold-robust": Entry(
        classifiers.s3_cnn,
        "the 16-32-64 network, trained on PGD images (L2, ε = 1.5) and overpowered pairs",
    ),
    "manifold-pgd": Entry(classifiers.s3_cnn, "its control: the same training without the pairs"),
    "carlini-wagner-trades": Entry(
        classifiers.carlini_wagner, "the Carlini–Wagner network, trained by TRADES (ε = .3)"
    ),
    "madry": Entry(classifiers.madry, "Madry's network, trained without attacks", storage=_BYTES),
    "madry-pgd": Entry(
        classifiers.madry, "Madry's network, trained on PGD images (ε = .3)", storage=_BYTES
    ),
    **{
        f"tramer-{letter.lower()}": Entry(
            partial(classifiers.tramer, letter), f"Tramèr's network {letter}", storage=_BYTES
        )
        for letter in "ABCD"
    },
    "tramer-a-fgsm": Entry(
        partial(classifiers.tramer, "A"),
        "Tramèr's A, half its loss on FGSM images (ε = .3)",
        storage=_BYTES,
    ),
    "tramer-a-ensemble": Entry(
        partial(classifiers.tramer, "A"),
        "Tramèr's A, half its loss on FGSM images of A, C, D and itself (ε = .3)",
        storage=_BYTES,
    ),
    **{
        f"defense-gan-{letter.lower()}": Entry(
            partial(classifiers.defense_gan, letter),
            f"Defense-GAN's classifier {letter}",
            storage=_BYTES,
        )
        for letter in "ABCDEF"
    },
    "defense-gan-a-rec": Entry(
        partial(classifiers.defense_gan, "A"),
        "Defense-GAN's classifier A, trained on the generator's reconstructions",
        storage=_BYTES,
    ),
    **{
        f"{role}-{temperature}": Entry(
            classifiers.carlini_wagner,
            f"the Carlini–Wagner network, {words} at temperature {temperature}",
            storage=torch.float16,
        )
        for temperature in TEMPERATURES
        for role, words in (
            ("distillation-teacher", "trained on labels"),
            ("distilled", "trained on its teacher's soft labels"),
        )
    },
    "s3-vae": Entry(vae.s3_vae, "the tutorial's VAE with two latents", storage=torch.float16),
    "manifold-vae": Entry(
        vae.manifold_vae, "the robust manifold's VAE, 20-500-500-784", storage=_BYTES
    ),
    "schott-cnn": Entry(
        convolutional.schott_cnn, "the CNN beside analysis by synthesis", storage=_BYTES
    ),
    "abs": Entry(
        class_vaes.ClassVaes,
        "analysis by synthesis: a VAE with 8 latents a class",
        storage=torch.float16,
    ),
    "defense-gan": Entry(
        gan.compact, "Defense-GAN's generator in a size for a CPU", storage=torch.float16
    ),
    "defense-gan-original": Entry(gan.original, "Defense-GAN's generator in the paper's size"),
    "rbf": Entry(rbf.rbf, "Goodfellow's shallow RBF network, a diagonal β a class"),
    "magnet-1": Entry(autoencoders.magnet_1, "MagNet's autoencoder I: reformer and detector"),
    "magnet-2": Entry(autoencoders.magnet_2, "MagNet's autoencoder II: detector"),
    "magnet-1-other": Entry(autoencoders.magnet_1, "an attacker's own autoencoder I"),
    "magnet-2-other": Entry(autoencoders.magnet_2, "an attacker's own autoencoder II"),
    "magnet-team": Entry(autoencoders.Team, "eight autoencoders I, trained together to differ"),
}
