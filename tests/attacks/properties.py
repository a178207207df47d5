"""What holds for every attack. Each property takes a spec and a case, and asserts."""

from __future__ import annotations

from dataclasses import replace

import torch

from armsrace.contracts import Bounds
from armsrace.norms import distances
from tests.attacks.cases import Case, Shifted
from tests.attacks.specs import AttackSpec
from tests.attacks.traces import leaves_no_trace

SHIFTED = Bounds(-0.5, 0.5)


def keeps_budget(spec: AttackSpec, case: Case) -> None:
    """No perturbation is larger than epsilon, to 1e-6, and to rounding only in float64."""
    if spec.budget is None:
        return
    epsilon = case.scale * spec.budget
    for tolerance, posed in ((1e-6, case), (1e-12, case.double())):
        moved = posed.run(spec).images.double() - posed.images.double()
        sizes = distances(moved, spec.norm)
        # Rounding an image to float32 moves each pixel: the larger the budget, the more of them.
        assert (sizes <= epsilon + tolerance * max(1.0, epsilon)).all(), f"{sizes} > {epsilon}"


def keeps_box(spec: AttackSpec, case: Case) -> None:
    """Every pixel stays a valid one, and images keep their shape and dtype."""
    for posed in (case, case.double()):
        images = posed.run(spec).images
        assert images.min() >= 0 and images.max() <= 1, f"{images.min()} to {images.max()}"
        assert images.shape == posed.images.shape and images.dtype == posed.images.dtype


def repeats(spec: AttackSpec, case: Case) -> None:
    """A seed gives the same images bit for bit, whatever the global generator holds."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = case.run(spec)
        torch.manual_seed(2)
        again, _ = case.counted(spec)
        assert torch.equal(first.images, again.images), "two runs differ"


def heeds_its_seed(spec: AttackSpec, case: Case) -> None:
    """Where chance is part of the attack, another seed gives other images.

    A search of the nearest that finds nothing, or nothing to do, gives the clean images back, and
    so does an L0 budget of less than a pixel.
    """
    if spec.random and case.scale > (1e-2 if spec.settles else 1e-4):
        first, other = case.run(spec).images, replace(case, seed=case.seed + 1).run(spec).images
        moves = spec.budget is not None and spec.norm != "l0"
        searched = moves or not torch.equal(first, case.images)
        assert not searched or not torch.equal(first, other), "the seed changes nothing"


def ignores_batch_mates(spec: AttackSpec, case: Case) -> None:
    """Together, the first alone and the others in reverse give the same images and costs.

    In float64: convolutions round differently for each batch size, and a gradient's sign is
    discontinuous.
    """
    if spec.shared:
        return
    case = case.double()
    together = case.run(spec)
    places = list(range(len(case.images)))
    for part in filter(None, (places[:1], places[:0:-1])):
        apart = case.part(part).run(spec)
        torch.testing.assert_close(apart.images, together.images[part], rtol=0, atol=1e-9)
        for name in ("success", "queries", "gradients"):
            same = torch.equal(getattr(apart, name), getattr(together, name)[part])
            assert same, f"{name} depends on the batch"


def reports_success(spec: AttackSpec, case: Case) -> None:
    """Success is what predicting the returned images again says."""
    result = case.run(spec)
    with torch.no_grad():
        predictions = case.model(result.images).argmax(dim=1)
        clean = case.model(case.images)
    if spec.least_likely:
        expected = predictions == clean.argmin(dim=1)
    elif case.targets is not None:
        expected = predictions == case.targets
    else:
        expected = predictions != case.labels
    assert torch.equal(result.success, expected), f"{result.success} but {expected}"
    assert result.success.dtype == torch.bool and len(result) == len(case.images)


def counts_passes(spec: AttackSpec, case: Case) -> None:
    """Queries and gradients add up to the images that the model saw."""
    result, counting = case.counted(spec)
    assert int(result.queries.sum()) == counting.forwards, f"{counting.forwards} forward"
    assert int(result.gradients.sum()) == counting.backwards, f"{counting.backwards} backward"


def follows_the_box(spec: AttackSpec, case: Case) -> None:
    """The problem shifted to [-0.5, 0.5] has the shifted images for a solution."""
    case = case.double()
    shifted = Shifted(case.model).eval()
    moved = spec.run(
        shifted, case.images - 0.5, case.labels, scale=case.scale, seed=case.seed,
        targets=case.targets, bounds=SHIFTED,
    )  # fmt: skip
    low, high = float(moved.images.min()), float(moved.images.max())
    assert low < 0 and low >= -0.5 and high <= 0.5, "left the shifted box"
    # An image's random numbers follow from its pixels, and these differ.
    if not spec.random:
        expected = case.run(spec).images
        torch.testing.assert_close(moved.images + 0.5, expected, rtol=0, atol=1e-9)


def takes_any_callable(spec: AttackSpec, case: Case) -> None:
    """A function serves as a model as well as a module does."""
    images, (other, _) = case.run(spec).images, case.counted(spec)
    assert torch.equal(other.images, images), "a function gives other images"


def does_nothing_for_nothing(spec: AttackSpec, case: Case) -> None:
    """Epsilon 0 returns the clean images, and so the clean accuracy."""
    if spec.budget is None:
        return
    result = (replace(case, scale=0.0) if case.scale else case).run(spec)
    assert torch.equal(result.images, case.images), "moved without a budget"


def fools(spec: AttackSpec, case: Case) -> None:
    """At the full budget most images fool the network, many more than before the attack."""
    case = replace(case, scale=1.0)
    with torch.no_grad():
        clean = case.model(case.images).argmax(dim=1) != case.labels
    share = float(case.run(spec).success.double().mean())
    assert clean.double().mean() < 0.2, "the network is no good to begin with"
    assert case.targets is not None or share >= spec.fools, f"fooled only {share:.2f}"


PROPERTIES = (
    keeps_budget, keeps_box, repeats, heeds_its_seed, ignores_batch_mates, leaves_no_trace,
    reports_success, counts_passes, follows_the_box, takes_any_callable, does_nothing_for_nothing,
)  # fmt: skip
