"""In any box an attack with its defaults finds the same images, up to scaling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.contracts import Bounds
from armsrace.evaluation import perturbation_sizes
from armsrace.norms import distances
from tests.attacks.cases import Case, ToUnit
from tests.attacks.specs import SPECS, AttackSpec

BOXES = (Bounds(0, 255), Bounds(-1, 1))
DEFAULTS = (
    AttackSpec("bim-default", attacks.bim, budget=0.1),
    AttackSpec(
        "least-likely-default", attacks.least_likely, budget=0.1, targeted=False, least_likely=True
    ),
    AttackSpec("ddn-default", attacks.ddn, norm="l2", budget=None),
    AttackSpec("jsma-default", attacks.jsma, norm="l0", budget=None),
    AttackSpec("jsma-one-pixel", attacks.jsma, {"pixels": 1}, norm="l0", budget=None),
    AttackSpec(
        "carlini-wagner-l2-default", attacks.carlini_wagner_l2,
        {"binary_search_steps": 5, "steps": 30}, norm="l2", budget=None,
    ),
    AttackSpec(
        "carlini-wagner-linf-default", attacks.carlini_wagner_linf, {"steps": 15}, budget=None
    ),
    AttackSpec(
        "carlini-wagner-l0-default", attacks.carlini_wagner_l0, {"steps": 15}, norm="l0",
        budget=None,
    ),
    AttackSpec(
        "finite-difference-coordinates", attacks.finite_difference,
        {"steps": 2, "estimator": "coordinate"},
    ),
)  # fmt: skip
"""Options that the table of all attacks sets, or sets so as to be quick, left at their defaults."""


def in_box(case: Case, spec: AttackSpec, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """The result in a box, back in [0, 1], and its success."""
    model = nn.Sequential(ToUnit(bounds), case.model).eval()
    result = spec.run(
        model, bounds.lower + bounds.width * case.images, case.labels, seed=case.seed,
        targets=case.targets, width=bounds.width, bounds=bounds,
    )  # fmt: skip
    assert result.images.min() >= bounds.lower and result.images.max() <= bounds.upper
    return (result.images - bounds.lower) / bounds.width, result.success


@pytest.fixture(scope="module")
def cases(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> dict[bool, Case]:
    """Digits in [0, 1] in float64 for attacks that draw, of which a median is wanted, and others.

    Each remembers what an attack found, for both boxes.
    """
    counts = {True: 40, False: 6}
    return {
        random: Case(trained, digits[0][:count], digits[1][:count]).double()
        for random, count in counts.items()
    }


@pytest.mark.parametrize("bounds", BOXES, ids=["255", "symmetric"])
@pytest.mark.parametrize("spec", [*SPECS, *DEFAULTS], ids=lambda spec: spec.name)
def test_the_same_images_in_any_box(
    spec: AttackSpec, bounds: Bounds, cases: dict[bool, Case]
) -> None:
    """Bit for bit it cannot be: scaling rounds. In float64 the images agree to 1e-7.

    Rounding may turn a choice between two equal pixels: in L0 and L1 two images in six may differ
    by more, if their perturbations are of the same size. An attack that draws derives its numbers
    from the pixels of each image, which differ: there the success and the median distance agree.
    """
    case = cases[spec.random]
    expected = case.run(spec)
    images, success = in_box(case, spec, bounds)
    if not spec.random:
        assert torch.equal(success, expected.success)
        differs = (images - expected.images).flatten(1).abs().amax(1) > 1e-7
        ties = 2 if spec.norm in ("l0", "l1") else 0
        assert differs.sum() <= ties, f"images {differs.nonzero().flatten().tolist()} differ"
        sizes, known = (
            distances(found - case.images, spec.norm) for found in (images, expected.images)
        )
        torch.testing.assert_close(sizes, known, rtol=0.02, atol=1e-7)
        return
    share, wanted = (found.double().mean() for found in (success, expected.success))
    assert abs(share - wanted) <= 0.2, f"success {share:.2f} in the box, {wanted:.2f} in [0, 1]"
    sizes, known = (
        perturbation_sizes(case.images, found, spec.norm)[found.success].median()
        for found in (type(expected)(images, success, success, success), expected)
    )
    assert float(sizes) == pytest.approx(float(known), rel=0.35)
