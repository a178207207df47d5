"""Where attacks go wrong: binary images, one image, 32 classes, hopeless or finished searches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from armsrace.evaluation import perturbation_sizes
from tests.attacks.cases import Case
from tests.attacks.specs import SPECS, AttackSpec

every_attack = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
minimal = pytest.mark.parametrize(
    "spec", [spec for spec in SPECS if spec.budget is None], ids=lambda spec: spec.name
)
Digits = tuple[Tensor, Tensor]


def _targets(spec: AttackSpec, labels: Tensor, classes: int = 10) -> Tensor | None:
    return (labels + 3) % classes if spec.targeted else None


@every_attack
def test_binary_images_can_be_attacked(
    spec: AttackSpec, trained: nn.Module, digits: Digits
) -> None:
    """Every pixel at exactly 0 or 1: none may be stuck there, or leave the box."""
    images = digits[0][:60].round()
    with torch.no_grad():
        right = trained(images).argmax(dim=1) == digits[1][:60]
    images, labels = images[right][:20], digits[1][:60][right][:20]
    result = Case(trained, images, labels).run(spec)
    assert result.images.min() >= 0 and result.images.max() <= 1
    assert (result.images != images).flatten(1).any(dim=1).sum() >= 10
    assert result.success.double().mean() >= 0.5


@every_attack
def test_one_image_is_a_batch(spec: AttackSpec, trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][7:8], digits[1][7:8]
    result = Case(trained, images, labels, _targets(spec, labels)).run(spec)
    assert result.images.shape == (1, 1, 28, 28)
    assert all(value.shape == (1,) for value in (result.success, result.queries, result.gradients))


@every_attack
def test_thirty_two_classes(spec: AttackSpec, digits: Digits) -> None:
    """Nothing counts on ten classes."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(784, 32)).eval()
    with torch.no_grad():
        draws = torch.Generator().manual_seed(0)
        flat[1].weight.copy_(0.1 * torch.randn(32, 784, generator=draws))
        labels = flat(digits[0][:20]).argmax(dim=1)
    for targets in {None: None, "given": _targets(spec, labels, 32)}.values():
        result = Case(flat, digits[0][:20], labels, targets).run(spec)
        with torch.no_grad():
            found = flat(result.images).argmax(dim=1)
        if not spec.least_likely:
            wanted = found != labels if targets is None else found == targets
            assert torch.equal(result.success, wanted)
        if targets is None or spec.aims:
            assert result.success.double().mean() >= 0.5


@minimal
def test_a_hopeless_search_gives_the_clean_image_back(
    spec: AttackSpec, trained: nn.Module, digits: Digits
) -> None:
    """No image is another class: none may come back as if it were, and all are infinitely far."""
    images, labels = digits[0][:4], torch.zeros(4, dtype=torch.int64)
    certain = 1000.0 * torch.eye(10)[0]

    def model(images: Tensor) -> Tensor:
        return trained(images).clamp(-100, 100) + certain

    result = Case(model, images, labels).run(spec)  # type: ignore[arg-type]
    assert not result.success.any()
    assert torch.equal(result.images, images)
    assert (perturbation_sizes(images, result, spec.norm) == torch.inf).all()


@minimal
def test_what_is_misclassified_already_stays(
    spec: AttackSpec, trained: nn.Module, digits: Digits
) -> None:
    images = digits[0][:6]
    with torch.no_grad():
        labels = (trained(images).argmax(dim=1) + 1) % 10
    result = Case(trained, images, labels).run(spec)
    assert result.success.all()
    assert torch.equal(result.images, images)
