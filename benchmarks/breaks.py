"""The breaks of four defenses on more digits than a page has time for.

Each search has about the settings of its page in the reader profile, and runs in batches; what is
recorded says which.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from armsrace import attacks, datasets, defenses, evaluation, ledger, zoo
from armsrace.attacks.adaptive import bpda
from armsrace.contracts import AttackResult, Model
from armsrace.losses import margin
from armsrace.models.layers import predict

EFFORT: dict[str, Any] = {"binary_search_steps": 3, "steps": 40, "step_size": 0.1}
HELD_OUT, RATE = 5_000, 0.001
BRIEF: dict[str, Any] = EFFORT | {"binary_search_steps": 2}
SLOW: dict[str, Any] = {"steps": 40, "step_size": 0.02}
KAPPAS = (0.0, 5.0, 10.0, 20.0, 30.0, 40.0)


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
    """Training: Madry's network in L2, its first layer's gradient smoothed; two others by PGD."""
    (_, gate), (images, labels) = _madry(), _first(digits)
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


def _madry() -> tuple[nn.Module, nn.Module]:
    """Madry's network, and the same with the gradient of a softplus in its first layer."""
    network = zoo.load("madry-pgd")
    layers = list(network.children())
    hard, soft = (nn.Sequential(layers[0], bend) for bend in (nn.ReLU(), nn.Softplus(beta=20.0)))
    return network, nn.Sequential(bpda(hard, backward=soft), *layers[2:]).eval()


def beyond(digits: int) -> None:
    """Training: Madry's network at its budget in L∞ and beyond, with and without its gradient."""
    (network, gate), (images, labels) = _madry(), _first(digits)
    many = partial(attacks.pgd, steps=100, loss=margin)
    tries = {
        "PGD, 10 steps": (partial(attacks.pgd, steps=10), network),
        "PGD, 100 steps": (many, network),
        "PGD, 100 steps, smoothed": (many, gate),
        "APGD, 100 steps": (partial(attacks.auto_pgd, steps=100), network),
        "Square, 1,000 queries": (partial(attacks.square, queries=1_000), network),
    }
    columns: dict[str, list[float]] = {"epsilon": [0.3, 0.325, 0.35, 0.4]}
    columns |= {name: [] for name in (*tries, "all")}
    for epsilon in columns["epsilon"]:
        stands = torch.ones_like(labels, dtype=torch.bool)
        for name, (attack, shown) in tries.items():
            run = partial(attack, epsilon=epsilon)
            found = evaluation.attack_in_batches(run, shown, images, labels, batch_size=250)
            wrong = predict(network, found.images).argmax(dim=1) != labels
            columns[name].append(1 - wrong.double().mean().item())
            stands &= ~wrong
        columns["all"].append(stands.double().mean().item())
    ledger.record(
        "madry", "beyond", columns, settings="madry-pgd, L∞; one start each; the loss of PGD with "
        "100 steps is the margin", n=digits, data=datasets.describe("mnist"),
    )  # fmt: skip


def distilled(digits: int) -> None:
    """Distillation: a random wrong target on the network distilled at T = 100."""
    model, (images, labels) = zoo.load("distilled-100"), _first(digits)
    generator = torch.Generator().manual_seed(0)
    targets = (labels + torch.randint(1, 10, labels.shape, generator=generator)) % 10
    found = _search(model, images, labels, targets, initial_constant=1 / 100)
    sizes = evaluation.perturbation_sizes(images, found, "l2")[found.success]
    _measure("carlini-distillation-success", 100 * found.success.float().mean().item(), found)
    _measure("carlini-distillation-l2-average", sizes.mean().item(), found)


def temperatures(digits: int) -> None:
    """Distillation: distances to the same targets, undefended and at each temperature."""
    networks = {"undefended": (zoo.load("carlini-wagner"), 1)}
    networks |= {f"T = {T}": (zoo.load(f"distilled-{T}"), T) for T in (1, 5, 100)}
    images, labels = _first(2 * digits)
    right = torch.stack([predict(net, images).argmax(1) == labels for net, _ in networks.values()])
    images, labels = (part[right.all(dim=0)][:digits] for part in (images, labels))
    generator = torch.Generator().manual_seed(0)
    targets = (labels + torch.randint(1, 10, labels.shape, generator=generator)) % 10
    columns = {}
    for name, (network, scale) in networks.items():
        effort = {"binary_search_steps": 5, "steps": 100, "step_size": 0.05}
        found = _search(network, images, labels, targets, initial_constant=1 / scale, **effort)
        sizes = evaluation.perturbation_sizes(images, found, "l2")
        columns[name] = sizes.nan_to_num(posinf=-1).tolist()
    ledger.record(
        "distillation", "temperatures", columns, settings="C&W L2, 5 constants of 100 steps, the "
        "first 1 / T; one random target for each digit; −1: none found", n=digits,
        data=datasets.describe("mnist"),
    )  # fmt: skip


def detectors(digits: int) -> None:
    """Detection: the second likeliest class past the VAE and the RBF network, at 5 % each."""
    model, vae, rbf = (zoo.load(name) for name in ("s3-cnn", "s3-vae", "rbf"))
    guard: nn.Module = model
    for score in (defenses.Divergence(vae), defenses.CrossNetworkNLL(model, rbf)):
        clean = predict(score, datasets.held_out("mnist").images)
        guard = defenses.Detected(guard, score, defenses.threshold_at(clean, 0.05), 10.0)
    images, labels = _first(digits)
    ready = predict(guard, images).argmax(dim=1) == labels
    images, labels = images[ready], labels[ready]
    effort = {"binary_search_steps": 4, "steps": 50, "step_size": 0.05}
    found = _search(guard, images, labels, _second(model, images, labels), **effort)
    _measure("carlini-detection-break", 100 * found.success.float().mean().item(), found)


def magnet(digits: int) -> None:
    """MagNet: the second likeliest class past MagNet, its weights known or imitated."""
    model, (images, labels) = zoo.load("carlini-wagner"), _first(digits)
    targets = _second(model, images, labels)
    defense, imitation = _magnet("", RATE), _magnet("-other", 4 * RATE)
    bare = _search(model, images, labels, targets)
    white = _search(defense.with_refusal(), images, labels, targets)
    transferred = _search(imitation.with_refusal(), images, labels, targets, confidence=7.0)
    for name, found in {"white": white, "accuracy": transferred}.items():
        seen, truth = found.images[found.success], labels[found.success]
        _measure(f"magnet-break-{name}", 100 * _prongs(defense, seen, truth)["MagNet"], found)
    both = bare.success & transferred.success
    sizes = [
        evaluation.perturbation_sizes(images, one, "l2")[both].mean() for one in (transferred, bare)
    ]
    _measure("magnet-break-distortion", (sizes[0] / sizes[1]).item(), transferred)


def _record(name: str, columns: dict[str, list[float]], settings: str, digits: int) -> None:
    data = datasets.describe("mnist")
    ledger.record("magnet", name, columns, settings=settings, n=digits, data=data)


def unaware(digits: int) -> None:
    """MagNet: the two slowest attacks of an attacker who does not know of MagNet."""
    defense, (images, labels) = _magnet("", RATE), _first(digits)
    linf = partial(attacks.carlini_wagner_linf, initial_constant=1.0, decrease=0.9, **SLOW)
    columns = {}
    for norm, attack in {"L∞": linf, "L0": partial(attacks.carlini_wagner_l0, **SLOW)}.items():
        found = evaluation.attack_in_batches(
            attack, defense.classifier, images, labels, batch_size=50
        )
        columns[f"C&W {norm}"] = list(_prongs(defense, found.images, labels).values())
    settings = f"untargeted, at most {SLOW['steps']} steps a constant"
    ledger.record(
        "magnet", "unaware", columns, settings=settings, n=digits, data=datasets.describe("mnist")
    )


def confident(digits: int) -> None:
    """MagNet: what each prong handles of images with a margin of κ logits, MagNet unknown."""
    defense, (images, labels) = _magnet("", RATE), _first(digits)
    rows = []
    for kappa in KAPPAS:
        attack = partial(
            attacks.carlini_wagner_l2, confidence=kappa, initial_constant=1.0, **EFFORT
        )
        found = evaluation.attack_in_batches(
            attack, defense.classifier, images, labels, batch_size=50
        )
        rows.append(_prongs(defense, found.images, labels))
    columns = {"kappa": list(KAPPAS)} | {name: [row[name] for row in rows] for name in rows[0]}
    settings = f"C&W L2, untargeted, {_said(EFFORT)}"
    ledger.record(
        "magnet",
        "confidence",
        columns,
        settings=settings,
        n=digits,
        data=datasets.describe("mnist"),
    )


def lot(digits: int) -> None:
    """MagNet: accuracy behind each of eight reformers on images made against each of them."""
    model, (images, labels) = zoo.load("carlini-wagner"), _first(digits)
    reformed = [defenses.Purified(member, model) for member in zoo.load("magnet-team")]
    attack = partial(attacks.carlini_wagner_l2, initial_constant=1.0, **BRIEF)
    columns = {}
    for letter, attacked in zip("ABCDEFGH", reformed, strict=True):
        found = evaluation.attack_in_batches(attack, attacked, images, labels, batch_size=50)
        columns[letter] = [evaluation.accuracy(one, found.images, labels) for one in reformed]
    settings = f"C&W L2, untargeted, {_said(BRIEF)}; a column is the reformer attacked"
    ledger.record(
        "magnet", "lot", columns, settings=settings, n=digits, data=datasets.describe("mnist")
    )


def expected(digits: int) -> None:
    """MagNet: the same lot against an attacker of the mean of the eight logits, by margins."""
    model, (images, labels) = zoo.load("carlini-wagner"), _first(digits)
    reformed = [defenses.Purified(member, model) for member in zoo.load("magnet-team")]

    def mean_logits(batch: Tensor) -> Tensor:
        return torch.stack([network(batch) for network in reformed]).mean(dim=0)

    columns: dict[str, list[float]] = {"kappa": [], "at random": [], "best": [], "size": []}
    for kappa in (0.0, 5.0):
        attack = partial(attacks.carlini_wagner_l2, confidence=kappa, initial_constant=1.0, **BRIEF)
        found = evaluation.attack_in_batches(attack, mean_logits, images, labels, batch_size=50)
        left = [evaluation.accuracy(one, found.images, labels) for one in reformed]
        sizes = evaluation.perturbation_sizes(images, found, "l2")[found.success]
        row = (kappa, sum(left) / len(left), max(left), sizes.mean().item())
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    settings = f"C&W L2 on the mean of eight, untargeted, {_said(BRIEF)}"
    ledger.record(
        "magnet", "expected", columns, settings=settings, n=digits, data=datasets.describe("mnist")
    )


def _said(effort: dict[str, Any]) -> str:
    return f"{effort['binary_search_steps']} constants of {effort['steps']} steps"


def _prongs(defense: defenses.MagNet, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Shares classified correctly without a defense, and handled by one prong and by both."""
    right = predict(defense.classifier, images).argmax(dim=1) == labels
    reformed = predict(defense, images).argmax(dim=1) == labels
    refused = predict(defense.with_refusal(), images).argmax(dim=1) == 10
    shares = {
        "no defense": right, "detectors alone": right | refused, "reformer alone": reformed,
        "MagNet": reformed | refused,
    }  # fmt: skip
    return {name: share.double().mean().item() for name, share in shares.items()}


def _magnet(suffix: str, rate: float) -> defenses.MagNet:
    first, second = (zoo.load(f"magnet-{number}{suffix}") for number in (1, 2))
    errors = defenses.ReconstructionError(first, 2), defenses.ReconstructionError(second, 1)
    defense = defenses.MagNet(zoo.load("carlini-wagner"), first, errors)
    return defense.calibrate(datasets.held_out("mnist").images[:HELD_OUT], rate)


BREAKS: dict[str, Callable[[int], None]] = {
    "trained": trained, "beyond": beyond, "distilled": distilled, "temperatures": temperatures,
    "detectors": detectors,
    "magnet": magnet, "magnet-unaware": unaware, "magnet-confident": confident, "magnet-lot": lot,
    "magnet-expected": expected,
}  # fmt: skip
