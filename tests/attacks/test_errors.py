"""Bad input gets an error that names the argument and the rule, from every attack."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.contracts import Bounds
from tests.attacks.specs import SPECS, AttackSpec

IMAGES, LABELS = torch.full((2, 1, 28, 28), 0.5), torch.tensor([3, 4])
NAN, INFINITY = float("nan"), float("inf")
FLAT = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

BAD_INPUT: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no batch axis": (
        {"images": IMAGES[0]}, ValueError,
        "images must have shape (N, C, H, W), got (1, 28, 28)",
    ),
    "bytes": ({"images": IMAGES.byte()}, TypeError, "images must be floating point, got"),
    "no tensor": ({"images": IMAGES.numpy()}, TypeError, "images must be a torch.Tensor, got"),
    "no image": ({"images": IMAGES[:0]}, ValueError, "images must not be empty"),
    "NaN pixel": ({"images": IMAGES * NAN}, ValueError, "images must be finite, got NaN"),
    "infinite pixel": ({"images": IMAGES * INFINITY}, ValueError, "images must be finite"),
    "too bright": ({"images": IMAGES * 510}, ValueError, "images must lie in [0.0, 1.0], got"),
    "too dark": ({"images": IMAGES - 1}, ValueError, "images must lie in [0.0, 1.0], got"),
    "one label": ({"labels": LABELS[:1]}, ValueError, "labels must have shape (2,), got (1,)"),
    "one-hot": (
        {"labels": torch.eye(10)[LABELS]}, ValueError, "labels must have shape (2,), got (2, 10)"
    ),
    "float labels": ({"labels": LABELS.float()}, TypeError, "labels must be int64, got"),
    "list of labels": ({"labels": [3, 4]}, TypeError, "labels must be a torch.Tensor, got list"),
    "label -1": ({"labels": LABELS - 5}, ValueError, "labels must be >= 0, got -2"),
    "label 10": ({"labels": LABELS + 6}, ValueError, "labels must be < 10, got 10"),
    "probabilities": (
        {"model": nn.Sequential(FLAT, nn.Softmax(dim=1))}, ValueError,
        "model must return logits, got probabilities",
    ),
    "NaN logits": (
        {"model": lambda images: FLAT(images) * NAN}, ValueError,
        "model must return finite logits, got NaN",
    ),
    "one logit": (
        {"model": lambda images: FLAT(images)[:, :1]}, ValueError,
        "model must return at least 2 logits",
    ),
    "too few rows": (
        {"model": lambda images: FLAT(images)[:1]}, ValueError,
        "model must return logits of shape (",
    ),
    "feature maps": (
        {"model": lambda images: images}, ValueError,
        "model must return logits of shape (",
    ),
    "a tuple": (
        {"model": lambda images: (FLAT(images),)}, ValueError,
        "model must return logits of shape (",
    ),
}  # fmt: skip

BAD_GRADIENT: dict[str, tuple[Any, str]] = {
    "detached": (
        lambda images: FLAT(images).detach(),
        "model must be differentiable in its images, got a constant",
    ),
    "does not look": (
        lambda images: FLAT(torch.zeros_like(images)),
        "model must be differentiable in its images, got a constant",
    ),
    # The root of zero: nothing wrong forwards, zero times infinity backwards.
    "infinite slope": (
        lambda images: FLAT(images + (0 * images).sqrt()),
        "model must have a finite gradient in its images, got NaN or infinity",
    ),
}


def _attack(spec: AttackSpec, changes: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"model": FLAT, "images": IMAGES, "labels": LABELS} | changes
    spec.run(**arguments)


@pytest.mark.parametrize("fault", BAD_INPUT)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_bad_input_is_named(spec: AttackSpec, fault: str) -> None:
    changes, kind, rule = BAD_INPUT[fault]
    if spec.decisions and fault == "probabilities":
        return  # the greatest probability is a decision, too
    if spec.decisions and fault == "NaN logits":
        rule = "model must return scores that can be compared, got NaN"
    with pytest.raises(kind, match=re.escape(rule)):
        _attack(spec, changes)


@pytest.mark.parametrize("fault", BAD_GRADIENT)
@pytest.mark.parametrize("spec", [s for s in SPECS if s.gradients], ids=lambda spec: spec.name)
def test_bad_gradient_is_named(spec: AttackSpec, fault: str) -> None:
    model, rule = BAD_GRADIENT[fault]
    # A search of the nearest asks for no gradient of an image that is wrong already.
    labels = model(IMAGES).argmax(dim=1)
    with pytest.raises(ValueError, match=re.escape(rule)):
        _attack(spec, {"model": model, "labels": labels})


@pytest.mark.parametrize("spec", [s for s in SPECS if s.targeted], ids=lambda spec: spec.name)
@pytest.mark.parametrize(
    ("targets", "kind", "rule"),
    [
        (LABELS[:1], ValueError, "targets must have shape (2,), got (1,)"),
        (LABELS.float(), TypeError, "targets must be int64, got"),
        (LABELS - 5, ValueError, "targets must be >= 0, got -2"),
        (LABELS + 6, ValueError, "targets must be < 10, got 10"),
    ],
)
def test_bad_targets_are_named(
    spec: AttackSpec, targets: Tensor, kind: type[Exception], rule: str
) -> None:
    with pytest.raises(kind, match=re.escape(rule)):
        _attack(spec, {"targets": targets})


@pytest.mark.parametrize("spec", [s for s in SPECS if s.budget], ids=lambda spec: spec.name)
@pytest.mark.parametrize(("epsilon", "got"), [(-0.1, "-0.1"), (NAN, "nan"), (INFINITY, "inf")])
def test_bad_epsilon_is_named(spec: AttackSpec, epsilon: float, got: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"epsilon must be >= 0, got {got}")):
        _attack(spec, {"epsilon": epsilon})


def test_bounds_reach_the_message() -> None:
    with pytest.raises(ValueError, match=re.escape("images must lie in [-0.5, 0.5], got")):
        attacks.fgsm(FLAT, 2 * IMAGES, LABELS, epsilon=0.1, bounds=Bounds(-0.5, 0.5))


def test_an_error_gives_the_modes_back() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(784, 10), nn.Softmax(dim=1))
    with pytest.raises(ValueError, match="probabilities"):
        attacks.pgd(model, IMAGES, LABELS, epsilon=0.1)
    assert all(part.training for part in model.modules())
