"""Each objective moves the network it should, and a stopped run ends the same."""

from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus
from torch.optim import Adam

from armsrace.datasets import Dataset
from armsrace.models import zoo
from armsrace.models.gan import compact, critic
from armsrace.recipes import RECIPES
from armsrace.training.gan import GANTrainer, gradient_penalty, r1_loss, r1_penalty, wgan_gp
from armsrace.training.loop import fit
from armsrace.training.recipe import Recipe, always
from armsrace.training.run import train


def small(averaging: float = 0.0) -> GANTrainer:
    return GANTrainer(compact(filters=2), critic(2, kernel=4), averaging)


@pytest.fixture
def digits(stripes: Dataset) -> Dataset:
    return replace(stripes, images=stripes.images[:96], labels=stripes.labels[:96])


RECIPE = Recipe(
    3, 32, partial(Adam, betas=(0.0, 0.9)), lambda progress: 1e-2, "", always(r1_loss()),
    quality="frechet", around=lambda network: small(0.9),
)  # fmt: skip


def moved(trainer: GANTrainer, objective, images: torch.Tensor) -> tuple[bool, bool]:
    """Whether a step of Adam on this objective moves the generator, and the critic."""
    before = deepcopy(trainer.state_dict())
    optimizer = Adam(trainer.parameters(), 1e-2)
    optimizer.zero_grad(set_to_none=True)
    objective(trainer, images, torch.empty(0)).backward()
    optimizer.step()
    return tuple(
        any(
            not torch.equal(value, before[f"{part}.{name}"])
            for name, value in getattr(trainer, part).named_parameters()
        )
        for part in ("generator", "critic")
    )


def test_in_turns_is_five_of_the_critic_then_one_of_the_generator(digits) -> None:
    trainer, objective = small(), wgan_gp(5)
    turns = [moved(trainer, objective, digits.images[:8]) for _ in range(12)]
    assert turns == [*[(False, True)] * 5, (True, False)] * 2


def test_together_moves_both_as_each_would_alone(digits) -> None:
    """One backward pass gives the critic its loss's gradient and the generator its own."""
    trainer, images = small(), digits.images[:8]
    with torch.no_grad():
        trainer.critic[-1].bias += 2.0  # so that the two losses have different slopes
    torch.manual_seed(0)
    r1_loss(penalty=0.0)(trainer, images, torch.empty(0)).backward()
    torch.manual_seed(0)
    fakes = trainer.fakes(8)
    for_generator = torch.autograd.grad(
        softplus(-trainer.critic(fakes)).mean(),
        list(trainer.generator.parameters()),
        retain_graph=True,
    )
    loss = (
        softplus(trainer.critic(fakes.detach())).mean() + softplus(-trainer.critic(images)).mean()
    )
    for_critic = torch.autograd.grad(loss, list(trainer.critic.parameters()))
    parts = *trainer.generator.parameters(), *trainer.critic.parameters()
    for parameter, expected in zip(parts, for_generator + for_critic, strict=True):
        assert torch.allclose(parameter.grad, expected, atol=1e-6)
    assert all(parameter.grad is None for parameter in trainer.network.parameters())


def test_the_penalty_of_a_linear_critic_is_its_slopes() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    with torch.no_grad():
        linear[1].weight.copy_(torch.tensor([[3.0, 0.0, 4.0, 0.0]]))
    images, fakes = torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2)
    assert gradient_penalty(linear, images, fakes).item() == pytest.approx(16, rel=1e-5)

    assert r1_penalty(linear, images).item() == pytest.approx(12.5, rel=1e-5)


def test_the_lazy_penalty_weighs_its_steps_more(digits) -> None:
    trainer, images = small(), digits.images[:8]
    losses = []
    for penalty in (0.0, 3.0):
        trainer.steps.zero_()
        torch.manual_seed(0)
        objective = r1_loss(penalty, every=2)
        losses.append([objective(trainer, images, torch.empty(0)).item() for _ in range(4)])
    added = [with_it - without for without, with_it in zip(*losses, strict=True)]
    expected = 6.0 * r1_penalty(trainer.critic, images).item()
    assert added == pytest.approx([expected, 0, expected, 0], abs=1e-6)


def test_the_penalty_is_taken_between_the_pairs() -> None:
    """A critic of slope 1 everywhere but between the two would not be seen elsewhere."""
    seen: list[torch.Tensor] = []

    class Recording(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images.detach())
            return images.square().flatten(1).sum(dim=1)

    torch.manual_seed(0)
    gradient_penalty(Recording(), torch.zeros(50, 1, 2, 2), torch.ones(50, 1, 2, 2))
    shares = seen[0].flatten(1)
    assert torch.equal(shares.amin(dim=1), shares.amax(dim=1)), "one share an image"
    assert shares.min() >= 0 and shares.max() <= 1 and shares.std() > 0.2


def test_the_mean_is_of_all_steps_and_the_network_is_kept(digits) -> None:
    trainer = small(averaging=0.5)
    untrained = deepcopy(trainer.network)
    steps = []
    for _ in range(60):
        steps.append(deepcopy(trainer.generator[0].weight.data))
        moved(trainer, r1_loss(), digits.images[:8])
    expected = sum(0.5 ** (59 - i + (i > 0)) * weights for i, weights in enumerate(steps))
    found = trainer.network[0].weight
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, untrained[0].weight, atol=1e-2)


@pytest.mark.parametrize(
    ("steps", "points", "stride"), [(5, 5, 1), (256, 256, 1), (300, 150, 2), (600, 150, 4)]
)
def test_the_curve_is_what_parts_images_and_fakes(steps, points, stride) -> None:
    trainer = small()
    trainer.critic = nn.Flatten()
    for number in range(steps):
        trainer.begin()
        trainer.scores(torch.full((2, 1), float(number)), torch.ones(2, 1))
    expected = [stride * point + (stride - 1) / 2 - 1 for point in range(points)]
    assert trainer.curve() == expected


def test_training_brings_the_samples_nearer(digits) -> None:
    recipe = replace(RECIPE, epochs=40)
    trainer, _ = fit(lambda: small(0.9), digits, recipe)
    means = digits.images.mean(dim=0)
    before, after = (
        (network.sample(200).mean(dim=0) - means).square().mean().item()
        for network in (compact(filters=2), trainer.network)
    )
    assert after < 0.5 * before


def test_a_stopped_run_ends_the_same(digits, tmp_path) -> None:
    state = tmp_path / "state.safetensors"

    class KilledError(Exception):
        pass

    def kill(done: int, total: int, loss: float) -> None:
        if done > total // 2:
            raise KilledError

    build = partial(small, 0.9)
    whole, _ = fit(build, digits, RECIPE)
    with pytest.raises(KilledError):
        fit(build, digits, RECIPE, state=state, progress=kill)
    resumed, spent = fit(build, digits, RECIPE, state=state, resume=True)
    assert spent.epochs == 3
    pairs = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert whole.curve() == resumed.curve() and len(whole.curve()) == 9


@pytest.mark.parametrize("name", ["defense-gan", "defense-gan-original"])
def test_the_recipes_take_two_steps(name: str, digits) -> None:
    recipe = replace(RECIPES[name], epochs=1, batch_size=2)
    two = replace(digits, images=digits.images[:4], labels=digits.labels[:4])
    trainer, _ = fit(lambda: recipe.around(zoo.build(name)), two, recipe)
    assert int(trainer.steps) == 2
    assert trainer.network.sample(1).isfinite().all()


def test_the_command_keeps_the_generator_alone(mnist_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ARMSRACE_DATA", str(mnist_folder))
    monkeypatch.setenv("ARMSRACE_CHECKPOINTS", str(tmp_path))
    monkeypatch.setattr("armsrace.training.quality.SAMPLES", 300)
    recipe = replace(RECIPES["defense-gan"], epochs=2, sample=lambda data: data.take(128))
    card = train("defense-gan", recipe)
    assert card == zoo.card("defense-gan")
    assert card.test_frechet > 20 and card.held_out_frechet > 20 and card.test_accuracy is None
    assert len(card.critic) == 4
    network = zoo.load("defense-gan")
    assert card.parameters == sum(weights.numel() for weights in network.parameters())
    assert network.sample(2).shape == (2, 1, 28, 28)


def test_wrong_arguments_are_refused(digits) -> None:
    with pytest.raises(TypeError, match="network must be a Generator, got Linear"):
        GANTrainer(nn.Linear(2, 2), critic(2))
    with pytest.raises(ValueError, match=r"averaging must be in \[0, 1\), got 1"):
        small(averaging=1.0)
    with pytest.raises(ValueError, match="penalty must be >= 0"):
        r1_loss(penalty=-1.0)
    with pytest.raises(ValueError, match="critic_steps must be >= 1"):
        wgan_gp(critic_steps=0)
    with pytest.raises(ValueError, match="every must be >= 1"):
        r1_loss(every=0)
    with pytest.raises(TypeError, match="model must be a GANTrainer, got Linear"):
        r1_loss()(nn.Linear(2, 2), digits.images, digits.labels)
