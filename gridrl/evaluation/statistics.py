"""Means with bootstrap intervals, of one policy and of the difference between two.

Episodes are resampled, all policies with the same ones: what an episode is like is common to all
and cancels in a difference. Source: B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap,
Chapman & Hall 1993, the percentile interval of chapter 13.
"""

from dataclasses import dataclass

import numpy as np

from gridrl.arrays import Floats, Ints

DRAWS = 10_000
COVERAGE = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its interval; the interval of a single value is unknown."""

    mean: float
    low: float | None
    high: float | None


def resamples(n: int, rng: np.random.Generator, draws: int = DRAWS) -> Ints:
    """[draws, n] episodes, drawn with replacement."""
    return np.asarray(rng.integers(n, size=(draws, n)), np.int64)


def mean_interval(values: Floats, drawn: Ints, coverage: float = COVERAGE) -> Interval:
    """Mean of ``values`` [n] with the percentile interval of its resamples [draws, n]."""
    mean = float(np.mean(values))
    if values.size < 2:
        return Interval(mean=mean, low=None, high=None)
    tail = 50.0 * (1.0 - coverage)
    low, high = np.percentile(values[drawn].mean(axis=1), (tail, 100.0 - tail))
    return Interval(mean=mean, low=float(low), high=float(high))


def time_quantile(times: dict[int, int], share: float, per_e: int) -> float | None:
    """Quantile of decision times in seconds from counts of their classes; None without any."""
    total = sum(times.values())
    if not total:
        return None
    seen = 0
    for at in sorted(times):
        seen += times[at]
        if seen >= share * total:
            return float(np.exp((at + 0.5) / per_e))
    return None
