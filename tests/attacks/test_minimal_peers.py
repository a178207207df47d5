"""DeepFool and DDN go no further than Foolbox's on the shipped network.

DDN takes its direction from the logits, where Foolbox takes it from probabilities that float32
rounds: that is all the difference, and where no probability is near 1 there is none.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.contracts import Norm
from armsrace.norms import distances
from tests.attacks.peers import Digits, Exact

foolbox = pytest.importorskip("foolbox")
pytestmark = pytest.mark.peers


def _foolbox(attack: Any, model: nn.Module, some: Digits) -> Tensor:
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(wrapped, *some, epsilons=None)[1]


@pytest.mark.parametrize(
    ("norm", "peer"),
    [("l2", foolbox.attacks.L2DeepFoolAttack), ("linf", foolbox.attacks.LinfDeepFoolAttack)],
)
def test_deepfool_goes_no_further_than_foolbox(
    s3_cnn: nn.Module, some: Digits, norm: Norm, peer: Any
) -> None:
    found = attacks.deepfool(s3_cnn, *some, norm=norm)
    ours = distances(found.images - some[0], norm)
    theirs = distances(_foolbox(peer(), s3_cnn, some) - some[0], norm)
    assert found.success.all()
    assert ours.median() <= 1.02 * theirs.median()


def test_ddn_goes_no_further_than_foolbox(s3_cnn: nn.Module, some: Digits) -> None:
    found = attacks.ddn(s3_cnn, *some, steps=50)
    ours = distances(found.images - some[0], "l2")
    theirs = distances(_foolbox(foolbox.attacks.DDNAttack(steps=50), s3_cnn, some) - some[0], "l2")
    assert found.success.all()
    assert ours.median() <= 1.005 * theirs.median()


@pytest.mark.parametrize("aimed", [False, True])
def test_ddn_is_foolbox_in_float64(exact: Exact, aimed: bool) -> None:
    """The same steps, but for images at which rounding decides whether one of them succeeded."""
    model, images, labels = exact
    targets = (labels + 1) % 10
    ours = attacks.ddn(model, images, labels, steps=30, targets=targets if aimed else None).images
    goal = foolbox.criteria.TargetedMisclassification(targets) if aimed else labels
    theirs = _foolbox(foolbox.attacks.DDNAttack(steps=30), model, (images, goal))
    same = (ours - theirs).flatten(1).abs().amax(dim=1) < 1e-6
    assert same.double().mean() > 0.9
    # Foolbox rounds 1 ± γ to float32, whatever the images' dtype.
    assert (distances(ours - images, "l2") <= distances(theirs - images, "l2") + 1e-5).all()
    with torch.no_grad():
        read = model(ours).argmax(dim=1)
    assert (read == targets).all() if aimed else (read != labels).all()


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "peer"), [("l2", "L2"), ("l1", "L1")])
def test_brendel_bethge_goes_no_further_than_foolbox(
    s3_cnn: nn.Module, some: Digits, norm: Norm, peer: str
) -> None:
    """From the same start, in as many steps. Theirs compiles for half a minute in each norm."""
    pytest.importorskip("numba")
    images, labels = some[0][:5], some[1][:5]
    start = attacks.ddn(s3_cnn, images, labels, steps=20).images
    found = attacks.brendel_bethge(s3_cnn, images, labels, norm=norm, steps=30, start=start)
    attack = getattr(foolbox.attacks, f"{peer}BrendelBethgeAttack")(steps=30)
    wrapped = foolbox.PyTorchModel(s3_cnn, bounds=(0, 1), device="cpu")
    peers = attack.run(
        wrapped, images, foolbox.criteria.Misclassification(labels), starting_points=start
    )
    assert found.success.all()
    ours, theirs = (distances(x_adv - images, norm) for x_adv in (found.images, peers))
    assert ours.mean() <= 1.01 * theirs.mean()
