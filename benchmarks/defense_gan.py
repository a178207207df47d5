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


DEFENSE_GAN: dict[str, Callable[[int], None]] = {"defense-gan": breaks}
