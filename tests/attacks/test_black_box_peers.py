"""At equal queries at least as good as Foolbox's and ART's attacks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.contracts import Norm
from armsrace.norms import distances
from tests.attacks.cases import Counting
from tests.attacks.peers import Digits

foolbox = pytest.importorskip("foolbox")
evasion = pytest.importorskip("art.attacks.evasion")
estimators = pytest.importorskip("art.estimators.classification")
pytestmark = pytest.mark.peers
COUNT = 16


@pytest.fixture
def right(s3_cnn: nn.Module, some: Digits) -> Digits:
    with torch.no_grad():
        kept = (s3_cnn(some[0]).argmax(dim=1) == some[1]).nonzero()[:COUNT, 0]
    return some[0][kept], some[1][kept]


def test_boundary_beats_foolbox(s3_cnn: nn.Module, right: Digits) -> None:
    counting = Counting(s3_cnn).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = foolbox.PyTorchModel(counting, bounds=(0, 1), device="cpu")
        theirs = foolbox.attacks.BoundaryAttack(steps=250)(wrapped, *right, epsilons=None)[1]
    ours = attacks.boundary(s3_cnn, *right, steps=250)
    assert ours.success.all() and int(ours.queries.sum()) <= counting.forwards
    medians = [distances(found - right[0], "l2").median() for found in (ours.images, theirs)]
    assert medians[0] <= medians[1], f"ours {medians[0]:.2f}, Foolbox's {medians[1]:.2f}"


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_hop_skip_jump_beats_foolbox(s3_cnn: nn.Module, right: Digits, norm: Norm) -> None:
    images, labels = right
    start = images[(labels[:, None] != labels).int().argmax(dim=1)]
    counting = Counting(s3_cnn).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = foolbox.PyTorchModel(counting, bounds=(0, 1), device="cpu")
        attack = foolbox.attacks.HopSkipJumpAttack(steps=6, constraint=norm)
        theirs = attack(wrapped, *right, epsilons=None, starting_points=start)[1]
    limit = counting.forwards // len(images)
    ours = attacks.hop_skip_jump(s3_cnn, *right, norm=norm, queries=limit, start=start)
    assert ours.success.all() and int(ours.queries.sum()) <= counting.forwards
    means = [distances(found - images, norm).mean() for found in (ours.images, theirs)]
    assert means[0] <= 1.02 * means[1], f"ours {means[0]:.3f}, Foolbox's {means[1]:.3f}"


@pytest.mark.parametrize(("norm", "order", "epsilon"), [("linf", np.inf, 0.2), ("l2", 2, 3.0)])
def test_square_beats_art(
    s3_cnn: nn.Module, right: Digits, norm: str, order: float, epsilon: float
) -> None:
    counting = Counting(s3_cnn).eval()
    classifier = estimators.PyTorchClassifier(
        counting, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1), device_type="cpu"
    )
    attack = evasion.SquareAttack(
        classifier, norm=order, eps=epsilon, max_iter=50, batch_size=COUNT, verbose=False
    )
    state = np.random.get_state()
    np.random.seed(0)
    theirs = torch.from_numpy(attack.generate(right[0].numpy().copy(), _one_hot(right[1])))
    np.random.set_state(state)
    ours = attacks.square(s3_cnn, *right, epsilon=epsilon, queries=150, norm=norm)
    with torch.no_grad():
        fooled = s3_cnn(theirs).argmax(dim=1) != right[1]
    assert int(ours.queries.sum()) <= counting.forwards
    assert ours.success.sum() > fooled.sum(), f"{ours.success.sum()} and {fooled.sum()}"


def _one_hot(labels: Tensor) -> np.ndarray:
    return nn.functional.one_hot(labels, 10).numpy()
