"""Many states of one pattern, solved one after the other in one compiled call.

An opened branch is one without admittance and without limits; loads are other constants at the
nodes. Neither changes the order of elimination or the fill.
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.opf.kernels_ipm import interior_point
from gridrl.opf.kernels_model import evaluate
from gridrl.opf.kernels_steps import settle_bounds
from gridrl.opf.kernels_work import Point, new_direction, new_system, new_values

# Cold slacks of limits of branches are no smaller than this, p.u. Small ones stop the first steps.
ROOM = 1.0
# A multiplier of 1 / TRUST (scaled) tells as much about a limit as a slack of 1 p.u.
TRUST = 1e-2
# The product of slacks and multipliers to begin with where balances and limits are missed by 1 p.u.
# It goes with the square: so many limits change, by so much. Least and most.
LACK, MU_LEAST, MU_MOST = 3e-2, 1e-7, 1e-2


@kernel
def solve_states(
    base, loads, opened_of, opened, first, cold, mu, settings, free, states, out, log
):  # fmt: skip
    """Solve some states without changing the others.

    Parameters
    ----------
    base
        ``net, symbolic, block_of, active, held, choices`` of the state that all others derive from.
    loads : float64[B, n_node, 6]
        Columns of ``net[4]`` for every state.
    opened_of, opened : int64[B + 1], int64[:]
        Lines that each state opens.
    first
        Points to start from: va, v, s, lam, t, y with a leading axis of length B or 1.
    cold : bool
        Slacks and multipliers are chosen from the point; else ``first`` holds them too.
    mu : float
        Product of slacks and multipliers at the start; 0: chosen for a start that is not cold from
        what the start lacks.
    settings, free, log
        As `interior_point` takes them.
    states : int64[:]
        Which to solve.
    out
        Where to write, each with a leading axis B: va, v, s, lam, t, y (the last two may have
        length 0), status, iterations, error.
    """
    net, symbolic, block_of, active, held, choices = base
    n, n_source, m, nh = net[4].shape[0], net[5].size, net[0].size, active.size
    y, node, kept = net[2].copy(), net[4].copy(), active.copy()
    now = (net[0], net[1], y, net[3], node, net[5], net[6], net[7], net[8], net[9])
    system = new_system(now, symbolic, block_of, kept, held, n, n_source, m, choices)
    values, direction = new_values(n, m, nh), new_direction(n, n_source, nh)
    point = Point(
        np.zeros(n), np.zeros(n), np.zeros(n_source), np.zeros((n, 2)), np.zeros(nh), np.zeros(nh)
    )
    for b in states:
        node[:] = loads[b]
        y[:] = net[2]
        kept[:] = active
        for at in range(opened_of[b], opened_of[b + 1]):
            k = opened[at]
            y[k] = 0.0
            for part in range(4):
                kept[nh - (part + 1) * m + k] = False
        system.caution[0] = 0.0
        system.costs[:] = choices[:, 2]
        system.memory[0][:] = 0.0
        _place(point, first, b)
        begin(system, point, values, cold, mu)
        status, iterations, error, _used = interior_point(
            system, point, values, direction, settings, free, log
        )
        out[0][b], out[1][b], out[2][b], out[3][b] = point.va, point.v, point.s, point.lam
        if out[4].shape[0] > 0:
            out[4][b], out[5][b] = point.t, point.y
        out[6][b], out[7][b], out[8][b] = status, iterations, error


@kernel
def _place(point, first, b):
    a = b if first[0].shape[0] > 1 else 0
    point.va[:] = first[0][a]
    point.v[:] = first[1][a]
    point.s[:] = first[2][a]
    point.lam[:] = first[3][a]
    c = b if first[4].shape[0] > 1 else 0
    point.t[:] = first[4][c]
    point.y[:] = first[5][c]


@kernel
def begin(system, point, values, cold, mu):
    """Slacks and multipliers of a start: all ``t y = mu``.

    Cold: slacks as the point has them, at least `ROOM` for limits of branches. Else the given
    slacks (NaN: those of the point) and multipliers are led onto the hyperbola ``t y = mu`` such
    that the difference of slack and weighted multiplier stays: what is active stays so, what is
    not too, and what is in doubt is kept away from both. C. Kanzow, SIAM J. Matrix Analysis and
    Applications 17(4), 1996, has the function. Voltages and sources move to where their slacks
    say.
    """
    t, y, active = point.t, point.y, system.active
    n, n_source = point.v.size, point.s.size
    n_bound = 2 * n + 2 * n_source
    if not cold:
        evaluate(system.net, point.va, point.v, point.s, values.g, values.h, values.flow)
        if mu == 0.0:
            lack = max(np.abs(values.g).max(), _excess(values.h, active))
            mu = min(max(LACK * lack * lack, MU_LEAST), MU_MOST)
        for k in range(t.size):
            if active[k]:
                if np.isnan(t[k]):
                    t[k] = -values.h[k]
                gap = t[k] - TRUST * y[k]
                root = np.sqrt(gap * gap + 4.0 * mu * TRUST)
                # Either form alone would lose all digits to cancellation where the other does not.
                t[k] = 0.5 * (gap + root) if gap > 0.0 else 2.0 * mu * TRUST / (root - gap)
        _settle(point.v, system.net[8][:n], system.net[9][:n], t[: 2 * n], active[: 2 * n])
        _settle(
            point.s, system.net[8][n : n + n_source], system.net[9][n : n + n_source],
            t[2 * n : n_bound], active[2 * n : n_bound],
        )  # fmt: skip
    evaluate(system.net, point.va, point.v, point.s, values.g, values.h, values.flow)
    settle_bounds(values.h, t, active, n_bound)
    for k in range(t.size):
        if not active[k]:
            t[k] = 1.0
            y[k] = 0.0
            continue
        if cold and k >= n_bound:
            t[k] = max(-values.h[k], ROOM)
        y[k] = mu / t[k]


@kernel
def _excess(h, active):
    worst = 0.0
    for k in range(h.size):
        if active[k]:
            worst = max(worst, h[k])
    return worst


@kernel
def _settle(x, low, high, t, active):
    """Move values to where the smaller of their two slacks says, within the limits."""
    n = x.size
    for i in range(n):
        below, above = active[i], active[n + i]
        half = 0.5 * (high[i] - low[i])
        if below and (not above or t[i] <= t[n + i]):
            x[i] = low[i] + (min(t[i], half) if above else t[i])
        elif above:
            x[i] = high[i] - (min(t[n + i], half) if below else t[n + i])


@kernel
def count_islands(start, stop, opened_of, opened, n, out):
    """Fill ``out``, int64[B], with the number of connected parts of each state."""
    leader = np.empty(n, np.int64)
    closed = np.ones(start.size, np.bool_)
    for b in range(out.size):
        for i in range(n):
            leader[i] = i
        for at in range(opened_of[b], opened_of[b + 1]):
            closed[opened[at]] = False
        parts = n
        for k in range(start.size):
            if closed[k]:
                i, j = start[k], stop[k]
                while leader[i] != i:
                    leader[i] = leader[leader[i]]
                    i = leader[i]
                while leader[j] != j:
                    leader[j] = leader[leader[j]]
                    j = leader[j]
                if i != j:
                    leader[i] = j
                    parts -= 1
        for at in range(opened_of[b], opened_of[b + 1]):
            closed[opened[at]] = True
        out[b] = parts
