"""95 % confidence intervals of measured shares, given the number of images."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z_95 = 1.959963984540054
"""The normal distribution's quantile of a two-sided 95 % interval."""

Interval = tuple[float, float]


def wilson_interval(share: float, total: int) -> Interval:
    """The 95 % interval of a share of `total` independent images, by Wilson's score method (1927).

    Brown, Cai and DasGupta (2001) recommend it: unlike the normal approximation it is accurate for few images, and
    never empty at 0 and 1. (0, 1) if there are no images.
    """
    if total < 1:
        return 0.0, 1.0
    center = share + Z_95**2 / (2 * total)
    width = Z_95 * math.sqrt(share * (1 - share) / total + (Z_95 / (2 * total)) ** 2)
    scale = 1 + Z_95**2 / total
    low = 0.0 if share == 0 else (center - width) / scale  # rounding would miss it slightly
    high = 1.0 if share == 1 else (center + width) / scale
    return low, high


def interval_of_mean(shares: Sequence[float], totals: Sequence[int]) -> Interval:
    """The 95 % interval of the mean of independent shares, such as each class's recall.

    From their Wilson intervals by the square-and-add rule (Newcombe 1998; Zou and Donner 2008).
    """
    intervals = [wilson_interval(share, total) for share, total in zip(shares, totals, strict=True)]
    mean = sum(shares) / len(shares)
    below = math.sqrt(sum((share - low) ** 2 for share, (low, _) in zip(shares, intervals, strict=True)))
    above = math.sqrt(sum((high - share) ** 2 for share, (_, high) in zip(shares, intervals, strict=True)))
    return mean - below / len(shares), mean + above / len(shares)


def format_interval(interval: Interval) -> str:
    """An interval of shares as "12.3 to 15.6 %"."""
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f} %"
