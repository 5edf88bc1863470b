"""A primal-dual interior point for the optimal power flow, in one compiled call.

Begins with Mehrotra's predictor and corrector, without a line search, as long as the error comes
down. Then, or from the start where that is asked for, a monotone barrier with a filter line
search, second-order corrections, inertia correction and feasibility restoration. Sources:
S. Mehrotra, SIAM J. Optimization 2(4), 1992; A. Waechter and L. T. Biegler, Mathematical
Programming 106, 2006; J. Nocedal, A. Waechter and R. A. Waltz, SIAM J. Optimization 19(4), 2009
for the change from one to the other.
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.opf.kernels_kkt import (
    CAPS,
    LOOSE,
    RIGHT,
    SINGULAR,
    factorise_kkt,
    weights,
)
from gridrl.opf.kernels_model import cost_slopes, derivatives, evaluate, times_inequalities
from gridrl.opf.kernels_refine import krylov_memory, solve_refined
from gridrl.opf.kernels_restore import IMPOSSIBLE, RESTORED, restore
from gridrl.opf.kernels_steps import (
    DAMPING_MOST,
    barrier_sum,
    bends_up,
    centre,
    complementarity,
    dual_residual,
    dual_scale,
    filter_accepts,
    infeasibility,
    longest,
    move,
    new_right,
    new_step,
    next_damping,
    settle_bounds,
    slack_step,
    workspace,
)

OPTIMAL, INFEASIBLE, LIMIT, FAILED = 0, 1, 2, 3

SWITCH_THETA, SWITCH_PHI = 1.1, 2.3
ARMIJO = 1e-8
SHRINK_THETA, SHRINK_PHI = 1e-5, 1e-5
ALPHA_LEAST = 0.05
CORRECTIONS = 4
FILTER_SIZE = 500
# The line search takes over where the error is not down by a tenth in so many iterations.
PATIENCE = 8


@kernel
def interior_point(
    net, symbolic, block_of, active, held, point, tolerance, acceptable, most, mu, free, log
):  # fmt: skip
    """Solve from ``point`` (va, v, s, lam, t, y), in place.

    Parameters
    ----------
    net, symbolic, block_of
        The problem and its pattern, see `gridrl.opf.interior_point`.
    active : bool[n_inequality]
        Inequalities that exist.
    held : bool[n_node, 2]
        Angles and voltages that do not move.
    tolerance, acceptable : float
        Scaled error at which the point is optimal; and at which it will do, if no step leads on.
    most : int
        Iterations allowed.
    mu : float
        First barrier parameter.
    free : bool
        Begin without a line search.
    log : float64[:, 8]
        Filled, as far as it reaches, with: cost, infeasibility, dual error, mu, damping, primal
        and dual step, mode.

    Returns
    -------
    (status, iterations, error, factorisations)
    """
    va, v, s, lam, t, y = point
    n, n_source, m, nh = v.size, s.size, net[0].size, t.size
    n_bound = 2 * n + 2 * n_source
    parts, matrix, scratch = workspace(n, n_source, m, symbolic[1].size)
    g, h, flow = np.zeros((n, 2)), np.zeros(nh), np.zeros((m, 8))
    to_g, to_h, to_flow = np.zeros((n, 2)), np.zeros(nh), np.zeros((m, 8))
    soc_g, soc_h = np.zeros((n, 2)), np.zeros(nh)
    to_va, to_v, to_s, to_t = va.copy(), v.copy(), s.copy(), t.copy()
    slope, bend = np.zeros(n_source), np.zeros(n_source)
    w, stiffness, dt, change = np.zeros(nh), np.zeros(nh), np.zeros(nh), np.zeros(nh)
    target = np.zeros(nh)
    right = new_right(n, n_source, nh)
    step = new_step(n, n_source, nh)
    memory = krylov_memory(n, n_source, nh)
    soc, soc_dt = new_step(n, n_source, nh), np.zeros(nh)
    grad, grad_s = np.zeros((n, 2)), np.zeros(n_source)
    filter_ = np.zeros((FILTER_SIZE, 2))
    filter_size = 0
    damping = last_damping = 0.0
    recent = np.full(PATIENCE, np.inf)
    easy = 0
    factorisations = 0
    best_cap = CAPS[0]
    cost = evaluate(net, va, v, s, g, h, flow)
    settle_bounds(h, t, active, n_bound)
    theta, _ = infeasibility(g, h, t, active)
    theta_most = 1e4 * max(1.0, theta)
    theta_least = 1e-4 * max(1.0, theta)
    error = np.inf
    alpha = alpha_y = 0.0
    iteration = 0
    rescued = -10
    share = 0.9
    while True:
        cost_slopes(net[7], s, slope, bend)
        derivatives(net, v, flow, lam, y, parts[0], parts[1], parts[2], parts[3])
        dual = dual_residual(net, v, parts, slope, lam, y, held, grad, grad_s)
        theta, primal = infeasibility(g, h, t, active)
        gap, mean = complementarity(t, y, active, 0.0)
        scale = dual_scale(lam, y, active)
        error = max(dual / scale, primal, gap / scale)
        if iteration < log.shape[0]:
            row = log[iteration]
            row[0], row[1], row[2], row[3] = cost, primal, dual / scale, mean if free else mu
            row[4], row[5], row[6], row[7] = damping, alpha, alpha_y, 0.0 if free else 1.0
        if error <= tolerance:
            return OPTIMAL, iteration, error, factorisations
        easy = easy + 1 if error <= acceptable else 0
        if easy >= 15:
            return OPTIMAL, iteration, error, factorisations
        if iteration >= most:
            return (OPTIMAL if error <= acceptable else LIMIT), iteration, error, factorisations
        if not error < 1e50:
            return FAILED, iteration, error, factorisations

        if free:
            # The error need not fall in each iteration, but from one to that PATIENCE later.
            stale = error > 0.9 * recent[iteration % PATIENCE]
            recent[iteration % PATIENCE] = error
            if stale or (iteration > 3 and min(alpha, alpha_y) < 1e-4):
                free = False
                mu = min(max(mean, tolerance / 10.0), 0.1)
                mu = max(mu, min(0.1, 1e-2 * max(primal, dual / scale)))
                centre(t, y, active, mu)
                filter_size = 0
                theta_most = 1e4 * max(1.0, theta)
                theta_least = 1e-4 * max(1.0, theta)
                continue
        else:
            for _ in range(8):
                off, _mean = complementarity(t, y, active, mu)
                if max(dual / scale, primal, off / scale) > 10.0 * mu or mu <= tolerance / 10.0:
                    break
                mu = max(tolerance / 10.0, min(0.2 * mu, mu**1.5))
                filter_size = 0

        iteration += 1
        r1, r1_s, r2, r3 = right
        for i in range(n):
            for q in range(2):
                r1[i, q] = -grad[i, q]
                r2[i, q] = -g[i, q]
        for k in range(n_source):
            r1_s[k] = -grad_s[k]
        for k in range(nh):
            target[k] = 0.0 if free else mu
            r3[k] = -(h[k] + target[k] / y[k]) if active[k] else 0.0
        accuracy = (1e-3 if free else 1e-4) * min(error, 1e-4)
        damping = 0.0
        least = np.inf
        for choice in range(len(CAPS) + 1):
            # The last round goes back to the best of them.
            cap = CAPS[choice] if choice < len(CAPS) else best_cap
            weights(parts[1], active, t, y, 0.0, n_bound, m, cap, stiffness, w)
            remaining = np.inf
            while True:
                outcome = factorise_kkt(
                    net, symbolic, block_of, v, parts, w, held, bend, damping, 0.0, matrix
                )
                factorisations += 1
                if outcome != SINGULAR:
                    remaining = solve_refined(
                        net, symbolic, v, parts, w, stiffness, active, held, bend, damping, 0.0,
                        matrix, right, step, memory, scratch, t, accuracy,
                    )  # fmt: skip
                    times_inequalities(net, parts[1], step[0], step[1], step[2], change)
                    if outcome == RIGHT or bends_up(net, v, parts, w, bend, damping, step, change):
                        break
                damping = next_damping(damping, last_damping)
                if damping > DAMPING_MOST:
                    done = max(primal, gap / scale, 0.01 * dual / scale) <= acceptable
                    return (OPTIMAL if done else FAILED), iteration, error, factorisations
            if remaining < least:
                least = remaining
                best_cap = cap
            if least <= LOOSE or choice == len(CAPS):
                break
        if damping > 0.0:
            last_damping = damping
        slack_step(h, t, active, change, n_bound, dt)

        if free:
            alpha = longest(t, dt, active, 1.0)
            alpha_y = longest(y, step[4], active, 1.0)
            predicted = 0.0
            count = 0
            for k in range(nh):
                if active[k]:
                    predicted += (t[k] + alpha * dt[k]) * (y[k] + alpha_y * step[4][k])
                    count += 1
            predicted /= max(count, 1)
            sigma = min(max((predicted / mean) ** 3, 1e-3), 0.9)
            for k in range(nh):
                if active[k]:
                    target[k] = max(sigma * mean, tolerance / 10.0) - dt[k] * step[4][k]
                    r3[k] = -(h[k] + target[k] / y[k])
            solve_refined(
                net, symbolic, v, parts, w, stiffness, active, held, bend, damping, 0.0,
                matrix, right, step, memory, scratch, t, accuracy,
            )  # fmt: skip
            times_inequalities(net, parts[1], step[0], step[1], step[2], change)
            slack_step(h, t, active, change, n_bound, dt)
        keep = max(0.99, 1.0 - (mean if free else mu))
        alpha = longest(t, dt, active, keep)
        alpha_y = longest(y, step[4], active, keep)

        if free:
            move(va, v, s, t, step, dt, alpha, va, v, s, t)
            cost = evaluate(net, va, v, s, g, h, flow)
        else:
            phi = cost - mu * barrier_sum(t, active)
            descent = 0.0
            for k in range(n_source):
                descent += slope[k] * step[2][k]
            for k in range(nh):
                if active[k]:
                    descent -= mu * dt[k] / t[k]
            shortest = SHRINK_THETA
            if descent < 0.0:
                shortest = min(shortest, -SHRINK_PHI * theta / descent)
                if theta <= theta_least:
                    shortest = min(shortest, theta**SWITCH_THETA / (-descent) ** SWITCH_PHI)
            shortest *= ALPHA_LEAST
            full = alpha
            accepted = False
            by_cost = False
            use_soc = False
            trial = 0
            while alpha >= shortest or trial == 0:
                move(va, v, s, t, step, dt, alpha, to_va, to_v, to_s, to_t)
                to_cost = evaluate(net, to_va, to_v, to_s, to_g, to_h, to_flow)
                settle_bounds(to_h, to_t, active, n_bound)
                to_theta, _ = infeasibility(to_g, to_h, to_t, active)
                to_phi = to_cost - mu * barrier_sum(to_t, active)
                accepted, by_cost = _acceptable(
                    theta, phi, to_theta, to_phi, alpha, descent, theta_least, theta_most,
                    filter_, filter_size,
                )  # fmt: skip
                if accepted:
                    break
                if trial == 0 and to_theta >= theta:
                    soc_g[:] = g
                    soc_h[:] = h
                    soc_alpha = alpha
                    old_theta = to_theta
                    for _ in range(CORRECTIONS):
                        for i in range(n):
                            for q in range(2):
                                soc_g[i, q] = soc_alpha * soc_g[i, q] + to_g[i, q]
                                r2[i, q] = -soc_g[i, q]
                        for k in range(nh):
                            if active[k]:
                                if k >= n_bound:
                                    lack = soc_alpha * (soc_h[k] + t[k]) + to_h[k] + to_t[k]
                                    soc_h[k] = lack - t[k]
                                r3[k] = -(soc_h[k] + target[k] / y[k])
                        solve_refined(
                            net, symbolic, v, parts, w, stiffness, active, held, bend, damping,
                            0.0, matrix, right, soc, memory, scratch, t, accuracy,
                        )  # fmt: skip
                        times_inequalities(net, parts[1], soc[0], soc[1], soc[2], change)
                        slack_step(soc_h, t, active, change, n_bound, soc_dt)
                        soc_alpha = longest(t, soc_dt, active, keep)
                        move(va, v, s, t, soc, soc_dt, soc_alpha, to_va, to_v, to_s, to_t)
                        to_cost = evaluate(net, to_va, to_v, to_s, to_g, to_h, to_flow)
                        settle_bounds(to_h, to_t, active, n_bound)
                        to_theta, _ = infeasibility(to_g, to_h, to_t, active)
                        to_phi = to_cost - mu * barrier_sum(to_t, active)
                        accepted, by_cost = _acceptable(
                            theta, phi, to_theta, to_phi, alpha, descent, theta_least,
                            theta_most, filter_, filter_size,
                        )  # fmt: skip
                        if accepted or to_theta > 0.99 * old_theta:
                            break
                        old_theta = to_theta
                    if accepted:
                        use_soc = True
                        break
                alpha *= 0.5
                trial += 1
            if not accepted:
                if max(primal, gap / scale, 0.01 * dual / scale) <= acceptable:
                    return OPTIMAL, iteration, error, factorisations
                filter_size = _remember(filter_, filter_size, theta, phi)
                # Where one restoration follows the other, each must lead further.
                share = 0.9 if iteration > rescued + 5 else 0.3 * share
                outcome, used = restore(
                    net, symbolic, block_of, active, held, va, v, s, t, y, g, h, flow,
                    parts, matrix, scratch, mu, filter_, filter_size, share, most - iteration,
                )  # fmt: skip
                iteration += used
                rescued = iteration
                factorisations += used
                if outcome == IMPOSSIBLE:
                    return INFEASIBLE, iteration, error, factorisations
                if outcome != RESTORED:
                    return FAILED, iteration, error, factorisations
                cost = evaluate(net, va, v, s, g, h, flow)
                settle_bounds(h, t, active, n_bound)
                for k in range(nh):
                    if active[k]:
                        y[k] = min(y[k], 1e3)
                centre(t, y, active, mu)
                lam[:] = 0.0
                continue
            if not by_cost:
                filter_size = _remember(filter_, filter_size, theta, phi)
            va[:], v[:], s[:], t[:] = to_va, to_v, to_s, to_t
            g[:], h[:], flow[:] = to_g, to_h, to_flow
            cost = to_cost
            if use_soc:
                for i in range(n):
                    step[3][i, 0] = soc[3][i, 0]
                    step[3][i, 1] = soc[3][i, 1]
                step[4][:] = soc[4]
                alpha_y = longest(y, step[4], active, keep)
                alpha = full
        for i in range(n):
            for q in range(2):
                lam[i, q] += (alpha_y if free else alpha) * step[3][i, q]
        for k in range(nh):
            if active[k]:
                y[k] += alpha_y * step[4][k]
        settle_bounds(h, t, active, n_bound)
        if not free:
            centre(t, y, active, mu)


@kernel
def _acceptable(
    theta, phi, to_theta, to_phi, alpha, descent, theta_least, theta_most, filter_, filter_size
):  # fmt: skip
    """Whether the filter takes a trial point, and whether it does so for its cost alone."""
    if not (to_theta <= theta_most and to_phi < np.inf):  # NaN too
        return False, False
    if not filter_accepts(filter_, filter_size, to_theta, to_phi):
        return False, False
    slack = 10.0 * 2.2e-16 * abs(phi)
    switch = (
        theta <= theta_least
        and descent < 0.0
        and alpha * (-descent) ** SWITCH_PHI > theta**SWITCH_THETA
    )
    if switch:
        return to_phi - phi - slack <= ARMIJO * alpha * descent, True
    better = to_theta <= (1.0 - SHRINK_THETA) * theta or (
        to_phi - phi - slack <= -SHRINK_PHI * theta
    )
    return better, False


@kernel
def _remember(filter_, size, theta, phi):
    """Add a point to the filter; the oldest is forgotten where it is full."""
    if size == filter_.shape[0]:
        for k in range(size - 1):
            filter_[k, 0] = filter_[k + 1, 0]
            filter_[k, 1] = filter_[k + 1, 1]
        size -= 1
    filter_[size, 0] = (1.0 - SHRINK_THETA) * theta
    filter_[size, 1] = phi - SHRINK_PHI * theta
    return size + 1
