"""JSMA beside torchattacks, which searches all pairs of logits, and ART, which does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from armsrace import attacks
from armsrace.norms import distances
from tests.attacks.peers import Digits, check_same

pytestmark = pytest.mark.peers
GAMMA = 40 / 784


def test_the_logits_form_is_torchattacks(s3_cnn: nn.Module, digits: Digits) -> None:
    peer = pytest.importorskip("torchattacks").JSMA(s3_cnn, theta=1.0, gamma=GAMMA)
    images, labels = digits[0][:6], digits[1][:6]
    # torchattacks leaves out pixels above 0.99, we those that are white already.
    images = images.where(images < 0.99, 1.0)
    ours = attacks.jsma(
        s3_cnn, images, labels, targets=(labels + 1) % 10, gamma=GAMMA, form="logits"
    )
    assert ours.success.sum() >= 2
    theirs = peer(images, labels)
    check_same(ours.images[ours.success], theirs[ours.success], images[ours.success])
    with torch.no_grad():
        assert (s3_cnn(theirs).argmax(dim=1) == (labels + 1) % 10).sum() == ours.success.sum()


def test_no_more_pixels_than_art(s3_cnn: nn.Module, digits: Digits) -> None:
    evasion = pytest.importorskip("art.attacks.evasion")
    estimators = pytest.importorskip("art.estimators.classification")
    images, labels = digits[0][:30], digits[1][:30]
    targets = (labels + 1) % 10
    wrapped = estimators.PyTorchClassifier(
        s3_cnn, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1), device_type="cpu"
    )
    peer = evasion.SaliencyMapMethod(wrapped, theta=1.0, gamma=0.145, batch_size=30, verbose=False)
    one_hot = nn.functional.one_hot(targets, 10).numpy()
    theirs = torch.from_numpy(peer.generate(images.numpy(), one_hot))
    reached = s3_cnn(theirs).argmax(dim=1) == targets
    ours = attacks.jsma(s3_cnn, images, labels, targets=targets)
    assert ours.success.sum() >= reached.sum()
    both = reached & ours.success
    pixels = distances(ours.images - images, "l0"), distances(theirs - images, "l0")
    assert both.sum() > 20 and pixels[0][both].mean() <= pixels[1][both].mean()
