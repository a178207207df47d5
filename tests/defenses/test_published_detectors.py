"""Scores of published detectors equal independent references; each follows device and dtype."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist
from sklearn.neighbors import KernelDensity as SklearnKernelDensity
from torch import Tensor, nn

from armsrace import attacks, datasets, defenses, zoo
from armsrace.attacks.adaptive import bpda


def drawn(count: int, side: int = 5, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


def linear(features: int, classes: int, seed: int = 0) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(features, classes)


def density(bandwidth: float = 1.5, seed: int = 0) -> defenses.KernelDensity:
    """Thirty training images of three classes, in ten features."""
    body = nn.Sequential(nn.Flatten(), linear(25, 10), nn.Tanh())
    return defenses.KernelDensity(
        body, linear(10, 3, 1), drawn(30, seed=seed), torch.arange(30) % 3, bandwidth
    )


SCORES = {
    "kernel density": lambda: density(),
    "components": lambda: defenses.PrincipalComponents(drawn(40), first=4),
    "trained": lambda: defenses.TrainedDetector(nn.Sequential(nn.Flatten(), linear(25, 2))),
    "squeezing": lambda: defenses.FeatureSqueezing(
        nn.Sequential(nn.Flatten(), linear(25, 3)),
        [bpda(defenses.BitDepth(2)), defenses.MedianFilter(2)],
    ),
}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_one_number_per_image_whatever_its_batch(name: str) -> None:
    score, images = SCORES[name](), drawn(9, seed=3)
    together = score(images)
    assert together.shape == (9,) and together.isfinite().all() and together.unique().numel() > 5
    alone = torch.cat([score(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_follows_the_dtype_and_leaves_the_images(name: str) -> None:
    images = drawn(9, seed=3)
    kept = images.clone()
    single, double = SCORES[name]()(images), SCORES[name]().double()(images.double())
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)
    assert torch.equal(images, kept)


@pytest.mark.parametrize("name", SCORES)
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    score = SCORES[name]()
    if name == "squeezing":  # Rounding has another gradient by intention.
        model = score.classifier
        score = defenses.FeatureSqueezing(model, [defenses.MedianFilter(2)])
    score, images = score.double(), drawn(4, seed=3).double().requires_grad_()
    assert torch.autograd.gradcheck(score, images, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("bandwidth", [0.3, 1.5, 20.0])
def test_the_density_is_scikit_learns(bandwidth: float) -> None:
    score, images = density(bandwidth).double(), drawn(12, seed=5).double()
    known, labels = score.body(drawn(30).double()).detach().numpy(), np.arange(30) % 3
    features = score.body(images).detach()
    predicted = score.head(features).argmax(dim=1)
    assert predicted.unique().numel() > 1
    for row, (feature, label) in enumerate(zip(features.numpy(), predicted.tolist(), strict=True)):
        # Theirs is exp(−d² / 2h²), normalized.
        h = bandwidth / 2**0.5
        theirs = SklearnKernelDensity(kernel="gaussian", bandwidth=h).fit(known[labels == label])
        expected = theirs.score_samples(feature[None])[0] + 5 * np.log(2 * np.pi * h * h)
        squares = cdist(feature[None], known[labels == label], "sqeuclidean")
        assert expected == pytest.approx(np.log(np.exp(-squares / bandwidth**2).mean()), abs=1e-6)
        assert score(images)[row].item() == pytest.approx(-expected, abs=1e-5)


def test_far_from_all_training_images_the_density_still_has_a_gradient() -> None:
    score, images = density(bandwidth=0.01), drawn(4, seed=5).requires_grad_()
    values = score(images)
    assert (values > 1000).all(), "the density itself is 0 in float32"
    (grad,) = torch.autograd.grad(values.sum(), images)
    assert grad.isfinite().all() and (grad.flatten(1).abs().amax(dim=1) > 0).all()


def test_a_training_image_of_the_predicted_class_scores_at_most_the_log_of_their_number() -> None:
    score, images = density(bandwidth=0.5), drawn(30)
    predicted = score.head(score.body(images)).argmax(dim=1)
    own = predicted == torch.arange(30) % 3
    assert own.any() and not own.all()
    assert (score(images)[own] <= np.log(10) + 1e-4).all()


@pytest.mark.parametrize(
    ("labels", "bandwidth", "words"),
    [
        (torch.zeros(30, dtype=torch.int64), 1.0, "labels must hold every class, got none of 1"),
        (torch.arange(30) % 4, 1.0, "labels must be < 3"),
        (torch.arange(29) % 3, 1.0, "labels must have shape"),
        (torch.arange(30) % 3, 0.0, "bandwidth must be >="),
    ],
)
def test_bad_training_images_are_named(labels: Tensor, bandwidth: float, words: str) -> None:
    body = nn.Sequential(nn.Flatten(), linear(25, 10))
    with pytest.raises(ValueError, match=words):
        defenses.KernelDensity(body, linear(10, 3), drawn(30), labels, bandwidth)


@pytest.mark.parametrize("first", [0, 1, 7, 24])
def test_the_weight_is_that_of_numpys_singular_vectors(first: int) -> None:
    known, images = drawn(60).double(), drawn(8, seed=2).double()
    pixels = known.flatten(1).numpy()
    _, _, directions = np.linalg.svd(pixels - pixels.mean(0), full_matrices=True)
    coefficients = (images.flatten(1).numpy() - pixels.mean(0)) @ directions.T
    score = defenses.PrincipalComponents(known, first)(images)
    np.testing.assert_allclose(score.numpy(), (coefficients[:, first:] ** 2).sum(1), rtol=1e-8)


def test_pixels_that_never_change_are_last_components() -> None:
    known, images = drawn(60), drawn(3, seed=2)
    known[:, :, 0] = 0.0
    images[:, :, 0] = 0.0
    score = defenses.PrincipalComponents(known, first=20)
    assert score(images).abs().max() < 1e-8
    images[:, :, 0, 0] = 0.5
    torch.testing.assert_close(score(images), torch.full((3,), 0.25))


def test_an_image_in_the_plane_of_the_first_has_no_weight() -> None:
    basis = drawn(3, seed=9).flatten(1)
    weights = torch.rand(40, 3, generator=torch.Generator().manual_seed(1))
    weights = weights / weights.sum(dim=1, keepdim=True)
    known = (weights @ basis).view(40, 1, 5, 5)
    score = defenses.PrincipalComponents(known[:30], first=2)
    assert score(known[30:]).max() < 1e-9
    assert score(drawn(4, seed=7)).min() > 0.1


@pytest.mark.parametrize(
    ("count", "first", "error", "words"),
    [
        (40, 25, ValueError, "first must be < 25"),
        (40, -1, ValueError, "first must be >= 0"),
        (40, 1.5, TypeError, "first must be an integer"),
        (1, 3, ValueError, "images must hold two or more"),
    ],
)
def test_bad_components_are_named(count, first, error, words) -> None:
    with pytest.raises(error, match=words):
        defenses.PrincipalComponents(drawn(count), first)


def test_the_trained_score_is_the_log_odds() -> None:
    network, images = nn.Sequential(nn.Flatten(), linear(25, 2)), drawn(6)
    chance = network(images).softmax(dim=1)[:, 1]
    torch.testing.assert_close(defenses.TrainedDetector(network)(images), torch.logit(chance))
    with pytest.raises(ValueError, match=r"network must return logits \(N, 2\)"):
        defenses.TrainedDetector(nn.Flatten())(images)


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 6), height=st.integers(3, 8), width=st.integers(3, 8),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_median_is_scipys(size: int, height: int, width: int, seed: int) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    expected = ndimage.median_filter(images.numpy(), size=(1, 1, size, size), mode="reflect")
    assert np.array_equal(defenses.MedianFilter(size)(images).numpy(), expected)


def test_the_gradient_of_a_median_is_the_median_s_alone() -> None:
    row = torch.tensor([[[[0.1, 0.9, 0.4]]]]).expand(1, 1, 3, 3).clone()
    row += torch.linspace(0, 0.01, 9).view(1, 1, 3, 3)
    row.requires_grad_()
    middle = defenses.MedianFilter(3)(row)[0, 0, 1, 1]
    (grad,) = torch.autograd.grad(middle, row)
    assert middle == row[0, 0, 1, 2] and grad[0, 0, 1, 2] == 1 and grad.sum() == 1


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
def test_bit_depth_is_numpys_rounding(bits: int) -> None:
    images = drawn(4)
    squeezed = defenses.BitDepth(bits)(images)
    highest = 2**bits - 1
    expected = np.rint(images.numpy() * highest) / np.float32(highest)
    np.testing.assert_array_equal(squeezed.numpy(), expected)
    assert squeezed.unique().numel() <= 2**bits
    assert torch.equal(defenses.BitDepth(bits)(squeezed), squeezed)


def test_squeezing_is_the_largest_distance_of_the_predictions() -> None:
    model, images = nn.Sequential(nn.Flatten(), linear(25, 3)), drawn(6)
    squeezers = [defenses.BitDepth(1), defenses.MedianFilter(2)]
    p, *others = (
        model(batch).softmax(dim=1).detach().numpy()
        for batch in (images, *(squeeze(images) for squeeze in squeezers))
    )
    expected = np.maximum(*(np.abs(p - q).sum(1) for q in others))
    found = defenses.FeatureSqueezing(model, squeezers)(images)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6)
    same = defenses.FeatureSqueezing(model, [nn.Identity()])(images)
    assert (same == 0).all()


def test_bpda_has_the_values_of_squeezing_and_a_gradient_where_rounding_has_none() -> None:
    model, images = nn.Sequential(nn.Flatten(), linear(25, 3)), drawn(6).requires_grad_()
    plain = defenses.FeatureSqueezing(model, [lambda x: defenses.BitDepth(1)(x)])
    through = defenses.FeatureSqueezing(model, [bpda(defenses.BitDepth(1))])
    assert torch.equal(plain(images), through(images))
    rounded = defenses.BitDepth(1)(images)
    assert torch.autograd.grad(rounded.sum(), images)[0].abs().max() == 0
    first, second = (torch.autograd.grad(s(images).sum(), images)[0] for s in (plain, through))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: defenses.BitDepth(0), ValueError, "bits must be >= 1"),
        (lambda: defenses.MedianFilter(0), ValueError, "size must be >= 1"),
        (lambda: defenses.MedianFilter(11)(drawn(1)), ValueError, "size must be <= twice"),
        (lambda: defenses.FeatureSqueezing(nn.Flatten(), []), ValueError, "squeezers must hold"),
    ],
)
def test_bad_squeezers_are_named(make, error, words) -> None:
    with pytest.raises(error, match=words):
        make()


def test_the_trained_detector_tells_its_attacks_from_digits_it_has_not_seen() -> None:
    model, digits = zoo.load("s3-cnn"), datasets.load("mnist", "test").take(300)
    score = defenses.TrainedDetector(zoo.load("trained-detector"))
    with torch.no_grad():
        threshold = defenses.threshold_at(score(datasets.held_out("mnist").images[4000:]), 0.05)
        assert defenses.detection_rate(score(digits.images), threshold) < 0.11
    found = attacks.ddn(model, digits.images[:60], digits.labels[:60], steps=30)
    with torch.no_grad():
        assert defenses.detection_rate(score(found.images), threshold) > 0.7


def test_a_density_detector_detects_an_attack_and_fails_against_one_that_knows_it() -> None:
    model, known = zoo.load("carlini-wagner"), datasets.held_out("mnist")
    first, second = known.take(1000), known.images[5000:]
    score = defenses.KernelDensity(model[:-1], model[-1], first.images, first.labels, 4.0)
    digits = datasets.load("mnist", "test").take(8)
    with torch.no_grad():
        guard = defenses.Detected(model, score, defenses.threshold_at(score(second), 0.05), 1.0)
        kept = guard(digits.images).argmax(dim=1) == digits.labels
        chosen, labels = digits.images[kept][:4], digits.labels[kept][:4]
        targets = model(chosen).topk(2).indices[:, 1]
    short = {"steps": 50, "step_size": 0.05, "binary_search_steps": 2, "initial_constant": 1.0}
    plain = attacks.carlini_wagner_l2(model, chosen, labels, targets=targets, **short)
    with torch.no_grad():
        assert plain.success.all() and (guard(plain.images).argmax(dim=1) == 10).any()
    found = attacks.carlini_wagner_l2(guard, chosen, labels, targets=targets, **short)
    assert found.success.all()
