"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.defenses.analysis_by_synthesis.inference import within
from armsrace.exercises import ExerciseError
from armsrace.exercises import analysis_by_synthesis as chapter

CHECKS = [
    chapter.check_sphere,
    chapter.check_lead,
    chapter.check_largest_floor,
    chapter.check_twelve_pixels,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def lead(images, drawn, factors, first, second):
    """The gradient of f_b L_b − f_a L_a."""
    rows = torch.arange(len(images))
    a, b = drawn[rows, first], drawn[rows, second]
    return 2 * (factors[second, None] * (images - b) - factors[first, None] * (images - a))


def floor_of(logits, confidence):
    """(e^z + η) / (S + K η) = p, solved for η."""
    rises = logits.exp()
    floor = (rises.amax(1) - confidence * rises.sum(1)) / (confidence * logits.shape[1] - 1)
    return floor.clamp_min(0)


def greedy(model, images, labels, pixels=12):
    """The pixels that gain most with both drawings held."""
    costs, drawn = model.explain(images)
    rivals = costs.scatter(1, labels[:, None], torch.inf).argmin(1)
    rows, flat = torch.arange(len(images)), images.flatten(1)
    slope = drawn[rows, rivals] - drawn[rows, labels]
    gain = torch.where(slope > 0, slope * (1 - flat), -slope * flat)
    top = gain.topk(pixels, dim=1).indices
    return flat.scatter(1, top, (slope.gather(1, top) > 0).float()).view_as(images)


RIGHT = {
    "The gradient of the lead": (chapter.check_lead, lead),
    "Stay on the sphere": (chapter.check_sphere, within),
    "How high may the floor be?": (chapter.check_largest_floor, floor_of),
    "Twelve pixels": (chapter.check_twelve_pixels, greedy),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name, capsys) -> None:
    check, answer = RIGHT[name]
    check(answer)
    assert f"Exercise “{name}”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (chapter.check_lead, lambda *a: -lead(*a), "the sign is wrong"),
        (chapter.check_lead, lambda *a: lead(*a) / 2, "factor of 2"),
        (chapter.check_lead, lambda *a: lead(*a)[0], "one gradient of length D"),
        (
            chapter.check_lead,
            lambda x, g, f, a, b: lead(0 * x, g, f, a, b),
            "the image cancels only",
        ),
        (chapter.check_lead, lambda x, g, f, a, b: 2 * (x - g[:, 0]), "the factor of its class"),
        (chapter.check_sphere, lambda z, r: within(z.abs(), r), "the signs are lost"),
        (
            chapter.check_sphere,
            lambda z, r: r * z / z.norm(dim=1, keepdim=True),
            "inside the ball must not change",
        ),
        (chapter.check_sphere, lambda z, r: z.clamp(-r, r), "multiply each row"),
        (chapter.check_sphere, lambda z, r: z[0], "same shape"),
        (chapter.check_largest_floor, lambda z, p: floor_of(z, p)[0], "one floor per image"),
        (chapter.check_largest_floor, lambda z, p: floor_of(z, p) - 1, "a floor is never negative"),
        (chapter.check_largest_floor, lambda z, p: floor_of(z, p) + 1, "even without a floor"),
        (chapter.check_largest_floor, lambda z, p: 0 * floor_of(z, p), "solve for it"),
        (chapter.check_largest_floor, lambda z, p: 2 * floor_of(z, p), "once per class"),
        (chapter.check_twelve_pixels, lambda m, x, y: x, "the bar is 30"),
        (chapter.check_twelve_pixels, lambda m, x, y: greedy(m, x, y, 13), "the budget is 12"),
        (chapter.check_twelve_pixels, lambda m, x, y: 2 * x, "outside"),
        (chapter.check_twelve_pixels, lambda m, x, y: x[0], "shape"),
        (chapter.check_twelve_pixels, lambda m, x, y: 0 * x + torch.nan, "not a number"),
    ],
)
def test_hints(check, wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        check(wrong)
