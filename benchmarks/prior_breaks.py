"""Attackers of Deep Image Prior who know more and more of it, for `benchmarks/prior.py`."""

from __future__ import annotations

from functools import partial

import torch
from prior_paths import BATCH, STOP, STUDY, WIDTHS, means
from torch import Tensor, nn

from armsrace import attacks, datasets, evaluation, ledger, zoo
from armsrace.attacks.composition import straight_through
from armsrace.attacks.physical import blur
from armsrace.contracts import Norm
from armsrace.defenses import DeepImagePrior, Purified
from armsrace.models.layers import predict

BUDGETS: dict[Norm, tuple[float, ...]] = {
    "l2": (1.0, 1.5, 2.0, 3.0, 4.0),
    "linf": (0.1, 0.2, 0.3),
}
KNOWN: dict[Norm, float] = {"l2": 3.0, "linf": 0.3}
KNOWN_STEPS, SIGMA = 12, 1.0


def breaks(count: int) -> None:
    """Accuracy against budgets, of attackers who know more and more of the prior."""
    model, data = zoo.load("s3-cnn"), datasets.load("mnist", "test")
    images, labels = data.images[:count], data.labels[:count]
    smoothed = nn.Sequential(_Blur(), model)
    columns: dict[str, list[float]] = {}
    for norm, budgets in BUDGETS.items():
        attack = partial(attacks.pgd, norm=norm, random_start=False)
        wrong: dict[str, list[Tensor]] = {"undefended": [], "unaware": [], "blur": []}
        for epsilon in budgets:
            bare = attack(model, images, labels, epsilon=epsilon)
            through = attack(smoothed, images, labels, epsilon=epsilon)
            wrong["undefended"].append(bare.success)
            wrong["unaware"].append(_fooled(model, bare.images, labels))
            wrong["blur"].append(_fooled(model, through.images, labels))
        columns[norm] = list(budgets)
        for name, rows in wrong.items():
            columns[f"{norm}, {name}"] = means(~torch.stack(rows))
            least = torch.stack(
                [
                    torch.where(row, epsilon, torch.inf)
                    for row, epsilon in zip(rows, budgets, strict=True)
                ]
            )
            columns[f"{norm}, {name}, median"] = [least.amin(dim=0).median().item()]
        known = Purified(straight_through(_prior(1), backward=_Blur()), model)
        found = attack(known, images, labels, epsilon=KNOWN[norm], steps=KNOWN_STEPS)
        columns[f"{norm}, known"] = [
            1 - _fooled(model, found.images, labels).double().mean().item()
        ]
        for other in ("l2", "linf"):
            sizes = evaluation.perturbation_sizes(images, found, other)[found.success]
            columns[f"{norm}, known, {other}"] = [sizes.mean().item()]
    settings = f"s3-cnn; {STOP} steps; PGD, 40 steps, {KNOWN_STEPS} through the prior"
    ledger.record(STUDY, "break", columns, settings=settings, n=count, data=data.description)
    ledger.measure("dip-break", 100 * columns["l2, known"][0], n=count)
    medians = [columns[f"l2, {name}, median"][0] for name in ("blur", "undefended")]
    ledger.measure("dip-break-distance", medians[0] / medians[1], n=count)


def _median(budgets: tuple[float, ...], wrong: Tensor) -> float:
    """Of the least budget of each image; wrong: (B, N) bool."""
    least = torch.where(wrong, torch.tensor(budgets)[:, None], torch.inf).amin(dim=0)
    return float(least.median())


class _Blur(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return blur(images, SIGMA)


def _prior(seed: int) -> DeepImagePrior:
    # A generator of its own: other weights at each call, so that no attack fits one draw of them.
    return DeepImagePrior(STOP, widths=WIDTHS, generator=torch.Generator().manual_seed(seed))


def _fooled(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    guarded = Purified(_prior(2), model)
    parts = [predict(guarded, part) for part in images.split(BATCH)]
    return torch.cat(parts).argmax(dim=1) != labels
