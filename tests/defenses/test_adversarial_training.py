"""Training on attacked images: exact losses on a linear model, and what it does to a network."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace import attacks, defenses, zoo
from armsrace.datasets import Dataset
from armsrace.defenses import adversarial_training as training
from armsrace.defenses.adversarial_training import Generate
from armsrace.models import classifiers
from armsrace.recipes import RECIPES
from armsrace.training.loop import fit
from armsrace.training.recipe import Recipe, always, cross_entropy, one_cycle

EPSILON = 0.1
GENERATORS = {
    "fgsm": defenses.fgsm_images(EPSILON),
    "fgsm, no leak": defenses.fgsm_images(EPSILON, leak=False),
    "rand_fgsm": defenses.rand_fgsm_images(EPSILON, 0.03),
    "pgd": defenses.pgd_images(EPSILON, steps=5),
}


@pytest.fixture
def linear() -> nn.Sequential:
    """Two classes of four pixels, weights ± w / 2: the margin of class 1 is w · x."""
    weights = torch.tensor([2.0, -1.0, 0.5, -3.0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    model[1].weight.data = torch.stack([-weights / 2, weights / 2])
    return model


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Six images far from the box's sides, and their labels: each class three times."""
    images = 0.3 + 0.4 * torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(2))
    return images, torch.tensor([0, 1, 0, 1, 0, 1])


def worst_loss(linear: nn.Module, batch: tuple[Tensor, Tensor], epsilon: float) -> Tensor:
    """softplus(−(margin − ε ‖w‖₁)), in which no attack within the box can do better."""
    images, labels = batch
    weights = linear[1].weight[1] - linear[1].weight[0]
    margins = (2 * labels - 1) * (images.flatten(1) @ weights)
    return functional.softplus(epsilon * weights.abs().sum() - margins).mean()


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_the_mixture_is_the_closed_form(linear, batch, alpha: float) -> None:
    objective = training.adversarial_loss(defenses.fgsm_images(EPSILON), alpha)
    clean, attacked = (worst_loss(linear, batch, size) for size in (0.0, EPSILON))
    torch.testing.assert_close(objective(linear, *batch), alpha * clean + (1 - alpha) * attacked)


def test_its_gradient_is_that_of_the_worst_case(linear, batch) -> None:
    """Danskin: at the maximum the images may be taken as given."""
    objective = training.adversarial_loss(defenses.fgsm_images(EPSILON), alpha=0.0)
    (found,) = torch.autograd.grad(objective(linear, *batch), linear[1].weight)
    (exact,) = torch.autograd.grad(worst_loss(linear, batch, EPSILON), linear[1].weight)
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("name", GENERATORS)
def test_images_stay_in_ball_and_box(trained, digits, name: str) -> None:
    images, labels = digits[0][:40], digits[1][:40]
    trained = trained.train()
    try:
        with torch.random.fork_rng():
            made = GENERATORS[name](trained, images, labels)
        assert trained.training, "the mode is put back"
    finally:
        trained.eval()
    change = (made - images).abs().flatten(1).amax(dim=1)
    assert (change <= EPSILON + 1e-6).all() and (change > EPSILON / 2).all()
    assert made.min() >= 0 and made.max() <= 1 and not made.requires_grad


def test_without_leak_the_label_does_not_matter(trained, digits) -> None:
    images, labels = digits[0][:40], digits[1][:40]
    blind, told = GENERATORS["fgsm, no leak"], GENERATORS["fgsm"]
    other = (labels + 1) % 10
    assert torch.equal(blind(trained, images, labels), blind(trained, images, other))
    assert not torch.equal(told(trained, images, labels), told(trained, images, other))


def test_random_images_are_new_at_each_call(trained, digits) -> None:
    images, labels = digits[0][:10], digits[1][:10]
    for name in ("rand_fgsm", "pgd"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            first, second = (GENERATORS[name](trained, images, labels) for _ in range(2))
            torch.manual_seed(0)
            again = GENERATORS[name](trained, images, labels)
        assert not torch.equal(first, second) and torch.equal(first, again)


def test_the_ensemble_draws_every_source(trained, digits, monkeypatch) -> None:
    images, labels = digits[0][:10], digits[1][:10]
    static = {"one": classifiers.softmax_regression(), "two": classifiers.softmax_regression()}
    asked: list[str] = []
    monkeypatch.setattr(zoo, "load", lambda name, device: asked.append(name) or static[name])
    sources = defenses.ensemble_images(EPSILON, tuple(static))
    own = defenses.fgsm_images(EPSILON, leak=False)
    possible = [own(model, images, labels) for model in (*static.values(), trained)]
    counts = torch.zeros(3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(60):
            made = sources(trained, images, labels)
            counts += torch.tensor([torch.equal(made, one) for one in possible])
    assert counts.sum() == 60 and (counts > 10).all(), "each source about every third time"
    assert sorted(asked) == ["one", "two"], "each static network is loaded once"


def test_trades_without_a_budget_is_the_clean_loss(trained, digits) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    clean = cross_entropy(trained, images, labels)
    none = training.trades(0.0, steps=2, beta=5.0)(trained, images, labels)
    torch.testing.assert_close(none, clean, atol=1e-5, rtol=0)
    weak, strong = (training.trades(EPSILON, 3, beta)(trained, images, labels) for beta in (1, 3))
    assert clean < weak < strong


def test_trades_is_the_closed_form_on_a_linear_model(linear, batch) -> None:
    """Two classes: the divergence of sigmoids, greatest at a corner of the ball."""
    weights = linear[1].weight[1] - linear[1].weight[0]
    margins, shift = batch[0].flatten(1) @ weights, EPSILON * weights.abs().sum()
    known = torch.stack([-margins / 2, margins / 2], dim=1).softmax(dim=1)

    def divergence(moved: Tensor) -> Tensor:
        logits = torch.stack([-moved / 2, moved / 2], dim=1)
        return (known * (known.log() - logits.log_softmax(dim=1))).sum(dim=1)

    worst = torch.maximum(divergence(margins + shift), divergence(margins - shift))
    loss = training.trades(EPSILON, steps=20, beta=2.0)(linear, *batch)
    limit = cross_entropy(linear, *batch) + 2 * worst.mean()
    reached = (loss - cross_entropy(linear, *batch)) / (2 * worst.mean())
    assert loss <= limit + 1e-6 and reached > 0.8


def test_the_budget_warms_up() -> None:
    asked: list[float] = []

    def generate(epsilon: float) -> Generate:
        asked.append(epsilon)
        return defenses.fgsm_images(epsilon)

    objective = training.epsilon_warmup(generate, 0.3, share=0.25)
    for progress in (0.0, 0.125, 0.25, 0.9):
        objective(progress)
    assert asked == pytest.approx([0.0, 0.15, 0.3, 0.3])


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (
            lambda: training.adversarial_loss(GENERATORS["fgsm"], 1.5),
            r"alpha must lie in \[0, 1\], got 1.5",
        ),
        (lambda: training.trades(0.3, 3, beta=-1), "beta must be >= 0, got -1"),
        (lambda: training.epsilon_warmup(defenses.fgsm_images, 0.3, 0.0), "share must lie in"),
    ],
)
def test_bad_settings_are_refused(make, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()


def recipe(generate: Generate | None, epochs: int) -> Recipe:
    objective = cross_entropy
    if generate is not None:
        objective = training.adversarial_loss(generate, alpha=0.0)
    adam = torch.optim.Adam
    return Recipe(epochs, 64, adam, one_cycle(5e-2), "", objective=always(objective))


def small() -> nn.Module:
    return classifiers.maxout(units=8, pieces=2)


def test_it_lowers_the_loss_that_it_claims_to(stripes: Dataset) -> None:
    """The halves differ by 0.2: a model that weighs each pixel of a half alike withstands."""
    epsilon, losses = 0.04, {}
    for name, generate in {"plain": None, "pgd": defenses.pgd_images(epsilon, steps=3)}.items():
        model, _ = fit(classifiers.softmax_regression, stripes, recipe(generate, epochs=15))
        found = attacks.pgd(model, stripes.images, stripes.labels, epsilon=epsilon, steps=20)
        losses[name] = cross_entropy(model, found.images, stripes.labels).item()
    assert losses["pgd"] < losses["plain"] / 2
    assert losses["pgd"] < math.log(2) / 2, "and it did not do so by answering a constant"


def test_a_run_with_random_starts_resumes_bit_for_bit(stripes: Dataset, tmp_path) -> None:
    random = recipe(defenses.pgd_images(EPSILON, steps=2), epochs=3)
    before, state = torch.get_rng_state(), tmp_path / "state.safetensors"

    class KilledError(Exception):
        pass

    def kill(done: int, total: int, loss: float) -> None:
        if done > total // 3:
            raise KilledError

    whole, _ = fit(small, stripes, random)
    with pytest.raises(KilledError):
        fit(small, stripes, random, state=state, progress=kill)
    resumed, spent = fit(small, stripes, random, state=state, resume=True)
    assert spent.epochs == 3
    assert all(map(torch.equal, whole.state_dict().values(), resumed.state_dict().values()))
    assert torch.equal(before, torch.get_rng_state())


ATTACKED = {
    "maxout-fgsm", "s3-cnn-fgsm", "s3-cnn-rand-fgsm", "tramer-a-fgsm", "madry-pgd",
    "carlini-wagner-trades",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ATTACKED))
def test_every_recipe_gives_a_loss_with_a_gradient(digits, name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = zoo.build(name)
        recipe = replace(RECIPES[name], epochs=1)
        loss = recipe.objective(1.0)(model, digits[0][:4], digits[1][:4])
    loss.backward()
    assert loss > 0 and all(weights.grad.isfinite().all() for weights in model.parameters())
