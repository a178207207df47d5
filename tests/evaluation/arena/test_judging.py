"""Images made elsewhere get the outcome that the arena would give them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from armsrace import attacks
from armsrace.cli import app
from armsrace.evaluation import arena
from armsrace.evaluation.arena.jobs import digits

COUNT = 6


@pytest.fixture(scope="module")
def attacked() -> torch.Tensor:
    """PGD images of the first digits, of the arena's kind, on the undefended network."""
    images, labels = digits(0, COUNT)
    model = arena.DEFENSES["s3-cnn"].on("cpu").model
    return attacks.pgd(model, images, labels, epsilon=0.3).images


def test_the_arena_s_own_images_get_the_arena_s_outcome() -> None:
    (job,) = arena.arena_jobs(COUNT, defenses=["s3-cnn"], attacks=["ddn-l2"])
    measured = arena.measure(job, job.key)
    images, labels = digits(0, COUNT)
    found = job.column.attack(arena.DEFENSES["s3-cnn"].on("cpu"), images, labels, 0, False)
    judged = arena.judge(found.images, "s3-cnn")
    for name in ("image", "label", "clean", "success"):
        assert (judged[name] == measured[name]).all(), name
    for norm in arena.NORMS:
        np.testing.assert_allclose(judged[norm], measured[norm], rtol=1e-6)
    rows = arena.compared(judged, measured)
    assert (rows["these"] == rows["before"]).all() and (rows["nearer"] == 0).all()


def test_clean_images_beat_nothing_and_nearer_ones_count(attacked) -> None:
    images, _ = digits(0, COUNT)
    clean = arena.judge(images, "s3-cnn")
    assert not clean["success"].any() and (clean[["linf", "l2", "l0"]] == 0).all(axis=None)
    judged = arena.judge(attacked, "s3-cnn")
    assert judged["success"].all() and (judged["linf"] <= 0.3 + 1e-6).all()
    rows = arena.compared(judged, clean.assign(success=False))
    assert rows.loc["linf", "these"] == 0 and rows.loc["linf", "before"] == 1
    assert rows.loc["linf", "together"] == 0 and (rows["nearer"] == COUNT).all()
    assert rows.loc["l0", "these"] == 1, "hundreds of pixels are not within twelve"


def test_a_file_may_hold_numbers_or_bytes(tmp_path: Path, attacked) -> None:
    numbers = attacked.numpy()
    np.save(tmp_path / "numbers.npy", numbers.astype(np.float64))
    np.save(tmp_path / "bytes.npy", (numbers[:, 0] * 255).round().astype(np.uint8))
    assert torch.equal(arena.submitted(tmp_path / "numbers.npy"), attacked)
    assert (arena.submitted(tmp_path / "bytes.npy") - attacked).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("array", "rule"),
    [
        (np.zeros((2, 3, 28, 28), np.float32), "must hold N images of numbers"),
        (np.zeros((2, 28, 27), np.float32), "must hold one array of shape"),
        (np.zeros((2, 28, 28), np.int64), "must hold N images of numbers"),
        (np.zeros((0, 28, 28), np.float32), "must hold N images of numbers"),
        (np.full((1, 28, 28), 2.0), "images must"),
        (np.full((1, 28, 28), np.nan), "images must"),
    ],
)
def test_another_array_is_refused(tmp_path: Path, array: np.ndarray, rule: str) -> None:
    np.save(tmp_path / "images.npy", array)
    with pytest.raises(ValueError, match=re.escape(rule)):
        arena.submitted(tmp_path / "images.npy")


def test_what_is_no_file_of_arrays_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"images\.npy cannot be read as a \.npy file"):
        arena.submitted(tmp_path / "images.npy")
    with pytest.raises(ValueError, match="defense must be one of"):
        arena.judge(torch.zeros(1, 1, 28, 28), "none")
    with pytest.raises(ValueError, match="images must match the 2 digits"):
        arena.judge(torch.zeros(2, 3, 28, 28), "s3-cnn")


def test_the_command_prints_what_is_new(tmp_path: Path, attacked) -> None:
    np.save(tmp_path / "images.npy", attacked.numpy())
    command = ["arena", "judge", str(tmp_path / "images.npy"), "--defense"]
    result = CliRunner().invoke(app, [*command, "s3-cnn"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "linf" in result.output and "n = 6" in result.output
    refused = CliRunner().invoke(app, [*command, "nothing"], env={"COLUMNS": "200"})
    assert refused.exit_code == 2 and "defense must be one of" in refused.output
