"""The filter line search of the monotone barrier, with second-order corrections.

Source: A. Waechter and L. T. Biegler, Mathematical Programming 106, 2006, algorithm A.
"""

from collections import namedtuple

import numpy as np

from gridrl.jit import kernel
from gridrl.opf.kernels_model import evaluate
from gridrl.opf.kernels_newton import solve_direction
from gridrl.opf.kernels_steps import (
    barrier_sum,
    filter_accepts,
    infeasibility,
    longest,
    move,
    settle_bounds,
    slack_step,
)

SWITCH_THETA, SWITCH_PHI = 1.1, 2.3
ARMIJO = 1e-8
SHRINK_THETA, SHRINK_PHI = 1e-5, 1e-5
ALPHA_LEAST = 0.05
CORRECTIONS = 4

# The point that a search leaves: infeasibility theta, barrier function phi, its slope along the
# step; the infeasibilities below which cost decides and above which nothing is accepted.
Departure = namedtuple("Departure", ("theta", "phi", "descent", "theta_least", "theta_most"))


@kernel
def barrier_descent(system, point, direction, mu):
    """Slope of the barrier function along the step."""
    total = 0.0
    for k in range(point.s.size):
        total += system.slope[k] * direction.step[2][k]
    for k in range(point.t.size):
        if system.active[k]:
            total -= mu * direction.dt[k] / point.t[k]
    return total


@kernel
def search(
    system, point, values, direction, trial, to, second, filter_, size, leave, mu, damping,
    keep, accuracy,
):  # fmt: skip
    """Halve the step until the filter takes it; the point found is left in ``trial`` and ``to``.

    Returns
    -------
    (accepted, for its cost alone, by a second-order correction, step length, cost)
    """
    alpha = longest(point.t, direction.dt, system.active, keep)
    full = alpha
    shortest = _shortest(leave)
    first = True
    while alpha >= shortest or first:
        cost, theta, phi = _try(system, point, direction.step, direction.dt, alpha, trial, to, mu)
        accepted, by_cost = _acceptable(leave, theta, phi, alpha, filter_, size)
        if accepted:
            return True, by_cost, False, alpha, cost
        if first and theta >= leave.theta:
            accepted, by_cost, cost = _corrected(
                system, point, values, direction, trial, to, second, filter_, size, leave, mu,
                damping, keep, accuracy, theta,
            )  # fmt: skip
            if accepted:
                return True, by_cost, True, full, cost
        alpha *= 0.5
        first = False
    return False, False, False, alpha, 0.0


@kernel
def _try(system, point, step, dt, alpha, trial, to, mu):
    """Go ``alpha`` along a step; (cost, infeasibility, barrier function) there."""
    move(point.va, point.v, point.s, point.t, step, dt, alpha, trial.va, trial.v, trial.s, trial.t)
    cost = evaluate(system.net, trial.va, trial.v, trial.s, to.g, to.h, to.flow)
    settle_bounds(to.h, trial.t, system.active, 2 * point.v.size + 2 * point.s.size)
    theta, _ = infeasibility(to.g, to.h, trial.t, system.active)
    return cost, theta, cost - mu * barrier_sum(trial.t, system.active)


@kernel
def _corrected(
    system, point, values, direction, trial, to, second, filter_, size, leave, mu, damping, keep,
    accuracy, theta,
):  # fmt: skip
    """Second-order corrections of a full step that did not reduce the infeasibility."""
    n_bound = 2 * point.v.size + 2 * point.s.size
    r2, r3 = direction.right[2], direction.right[3]
    soc_g, soc_h = values.g.copy(), values.h.copy()
    alpha = longest(point.t, direction.dt, system.active, keep)
    full = alpha
    cost = 0.0
    for _ in range(CORRECTIONS):
        for i in range(r2.shape[0]):
            for q in range(2):
                soc_g[i, q] = alpha * soc_g[i, q] + to.g[i, q]
                r2[i, q] = -soc_g[i, q]
        for k in range(r3.size):
            if system.active[k]:
                if k >= n_bound:
                    lack = alpha * (soc_h[k] + point.t[k]) + to.h[k] + trial.t[k]
                    soc_h[k] = lack - point.t[k]
                r3[k] = -(soc_h[k] + direction.target[k] / point.y[k])
        solve_direction(system, point, direction, second.step, damping, 0.0, accuracy)
        slack_step(soc_h, point.t, system.active, direction.change, n_bound, second.dt)
        alpha = longest(point.t, second.dt, system.active, keep)
        cost, now, phi = _try(system, point, second.step, second.dt, alpha, trial, to, mu)
        accepted, by_cost = _acceptable(leave, now, phi, full, filter_, size)
        if accepted:
            return True, by_cost, cost
        if now > 0.99 * theta:
            break
        theta = now
    return False, False, cost


@kernel
def _shortest(leave):
    """Step length below which feasibility must be restored."""
    least = SHRINK_THETA
    if leave.descent < 0.0:
        least = min(least, -SHRINK_PHI * leave.theta / leave.descent)
        if leave.theta <= leave.theta_least:
            least = min(least, leave.theta**SWITCH_THETA / (-leave.descent) ** SWITCH_PHI)
    return ALPHA_LEAST * least


@kernel
def _acceptable(leave, theta, phi, alpha, filter_, size):
    """Whether the filter takes a trial point, and whether it does so for its cost alone."""
    if not (theta <= leave.theta_most and phi < np.inf):  # NaN too
        return False, False
    if not filter_accepts(filter_, size, theta, phi):
        return False, False
    slack = 10.0 * 2.2e-16 * abs(leave.phi)
    switch = (
        leave.theta <= leave.theta_least
        and leave.descent < 0.0
        and alpha * (-leave.descent) ** SWITCH_PHI > leave.theta**SWITCH_THETA
    )
    if switch:
        return phi - leave.phi - slack <= ARMIJO * alpha * leave.descent, True
    better = theta <= (1.0 - SHRINK_THETA) * leave.theta or (
        phi - leave.phi - slack <= -SHRINK_PHI * leave.theta
    )
    return better, False


@kernel
def remember(filter_, size, theta, phi):
    """Add a point to the filter; the oldest is forgotten where it is full."""
    if size == filter_.shape[0]:
        for k in range(size - 1):
            filter_[k, 0] = filter_[k + 1, 0]
            filter_[k, 1] = filter_[k + 1, 1]
        size -= 1
    filter_[size, 0] = (1.0 - SHRINK_THETA) * theta
    filter_[size, 1] = phi - SHRINK_PHI * theta
    return size + 1
