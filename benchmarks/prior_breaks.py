"""Attackers of Deep Image Prior who know more and more of it, for `benchmarks/prior.py`."""

from __future__ import annotations

from functools import partial

import torch
from prior_paths import BATCH, STOP, STUDY, WIDTHS, means
from torch import Tensor, nn
from torch.nn import functional

from armsrace import attacks, datasets, evaluation, ledger, zoo
from armsrace.attacks.adaptive import bpda, eot, unrolled
from armsrace.attacks.physical import blur
from armsrace.contracts import Norm
from armsrace.defenses import DeepImagePrior, Purified
from armsrace.models.layers import predict

BUDGETS: dict[Norm, tuple[float, ...]] = {
    "l2": (1.0, 1.5, 2.0, 3.0, 4.0),
    "linf": (0.1, 0.2, 0.3),
}
KNOWN, KNOWN_STEPS, SIGMA, EOT_DRAWS = 3.0, 10, 1.0, 2


def budgets(norm: Norm, count: int) -> None:
    """Accuracy against budgets: no prior; the classifier attacked; the classifier behind a blur."""
    model, images, labels, data = _task(count)
    smoothed = nn.Sequential(_Blur(), model)
    attack = partial(attacks.pgd, norm=norm, random_start=False)
    wrong: dict[str, list[Tensor]] = {"undefended": [], "unaware": [], "blur": []}
    for epsilon in BUDGETS[norm]:
        bare = attack(model, images, labels, epsilon=epsilon)
        through = attack(smoothed, images, labels, epsilon=epsilon)
        wrong["undefended"].append(bare.success)
        wrong["unaware"].append(_fooled(model, bare.images, labels))
        wrong["blur"].append(_fooled(model, through.images, labels))
    columns = {"budget": list(BUDGETS[norm])}
    for name, rows in wrong.items():
        columns[name] = means(~torch.stack(rows))
        columns[f"{name}, median"] = [_median(BUDGETS[norm], torch.stack(rows))]
    settings = f"s3-cnn; PGD, 40 steps, {norm}; {STOP} steps of the prior"
    ledger.record(STUDY, f"break-{norm}", columns, settings=settings, n=count, data=data)
    if norm == "l2":
        ratio = columns["blur, median"][0] / columns["undefended, median"][0]
        ledger.measure("dip-break-distance", ratio, n=count)


def known(count: int) -> None:
    """PGD in L2 through the prior itself, a blur on the way back."""
    model, images, labels, data = _task(count)
    through = Purified(bpda(_prior(1), backward=_Blur()), model)
    found = attacks.pgd(
        through, images, labels, epsilon=KNOWN, steps=KNOWN_STEPS, norm="l2", random_start=False
    )
    columns = {"budget": [KNOWN], "kept": means(~_fooled(model, found.images, labels)[None])}
    for norm in BUDGETS:
        sizes = evaluation.perturbation_sizes(images, found, norm)[found.success]
        columns[norm] = [sizes.mean().item()]
    settings = f"s3-cnn; PGD, {KNOWN_STEPS} steps, L2, through {STOP} steps of the prior"
    ledger.record(STUDY, "break-known", columns, settings=settings, n=count, data=data)
    ledger.measure("dip-break", 100 * columns["kept"][0], n=count)


def unrolled_through(count: int) -> None:
    """PGD in L2 with the gradient through all steps of the prior, averaged over its draws.

    And the cosine of two draws' gradients: what of a gradient another draw shares.
    """
    model, images, labels, data = _task(count)
    ways = {
        "unrolled": Purified(unrolled(_prior(1)), model),
        "blur": Purified(bpda(_prior(1), backward=_Blur()), model),
    }
    columns: dict[str, list[float]] = {"budget": [KNOWN]}
    for name, through in ways.items():
        slopes = [_slope(through, images, labels) for _ in range(2)]
        cosines = functional.cosine_similarity(*slopes, dim=1)
        columns[f"{name}, cosine"] = [cosines.mean().item(), cosines.std().item()]
        found = attacks.pgd(
            eot(through, EOT_DRAWS), images, labels, epsilon=KNOWN, steps=KNOWN_STEPS, norm="l2",
            random_start=False,
        )  # fmt: skip
        columns[f"{name}, kept"] = means(~_fooled(model, found.images, labels)[None])
    settings = (
        f"s3-cnn; PGD, {KNOWN_STEPS} steps, L2, {EOT_DRAWS} draws averaged; "
        f"{STOP} steps of the prior"
    )
    ledger.record(STUDY, "break-unrolled", columns, settings=settings, n=count, data=data)


def _slope(through: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    moving = images.clone().requires_grad_()
    loss = functional.cross_entropy(through(moving), labels, reduction="sum")
    return torch.autograd.grad(loss, moving)[0].flatten(1)


def _task(count: int) -> tuple[nn.Module, Tensor, Tensor, str]:
    data = datasets.load("mnist", "test")
    return zoo.load("s3-cnn"), data.images[:count], data.labels[:count], data.description


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
