"""The image behind each cell of the arena, for one digit: recorded and published."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from armsrace.evaluation import arena
from armsrace.evaluation.arena import rankings
from armsrace.resources import data_root


def test_recorded_images_are_those_of_their_cells() -> None:
    """From 256 levels the sizes follow up to rounding, but for the number of pixels."""
    folder = data_root() / "measured" / "arena"
    described = json.loads((folder / "images.json").read_text(encoding="utf-8"))
    with Image.open(folder / "images.png") as sheet:
        ink = 1 - np.asarray(sheet, dtype=float) / 255
    columns, cells = described["columns"], described["cells"]
    tiles = [
        ink[28 * (place // columns) :, 28 * (place % columns) :][:28, :28]
        for place in range(len(cells) + 1)
    ]
    names = {(cell["defense"], cell["attack"], cell["norm"]) for cell in cells}
    assert len(names) == len(cells) >= 400
    assert {cell["defense"] for cell in cells} == set(arena.read()["defense"])
    for cell, tile in zip(cells, tiles[1:], strict=True):
        change = tile - tiles[0]
        assert np.abs(change).max() == pytest.approx(cell["linf"], abs=1.01 / 255)
        assert np.linalg.norm(change) == pytest.approx(cell["l2"], abs=28 / 255)
        if cell["success"] and cell["clean"]:
            assert cell["reads"] != described["label"] and not cell["refused"]
    assert described["same"] >= 0.9 * described["known"]


def test_published_images_have_each_cells_accuracy_and_title(tmp_path: Path) -> None:
    arena.publish_images(arena.read(), tmp_path)
    found = json.loads((tmp_path / "images.json").read_text(encoding="utf-8"))
    shares = [cell["accuracy"] for cell in found["cells"] if cell["accuracy"] is not None]
    assert len(shares) > 300 and all(0 <= share <= 1 for share in shares)
    table = rankings.matrix(arena.read())
    first = next(cell for cell in found["cells"] if cell["attack"] == "pgd")
    label = f"pgd-{first['norm']}"
    assert first["accuracy"] == pytest.approx(table.loc[first["defense"], label])
    assert found["titles"]["rbf"] == arena.DEFENSES["rbf"].title
    assert found["budgets"] == dict(arena.BUDGETS)
    assert (tmp_path / "images.png").is_file()
