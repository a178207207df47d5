"""Attacks on many images: in batches, on several devices, with a progress bar."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least

Attack = Callable[..., AttackResult]
"""An attack with everything set except for the model, the images and the labels."""


def attack_in_batches(
    attack: Attack,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    batch_size: int = 500,
    devices: Sequence[str] | None = None,
    progress: str | None = None,
) -> AttackResult:
    """Attack any number of images, in batches and on several devices.

    Random attacks derive an image's random numbers from its pixels. The result therefore does not
    depend on the batch size if each batch starts from the same seed: the default one, or another
    one by `seeded`.

    Args:
        attack: called as attack(model, images, labels), with targets=… if targets are given.
        model: images to logits (N, K); an nn.Module if devices are given.
        images: (N, C, H, W).
        labels: (N,) int64, the true classes.
        targets: (N,) int64, the wanted classes.
        bounds: the box of valid pixels; any but the unit box is given to the attack.
        batch_size: images per call of the attack.
        devices: where to compute, by default where the images are. Each device has its own copy of
            the model and its own batches.
        progress: the label of a progress bar; None shows no bar.

    Returns:
        One result for all images, on the images' device.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> attack = functools.partial(attacks.fgsm, epsilon=0.2)
        >>> found = evaluation.attack_in_batches(
        ...     attack, model, digits.images, digits.labels, batch_size=5
        ... )
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

    def run(indices: Tensor) -> AttackResult:
        replica = free.get()
        try:
            own, device = replica
            batch = images[indices].to(device), labels[indices].to(device)
            wanted = {} if targets is None else {"targets": targets[indices].to(device)}
            return _to_device(attack(own, *batch, **wanted, **box(bounds)), images.device)
        finally:
            free.put(replica)
            bar.update(len(indices))

    with bar, ThreadPoolExecutor(len(replicas)) as pool:
        batches = torch.arange(len(images), device=images.device).split(batch_size)
        return _concatenated(list(pool.map(run, batches)))


def box(bounds: Bounds) -> dict[str, Bounds]:
    """The keyword that gives an attack its box; none for the unit box, which is every default."""
    return {} if bounds == UNIT else {"bounds": bounds}


def _replicas(model: Model, devices: Sequence[str] | None) -> list[tuple[Model, str | None]]:
    """The model on each device, with the device's name."""
    if devices is None:
        return [(model, None)]
    if not devices:
        raise ValueError("devices must not be empty")
    if not isinstance(model, nn.Module):
        raise TypeError("model must be an nn.Module to be copied to devices")
    return [(copy.deepcopy(model).to(device), device) for device in devices]


def _to_device(result: AttackResult, device: torch.device) -> AttackResult:
    """The result on a device."""
    return AttackResult(*(value.to(device) for value in vars(result).values()))


def _concatenated(results: list[AttackResult]) -> AttackResult:
    """The results of all batches as one."""
    columns = zip(*(vars(result).values() for result in results), strict=True)
    return AttackResult(*(torch.cat(column) for column in columns))


def seeded(attack: Callable[..., AttackResult], seed: int) -> Callable[..., AttackResult]:
    """The same attack, with a new generator of this seed at each call.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> attack = evaluation.seeded(functools.partial(attacks.rand_fgsm, epsilon=0.2), seed=1)
        >>> first, again = (attack(model, digits.images, digits.labels).images for _ in range(2))
        >>> torch.equal(first, again)
        True
    """

    def run(*arguments: Any, **settings: Any) -> AttackResult:
        return attack(*arguments, generator=torch.Generator().manual_seed(seed), **settings)

    return run
