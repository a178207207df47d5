"""How far a share measured on n images may lie from the share of all images."""

from __future__ import annotations

import math

from armsrace.contracts import check_at_least, check_count

QUANTILE = 1.959963985


def wilson(share: float, n: int) -> tuple[float, float]:
    """The ends of the 95 % interval for a share (fraction) of n images drawn at random.

    It stays inside [0, 1] and has a width at 0 and 1 too. Raises ValueError for a share outside
    [0, 1] and for n < 1.
    References: Wilson, Probable inference, the law of succession, and statistical inference, 1927.

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
    """A share, its 95 % interval and n in words, for a table or a sentence.

    >>> evaluation.with_interval(0.95, 20)
    '95% (76% to 99%, n = 20)'
    """
    low, high = wilson(share, n)
    return f"{share:.0%} ({low:.0%} to {high:.0%}, n = {n:,})"
