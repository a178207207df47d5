"""The image behind each cell of the arena, for one test digit: all of its jobs again, image kept.

The images go to data/measured/arena/images.png, tile by tile of 28 × 28 pixels with 256 levels, and
what is measured of each to images.json, with how many agree with the stored outcomes of that digit.
`_build/arena_images` keeps each job, so that a run that is stopped continues.
"""

from __future__ import annotations

import argparse
import json
import math
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from armsrace.evaluation import arena
from armsrace.evaluation.arena.jobs import digits
from armsrace.evaluation.arena.running import attacked
from armsrace.resources import CLONE, code_version, device_name, replacing

CONSOLE = Console()
KEPT = CLONE / "_build" / "arena_images"
TARGET = CLONE / "data" / "measured" / "arena"
COLUMNS = 24
CLOSE = 0.02
"""Two distances agree if they differ by this fraction or less, or both attacks have failed."""


@lru_cache(maxsize=1)
def judged(name: str) -> arena.Defended:
    """A defense, to say what it reads."""
    return arena.DEFENSES[name].on("cpu")


def cell(job: arena.Job) -> dict[str, Any]:
    """One job's outcome; its image (28, 28) is under "pixels"."""
    path = KEPT / f"{job.defense}-{job.attack}-{job.start}-{job.key[:16]}.npz"
    if not path.is_file():
        images, found = attacked(job)
        defended = judged(job.defense)
        with torch.no_grad():
            reads = defended.model(images).argmax(dim=1)
            refused = defended.refuses(images) if defended.refuses else torch.zeros(1).bool()
        values = {name: column.numpy()[0] for name, column in found.items()}
        values |= {"reads": reads.numpy()[0], "refused": refused.cpu().numpy()[0]}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, pixels=images.numpy()[0, 0], **values)
    with np.load(path) as stored:
        row = {name: stored[name] for name in stored.files}
    pixels = row.pop("pixels")
    plain = {name: value.item() for name, value in row.items()}
    entry = job.column
    return {"defense": job.defense, "attack": entry.name, "norm": entry.norm, "pixels": pixels} | {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in plain.items()
    }


def agreement(cells: list[dict[str, Any]], image: int) -> tuple[int, int]:
    """How many cells have the stored outcome of this digit, and how many were stored."""
    stored = arena.read().query("image == @image and seed == 0")
    known = {(row.defense, row.attack, row.norm): row for row in stored.itertuples()}
    pairs = [(one, known.get((one["defense"], one["attack"], one["norm"]))) for one in cells]
    same = [
        one["success"] == row.success
        and (not row.success or math.isclose(
            one[one["norm"]], getattr(row, one["norm"]), rel_tol=CLOSE, abs_tol=1e-3))
        for one, row in pairs if row is not None
    ]  # fmt: skip
    return sum(same), len(same)


def main() -> None:
    """Run the jobs of one digit, and store their images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=int, default=0, help="which test digit")
    parser.add_argument("--defense", nargs="*", default=(), help="by default those measured")
    arguments = parser.parse_args()
    image = arguments.image
    measured = list(arena.read()["defense"].unique())
    jobs = [
        arena.Job(job.defense, job.attack, image, image + 1)
        for job in arena.arena_jobs(1, defenses=arguments.defense or measured, chunk=1)
    ]
    cells = []
    for done, job in enumerate(jobs, start=1):
        cells.append(cell(job))
        CONSOLE.print(f"{done} of {len(jobs)}: {job.defense}, {job.attack}", highlight=False)
    clean, labels = digits(image, image + 1)
    tiles = [clean.numpy()[0, 0], *(one.pop("pixels") for one in cells)]
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.zeros((28 * rows, 28 * COLUMNS), dtype=np.uint8)
    for place, tile in enumerate(tiles):
        y, x = 28 * (place // COLUMNS), 28 * (place % COLUMNS)
        sheet[y : y + 28, x : x + 28] = np.round(255 * tile)
    same, known = agreement(cells, image)
    described = {
        "image": image, "label": int(labels[0]), "columns": COLUMNS, "same": same, "known": known,
        "command": f"python benchmarks/arena_images.py --image {image}", "device": device_name(),
        "date": date.today().isoformat(), "commit": code_version(), "cells": cells,
    }  # fmt: skip
    write(sheet, described, TARGET)
    CONSOLE.print(f"{same} of {known} cells agree with the stored outcomes")


def write(sheet: np.ndarray[Any, Any], described: dict[str, Any], folder: Path) -> None:
    """Write images.png, where white is no ink as on paper, and images.json."""
    with replacing(folder / "images.png") as temporary:
        Image.fromarray(255 - sheet).save(temporary, format="PNG", optimize=True)
    with replacing(folder / "images.json") as temporary:
        text = json.dumps(described, ensure_ascii=False, separators=(",", ":"))
        temporary.write_text(text.replace('{"defense"', '\n{"defense"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
