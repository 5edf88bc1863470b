"""Gaussian processes behind the series: what they draw, and how much of it can be foreseen.

In time their memory is exponential (AR(1)), smoothed by a second one where that is said. In space a
part is the same everywhere (the weather); the rest has a correlation of exp(-distance / 3), where
distance counts branches between buses.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.signal import lfilter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from gridrl.arrays import Floats, Ints
from gridrl.case import Case

HOUR, DAY = 3600.0, 86400.0
REACH = 3.0  # branches over which the correlation falls to 1/e


@dataclass(frozen=True)
class Noise:
    """A Gaussian process with deviation 1."""

    memory_h: float
    smooth_h: float  # memory of the second stage, 0: none
    shared: float  # share of the variance that is the same everywhere

    def decay(self, step_s: float) -> tuple[float, float]:
        """What is left of the two stages after a step."""
        a = float(np.exp(-step_s / (self.memory_h * HOUR)))
        return a, float(np.exp(-step_s / (self.smooth_h * HOUR))) if self.smooth_h else 0.0

    def size(self, step_s: float) -> float:
        """Deviation of the second stage, by which it is divided."""
        a, b = self.decay(step_s)
        if not b:
            return 1.0
        # variance of an AR(1) of variance 1 after exponential smoothing
        return float(np.sqrt((1.0 - b) / (1.0 + b) * (1.0 + a * b) / (1.0 - a * b)))


def process(
    rng: np.random.Generator, near: Floats, at: Ints, rows: int, step_s: float, noise: Noise
) -> tuple[Floats, Floats]:
    """[rows, n] Gaussian with mean 0 and deviation 1, correlated in time and between places.

    And its first stage, which with it says all that the past knows of the future.
    """
    a, b = noise.decay(step_s)
    before = int(np.ceil(8.0 * noise.smooth_h * HOUR / step_s))  # the second stage settles
    total = before + rows
    local = rng.standard_normal((total, near.shape[0])) @ near.T
    fresh = np.sqrt(1.0 - noise.shared) * local
    fresh += np.sqrt(noise.shared) * rng.standard_normal((total, 1))
    fresh = fresh[:, at]
    driven, _ = lfilter([np.sqrt(1.0 - a * a)], [1.0, -a], fresh[1:], axis=0, zi=a * fresh[:1])
    first = np.concatenate([fresh[:1], driven])
    out = first
    if b:
        later, _ = lfilter([1.0 - b], [1.0, -b], out[1:], axis=0, zi=b * out[:1])
        out = np.concatenate([out[:1], later]) / noise.size(step_s)
    return np.asarray(out[before:], np.float64), np.asarray(first[before:], np.float64)


@lru_cache(maxsize=64)
def foresight(noise: Noise, step_s: float, steps: int) -> tuple[Floats, Floats, Floats]:
    """[steps + 1] what follows from the present, by the number of steps ahead.

    Weights of the process and of its first stage in the mean, and the deviation around it.
    """
    a, b = noise.decay(step_s)
    size = noise.size(step_s)
    move = np.array([[a, 0.0], [(1.0 - b) * a, b]])
    kick = np.sqrt(1.0 - a * a) * np.array([1.0, 1.0 - b])
    state, cover = np.eye(2), np.zeros((2, 2))
    own, first, deviation = np.zeros((3, steps + 1))
    for k in range(steps + 1):
        if k:
            state, cover = move @ state, move @ cover @ move.T + np.outer(kick, kick)
        if noise.smooth_h:
            own[k], first[k] = state[1, 1], state[1, 0] / size
            deviation[k] = np.sqrt(cover[1, 1]) / size
        else:
            own[k], deviation[k] = state[0, 0], np.sqrt(cover[0, 0])
    return own, first, deviation


def spatial_factor(case: Case) -> Floats:
    """[n_substation, n_substation] factor of the correlation between substations."""
    grid = case.grid
    n = grid.n_substation
    ends = (grid.from_substation, grid.to_substation)
    graph = csr_array((np.ones(grid.n_branch), ends), shape=(n, n))
    distance = shortest_path(graph, directed=False, unweighted=True)
    wanted = np.exp(-distance / REACH)  # distances on a graph may make it indefinite
    lift = max(0.0, -float(np.linalg.eigvalsh(wanted)[0])) + 1e-6
    # Cholesky's factor is unique; eigenvectors would depend on the program that finds them
    factor = np.linalg.cholesky(wanted + lift * np.eye(n))
    return np.asarray(factor / np.sqrt((factor**2).sum(axis=1, keepdims=True)))
