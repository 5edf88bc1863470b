"""One Newton direction of the interior point: its right-hand side, its inertia, its corrector."""

import numpy as np

from gridrl.jit import inlined
from gridrl.opf.kernels_kkt import LOOSE, RIGHT, SINGULAR, factorise_kkt, weights
from gridrl.opf.kernels_model import cost_slopes, derivatives, times_inequalities
from gridrl.opf.kernels_refine import solve_refined
from gridrl.opf.kernels_steps import (
    DAMPING_MOST,
    bends_up,
    complementarity,
    dual_residual,
    dual_scale,
    infeasibility,
    longest,
    next_damping,
    slack_step,
)

# What a factorisation costs, in solutions with its factors; and what one is put at that was of no
# use. Costs of other ways are forgotten by and by, so that they are tried again.
FACTORISING, USELESS, FORGET = 4.0, 60.0, 0.95


@inlined
def measure(system, point, values, direction, floor):
    """Derivatives at the point, and how far from optimal it is.

    The gradient of the Lagrangian is left in the direction's right-hand side, with its sign.
    Complementarity is the largest difference of slack times multiplier from ``floor``.

    Returns
    -------
    (dual error over its scale, sum of infeasibility, largest infeasibility, complementarity over
    the scale, mean of ``t y``, scaled error: the largest of dual error, infeasibility and
    complementarity)
    """
    net, parts = system.net, system.parts
    cost_slopes(net[7], point.s, system.slope, system.bend)
    derivatives(
        net, point.v, values.flow, point.lam, point.y, parts[0], parts[1], parts[2], parts[3]
    )
    right = direction.right
    dual = dual_residual(
        net, point.v, parts, system.slope, point.lam, point.y, system.held, right[0], right[1]
    )
    theta, primal = infeasibility(values.g, values.h, point.t, system.active)
    gap, mean = complementarity(point.t, point.y, system.active, floor)
    scale = dual_scale(point.lam, point.y, system.active)
    error = max(dual / scale, primal, gap / scale)
    return dual / scale, theta, primal, gap / scale, mean, error, scale


@inlined
def aim(system, point, values, direction, mu):
    """Complete the right-hand side, for slacks times multipliers of ``mu``."""
    r1, r1_s, r2, r3 = direction.right
    for i in range(r1.shape[0]):
        for q in range(2):
            r1[i, q] = -r1[i, q]
            r2[i, q] = -values.g[i, q]
    for k in range(r1_s.size):
        r1_s[k] = -r1_s[k]
    for k in range(r3.size):
        direction.target[k] = mu
        r3[k] = -(values.h[k] + mu / point.y[k]) if system.active[k] else 0.0


@inlined
def solve_direction(system, point, direction, right_step, damping, soft, accuracy):
    """Fill ``right_step`` for the present right-hand side; (error over accuracy, solutions)."""
    remaining, solved = solve_refined(
        system.net, system.symbolic, point.v, system.parts, system.w, system.stiffness,
        system.active, system.held, system.bend, damping, soft, system.matrix, direction.right,
        right_step, system.memory, system.scratch, point.t, accuracy,
    )  # fmt: skip
    times_inequalities(
        system.net, system.parts[1], right_step[0], right_step[1], right_step[2], direction.change
    )
    return remaining, solved


@inlined
def how_accurate(share, error, dual, primal):
    """Accuracy to solve for a step with: a share of what it is to remove, of gradient and balances.

    What is below the scaled error is not asked for to that share: rounding may not allow it.
    """
    least = min(error, 1e-4)
    return share * max(dual, least), share * max(primal, least)


@inlined
def newton_step(system, point, values, direction, accuracy):
    """A direction of descent, from the way to factorise that has been the cheapest so far.

    Returns
    -------
    (damping, above `DAMPING_MOST` where no direction was found; factorisations)
    """
    n_bound = 2 * point.v.size + 2 * point.s.size
    m = system.net[0].size
    costs = system.costs
    costs *= FORGET
    damping = 0.0
    least = np.inf
    used = best = 0
    for tried in range(costs.size + 1):
        # The last round goes back to the best of them.
        choice = np.argmin(costs) if tried < costs.size else best
        cap, ease = system.choices[choice, 0], system.choices[choice, 1]
        weights(
            system.parts[1], system.active, point.t, point.y, 0.0, n_bound, m, cap,
            system.stiffness, system.w,
        )  # fmt: skip
        remaining, damping, more, solved = _damped(
            system, point, direction, damping, ease, accuracy
        )
        used += more
        if damping > DAMPING_MOST:
            return damping, used
        if remaining < least:
            least, best = remaining, choice
        costs[choice] = FACTORISING + solved
        if least <= LOOSE:
            break
        costs[choice] = USELESS + tried
    if damping > 0.0:
        system.caution[0] = damping
    slack_step(values.h, point.t, system.active, direction.change, n_bound, direction.dt)
    return damping, used


@inlined
def _damped(system, point, direction, damping, ease, accuracy):
    """Raise the damping until inertia or curvature is right.

    Returns
    -------
    (remaining error over the accuracy, damping, factorisations, solutions)
    """
    used = 0
    while True:
        outcome = factorise_kkt(
            system.net, system.symbolic, system.block_of, point.v, system.parts, system.w,
            system.held, system.bend, damping, ease, system.matrix,
        )  # fmt: skip
        used += 1
        if outcome != SINGULAR:
            remaining, solved = solve_direction(
                system, point, direction, direction.step, damping, 0.0, accuracy
            )
            if outcome == RIGHT or bends_up(
                system.net, point.v, system.parts, system.w, system.bend, damping,
                direction.step, direction.change,
            ):  # fmt: skip
                return remaining, damping, used, solved
        damping = next_damping(damping, system.caution[0])
        if damping > DAMPING_MOST:
            return np.inf, damping, used, 0


@inlined
def correct(system, point, values, direction, damping, mean, least, accuracy):
    """Mehrotra's corrector: aim at what the predictor promises, and at its second-order term."""
    t, y, active = point.t, point.y, system.active
    dt, dy, r3 = direction.dt, direction.step[4], direction.right[3]
    alpha = longest(t, dt, active, 1.0)
    alpha_y = longest(y, dy, active, 1.0)
    predicted = 0.0
    count = 0
    for k in range(t.size):
        if active[k]:
            predicted += (t[k] + alpha * dt[k]) * (y[k] + alpha_y * dy[k])
            count += 1
    predicted /= max(count, 1)
    sigma = min(max((predicted / mean) ** 3, 1e-3), 0.9)
    for k in range(t.size):
        if active[k]:
            direction.target[k] = max(sigma * mean, least) - dt[k] * dy[k]
            r3[k] = -(values.h[k] + direction.target[k] / y[k])
    solve_direction(system, point, direction, direction.step, damping, 0.0, accuracy)
    n_bound = 2 * point.v.size + 2 * point.s.size
    slack_step(values.h, t, active, direction.change, n_bound, dt)
