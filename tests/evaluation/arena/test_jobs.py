"""Jobs: which there are, what decides their names, and what running one returns."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from armsrace.contracts import AttackResult
from armsrace.evaluation.arena import (
    ATTACKS,
    BUDGETS,
    DEFENSES,
    Defended,
    Defense,
    Job,
    arena_jobs,
    jobs,
    running,
)

COLUMNS = [
    "image", "label", "clean", "success", "linf", "l2", "l0", "queries", "gradients", "defense",
    "attack", "norm", "epsilon", "options", "weights", "seed", "data", "device", "commit", "date",
    "library", "key", "seconds",
]  # fmt: skip


def test_the_table_is_as_large_as_promised() -> None:
    assert len(DEFENSES) >= 10 and len({entry.name for entry in ATTACKS.values()}) >= 12
    assert {entry.norm for entry in ATTACKS.values()} == set(BUDGETS)
    assert {name.partition("-")[0] for name in ATTACKS} >= {"fgsm", "pgd", "boundary", "pointwise"}


def test_units_cover_each_digit_once_and_slow_defenses_come_last() -> None:
    cut = arena_jobs(60, defenses=["inverted", "s3-cnn"], attacks=["fgsm", "pointwise"], chunk=25)
    assert [unit.defense for unit in cut] == ["s3-cnn"] * 9 + ["inverted"] * 6
    assert [(u.start, u.stop) for u in cut[:3]] == [(0, 25), (25, 50), (50, 60)]
    # A name alone keeps all its norms; the slow defense leaves out what asks too often.
    assert {u.attack for u in cut if u.defense == "s3-cnn"} == {
        "fgsm-linf", "fgsm-l2", "pointwise-l0",
    }  # fmt: skip
    assert {u.attack for u in cut if u.defense == "inverted"} == {"fgsm-linf", "fgsm-l2"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count must be >= 1"),
        ({"count": 10**6}, "count must be <= "),
        ({"count": 5, "chunk": 0}, "chunk must be >= 1"),
        ({"count": 5, "defenses": ["hope"]}, "defense must be one of s3-cnn"),
        ({"count": 5, "attacks": ["prayer"]}, "attack must be one of aimed-ddn"),
    ],
)
def test_errors_name_argument_and_rule(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arena_jobs(**arguments)


def test_the_name_follows_from_all_that_decides_the_outcome(monkeypatch) -> None:
    first = Job("rbf", "pgd-linf", 0, 4)
    assert first.name == Job("rbf", "pgd-linf", 0, 4).name
    names = {first.name, Job("rbf", "pgd-linf", 0, 4, seed=1).name}
    names.add(Job("rbf", "pgd-linf", 0, 5).name)
    monkeypatch.setitem(ATTACKS, "pgd-linf", replace(ATTACKS["pgd-linf"], options={"steps": 3}))
    names.add(Job("rbf", "pgd-linf", 0, 4).name)
    monkeypatch.setitem(DEFENSES, "rbf", replace(DEFENSES["rbf"], settings={"strength": 2}))
    names.add(Job("rbf", "pgd-linf", 0, 4).name)
    monkeypatch.setattr(jobs, "_sha256", lambda network: "other weights")
    names.add(Job("rbf", "pgd-linf", 0, 4).name)
    assert len(names) == 6


def test_one_unit_agrees_with_the_attack_called_by_hand() -> None:
    unit = Job("rbf", "fgsm-linf", 0, 6)
    frame = running.measure(unit, unit.key)
    assert list(frame.columns) == COLUMNS and list(frame["image"]) == list(range(6))
    images, labels = running.digits(0, 6)
    defended = DEFENSES["rbf"].on("cpu")
    right = defended.model(images).argmax(1) == labels
    result = ATTACKS["fgsm-linf"].run(defended.model, images, labels, epsilon=BUDGETS["linf"])
    assert frame["success"].tolist() == (result.success | ~right).tolist()
    assert frame["linf"].tolist() == pytest.approx((0.3 * right).tolist())
    assert frame["queries"].tolist() == torch.where(right, 2, 1).tolist()
    assert set(frame["key"]) == {unit.key} and len(frame["weights"][0]) > 64


def test_a_machine_with_other_weights_is_refused() -> None:
    unit = Job("rbf", "fgsm-linf", 0, 6)
    with pytest.raises(ValueError, match="other weights or digits"):
        running.measure(unit, "0" * 64)


class Bright(nn.Module):
    """Class 1 where the mean pixel is above a half."""

    def forward(self, images):
        level = images.flatten(1).mean(1) - 0.5
        return torch.stack([-level, level], dim=1) * 7


def test_refused_and_misclassified_images_are_counted_as_stated(monkeypatch) -> None:
    """Four images: one is beaten, one misclassified, one refused, and one refused once attacked."""
    levels = torch.tensor([0.4, 0.9, 0.05, 0.3])
    images = levels[:, None, None, None].expand(4, 1, 2, 2).contiguous()
    labels = torch.zeros(4, dtype=torch.int64)
    asked = []

    def brighten(model, images, labels, **_):
        asked.append(images.flatten(1)[:, 0].tolist())
        moved = images + 0.3
        ones = torch.ones_like(labels)
        return AttackResult(moved, model(moved).argmax(1) != labels, 3 * ones, 2 * ones)

    def refuses(batch):
        level = batch.flatten(1)[:, 0]
        return (level < 0.1) | ((level - 0.6).abs() < 0.01)

    def build():
        return Defended(Bright(), Bright(), refuses)

    monkeypatch.setitem(DEFENSES, "rbf", Defense("t", "a", (), build))
    monkeypatch.setitem(ATTACKS, "fgsm-linf", replace(ATTACKS["fgsm-linf"], run=brighten))
    for part in (jobs, running):
        monkeypatch.setattr(part, "digits", lambda start, stop: (images, labels))
    running._built.cache_clear()
    unit = Job("rbf", "fgsm-linf", 0, 4)
    frame = running.measure(unit, unit.key)
    running._built.cache_clear()
    assert asked == [pytest.approx([0.4, 0.3])]
    assert frame["clean"].tolist() == [True, False, False, True]
    assert frame["success"].tolist() == [True, True, True, False]
    assert frame["linf"].tolist() == pytest.approx([0.3, 0, 0, 0.3])
    assert frame["queries"].tolist() == [3, 1, 1, 3]
    assert frame["gradients"].tolist() == [2, 0, 0, 2]
