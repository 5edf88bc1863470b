"""Gaussian priors of rewards: independent weights, or a smooth field over positions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irl.errors import IrlError

# Relative to the variance: keeps the Cholesky factor of a very smooth field real.
_JITTER = 1e-8


def iid(n: int, variance: float) -> NDArray[np.float64]:
    """Covariance [n, n] of independent weights; variance in squared reward units."""
    if n < 0 or not np.isfinite(variance) or variance < 0:
        raise IrlError(f"A prior needs n >= 0 and a variance >= 0; got {n} and {variance}.")
    return np.asarray(variance * np.eye(n))


def rbf(positions: ArrayLike, variance: float, length: float) -> NDArray[np.float64]:
    """Covariance of a field that is smooth over ``length``, in units of ``positions`` [n, k].

    ``variance * exp(-distance^2 / (2 length^2))`` (Rasmussen and Williams 2006, eq. 2.31).
    """
    place = np.asarray(positions, dtype=np.float64)
    if place.ndim != 2 or not np.isfinite(place).all():
        raise IrlError(f"positions have shape {place.shape}; they must be finite and [n, k].")
    if not length > 0 or not variance >= 0 or not np.isfinite([length, variance]).all():
        raise IrlError(f"A kernel needs length > 0 and variance >= 0; got {length}, {variance}.")
    squared = ((place[:, None] - place) ** 2).sum(axis=2)
    field = np.exp(-squared / (2 * length**2)) + _JITTER * np.eye(len(place))
    return np.asarray(variance * field)


def check_covariance(name: str, covariance: ArrayLike, n: int) -> NDArray[np.float64]:
    """``covariance`` as an array [n, n] that is symmetric and positive semidefinite."""
    table = np.array(covariance, dtype=np.float64)
    if table.shape != (n, n) or not np.isfinite(table).all():
        raise IrlError(f"{name} has shape {table.shape}; it must be finite and [{n}, {n}].")
    if n and np.abs(table - table.T).max() > 1e-9 * max(1.0, np.abs(table).max()):
        raise IrlError(f"{name} is not symmetric.")
    if n and np.linalg.eigvalsh(table).min() < -1e-9 * max(1.0, np.abs(table).max()):
        raise IrlError(f"{name} has a negative eigenvalue; no Gaussian has this covariance.")
    return table


def square_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """L with ``L @ L.T == covariance``; also where some directions have no variance."""
    value, vector = np.linalg.eigh(covariance)
    return np.asarray(vector * np.sqrt(np.clip(value, 0.0, None)))


@dataclass(frozen=True, eq=False, kw_only=True)
class TurboPrior:
    """How far shared weights may lie from zero, and agents from what is shared."""

    shared: NDArray[np.float64]  # [n_shared, n_shared] covariance of s
    deviation: NDArray[np.float64]  # [n_shared, n_shared] covariance of each delta_i

    def __post_init__(self) -> None:
        n = len(self.shared)
        for name in ("shared", "deviation"):
            object.__setattr__(self, name, check_covariance(name, getattr(self, name), n))

    @property
    def n_shared(self) -> int:
        return len(self.shared)
