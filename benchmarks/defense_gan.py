"""Defense-GAN and its breaks on more digits than a page has time for, as the page runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from armsrace import attacks, datasets, defenses, evaluation, ledger, zoo
from armsrace.attacks.adaptive import bpda
from armsrace.models.gan import LATENTS
from armsrace.models.layers import predict
from armsrace.precision import reduced_precision

BATCH = 50
REACH = (0.005 * 784) ** 0.5
PLAIN = partial(defenses.LatentSearch, LATENTS, precision=reduced_precision())


def _thinned(restarts: int, steps: int) -> defenses.LatentSearch:
    falling = partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=steps)
    return PLAIN(restarts=restarts, steps=steps, schedule=falling, halving=20.0)


def _measure(name: str, value: float, digits: int, changes: Tensor) -> None:
    length, error = changes.flatten(1).norm(dim=1).mean(), changes.square().mean()
    note = f"mean ‖δ‖₂ {length:.2f}, mean squared error {error:.4f} a pixel"
    ledger.measure(name, value, n=digits, note=note)


def breaks(digits: int) -> None:
    """FGSM on the classifier, the search on the generator's range, and BPDA."""
    model, generator = zoo.load("defense-gan-a"), zoo.load("defense-gan")
    data = datasets.load("mnist", "test")
    images, labels = data.images[:digits], data.labels[:digits]
    full, short, start = (
        defenses.LatentProjection(generator, search)
        for search in (_thinned(10, 200), PLAIN(restarts=1, steps=25), _thinned(4, 60))
    )

    def report(name: str, changed: Tensor) -> None:
        purified = torch.cat([full(part) for part in changed.split(BATCH)])
        right = predict(model, purified).argmax(dim=1) == labels
        _measure(name, 100 * right.double().mean().item(), digits, changed - images)

    batched = partial(evaluation.attack_in_batches, labels=labels, batch_size=BATCH)
    step = partial(attacks.fgsm, epsilon=0.3)
    report("gan-fgsm-a-gan", batched(step, model, images).images)
    along = partial(
        attacks.on_manifold, decoder=generator,
        encoder=lambda part: start.invert(part).latents,
        steps=120, step_size=0.05, confidence=3.0,
    )  # fmt: skip
    found = batched(along, model, images)
    report("gan-break-range", found.images)
    way = found.images - images
    length = way.flatten(1).norm(dim=1)
    _measure("gan-break-range-l2", length[found.success].mean().item(), digits, way)
    ascend = partial(
        attacks.pgd, epsilon=REACH, steps=25, step_size=REACH / 10, norm="l2", random_start=False
    )
    pretended = nn.Sequential(bpda(short), model)
    report("gan-break-bpda", batched(ascend, pretended, images).images)


def within(digits: int) -> None:
    """What each attack leaves within ‖δ‖₂ = 1.98, and what it takes to leave the budget aside.

    The nearest adversarial drawing of each of nine classes is looked for on the generator's range.
    Submitted are the nearest of them, and points on the lines toward the nearest three.
    """
    model, generator = zoo.load("defense-gan-a"), zoo.load("defense-gan")
    full, start = (
        defenses.LatentProjection(generator, search)
        for search in (_thinned(10, 200), _thinned(4, 60))
    )

    def read(changed: Tensor) -> Tensor:
        purified = torch.cat([full(part) for part in changed.split(BATCH)])
        return predict(model, purified).argmax(dim=1)

    drawn_at = torch.Generator().manual_seed(0)
    data = datasets.load("mnist", "test").take(digits * 5 // 4, drawn_at)
    right = (predict(model, data.images).argmax(dim=1) == data.labels) & (
        read(data.images) == data.labels
    )
    images, labels = data.images[right][:digits], data.labels[right][:digits]

    def stands(changed: Tensor) -> Tensor:
        return read(changed) == labels

    ascend = partial(
        attacks.pgd, epsilon=REACH, steps=40, step_size=REACH / 16, norm="l2", random_start=False
    )
    batched = partial(evaluation.attack_in_batches, ascend, labels=labels, batch_size=BATCH)
    through = nn.Sequential(bpda(full), model)
    left = {
        "PGD, the classifier alone": stands(batched(model, images).images),
        "BPDA, the full search": stands(batched(through, images).images),
    }
    sources, own, targets = evaluation.all_targets(images, labels, 10)
    latents = torch.cat([start.invert(part).latents for part in images.split(BATCH)])
    found = attacks.on_manifold(
        model, sources, own, targets=targets, decoder=generator,
        encoder=lambda _: latents.repeat_interleave(9, dim=0),
        steps=120, step_size=0.05, confidence=3.0,
    )  # fmt: skip
    way = (found.images - sources).flatten(1).norm(dim=1)
    distance, nearest = way.masked_fill(~found.success, torch.inf).view(-1, 9).sort(dim=1)
    drawn = found.images.unflatten(0, (-1, 9))[torch.arange(digits)[:, None], nearest]
    classes = targets.view(-1, 9).gather(1, nearest)[:, 0]
    passed = ~stands(drawn[:, 0]) & distance[:, 0].isfinite()
    left["range, the nearest drawing"] = ~(passed & (distance[:, 0] <= REACH))
    on_line = torch.full_like(distance[:, 0], torch.inf)
    for rank in range(3):
        for part in (0.4, 0.5, 0.6, 0.7, 0.8):
            length = part * distance[:, rank]
            point = images + part * (drawn[:, rank] - images)
            nearer = ~stands(point) & (length < on_line)
            on_line = torch.where(nearer, length, on_line)
    left["lines toward the nearest three"] = on_line > REACH
    least = torch.where(passed, distance[:, 0].minimum(on_line), on_line)
    columns = {name: stood.double().tolist() for name, stood in left.items()}
    columns |= {"least distance": least.nan_to_num(posinf=-1).tolist()}
    columns |= {"distance on the range": distance[:, 0].nan_to_num(posinf=-1).tolist()}
    for name in ("lenet", "carlini-wagner", "tramer-a", "madry-pgd"):
        seen = predict(zoo.load(name), drawn[:, 0]).argmax(dim=1)
        columns |= {f"new class: {name}": (seen == classes).double().tolist()}
        columns |= {f"old class: {name}": (seen == labels).double().tolist()}
    settings = (
        "‖δ‖₂ ≤ 1.98; digits that the defense classifies correctly; judged by the full defense, "
        "L = 200, R = 10; PGD and BPDA take 40 steps, the search on the range 120 a class; −1: none"
    )
    ledger.record(
        "defense_gan", "within", columns, settings=settings, n=digits,
        data=datasets.describe("mnist"),
    )  # fmt: skip


DEFENSE_GAN: dict[str, Callable[[int], None]] = {
    "defense-gan": breaks,
    "defense-gan-within": within,
}
