"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.attacks import pgd
from armsrace.attacks.adaptive import bpda
from armsrace.defenses import BitDepth, FeatureSqueezing, threshold_at
from armsrace.evaluation import wilson
from armsrace.exercises import ExerciseError
from armsrace.exercises import detection as chapter

CHECKS = [
    chapter.check_threshold, chapter.check_log_density, chapter.check_squeezing,
    chapter.check_past_both,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def threshold(scores, rate):
    """The right answer: the smallest score whose interval ends at or below the rate."""
    for value in scores.unique():
        if wilson((scores > value).float().mean().item(), len(scores))[1] <= rate:
            return value.item()
    return scores.max().item()


def test_threshold(capsys) -> None:
    chapter.check_threshold(threshold)
    assert "Exercise “A threshold that keeps its promise”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (threshold_at, "may be as high as"),
        (lambda s, r: s.quantile(r), "your threshold refuses"),
        (lambda s, r: s.max(), "a smaller threshold is enough"),
        (lambda s, r: 0.0, "your threshold refuses"),
    ],
)
def test_threshold_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_threshold(wrong)


def log_density(features, known, bandwidth):
    """The right answer."""
    squares = torch.cdist(features, known).square()
    return (-squares / bandwidth**2).logsumexp(1) - torch.tensor(float(len(known))).log()


def kernels(features, known, bandwidth):
    """The kernels themselves."""
    return (-torch.cdist(features, known).square() / bandwidth**2).exp()


def test_log_density(capsys) -> None:
    chapter.check_log_density(log_density)
    assert "Exercise “A density that does not vanish”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda f, k, s: log_density(f, k, s).mean(), "one number per image"),
        (lambda f, k, s: kernels(f, k, s).log().mean(1), "not of the distances"),
        (lambda f, k, s: kernels(f, k, s).sum(1).log(), "the density is a mean"),
        (lambda f, k, s: log_density(f, k, 2 * s), "at the first training image"),
        (lambda f, k, s: -log_density(f, k, s), "at the first training image"),
        (lambda f, k, s: kernels(f, k, s).mean(1).log(), "logsumexp"),
        (lambda f, k, s: (kernels(f, k, s).mean(1) + 1e-12).log(), "Do not add a small"),
    ],
)
def test_log_density_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_log_density(wrong)


def squeezing(classifier, images, bits, through=True, highest=None):
    """The right answer."""
    highest = highest or 2**bits - 1
    rounded = (highest * images).round() / highest
    if through:
        rounded = images + (rounded - images).detach()
    return (classifier(images).softmax(1) - classifier(rounded).softmax(1)).abs().sum(1)


def by_library(classifier, images, bits):
    """The library's."""
    return FeatureSqueezing(classifier, [bpda(BitDepth(bits))])(images)


@pytest.mark.parametrize("right", [squeezing, by_library])
def test_squeezing(right, capsys) -> None:
    chapter.check_squeezing(right)
    assert "Exercise “Squeezing, with a gradient”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda c, x, b: squeezing(c, x, b).mean(), "one number per image"),
        (lambda c, x, b: (c(x) - c((3 * x).round() / 3)).abs().sum(1), "not the logits"),
        (lambda c, x, b: squeezing(c, x, b, highest=2**b), r"2\^bits − 1"),
        (lambda c, x, b: squeezing(c, x, b).square(), "at 2 bits the scores are"),
        (lambda c, x, b: squeezing(c, x, b, through=False), "ignores the squeezed image"),
        (
            lambda c, x, b: squeezing(c, x, b).detach() + 0 * x.flatten(1).sum(1),
            "must be that of both",
        ),
    ],
)
def test_squeezing_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_squeezing(wrong)


def toward(defense, images, labels, epsilon, targets):
    """40 steps of PGD toward classes that are no alarm."""
    return pgd(defense, images, labels, targets=targets, epsilon=epsilon, steps=40).images


def likeliest(defense, images, labels, count):
    """The likeliest wrong classes, one row for each rank."""
    with torch.no_grad():
        ranked = defense(images)[:, :10].scatter(1, labels[:, None], -torch.inf)
    return ranked.topk(count).indices.T


def three_classes(defense, images, labels, epsilon):
    """The right answer."""
    best = images.clone()
    for targets in likeliest(defense, images, labels, 3):
        tried = toward(defense, images, labels, epsilon, targets)
        with torch.no_grad():
            done = defense(tried).argmax(1) == targets
        best[done] = tried[done]
    return best


def one_class(defense, images, labels, epsilon):
    """The likeliest class alone."""
    return toward(defense, images, labels, epsilon, likeliest(defense, images, labels, 1)[0])


@pytest.mark.slow
def test_past_both(capsys) -> None:
    chapter.check_past_both(three_classes)
    assert "Exercise “Past both detectors”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (one_class, "the bar is 21"),
        (lambda d, x, y, e: pgd(d, x, y, epsilon=e, steps=10).images, "raise one"),
        (lambda d, x, y, e: x, "0 of 30"),
        (lambda d, x, y, e: 1 - x, "some pixel moved"),
    ],
)
def test_past_both_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_past_both(wrong)
