"""Maximum a posteriori fits of one agent: Newton steps with a line search.

The search runs in whitened coordinates ``theta = mean + L z`` with ``L L' = covariance``: there
the prior is ``|z|^2 / 2``, whatever its condition, and directions without variance stay put.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irl.likelihood import Likelihood
from irl.priors import check_covariance, square_root

# Of a loss, relative to its size: sums over some thousand observations.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit:
    """Where a fit ended, and how well the data hold it there."""

    theta: NDArray[np.float64]  # [d]
    loss: float  # negative log-likelihood, nats
    gradient: NDArray[np.float64]  # [d] of the loss
    curvature: NDArray[np.float64]  # [d, d] of the loss, positive semidefinite
    covariance: NDArray[np.float64]  # [d, d] of the posterior (Laplace)
    iterations: int
    converged: bool
    reason: str  # why it stopped, in words


def fit_map(
    likelihood: Likelihood,
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    *,
    start: NDArray[np.float64] | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 200,
) -> Fit:
    """Minimise the loss plus half the squared distance from a Gaussian prior.

    Parameters
    ----------
    mean, covariance : [d], [d, d]
        Of the prior.
    start : [d]
        Where to begin; the mean by default. Off-prior parts of it are dropped.
    tolerance : float
        Of the gradient in whitened coordinates (largest entry, nats).
    """
    covariance = check_covariance("covariance", covariance, likelihood.n_parameter)
    root = square_root(covariance)
    z: NDArray[np.float64] = np.zeros(root.shape[1])
    if start is not None:
        z = np.asarray(np.linalg.lstsq(root, start - mean, rcond=1e-10)[0], np.float64)
    theta = mean + root @ z
    loss, gradient = likelihood.value(theta)
    reason, converged, count = "", False, 0
    for count in range(max_iterations + 1):
        slope = root.T @ gradient + z
        if np.abs(slope).max(initial=0.0) <= tolerance:
            converged, reason = True, "converged"
            break
        if count == max_iterations:
            reason = (
                f"stopped after {count} steps with a gradient of {np.abs(slope).max():.2g}; "
                "allow more steps, or narrow the prior"
            )
            break
        inner = np.eye(z.size) + root.T @ likelihood.curvature(theta) @ root
        step = np.asarray(-np.linalg.solve(inner, slope), np.float64)
        moved = _line_search(likelihood, mean, root, z, step, loss, slope)
        if moved is None:
            # Rounding of the loss ends the search a little above the tolerance.
            converged = bool(np.abs(slope).max() <= 1e-5 * (1.0 + np.abs(gradient).max()))
            reason = (
                "converged to rounding"
                if converged
                else "no step lowers the loss; rescale the features, they differ too much in size"
            )
            break
        z, loss, gradient = moved
        theta = mean + root @ z
    curvature = likelihood.curvature(theta)
    inner = np.eye(z.size) + root.T @ curvature @ root
    return Fit(
        theta=theta,
        loss=loss,
        gradient=gradient,
        curvature=curvature,
        covariance=root @ np.linalg.solve(inner, root.T),
        iterations=count,
        converged=converged,
        reason=reason,
    )


def _line_search(
    likelihood: Likelihood,
    mean: NDArray[np.float64],
    root: NDArray[np.float64],
    z: NDArray[np.float64],
    step: NDArray[np.float64],
    loss: float,
    slope: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]] | None:
    """Halve the step until the objective falls enough (Armijo); None where it never does.

    Where the fall to expect drowns in rounding, the slope must fall instead.
    """
    descent = float(slope @ step)
    before = loss + 0.5 * float(z @ z)
    share = 1.0
    if -descent < _ROUNDING * (1.0 + abs(before)):
        value, gradient = likelihood.value(mean + root @ (z + step))
        flatter = np.abs(root.T @ gradient + z + step).max() < 0.9 * np.abs(slope).max()
        return (z + step, value, gradient) if flatter else None
    for _ in range(30):
        after = z + share * step
        value, gradient = likelihood.value(mean + root @ after)
        if value + 0.5 * float(after @ after) <= before + 1e-4 * share * descent:
            return after, value, gradient
        share /= 2
    return None
