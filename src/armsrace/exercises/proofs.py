"""Checks of the exercises on proofs.

A dual by hand, the least value of a tangent, a box by hand, certifying by counting, a false
certificate, and slopes in place of boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from scipy import stats
from torch import Generator, Tensor, nn
from torch.nn import functional

from armsrace import datasets
from armsrace.defenses import certified, interval_bounds
from armsrace.exercises import Exercise
from armsrace.models import zoo

SIGMA, DRAWS = 0.5, 100


def check_dual(answer: object) -> None:
    """Check `dual()`: s and the radius for one pixel without a box.

    The costs are q_h(δ) = ½δ² and q_k(δ) = (δ − 2)².
    """
    exercise = Exercise("A dual by hand")
    solve = exercise.solution(answer)
    if solve is None:
        return
    s, radius = _numbers(exercise, solve(), 2, "give two numbers: the best s, and the radius.")
    best, squared = 2 * math.sqrt(2) - 2, 24 - 16 * math.sqrt(2)
    exercise.require(
        abs(s - 1) > 1e-3, "s = 1 gives a proof, 4/3 for the square, but not the best one."
    )
    exercise.require(
        abs(s - best) < 1e-3,
        "the minimum of F_s is 4s − 4s² / (1 + s/2); where is its derivative in s zero?",
    )
    exercise.require(
        abs(radius - squared) > 1e-3, "that is the squared distance: the radius is its square root."
    )
    exercise.require(
        abs(radius - math.sqrt(squared)) < 1e-3,
        "the radius is the square root of the minimum of F_s at your s.",
    )
    exercise.confirm("At δ = 4 − 2√2 both costs are equal, and the radius is exactly that δ.")


def check_tangent(answer: object) -> None:
    """Check `least(value, slope, point, low, high)`: the least value of a tangent on a box."""
    generator = torch.Generator().manual_seed(0)
    exercise = Exercise("The least value of a tangent")
    draw = torch.rand(4, 6, generator=generator).double()
    solve = exercise.solution(answer, 1.0, draw[0] - 0.5, draw[1] / 2, -draw[2], draw[3] / 2 + 0.5)
    if solve is None:
        return
    for _ in range(20):
        draw = torch.rand(5, 6, generator=generator).double()
        low, high = -draw[0], 1 - draw[0]
        point, slope = low + draw[1], 4 * draw[2] - 2
        value = float(3 * draw[3, 0])
        corners = torch.cartesian_prod(*torch.stack([low, high], dim=1))
        right = float((value + (corners - point) @ slope).min())
        found = float(solve(value, slope, point, low, high))
        away = float(value + torch.minimum(slope * low, slope * high).sum())
        exercise.require(
            abs(found - away) > 1e-9 or abs(right - away) < 1e-9,
            "the tangent touches at the point: measure each end from there.",
        )
        exercise.require(
            found <= right + 1e-9,
            "each pixel may be at either end: take the smaller product, pixel by pixel.",
        )
        exercise.require(
            found >= right - 1e-9,
            f"that is below the tangent's minimum, {right:.4f}: a valid bound, but a weak one.",
        )
    exercise.confirm("With exact numbers these lines are the whole checker.")


def check_box(answer: object) -> None:
    """Check `box()`, four numbers: the interval bounds of a small network, and its true range.

    The network is h₁ = max(0, x₁ + x₂), h₂ = max(0, x₁ + x₂ − 1), z = h₁ − h₂ on the unit square.
    """
    exercise = Exercise("A box by hand")
    solve = exercise.solution(answer)
    if solve is None:
        return
    low, high, least, greatest = _numbers(
        exercise, solve(), 4,
        "give four numbers: the lower and upper bound, and the true least and greatest value.",
    )  # fmt: skip
    exercise.require(
        (low, high) != (-2, 3), "apply max(0, ·) to both ends of each unit before you subtract."
    )
    exercise.require(
        (low, high) != (0, 1) or (least, greatest) != (0, 1),
        "these are the true ends; the boxes of h₁ and h₂ are subtracted as if independent.",
    )
    exercise.require(
        (low, high) == (-1, 2),
        "h₁ is in [0, 2] and h₂ in [0, 1]; the lower bound is least h₁ − greatest h₂.",
    )
    exercise.require(
        (least, greatest) == (0, 1), "with s = x₁ + x₂, z is s as long as s <= 1, and then 1."
    )
    exercise.confirm(
        "The bounds forget that both units see the same x, so they are three times too wide."
    )


def check_certify(answer: object) -> None:
    """Check `certify(first, second, sigma, alpha)`: a class or -1, and its radius.

    first: (K,) counts of the draws that choose the class. second: (K,) counts of other draws.
    """
    first, second = torch.tensor([30, 50, 20]), torch.tensor([100, 850, 50])
    exercise = Exercise("Certify by counting")
    solve = exercise.solution(answer, first, second, 0.5, 0.001)
    if solve is None:
        return
    pair = "return the class and the radius."
    for counts, draws, sigma, alpha in (
        (850, 1000, 0.5, 0.001), (1000, 1000, 0.25, 0.01), (70, 100, 1.0, 0.05),
    ):  # fmt: skip
        second = torch.tensor([draws - counts, counts, 0])
        lower = stats.beta.ppf(alpha, counts, draws - counts + 1)
        right = sigma * stats.norm.ppf(lower)
        label, radius = _numbers(exercise, solve(first, second, sigma, alpha), 2, pair)
        exercise.require(
            math.isfinite(radius), "even if all draws are for one class, its probability is not 1."
        )
        plain = sigma * stats.norm.ppf(min(counts / draws, 1 - 1e-12))
        exercise.require(
            abs(radius - plain) > 1e-3,
            "the fraction is too large about half of the time: use its lower bound.",
        )
        both = sigma * stats.norm.ppf(stats.beta.ppf(alpha / 2, counts, draws - counts + 1))
        exercise.require(abs(radius - both) > 1e-6, "the bound is one-sided: alpha is not halved.")
        exercise.require(
            label == 1 and abs(radius - right) < 1e-3 * max(right, 1),
            f"for {counts} of {draws} draws, σ = {sigma} and α = {alpha} the radius is "
            f"{right:.4f}, yours {radius:.4f}.",
        )
    label, radius = _numbers(
        exercise, solve(torch.tensor([60, 40]), torch.tensor([400, 600]), 0.5, 0.001), 2, pair
    )
    exercise.require(
        label != 1, "the first draws alone choose the class: the second may not change the choice."
    )
    exercise.require(
        label == -1, "abstain, with -1, where the lower bound of the probability is not above 1/2."
    )
    exercise.require(radius == 0, "where you abstain, the radius is 0.")
    exercise.confirm("Two sets of draws and one quantile: the whole certificate.")


def _numbers(exercise: Exercise, found: Any, count: int, hint: str) -> list[float]:
    """So many numbers, or the hint."""
    exercise.require(
        isinstance(found, Sequence) and not isinstance(found, str) and len(found) == count, hint
    )
    return [float(number) for number in found]


def careless_radius(votes: Tensor, sigma: float = SIGMA) -> Tensor:
    """A false certificate: radii (N,) from the votes (N, K) that also chose the class.

    The fraction of the votes stands for the probability. It is not a lower bound of it.
    """
    share = votes.amax(dim=1).double() / votes.sum(dim=1)
    return sigma * torch.special.ndtri(share.clamp_max(1 - 1e-6))


def check_break(answer: object) -> None:
    """Check `break_it(points, weights, bias, radii)`: perturbations (N, D) within the radii.

    The classifier says 1 where w · x + b > 0 and else 0; smoothed, it is the same classifier. The
    radii are `careless_radius` of 100 draws. Each is to be broken where it can be.
    """
    points, weights, bias, votes = _linear_votes(400)
    radii = careless_radius(votes)
    exercise = Exercise("Break a false certificate")
    solve = exercise.solution(answer, points, weights, bias, radii)
    if solve is None:
        return
    delta = torch.as_tensor(solve(points, weights, bias, radii)).double()
    exercise.require(
        delta.shape == points.shape,
        f"return one perturbation per point, {tuple(points.shape)}, got {tuple(delta.shape)}.",
    )
    exercise.require(bool((delta.norm(dim=1) <= radii).all()), "stay within the claimed radius.")
    margins = points @ weights + bias
    breakable = margins.abs() / weights.norm() < radii * (1 - 1e-3)
    broken = ((points + delta) @ weights + bias > 0) != (margins > 0)
    exercise.require(
        bool(broken.any()), "the shortest way to the other side is along w, toward the boundary."
    )
    exercise.require(
        bool(broken[breakable].all()),
        f"you broke {int(broken.sum())}, but {int(breakable.sum())} radii reach the boundary.",
    )
    share = broken.double().mean().item()
    lower = torch.as_tensor(
        stats.beta.ppf(0.001, votes.amax(1), DRAWS - votes.amax(1) + 1)
    ).clamp_min(0.5)
    sound = margins.abs() / weights.norm() < SIGMA * torch.special.ndtri(lower)
    exercise.confirm(
        f"{share:.0%} of the careless radii are false; of those by the lower bound at α = .001, "
        f"{sound.double().mean().item():.1%}."
    )


def _linear_votes(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points (N, 5), a linear classifier, and the votes (N, 2) of its 100 draws for each."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, generator=generator).double()
    bias = torch.tensor(0.2).double()
    points = 0.4 * torch.randn(count, 5, generator=generator).double()
    noise = torch.randn(count, DRAWS, 5, generator=generator).double()
    ones = ((points[:, None] + SIGMA * noise) @ weights + bias > 0).sum(dim=1)
    return points, weights, bias, torch.stack([DRAWS - ones, ones], dim=1)


class SlopedBound:
    """Lower bounds on a ReLU network's margins in boxes of images: any slopes in [0, 1] prove.

    A ReLU whose input may have both signs is at least s times its input, for each slope s in
    [0, 1], and at most the chord. The sign of what comes behind it tells which of both is used.

    Args:
        network: convolutions, ReLUs, a flattening and linear layers in a row.
        images: (N, C, H, W), with their labels (N,).
        labels: the true classes.
        epsilon: half the width of the boxes, in the pixel range.
    """

    travels = ("boxes", "labels", "lower", "upper")

    def __init__(
        self, network: nn.Sequential, images: Tensor, labels: Tensor, epsilon: float
    ) -> None:
        self.layers, self.labels, self.classes = list(network), labels, 10
        self.lower, self.upper = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
        self.shapes: list[torch.Size] = []
        self.boxes: list[tuple[Tensor, Tensor]] = []
        hidden = images
        with torch.no_grad():
            for place, layer in enumerate(self.layers):
                self.shapes.append(hidden.shape[1:])
                if isinstance(layer, nn.ReLU):
                    before = nn.Sequential(*self.layers[:place])
                    self.boxes.append(interval_bounds(before, self.lower, self.upper))
                hidden = layer(hidden)

    def __call__(self, slopes: Sequence[Tensor]) -> Tensor:
        """Lower bounds on z_y − z_c (N, 10), ∞ for the true class; the slopes get a gradient."""
        eye = torch.eye(self.classes).to(self.lower)
        rows, offset = eye[self.labels][:, None] - eye, self.lower.new_zeros(1)
        slopes = list(slopes)
        boxes = list(self.boxes)
        for layer, shape in zip(reversed(self.layers), reversed(self.shapes), strict=True):
            if isinstance(layer, nn.ReLU):
                low, high = boxes.pop()
                mixed = (low < 0) & (high > 0)
                alive = (low >= 0).to(low)
                chord = torch.where(mixed, high / (high - low).clamp_min(1e-12), alive)
                lifted = torch.where(mixed, -low * chord, torch.zeros_like(low))
                flat = torch.where(mixed, slopes.pop(), alive)
                up, down = rows.clamp_min(0), rows.clamp_max(0)
                offset = offset + (down * lifted[:, None]).flatten(2).sum(2)
                rows = up * flat[:, None] + down * chord[:, None]
            elif isinstance(layer, nn.Conv2d):
                assert layer.bias is not None and isinstance(layer.padding, tuple)
                offset = offset + (rows.sum((3, 4)) * layer.bias).sum(2)
                missing = [
                    wanted - ((size - 1) * step - 2 * pad + kernel)
                    for wanted, size, step, pad, kernel in zip(
                        shape[1:], rows.shape[3:], layer.stride, layer.padding, layer.kernel_size,
                        strict=True,
                    )
                ]  # fmt: skip
                rows = functional.conv_transpose2d(
                    rows.flatten(0, 1), layer.weight, None, layer.stride, layer.padding, missing
                ).view(len(self.labels), self.classes, *shape)
            elif isinstance(layer, nn.Linear):
                offset, rows = offset + rows @ layer.bias, rows @ layer.weight
            else:
                rows = rows.view(len(self.labels), self.classes, *shape)
        center, radius = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2
        least = (rows * center[:, None] - rows.abs() * radius[:, None]).flatten(2).sum(2) + offset
        return least.scatter(1, self.labels[:, None], torch.inf)


def check_slopes(answer: object) -> None:
    """Check `choose(bound)`: one tensor of slopes in [0, 1] for each ReLU of `bound.boxes`.

    bound: `SlopedBound` of an ordinary network at ε = 0.0075. At least four digits more must be
    proved than by slopes that are all 0 or all 1.
    """
    exercise, epsilon = Exercise("Better than boxes"), 0.0075
    network = zoo.load("s3-cnn")
    assert isinstance(network, nn.Sequential)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    sample = datasets.load("mnist", "test").take(60, Generator().manual_seed(22))
    right = network(sample.images).argmax(1) == sample.labels
    bound = SlopedBound(network, sample.images[right][:40], sample.labels[right][:40], epsilon)
    solve = exercise.solution(answer, bound)
    if solve is None:
        return
    found = solve(bound)
    shapes = [low.shape for low, _ in bound.boxes]
    exercise.require(
        isinstance(found, Sequence)
        and [part.shape for part in found if isinstance(part, Tensor)] == shapes,
        f"return a list of {len(shapes)} tensors of slopes, shaped like the boxes.",
    )
    exercise.require(
        all(bool(((part >= 0) & (part <= 1)).all()) for part in found),
        "a slope outside [0, 1] proves nothing.",
    )

    def proved(slopes: Sequence[Tensor]) -> int:
        with torch.no_grad():
            return int((bound(slopes) > 0).all(dim=1).sum())

    ours = proved([part.detach() for part in found])
    constant = [
        proved([torch.full_like(low, slope) for low, _ in bound.boxes]) for slope in (0.0, 1.0)
    ]
    exercise.require(
        ours >= max(constant) + 4,
        f"{ours} digits are proved. Slopes of 0 prove {constant[0]}, slopes of 1 {constant[1]}; "
        "the bar is four more than the better. Look at a single unit: which line leaves less area?",
    )
    by_boxes = int(certified(network, sample.images[right][:40], bound.labels, epsilon).sum())
    exercise.confirm(
        f"{ours} of {len(bound.labels)} digits are proved, {max(constant)} by constant slopes, "
        f"{by_boxes} by boxes alone."
    )
