"""Feasibility restoration: back towards the balances and limits when the line search fails.

Minimises ``prox/2 |x - x_r|^2 + weight/2 (|g|^2 + |h + t|^2) - mu sum(log t)``, the second term
over balances and limits of branches, by Newton's method. Bounds hold throughout.
"""

from gridrl.jit import kernel
from gridrl.opf.kernels_kkt import RIGHT, factorise_kkt, weights
from gridrl.opf.kernels_model import add_gradients, derivatives, evaluate, times_balances
from gridrl.opf.kernels_newton import solve_direction
from gridrl.opf.kernels_steps import (
    DAMPING_MOST,
    barrier_sum,
    centre,
    filter_accepts,
    infeasibility,
    longest,
    move,
    next_damping,
    settle_bounds,
)
from gridrl.opf.kernels_work import copied, take_primal

RESTORED, STUCK, IMPOSSIBLE = 0, 1, 2
ARMIJO = 1e-4
WEIGHT = 1e3
SOFT = 1.0 / WEIGHT
PROX = 1e-4
CAP = 1e10  # of the weights of limits, see `gridrl.opf.kernels_kkt`
MOST = 200
# The penalty is at its minimum where a step promises less than this share of it.
FLAT = 1e-7
BARRIER_SHARE = 0.1
KEEP = 0.99


@kernel
def restore(system, point, values, direction, mu, filter_, size, share, most):
    """Move the point in place until the filter accepts it; (outcome, iterations).

    At most ``share`` of the infeasibility may be left then.
    """
    net, active, t, y = system.net, system.active, point.t, point.y
    n_bound = 2 * point.v.size + 2 * point.s.size
    home, trial = copied(point), copied(point)
    system.caution[0] = 0.0
    evaluate(net, point.va, point.v, point.s, values.g, values.h, values.flow)
    theta_start, _ = infeasibility(values.g, values.h, t, active)
    barrier = mu
    # The barrier must weigh as much as the penalty, or the first steps run into bounds.
    mu = max(mu, _penalty_share(values, t, active, n_bound))
    _first_prices(values.h, t, y, active, n_bound, mu)
    for iteration in range(min(MOST, most)):
        damping = _factorise_penalty(system, point, values)
        if damping > DAMPING_MOST:
            return STUCK, iteration
        _aim_penalty(system, point, values, direction, home, mu)
        solve_direction(
            system, point, direction, direction.step, damping + PROX, SOFT, (1e-10, 1e-10)
        )
        slope = _penalty_slope(system, point, values, direction, home, mu)
        alpha_y = longest(y, direction.step[4], active, KEEP)
        value = _merit(point, values, active, home, mu)
        found, alpha, cost = _search_penalty(
            system, point, values, direction, home, trial, mu, value, slope
        )
        if not found:
            evaluate(net, point.va, point.v, point.s, values.g, values.h, values.flow)
            return STUCK, iteration
        take_primal(point, trial)
        for k in range(y.size):
            y[k] += alpha_y * direction.step[4][k]
        settle_bounds(values.h, t, active, n_bound)
        centre(t, y, active, mu)
        theta, worst = infeasibility(values.g, values.h, t, active)
        phi = cost - barrier * barrier_sum(t, active)
        if theta <= share * theta_start and filter_accepts(filter_, size, theta, phi):
            return RESTORED, iteration + 1
        still = -slope < FLAT * max(1.0, abs(value))
        lower = _penalty_share(values, t, active, n_bound)
        if still and mu <= 1e-8 and worst > 1e-5:
            return IMPOSSIBLE, iteration + 1
        if still or alpha > 0.5:
            mu = max(1e-9, min(mu, lower, 0.2 * mu if still else mu))
    return STUCK, most


@kernel
def _penalty(values, t, active, n_bound):
    g, h = values.g, values.h
    total = 0.0
    for i in range(g.shape[0]):
        total += g[i, 0] ** 2 + g[i, 1] ** 2
    for k in range(n_bound, h.size):
        if active[k]:
            total += (h[k] + t[k]) ** 2
    return 0.5 * WEIGHT * total


@kernel
def _penalty_share(values, t, active, n_bound):
    """Barrier parameter that weighs as much as a share of the penalty."""
    count = 0
    for k in range(t.size):
        count += active[k]
    return BARRIER_SHARE * _penalty(values, t, active, n_bound) / max(count, 1)


@kernel
def _merit(point, values, active, home, mu):
    """What a restoration minimises: penalty, barrier and distance."""
    total = 0.0
    for i in range(point.v.size):
        total += (point.va[i] - home.va[i]) ** 2 + (point.v[i] - home.v[i]) ** 2
    for k in range(point.s.size):
        total += (point.s[k] - home.s[k]) ** 2
    n_bound = 2 * point.v.size + 2 * point.s.size
    penalty = _penalty(values, point.t, active, n_bound)
    return penalty - mu * barrier_sum(point.t, active) + 0.5 * PROX * total


@kernel
def _first_prices(h, t, y, active, n_bound, mu):
    for k in range(t.size):
        if active[k]:
            y[k] = mu / t[k]
            if k >= n_bound:  # consistent with the penalty: y = weight (h + t) where that is more
                y[k] = min(max(y[k], WEIGHT * (h[k] + t[k])), 1e8)


@kernel
def _factorise_penalty(system, point, values):
    """Factorise with softened balances; the damping it took."""
    parts = system.parts
    n_bound = 2 * point.v.size + 2 * point.s.size
    point.lam[:] = WEIGHT * values.g
    system.bend[:] = 0.0
    derivatives(
        system.net, point.v, values.flow, point.lam, point.y, parts[0], parts[1], parts[2], parts[3]
    )
    weights(
        parts[1], system.active, point.t, point.y, SOFT, n_bound, system.net[0].size, CAP,
        system.stiffness, system.w,
    )  # fmt: skip
    damping = 0.0
    while factorise_kkt(
        system.net, system.symbolic, system.block_of, point.v, parts, system.w, system.held,
        system.bend, damping + PROX, SOFT, system.matrix,
    ) != RIGHT:  # fmt: skip
        damping = next_damping(damping, system.caution[0])
        if damping > DAMPING_MOST:
            return damping
    if damping > 0.0:
        system.caution[0] = damping
    return damping


@kernel
def _aim_penalty(system, point, values, direction, home, mu):
    """Right-hand side of a restoration step."""
    r1, r1_s, r2, r3 = direction.right
    n_bound = 2 * point.v.size + 2 * point.s.size
    held, y = system.held, point.y
    r1[:] = 0.0
    r1_s[:] = 0.0
    r2[:] = 0.0
    parts = system.parts
    add_gradients(system.net, point.v, parts[0], parts[1], point.lam, y, r1, r1_s)
    for i in range(point.v.size):
        r1[i, 0] = 0.0 if held[i, 0] else -r1[i, 0] - PROX * (point.va[i] - home.va[i])
        r1[i, 1] = 0.0 if held[i, 1] else -r1[i, 1] - PROX * (point.v[i] - home.v[i])
    for k in range(r1_s.size):
        r1_s[k] = -r1_s[k] - PROX * (point.s[k] - home.s[k])
    for k in range(r3.size):
        r3[k] = 0.0
        if system.active[k]:
            r3[k] = -(values.h[k] + mu / y[k])
            if k >= n_bound:
                r3[k] += SOFT * y[k]


@kernel
def _penalty_slope(system, point, values, direction, home, mu):
    """Fill the step of the slacks; slope of what is minimised along the step."""
    step, dt, change = direction.step, direction.dt, direction.change
    t, y = point.t, point.y
    n_bound = 2 * point.v.size + 2 * point.s.size
    slope = 0.0
    for k in range(t.size):
        if system.active[k]:
            if k < n_bound:
                dt[k] = -change[k]
            else:
                dt[k] = mu / y[k] - t[k] - t[k] / y[k] * step[4][k]
                slope += WEIGHT * (values.h[k] + t[k]) * (change[k] + dt[k])
            slope -= mu * dt[k] / t[k]
    turn = direction.right[2]  # used up
    times_balances(system.net, point.v, system.parts[0], step[0], step[1], step[2], turn)
    for i in range(point.v.size):
        slope += WEIGHT * (values.g[i, 0] * turn[i, 0] + values.g[i, 1] * turn[i, 1])
        slope += PROX * (point.va[i] - home.va[i]) * step[0][i]
        slope += PROX * (point.v[i] - home.v[i]) * step[1][i]
    for k in range(point.s.size):
        slope += PROX * (point.s[k] - home.s[k]) * step[2][k]
    return slope


@kernel
def _search_penalty(system, point, values, direction, home, trial, mu, value, slope):
    """Halve the step until it descends; (found, step length, cost of the trial point)."""
    alpha = longest(point.t, direction.dt, system.active, KEEP)
    for _ in range(30):
        move(
            point.va, point.v, point.s, point.t, direction.step, direction.dt, alpha,
            trial.va, trial.v, trial.s, trial.t,
        )  # fmt: skip
        cost = evaluate(system.net, trial.va, trial.v, trial.s, values.g, values.h, values.flow)
        new = _merit(trial, values, system.active, home, mu)
        if new <= value + ARMIJO * alpha * slope + 1e-12 * abs(value):
            return True, alpha, cost
        alpha *= 0.5
    return False, alpha, 0.0
