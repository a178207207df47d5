"""A substitute learns from answers alone, counts them, and can be attacked in its place."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.black_box.substitute import Substitute, train_substitute
from armsrace.contracts import Bounds
from armsrace.models.layers import predict
from tests.attacks.borrowed import SEEDS, linear
from tests.attacks.cases import Counting

Digits = tuple[Tensor, Tensor]
QUICK: dict[str, Any] = {"build": linear, "learning_rate": 0.01}


def _dropping() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(),
        nn.Linear(16, 10),
    )  # fmt: skip


def test_the_oracle_answers_each_image_once(trained: nn.Module) -> None:
    seen: list[Tensor] = []

    def oracle(images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        seen.append(images.clone())
        return trained(images)

    found = train_substitute(oracle, SEEDS, rounds=3, step=0.1, **QUICK)
    asked = torch.cat(seen)
    assert found.queries == len(asked) == 48 * 2**3 and not found.model.training
    assert torch.equal(asked[:48], SEEDS)
    assert asked.min() >= 0 and asked.max() <= 1
    # λ from the parent in every pixel where the box is not in the way.
    apart = (asked[48:96] - SEEDS).abs()
    assert apart.max() <= 0.1 + 1e-6 and (apart > 0.099).double().mean() > 0.3
    answers = predict(trained, asked).argmax(dim=1)
    same = predict(found.model, asked).argmax(dim=1) == answers
    assert found.agreement == same.double().mean() > 0.8


def test_new_images_follow_the_gradient_of_the_answer() -> None:
    """At a learning rate of 0 the substitute stays as built: the gradient is its second row."""
    images, seen = torch.full((3, 1, 2, 5), 0.5), list[Tensor]()
    rows = torch.stack([torch.ones(10), torch.tensor([1.0, -1.0]).repeat(5)])

    def oracle(images: Tensor) -> Tensor:
        seen.append(images)
        return torch.tensor([[0.0, 2.0]]).expand(len(images), 2)

    def build() -> nn.Module:
        layer = nn.Linear(10, 2)
        layer.weight.data = rows.clone()
        return nn.Sequential(nn.Flatten(), layer)

    for step in (0.2, -0.2):
        seen.clear()
        train_substitute(oracle, images, build=build, rounds=1, step=step, learning_rate=0.0)
        torch.testing.assert_close(seen[1], images + step * rows[1].view(1, 1, 2, 5))


def test_more_queries_make_a_better_substitute(
    s3_cnn: nn.Module, digits: Digits, all_digits: Digits
) -> None:
    """Judged on digits that it never asked about, against guessing and against the seeds alone."""
    fractions = []
    for count, rounds in ((10, 0), (150, 0), (150, 2)):
        found = train_substitute(s3_cnn, all_digits[0][600 : 600 + count], rounds=rounds, **QUICK)
        same = predict(found.model, digits[0]).argmax(1) == predict(s3_cnn, digits[0]).argmax(1)
        fractions.append(same.double().mean())
    assert 0.1 < fractions[0] < fractions[1] - 0.1 and fractions[2] > 0.6


def test_fewer_rounds_are_the_beginning_of_more(trained: nn.Module) -> None:
    asked: list[list[Tensor]] = [[], []]
    for rounds, record in zip((1, 2), asked, strict=True):

        def oracle(images: Tensor, record: list[Tensor] = record) -> Tensor:
            record.append(images.clone())
            return trained(images)

        train_substitute(oracle, SEEDS, rounds=rounds, **QUICK)
    assert torch.equal(asked[0][1], asked[1][1])


def test_a_watched_substitute_is_what_fewer_rounds_give(trained: nn.Module) -> None:
    seen: dict[int, tuple[int, float, Tensor]] = {}

    def watch(number: int, made: Substitute) -> None:
        seen[number] = made.queries, made.agreement, made.model(SEEDS).detach()

    train_substitute(trained, SEEDS, rounds=2, watch=watch, **QUICK)
    assert list(seen) == [0, 1, 2]
    for rounds, (queries, agreement, logits) in seen.items():
        fewer = train_substitute(trained, SEEDS, rounds=rounds, **QUICK)
        assert (fewer.queries, fewer.agreement) == (queries, agreement)
        torch.testing.assert_close(fewer.model(SEEDS), logits)


def test_the_attack_is_training_and_transfer(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:50], digits[1][:50]
    counting, attack = Counting(trained).eval(), partial(attacks.fgsm, epsilon=0.3)
    whole = attacks.substitute(
        counting, images, labels, seeds=SEEDS, rounds=2, attack=attack, **QUICK
    )
    source = train_substitute(trained, SEEDS, rounds=2, **QUICK).model
    parts = attacks.transfer(trained, images, labels, source=source, attack=attack)
    assert torch.equal(whole.images, parts.images) and torch.equal(whole.success, parts.success)
    assert int(whole.queries.sum()) == counting.forwards == 48 * 4 + 50
    assert whole.queries.max() - whole.queries.min() <= 1 and counting.backwards == 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise = attacks.transfer(trained, images, labels, source=linear(), attack=attack)
    assert whole.success.double().mean() > noise.success.double().mean() + 0.2


def test_chance_comes_from_the_generator_alone(trained: nn.Module) -> None:
    def weights(seed: int | None) -> Tensor:
        draws = None if seed is None else torch.Generator().manual_seed(seed)
        with torch.random.fork_rng():
            torch.manual_seed(7)
            before = torch.get_rng_state()
            found = train_substitute(
                trained, SEEDS, build=_dropping, rounds=1, batch_size=47, generator=draws
            )
            assert torch.equal(torch.get_rng_state(), before)
        return nn.utils.parameters_to_vector(found.model.parameters())

    assert torch.equal(weights(4), weights(4)) and torch.equal(weights(None), weights(None))
    assert not torch.equal(weights(4), weights(5))


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"rounds": -1}, "rounds must be >= 0, got -1"),
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"step": float("nan")}, "step must be finite, got nan"),
        ({"learning_rate": -1.0}, "learning_rate must be >= 0, got -1"),
        ({"seeds": SEEDS[:0]}, "seeds must not be empty"),
        ({"seeds": SEEDS[0]}, r"seeds must have shape \(N, C, H, W\)"),
        ({"seeds": SEEDS, "bounds": Bounds(0, 0.5)}, r"seeds must lie in \[0, 0.5\]"),
        (
            {"build": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 3))},
            "the oracle's class must be < 3",
        ),
    ],
)
def test_bad_training_is_named(trained: nn.Module, options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        train_substitute(trained, **({"seeds": SEEDS} | QUICK | options))
