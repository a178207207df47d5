"""What callers hand in beside float32: other dtypes, budgets per image, other kinds of models."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from armsrace import attacks, defenses, evaluation
from armsrace.contracts import AttackResult, Bounds, Norm
from armsrace.norms import distances
from tests.attacks.cases import Case
from tests.attacks.specs import SPECS, AttackSpec

Digits = tuple[Tensor, Tensor]
HALVES = (torch.bfloat16, torch.float16)
GRADED = tuple(spec for spec in SPECS if spec.gradients)
BUDGETED = tuple(spec for spec in SPECS if spec.budget)
every_attack = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


@pytest.fixture(scope="module")
def case(trained: nn.Module, digits: Digits) -> Case:
    """Remembers what each attack finds, with which many tests compare."""
    return Case(trained, digits[0][:6], digits[1][:6])


def again(case: Case, spec: AttackSpec, model: Any) -> AttackResult:
    """The attack on another model."""
    return replace(case, model=model).again(spec)


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@every_attack
def test_logits_in_float64(spec: AttackSpec, case: Case) -> None:
    """As of a decision function of scikit-learn; rounded to float32 they are what they were."""
    result = again(case, spec, lambda images: case.model(images).double())
    assert result.images.dtype == torch.float32
    assert torch.equal(result.images, case.run(spec).images)
    assert torch.equal(result.success, case.run(spec).success)


@every_attack
def test_autocast_in_the_model(spec: AttackSpec, case: Case) -> None:
    """The logits are bfloat16, and coarse: what is found fools the model with the autocast."""

    def model(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return case.model(images)

    result = again(case, spec, model)
    assert result.images.dtype == torch.float32
    if not spec.least_likely:
        wrong = model(result.images).argmax(dim=1) != case.labels
        assert torch.equal(result.success, wrong)
        wanted = int(case.run(spec).success.sum())
        # A search that ends on the boundary ends within its rounding, which is the processor's.
        assert int(result.success.sum()) >= (wanted // 2 if spec.budget is None else wanted - 1)


@every_attack
@pytest.mark.usefixtures("float64_by_default")
def test_the_default_dtype_changes_nothing(spec: AttackSpec, case: Case) -> None:
    result = case.again(spec)
    torch.set_default_dtype(torch.float32)
    assert result.images.dtype == torch.float32
    # A substitute is a new network, whose weights are drawn in the default dtype.
    assert spec.name == "substitute" or torch.equal(result.images, case.run(spec).images)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@every_attack
def test_half_precision(spec: AttackSpec, dtype: torch.dtype, case: Case) -> None:
    """Images and network in half precision: their dtype, their verdict, and most of the success."""
    network = copy.deepcopy(case.model).to(dtype)
    half = replace(case, model=network, images=case.images.to(dtype))
    result = half.again(spec)
    assert result.images.dtype == dtype
    assert result.images.isfinite().all()
    if not spec.least_likely:
        wrong = network(result.images).argmax(dim=1) != half.labels
        assert torch.equal(result.success, wrong)
        assert int(result.success.sum()) >= int(case.run(spec).success.sum()) - 2
    if spec.budget:
        moved = distances(result.images.double() - half.images.double(), spec.norm)
        assert (moved <= spec.budget).all(), f"{moved.max()} > {spec.budget}"


@given(
    seed=st.integers(0, 2**32), epsilon=st.floats(1e-3, 0.5), dtype=st.sampled_from(HALVES),
    norm=st.sampled_from(["linf", "l2", "l1"]), per_image=st.booleans(),
)  # fmt: skip
def test_half_precision_keeps_any_budget(
    seed: int, epsilon: float, dtype: torch.dtype, norm: Norm, per_image: bool
) -> None:
    """Exactly, as measured in float64."""
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 2, 3, 3, generator=draws).to(dtype)
    model = nn.Sequential(nn.Flatten(), nn.Linear(18, 4))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(4, 18, generator=draws))
    budget = torch.tensor([epsilon, epsilon / 3, 0.0], dtype=torch.float64)
    labels = torch.tensor([0, 1, 2])
    for attack in (attacks.fgsm, partial(attacks.pgd, steps=3)):
        result = attack(
            model.to(dtype), images, labels, norm=norm, epsilon=budget if per_image else epsilon
        )
        moved = distances(result.images.double() - images.double(), norm)
        assert (moved <= (budget if per_image else epsilon)).all()
        assert result.images.min() >= 0 and result.images.max() <= 1


SINGLE = ("universal-l2", "universal-ascent", "transfer", "substitute", "adversarial-patch")
"""One perturbation or patch for all images; a budget that is the inner attack's."""


@pytest.mark.parametrize(
    "spec", [spec for spec in BUDGETED if spec.name not in SINGLE], ids=lambda spec: spec.name
)
def test_a_budget_per_image(spec: AttackSpec, case: Case) -> None:
    """Each image is attacked as it would be alone with its own budget."""
    assert spec.budget is not None
    case = case.double()
    budgets = spec.budget * torch.tensor([0.0, 1.0, 0.3, 1.0, 2.0, 0.7], dtype=torch.float64)
    together = spec.run(case.model, case.images, case.labels, epsilon=budgets)
    moved = distances(together.images - case.images, spec.norm)
    assert (moved <= budgets * (1 + 1e-12)).all() and moved[0] == 0
    for one in (1, 2):
        alone = case.part([one]).model, case.images[[one]], case.labels[[one]]
        result = spec.run(*alone, epsilon=float(budgets[one]))
        torch.testing.assert_close(result.images, together.images[[one]], rtol=0, atol=1e-9)
        assert result.queries == together.queries[one]


@pytest.mark.parametrize("attack", [attacks.bim, attacks.least_likely])
def test_the_steps_of_each_budget(attack: Any, case: Case) -> None:
    """The paper's number of steps follows the budget, also where there are several."""
    case = case.double()
    found = attack(case.model, case.images[:2], case.labels[:2], epsilon=torch.tensor([0.1, 0.02]))
    assert found.gradients.tolist() == [29, 6]


@pytest.mark.parametrize(
    ("epsilon", "kind", "rule"),
    [
        ([0.1, 0.2], TypeError, "epsilon must be a number, or a tensor (N,) with one number per"),
        (torch.ones(2, 2), TypeError, "epsilon must be a number, or a tensor (N,)"),
        (torch.ones(3), ValueError, "epsilon must have shape (2,), got (3,)"),
        (torch.tensor([0.1, -0.1]), ValueError, "epsilon must be >= 0 for each image, got [0.1"),
        (torch.tensor([0.1, torch.nan]), ValueError, "epsilon must be >= 0 for each image, got"),
    ],
)
def test_what_is_no_budget(epsilon: Any, kind: type[Exception], rule: str, case: Case) -> None:
    with pytest.raises(kind, match=re.escape(rule)):
        attacks.pgd(case.model, case.images[:2], case.labels[:2], epsilon=epsilon)


@pytest.mark.parametrize(
    "spec", [one for one in SPECS if one.targeted and one.name not in SINGLE[-2:]],
    ids=lambda one: one.name,
)  # fmt: skip
def test_a_target_that_is_the_label(spec: AttackSpec, case: Case) -> None:
    """Allowed: the image is a success where the model predicts it, as it does from the start."""
    with torch.no_grad():
        right = case.model(case.images).argmax(dim=1) == case.labels
    case = case.part(right.nonzero()[:, 0].tolist())
    result = replace(case, targets=case.labels).again(spec)
    assert result.success.all()
    if spec.budget is None:
        assert torch.equal(result.images, case.images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES], ids=str)
def test_a_pixel_above_the_box_by_rounding(dtype: torch.dtype, case: Case) -> None:
    """It is clipped, with a warning; one further outside is refused."""
    images, high = case.images.to(dtype).clone(), torch.ones((), dtype=dtype)
    images[0, 0, 0, 0] = torch.nextafter(high, 2 * high)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).to(dtype)
    with pytest.warns(UserWarning, match="images exceed the bounds by rounding, and are clipped"):
        result = attacks.fgsm(flat, images, case.labels, epsilon=0.1)
    assert result.images.max() <= 1 and images[0, 0, 0, 0] > 1
    images[0, 0, 0, 0] = 1.05
    with pytest.raises(ValueError, match=re.escape("images must lie in [0.0, 1.0], got values")):
        attacks.fgsm(flat, images, case.labels, epsilon=0.1)


IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "sub_": lambda images: images.sub_(0.5),
    "a view": lambda images: images[:].mul_(2),
    "inplace=True": nn.ReLU(inplace=True),
}


@pytest.mark.parametrize("change", IN_PLACE)
@every_attack
def test_a_model_that_changes_its_images(spec: AttackSpec, change: str, case: Case) -> None:
    """It is refused, and the caller's images stay."""
    images = case.images.clone()

    def model(given: Tensor) -> Tensor:
        return case.model(IN_PLACE[change](given))

    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        refused = pytest.raises(ValueError, match="model must not change its images in place")
        with context(), refused:
            spec.run(model, images, case.labels)
        assert torch.equal(images, case.images)


def test_evaluations_refuse_such_a_model_too(case: Case) -> None:
    images = case.images.clone()

    def model(given: Tensor) -> Tensor:
        return case.model(given.sub_(0.5))

    known = (model, images, case.labels)
    for run in (
        lambda: evaluation.accuracy(*known),
        lambda: evaluation.masking_report(*known, epsilon=0.1),
        lambda: evaluation.robustness_curve(model, attacks.fgsm, *known[1:], [0.1]),
    ):
        with pytest.raises(ValueError, match="model must not change its images in place"):
            run()
    assert torch.equal(images, case.images)


def frozen(model: nn.Module) -> Any:
    return torch.jit.freeze(torch.jit.script(model))


def exported(model: nn.Module) -> Any:
    sizes = ({0: torch.export.Dim.DYNAMIC},)
    return torch.export.export(model, (torch.rand(2, 1, 28, 28),), dynamic_shapes=sizes).module()


def traced(model: nn.Module) -> Any:
    return torch.jit.trace(model, torch.rand(2, 1, 28, 28))


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager", dynamic=True)


KINDS = {"frozen": frozen, "exported": exported, "traced": traced, "compiled": compiled,
         "parallel": nn.DataParallel}  # fmt: skip
SOME = [spec for spec in SPECS if spec.name in ("pgd-linf", "ddn", "deepfool-l2", "square-linf")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_another_kind(kind: str, case: Case) -> None:
    """No `training`, no working `eval()`: the same images as of the network itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = KINDS[kind](case.model)
        for spec in SOME:
            result = again(case, spec, model)
            torch.testing.assert_close(result.images, case.run(spec).images, rtol=0, atol=1e-3)
            assert torch.equal(result.success, case.run(spec).success)


def test_a_quantized_model(case: Case) -> None:
    """It has no gradient, and black-box attacks ask for none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(case.model, {nn.Linear}, torch.qint8)
    found = attacks.square(model, case.images, case.labels, epsilon=0.4, queries=50)
    assert found.success.double().mean() >= 0.5


@pytest.mark.parametrize(
    "attack",
    [attacks.fgsm, attacks.rand_fgsm, attacks.bim, attacks.mi_fgsm, attacks.pgd, attacks.auto_pgd,
     partial(attacks.pgd, restarts=2), attacks.finite_difference],
)  # fmt: skip
@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="sum")])
@pytest.mark.parametrize("count", [1, 4])
def test_a_loss_for_the_whole_batch(attack: Any, loss: Any, count: int, case: Case) -> None:
    """It would couple the images, so that a result depended on the others."""
    rule = f"loss must return shape ({count},), one value per image, got ()"
    with pytest.raises(ValueError, match=re.escape(rule)):
        attack(case.model, case.images[:count], case.labels[:count], epsilon=0.1, loss=loss)


def test_a_loss_of_torch_for_each_image(case: Case) -> None:
    loss: Any = nn.CrossEntropyLoss(reduction="none")
    known = case.model, case.images, case.labels
    result = attacks.pgd(*known, epsilon=0.1, steps=3, loss=loss)
    assert torch.equal(result.images, attacks.pgd(*known, epsilon=0.1, steps=3).images)


LEAD = 1.0


def guard(case: Case) -> defenses.Detected:
    """The network, which rejects what it is not sure of: where the best class leads by less."""

    def score(images: Tensor) -> Tensor:
        best = case.model(images).topk(2, dim=1).values
        return best[:, 1] - best[:, 0]

    return defenses.Detected(case.model, score, threshold=-LEAD).eval()


BY_CLASS = ("greedy-explanation", "latent-descent", "least-likely")


@pytest.mark.parametrize("spec", [s for s in SPECS if s.name not in BY_CLASS], ids=lambda s: s.name)
def test_a_rejected_image_is_not_adversarial(spec: AttackSpec, case: Case) -> None:
    model = guard(case)
    result = again(case, spec, model)
    predicted = model(result.images).argmax(dim=1)
    assert torch.equal(result.success, (predicted != case.labels) & (predicted != 10))


@pytest.mark.parametrize(
    "attack",
    [
        attacks.deepfool, partial(attacks.deepfool, norm="linf"), attacks.ddn,
        partial(attacks.pgd, epsilon=0.2),
        partial(attacks.carlini_wagner_l2, binary_search_steps=4, steps=60, step_size=0.1),
    ],
)  # fmt: skip
def test_attacks_find_what_is_not_rejected(attack: Any, trained: nn.Module, digits: Digits) -> None:
    """Not only is a rejection no success: the search goes on, to an image that passes."""
    case = Case(trained, digits[0][:20], digits[1][:20])
    model = guard(case)
    with torch.no_grad():
        unaware = attack(case.model, case.images, case.labels)
        clean, rejected = (
            (model(images).argmax(dim=1) == 10).double().mean()
            for images in (case.images, unaware.images)
        )
    found = attack(model, case.images, case.labels)
    assert clean <= 0.2, f"{clean:.2f} of the clean images are rejected"
    assert rejected >= (0 if "epsilon" in getattr(attack, "keywords", {}) else 0.5)
    assert found.success.double().mean() >= 0.75, f"{found.success.double().mean():.2f}"


def test_a_function_says_that_it_rejects(case: Case) -> None:
    """By the same attribute, which wrappers of a model hand on."""
    inner = guard(case)

    def model(images: Tensor) -> Tensor:
        return inner(images)

    known = case.images, case.labels
    free = attacks.ddn(model, *known)
    assert (model(free.images).argmax(dim=1) == 10).all()
    model.last_class_rejects = True  # type: ignore[attr-defined]
    said = attacks.ddn(model, *known)
    assert said.success.all() and (model(said.images).argmax(dim=1) != 10).all()
    for wrapped in (attacks.eot(inner, samples=1), attacks.estimated_gradient(inner)):
        assert wrapped.last_class_rejects


def test_a_target_may_be_the_rejection(case: Case) -> None:
    everywhere = torch.full_like(case.labels, 10)
    found = attacks.ddn(guard(case), case.images, case.labels, targets=everywhere)
    assert found.success.all()


def test_evaluations_take_bounds(case: Case) -> None:
    """The same curve, worst case, targets, report and smallest budgets in gray levels."""
    gray, images = Bounds(0, 255), 255 * case.images

    def model(images: Tensor) -> Tensor:
        return case.model(images / 255)

    known, levels = (case.model, case.images, case.labels), (model, images, case.labels)
    assert evaluation.accuracy(*levels, bounds=gray) == evaluation.accuracy(*known)
    budgets = [0.0, 0.05, 0.1, 0.2]
    expected = evaluation.robustness_curve(case.model, attacks.fgsm, *known[1:], budgets)
    curve = evaluation.robustness_curve(
        model, attacks.fgsm, *levels[1:], [255 * one for one in budgets], bounds=gray
    )
    assert curve.accuracies == expected.accuracies
    unit = evaluation.smallest_epsilon(attacks.fgsm, *known, budgets[1:])
    found = evaluation.smallest_epsilon(
        attacks.fgsm, *levels, [255 * one for one in budgets[1:]], bounds=gray
    )
    torch.testing.assert_close(found.images / 255, unit.images, rtol=0, atol=1e-5)
    options = {"steps": 5, "queries": 20}
    worst = evaluation.worst_case(
        *levels, evaluation.autoattack(epsilon=255 * 0.1, **options), bounds=gray
    )
    best = evaluation.worst_case(*known, evaluation.autoattack(epsilon=0.1, **options))
    assert abs(worst.accuracies["Square"] - best.accuracies["Square"]) <= 0.2
    assert len(evaluation.all_targets(images, case.labels, 10, gray)[0]) == 9 * len(images)
    assert len(evaluation.masking_report(*levels, epsilon=25, steps=3, bounds=gray).checks) == 6
    batches = evaluation.attack_in_batches(
        partial(attacks.fgsm, epsilon=25.5), *levels, bounds=gray, batch_size=4
    )
    assert batches.images.max() > 1
