"""Maximum a posteriori fits of one agent: quasi-Newton steps that begin with the curvature.

The search runs in whitened coordinates ``theta = mean + L z`` with ``L L' = covariance``: there
the prior is ``|z|^2 / 2``, whatever its condition, and directions without variance stay put. The
curvature costs as much as a dozen values, so it is computed where the search begins and where it
ends; in between the inverse Hessian is kept by BFGS updates (Nocedal and Wright 2006, eq. 6.17).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irl.likelihood import Likelihood
from irl.priors import check_covariance, square_root

# Of a loss, relative to its size: sums over some thousand observations.
_ROUNDING = 1e-12
_STUCK = "no step lowers the loss; rescale the features, they differ too much in size"


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
    start: Fit | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 300,
) -> Fit:
    """Minimise the loss plus half the squared distance from a Gaussian prior.

    Parameters
    ----------
    mean, covariance : [d], [d, d]
        Of the prior.
    start : Fit
        A fit of the same likelihood under another prior, to begin there and with its curvature;
        by default the search begins at the mean. Off-prior parts of it are dropped.
    tolerance : float
        Of the gradient in whitened coordinates (largest entry, nats).
    """
    covariance = check_covariance("covariance", covariance, likelihood.n_parameter)
    root = square_root(covariance)
    z: NDArray[np.float64] = np.zeros(root.shape[1])
    if start is not None:
        z = np.asarray(np.linalg.lstsq(root, start.theta - mean, rcond=1e-10)[0], np.float64)
    known = None if start is None else start.curvature
    z, count, reason = _search(likelihood, mean, root, z, known, tolerance, max_iterations)
    theta = mean + root @ z
    loss, gradient = likelihood.value(theta)
    curvature = likelihood.curvature(theta)
    inner = np.eye(z.size) + root.T @ curvature @ root
    return Fit(
        theta=theta,
        loss=loss,
        gradient=gradient,
        curvature=curvature,
        covariance=root @ np.linalg.solve(inner, root.T),
        iterations=count,
        converged=reason.startswith("converged"),
        reason=reason,
    )


def _search(
    likelihood: Likelihood,
    mean: NDArray[np.float64],
    root: NDArray[np.float64],
    z: NDArray[np.float64],
    known: NDArray[np.float64] | None,
    tolerance: float,
    max_iterations: int,
) -> tuple[NDArray[np.float64], int, str]:
    """Where the search from ``z`` ends, after how many steps, and why there."""
    theta = mean + root @ z
    inverse = _inverse_hessian(root, likelihood.curvature(theta) if known is None else known)
    fresh = known is None
    loss, gradient = likelihood.value(theta)
    slope = root.T @ gradient + z
    for count in range(max_iterations):
        if np.abs(slope).max(initial=0.0) <= tolerance:
            return z, count, "converged"
        step = np.asarray(-inverse @ slope, np.float64)
        moved = _line_search(likelihood, mean, root, z, step, loss, slope)
        if moved is None and not fresh:
            inverse, fresh = _inverse_hessian(root, likelihood.curvature(mean + root @ z)), True
            continue
        if moved is None:
            # Rounding of the loss ends the search a little above the tolerance.
            rounding = np.abs(slope).max() <= 1e-5 * (1.0 + np.abs(gradient).max())
            return z, count, "converged to rounding" if rounding else _STUCK
        before, turned = z, slope
        z, loss, gradient = moved
        slope = root.T @ gradient + z
        inverse, fresh = _updated(inverse, z - before, slope - turned), False
    largest = np.abs(slope).max(initial=0.0)
    reason = (
        f"stopped after {max_iterations} steps with a gradient of {largest:.2g}; "
        "allow more steps, or narrow the prior"
    )
    return z, max_iterations, "converged" if largest <= tolerance else reason


def _inverse_hessian(
    root: NDArray[np.float64], curvature: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of the objective in whitened coordinates: its eigenvalues are at most one."""
    inner = np.eye(root.shape[1]) + root.T @ curvature @ root
    return np.asarray(np.linalg.inv((inner + inner.T) / 2))


def _updated(
    inverse: NDArray[np.float64], moved: NDArray[np.float64], turned: NDArray[np.float64]
) -> NDArray[np.float64]:
    """BFGS: the inverse Hessian that explains how the slope turned along the last step."""
    curved = float(moved @ turned)
    if curved <= 1e-10 * float(moved @ moved):
        return inverse  # not convex along this step: what is known stays
    guess = inverse @ turned
    cross = np.outer(moved, guess) / curved
    size = (1.0 + float(turned @ guess) / curved) / curved
    return np.asarray(inverse + size * np.outer(moved, moved) - cross - cross.T)


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
