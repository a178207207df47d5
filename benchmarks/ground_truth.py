"""The bounds for analysis by synthesis where the radius is known: on linear synthesis.

"forms" takes the first test digits and the zoo's linear-synthesis. Its radius is proved and
attacked (data/measured/certificates.json). Each form of the bound is computed at its global
optimum: the paper's and the closed one by a formula, the tight one on a path of ridge regressions,
the half-space by its dual, with more and more explanations of the true class held and their
half-spaces intersected. What is left between a form and the radius is what its inequalities lose.

"searches" asks whether the library's searches find these optima: ten classes with one flat decoder
of eight latents each, fitted by principal components, in `evaluation.synthesis_bounds` and
`evaluation.halfspace_bounds` as they are, against the proved radius and attacks.

The columns of data/measured/ground_truth.json hold one number for each digit.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from rich.console import Console
from scipy.optimize import minimize
from torch import Tensor, nn

from armsrace import attacks, datasets, defenses, evaluation, zoo
from armsrace.defenses.analysis_by_synthesis.levenberg_marquardt import LevenbergMarquardt
from armsrace.ledger.measurements import record, recorded
from armsrace.models.linear_synthesis import LinearSynthesis

CONSOLE = Console()
STUDY, NETWORK = "ground_truth", "linear-synthesis"
HELD = 1, 2, 4, 8
LARGEST = 0.9999
"""Of S ‖B_k‖², which makes F convex up to 1."""
HELD_OUT = 6000


@dataclass(frozen=True)
class Pieces:
    """Linear synthesis as arrays: means m (I, P), bases U (I, P, L), b (I, L), offsets a (I,)."""

    means: np.ndarray
    bases: np.ndarray
    values: np.ndarray
    offsets: np.ndarray
    per_class: int

    @classmethod
    def of(cls, model: LinearSynthesis) -> Pieces:
        """B = U diag(b) Vᵀ of each piece."""
        parts = (part.detach().double() for part in (model.means, model.factors, model.offsets))
        means, factors, offsets = parts
        bases, values, _ = torch.linalg.svd(factors, full_matrices=False)
        return cls(means.numpy(), bases.numpy(), values.numpy(), offsets.numpy(), model.pieces)

    def along(self, image: np.ndarray) -> np.ndarray:
        """Uᵀ(x − m), (I, L)."""
        return np.einsum("ipl,ip->il", self.bases, image - self.means)

    def path(self, image: np.ndarray, ridge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ρ² and κ (R, I) of the u with the least ρ² + λ ½‖u‖², at each ridge λ (R,)."""
        z = np.square(self.along(image))
        rest = np.square(image - self.means).sum(1) - z.sum(1)
        s = np.square(self.values) / (2 * (1 - np.square(self.values)))
        half = ridge[:, None, None] / 2
        errors = rest + (z * np.square(half / (s + half))).sum(2)
        return errors, self.offsets + (s * z / np.square(s + half)).sum(2) / 2

    def explanation(self, image: np.ndarray, label: int) -> tuple[np.ndarray, float]:
        """The drawing by the cheapest piece of a class, and its price k."""
        errors, prices = (part[0] for part in self.path(image, np.ones(1)))
        own = slice(label * self.per_class, (label + 1) * self.per_class)
        h = own.start + int((errors + prices)[own].argmin())
        inner = np.square(self.values[h]) * self.along(image)[h]
        return self.means[h] + self.bases[h] @ inner, float(prices[h])


def triangle(pieces: Pieces, image: np.ndarray, label: int) -> dict[str, float]:
    """The paper's, the closed and the tight form of one image, without the box."""
    ridge = np.concatenate([[0.0], np.geomspace(1e-4, 1, 4000)])
    errors, prices = pieces.path(image, ridge)
    drawing, price = pieces.explanation(image, label)
    r = np.linalg.norm(image - drawing)
    cost = r * r + price
    rivals = np.arange(len(pieces.means)) // pieces.per_class != label
    d = np.sqrt(errors[0])
    own_errors = errors[-1] + prices[-1] - pieces.offsets
    forms = {
        "paper": np.minimum((errors[0] + pieces.offsets - cost) / (2 * (d + r)), d),
        "closed": np.minimum(
            (errors[-1] + prices[-1] - cost) / (2 * (np.sqrt(own_errors) + r)), np.sqrt(own_errors)
        ),
        "tight": np.minimum(
            ((errors + prices - cost) / (2 * (np.sqrt(errors) + r))).min(0), d
        ),
    }  # fmt: skip
    return {name: max(float(values[rivals].min()), 0.0) for name, values in forms.items()}


class Rival:
    """Piece k against held drawings G_j with prices k_j: the dual of the distance to its region.

    The region is where q_k(x + δ) ≤ ‖x + δ − G_j‖² + k_j for every j. F(δ) = ‖δ‖² + S q_k −
    Σ t_j (‖x + δ − G_j‖² + k_j) is convex for S ‖B_k‖² ≤ 1, and its least value on the box is a
    bound.
    """

    def __init__(self, pieces: Pieces, k: int, image: np.ndarray, box: bool) -> None:
        self.x, self.m, self.a = image, pieces.means[k], pieces.offsets[k]
        self.factors = pieces.bases[k] * pieces.values[k]
        far = np.full_like(image, 1e6)
        self.low, self.high = (-image, 1 - image) if box else (-far, far)
        self.largest = LARGEST / np.square(pieces.values[k]).max()
        self.point = np.zeros_like(image)

    def gaps(self, point: np.ndarray, drawings: np.ndarray, prices: np.ndarray) -> np.ndarray:
        """q_k − (‖x + δ − G_j‖² + k_j), (J,): the slope of the dual."""
        y = self.x + point
        inner = self.factors.T @ (y - self.m)
        cost = np.square(y - self.m).sum() - inner @ inner + self.a
        return cost - np.square(y - drawings).sum(1) - prices

    def dual(
        self, t: np.ndarray, drawings: np.ndarray, prices: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """A lower bound on ‖δ‖² by weights t, and its slope."""
        total = t.sum()
        constant = total * self.m - t @ drawings
        alpha = self.factors.T @ (self.x + self.point - self.m)
        for _ in range(30):
            free = constant + total * (self.factors @ alpha)
            point = free.clip(self.low, self.high)
            residual = alpha - self.factors.T @ (self.x + point - self.m)
            if np.abs(residual).max() < 1e-12:
                break
            inside = self.factors[(free > self.low) & (free < self.high)]
            alpha -= np.linalg.solve(np.eye(len(alpha)) - total * (inside.T @ inside), residual)
        self.point = point
        gaps = self.gaps(point, drawings, prices)
        slope = 2 * (
            point - constant - total * (self.factors @ (self.factors.T @ (self.x + point - self.m)))
        )
        tangent = np.minimum(slope * (self.low - point), slope * (self.high - point)).sum()
        return point @ point + t @ gaps + tangent, gaps

    def distance(
        self, drawings: np.ndarray, prices: np.ndarray, start: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """The largest bound on ‖δ‖ found, and its weights."""
        highest, weights = 0.0, start

        def negative(t: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal highest, weights
            t = t.clip(0) * min(1.0, self.largest / max(t.clip(0).sum(), 1e-12))
            value, slope = self.dual(t, drawings, prices)
            if value > highest:
                highest, weights = value, t
            return -value, -slope

        room = {"type": "ineq", "fun": lambda t: self.largest - t.sum(),
                "jac": lambda t: -np.ones_like(t)}  # fmt: skip
        for first in (start, np.full_like(start, 0.3 / len(start))):
            minimize(
                negative, first, jac=True, method="SLSQP", bounds=[(0, self.largest)] * len(start),
                constraints=[room], options={"maxiter": 100, "ftol": 1e-10},
            )  # fmt: skip
        self.dual(weights, drawings, prices)
        return float(np.sqrt(highest)), weights


def halfspaces(pieces: Pieces, image: np.ndarray, label: int) -> dict[str, float]:
    """The half-space forms of one image, by the number of explanations held."""
    found: dict[str, float] = {}
    duals: dict[tuple[int, bool], Rival] = {}
    weights: dict[tuple[int, bool], np.ndarray] = {}
    rivals = np.flatnonzero(np.arange(len(pieces.means)) // pieces.per_class != label)
    first = pieces.explanation(image, label)
    costs = sum(part[0] for part in pieces.path(image, np.ones(1)))[rivals]
    if costs.min() <= np.square(image - first[0]).sum() + first[1]:
        names = ("half-space, no box", "larger of 2", *(f"held {count}" for count in HELD))
        return dict.fromkeys(names, 0.0)

    def least(held: list[tuple[np.ndarray, float]], known: np.ndarray, box: bool) -> int:
        """Raise the least of the rivals' known bounds until it is exact; the nearest rival."""
        drawings = np.stack([drawing for drawing, _ in held])
        prices = np.array([price for _, price in held])
        done: set[int] = set()
        while (place := int(known.argmin())) not in done:
            rival = duals.setdefault((place, box), Rival(pieces, rivals[place], image, box))
            start = np.zeros(len(held))
            before = weights.get((place, box), np.array([0.3]))[: len(held)]
            start[: len(before)] = before
            value, weights[place, box] = rival.distance(drawings, prices, start)
            known[place] = max(known[place], value)
            done.add(place)
        return place

    unboxed = np.zeros(len(rivals))
    least([first], unboxed, box=False)
    found["half-space, no box"] = float(unboxed.min())
    held, known = [first], unboxed.copy()
    for count in range(1, max(HELD) + 1):
        place = least(held, known, box=True)
        if count in HELD:
            found[f"held {count}"] = float(known.min())
        nearest = image + duals[place, True].point if (place, True) in duals else image
        held.append(pieces.explanation(nearest, label))
        if count == 1:
            alone = np.zeros(len(rivals))
            kept, weights = weights, {}
            least([held[1]], alone, box=True)
            weights = kept
            found["larger of 2"] = max(found["held 1"], float(alone.min()))
    return found


def forms(count: int) -> None:
    """Every form on the first digits, beside the proved radius and the nearest attack."""
    model, data = zoo.load(NETWORK), datasets.load("mnist").take(count)
    assert isinstance(model, LinearSynthesis)
    pieces = Pieces.of(model)
    known = recorded("certificates")
    columns: dict[str, list[float]] = {
        "right": known["l2"].columns["right"][:count],
        "radius": known["l2"].columns["radius"][:count],
        "attack": [
            min(values)
            for values in zip(
                *(known[name].columns["distance"][:count]
                  for name in ("ddn", "minimum-norm", "carlini-wagner")), strict=True,
            )
        ],
    }  # fmt: skip
    for number, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
        x = image.flatten().double().numpy()
        got = triangle(pieces, x, label) | halfspaces(pieces, x, label)
        for name, value in got.items():
            columns.setdefault(name, []).append(value)
        if number % 10 == 9:
            CONSOLE.print(number + 1, {name: f"{value:.4f}" for name, value in got.items()})
    settings = f"{NETWORK}; every form at its global optimum"
    record(STUDY, "forms", columns, settings=settings, n=count, data=data.source)


class FlatDecoders(nn.Module):
    """Ten classes with one flat decoder each, G_c(z) = m_c + W_c z, as `ClassGenerators`."""

    def __init__(self, model: LinearSynthesis) -> None:
        super().__init__()
        self.classes, self.latents = model.classes, model.latents
        pieces = Pieces.of(model)
        scale = pieces.values / np.sqrt(2 * (1 - np.square(pieces.values)))
        self.means = torch.from_numpy(pieces.means)
        self.factors = torch.from_numpy(pieces.bases * scale[:, None])

    def draw(self, latents: Tensor) -> Tensor:
        """Images (N, K, P) of latents (N, K, L)."""
        return self.means + torch.einsum("kpl,nkl->nkp", self.factors, latents.to(self.factors))

    def linearized(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The same, with the Jacobians (N, K, L, P)."""
        return self.draw(latents), self.factors.mT.expand(len(latents), -1, -1, -1)


def searches(count: int) -> None:
    """The library's bounds, found by search, where every class has one flat decoder."""
    torch.manual_seed(0)
    train = datasets.load("mnist", "train")
    fitted = LinearSynthesis(pieces=1, latents=8)
    fitted.start(train.images[HELD_OUT:], train.labels[HELD_OUT:])
    means, factors = (part.detach().half().double() for part in (fitted.means, fitted.factors))
    model = LinearSynthesis.of(means, factors, torch.zeros(10).double(), classes=10)
    data = datasets.load("mnist").take(count)
    images, labels = data.images.double(), data.labels
    proved = evaluation.certify(model, images)
    found = [
        evaluation.perturbation_sizes(images, attack(model, images, labels), "l2")
        for attack in (attacks.ddn, partial(attacks.minimum_norm, norm="l2"))
    ]
    # The latents of linear synthesis are in no ball.
    search = LevenbergMarquardt(steps=30, starts=5, radius=1e3)
    flat = defenses.AnalysisBySynthesis(FlatDecoders(model), search=search, samples=500)
    triangle = evaluation.synthesis_bounds(flat, images, labels, search=search)
    columns = {
        "right": (proved.labels == labels).double(),
        "radius": proved.radii,
        "attack": torch.stack(found).amin(0),
        "paper": triangle.paper, "closed": triangle.closed, "tight": triangle.tight,
    }  # fmt: skip
    for held in (1, 2, 4):
        columns[f"held {held}"] = evaluation.halfspace_bounds(
            flat, images, labels, candidates=held, search=search
        )
    for name, values in columns.items():
        above = (values > columns["attack"] + 1e-6)[columns["right"] > 0].sum()
        CONSOLE.print(name, f"{values.median():.4f}, above the attack: {above}")
    record(
        STUDY, "searches", {name: values.tolist() for name, values in columns.items()},
        settings="ten flat decoders of eight latents, by principal components; the library's "
        "searches, thirty steps from five starts",
        n=count, data=data.source,
    )  # fmt: skip


def main() -> None:
    """Record what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=["forms", "searches"])
    parser.add_argument("--digits", type=int, default=100)
    given = parser.parse_args()
    for name in given.names:
        {"forms": forms, "searches": searches}[name](given.digits)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
