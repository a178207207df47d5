"""The breaks of chapters 10 to 13 on more digits than a page has time for.

Each search has the settings of its page in the reader profile, and runs in batches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from armsrace import attacks, datasets, defenses, evaluation, ledger, zoo
from armsrace.attacks.composition import straight_through
from armsrace.contracts import AttackResult, Model
from armsrace.models.layers import predict

EFFORT: dict[str, Any] = {"binary_search_steps": 3, "steps": 40, "step_size": 0.1}
HELD_OUT, RATE = 5_000, 0.001


def _first(count: int) -> tuple[Tensor, Tensor]:
    data = datasets.load("mnist", "test")
    return data.images[:count], data.labels[:count]


def _search(
    model: Model, images: Tensor, labels: Tensor, targets: Tensor, **options: Any
) -> AttackResult:
    settings = {"initial_constant": 1.0} | EFFORT | options
    attack = partial(attacks.carlini_wagner_l2, **settings)
    return evaluation.attack_in_batches(
        attack, model, images, labels, targets=targets, batch_size=250
    )


def _second(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    first, second = predict(model, images).topk(2).indices.T
    return torch.where(first == labels, second, first)


def _measure(name: str, value: float, found: AttackResult) -> None:
    note = f"{found.success.float().mean():.1%} success, the page's settings"
    ledger.measure(name, value, n=len(found.success), note=note)


def trained(digits: int) -> None:
    """Chapter 10: Madry's network in L2, its first layer's gradient smoothed; two others by PGD."""
    layers, (images, labels) = list(zoo.load("madry-pgd").children()), _first(digits)
    hard, soft = (nn.Sequential(layers[0], bend) for bend in (nn.ReLU(), nn.Softplus(beta=20.0)))
    gate = nn.Sequential(straight_through(hard, backward=soft), *layers[2:]).eval()
    attack = partial(attacks.ddn, steps=30)
    found = evaluation.attack_in_batches(attack, gate, images, labels, batch_size=250)
    sizes = evaluation.perturbation_sizes(images, found, "l2")
    kept = evaluation.accuracy_at(sizes, [1.5, 4.5]).accuracies
    _measure("schott-madry-l2-median", sizes.median().item(), found)
    _measure("schott-madry-l2-accuracy", 100 * kept[0], found)
    _measure("madry-l2", 100 * kept[1], found)
    attack = partial(attacks.pgd, epsilon=0.3, steps=20)
    for claim, name in {"ens": "tramer-a-ensemble", "rand-trained": "s3-cnn-rand-fgsm"}.items():
        network = zoo.load(name)
        found = evaluation.attack_in_batches(attack, network, images, labels, batch_size=250)
        turned = 100 * found.success.double().mean().item()
        # The paper counts the one in errors and the other in what is left.
        _measure(f"tramer-{claim}-pgd", turned if claim == "ens" else 100 - turned, found)


def distilled(digits: int) -> None:
    """Chapter 11: a random wrong target on the network distilled at T = 100."""
    model, (images, labels) = zoo.load("distilled-100"), _first(digits)
    generator = torch.Generator().manual_seed(0)
    targets = (labels + torch.randint(1, 10, labels.shape, generator=generator)) % 10
    found = _search(model, images, labels, targets, initial_constant=1 / 100)
    sizes = evaluation.perturbation_sizes(images, found, "l2")[found.success]
    _measure("carlini-distillation-success", 100 * found.success.float().mean().item(), found)
    _measure("carlini-distillation-l2-average", sizes.mean().item(), found)


def detectors(digits: int) -> None:
    """Chapter 12: the second likeliest class past the VAE and the RBF network, at 5 % each."""
    model, vae, rbf = (zoo.load(name) for name in ("s3-cnn", "s3-vae", "rbf"))
    guard: nn.Module = model
    for score in (defenses.Divergence(vae), defenses.Surprise(model, rbf)):
        clean = predict(score, datasets.held_out("mnist").images)
        guard = defenses.Detected(guard, score, defenses.threshold_at(clean, 0.05), 10.0)
    images, labels = _first(digits)
    ready = predict(guard, images).argmax(dim=1) == labels
    images, labels = images[ready], labels[ready]
    effort = {"binary_search_steps": 4, "steps": 50, "step_size": 0.05}
    found = _search(guard, images, labels, _second(model, images, labels), **effort)
    _measure("carlini-detection-break", 100 * found.success.float().mean().item(), found)


def magnet(digits: int) -> None:
    """Chapter 13: the second likeliest class past MagNet, its weights known or imitated."""
    model, (images, labels) = zoo.load("carlini-wagner"), _first(digits)
    targets = _second(model, images, labels)
    defense, imitation = _magnet("", RATE), _magnet("-other", 4 * RATE)
    bare = _search(model, images, labels, targets)
    white = _search(defense.with_refusal(), images, labels, targets)
    transferred = _search(imitation.with_refusal(), images, labels, targets, confidence=7.0)
    for name, found in {"white": white, "accuracy": transferred}.items():
        seen, truth = found.images[found.success], labels[found.success]
        right = predict(defense, seen).argmax(dim=1) == truth
        handled = right | (predict(defense.with_refusal(), seen).argmax(dim=1) == 10)
        _measure(f"magnet-break-{name}", 100 * handled.float().mean().item(), found)
    both = bare.success & white.success
    sizes = [evaluation.perturbation_sizes(images, one, "l2")[both].mean() for one in (white, bare)]
    _measure("magnet-break-distortion", (sizes[0] / sizes[1]).item(), white)


def _magnet(suffix: str, rate: float) -> defenses.MagNet:
    first, second = (zoo.load(f"magnet-{number}{suffix}") for number in (1, 2))
    errors = defenses.ReconstructionError(first, 2), defenses.ReconstructionError(second, 1)
    defense = defenses.MagNet(zoo.load("carlini-wagner"), first, errors)
    return defense.calibrate(datasets.held_out("mnist").images[:HELD_OUT], rate)


BREAKS: dict[str, Callable[[int], None]] = {
    "trained": trained, "distilled": distilled, "detectors": detectors, "magnet": magnet
}  # fmt: skip
