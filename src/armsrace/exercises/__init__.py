"""Checks of the chapters' exercises: one module per chapter, one `check_…` per exercise.

A check takes the student's function or value. It prints "not attempted yet" for None or Ellipsis,
raises `ExerciseError` with a hint for a wrong answer, and confirms a right one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from torch import Tensor


class ExerciseError(AssertionError):
    """The answer is not right yet. The message is a hint."""


@dataclass(frozen=True)
class Exercise:
    """One exercise, named by its title in the chapter."""

    name: str

    def attempted(self, answer: object) -> bool:
        """Whether there is an answer; prints "not attempted yet" for None or Ellipsis.

        Under nbgrader, which gives a check that raises no error its points, that is an error.
        """
        if answer is None or isinstance(answer, EllipsisType):
            missing = f"Exercise “{self.name}”: not attempted yet."
            if "NBGRADER_EXECUTION" in os.environ:
                raise ExerciseError(missing)
            print(missing)
            return False
        return True

    def solution(self, answer: object, *probe: Any) -> Callable[..., Any] | None:
        """The student's function; None if it is missing or still returns nothing for the probe.

        ExerciseError reports the function's own errors, and an answer that is not a function.
        """
        if not self.attempted(answer):
            return None
        if not callable(answer):
            raise ExerciseError(f"Exercise “{self.name}” asks for a function, got {answer!r}.")
        function: Callable[..., Any] = answer

        def run(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except Exception as error:
                raise ExerciseError(
                    f"Exercise “{self.name}”: your function raised {error!r}."
                ) from error

        return run if self.attempted(run(*probe)) else None

    def require(self, right: bool, hint: str) -> None:
        """Raise ExerciseError with the hint unless the answer is right."""
        if not right:
            raise ExerciseError(f"Exercise “{self.name}”: {hint}")

    def confirm(self, learned: str) -> None:
        """Print that the answer is right, and what it shows."""
        print(f"Exercise “{self.name}”: right. {learned}")


class Metered:
    """A model that counts the images it is shown, and refuses more than a challenge allows.

    Args:
        exercise: the challenge, named in the refusal.
        model: images (N, C, H, W) to logits (N, K).
        images: how many images it may be shown in all.
    """

    def __init__(self, exercise: Exercise, model: Callable[[Tensor], Tensor], images: int) -> None:
        self.exercise, self.model, self.allowed, self.shown = exercise, model, images, 0

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, K), while the budget lasts."""
        self.shown += len(images)
        self.exercise.require(
            self.shown <= self.allowed,
            f"the budget is {self.allowed} images shown to the network, all together; this is "
            f"number {self.shown}.",
        )
        return self.model(images)


def require_budget(
    exercise: Exercise, images: Tensor, adversarial: object, epsilon: float
) -> Tensor:
    """The answer (N, C, H, W), if it is images in the box within ‖δ‖∞ ≤ epsilon."""
    exercise.require(
        isinstance(adversarial, Tensor) and adversarial.shape == images.shape,
        f"return images of shape {tuple(images.shape)}.",
    )
    assert isinstance(adversarial, Tensor)
    moved = adversarial.detach()
    exercise.require(
        bool(((moved >= 0) & (moved <= 1)).all()), "some pixel is outside [0, 1], or not a number."
    )
    largest = float((moved - images).abs().max())
    exercise.require(
        largest <= epsilon + 1e-6, f"some pixel moved by {largest:.4f}; the budget is {epsilon}."
    )
    return moved
