"""FMN and σ-zero go no further than adv-lib's at as many steps, and mostly less far."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, zoo
from armsrace.contracts import Norm
from armsrace.norms import distances
from tests.attacks.peers import Digits, Exact

pytest.importorskip("adv_lib")
from adversarial_library import attacks as adv_lib

pytestmark = pytest.mark.peers
P = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}


def _sizes(model: nn.Module, some: Digits, x_adv: Tensor, norm: Norm) -> Tensor:
    """Distances (N,), infinite where the image is not adversarial."""
    with torch.no_grad():
        failed = model(x_adv).argmax(dim=1) == some[1]
    return distances(x_adv - some[0], norm).masked_fill(failed, torch.inf)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_fmn_goes_no_further_than_adv_lib(s3_cnn: nn.Module, digits: Digits, norm: Norm) -> None:
    some = digits[0][:24], digits[1][:24]
    found = attacks.fmn(s3_cnn, *some, norm=norm, steps=60)
    theirs = _sizes(s3_cnn, some, adv_lib.fmn(s3_cnn, *some, norm=P[norm], steps=60), norm)
    ours = _sizes(s3_cnn, some, found.images, norm)
    assert found.success.all()
    assert ours.median() <= 1.01 * theirs.median()
    assert (theirs.minimum(ours) / ours).mean() >= (theirs.minimum(ours) / theirs).mean() - 0.01


def test_fmn_is_not_caught_by_a_gradient_mask(digits: Digits) -> None:
    """Steps along signs leave it, steps along the gradient stay in it."""
    model, some = zoo.load("madry-pgd"), (digits[0][:8], digits[1][:8])
    signs, paper = (
        _sizes(model, some, attacks.fmn(
            model, *some, norm="linf", steps=50, step_norm=step_norm).images, "linf")
        for step_norm in ("linf", "l2")
    )  # fmt: skip
    theirs = _sizes(model, some, adv_lib.fmn(model, *some, norm=P["linf"], steps=50), "linf")
    assert signs.isfinite().all() and signs.median() < 0.4
    assert min(paper.median(), theirs.median()) > 1.2 * signs.median()


def test_sigma_zero_is_adv_lib_in_float64(exact: Exact) -> None:
    """Where images have one channel the two are the same, but for decisions of rounding size."""
    model, images, labels = exact
    found = attacks.sigma_zero(model, images, labels, steps=40).images
    theirs = adv_lib.sigma_zero(model, images, labels, num_steps=40)
    same = (found - theirs).abs().flatten(1).amax(dim=1) < 1e-6
    assert same.double().mean() >= 0.8
    ours, peers = (_sizes(model, (images, labels), x, "l0") for x in (found, theirs))
    assert ours.median() <= peers.median()
