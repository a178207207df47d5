"""Every declared defense reads digits, and its adaptive view answers as it does itself."""

import pytest
import torch

from armsrace.evaluation.arena import DEFENSES
from armsrace.evaluation.arena.jobs import digits

SEARCHED = ("abs", "binary-abs")
CASES = [pytest.param(name, marks=pytest.mark.slow) if name in SEARCHED else name
         for name in DEFENSES]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_defense_reads_clean_digits_and_has_a_gradient(name: str) -> None:
    defended = DEFENSES[name].on("cpu")
    images, labels = digits(0, 20)
    assert defended.clean_correct(images, labels).sum() >= 15
    images, labels = images[:5], labels[:5]
    # A little off the digit itself, which may be one that the nearest neighbor knows.
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    moving = (0.9 * images + 0.1 * noise).requires_grad_()
    logits = defended.gradient_model(moving)
    assert torch.equal(logits.argmax(1), defended.model(moving.detach()).argmax(1))
    (slope,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), moving)
    assert (slope.flatten(1).abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize("name", ["detector", "magnet"])
def test_a_defense_that_refuses_noise_is_not_beaten_by_it(name: str) -> None:
    defended = DEFENSES[name].on("cpu")
    noise = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    other = (defended.model(noise).argmax(1) + 1) % 10
    assert defended.refuses is not None and defended.refuses(noise).all()
    assert not defended.is_adversarial(noise, other).any()


def test_abs_says_how_it_is_searched() -> None:
    row = DEFENSES["abs"]
    assert f"{row.settings['steps']} steps of Levenberg–Marquardt" in row.about
    assert f"{row.settings['samples']:,} samples" in row.about
