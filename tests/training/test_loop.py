"""Training is a function of the seed, survives a kill, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.optim import SGD

from armsrace.datasets import Dataset
from armsrace.models import classifiers
from armsrace.recipes import RECIPES, three_against_seven
from armsrace.training.loop import Spent, fit, restore, save
from armsrace.training.recipe import Recipe, one_cycle


def small() -> torch.nn.Module:
    return classifiers.maxout(units=8, pieces=2)


RECIPE = replace(RECIPES["maxout"], epochs=3, batch_size=64)


def train(*arguments, **settings) -> torch.nn.Module:
    return fit(*arguments, **settings)[0]


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns(stripes: Dataset) -> None:
    model = train(small, stripes, replace(RECIPE, epochs=10))
    right = model(stripes.images).argmax(dim=1) == stripes.labels
    assert right.float().mean() > 0.97


def test_the_seed_decides(stripes: Dataset) -> None:
    first = train(small, stripes, RECIPE, seed=3)
    assert same(first, train(small, stripes, RECIPE, seed=3))
    assert not same(first, train(small, stripes, RECIPE, seed=4))


def test_the_global_generator_is_left_alone(stripes: Dataset) -> None:
    before = torch.get_rng_state()
    train(small, stripes, RECIPE)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("optimizer", [RECIPES["maxout"].optimizer, torch.optim.Adam])
def test_a_run_stopped_after_an_epoch_ends_the_same(stripes, tmp_path, optimizer) -> None:
    recipe, state = replace(RECIPE, optimizer=optimizer), tmp_path / "state.safetensors"

    class KilledError(Exception):
        pass

    def kill(done: int, total: int, loss: float) -> None:
        if done > 2 * total // 3:
            raise KilledError

    with pytest.raises(KilledError):
        train(small, stripes, recipe, state=state, progress=kill)
    steps: list[int] = []
    resumed = train(
        small, stripes, recipe, state=state, resume=True,
        progress=lambda done, total, loss: steps.append(done),
    )  # fmt: skip
    assert min(steps) > 16, "the first two epochs of 8 steps are not run again"
    assert same(resumed, train(small, stripes, recipe))


def test_a_new_network_is_started_from_the_images_and_a_resumed_one_is_not(
    stripes, tmp_path
) -> None:
    """What the recipe's start sets is what the first step sees; a second start would undo it."""
    seen: list[tuple[int, ...]] = []

    def start(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
        seen.append((len(images), len(labels)))
        with torch.no_grad():
            for part in model.parameters():
                part.zero_()

    recipe, state = replace(RECIPE, start=start), tmp_path / "state.safetensors"
    still = replace(recipe, learning_rate=lambda progress: 0.0, epochs=1)
    assert all((part == 0).all() for part in train(small, stripes, still).parameters())
    train(small, stripes, replace(recipe, epochs=1), state=state)
    train(small, stripes, recipe, state=state, resume=True)
    assert seen == [(len(stripes.images), len(stripes.labels))] * 2


@pytest.mark.parametrize("kept", [0, 20, -1])
def test_a_damaged_state_is_named(tmp_path: Path, kept: int) -> None:
    state, model = tmp_path / "state.safetensors", small()
    optimizer = torch.optim.Adam(model.parameters())
    save(state, model, optimizer, Spent(1, 2.0))
    state.write_bytes(state.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged, delete it"):
        restore(state, model, optimizer)


def test_the_learning_rate_rises_and_falls() -> None:
    rate = one_cycle(0.1, warm_up=0.2)
    assert rate(0.2) == pytest.approx(0.1)
    assert rate(0.1) == pytest.approx(0.05)
    assert rate(0.6) == pytest.approx(0.05)
    assert 0 < rate(0.0) < 1e-3 and 0 < rate(1.0) < 1e-3


def test_the_learning_rate_reaches_the_optimizer(stripes: Dataset) -> None:
    used: list[float] = []

    class Recording(SGD):
        def step(self, closure=None):
            used.append(self.param_groups[0]["lr"])
            return super().step(closure)

    recipe = Recipe(1, 128, lambda weights: Recording(weights, lr=9.0), lambda at: 1 - at, "")
    train(small, stripes, recipe)
    assert used == [1.0, 0.75, 0.5, 0.25]


def test_two_classes_are_kept_and_relabeled() -> None:
    labels = torch.tensor([3, 1, 7, 7, 9])
    data = Dataset(torch.arange(5.0).view(5, 1, 1, 1), labels, "mnist", "test", "official", Path())
    kept = three_against_seven(data)
    assert kept.labels.tolist() == [0, 1, 1]
    assert kept.images.flatten().tolist() == [0, 2, 3]


@pytest.mark.slow
def test_the_command_survives_a_kill(tmp_path: Path, mnist_folder: Path) -> None:
    """A killed `armsrace train` leaves no checkpoint, and --resume finishes with the same one."""
    command = [sys.executable, "-m", "armsrace", "train", "logistic-3-vs-7"]
    environment = os.environ | {"ARMSRACE_DATA": str(mnist_folder), "OMP_NUM_THREADS": "1"}

    def folder(name: str) -> dict[str, str]:
        return environment | {"ARMSRACE_CHECKPOINTS": str(tmp_path / name)}

    state = tmp_path / "killed" / ".logistic-3-vs-7.unfinished.safetensors"
    process = subprocess.Popen(command, env=folder("killed"), stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not state.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists()
    assert not (tmp_path / "killed" / "logistic-3-vs-7.safetensors").exists()
    subprocess.run([*command, "--resume"], env=folder("killed"), check=True, capture_output=True)
    subprocess.run(command, env=folder("whole"), check=True, capture_output=True)
    weights = [tmp_path / name / "logistic-3-vs-7.safetensors" for name in ("killed", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not state.exists()
