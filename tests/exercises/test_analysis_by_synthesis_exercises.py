"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.defenses.analysis_by_synthesis.inference import within
from armsrace.defenses.analysis_by_synthesis.model import floored_softmax
from armsrace.exercises import ExerciseError
from armsrace.exercises import analysis_by_synthesis as chapter

CHECKS = [chapter.check_lead, chapter.check_sphere, chapter.check_confidences]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def lead(images, drawn, first, second):
    """The right answer to 17.1."""
    rows = torch.arange(len(images))
    return 2 * (drawn[rows, first] - drawn[rows, second])


RIGHT = {
    "The gradient of the lead": (chapter.check_lead, lead),
    "Stay on the sphere": (chapter.check_sphere, within),
    "Confidence with a floor": (chapter.check_confidences, floored_softmax),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name, capsys) -> None:
    check, answer = RIGHT[name]
    check(answer)
    assert f"Exercise “{name}”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (chapter.check_lead, lambda x, g, a, b: -lead(x, g, a, b), "the sign is wrong"),
        (chapter.check_lead, lambda x, g, a, b: lead(x, g, a, b) / 2, "factor of 2"),
        (chapter.check_lead, lambda x, g, a, b: lead(x, g, a, b)[0], "one gradient of length D"),
        (chapter.check_lead, lambda x, g, a, b: 2 * (x - g[:, 0]), "x cancels"),
        (chapter.check_sphere, lambda z, r: within(z.abs(), r), "the signs are lost"),
        (
            chapter.check_sphere,
            lambda z, r: r * z / z.norm(dim=1, keepdim=True),
            "inside the sphere must not change",
        ),
        (chapter.check_sphere, lambda z, r: z.clamp(-r, r), "multiply each row"),
        (chapter.check_sphere, lambda z, r: z[0], "same shape"),
        (chapter.check_confidences, lambda z, f: z.softmax(1), "the floor must decide"),
        (chapter.check_confidences, lambda z, f: z.exp() + f, "sum to 1"),
        (chapter.check_confidences, lambda z, f: z.exp() / z.exp().sum(1, True), "not finite"),
        (chapter.check_confidences, lambda z, f: floored_softmax(z, 10 * f), "not the formula"),
    ],
)
def test_hints(check, wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        check(wrong)
