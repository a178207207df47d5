"""Randomized smoothing: the bound of a probability, and classes and radii known in closed form."""

from math import comb

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from armsrace import attacks, datasets, defenses, zoo
from armsrace.defenses.randomized_smoothing import ABSTAIN
from tests.attacks.linear import SHAPE, centered, some_images

SIGMA = 0.3
ONE = torch.arange(1)


def draws(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smoothed(**settings) -> defenses.RandomizedSmoothing:
    return defenses.RandomizedSmoothing(centered(2), SIGMA, **settings)


def distances(images: torch.Tensor) -> torch.Tensor:
    """Of each image from the decision boundary of `centered(2)`."""
    weights = centered(2)[1].weight
    logits = centered(2)(images)
    return (logits[:, 0] - logits[:, 1]).abs() / (weights[0] - weights[1]).norm()


@given(st.integers(1, 300), st.data(), st.sampled_from([0.3, 0.05, 0.001]))
def test_bound_is_scipys(samples: int, data, alpha: float) -> None:
    count = data.draw(st.integers(0, samples))
    found = defenses.lower_confidence_bound(torch.tensor([count]), samples, alpha)
    known = stats.binomtest(count, samples, alternative="greater").proportion_ci(1 - alpha, "exact")
    assert found.item() == pytest.approx(known.low, abs=1e-12)


@pytest.mark.parametrize(
    ("count", "samples", "alpha"), [(1, 1, 0.2), (7, 10, 0.05), (20, 20, 0.001)]
)
def test_bound_solves_its_equation(count: int, samples: int, alpha: float) -> None:
    """P(X >= count) = alpha at the bound, by summing the binomial distribution."""
    p = defenses.lower_confidence_bound(torch.tensor(count), samples, alpha).item()
    tail = sum(
        comb(samples, k) * p**k * (1 - p) ** (samples - k) for k in range(count, samples + 1)
    )
    assert tail == pytest.approx(alpha, rel=1e-9)


def test_bound_is_above_the_truth_no_more_often_than_promised() -> None:
    """Exact: the probabilities of all counts whose bound exceeds the true probability."""
    samples, alpha = 50, 0.05
    bounds = defenses.lower_confidence_bound(torch.arange(samples + 1), samples, alpha).numpy()
    for truth in torch.linspace(0.01, 0.99, 99).tolist():
        chances = stats.binom.pmf(range(samples + 1), samples, truth)
        assert chances[bounds > truth].sum() <= alpha + 1e-12


def test_radius_exceeds_the_true_distance_no_more_often_than_promised() -> None:
    """For a linear classifier the smoothed classifier is itself, and p_A = Φ(distance / σ)."""
    images, alpha, samples = some_images(300), 0.05, 200
    found = smoothed().certify(images, samples_0=50, samples=samples, alpha=alpha)
    held, true = found.classes != ABSTAIN, distances(images)
    assert held.sum() > 200
    assert (found.classes == centered(2)(images).argmax(dim=1))[held].double().mean() > 0.99
    beyond = int((found.radii > true)[held].sum())
    assert beyond <= stats.binom.ppf(0.9999, int(held.sum()), alpha)
    # The test has teeth: the plain fraction exceeds it for about half.
    plain = SIGMA * torch.special.ndtri(found.counts / samples)
    inside = held & (found.counts < samples)
    assert (plain > true)[inside].double().mean() > 0.3


def test_radius_nears_the_true_distance() -> None:
    near = some_images(300)[distances(some_images(300)) < 2 * SIGMA][:10]
    few, many = (smoothed().certify(near, samples=n).radii for n in (200, 20_000))
    assert (few < distances(near)).all()
    assert (many < distances(near)).all()
    assert (distances(near) - many).mean() < 0.3 * (distances(near) - few).mean()


def test_boundary_is_abstained_from() -> None:
    middle = torch.full((1, *SHAPE), 0.5, dtype=torch.float64)
    model = smoothed()
    found = model.certify(middle, samples=500)
    assert found.classes.tolist() == [ABSTAIN]
    assert found.radii.tolist() == [0]
    assert model.predict(middle, samples=500).tolist() == [ABSTAIN]


def test_few_draws_are_abstained_from() -> None:
    """Nine equal votes have a probability of 2⁻⁸ even under a fair coin."""
    far = some_images(40)[distances(some_images(40)).argmax()][None]
    wide = defenses.RandomizedSmoothing(centered(2), 1e-6)
    classes = centered(2)(far).argmax(dim=1)
    for alpha, expected in ((0.001, torch.tensor([ABSTAIN])), (0.01, classes)):
        assert torch.equal(wide.predict(far, samples=9, alpha=alpha), expected)
        assert torch.equal(wide.certify(far, samples=9, alpha=alpha).classes, expected)


def test_prediction_is_the_class_on_the_near_side() -> None:
    images = some_images(100)
    found = smoothed().predict(images, samples=300)
    right = centered(2)(images).argmax(dim=1)
    assert ((found == right) | (found == ABSTAIN)).all()
    assert (found == right)[distances(images) > SIGMA].all()


def test_logits_are_votes() -> None:
    images, seen = some_images(5), []

    def watched(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch)
        return centered(2)(batch)

    model = defenses.RandomizedSmoothing(watched, SIGMA, samples=40)
    logits = model(images)
    votes = centered(2)(torch.cat(seen)).argmax(dim=1).view(5, 40)
    expected = torch.stack([(votes == 0).sum(1), (votes == 1).sum(1)], dim=1)
    torch.testing.assert_close(logits.exp() * 42, (expected + 1).double())
    noise = (torch.cat(seen).view(5, 40, *SHAPE) - images[:, None]) / SIGMA
    torch.testing.assert_close(noise[0], noise[4])
    assert abs(noise[0].mean()) < 4 / 320**0.5
    assert noise[0].std() == pytest.approx(1, abs=4 / 640**0.5)
    assert torch.equal(model(images), logits)


def test_soft_logits_are_the_mean_probabilities_with_a_gradient() -> None:
    images = some_images(3).requires_grad_()
    model = smoothed(samples=30)
    noise = model._noise(images)
    mean = torch.stack([centered(2)(images + one).softmax(dim=1) for one in noise]).mean(dim=0)
    torch.testing.assert_close(model.soft(images), mean.log())
    (slope,) = torch.autograd.grad(model.soft(images)[:, 0].sum(), images)
    (expected,) = torch.autograd.grad(mean.log()[:, 0].sum(), images)
    torch.testing.assert_close(slope, expected)
    assert not model(images).requires_grad


def test_results_do_not_depend_on_the_batch() -> None:
    images = some_images(7)
    whole = smoothed().certify(images, 20, 250, generator=draws())
    small = smoothed(batch_size=64).certify(images, 20, 250, generator=draws())
    single = [smoothed().certify(one[None], 20, 250, generator=draws()) for one in images]
    for field in ("classes", "radii", "counts", "lower"):
        assert torch.equal(getattr(whole, field), getattr(small, field))
        assert torch.equal(getattr(whole, field), torch.cat([getattr(x, field) for x in single]))
    together = smoothed().predict(images, 250)
    assert torch.equal(together[3:4], smoothed().predict(images[3:4], 250))
    assert torch.equal(smoothed()(images)[3:4], smoothed(batch_size=7)(images[3:4]))


def test_draws_come_from_the_generator() -> None:
    images, model, other_draws = some_images(20), smoothed(), smoothed(generator=draws(9))
    before = torch.get_rng_state()
    first, again, other = (
        model.certify(images, 20, 100, generator=draws(seed)).counts for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    following = draws(1)
    assert torch.equal(model.certify(images, 20, 100, generator=following).counts, first)
    assert not torch.equal(model.certify(images, 20, 100, generator=following).counts, first)
    assert not torch.equal(model(images), other_draws(images))
    assert torch.equal(torch.get_rng_state(), before)


def test_first_draws_are_not_those_of_the_bound() -> None:
    seen = []

    def watched(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch)
        return centered(2)(batch)

    defenses.RandomizedSmoothing(watched, SIGMA).certify(some_images(1), 30, 30)
    assert len(seen) == 2
    assert not torch.isclose(seen[0], seen[1]).flatten(1).all(dim=1).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_the_images(dtype: torch.dtype) -> None:
    images = some_images(30).to(dtype)
    model = defenses.RandomizedSmoothing(centered(2).to(dtype), SIGMA)
    found = model.certify(images)
    assert found.radii.dtype == model(images).dtype == model.soft(images).dtype == dtype
    exact = SIGMA * torch.special.ndtri(found.lower.clamp_min(0.5))
    assert (found.radii.double() <= exact).all()
    torch.testing.assert_close(found.radii.double(), exact, atol=1e-6, rtol=1e-6)


def test_mode_is_as_before() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), centered(2)[1]).train()
    model = defenses.RandomizedSmoothing(network, SIGMA)
    images = some_images(6)
    expected = defenses.RandomizedSmoothing(centered(2), SIGMA)
    for ask in (
        lambda one: one(images),
        lambda one: one.soft(images),
        lambda one: one.predict(images),
    ):
        assert torch.equal(ask(model), ask(expected))
    assert network.training
    assert network[1].training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0.0}, "sigma must be > 0"), ({"sigma": -1.0}, "sigma must be >= 0"),
        ({"samples": 0}, "samples must be >= 1"), ({"batch_size": 0}, "batch_size must be >= 1"),
    ],
)  # fmt: skip
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        defenses.RandomizedSmoothing(centered(2), **({"sigma": SIGMA} | settings))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m, x: m.certify(x, samples=0), "samples must be >= 1"),
        (lambda m, x: m.certify(x, samples_0=0), "samples_0 must be >= 1"),
        (lambda m, x: m.certify(x, alpha=0.0), "alpha must lie in"),
        (lambda m, x: m.predict(x, alpha=1.0), "alpha must lie in"),
        (lambda m, x: m.predict(2 * x), "images must lie in"),
        (lambda m, x: m.certify(x[0]), "images must have shape"),
    ],
)
def test_bad_questions(ask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(smoothed(), some_images(2))


@pytest.mark.parametrize("counts", [torch.tensor([-1]), torch.tensor([11]), torch.tensor([1.0])])
def test_bad_counts(counts: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="counts must be integers from 0 to 10"):
        defenses.lower_confidence_bound(counts, 10, 0.1)


def test_training_adds_unclipped_noise() -> None:
    """The network sees images with noise of this deviation, some of them outside the box."""
    seen = []

    class Watched(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            seen.append(batch)
            return centered(2)(batch)

    images, labels = some_images(200), torch.zeros(200, dtype=torch.int64)
    torch.manual_seed(0)
    loss = defenses.gaussian_noise_loss(0.5)(Watched(), images, labels)
    noise = seen[0] - images
    assert noise.std() == pytest.approx(0.5, rel=0.05)
    assert seen[0].min() < 0
    torch.testing.assert_close(loss, nn.functional.cross_entropy(centered(2)(seen[0]), labels))
    with pytest.raises(ValueError, match="sigma must be >= 0"):
        defenses.gaussian_noise_loss(-0.1)


def test_no_attack_lands_inside_a_certified_radius() -> None:
    """PGD on the soft classifier (SmoothAdv), judged by fresh draws."""
    digits = datasets.load("mnist").take(12, torch.Generator().manual_seed(0))
    model = defenses.RandomizedSmoothing(zoo.load("smoothing-cnn"), 0.5, samples=16)
    proof = model.certify(digits.images, samples=500)
    held = proof.classes != ABSTAIN
    assert held.sum() >= 8
    images, classes = digits.images[held], proof.classes[held]
    found = attacks.pgd(
        model.soft, images, classes, epsilon=proof.radii[held], steps=8, norm="l2"
    )  # fmt: skip
    answers = model.predict(found.images, 500)
    assert ((answers == classes) | (answers == ABSTAIN)).all()
    assert (answers == classes).sum() >= 1
