"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace import attacks
from armsrace.exercises import ExerciseError
from armsrace.exercises import inside as chapter

CHECKS = [
    chapter.check_relative_change,
    chapter.check_perplexity,
    chapter.check_shortest_move,
    chapter.check_evade,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def size(activation):
    """L2 lengths (N,)."""
    return activation.flatten(1).norm(dim=1)


def test_relative_change(capsys) -> None:
    chapter.check_relative_change(lambda b, a: size(a - b) / size(b))
    assert "Exercise “The relative change”: right" in capsys.readouterr().out
    chapter.check_relative_change(lambda b, a: size(a.double() - b) / size(b.double()))
    assert "Exercise “The relative change”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda b, a: (a - b).norm(dim=1) / b.norm(dim=1), "one number per image"),
        (lambda b, a: size(a - b) / size(a), "not after"),
        (lambda b, a: size(a - b) / b.norm(), "its own norm"),
        (lambda b, a: ((a - b) / b).abs().flatten(1).mean(1), "norms first"),
        (lambda b, a: (a - b).abs().flatten(1).sum(1) / b.flatten(1).sum(1), "use L2"),
        (lambda b, a: (size(a - b) / size(b)) ** 2, "square root"),
        (lambda b, a: size(a) / size(b), "that is not"),
    ],
)
def test_relative_change_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_relative_change(wrong)


def perplexity(logits, base=torch.e):
    """e, or another base, to the power of the entropy in nats."""
    p = logits.softmax(0)
    return base ** -torch.xlogy(p, p).sum()


def test_perplexity(capsys) -> None:
    chapter.check_perplexity(lambda d, s: perplexity(-d / (2 * s**2)))
    assert "Exercise “Perplexity”: right" in capsys.readouterr().out


def underflowing(squared, sigma):
    """Right for near points alone."""
    weights = (-squared / (2 * sigma**2)).exp()
    p = weights / weights.sum()
    return 2 ** -(p * p.log2()).sum()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda d, s: perplexity(-d / (2 * s**2), base=2), "must be the same"),
        (lambda d, s: perplexity(-d / s**2), "check the factor 2"),
        (lambda d, s: perplexity(-(d**2) / (2 * s**2)), "squared already"),
        (lambda d, s: perplexity(-d / (2 * s)), "not by σ"),
        (lambda d, s: float(len(d)), "yours is 5"),
        (underflowing, "use softmax"),
        (lambda d, s: torch.exp(-(p := (-d / (2 * s**2)).softmax(0)) @ p.log()), "use torch.xlogy"),
    ],
)
def test_perplexity_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_perplexity(wrong)


def gap(h, w, b, s, t):
    """The source's lead over the target."""
    return h @ (w[s] - w[t]) + b[s] - b[t]


def test_shortest_move(capsys) -> None:
    chapter.check_shortest_move(
        lambda h, w, b, s, t: gap(h, w, b, s, t).clamp_min(0) / (w[t] - w[s]).norm()
    )
    assert "Exercise “How near is the boundary?”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda h, w, b, s, t: h, "one length per image"),
        (lambda *a: gap(*a) / (a[1][a[4]] - a[1][a[3]]).norm(), "the length is 0"),
        (lambda *a: gap(*a).abs() / (a[1][a[4]] - a[1][a[3]]).norm(), "the length is 0"),
        (lambda *a: gap(*a).clamp_min(0), "divide by the rate"),
        (
            lambda h, w, b, s, t: (h @ (w[s] - w[t])).clamp_min(0) / (w[t] - w[s]).norm(),
            "include the bias",
        ),
        (lambda *a: gap(*a).clamp_min(0) / (a[1][3] - a[1][1]).norm() ** 2, "not its square"),
        (lambda *a: gap(*a).clamp_min(0) / a[1][3].norm(), "difference of their weights"),
        (lambda *a: 2 * gap(*a).clamp_min(0), "not the smallest"),
    ],
)
def test_shortest_move_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_shortest_move(wrong)


def weighted(*weights):
    """PGD on the network plus its neighbors, for some weights; the first that succeeds is kept."""

    def attack(detector, images, labels, epsilon):
        best = images.clone()
        for weight in weights:

            def both(batch, weight=weight):
                return weight * detector.network(batch) + detector.neighbors(batch)

            tried = attacks.pgd(both, images, labels, epsilon=epsilon, steps=40).images
            done = (detector.network(tried).argmax(1) != labels) & detector.accepts(tried)
            best[done] = tried[done]
        return best

    return attack


@pytest.mark.slow
def test_evade(capsys) -> None:
    chapter.check_evade(weighted(0.3, 1.0))
    assert "Exercise “Past the neighbors”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda d, x, y, e: attacks.fgsm(d.network, x, y, epsilon=e).images, "the bar is 28"),
        (lambda d, x, y, e: 1 - x, "the budget is 0.15"),
        (lambda d, x, y, e: x - 0.1, "outside"),
    ],
)
def test_evade_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_evade(wrong)
