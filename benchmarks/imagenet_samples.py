"""Attacks on photographs with a thousand classes: `benchmarks/imagenet_samples.py [NAME …]`.

EfficientNet-Lite0 and the 20 ImageNet photographs in Foolbox. Each name stores its recording in
data/measured/imagenet_samples.json after each photograph, and goes on from there when it is started
again. Without names all are measured, in half an hour on one thread of a laptop. Two
perturbations are kept as pictures beside the numbers, for the pages to show.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from torch import Tensor, nn

from armsrace import attacks, datasets, evaluation, zoo
from armsrace.attacks.minimal.universal import Method, universal_perturbation
from armsrace.contracts import AttackResult, Norm
from armsrace.ledger.measurements import is_recorded, record, record_change, recorded
from armsrace.norms import distances

CONSOLE = Console()
STUDY, NETWORK, DATA = "imagenet_samples", "efficientnet-lite0", "imagenet-samples"
CLASSES = datasets.IMAGENET_CLASSES
GRAY = 1 / 255
POPULATION, GENERATIONS = 50, 5
PIXELS = 224**2
OSTRICH = "Dalmatian", "ostrich"
UNIVERSAL: dict[str, tuple[Method, tuple[int, ...], int, int]] = {
    "algorithm-1": ("deepfool", (10,), 3, 1),
    "ascent": ("ascent", (10, 20), 15, 1),
    "copies": ("ascent", (10, 20), 6, 8),
}
"""Method, budgets in gray levels, passes over the photographs, and copies of each."""
STEPS = [GRAY * 2 ** (k / 2) for k in range(-8, 11)]
Columns = dict[str, list[float]]


def evolution(pixels: int) -> Callable[..., AttackResult]:
    """Su et al.'s search, ended by the first success."""
    return partial(
        attacks.one_pixel, pixels=pixels, population=POPULATION, generations=GENERATIONS,
        label_below=1.0, batch_size=5,
    )  # fmt: skip


EVOLVED = (
    f"any wrong class; {POPULATION} candidates, up to {GENERATIONS} generations, until the first "
    f"success: at most {POPULATION * (1 + GENERATIONS)} candidates"
)
ATTACKS: dict[str, tuple[Norm, Callable[..., AttackResult], str]] = {
    "deepfool": ("l2", attacks.deepfool, "any wrong class; L2, ten candidates"),
    "ddn": ("l2", partial(attacks.ddn, steps=40), "any wrong class; 40 steps"),
    "fgsm": (
        "l2",
        partial(evaluation.smallest_epsilon, attacks.fgsm, epsilons=STEPS),
        "any wrong class; the smallest of 19 budgets, 1/16 to 32 gray levels, by powers of √2",
    ),
    "carlini-wagner": (
        "l2",
        partial(
            attacks.carlini_wagner_l2, binary_search_steps=4, steps=50, initial_constant=1.0
        ),
        "one random target for each photograph; 4 constants from 1, at most 50 steps each",
    ),
    "sigma-zero": ("l0", partial(attacks.sigma_zero, steps=100), "any wrong class; 100 steps"),
    "jsma": (
        "l0",
        partial(attacks.jsma, gamma=120 / PIXELS),
        "any wrong class; on the softmax, pairs of pixels to white, at most 120 pixels",
    ),
    **{f"pixels-{count}": ("l0", evolution(count), EVOLVED) for count in (1, 3, 5)},
}  # fmt: skip


def samples() -> tuple[nn.Module, datasets.Dataset, Tensor]:
    """The network, the photographs, and the indices of those that it classifies correctly."""
    network = zoo.load(NETWORK).requires_grad_(False)
    data = datasets.load(DATA)
    return network, data, (predictions(network, data.images) == data.labels).nonzero()[:, 0]


def predictions(network: nn.Module, images: Tensor) -> Tensor:
    """The classes (N,) that the network predicts."""
    with torch.no_grad():
        return torch.cat([network(part).argmax(dim=1) for part in images.split(4)])


def measure(name: str) -> None:
    """One attack on each photograph that is classified correctly, recorded one by one."""
    norm, attack, about = ATTACKS[name]
    network, data, right = samples()
    settings, columns = f"{NETWORK}; {about}", _begun(name, f"{NETWORK}; {about}")
    for index in right.tolist():
        if index in columns.get("photograph", []):
            continue
        x, y = data.images[index][None], data.labels[index][None]
        goal = {}
        if name == "carlini-wagner":
            draws = torch.Generator().manual_seed(index)
            others = torch.randint(1, len(CLASSES), (1,), generator=draws)
            goal = {"targets": (y + others) % len(CLASSES)}
        row, changed = _outcome(network, x, y, attack, norm, goal)
        _append(columns, {"photograph": index} | row)
        if name == "sigma-zero" or name.startswith("pixels"):
            _append_pixels(columns, index, x[0], changed[0])
        record(
            STUDY, name, columns, settings=settings, n=len(columns["photograph"]),
            data=f"{data.description}; those classified correctly",
        )  # fmt: skip
        CONSOLE.print(name, {key: values[-1] for key, values in columns.items()})


def _outcome(
    network: nn.Module, x: Tensor, y: Tensor, attack: Callable[..., AttackResult], norm: Norm,
    goal: dict[str, Tensor],
) -> tuple[dict[str, float], Tensor]:  # fmt: skip
    """What an attack found, and its image. JSON has no infinity: a failure has distance 0."""
    found = attack(network, x, y, **goal)
    with torch.no_grad():
        before, after = network(torch.cat([x, found.images])).softmax(dim=1)
    delta = found.images - x
    row = {
        "success": float(found.success),
        "distance": distances(delta, norm).item(),
        "relative": (distances(delta, "l2") / distances(x, "l2")).item(),
        "queries": float(found.queries),
        "gradients": float(found.gradients),
        "label": float(y),
        "confidence before": before[y].item(),
        "class": float(after.argmax()),
        "confidence": after.max().item(),
    }
    return row, found.images


def _append_pixels(columns: Columns, index: int, x: Tensor, changed: Tensor) -> None:
    """The changed pixels of one photograph, with their new colors, each in its own row."""
    for row, column in (changed != x).any(dim=0).nonzero().tolist():
        values = (index, row, column, *changed[:, row, column].tolist())
        for key, value in zip(("of", "row", "column", "red", "green", "blue"), values, strict=True):
            columns.setdefault(f"pixel {key}", []).append(round(value, 4))


def ostrich() -> None:
    """One photograph as an ostrich, by Carlini and Wagner's attack, in whole gray levels."""
    network, data, _ = samples()
    index = [CLASSES[label] for label in data.labels].index(OSTRICH[0])
    x, y = data.images[index][None], data.labels[index][None]
    attack = partial(
        attacks.carlini_wagner_l2, binary_search_steps=4, steps=60, initial_constant=1.0,
        confidence=3.0, levels=256,
    )  # fmt: skip
    x = (x * 255).round() / 255
    goal = {"targets": torch.tensor([CLASSES.index(OSTRICH[1])])}
    columns: Columns = {}
    row, changed = _outcome(network, x, y, attack, "l2", goal)
    _append(columns, {"photograph": index} | row)
    delta = changed - x
    columns["largest change"] = [delta.abs().max().item()]
    record_change(STUDY, "ostrich", delta)
    about = "κ = 3 logits, pixels of 256 values; 4 constants from 1, at most 60 steps each"
    record(
        STUDY, "ostrich", columns, n=1, data=data.description,
        settings=f"{NETWORK}; “{OSTRICH[0]}” to “{OSTRICH[1]}”; {about}",
    )  # fmt: skip
    CONSOLE.print("ostrich", columns)


def linearity() -> None:
    """How straight the logits are along the gradient's signs: the median R² within each reach."""
    network, data, right = samples()
    scales = torch.arange(-8, 9).double()
    columns: Columns = {}
    for index in right.tolist():
        x, y = data.images[index][None].clone().requires_grad_(), data.labels[index][None]
        (grad,) = torch.autograd.grad(nn.functional.cross_entropy(network(x), y), x)
        # Without clipping, so that the line stays a line.
        line = x.detach() + GRAY * scales.float().view(-1, 1, 1, 1) * grad.sign()
        with torch.no_grad():
            logits = torch.cat([network(part) for part in line.split(4)]).double()
        row: dict[str, float] = {"photograph": index}
        for reach in (1, 2, 4, 8):
            near = scales.abs() <= reach
            s, z = scales[near], logits[near] - logits[near].mean(dim=0)
            row[f"{reach} gray levels"] = (
                ((s @ z) ** 2 / (s @ s) / (z**2).sum(dim=0)).median().item()
            )
        _append(columns, row)
    record(
        STUDY, "linearity", columns, n=len(right),
        settings=f"{NETWORK}; median R² of the thousand logits, along the gradient's signs",
        data=f"{data.description}; those classified correctly",
    )  # fmt: skip
    CONSOLE.print("linearity", columns)


def universal(name: str) -> None:
    """Perturbations made on ten photographs, judged on the other ten, and the other way round."""
    method, budgets, passes, copies = UNIVERSAL[name]
    network, data, _ = samples()
    clean = predictions(network, data.images)
    steps = "one photograph a step" if method == "deepfool" else "ten photographs a step"
    mirrored = f", {copies} mirrored and shifted copies of each" if copies > 1 else ""
    settings = (
        f"{NETWORK}; L∞; made on ten photographs{mirrored} by {method}, at most {passes} passes, "
        f"{steps}, judged on the other ten, and the other way round; fooled: the prediction changes"
    )
    columns = _begun(f"universal-{name}", settings)
    done = set(zip(columns.get("gray levels", []), columns.get("half", []), strict=True))
    halves = torch.arange(20).chunk(2)
    noise = torch.randint(
        2, data.images[:1].shape, generator=torch.Generator().manual_seed(0)
    ).mul(2).sub(1)  # fmt: skip
    for gray in budgets:
        for half, (made, held_out) in enumerate((halves, halves[::-1])):
            if (gray, half) in done:
                continue
            v = universal_perturbation(
                network, copied(data.images[made], copies), clean[made].repeat(copies),
                epsilon=gray * GRAY, passes=passes,
                method=method, rate=1.0, batch_size=1 if method == "deepfool" else 10,
                generator=torch.Generator().manual_seed(0),
            )  # fmt: skip
            if method == "ascent":  # Algorithm 1's sum of short steps would round to nothing.
                v = (v / GRAY).round() * GRAY
            row: dict[str, float] = {"gray levels": gray, "half": half}
            for key, change in (("fooled", v), ("noise", gray * GRAY * noise)):
                moved = predictions(network, (data.images + change).clamp(0, 1))
                turned = (moved != clean).float()
                row[f"{key}, own"] = turned[made].mean().item()
                row[key] = turned[held_out].mean().item()
                if key == "fooled":
                    under = moved
            if (name, gray, half) == ("ascent", 10, 0):
                record_change(STUDY, "universal", v)
                columns["class before"] = clean.tolist()
                columns["class"] = under.tolist()
            _append(columns, row)
            record(
                STUDY, f"universal-{name}", columns, settings=settings, n=20,
                data=data.description,
            )  # fmt: skip
            CONSOLE.print(name, row)


def copied(images: Tensor, copies: int) -> Tensor:
    """The images (N, C, H, W) and, to (copies · N, C, H, W), some mirrored and shifted ones."""
    draws = torch.Generator().manual_seed(0)
    found = [images]
    for index in range(1, copies):
        shifts = torch.randint(-32, 33, (2,), generator=draws).tolist()
        moved = images.roll(shifts, dims=(2, 3))
        found.append(moved.flip(3) if index % 2 else moved)
    return torch.cat(found)


def _begun(name: str, settings: str) -> Columns:
    """What is recorded under a name so far, with the same settings."""
    if not is_recorded(STUDY, name) or (found := recorded(STUDY)[name]).settings != settings:
        return {}
    columns: Columns = json.loads(json.dumps(found.columns))
    return columns


def _append(columns: Columns, row: dict[str, float]) -> None:
    """Append a row to the columns."""
    for key, value in row.items():
        columns.setdefault(key, []).append(float(value))


def main() -> None:
    """Record the names given, or all."""
    runs: dict[str, Callable[[], None]] = {
        **{name: partial(measure, name) for name in ATTACKS},
        "ostrich": ostrich,
        "linearity": linearity,
        **{f"universal-{name}": partial(universal, name) for name in UNIVERSAL},
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(runs))
    for name in parser.parse_args().names or runs:
        runs[name]()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
