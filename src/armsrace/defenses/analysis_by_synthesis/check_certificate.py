"""Check certificates of linear synthesis in exact integers; needs numpy and safetensors alone.

    python check_certificate.py linear-synthesis.safetensors certificates.npz

Suppose x + δ lies in the box and a rival piece k costs no more there than each piece h of the
image's class plus MARGIN. Then for any weights t_h >= 0 of sum S <= 1, if ‖B_k‖ <= 1,

    ‖δ‖² >= F(δ) = ‖δ‖² + S (q_k(x + δ) − MARGIN) − Σ t_h q_h(x + δ),

and F is convex: q_k is, and so is ‖δ‖² − Σ t_h q_h(x + δ). Its tangent at any δ* is below it, and
the least value of the tangent on the box is the sum of each pixel's least. If that is at least r²
for every rival piece, no image of the box within the L2 distance r, r included, is classified
otherwise. In L∞ the same holds with the box lo = max(−r, −x), hi = min(r, 1 − x), S = 1, and Σ (δ −
lo)(δ − hi) <= 0 in place of ‖δ‖² (and 0 in place of r²). δ* is computed in floating point: whatever
it is, what is checked is exact.
"""

from __future__ import annotations

import hashlib
import operator
import sys
from fractions import Fraction
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
PIXEL, WEIGHT, DUAL, MARGIN = 52, 24, 30, 20
"""Pixels, weights and duals must be multiples of 2^−52, 2^−24 and 2^−30; the margin is 2^−20."""


def whole(values: Any, bits: int) -> Array:
    """The values times 2^bits as Python integers; a ValueError if one is no integer."""
    values = np.asarray(values)
    if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8:
        raise ValueError("numbers must be float64 or narrower")
    scaled = np.ldexp(values.astype(np.float64), bits)
    if not (np.isfinite(scaled).all() and (scaled == np.floor(scaled)).all()):
        raise ValueError(f"a number is no multiple of 2^-{bits}")
    return np.vectorize(int, otypes=[object])(scaled)


class Checker:
    """Checks certificates against the weights of one model."""

    def __init__(self, means: Any, factors: Any, offsets: Any, classes: int = 10) -> None:
        self.floats = [np.asarray(part, dtype=np.float64) for part in (means, factors, offsets)]
        self.means, self.factors, self.offsets = (whole(part, WEIGHT) for part in self.floats)
        if classes < 2 or not len(self.means) or len(self.means) % classes:
            raise ValueError("classes must be 2 or more and divide the pieces")
        if (
            self.means.ndim != 2 or self.factors.ndim != 3
            or self.factors.shape[:2] != self.means.shape
            or self.offsets.shape != (len(self.means),)
        ):  # fmt: skip
            raise ValueError("means, factors and offsets must fit")
        self.classes, self.pieces = classes, len(self.means) // classes
        if not all(below_one(factor) for factor in self.factors):
            raise ValueError("factors must have norm below 1")

    def proves(self, image: Any, label: int, radius: float, duals: Any, norm: str = "l2") -> bool:
        """Whether `duals` (rival pieces, M) prove this radius around the image (P,)."""
        try:
            label = operator.index(label)
            x, weights = whole(image, PIXEL), whole(duals, DUAL)
            one, reach = 1 << PIXEL, np.floor(np.ldexp(float(radius), PIXEL) + 1)
            if norm not in ("l2", "linf") or not 0 < radius < float("inf"):
                return False
            r = int(reach) if norm == "linf" else one
            low, high = np.maximum(-x, -r), np.minimum(one - x, r)
            wanted = 0 if norm == "linf" else Fraction(float(radius)) ** 2
            rivals = [k for k in range(len(self.means)) if k // self.pieces != label]
            return bool(
                0 <= label < self.classes and weights.shape == (len(rivals), self.pieces)
                and x.shape == self.means.shape[1:] and (low <= 0).all() and (high >= 0).all()
                and all(
                    self._beats(x, label, k, t, low, high, wanted, norm)
                    for k, t in zip(rivals, weights, strict=True)
                )
            )  # fmt: skip
        except (ValueError, TypeError, OverflowError):
            return False

    def _beats(
        self, x: Array, label: int, k: int, t: Array, low: Array, high: Array, wanted: Any,
        norm: str,
    ) -> bool:  # fmt: skip
        """Whether no image of the box within the distance is read as piece k."""
        total = sum(t.tolist())
        if (t < 0).any() or total > 1 << DUAL or (norm == "linf" and total != 1 << DUAL):
            return False
        held = [(label * self.pieces + i, int(w)) for i, w in enumerate(t) if w]
        point = whole(np.round(self._minimizer(x, k, held, low, high, wanted, norm)), 0)
        return self.bound(x, k, held, np.clip(point, low, high), low, high, norm) >= wanted

    def bound(
        self, x: Array, k: int, held: list[tuple[int, int]], point: Array, low: Array, high: Array,
        norm: str = "l2",
    ) -> Fraction:  # fmt: skip
        """The least value on the box of the tangent of F at a point, exactly."""
        terms = [(k, sum(w for _, w in held)), *((h, -w) for h, w in held)]
        # F times 2^scale, and half its gradient times 2^(scale - PIXEL).
        extra = 2 * WEIGHT + DUAL
        scale = 2 * PIXEL + extra
        if norm == "linf":
            value = ((point - low) * (point - high)).sum() << extra
            gradient = (2 * point - low - high) * (1 << (extra - 1))
        else:
            value, gradient = (point * point).sum() << extra, point * (1 << extra)
        for piece, weight in terms:
            offset = x + point - (self.means[piece] << (PIXEL - WEIGHT))
            along = self.factors[piece].T.dot(offset)
            cost = ((offset * offset).sum() << 2 * WEIGHT) - (along * along).sum()
            value += weight * (cost + (self.offsets[piece] << (scale - DUAL - WEIGHT)))
            explained = (self.means[piece] << (PIXEL + WEIGHT)) + self.factors[piece].dot(along)
            gradient = gradient - weight * explained
        value -= terms[0][1] << (scale - DUAL - MARGIN)
        slope = np.minimum(gradient * (low - point), gradient * (high - point)).sum()
        return Fraction(int(value + 2 * slope), 1 << scale)

    def _minimizer(
        self, x: Array, k: int, held: list[tuple[int, int]], low: Array, high: Array, wanted: Any,
        norm: str,
    ) -> Array:  # fmt: skip
        """About the minimizer of F on the box, times 2^52, by δ ← clip(S E_k − Σ t_h E_h)."""
        means, factors, offsets = self.floats
        x, low, high = (part.astype(np.float64) / 2**PIXEL for part in (x, low, high))
        terms = [(k, sum(w for _, w in held) / 2**DUAL), *((h, -w / 2**DUAL) for h, w in held)]
        point, center = np.zeros_like(x), (low + high) / 2 if norm == "linf" else 0.0
        for step in range(4000):
            value = ((point - low) * (point - high)).sum() if norm == "linf" else point @ point
            value, target = value - terms[0][1] * 2.0**-MARGIN, np.zeros_like(x) + center
            for piece, weight in terms:
                offset = x + point - means[piece]
                along = offset @ factors[piece]
                value += weight * (offset @ offset - along @ along + offsets[piece])
                target += weight * (means[piece] + factors[piece] @ along)
            slope = point - target
            least = value + 2 * np.minimum(slope * (low - point), slope * (high - point)).sum()
            if step and least > float(wanted) * (1 + 1e-11) + 1e-10:
                break
            moved = np.clip(target, low, high)
            if step and np.abs(moved - point).max() < 1e-15:
                break
            point = moved
        return point * 2**PIXEL


def below_one(factor: Array) -> bool:
    """Whether a factor (P, L) of multiples of 2^−24 has a norm below 1, by exact elimination."""
    rows = [[Fraction(int(v), 1 << (2 * WEIGHT)) for v in row] for row in factor.T.dot(factor)]
    rest = [[(i == j) - v for j, v in enumerate(row)] for i, row in enumerate(rows)]
    for i, row in enumerate(rest):
        if row[i] <= 0:
            return False
        for j in range(i + 1, len(rest)):
            part = rest[j][i] / row[i]
            rest[j] = [a - part * b for a, b in zip(rest[j], row, strict=True)]
    return True


def digest(model: str, norm: str, image: Any, label: int, radius: float, duals: Any) -> str:
    """What a certificate is signed with against accidents: the sha256 of all it holds."""
    numbers = [np.asarray(part, dtype="<f8").tobytes() for part in (image, label, radius, duals)]
    return hashlib.sha256(b"".join([model.encode(), norm.encode(), *numbers])).hexdigest()


def check_file(weights: str, certificates: str, classes: int = 10) -> list[bool]:
    """Of each certificate in the file whether it holds for the model with these weights."""
    from safetensors.numpy import load

    with open(weights, "rb") as stream:
        content = stream.read()
    model, found = load(content), hashlib.sha256(content).hexdigest()
    checker = Checker(model["means"], model["factors"], model["offsets"], classes)
    with np.load(certificates, allow_pickle=False) as file:
        norm = str(file["norm"])
        rows = zip(
            file["images"], file["labels"], file["radii"], file["duals"], file["digests"],
            strict=True,
        )  # fmt: skip
        return [
            str(stored) == digest(found, norm, image, label, radius, duals)
            and label == np.floor(label)
            and checker.proves(image, int(label), float(radius), duals, norm)
            for image, label, radius, duals, stored in rows
        ]


if __name__ == "__main__":
    holds = check_file(sys.argv[1], sys.argv[2])
    print(f"{sum(holds)} of {len(holds)} certificates hold")
    sys.exit(not (holds and all(holds)))
