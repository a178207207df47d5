"""Judging adversarial images that were made elsewhere: what they add to the arena's outcomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from armsrace.contracts import check_choice, check_images
from armsrace.evaluation.arena.attacks import BUDGETS
from armsrace.evaluation.arena.defenses import DEFENSES
from armsrace.evaluation.arena.jobs import NORMS, digits
from armsrace.evaluation.arena.rankings import nearest, within
from armsrace.norms import distances


def submitted(path: Path) -> Tensor:
    """Images (N, 1, 28, 28) of a .npy file: numbers in [0, 1], or bytes, which are divided by 255.

    The file may leave out the axis of channels.

    Raises:
        ValueError: it is no such file.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a .npy file: {error}") from error
    if not isinstance(array, np.ndarray) or array.shape[-2:] != (28, 28):
        raise ValueError(f"{path} must hold one array of shape (N, 1, 28, 28) or (N, 28, 28)")
    if array.dtype == np.uint8:
        array = array.astype(np.float32) / 255
    if array.dtype.kind != "f" or array.size == 0 or array.size != len(array) * 784:
        raise ValueError(f"{path} must hold N images of numbers, got {array.shape}, {array.dtype}")
    images = torch.from_numpy(array.astype(np.float32)).view(-1, 1, 28, 28)
    check_images(images)
    return images


def judge(images: Tensor, defense: str, *, start: int = 0, device: str = "cpu") -> pd.DataFrame:
    """The outcome of each image against a defense of the arena, in the arena's columns.

    A clean digit that the defense misclassifies or refuses counts as beaten at distance 0, as in
    the arena.

    Args:
        images: (N, 1, 28, 28) in [0, 1], adversarial versions of the test digits in order.
        defense: a name of `DEFENSES`.
        start: the number of the first digit.
        device: of torch.

    Returns:
        One row per image: defense, image, label, clean, success, and ‖δ‖ in each norm.

    Example:
        >>> from armsrace.evaluation import arena
        >>> images, labels = arena.jobs.digits(0, 4)
        >>> arena.judge(images, "s3-cnn")["success"].any()
        np.False_
    """
    check_choice("defense", defense, tuple(DEFENSES))
    check_images(images)
    clean, labels = digits(start, start + len(images))
    if len(clean) != len(images) or clean.shape != images.shape:
        wanted = f"{len(clean)} digits of shape {tuple(clean.shape[1:])} from number {start} on"
        raise ValueError(f"images must match the {wanted}, got {tuple(images.shape)}")
    defended = DEFENSES[defense].on(device)
    moved, clean, labels = images.to(device), clean.to(device), labels.to(device)
    right = defended.clean_correct(clean, labels)
    success = ~right | defended.is_adversarial(moved, labels)
    delta = torch.where(right.view(-1, 1, 1, 1), moved - clean, 0.0)
    columns = {"label": labels, "clean": right, "success": success}
    columns |= {str(norm): distances(delta, norm) for norm in NORMS}
    values = {name: column.cpu().numpy() for name, column in columns.items()}
    index = pd.RangeIndex(start, start + len(images))
    return pd.DataFrame({"defense": defense, "image": index, **values})


def compared(judged: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """What judged images add to the outcomes of the same defense and digits, one row per norm.

    Returns:
        Columns `budget`; `these`, `before` and `together`, the accuracies that these images, the
        arena's attacks, and both leave within it; `nearer`, of how many digits these images are
        nearer than every image before; and `n`.
    """
    known = outcomes[outcomes["defense"].isin(judged["defense"])]
    known = known[known["image"].isin(judged["image"])]
    if known["image"].nunique() != len(judged):
        raise ValueError(
            f"outcomes must have the {len(judged)} digits judged, got {known['image'].nunique()}"
        )
    rows = {}
    both = pd.concat([judged, known])
    for norm in NORMS:
        left = [
            1 - within(part, norm).groupby(part["image"]).any().mean()
            for part in (judged, known, both)
        ]
        mine, before = (nearest(part, norm).iloc[:, 0] for part in (judged, known))
        nearer = int((mine < before * (1 - 1e-4)).sum())
        rows[str(norm)] = [float(BUDGETS[norm]), *left, nearer, len(judged)]
    names = ["budget", "these", "before", "together", "nearer", "n"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)
