"""Thresholds hold their rate and are monotone; the divergence is Kullback and Leibler's."""

import pytest
import torch
from scipy.stats import entropy
from torch import nn

from armsrace import attacks, datasets, defenses, zoo
from armsrace.defenses.detection import FLOOR

SCORES = torch.tensor([0.5, 0.1, 0.3, 0.2, 0.4])


@pytest.mark.parametrize(
    ("rate", "threshold"), [(0.0, 0.5), (0.19, 0.5), (0.2, 0.4), (0.6, 0.2), (0.99, 0.1)]
)
def test_the_threshold_is_the_smallest_that_keeps_the_rate(rate: float, threshold: float) -> None:
    assert defenses.threshold_at(SCORES, rate) == pytest.approx(threshold)


@pytest.mark.parametrize("ties", [False, True])
def test_no_more_than_the_rate_is_exceeded_and_thresholds_are_monotone(ties: bool) -> None:
    scores = torch.randn(997, generator=torch.Generator().manual_seed(0))
    scores = (3 * scores).round() if ties else scores
    before = torch.inf
    for rate in torch.linspace(0, 0.999, 60).tolist():
        threshold = defenses.threshold_at(scores, rate)
        assert defenses.detection_rate(scores, threshold) <= rate + 1e-6
        smaller = scores[scores < threshold]
        if len(smaller):
            assert defenses.detection_rate(scores, smaller.max().item()) > rate
        assert threshold <= before
        before = threshold


def test_a_rate_that_counts_whole_images_is_not_lost_to_rounding() -> None:
    scores = torch.arange(100.0)
    for images in range(100):
        assert defenses.detection_rate(scores, defenses.threshold_at(scores, images / 100)) == (
            pytest.approx(images / 100)
        )


@pytest.mark.parametrize(
    ("scores", "rate", "error", "words"),
    [
        (SCORES, 1.0, ValueError, r"rate must lie in \[0, 1\), got 1"),
        (SCORES, -0.1, ValueError, "rate must lie in"),
        (SCORES, float("nan"), ValueError, "rate must lie in"),
        (SCORES[:0], 0.1, ValueError, "scores must have shape"),
        (SCORES[None], 0.1, ValueError, "scores must have shape"),
        (SCORES / 0, 0.1, ValueError, "scores must be finite"),
        (torch.arange(5), 0.1, TypeError, "scores must be a floating"),
        ([0.1], 0.1, TypeError, "scores must be a floating"),
    ],
)
def test_bad_scores_and_rates_are_named(scores, rate, error, words) -> None:
    with pytest.raises(error, match=words):
        defenses.threshold_at(scores, rate)


def images(count: int = 4) -> torch.Tensor:
    drawn = torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    return (2 * drawn - 1).clamp_min(0)


def test_divergence_is_scipys() -> None:
    first, second = images(8).split(4)
    expected = entropy(first.flatten(1) + FLOOR, second.flatten(1) + FLOOR, axis=1)
    assert defenses.divergence(first, second).numpy() == pytest.approx(expected, rel=1e-4)


def test_divergence_of_an_image_from_itself_at_any_brightness_is_zero() -> None:
    first = images()
    assert defenses.divergence(first, first).abs().max() < 1e-6
    assert defenses.divergence(first, first / 2).abs().max() < 1e-4


def test_divergence_of_black_images_is_finite_and_has_a_finite_gradient() -> None:
    black = torch.zeros(4, 1, 5, 5, requires_grad=True)
    scores = defenses.divergence(black, images()) + defenses.divergence(images(), black)
    (grad,) = torch.autograd.grad(scores.sum(), black)
    assert torch.isfinite(scores).all()
    assert torch.isfinite(grad).all()


def test_surprise_is_the_seconds_view_of_the_first_s_answer() -> None:
    first, second = (nn.Sequential(nn.Flatten(), nn.Linear(25, 3)) for _ in range(2))
    quiet = nn.Sequential(second, nn.LogSoftmax(dim=1))
    expected = nn.functional.cross_entropy(
        second(images()), first(images()).argmax(dim=1), reduction="none"
    )
    assert torch.allclose(defenses.CrossNetworkNLL(first, quiet)(images()), expected, atol=1e-6)


def bright(batch: torch.Tensor) -> torch.Tensor:
    """A score: the mean pixel."""
    return batch.flatten(1).mean(dim=1)


def linear() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(25, 3))


@pytest.mark.parametrize("scale", [0.1, 1.0, 50.0])
def test_the_last_class_wins_exactly_above_the_threshold(scale: float) -> None:
    model, batch = linear(), images(64)
    threshold = defenses.threshold_at(bright(batch), 0.25)
    logits = defenses.Detected(model, bright, threshold, scale)(batch)
    assert logits.shape == (64, 4)
    flagged = bright(batch) > threshold
    assert 0 < flagged.sum() <= 16
    expected = torch.where(flagged, 3, model(batch).argmax(dim=1))
    assert torch.equal(logits.argmax(dim=1), expected)


def test_scale_must_be_positive() -> None:
    with pytest.raises(ValueError, match="scale must be >="):
        defenses.Detected(linear(), bright, 0.5, scale=0.0)


def test_an_ordinary_attack_finds_what_is_wrong_and_not_detected() -> None:
    model, batch = linear(), images(32)
    labels = model(batch).argmax(dim=1)
    targets = model(batch).topk(2).indices[:, 1]
    threshold = defenses.threshold_at(bright(batch), 0.05)
    kept = bright(batch) <= threshold
    batch, labels, targets = batch[kept], labels[kept], targets[kept]
    brief = {"binary_search_steps": 5, "initial_constant": 0.1}
    plain = attacks.carlini_wagner_l2(model, batch, labels, targets=targets, steps=100, **brief)
    caught = bright(plain.images) > threshold
    assert caught.any(), "the detector must have something to detect"
    guarded = defenses.Detected(model, bright, threshold, scale=20.0)
    found = attacks.carlini_wagner_l2(guarded, batch, labels, targets=targets, steps=100, **brief)
    assert found.success.all()
    assert torch.equal(model(found.images).argmax(dim=1), targets)
    assert (bright(found.images) <= threshold).all()


@pytest.mark.parametrize("name", ["VAE", "RBF"])
def test_the_false_positive_rate_holds_on_digits_that_did_not_set_the_threshold(name) -> None:
    score = {
        "VAE": lambda: defenses.Divergence(zoo.load("s3-vae")),
        "RBF": lambda: defenses.CrossNetworkNLL(zoo.load("s3-cnn"), zoo.load("rbf")),
    }[name]()
    with torch.no_grad():
        first, second = score(datasets.held_out("mnist").images[:3000]).chunk(2)
    for rate in (0.01, 0.05, 0.2):
        # Three standard errors of two binomial shares of 1,500.
        slack = 3 * (2 * rate * (1 - rate) / 1500) ** 0.5
        found = defenses.detection_rate(second, defenses.threshold_at(first, rate))
        assert found == pytest.approx(rate, abs=slack)


def test_the_detectors_fail_against_an_attack_that_knows_them() -> None:
    model, digits = zoo.load("s3-cnn"), datasets.load("mnist", "test").take(60)
    score = defenses.Divergence(zoo.load("s3-vae"))
    with torch.no_grad():
        clean = score(datasets.held_out("mnist").images[4000:])
        threshold = defenses.threshold_at(clean, 0.05)
        guard = defenses.Detected(model, score, threshold, scale=10.0)
        kept = guard(digits.images).argmax(dim=1) == digits.labels
        chosen, labels = digits.images[kept][:8], digits.labels[kept][:8]
        targets = model(chosen).topk(2).indices[:, 1]
    settings = {"targets": targets, "epsilon": 0.3, "steps": 20}
    large = attacks.pgd(model, chosen, labels, **settings)
    assert (score(large.images) > threshold).all(), "an attack that does not know is detected"
    short = {"steps": 30, "step_size": 0.05, "binary_search_steps": 3, "initial_constant": 1.0}
    found = attacks.carlini_wagner_l2(guard, chosen, labels, targets=targets, **short)
    assert found.success.all()
    assert torch.equal(model(found.images).argmax(dim=1), targets)
    assert (score(found.images) <= threshold).all()
