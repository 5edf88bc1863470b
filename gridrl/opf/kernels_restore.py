"""Feasibility restoration: back towards the balances and limits when the line search fails.

Minimises ``prox/2 |x - x_r|^2 + weight/2 (|g|^2 + |h + t|^2) - mu sum(log t)``, the second term
over balances and limits of branches, by Newton's method. Bounds hold throughout.
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.opf.kernels_kkt import CAPS, RIGHT, factorise_kkt, weights
from gridrl.opf.kernels_model import (
    add_gradients,
    derivatives,
    evaluate,
    times_balances,
    times_inequalities,
)
from gridrl.opf.kernels_refine import krylov_memory, solve_refined
from gridrl.opf.kernels_steps import (
    DAMPING_MOST,
    barrier_sum,
    centre,
    filter_accepts,
    infeasibility,
    longest,
    move,
    new_right,
    new_step,
    next_damping,
    settle_bounds,
)

RESTORED, STUCK, IMPOSSIBLE = 0, 1, 2
ARMIJO = 1e-4
WEIGHT = 1e3
PROX = 1e-4
MOST = 200
# The penalty is at its minimum where a step promises less than this share of it.
FLAT = 1e-7
BARRIER_SHARE = 0.1


@kernel
def penalty(g, h, t, active, n_bound, weight):
    total = 0.0
    for i in range(g.shape[0]):
        total += g[i, 0] ** 2 + g[i, 1] ** 2
    for k in range(n_bound, h.size):
        if active[k]:
            total += (h[k] + t[k]) ** 2
    return 0.5 * weight * total


@kernel
def distance(va, v, s, from_va, from_v, from_s):
    total = 0.0
    for i in range(v.size):
        total += (va[i] - from_va[i]) ** 2 + (v[i] - from_v[i]) ** 2
    for k in range(s.size):
        total += (s[k] - from_s[k]) ** 2
    return 0.5 * PROX * total


@kernel
def restore(
    net, symbolic, block_of, active, held, va, v, s, t, y, g, h, flow,
    parts, matrix, scratch, mu, filter_, filter_size, share, most,
):  # fmt: skip
    """Move the point in place until the filter accepts it; (outcome, iterations).

    At most ``share`` of the infeasibility may be left then.
    """
    n = v.size
    n_source = s.size
    m = net[0].size
    nh = t.size
    n_bound = 2 * n + 2 * n_source
    weight = WEIGHT
    soft = 1.0 / weight
    from_va, from_v, from_s = va.copy(), v.copy(), s.copy()
    to_va, to_v, to_s, to_t = va.copy(), v.copy(), s.copy(), t.copy()
    lam = np.zeros((n, 2))
    no_bend = np.zeros(n_source)
    w, stiffness = np.zeros(nh), np.zeros(nh)
    dt, change = np.zeros(nh), np.zeros(nh)
    right, left = new_right(n, n_source, nh), new_right(n, n_source, nh)
    step = new_step(n, n_source, nh)
    memory = krylov_memory(n, n_source, nh)
    last_damping = 0.0
    evaluate(net, va, v, s, g, h, flow)
    theta_start, _ = infeasibility(g, h, t, active)
    barrier = mu
    count = 0
    for k in range(nh):
        count += active[k]
    # The barrier must weigh as much as the penalty, or the first steps run into bounds.
    mu = max(mu, BARRIER_SHARE * penalty(g, h, t, active, n_bound, weight) / max(count, 1))
    cost = 0.0
    for k in range(nh):
        if active[k]:
            y[k] = mu / t[k]
            if k >= n_bound:  # consistent with the penalty: y = weight (h + t) where that is more
                y[k] = min(max(y[k], weight * (h[k] + t[k])), 1e8)
    for iteration in range(min(MOST, most)):
        for i in range(n):
            lam[i, 0] = weight * g[i, 0]
            lam[i, 1] = weight * g[i, 1]
        derivatives(net, v, flow, lam, y, parts[0], parts[1], parts[2], parts[3])
        weights(parts[1], active, t, y, soft, n_bound, m, CAPS[0], stiffness, w)
        damping = 0.0
        while factorise_kkt(
            net, symbolic, block_of, v, parts, w, held, no_bend, damping + PROX, soft, matrix
        ) != RIGHT:  # fmt: skip
            damping = next_damping(damping, last_damping)
            if damping > DAMPING_MOST:
                return STUCK, iteration
        if damping > 0.0:
            last_damping = damping
        r1, r1_s, r2, r3 = right
        r1[:] = 0.0
        r1_s[:] = 0.0
        add_gradients(net, v, parts[0], parts[1], lam, y, r1, r1_s)
        for i in range(n):
            r1[i, 0] = 0.0 if held[i, 0] else -r1[i, 0] - PROX * (va[i] - from_va[i])
            r1[i, 1] = 0.0 if held[i, 1] else -r1[i, 1] - PROX * (v[i] - from_v[i])
        for k in range(n_source):
            r1_s[k] = -r1_s[k] - PROX * (s[k] - from_s[k])
        r2[:] = 0.0
        for k in range(nh):
            r3[k] = 0.0
            if active[k]:
                r3[k] = -(h[k] + mu / y[k])
                if k >= n_bound:
                    r3[k] += soft * y[k]
        solve_refined(
            net, symbolic, v, parts, w, stiffness, active, held, no_bend, damping + PROX, soft,
            matrix, right, step, memory, scratch, t, 1e-10,
        )  # fmt: skip
        times_inequalities(net, parts[1], step[0], step[1], step[2], change)
        slope = 0.0
        for k in range(nh):
            if active[k]:
                if k < n_bound:
                    dt[k] = -change[k]
                else:
                    dt[k] = mu / y[k] - t[k] - t[k] / y[k] * step[4][k]
                    slope += weight * (h[k] + t[k]) * (change[k] + dt[k])
                slope -= mu * dt[k] / t[k]
        times_balances(net, v, parts[0], step[0], step[1], step[2], left[2])
        for i in range(n):
            slope += weight * (g[i, 0] * left[2][i, 0] + g[i, 1] * left[2][i, 1])
        for i in range(n):
            slope += PROX * (va[i] - from_va[i]) * step[0][i]
            slope += PROX * (v[i] - from_v[i]) * step[1][i]
        for k in range(n_source):
            slope += PROX * (s[k] - from_s[k]) * step[2][k]
        keep = 0.99
        alpha = longest(t, dt, active, keep)
        alpha_y = longest(y, step[4], active, keep)
        value = penalty(g, h, t, active, n_bound, weight) - mu * barrier_sum(t, active)
        value += distance(va, v, s, from_va, from_v, from_s)
        found = False
        for _ in range(30):
            move(va, v, s, t, step, dt, alpha, to_va, to_v, to_s, to_t)
            cost = evaluate(net, to_va, to_v, to_s, g, h, flow)
            new = penalty(g, h, to_t, active, n_bound, weight) - mu * barrier_sum(to_t, active)
            new += distance(to_va, to_v, to_s, from_va, from_v, from_s)
            if new <= value + ARMIJO * alpha * slope + 1e-12 * abs(value):
                found = True
                break
            alpha *= 0.5
        if not found:
            evaluate(net, va, v, s, g, h, flow)
            return STUCK, iteration
        va[:], v[:], s[:], t[:] = to_va, to_v, to_s, to_t
        for k in range(nh):
            y[k] += alpha_y * step[4][k]
        settle_bounds(h, t, active, n_bound)
        centre(t, y, active, mu)
        theta, worst = infeasibility(g, h, t, active)
        phi = cost - barrier * barrier_sum(t, active)
        if theta <= share * theta_start and filter_accepts(filter_, filter_size, theta, phi):
            return RESTORED, iteration + 1
        still = -slope < FLAT * max(1.0, abs(value))
        lower = BARRIER_SHARE * penalty(g, h, t, active, n_bound, weight) / max(count, 1)
        if still and mu <= 1e-8 and worst > 1e-5:
            return IMPOSSIBLE, iteration + 1
        if still or alpha > 0.5:
            mu = max(1e-9, min(mu, lower, 0.2 * mu if still else mu))
    return STUCK, most
