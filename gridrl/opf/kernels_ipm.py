"""A primal-dual interior point for the optimal power flow, in one compiled call.

Begins with Mehrotra's predictor and corrector, without a line search, as long as the error comes
down. Then, or from the start where that is asked for, a monotone barrier with a filter line
search, second-order corrections, inertia correction and feasibility restoration; and back again
once that has solved its barrier problem. Sources: S. Mehrotra, SIAM J. Optimization 2(4), 1992;
A. Waechter and L. T. Biegler, Mathematical Programming 106, 2006; J. Nocedal, A. Waechter and
R. A. Waltz, SIAM J. Optimization 19(4), 2009 for the changes from one to the other.
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.opf.kernels_model import evaluate
from gridrl.opf.kernels_newton import aim, correct, how_accurate, measure, newton_step
from gridrl.opf.kernels_restore import IMPOSSIBLE, RESTORED, restore
from gridrl.opf.kernels_search import Departure, barrier_descent, remember, search
from gridrl.opf.kernels_steps import (
    DAMPING_MOST,
    barrier_sum,
    centre,
    complementarity,
    longest,
    move,
    settle_bounds,
)
from gridrl.opf.kernels_work import (
    copied,
    new_direction,
    new_values,
    take_primal,
    take_values,
)

OPTIMAL, INFEASIBLE, LIMIT, FAILED, TIME = 0, 1, 2, 3, 5
GOING, STALE, CENTRED = -1, -2, -3  # how a mode ends, besides

FILTER_SIZE = 500
# The search without line search is returned to so many times, once a barrier problem is solved.
RETURNS = 5
# So many iterations in a row within the acceptable error are enough.
EASY = 15


@kernel
def interior_point(system, point, values, direction, settings, free, log):
    """Solve from ``point`` in place; see `gridrl.opf.kernels_work` for what the bundles hold.

    Parameters
    ----------
    settings
        ``tolerance``: scaled error at which the point is optimal; ``acceptable``: error at which
        it will do, if no step leads on; ``most``: iterations allowed; ``mu``: first barrier
        parameter of the line search; ``floor``: what slacks times multipliers should be in the
        end, 0 for an optimum, above for a point of the central path (without line search);
        ``stop``: bool[1], set by another thread when the time is up; ``patience``: the line search
        takes over where the error is not down by a tenth in so many iterations; ``rough``: shares
        of what a step removes to which predictor and corrector are solved.
    free : bool
        Begin without a line search.
    log : float64[:, 8]
        Filled, as far as it reaches, with: cost, infeasibility, dual error, mu, damping, primal
        and dual step, mode.

    Returns
    -------
    (status, iterations, error, factorisations)
    """
    mu = settings[3]
    status, iteration, error, used = CENTRED if free else STALE, 0, np.inf, 0
    returns = RETURNS
    while True:
        if status == CENTRED:
            status, iteration, error, used, mu = _predict_and_correct(
                system, point, values, direction, settings, iteration, used, log
            )
        elif status == STALE:
            centre(point.t, point.y, system.active, mu)
            status, iteration, error, used = _search_lines(
                system, point, values, direction, settings, mu, returns > 0, iteration, used, log
            )
            returns -= 1
        else:
            return status, iteration, error, used


@kernel
def _predict_and_correct(system, point, values, direction, settings, iteration, used, log):
    """Mehrotra's method; also the barrier parameter to go on with where it leads no further."""
    tolerance = settings[0]
    least = max(tolerance / 10.0, settings[4])
    net, active = system.net, system.active
    n_bound = 2 * point.v.size + 2 * point.s.size
    patience, rough = settings[6], settings[7]
    recent = np.full(patience, np.inf)
    easy, first = 0, iteration
    alpha = alpha_y = damping = 0.0
    cost = evaluate(net, point.va, point.v, point.s, values.g, values.h, values.flow)
    settle_bounds(values.h, point.t, active, n_bound)
    while True:
        dual, _theta, primal, gap, mean, error, scale = measure(
            system, point, values, direction, settings[4]
        )
        _note(log, iteration, cost, primal, dual, mean, damping, alpha, alpha_y, 0.0)
        easy = easy + 1 if error <= settings[1] else 0
        status = _verdict(error, easy, iteration, settings)
        if status != GOING:
            return status, iteration, error, used, 0.0
        # The error need not fall in each iteration, but from one to that ``patience`` later.
        stale = error > 0.9 * recent[iteration % patience]
        recent[iteration % patience] = error
        if stale or (iteration > first + 3 and min(alpha, alpha_y) < 1e-4):
            mu = min(max(mean, tolerance / 10.0), 0.1)
            mu = max(mu, min(0.1, 1e-2 * max(primal, dual)))
            return STALE, iteration, error, used, mu
        iteration += 1
        aim(system, point, values, direction, 0.0)
        accuracy = how_accurate(rough[0], error, dual * scale, primal)
        damping, more = newton_step(system, point, values, direction, accuracy)
        used += more
        if damping > DAMPING_MOST:
            return _stuck(primal, gap, dual, settings), iteration, error, used, 0.0
        accuracy = how_accurate(rough[1], error, dual * scale, primal)
        correct(system, point, values, direction, damping, mean, least, accuracy)
        keep = max(0.99, 1.0 - mean)
        alpha = longest(point.t, direction.dt, active, keep)
        alpha_y = longest(point.y, direction.step[4], active, keep)
        move(
            point.va, point.v, point.s, point.t, direction.step, direction.dt, alpha,
            point.va, point.v, point.s, point.t,
        )  # fmt: skip
        cost = evaluate(net, point.va, point.v, point.s, values.g, values.h, values.flow)
        _move_dual(point, active, direction.step[3], direction.step[4], alpha_y, alpha_y)
        settle_bounds(values.h, point.t, active, n_bound)


@kernel
def _search_lines(system, point, values, direction, settings, mu, once, iteration, used, log):
    """The monotone barrier with a filter line search; one barrier problem alone, if ``once``."""
    net, active, t, y = system.net, system.active, point.t, point.y
    n_bound = 2 * point.v.size + 2 * point.s.size
    trial, to = copied(point), new_values(point.v.size, net[0].size, active.size)
    second = new_direction(point.v.size, point.s.size, active.size)
    filter_, size = np.zeros((FILTER_SIZE, 2)), 0
    easy, rescued = 0, -10
    share = 0.9
    alpha = alpha_y = damping = theta_least = theta_most = 0.0
    cost = evaluate(net, point.va, point.v, point.s, values.g, values.h, values.flow)
    settle_bounds(values.h, t, active, n_bound)
    while True:
        dual, theta, primal, gap, mean, error, scale = measure(
            system, point, values, direction, 0.0
        )
        if theta_most == 0.0:
            theta_most = 1e4 * max(1.0, theta)
            theta_least = 1e-4 * max(1.0, theta)
        _note(log, iteration, cost, primal, dual, mu, damping, alpha, alpha_y, 1.0)
        easy = easy + 1 if error <= settings[1] else 0
        status = _verdict(error, easy, iteration, settings)
        if status != GOING:
            return status, iteration, error, used
        lower = _lower_barrier(t, y, active, dual, primal, scale, mu, settings[0])
        if lower < mu:
            if once:
                return CENTRED, iteration, error, used
            mu, size = lower, 0
        iteration += 1
        aim(system, point, values, direction, mu)
        accuracy = how_accurate(1e-4, error, dual * scale, primal)
        damping, more = newton_step(system, point, values, direction, accuracy)
        used += more
        if damping > DAMPING_MOST:
            return _stuck(primal, gap, dual, settings), iteration, error, used
        keep = max(0.99, 1.0 - mu)
        phi = cost - mu * barrier_sum(t, active)
        descent = barrier_descent(system, point, direction, mu)
        accepted, by_cost, by_soc, alpha, to_cost = search(
            system, point, values, direction, trial, to, second, filter_, size,
            Departure(theta, phi, descent, theta_least, theta_most), mu, damping, keep, accuracy,
        )  # fmt: skip
        if not by_cost:
            if not accepted and _stuck(primal, gap, dual, settings) == OPTIMAL:
                return OPTIMAL, iteration, error, used
            size = remember(filter_, size, theta, phi)
        if not accepted:
            # Where one restoration follows the other, each must lead further.
            share = 0.9 if iteration > rescued + 5 else 0.3 * share
            outcome, more = restore(
                system, point, values, direction, mu, filter_, size, share,
                int(settings[2]) - iteration,
            )  # fmt: skip
            iteration += more
            rescued = iteration
            used += more
            if outcome != RESTORED:
                return (INFEASIBLE if outcome == IMPOSSIBLE else FAILED), iteration, error, used
            cost = evaluate(net, point.va, point.v, point.s, values.g, values.h, values.flow)
            _forget_dual(values.h, point, active, n_bound, mu)
            continue
        take_primal(point, trial)
        take_values(values, to)
        cost = to_cost
        step = second.step if by_soc else direction.step
        alpha_y = longest(y, step[4], active, keep)
        _move_dual(point, active, step[3], step[4], alpha, alpha_y)
        settle_bounds(values.h, t, active, n_bound)
        centre(t, y, active, mu)


@inlined
def _note(log, iteration, cost, primal, dual, mu, damping, alpha, alpha_y, mode):
    if iteration < log.shape[0]:
        row = log[iteration]
        row[0], row[1], row[2], row[3] = cost, primal, dual, mu
        row[4], row[5], row[6], row[7] = damping, alpha, alpha_y, mode


@inlined
def _verdict(error, easy, iteration, settings):
    """How the search ends at a point, or GOING."""
    tolerance, acceptable, most = settings[0], settings[1], settings[2]
    if error <= tolerance or easy >= EASY:
        return OPTIMAL
    if iteration >= most or settings[5][0]:
        if error <= acceptable:
            return OPTIMAL
        return LIMIT if iteration >= most else TIME
    return GOING if error < 1e50 else FAILED


@kernel
def _stuck(primal, gap, dual, settings):
    """Verdict on a point from which no step leads on."""
    return OPTIMAL if max(primal, gap, 0.01 * dual) <= settings[1] else FAILED


@kernel
def _lower_barrier(t, y, active, dual, primal, scale, mu, tolerance):
    """The barrier parameter for a point that solves the present barrier problem, or ``mu``."""
    for _ in range(8):
        off, _mean = complementarity(t, y, active, mu)
        if max(dual, primal, off / scale) > 10.0 * mu or mu <= tolerance / 10.0:
            break
        mu = max(tolerance / 10.0, min(0.2 * mu, mu**1.5))
    return mu


@inlined
def _move_dual(point, active, dlam, dy, alpha, alpha_y):
    for i in range(point.lam.shape[0]):
        for q in range(2):
            point.lam[i, q] += alpha * dlam[i, q]
    for k in range(point.y.size):
        if active[k]:
            point.y[k] += alpha_y * dy[k]


@kernel
def _forget_dual(h, point, active, n_bound, mu):
    """Multipliers to go on with after a restoration, whose own mean nothing here."""
    settle_bounds(h, point.t, active, n_bound)
    for k in range(point.y.size):
        if active[k]:
            point.y[k] = min(point.y[k], 1e3)
    centre(point.t, point.y, active, mu)
    point.lam[:] = 0.0
