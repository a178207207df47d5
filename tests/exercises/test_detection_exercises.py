"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.attacks.adaptive import bpda
from armsrace.defenses import BitDepth, FeatureSqueezing, divergence, threshold_at
from armsrace.exercises import ExerciseError
from armsrace.exercises import detection as chapter

CHECKS = [
    chapter.check_divergence, chapter.check_threshold, chapter.check_guard,
    chapter.check_log_density, chapter.check_squeezing, chapter.check_unsaturated,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def masses(images):
    """Each image as a distribution over its pixels."""
    return images.flatten(1) / images.flatten(1).sum(1, keepdim=True)


def by_xlogy(p, q):
    """KL without a floor."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(1)


@pytest.mark.parametrize("right", [divergence, lambda a, b: by_xlogy(masses(a), masses(b))])
def test_divergence(right, capsys) -> None:
    chapter.check_divergence(right)
    assert "Exercise “How far apart two images are”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda a, b: divergence(a, b).mean(), "one number per image"),
        (lambda a, b: (masses(a) * (masses(a) / masses(b)).log()).sum(1), "0 · log 0"),
        (lambda a, b: by_xlogy(a.flatten(1), b.flatten(1)), "only in brightness"),
        (lambda a, b: divergence(a, b) / torch.tensor(2.0).log(), "bits"),
        (lambda a, b: 2 * divergence(a, b), "gives log 2"),
        (lambda a, b: divergence(b, a), "gives log 2"),
    ],
)
def test_divergence_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_divergence(wrong)


def test_threshold(capsys) -> None:
    chapter.check_threshold(threshold_at)
    assert "Exercise “A threshold that keeps its promise”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda s, r: s.quantile(r), "your threshold flags"),
        (lambda s, r: s.max(), "a smaller threshold is enough"),
        (lambda s, r: 0.0, "your threshold flags"),
    ],
)
def test_threshold_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_threshold(wrong)


def guard(logits, scores, threshold):
    """The right answer to 12.3."""
    return torch.cat([logits, (logits.amax(1) + scores - threshold)[:, None]], dim=1)


def cut(logits, scores, threshold):
    """No slope in the score."""
    flagged = (scores > threshold).float()
    return torch.cat([logits, (logits.amax(1) + 2 * flagged - 1)[:, None]], dim=1)


def scaled(logits, scores, threshold):
    """The paper's product, which needs positive logits."""
    last = (1 + scores - threshold) * logits.amax(1)
    return torch.cat([logits, last[:, None]], dim=1)


def test_guard(capsys) -> None:
    chapter.check_guard(guard)
    assert "Exercise “The class of detected images”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda z, s, t: guard(z, s, t)[:, 3], r"K \+ 1 logits"),
        (lambda z, s, t: guard(2 * z, s, t), "keep their logits"),
        (lambda z, s, t: guard(z, s, t - 1), "exactly if"),
        (scaled, "only negative logits"),
        (cut, "needs the score's gradient"),
    ],
)
def test_guard_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_guard(wrong)


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
        (lambda f, k, s: (kernels(f, k, s).mean(1) + 1e-12).log(), "Add no small"),
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


def unsaturated(score, behind, threshold):
    """The right answer."""
    return torch.where(score > threshold, score + behind, score)


def test_unsaturated(capsys) -> None:
    chapter.check_unsaturated(unsaturated)
    assert "Exercise “An alarm that points the way”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda s, b, t: (s + b).mean(), "one number per image"),
        (lambda s, b, t: s + b, "another image is refused"),
        (lambda s, b, t: b, "another image is refused"),
        (lambda s, b, t: torch.where(s > t, s + b, s - 1), "keep the score as it is"),
        (lambda s, b, t: s, "does not depend"),
        (lambda s, b, t: torch.where(s > t, s + 1 / (1 + b), s), "must increase"),
    ],
)
def test_unsaturated_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_unsaturated(wrong)
