"""Deep Image Prior as a defense: an untrained network draws the image, and is stopped in time.

Ulyanov, Vedaldi and Lempitsky 2018 (denoising); the first version of Jalal, Ilyas et al. 2017,
which puts it in front of a classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from armsrace.attacks.randomness import default_generator
from armsrace.contracts import check_at_least, check_count, check_images
from armsrace.defenses.prior_fit import PriorFit


@dataclass(frozen=True)
class Path:
    """What the network draws on its way to the images.

    steps: S numbers of steps. images: (S, N, C, H, W). residuals: (S, N), the mean squared error
    a pixel to the images that are drawn after.
    """

    steps: tuple[int, ...]
    images: Tensor
    residuals: Tensor


class DeepImagePrior(nn.Module):
    """A purifier: each image as a new network, fit to that image alone, draws it after `steps`.

    steps: of Adam; the defense is that there are not more of them. tolerance: an image is done once
        its mean squared error a pixel is at most this, e.g. the power of the noise expected in it.
    widths, skip: of `SkipNetwork`. learning_rate: .01, and jitter: 1/30, the standard deviation of
        fresh noise added to the code at each step, are the authors'.
    generator: where weights, codes and noise are drawn from, call by call; None starts a new one,
        seeded 0, at each call, so that an image is always purified alike.

    A code is uniform on [0, .1). Randomness is tied to the image, so that a batch gives what single
    images do, up to rounding: an image that is noise itself is fit along a path that amplifies it.
    The average over steps that the authors return for denoising is left out: it lags by a hundred
    steps. What is returned hangs on no graph: attack it through
    `attacks.composition.straight_through`. Raises ValueError or TypeError naming the argument and
    the rule.

    >>> prior = defenses.DeepImagePrior(steps=2, widths=(8, 8), skip=2)
    >>> prior(torch.ones(1, 1, 28, 28)).shape
    torch.Size([1, 1, 28, 28])
    """

    def __init__(
        self,
        steps: int = 300,
        *,
        tolerance: float | None = None,
        widths: Sequence[int] = (32, 32, 32),
        skip: int = 4,
        learning_rate: float = 0.01,
        jitter: float = 1 / 30,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count("steps", steps)
        check_at_least("tolerance", 0.0 if tolerance is None else tolerance, 0)
        check_at_least("learning_rate", learning_rate, 0)
        check_at_least("jitter", jitter, 0)
        self.steps, self.tolerance, self.generator = steps, tolerance, generator
        self.settings = {"learning_rate": learning_rate, "jitter": jitter}
        self.architecture = {"widths": tuple(widths), "skip": skip}

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to those drawn, of the same shape."""
        return self.path(images, [self.steps]).images[0]

    def path(self, images: Tensor, at: Sequence[int]) -> Path:
        """What is drawn at each of the numbers of steps in `at`, in one run up to the greatest.

        images: (N, C, H, W). Each of `at` is >= 1, and they rise. An image that is within the
        tolerance stays as it was then.
        """
        check_images(images)
        at = tuple(at)
        if not at or min(at) < 1 or list(at) != sorted(set(at)):
            raise ValueError(f"at must hold rising numbers of steps >= 1, got {list(at)}")
        with torch.inference_mode(False), torch.enable_grad():
            generator = default_generator(self.generator)
            fit = PriorFit(images.detach().clone(), generator, self.architecture, **self.settings)
            stations = []
            for step in range(1, at[-1] + 1):
                fit.draw()
                if step in at:
                    stations.append((fit.drawn.clone(), fit.residuals.clone()))
                if step < at[-1]:
                    fit.descend(self.tolerance)
        drawn, residuals = zip(*stations, strict=True)
        return Path(at, torch.stack(drawn), torch.stack(residuals))
