"""Soft labels in closed form, their gradients, and networks that are trained on them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from armsrace import attacks, datasets, zoo
from armsrace.datasets import Dataset
from armsrace.defenses import TemperatureScaled, at_temperature, distilled_from, soft_labels
from armsrace.losses import margin
from armsrace.models import classifiers
from armsrace.models.layers import predict
from armsrace.models.zoo import TEMPERATURES
from armsrace.recipes import RECIPES
from armsrace.training.loop import fit
from armsrace.training.recipe import Recipe, always, one_cycle


@pytest.fixture
def logits() -> torch.Tensor:
    return 5 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_two_classes_are_a_sigmoid_of_the_lead_over_t() -> None:
    pair = torch.tensor([[3.0, 1.0], [-2.0, 5.0]], dtype=torch.float64)
    for temperature in (0.5, 1, 7, 100):
        expected = torch.sigmoid((pair[:, 0] - pair[:, 1]) / temperature)
        assert torch.allclose(soft_labels(pair, temperature)[:, 0], expected, atol=1e-12)


def test_one_is_softmax_and_heat_makes_even(logits: torch.Tensor) -> None:
    assert torch.equal(soft_labels(logits, 1), logits.softmax(dim=1))
    entropies = torch.stack(
        [-(p * p.log()).sum(dim=1) for p in (soft_labels(logits, t) for t in TEMPERATURES)]
    )
    assert (entropies.diff(dim=0) > 0).all()
    assert torch.allclose(soft_labels(logits, 1e6), torch.full((6, 4), 0.25).double(), atol=1e-5)


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize(
    "use",
    [
        lambda t: soft_labels(torch.zeros(1, 2), t),
        lambda t: TemperatureScaled(nn.Flatten(), t),
        at_temperature,
        lambda t: distilled_from(lambda device: nn.Flatten(), t),
    ],
)
def test_a_temperature_is_finite_and_positive(use, temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be finite and > 0, got"):
        use(temperature)


def test_the_teachers_gradient_in_the_logits(logits: torch.Tensor) -> None:
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    moving = logits.float().requires_grad_()
    loss = at_temperature(20)(nn.Identity(), moving, labels)
    (found,) = torch.autograd.grad(loss, moving)
    truth = nn.functional.one_hot(labels, 4)
    expected = (soft_labels(moving.detach(), 20) - truth) / (20 * len(labels))
    assert torch.allclose(found, expected, atol=1e-8)


def test_the_students_gradient_in_the_logits(logits: torch.Tensor) -> None:
    objective = distilled_from(lambda device: lambda images: 2 * images, 20)
    moving = logits.float().requires_grad_()
    loss = objective(nn.Identity(), moving, torch.zeros(6).long())
    (found,) = torch.autograd.grad(loss, moving)
    ours, soft = (soft_labels(scale * moving.detach(), 20) for scale in (1, 2))
    assert torch.allclose(found, (ours - soft) / (20 * 6), atol=1e-8)
    assert torch.equal(loss, objective(nn.Identity(), moving, torch.ones(6).long()))


def test_a_teacher_is_fetched_once_and_its_weights_stay() -> None:
    asked, teacher = [], classifiers.softmax_regression()
    objective = distilled_from(lambda device: asked.append(device) or teacher, 5)
    student = classifiers.softmax_regression()
    for _ in range(3):
        objective(student, torch.rand(4, 1, 28, 28), torch.zeros(4).long()).backward()
    assert len(asked) == 1
    assert all(weight.grad is None for weight in teacher.parameters())
    assert all(weight.grad.abs().sum() > 0 for weight in student.parameters())


@pytest.fixture(scope="module")
def doubtful() -> Dataset:
    """128 images of two kinds, each labeled as its kind three times out of four."""
    images = torch.zeros(128, 1, 28, 28)
    images[::2, :, :14], images[1::2, :, 14:] = 1.0, 1.0
    kind = torch.arange(128) % 2
    return Dataset(images, kind ^ (torch.arange(128) % 8 < 2), "mnist", "train", "own", Path())


def _leads(objective, data: Dataset) -> tuple[nn.Module, torch.Tensor]:
    """A trained network, and the lead of each image's kind."""
    recipe = Recipe(150, 128, torch.optim.Adam, one_cycle(0.02), "", objective=always(objective))
    model, _ = fit(lambda: classifiers.softmax_regression(classes=2), data, recipe)
    return model, -margin(predict(model, data.images), torch.arange(128) % 2)


@pytest.mark.parametrize("temperature", [1, 20])
def test_a_lead_is_t_log_3_where_three_of_four_labels_agree(doubtful, temperature: int) -> None:
    exact = torch.full((128,), temperature * torch.tensor(3.0).log().item())
    teacher, taught = _leads(at_temperature(temperature), doubtful)
    assert torch.allclose(taught, exact, rtol=0.02)
    _, learnt = _leads(distilled_from(lambda device: teacher, temperature), doubtful)
    assert torch.allclose(learnt, exact, rtol=0.02)


def test_every_temperature_has_a_recipe_and_says_whose_labels_it_learns() -> None:
    for temperature in TEMPERATURES:
        teacher, student = f"distillation-teacher-{temperature}", f"distilled-{temperature}"
        assert {teacher, student} <= RECIPES.keys() & set(zoo.names(trained=False))
        assert f"soft labels of {teacher};" in RECIPES[student].settings


def test_a_student_without_its_teacher_says_what_to_train(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ARMSRACE_CHECKPOINTS", str(tmp_path))
    objective = RECIPES["distilled-2"].objective(0.0)
    with pytest.raises(zoo.CheckpointError, match="run `armsrace train distillation-teacher-2`"):
        objective(nn.Flatten(), torch.rand(2, 1, 28, 28), torch.zeros(2).long())


def test_a_network_at_its_temperature_decides_alike_and_can_be_attacked() -> None:
    digits = datasets.held_out("mnist").take(24, torch.Generator().manual_seed(0))
    task, sure = (digits.images, digits.labels), TemperatureScaled(zoo.load("s3-cnn"), 1 / 1000)
    cooled = TemperatureScaled(sure, 1000)
    assert not any(part.training for part in cooled.modules())
    assert torch.equal(predict(sure, task[0]).argmax(1), predict(cooled, task[0]).argmax(1))
    masked = attacks.fgsm(sure, *task, epsilon=0.3).success.float().mean()
    assert attacks.fgsm(cooled, *task, epsilon=0.3).success.float().mean() > masked + 0.3


def test_the_shipped_student_has_no_gradient_and_reads_well() -> None:
    digits = datasets.held_out("mnist").take(300, torch.Generator().manual_seed(0))
    plain, student = zoo.load("carlini-wagner"), zoo.load("distilled-100")
    lengths = []
    for model in (plain, student):
        moving = digits.images.clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(moving), digits.labels, reduction="none")
        (grad,) = torch.autograd.grad(loss.sum(), moving)
        lengths.append(grad.flatten(1).norm(dim=1))
    assert (lengths[0] == 0).float().mean() < 0.5 < (lengths[1] == 0).float().mean()
    logits = predict(student, digits.images)
    assert (logits.argmax(1) == digits.labels).float().mean() > 0.97
    assert logits.abs().mean() > 20 * predict(plain, digits.images).abs().mean()
