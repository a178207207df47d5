"""The contract of all layers: images, labels, models, bounds, results, and checks of the input.

Errors name the argument and the rule: ValueError for a wrong value, TypeError for a wrong type.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, cast

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]
Decoder = Callable[[Tensor], Tensor]
"""Latents (M, L) -> images (M, C, H, W), row by row."""
Norm = Literal["linf", "l2", "l1", "l0"]


@dataclass(frozen=True)
class Bounds:
    """The box of valid pixel values, both ends included."""

    lower: float = 0.0
    upper: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower) and math.isfinite(self.upper)):
            raise ValueError(f"bounds must be finite, got ({self.lower}, {self.upper})")
        if self.lower >= self.upper:
            raise ValueError(f"bounds.lower must be < bounds.upper, got {self.lower}, {self.upper}")

    @property
    def width(self) -> float:
        """The length of the box in each pixel; the defaults of all attacks are in proportion."""
        return self.upper - self.lower

    def clip(self, images: Tensor) -> Tensor:
        """Clip every pixel of images of any shape to the box."""
        return images.clamp(self.lower, self.upper)


UNIT = Bounds(0.0, 1.0)


@dataclass(frozen=True)
class AttackResult:
    """The result of an attack, image by image.

    Args:
        images: (N, C, H, W), in the pixel unit of the input. For a fixed-budget attack, the last
            iterate; for a minimal-norm attack, the nearest adversarial image found, or the clean
            image if there is none.
        success: (N,) bool, decided by one last forward pass on exactly these images.
        queries: (N,) int64, forward passes for each image, including the last one.
        gradients: (N,) int64, backward passes for each image.
    """

    images: Tensor
    success: Tensor
    queries: Tensor
    gradients: Tensor

    def __len__(self) -> int:
        return len(self.images)


def check_images(images: Tensor, bounds: Bounds = UNIT, name: str = "images") -> None:
    """Raise unless images are floating point (N, C, H, W), N >= 1, finite and inside the bounds."""
    _check_range(images, bounds, name, 0.0)


def clipped_images(images: Tensor, bounds: Bounds = UNIT, name: str = "images") -> Tensor:
    """As `check_images`, but clip pixels that only rounding took out of the bounds, with a warning.

    Scaling images to another box and back leaves a pixel at 1 + 1e-7. Rounding is what is below a
    millionth of the largest pixel, or the resolution of half precision.
    """
    if not _check_range(images, bounds, name, 1e-6):
        return images
    warnings.warn(f"{name} exceed the bounds by rounding, and are clipped", stacklevel=4)
    return bounds.clip(images)


def _check_range(images: Tensor, bounds: Bounds, name: str, rounding: float) -> bool:
    """Check images as told above; whether any pixel is outside, by no more than the rounding."""
    if not isinstance(images, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(images).__name__}")
    if not isinstance(bounds, Bounds):
        raise TypeError(f"bounds must be Bounds(lower, upper), got {bounds!r}")
    if images.ndim != 4:
        raise ValueError(f"{name} must have shape (N, C, H, W), got {tuple(images.shape)}")
    if len(images) == 0:
        raise ValueError(f"{name} must not be empty")
    if not images.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {images.dtype}")
    low, high = (value.item() for value in torch.aminmax(images.detach()))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    # A bound such as 0.1 is not a float32: compare with the bound in the images' dtype.
    ends = torch.tensor([bounds.lower, bounds.upper], dtype=images.dtype).tolist()
    excess = max(ends[0] - low, high - ends[1])
    if excess <= 0:
        return False
    allowed = max(rounding, torch.finfo(images.dtype).eps) * max(map(abs, ends)) if rounding else 0
    if excess > allowed:
        raise ValueError(
            f"{name} must lie in [{bounds.lower}, {bounds.upper}], got values in [{low}, {high}]"
        )
    return True


def check_labels(labels: Tensor, count: int, name: str = "labels") -> None:
    """Raise unless labels are (count,) int64 and >= 0; the upper bound needs the logits."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(labels).__name__}")
    if labels.shape != (count,):
        raise ValueError(f"{name} must have shape ({count},), got {tuple(labels.shape)}")
    if labels.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {labels.dtype}")
    if labels.min() < 0:
        raise ValueError(f"{name} must be >= 0, got {int(labels.min())}")


def check_logits(logits: Tensor, count: int, decisions: bool = False) -> None:
    """Raise unless logits are finite (N, K) with K >= 2, and are not probabilities.

    Softmax outputs are refused, since every loss here would apply softmax a second time. That hides
    the gradient and is the most common way to make a model look robust. Where only the decisions
    matter, any scores without NaN will do: one-hot classes, probabilities, logarithms of zero.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != count:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"model must return logits of shape ({count}, K), got {got}")
    if logits.shape[1] < 2:
        raise ValueError(f"model must return at least 2 logits per image, got {logits.shape[1]}")
    values = logits.detach()
    if decisions:
        if values.isnan().any():
            raise ValueError("model must return scores that can be compared, got NaN")
        return
    if not torch.isfinite(values).all():
        raise ValueError("model must return finite logits, got NaN or infinity")
    if are_probabilities(values):
        raise ValueError("model must return logits, got probabilities (rows sum to 1)")


def are_probabilities(outputs: Tensor) -> bool:
    """Whether every row of outputs (N, K) is a probability distribution, to within 1e-4."""
    return bool((outputs >= 0).all() and ((outputs.sum(dim=1) - 1).abs() < 1e-4).all())


def check_classes(labels: Tensor, classes: int, name: str = "labels") -> None:
    """Raise unless every label is smaller than the model's number of classes."""
    if labels.max() >= classes:
        raise ValueError(f"{name} must be < {classes}, got {int(labels.max())}")


def check_at_least(name: str, value: float, minimum: float) -> None:
    """Raise unless value is a finite number >= minimum."""
    try:
        finite = math.isfinite(value)
    except (TypeError, ValueError, RuntimeError):  # a word, or an array of several
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not finite or value < minimum:
        raise ValueError(f"{name} must be >= {minimum:g}, got {value:g}")


def check_epsilon(epsilon: float | Tensor) -> None:
    """Raise unless epsilon is a finite number >= 0, or a tensor (N,) of them, one per image."""
    if isinstance(epsilon, Tensor) and epsilon.ndim == 1:
        if not (epsilon.isfinite() & (epsilon >= 0)).all():
            raise ValueError(f"epsilon must be >= 0 for each image, got {epsilon.tolist()}")
    elif isinstance(epsilon, list | tuple) or getattr(epsilon, "ndim", 0) > 0:
        raise TypeError(
            "epsilon must be a number, or a tensor (N,) with one number per image, got "
            f"{epsilon!r}; evaluation.robustness_curve takes several budgets"
        )
    else:
        check_at_least("epsilon", cast(float, epsilon), 0)


def check_count(name: str, value: int, minimum: int = 1) -> None:
    """Raise unless value is an integer >= minimum."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    check_at_least(name, value, minimum)


def query_limit(queries: int | None, minimum: int = 3) -> float:
    """The limit of queries per image, infinite for None; raise if it is below the minimum."""
    if queries is None:
        return math.inf
    check_count("queries", queries, minimum)
    return queries


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise unless value is one of choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
