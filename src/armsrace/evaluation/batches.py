"""Attacks over many images: cut into batches, spread over devices, progress shown."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from armsrace.contracts import AttackResult, Model, check_at_least

Attack = Callable[..., AttackResult]
"""An attack with everything set but the model, the images and the labels."""


def attack_in_batches(
    attack: Attack,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    batch_size: int = 500,
    devices: Sequence[str] | None = None,
    progress: str | None = None,
) -> AttackResult:
    """One result for all images (N, C, H, W), on the images' own device.

    targets: the wanted classes (N,), handed to the attack by that name, batch by batch.
    devices: where to work, each on its own copy of the model and its own batches; by default where
        the images are. More than one, or another one, needs a model that is an nn.Module.
    progress: the words beside a progress bar, which goes away at the end; None shows none.

    Random attacks tie their numbers to the image, so the cut into batches does not matter as long
    as each batch starts from the same seed: by default, or for another seed through `seeded`.
    Raises ValueError for a batch size below 1, no device, or not one target an image.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> attack = functools.partial(attacks.fgsm, epsilon=0.2)
    >>> options = {"batch_size": 5}
    >>> found = evaluation.attack_in_batches(attack, model, digits.images, digits.labels, **options)
    >>> len(found)
    8
    """
    check_at_least("batch_size", batch_size, 1)
    if targets is not None and len(targets) != len(images):
        raise ValueError(f"targets must have length {len(images)}, got {len(targets)}")
    replicas = _replicas(model, devices)
    free: SimpleQueue[tuple[Model, str | None]] = SimpleQueue()
    for replica in replicas:
        free.put(replica)
    bar = tqdm(total=len(images), desc=progress, disable=progress is None, leave=False)

    def run(places: Tensor) -> AttackResult:
        replica = free.get()
        try:
            own, device = replica
            batch = images[places].to(device), labels[places].to(device)
            wanted = {} if targets is None else {"targets": targets[places].to(device)}
            return _moved(attack(own, *batch, **wanted), images.device)
        finally:
            free.put(replica)
            bar.update(len(places))

    with bar, ThreadPoolExecutor(len(replicas)) as pool:
        places = torch.arange(len(images), device=images.device).split(batch_size)
        return _joined(list(pool.map(run, places)))


def seeded(attack: Callable[..., AttackResult], seed: int) -> Callable[..., AttackResult]:
    """The same attack with a new generator of this seed at each call.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> attack = evaluation.seeded(functools.partial(attacks.rand_fgsm, epsilon=0.2), seed=1)
    >>> first, again = (attack(model, digits.images, digits.labels).images for _ in range(2))
    >>> torch.equal(first, again)
    True
    """

    def run(*arguments: Any, **settings: Any) -> AttackResult:
        return attack(*arguments, generator=torch.Generator().manual_seed(seed), **settings)

    return run


def _replicas(model: Model, devices: Sequence[str] | None) -> list[tuple[Model, str | None]]:
    if devices is None:
        return [(model, None)]
    if not devices:
        raise ValueError("devices must not be empty")
    if not isinstance(model, nn.Module):
        raise TypeError("model must be an nn.Module to be copied to devices")
    return [(copy.deepcopy(model).to(device), device) for device in devices]


def _moved(result: AttackResult, device: torch.device) -> AttackResult:
    return AttackResult(*(value.to(device) for value in vars(result).values()))


def _joined(results: list[AttackResult]) -> AttackResult:
    columns = zip(*(vars(result).values() for result in results), strict=True)
    return AttackResult(*(torch.cat(column) for column in columns))
