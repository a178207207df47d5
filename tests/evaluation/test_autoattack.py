"""The worst of several attacks: who breaks what, what it costs, and that nothing slips by."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, evaluation
from armsrace.contracts import AttackResult, Norm
from armsrace.losses import targeted_dlr
from armsrace.norms import distances
from tests.attacks.linear import centered, some_images

Digits = tuple[Tensor, Tensor]


class Scripted:
    """An attack that breaks the images whose label it is told, and notes which it was sent."""

    def __init__(self, *broken: int) -> None:
        self.broken, self.sent = torch.tensor(broken), torch.tensor([])

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> AttackResult:
        self.sent, ones = labels, torch.ones_like(labels)
        return AttackResult(1 - images, torch.isin(labels, self.broken), 3 * ones, 2 * ones)


def test_each_attack_meets_what_the_others_left() -> None:
    """Label k is read as k but for 0, read as 1; the attacks break 1 and 2, then 2 and 3."""
    labels = torch.arange(5)
    images = torch.full((5, 1, 1, 5), 0.1).scatter(3, labels.view(5, 1, 1, 1), 0.9)

    def model(images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return 5 * torch.cat([flat[:, :1] - 1, flat[:, 1:]], dim=1)

    first, second = Scripted(1, 2), Scripted(2, 3)
    found = evaluation.worst_case(model, images, labels, {"first": first, "second": second})
    assert first.sent.tolist() == [1, 2, 3, 4] and second.sent.tolist() == [3, 4]
    assert found.broken_by.tolist() == [0, 1, 1, 2, -1]
    assert found.accuracies == pytest.approx({"none": 0.8, "first": 0.4, "second": 0.2})
    assert found.result.queries.tolist() == [1, 4, 4, 7, 7]
    assert found.result.gradients.tolist() == [0, 2, 2, 4, 4]
    assert torch.equal(found.result.images[[0, 4]], images[[0, 4]])
    assert torch.equal(found.result.images[1], 1 - images[1])


def test_no_attack_is_refused(trained: nn.Module, digits: Digits) -> None:
    with pytest.raises(ValueError, match="attacks must hold at least one"):
        evaluation.worst_case(trained, digits[0][:2], digits[1][:2], {})


def test_it_is_at_least_as_strong_as_its_first_attack(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:40], digits[1][:40]
    turns = evaluation.autoattack(epsilon=0.06, steps=8, targets=3, queries=60, seed=4)
    found = evaluation.worst_case(trained, images, labels, turns)
    alone = turns["APGD, cross-entropy"](trained, images, labels)
    # That the others add to the first is certain where its gradient is gone: the last test here.
    assert found.result.success[alone.success].all() and 0 < alone.success.sum() < 40
    assert list(found.accuracies.values()) == sorted(found.accuracies.values(), reverse=True)
    assert distances(found.result.images - images, "linf").max() <= 0.06 + 1e-6
    with torch.no_grad():
        read = trained(found.result.images).argmax(dim=1)
    assert torch.equal(read != labels, found.result.success)


def test_a_search_of_the_nearest_counts_within_the_budget(
    trained: nn.Module, digits: Digits
) -> None:
    images, labels = digits[0][:40], digits[1][:40]
    turns = evaluation.autoattack(epsilon=0.05, steps=10)
    near = turns["nearest boundary"](trained, images, labels)
    whole = attacks.fab(trained, images, labels, steps=10, target_classes=9)
    sizes = evaluation.perturbation_sizes(images, whole, "linf")
    assert torch.equal(near.success, sizes <= 0.05 * (1 + 1e-6))
    assert 0 < near.success.sum() < whole.success.sum()


def test_a_gradient_gone_for_the_cross_entropy_is_there_for_the_ratio(
    trained: nn.Module, digits: Digits
) -> None:
    """Logits a thousandfold: the softmax is exactly 1, its loss 0, and plain PGD stands still."""
    images, labels = digits[0][:30], digits[1][:30]

    def loud(batch: Tensor) -> Tensor:
        return 1e4 * trained(batch)

    turns = evaluation.autoattack(epsilon=0.2, steps=10, targets=2, queries=10)
    found = evaluation.worst_case(loud, images, labels, turns)
    plain = partial(attacks.pgd, epsilon=0.2, steps=10, random_start=False)
    assert plain(loud, images, labels).success.double().mean() < 0.5
    assert found.accuracies["APGD, cross-entropy"] > 0.5
    assert found.accuracies["APGD, targeted DLR"] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_have_a_loss(classes: int, norm: Norm) -> None:
    """A linear model in the box: beyond the exact distance all fall, within it none does."""
    model, images = centered(classes), some_images(3)
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    nearest = attacks.fab(model, images, labels, norm=norm, steps=30)
    images, labels = images[nearest.success], labels[nearest.success]
    exact = distances(nearest.images[nearest.success] - images, norm)
    for image, label, distance in zip(images.split(1), labels.split(1), exact, strict=True):
        for share, broken in ((0.98, False), (1.02, True)):
            turns = evaluation.autoattack(
                epsilon=share * distance.item(), steps=40, queries=10, norm=norm
            )
            found = evaluation.worst_case(model, image, label, turns)
            assert bool(found.result.success) == broken
            sizes = distances(found.result.images - image, norm)
            assert sizes <= share * distance * (1 + 1e-6)
    wide = evaluation.autoattack(epsilon=1.5 * distance.item(), steps=40, norm=norm)
    assert wide["APGD, targeted DLR"](model, image, label).success.all()


def test_a_target_is_a_direction_and_any_class_a_success(
    trained: nn.Module, digits: Digits
) -> None:
    images, labels = digits[0][:30], digits[1][:30]
    found = attacks.auto_pgd(
        trained, images, labels, epsilon=0.1, steps=10, target_classes=3, stop_on_success=True,
        loss=targeted_dlr,
    )  # fmt: skip
    every = attacks.auto_pgd(
        trained, images, labels, epsilon=0.1, steps=10, target_classes=3, loss=targeted_dlr
    )
    assert torch.equal(found.success, every.success) and found.success.sum() > 0
    assert (found.gradients <= every.gradients).all()
    assert found.gradients[found.success].double().mean() < every.gradients.double().mean()
    with pytest.raises(ValueError, match="target_classes must be None with targets"):
        attacks.auto_pgd(trained, images, labels, epsilon=0.1, target_classes=3, targets=labels)


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.06), ("l2", 0.8), ("l1", 5.0)])
def test_the_robust_accuracy_is_the_authors(
    s3_cnn: nn.Module, digits: Digits, norm: Norm, epsilon: float
) -> None:
    pyautoattack = pytest.importorskip("pyautoattack")
    images, labels = digits[0][:12], digits[1][:12]
    peer = pyautoattack.AutoAttack(
        s3_cnn, norm=norm.capitalize(), eps=epsilon, seed=0, attacks=["apgd-ce", "apgd-t"],
        version="custom",
    )  # fmt: skip
    peer.apgd.n_restarts, peer.apgd_targeted.n_target_classes = 1, 3
    peer.apgd.use_largereps = peer.apgd_targeted.use_largereps = norm == "l1"
    x_adv, _ = peer.run_standard_evaluation(images, labels)
    turns = evaluation.autoattack(epsilon=epsilon, targets=3, norm=norm)
    turns = {name: turns[name] for name in list(turns)[:2]}
    ours = evaluation.worst_case(s3_cnn, images, labels, turns).result.success
    with torch.no_grad():
        theirs = s3_cnn(x_adv).argmax(dim=1) != labels
    assert 0 < ours.sum() < 12 and ours.sum() >= theirs.sum() - 1
