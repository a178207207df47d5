"""Randomized smoothing (Cohen, Rosenfeld and Kolter 2019): the class that Gaussian noise prefers.

First the bound of a probability by counting, then the smoothed classifier with the paper's PREDICT
and CERTIFY, then the training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from armsrace.contracts import (
    UNIT,
    Bounds,
    Model,
    check_at_least,
    check_count,
    check_images,
    check_logits,
)
from armsrace.models.layers import eval_mode
from armsrace.randomness import Keys, default_generator
from armsrace.training.recipe import Objective, cross_entropy, normal_like

ABSTAIN = -1
"""In place of a class, where the draws do not suffice for an answer."""
_BLOCK = 100
"""Draws at once for an image: fixed, so that no number depends on the batch."""


def lower_confidence_bound(counts: Tensor, samples: int, alpha: float) -> Tensor:
    """The one-sided Clopper–Pearson bound of a probability, from how often the event occurred.

    It is the p for which `counts` or more of the draws would have probability alpha. Whatever the
    probability is, the bound exceeds it with probability at most alpha.

    Args:
        counts: integers from 0 to `samples`, of any shape.
        samples: independent draws.
        alpha: in (0, 1).

    Returns:
        Bounds in [0, 1], float64, of the counts' shape and device.

    References:
        Clopper and Pearson 1934; Cohen, Rosenfeld and Kolter 2019, §3.2.2 (LOWERCONFBOUND).

    Example:
        >>> defenses.lower_confidence_bound(torch.tensor([0, 990, 1000]), 1000, alpha=0.001)
        tensor([0.0000, 0.9760, 0.9931], dtype=torch.float64)
    """
    check_count("samples", samples)
    _check_alpha(alpha)
    if counts.is_floating_point() or not bool(((counts >= 0) & (counts <= samples)).all()):
        raise ValueError(f"counts must be integers from 0 to {samples}")
    hits = counts.detach().cpu().numpy()
    # With no hit the bound is 0, where the beta distribution is not defined.
    found = stats.beta.ppf(alpha, hits.clip(min=1), samples - hits + 1)
    return torch.as_tensor(found, device=counts.device).where(counts > 0, 0.0)


def _check_alpha(alpha: float) -> None:
    """Raise unless alpha is in (0, 1)."""
    check_at_least("alpha", alpha, 0)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha:g}")


@dataclass(frozen=True)
class SmoothedCertificate:
    """What CERTIFY says of each image.

    Args:
        classes: (N,) int64, the smoothed classifier's class, or -1 where it abstains.
        radii: (N,), L2 in pixel units; 0 where it abstains.
        counts: (N,) int64, how many draws had the class that the first draws chose.
        lower: (N,) float64, the lower bound of that class's probability.
    """

    classes: Tensor
    radii: Tensor
    counts: Tensor
    lower: Tensor


class RandomizedSmoothing(nn.Module):
    """The smoothed classifier g(x) = argmax_c P(f(x + η) = c), η ~ N(0, σ²I).

    If the probability of the class c_A is at least p_A > 1/2, then g(x + δ) = c_A for every δ with
    ‖δ‖₂ < σ Φ⁻¹(p_A), Φ the normal distribution function: `certify`. The probability is known
    from draws alone, so both `predict` and `certify` may be wrong with probability alpha at most,
    for each image, and abstain where that does not suffice for an answer.

    As a module it returns logits: the logarithms of (votes + 1) / (samples + K) over a fixed number
    of draws, the same ones for all images and calls. The logits are constant almost everywhere, so
    they have no gradient; attack `soft`.

    Args:
        model: f, images (N, C, H, W) to logits (N, K). It is best trained with noise, and is asked
            in evaluation mode.
        sigma: σ > 0, in pixel units.
        samples: draws of the module's logits and of `soft`.
        batch_size: noisy images per forward pass. On a CPU a thousand take twice as long each as a
            hundred (measured).
        bounds: the box of valid pixels, for images. Noise leaves it and the certificate holds
            outside of it too.
        generator: source of the draws of the module's logits; a new one seeded 0 by default.

    Differences from the paper:
        * The normal numbers are hashed from the image and the generator's next draw. Their tails
          end at 6.7 standard deviations.
        * CERTIFY's radius is rounded down to the images' dtype.

    Cost:
        `samples` forward passes for each image, of `certify` samples_0 + samples.

    References:
        Cohen, Rosenfeld and Kolter 2019, "Certified adversarial robustness via randomized
        smoothing", Theorem 1 and §3.2; Salman et al. 2019, "Provably robust deep learning via
        adversarially trained smoothed classifiers", §2.2 (`soft`).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> smoothed = defenses.RandomizedSmoothing(model, sigma=0.25)
        >>> proof = smoothed.certify(digits.images, samples=200)
        >>> bool((proof.radii[proof.classes >= 0] > 0).all())
        True
    """

    def __init__(
        self,
        model: Model,
        sigma: float,
        *,
        samples: int = 100,
        batch_size: int = 200,
        bounds: Bounds = UNIT,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_at_least("sigma", sigma, 0)
        if sigma == 0:
            raise ValueError("sigma must be > 0, got 0")
        check_count("samples", samples)
        check_count("batch_size", batch_size)
        self.model, self.sigma, self.samples = model, sigma, samples
        self.batch_size, self.bounds = batch_size, bounds
        self.seed = _seed(generator)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to log((votes + 1) / (samples + K)), (N, K)."""
        noise = self._noise(images)
        with torch.no_grad(), eval_mode(self.model):
            parts = images.split(max(1, self.batch_size // self.samples))
            votes = torch.cat([self._votes(part[:, None] + noise) for part in parts])
        total = self.samples + votes.shape[1]
        return (votes + 1).to(images.dtype).log() - math.log(total)

    def soft(self, images: Tensor) -> Tensor:
        """The logarithm of the mean probabilities over the module's draws, (N, K).

        Differentiable: PGD on it is SMOOTHADV of Salman et al. 2019 (eq. 6), with the same noise in
        each step. Its memory is that of N · samples images.
        """
        noisy = images[:, None] + self._noise(images)
        with eval_mode(self.model):
            logits = self.model(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2])
        return logits.log_softmax(dim=2).logsumexp(dim=1) - math.log(self.samples)

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        samples: int = 1000,
        alpha: float = 0.001,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The class of the smoothed classifier, or -1 where the draws do not separate two classes.

        Args:
            images: (N, C, H, W), pixels inside the bounds.
            samples: draws per image, n of the paper.
            alpha: the probability, for each image, of an answer that is wrong.
            generator: source of the draws; a new one seeded 0 by default.

        Returns:
            (N,) int64.

        References:
            Cohen, Rosenfeld and Kolter 2019, §3.2.1 (PREDICT).
        """
        self._check(images, samples, alpha)
        counts = self._counts(images, samples, _seed(generator))
        (first, second), classes = counts.topk(2, dim=1).values.T, counts.argmax(dim=1)
        # The two-sided binomial test of a fair coin.
        above = stats.binom.sf((first - 1).cpu().numpy(), (first + second).cpu().numpy(), 0.5)
        clear = torch.as_tensor(2 * above <= alpha, device=images.device)
        return classes.where(clear, ABSTAIN)

    @torch.no_grad()
    def certify(
        self,
        images: Tensor,
        samples_0: int = 100,
        samples: int = 1000,
        alpha: float = 0.001,
        *,
        generator: torch.Generator | None = None,
    ) -> SmoothedCertificate:
        """The class of the smoothed classifier and the radius within which it cannot change.

        A first set of draws chooses the class. A second one, independent of it, bounds the class's
        probability: the bound would not hold for the draws that made the choice.

        Args:
            images: (N, C, H, W), pixels inside the bounds.
            samples_0: draws per image that choose the class, n₀ of the paper.
            samples: draws per image that bound its probability, n of the paper.
            alpha: the probability, for each image, of a class or a radius that is wrong.
            generator: source of the draws; a new one seeded 0 by default.

        Returns:
            Class and radius of each image, or -1 and 0.

        References:
            Cohen, Rosenfeld and Kolter 2019, §3.2.2 (CERTIFY).
        """
        self._check(images, samples, alpha)
        check_count("samples_0", samples_0)
        generator = default_generator(generator)
        classes = self._counts(images, samples_0, _seed(generator)).argmax(dim=1)
        counts = self._counts(images, samples, _seed(generator)).gather(1, classes[:, None])[:, 0]
        lower = lower_confidence_bound(counts, samples, alpha)
        radii = self.sigma * torch.special.ndtri(lower.clamp_min(0.5))
        below = radii.to(images.dtype).nextafter(torch.zeros_like(images[:, 0, 0, 0]))
        return SmoothedCertificate(classes.where(lower > 0.5, ABSTAIN), below, counts, lower)

    def _check(self, images: Tensor, samples: int, alpha: float) -> None:
        check_images(images, self.bounds)
        check_count("samples", samples)
        _check_alpha(alpha)

    def _noise(self, images: Tensor) -> Tensor:
        """The module's own draws (samples, C, H, W), the same for all images."""
        shape = (self.samples, *images.shape[1:])
        generator = torch.Generator().manual_seed(self.seed)
        return self.sigma * Keys(torch.zeros_like(images[:1])).normal(shape, generator)[0]

    def _counts(self, images: Tensor, samples: int, seed: int) -> Tensor:
        """How many draws of an image's own noise have each class, (N, K) int64."""
        block = min(samples, _BLOCK)
        with eval_mode(self.model):
            return torch.cat([
                self._counts_of(part, samples, block, seed)
                for part in images.split(max(1, self.batch_size // block))
            ])  # fmt: skip

    def _counts_of(self, images: Tensor, samples: int, block: int, seed: int) -> Tensor:
        """`_counts` of a batch."""
        keys, generator = Keys(images), torch.Generator().manual_seed(seed)
        votes: Tensor | int = 0
        for begin in range(0, samples, block):
            shape = (min(block, samples - begin), *images.shape[1:])
            votes = votes + self._votes(
                images[:, None] + self.sigma * keys.normal(shape, generator)
            )
        assert isinstance(votes, Tensor)
        return votes

    def _votes(self, noisy: Tensor) -> Tensor:
        """How many of the S noisy copies (N, S, C, H, W) have each class, (N, K) int64."""
        parts = noisy.flatten(0, 1).split(self.batch_size)
        logits = torch.cat([self.model(part) for part in parts])
        check_logits(logits, len(noisy) * noisy.shape[1], decisions=True)
        decisions = functional.one_hot(logits.argmax(dim=1), logits.shape[1])
        return decisions.unflatten(0, noisy.shape[:2]).sum(dim=1)


def _seed(generator: torch.Generator | None) -> int:
    """The generator's next draw."""
    generator = default_generator(generator)
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def gaussian_noise_loss(sigma: float) -> Objective:
    """The objective J(x + η, y) with η ~ N(0, σ²I), not clipped to the box: training for smoothing.

    Args:
        sigma: σ >= 0, in pixel units.

    References:
        Cohen, Rosenfeld and Kolter 2019, §3.3.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> defenses.gaussian_noise_loss(0.5)(model, digits.images, digits.labels).ndim
        0
    """
    check_at_least("sigma", sigma, 0)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(model, images + sigma * normal_like(images), labels)

    return objective
