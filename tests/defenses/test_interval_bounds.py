"""Interval bounds: exact where a box stays a box, valid elsewhere, and training on them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from armsrace import attacks, datasets, defenses, zoo
from armsrace.contracts import Bounds
from armsrace.models import classifiers
from armsrace.models.layers import Maxout, Shift
from tests.attacks.linear import centered, linear, some_images, some_labels

LAYERS = {
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 5)), True),
    "conv": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1), True),
    "conv, reflected": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), False),
    "conv, grouped": (lambda: nn.Conv2d(2, 4, 3, groups=2, bias=False), True),
    "batch norm": (lambda: normalizing(), True),
    "shift": (lambda: Shift(-0.5), True),
    "maxout": (lambda: nn.Sequential(nn.Flatten(), Maxout(72, 4, 3)), False),
    "relu": (nn.ReLU, True), "elu": (nn.ELU, True), "leaky": (nn.LeakyReLU, True),
    "sigmoid": (nn.Sigmoid, True), "tanh": (nn.Tanh, True), "softplus": (nn.Softplus, True),
    "max pool": (lambda: nn.MaxPool2d(2), True), "average pool": (lambda: nn.AvgPool2d(2), True),
    "adaptive": (lambda: nn.AdaptiveAvgPool2d(1), True),
    "dropout": (lambda: nn.Dropout(0.5).eval(), True), "identity": (nn.Identity, True),
    "nested": (lambda: nn.Sequential(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()), nn.Flatten(),
                                     nn.Linear(48, 6), nn.ReLU(), nn.Linear(6, 3)), False),
}  # fmt: skip


def normalizing() -> nn.Module:
    """Batch normalization with a negative weight, as training may give it."""
    layer = nn.BatchNorm2d(2).eval()
    layer.running_mean.data = torch.tensor([0.3, -0.2])
    layer.running_var.data = torch.tensor([2.0, 0.1])
    layer.weight.data, layer.bias.data = torch.tensor([-1.5, 0.4]), torch.tensor([0.1, -0.7])
    return layer


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return LAYERS[name][0]().double()


def box(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.randn(2, 3, 2, 6, 6, generator=torch.Generator().manual_seed(seed)).double()
    return made.amin(dim=0), made.amax(dim=0)


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=15)
@given(seed=st.integers(0, 1000))
def test_points_of_the_box_are_inside(name: str, seed: int) -> None:
    model, (lower, upper) = built(name), box(seed)
    below, above = defenses.interval_bounds(model, lower, upper)
    generator = torch.Generator().manual_seed(seed)
    for sharp in (1, 100):
        share = torch.rand(20, *lower.shape, generator=generator).double()
        share = (sharp * (share - 0.5) + 0.5).clamp(0, 1)
        for point in lower + share * (upper - lower):
            found = model(point)
            assert (found >= below - 1e-12).all()
            assert (found <= above + 1e-12).all()


@pytest.mark.parametrize("name", [name for name in LAYERS if LAYERS[name][1]])
def test_one_layer_is_exact(name: str) -> None:
    """Each output reaches both of its bounds at a corner, which its gradient's signs give."""
    model, (lower, upper) = built(name), box(1)
    for bound, ends in zip(
        defenses.interval_bounds(model, lower, upper), ((upper, lower), (lower, upper)), strict=True
    ):
        flat = bound.flatten(1)
        for index in range(0, flat.shape[1], max(1, flat.shape[1] // 6)):
            point = ((lower + upper) / 2).requires_grad_()
            (slope,) = torch.autograd.grad(model(point).flatten(1)[:, index].sum(), point)
            corner = torch.where(slope < 0, *ends)
            if name in ("relu", "max pool"):  # whose gradient at one point does not tell
                corner = ends[1]
            torch.testing.assert_close(model(corner).flatten(1)[:, index], flat[:, index])


def test_linear_margins_are_the_worst_cases() -> None:
    """min over the box of z_y − z_c, pixel by pixel, in closed form and at the corner."""
    model, images, labels = linear(3), some_images(6), some_labels(6, 3)
    weights = model[1].weight
    found = defenses.interval_margins(model, images, labels, 0.2)
    lower, upper = (images - 0.2).clamp(0, 1), (images + 0.2).clamp(0, 1)
    for other in range(3):
        apart = (weights[labels] - weights[other]).view_as(images)
        corner = torch.where(apart > 0, lower, upper)
        logits = model(corner)
        worst = logits.gather(1, labels[:, None])[:, 0] - logits[:, other]
        torch.testing.assert_close(found[:, other], worst)
    held = defenses.certified(model, images, labels, 0.2)
    assert torch.equal(held, ((found > 0).sum(dim=1) == 2))


def test_certified_is_exact_for_a_linear_model() -> None:
    """FGSM finds the worst image of two classes, so that proof and attack leave no gap."""
    model, images = centered(2), some_images(60)
    labels = model(images).argmax(dim=1)
    for epsilon in (0.02, 0.1, 0.3):
        held = defenses.certified(model, images, labels, epsilon)
        broken = attacks.fgsm(model, images, labels, epsilon=epsilon).success
        assert torch.equal(held, ~broken)
        assert 0 < held.sum() < 60 or epsilon != 0.1


def test_box_of_pixels_is_used() -> None:
    model, images = centered(2), some_images(60)
    labels = model(images).argmax(dim=1)
    boxed, wide = (
        defenses.interval_margins(model, images, labels, 0.3, bounds)
        for bounds in (Bounds(0, 1), Bounds(-9, 9))
    )
    assert (boxed >= wide - 1e-12).all()
    assert (boxed > wide + 1e-3).any()


def test_elision_is_never_looser() -> None:
    torch.manual_seed(0)
    model = classifiers.interval_cnn().double()
    images = datasets.load("mnist").take(5).images.double()
    labels = model(images).argmax(dim=1)
    margins = defenses.interval_margins(model, images, labels, 0.05)
    lower, upper = defenses.interval_bounds(
        model, (images - 0.05).clamp(0, 1), (images + 0.05).clamp(0, 1)
    )
    whole = lower.gather(1, labels[:, None]) - upper
    others = ~functional.one_hot(labels, 10).bool()
    assert (margins >= whole - 1e-12)[others].all()
    assert (margins > whole + 1e-6)[others].any()
    assert (margins[~others].abs() < 1e-12).all()


@pytest.mark.parametrize("name", ["ibp-cnn-1", "ibp-cnn-3", "s3-cnn", "maxout", "carlini-wagner"])
def test_zoo_bounds_shrink_to_the_logits_and_grow_with_epsilon(name: str) -> None:
    model, digits = zoo.load(name).double(), datasets.load("mnist").take(4)
    images = digits.images.double()
    before = None
    for epsilon in (0.0, 0.001, 0.01, 0.1):
        lower, upper = defenses.interval_bounds(model, images - epsilon, images + epsilon)
        if before is None:
            torch.testing.assert_close(lower, model(images))
            torch.testing.assert_close(upper, model(images))
        else:
            assert (lower <= before[0] + 1e-9).all()
            assert (upper >= before[1] - 1e-9).all()
        before = lower, upper


@pytest.mark.parametrize(("name", "epsilon"), [("ibp-cnn-1", 0.1), ("ibp-cnn-3", 0.3)])
def test_no_attack_succeeds_on_a_certified_image(name: str, epsilon: float) -> None:
    model, digits = (
        zoo.load(name),
        datasets.load("mnist").take(60, torch.Generator().manual_seed(0)),
    )
    held = defenses.certified(model, digits.images, digits.labels, epsilon)
    assert held.double().mean() > 0.7
    found = attacks.pgd(model, digits.images, digits.labels, epsilon=epsilon, steps=20, restarts=2)
    assert not (found.success & held).any()


def test_results_do_not_depend_on_the_batch() -> None:
    model, digits = zoo.load("ibp-cnn-1").double(), datasets.load("mnist").take(6)
    images = digits.images.double()
    whole = defenses.interval_margins(model, images, digits.labels, 0.1)
    for index in range(6):
        alone = defenses.interval_margins(
            model, images[index : index + 1], digits.labels[index : index + 1], 0.1
        )
        torch.testing.assert_close(alone[0], whole[index])


def test_unknown_layers_are_named() -> None:
    class Squared(nn.ReLU):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values.square()

    points = torch.zeros(1, 3), torch.ones(1, 3)
    for layer, name in ((Squared(), "Squared"), (nn.GELU(), "GELU"), (nn.Softmax(1), "Softmax")):
        with pytest.raises(TypeError, match=f"known interval bounds, got {name}"):
            defenses.interval_bounds(nn.Sequential(nn.Linear(3, 3), layer), *points)
    with pytest.raises(ValueError, match="slope of LeakyReLU"):
        defenses.interval_bounds(nn.LeakyReLU(-0.1), *points)
    with pytest.raises(TypeError, match="end with a Linear layer, got ReLU"):
        defenses.certified(
            nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU()),
            torch.zeros(1, 1, 28, 28), torch.zeros(1, dtype=torch.int64), 0.1,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m, x, y: defenses.interval_bounds(m, x + 1, x), "lower must be <= upper"),
        (lambda m, x, y: defenses.interval_bounds(m, x, x[:1]), "must have one shape"),
        (lambda m, x, y: defenses.certified(m, x, y, -0.1), "epsilon must be >= 0"),
        (lambda m, x, y: defenses.certified(m, x + 1, y, 0.1), "images must lie in"),
        (lambda m, x, y: defenses.certified(m, x, y + 3, 0.1), "labels must be < 3"),
        (lambda m, x, y: defenses.interval_loss(0.1, 1.5), "kappa must be <= 1"),
        (lambda m, x, y: defenses.interval_schedule(0.1, ramp_up=0.0), "ramp_up must lie in"),
        (lambda m, x, y: defenses.interval_schedule(-0.1), "epsilon must be >= 0"),
    ],
)
def test_bad_input(ask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(linear(3), some_images(2), some_labels(2, 3))


def test_loss_weighs_the_clean_and_the_worst_logits() -> None:
    model, images, labels = linear(3), some_images(6), some_labels(6, 3)
    lower, upper = (images - 0.1).clamp(0, 1), (images + 0.1).clamp(0, 1)
    weights, logits = model[1].weight, model(images)
    worst = torch.zeros(6, 3).double()
    for other in range(3):
        apart = (weights[labels] - weights[other]).view_as(images)
        corner = model(torch.where(apart > 0, lower, upper))
        worst[:, other] = corner[:, other] - corner.gather(1, labels[:, None])[:, 0]
    expected = 0.7 * functional.cross_entropy(logits, labels) + 0.3 * functional.cross_entropy(
        worst, labels
    )
    torch.testing.assert_close(defenses.interval_loss(0.1, 0.7)(model, images, labels), expected)


def test_schedule_is_the_authors() -> None:
    """60,000 steps: clean until 2,000, the full ε and κ = ½ from 12,000 on, half-way between."""
    model, images, labels = linear(3), some_images(6), some_labels(6, 3)
    schedule = defenses.interval_schedule(0.2)
    for step, epsilon, kappa in ((0, 0, 1), (2000, 0, 1), (7000, 0.1, 0.75), (12000, 0.2, 0.5),
                                 (60000, 0.2, 0.5)):  # fmt: skip
        torch.testing.assert_close(
            schedule(step / 60000)(model, images, labels),
            defenses.interval_loss(epsilon, kappa)(model, images, labels),
        )
