"""The robust manifold on more digits and pairs than the page, with its settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from armsrace import attacks, datasets, defenses, evaluation, ledger, zoo
from armsrace.attacks.adaptive import unrolled
from armsrace.attacks.black_box.substitute import train_substitute
from armsrace.attacks.generative.overpowered import overpowered, pair_starts
from armsrace.contracts import AttackResult
from armsrace.models import classifiers
from armsrace.models.autoencoders import VariationalAutoencoder
from armsrace.models.layers import predict
from armsrace.precision import reduced_precision

FAR = partial(attacks.pgd, epsilon=2.5, norm="l2", steps=20)
NEAR = partial(attacks.pgd, epsilon=0.3, steps=20)
FGSM = partial(attacks.fgsm, epsilon=0.3)


def _vae() -> VariationalAutoencoder:
    loaded = zoo.load("manifold-vae")
    if not isinstance(loaded, VariationalAutoencoder):
        raise TypeError(f"manifold-vae must be a VariationalAutoencoder, got {type(loaded)}")
    return loaded


def _encoded(vae: VariationalAutoencoder, images: Tensor) -> Tensor:
    return vae.encode(images)[0]


def _defended(vae: VariationalAutoencoder, classifier: nn.Module) -> nn.Module:
    falling = partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=200)
    search = defenses.LatentSearch(
        20, schedule=falling, halving=20.0, precision=reduced_precision()
    )
    return defenses.Purified(defenses.LatentProjection(vae.decode, search), classifier)


def _replacements(
    vae: VariationalAutoencoder, plain: nn.Module, defended: nn.Module
) -> dict[str, tuple[nn.Module, Callable[..., AttackResult]]]:
    known = datasets.held_out("mnist").images[:50]
    build = classifiers.s3_cnn
    imitated = train_substitute(defended, known, build=build, rounds=2, step=0.1, epochs=20)
    short = defenses.LatentProjection(
        vae.decode,
        defenses.LatentSearch(20, restarts=1, steps=10),
        starts=lambda images: _encoded(vae, images)[:, None],
    )
    return {
        "manifold-substitute": (imitated.model, FGSM),
        "manifold-encoder-inc": (nn.Sequential(vae, plain), NEAR),
        "manifold-unrolled-l2": (defenses.Purified(unrolled(short), plain), FAR),
    }


def projection(digits: int) -> None:
    """What invert-and-classify keeps, attack by attack, and how far away the break is."""
    data, vae, plain = datasets.load("mnist", "test"), _vae(), zoo.load("s3-cnn")
    images, labels = data.images[:digits], data.labels[:digits]
    defended = _defended(vae, plain)

    def kept(network: nn.Module, seen: Tensor) -> float:
        right = predict(network, seen).argmax(dim=1) == labels
        return 100 * right.double().mean().item()

    ledger.measure("manifold-none-clean", kept(plain, images), n=digits)
    ledger.measure("manifold-inc-clean", kept(defended, images), n=digits)
    for name, attack in {"fgsm": FGSM, "pgd": NEAR, "pgd-l2": FAR}.items():
        seen = evaluation.attack_in_batches(attack, plain, images, labels).images
        ledger.measure(f"manifold-none-{name}", kept(plain, seen), n=digits)
        ledger.measure(f"manifold-inc-{name}", kept(defended, seen), n=digits)
    for claim, (source, attack) in _replacements(vae, plain, defended).items():
        seen = evaluation.attack_in_batches(attack, source, images, labels).images
        ledger.measure(claim, kept(defended, seen), n=digits)
        if claim == "manifold-encoder-inc":
            ledger.measure("manifold-encoder-own", kept(source, seen), n=digits)
    on_range = partial(
        attacks.on_manifold, decoder=vae.decode, encoder=partial(_encoded, vae), steps=150,
        confidence=2.0,
    )  # fmt: skip
    found = evaluation.attack_in_batches(on_range, plain, images, labels)
    bare = evaluation.attack_in_batches(partial(attacks.ddn, steps=40), plain, images, labels)
    sizes = [evaluation.perturbation_sizes(images, one, "l2").median() for one in (found, bare)]
    ledger.measure("manifold-break-accuracy", kept(defended, found.images), n=digits)
    ledger.measure("manifold-break-distance", (sizes[0] / sizes[1]).item(), n=digits)


def pairs(count: int) -> None:
    """The overpowered attack on the plain network and on the one trained on the manifold."""
    vae = _vae()
    plain, robust = zoo.load("s3-cnn"), zoo.load("manifold-robust")
    starts = pair_starts(count, 20, torch.Generator().manual_seed(0))
    for suffix, network in {"": plain, "-after": robust}.items():
        made = overpowered(network, vae.decode, starts, epsilon=1.5, steps=80, first=False)
        found = int(made.found.sum())
        ledger.measure(f"manifold-pairs{suffix}", 100 * found / count, n=count)
        apart = made.divergences[made.found].mean().item()
        ledger.measure(f"manifold-divergence{suffix}", apart, n=found)
        if network is plain:
            old = made.images[made.found]
    read = predict(robust, old.flatten(0, 1)).argmax(dim=1).unflatten(0, (-1, 2))
    differ = 100 * (read[:, 0] != read[:, 1]).double().mean().item()
    ledger.measure("manifold-old-pairs", differ, n=len(old))
    with torch.no_grad():
        apart = defenses.divergence_apart(robust, old).mean().item()
    ledger.measure("manifold-old-divergence", apart, n=len(old))


MANIFOLD: dict[str, Callable[[int], None]] = {"manifold": projection, "manifold-pairs": pairs}
