"""Exchange rates: how much of one thing an operator gives up for one unit of another.

A weight has no meaning of its own, because its unit is the operator's temperature; a ratio of two
has. Intervals are Fieller's (1954), exact for Gaussian weights: where the denominator may be zero
there is no bounded interval, and none is made up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from irl.errors import IrlError


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One unit of ``of`` is worth ``value`` units of ``per``."""

    of: str
    per: str
    value: float
    low: float  # minus infinity where the data do not bound it
    high: float

    @property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


def exchange_rate(
    names: tuple[str, ...],
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    of: str,
    per: str,
    *,
    scale: NDArray[np.float64] | None = None,
    level: float = 0.9,
) -> Rate:
    """Ratio of two weights with its credible interval.

    Parameters
    ----------
    mean, covariance : [d], [d, d]
        Of the weights ``names``.
    scale : [d]
        What features were divided by before the fit: the rate is in units of the raw features.
    """
    for name in (of, per):
        if name not in names:
            raise IrlError(f"No weight '{name:.60}'. There are: {', '.join(names)}.")
    if not 0.0 < level < 1.0:
        raise IrlError(f"level is {level}; it must lie between 0 and 1.")
    divisor = np.ones(len(names)) if scale is None else scale
    a, b = names.index(of), names.index(per)
    top, bottom = mean[a] / divisor[a], mean[b] / divisor[b]
    pick = np.ix_([a, b], [a, b])
    spread = covariance[pick] / np.outer(divisor[[a, b]], divisor[[a, b]])
    z = norm.ppf(0.5 + level / 2) ** 2
    # Values x with (top - x bottom)^2 <= z Var(top - x bottom).
    square = bottom**2 - z * spread[1, 1]
    middle = top * bottom - z * spread[0, 1]
    rest = top**2 - z * spread[0, 0]
    inside = middle**2 - square * rest
    value = float(top / bottom) if bottom != 0.0 else float("nan")
    if square <= 0.0 or inside < 0.0:
        return Rate(of=of, per=per, value=value, low=-np.inf, high=np.inf)
    half = np.sqrt(inside)
    low, high = (middle - half) / square, (middle + half) / square
    return Rate(of=of, per=per, value=value, low=float(low), high=float(high))
