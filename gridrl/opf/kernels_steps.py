"""Parts of an interior-point iteration: residuals, step lengths, damping, the filter.

The constants are those of A. Waechter and L. T. Biegler, Mathematical Programming 106, 2006.
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.opf.kernels_model import add_gradients

DAMPING_FIRST, DAMPING_LEAST, DAMPING_MOST = 1e-4, 1e-20, 1e20


@kernel
def infeasibility(g, h, t, active):
    """Sum and largest entry of what balances and inequalities with slacks lack."""
    total = 0.0
    worst = 0.0
    for i in range(g.shape[0]):
        for q in range(2):
            total += abs(g[i, q])
            worst = max(worst, abs(g[i, q]))
    for k in range(h.size):
        if active[k]:
            r = abs(h[k] + t[k])
            total += r
            worst = max(worst, r)
    return total, worst


@kernel
def barrier_sum(t, active):
    """Sum of the logarithms of the slacks."""
    total = 0.0
    for k in range(t.size):
        if active[k]:
            total += np.log(t[k])
    return total


@kernel
def slack_step(h, t, active, change, n_bound, dt):
    """Change of the slacks along a step whose inequalities change by ``change``.

    The slacks of bounds are the distances to them, exactly.
    """
    for k in range(t.size):
        if not active[k]:
            dt[k] = 0.0
        elif k < n_bound:
            dt[k] = -change[k]
        else:
            dt[k] = -(h[k] + t[k]) - change[k]


@kernel
def longest(value, change, active, keep):
    """Largest step that leaves every active value at least ``1 - keep`` of itself."""
    alpha = 1.0
    for k in range(value.size):
        if active[k] and change[k] < 0.0 and -keep * value[k] > alpha * change[k]:
            alpha = -keep * value[k] / change[k]
    return alpha


@kernel
def move(va, v, s, t, step, dt, alpha, to_va, to_v, to_s, to_t):
    for i in range(v.size):
        to_va[i] = va[i] + alpha * step[0][i]
        to_v[i] = v[i] + alpha * step[1][i]
    for k in range(s.size):
        to_s[k] = s[k] + alpha * step[2][k]
    for k in range(t.size):
        to_t[k] = t[k] + alpha * dt[k]


@kernel
def settle_bounds(h, t, active, n_bound):
    """Slacks of bounds as the distances they are, free of rounding."""
    for k in range(n_bound):
        if active[k] and -h[k] > 0.0:
            t[k] = -h[k]


@kernel
def dual_residual(net, v, parts, slope, lam, y, held, r, r_s):
    """Gradient of the Lagrangian by nodes and by sources; its largest entry."""
    r[:] = 0.0
    r_s[:] = slope
    add_gradients(net, v, parts[0], parts[1], lam, y, r, r_s)
    worst = 0.0
    for i in range(v.size):
        for q in range(2):
            if held[i, q]:
                r[i, q] = 0.0
            worst = max(worst, abs(r[i, q]))
    for k in range(r_s.size):
        worst = max(worst, abs(r_s[k]))
    return worst


@kernel
def complementarity(t, y, active, mu):
    """Largest ``|t y - mu|`` and the mean of ``t y``."""
    worst = 0.0
    total = 0.0
    count = 0
    for k in range(t.size):
        if active[k]:
            worst = max(worst, abs(t[k] * y[k] - mu))
            total += t[k] * y[k]
            count += 1
    return worst, total / max(count, 1)


@kernel
def dual_scale(lam, y, active):
    """How much larger than 100 the multipliers are on average (1 where they are not)."""
    total = 0.0
    count = 0
    for i in range(lam.shape[0]):
        total += abs(lam[i, 0]) + abs(lam[i, 1])
        count += 2
    for k in range(y.size):
        if active[k]:
            total += y[k]
            count += 1
    return max(100.0, total / max(count, 1)) / 100.0


@kernel
def centre(t, y, active, mu):
    """Keep every ``t y`` within a factor of 1e10 of ``mu``."""
    for k in range(t.size):
        if active[k]:
            y[k] = min(max(y[k], mu / t[k] * 1e-10), mu / t[k] * 1e10)


@kernel
def next_damping(damping, last_damping):
    """Damping to try after ``damping``; ``last_damping`` is the last that some iteration needed."""
    if damping == 0.0:
        return DAMPING_FIRST if last_damping == 0.0 else max(DAMPING_LEAST, last_damping / 3.0)
    return damping * (100.0 if last_damping == 0.0 else 8.0)


@kernel
def bends_up(net, v, parts, w, bend_s, damping, step, change):
    """Whether the condensed Hessian is clearly positive along a step that keeps the balances.

    Rounding may spoil the inertia near the solution, where weights differ by 1e20; the curvature
    along the step is what makes it a descent (Chiang and Zavala, Comput. Optim. Appl. 64, 2016).
    ``change`` holds the change of the inequalities along the step.
    """
    start, stop = net[0], net[1]
    _jacobian, _limit_jacobian, hessian, bend_v = parts
    x_va, x_v, x_s = step[0], step[1], step[2]
    total = 0.0
    size = 0.0
    for i in range(v.size):
        size += x_va[i] ** 2 + x_v[i] ** 2
        total += bend_v[i] * x_v[i] ** 2
    for k in range(x_s.size):
        size += x_s[k] ** 2
        total += bend_s[k] * x_s[k] ** 2
    for k in range(start.size):
        bend = hessian[k]
        d = x_va[start[k]] - x_va[stop[k]]
        xf = x_v[start[k]]
        xt = x_v[stop[k]]
        total += bend[0] * d * d + bend[3] * xf * xf + bend[5] * xt * xt
        total += 2.0 * (bend[1] * d * xf + bend[2] * d * xt + bend[4] * xf * xt)
    for k in range(w.size):
        total += w[k] * change[k] ** 2
    return total + damping * size >= 1e-10 * size


@kernel
def filter_accepts(filter_, size, theta, phi):
    """Whether no point of the filter is better in both respects."""
    accepted = True
    for k in range(size):
        accepted &= theta < filter_[k, 0] or phi < filter_[k, 1]
    return accepted
