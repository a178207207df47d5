"""Binary ABS: pixels become black or white before they are explained, and classes are weighted.

Schott, Rauber, Bethge and Brendel 2019, §4. Binary ABS is

    Purified(Binarized(), ClassWeighted(model, factors))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from armsrace.contracts import check_classes, check_count, check_labels
from armsrace.defenses.analysis_by_synthesis.model import AnalysisBySynthesis

FACTORS = (1.002, 0.942, 1.035, 0.985, 1.037, 0.995, 1.009, 1.034, 0.962, 1.002)
"""`fitted_factors` of the 6,000 held-out digits and the zoo's `abs` (benchmarks/measure.py)."""


class Binarized(nn.Module):
    """A purifier: 1 where a pixel is above the threshold, else 0.

    Its gradient is 0 wherever there is one: attack it through `attacks.adaptive.bpda`.

    Args:
        threshold: in (0, 1).

    References:
        Schott, Rauber, Bethge and Brendel 2019, §4.

    Example:
        >>> defenses.Binarized()(torch.tensor([0.2, 0.7]))
        tensor([0., 1.])
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie in (0, 1), got {threshold:g}")
        self.threshold = threshold

    def forward(self, images: Tensor) -> Tensor:
        """Images of any shape to images of 0 and 1 of that shape."""
        return (images > self.threshold).to(images.dtype)


class ClassWeighted(nn.Module):
    """Analysis by synthesis with a factor for each class's cost.

    Args:
        model: whose logits, −scale · cost / P, are multiplied.
        factors: (K,), above 0, such as `fitted_factors` finds.

    References:
        Schott, Rauber, Bethge and Brendel 2019, §4.

    Example:
        >>> from armsrace.models.abs_vae import ClassDecoders
        >>> model = defenses.AnalysisBySynthesis(ClassDecoders(zoo.load("abs")), samples=100)
        >>> defenses.ClassWeighted(model, torch.ones(10))(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10])
    """

    factors: Tensor

    def __init__(self, model: AnalysisBySynthesis, factors: Tensor) -> None:
        super().__init__()
        wanted = (model.generators.classes,)
        if factors.shape != wanted:
            raise ValueError(f"factors must have shape {wanted}, got {tuple(factors.shape)}")
        if not (factors > 0).all():
            raise ValueError(f"factors must be > 0, got {factors.min().item():g}")
        self.model = model
        self.register_buffer("factors", factors.detach().clone())

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, K)."""
        return self.model(images) * self.factors.to(images.dtype)


def fitted_factors(costs: Tensor, labels: Tensor, steps: int = 100) -> Tensor:
    """The class factors (K,) with the least cross-entropy of −factor · cost.

    The objective is convex in the factors and is minimized by L-BFGS in their logarithms. They are
    then divided by their geometric mean, since a common factor decides nothing.

    Args:
        costs: (N, K), of held-out images.
        labels: (N,), their classes.
        steps: of L-BFGS, at most.

    Returns:
        Factors around 1.

    Differences from the paper:
        * The authors chose theirs for the best accuracy.

    Example:
        >>> costs, labels = torch.rand(30, 3), torch.arange(30) % 3
        >>> defenses.fitted_factors(costs, labels).shape
        torch.Size([3])
    """
    check_count("steps", steps)
    check_labels(labels, len(costs))
    check_classes(labels, costs.shape[1])
    scaled = (costs.detach() / costs.detach().mean()).double()
    with torch.inference_mode(False), torch.enable_grad():
        log_factors = torch.zeros_like(scaled[0]).requires_grad_()
        lbfgs = torch.optim.LBFGS([log_factors], max_iter=steps, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            lbfgs.zero_grad()
            loss = nn.functional.cross_entropy(-log_factors.exp() * scaled, labels)
            loss.backward()
            return loss

        lbfgs.step(closure)
    found = log_factors.detach()
    return (found - found.mean()).exp().to(costs.dtype)
