"""Confidence intervals for a fraction, a mean and a median, measured on n images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from armsrace.contracts import check_at_least, check_count

QUANTILE = 1.959963985
RESAMPLES = 10_000


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % confidence interval for a fraction of n images that were drawn at random.

    The interval stays inside [0, 1] and has a width at 0 and 1 too.

    Args:
        share: the measured fraction, in [0, 1].
        n: the number of images.

    Returns:
        The lower and the upper end.

    References:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Example:
        >>> [round(end, 3) for end in evaluation.wilson(0.95, 20)]
        [0.764, 0.991]
    """
    check_count("n", n)
    check_at_least("share", share, 0)
    if share > 1:
        raise ValueError(f"share must be <= 1, got {share:g}")
    middle = share + QUANTILE**2 / (2 * n)
    spread = QUANTILE * math.sqrt(share * (1 - share) / n + QUANTILE**2 / (4 * n**2))
    low, high = ((middle + sign * spread) / (1 + QUANTILE**2 / n) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)


def with_interval(share: float, n: int) -> str:
    """A fraction with its 95 % interval and n as text, for a table or a sentence.

    Example:
        >>> evaluation.with_interval(0.95, 20)
        '95% (76% to 99%, n = 20)'
    """
    low, high = wilson(share, n)
    return f"{share:.0%} ({low:.0%} to {high:.0%}, n = {n:,})"


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """A 95 % confidence interval for the mean of some images' numbers, such as distances.

    It is the percentile bootstrap: the means of 10,000 samples drawn from the values with
    replacement, always the same ones. Distances are skewed; an interval of Student's t may contain
    negative ones, and this one cannot.

    Args:
        values: at least two, of images that were drawn at random.

    Returns:
        The lower and the upper end.

    References:
        Efron 1979, "Bootstrap methods: another look at the jackknife".

    Example:
        >>> low, high = evaluation.mean_interval([1.0, 2.0, 2.0, 3.0])
        >>> 1 < low < 2 < high < 3
        True
    """
    check_count("the number of values", len(values), 2)
    given = np.asarray(values, float)
    drawn = np.random.default_rng(0).integers(len(given), size=(RESAMPLES, len(given)))
    low, high = np.quantile(given[drawn].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """A 95 % confidence interval for the median of some images' numbers, such as distances.

    Its ends are two of the values, chosen by the binomial distribution. It assumes nothing about
    how the values are spread, and covers the median with a probability of at least 95 %.

    Args:
        values: at least six, of images that were drawn at random; infinite ones are allowed.

    Returns:
        The lower and the upper end.

    References:
        Thompson 1936, "On confidence ranges for the median".

    Example:
        >>> evaluation.median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
        (2.0, 8.0)
    """
    check_count("the number of values", len(values), 6)
    found = stats.quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    return float(found.low), float(found.high)
