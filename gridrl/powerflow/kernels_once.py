"""One injection on the base topology in a single call: for loops that ask one state at a time.

Around Newton's method a call through the batch front costs more than the solution of a small
grid; here everything between an injection and its voltages is compiled. The base's factors serve
the first step, and factors serve again as long as steps with them gain a digit.
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.powerflow.kernels_chord import forward
from gridrl.powerflow.kernels_group import count_iterations, mismatch, reject_low
from gridrl.powerflow.kernels_loads import node_injections
from gridrl.powerflow.kernels_newton import eliminate, substitute_and_turn

ENOUGH = 0.1  # of the mismatch may remain after a step, or the factors are made anew


@kernel
def newton_once(equations, factors, near, units, settings, p, q, v_set, out):
    """Solve one injection from a solved state near it.

    Parameters
    ----------
    equations : (pattern, node, base), see `gridrl.powerflow.kernels_newton.newton`
    factors : what `gridrl.powerflow.kernels_newton.factor_base` returns, in float64
    near : float64[n, 2], solved voltages by row
    units : (unit_at, parts, held_rows, holder, shunt_units, base_p, base_q, has_current_part)
    settings : see `gridrl.powerflow.kernels_newton.newton`
    p, q, v_set : float64[1, n_unit] p.u.
    out : (v complex128[1, n_node], iterations int32[1], worst float64[1])

    Returns
    -------
    bool
        False where this is not for here: constant-impedance parts differ from the base state's,
        or a voltage to hold is no positive number.
    """
    unit_at, parts, held_rows, holder, shunt_units, base_p, base_q, with_current = units
    n = near.shape[0]
    for m in shunt_units:
        if p[0, m] != base_p[m] or q[0, m] != base_q[m]:
            return False
    v = near.copy()
    for i in held_rows:
        wanted = v_set[0, holder[i]]
        if not (wanted > 0.0 and wanted < np.inf):
            return False
        now = np.hypot(v[i, 0], v[i, 1])
        v[i, 0] *= wanted / now
        v[i, 1] *= wanted / now
    power = np.empty((1, n, 2))
    current = np.empty((1 if with_current else 0, n, 2))
    node_injections(p, q, unit_at, parts, power, current)
    v = v.reshape(-1)
    _iterate(equations, factors, power.reshape(-1), current.reshape(-1), settings, v, out)
    node = equations[1]
    for i in range(n):
        out[0][0, node[i]] = complex(v[2 * i], v[2 * i + 1])
    return True


@kernel
def _iterate(equations, factors, s, s1, settings, v, out):
    """Steps with factors that are as old as they may be; ``v`` becomes the solution."""
    pattern, base = equations[0], equations[2]
    tolerance, max_iteration, turn_max, stretch_max, patience, lowest = settings
    lanes = (0,)
    n = v.size // 2
    slot, none = np.full(n, -1, np.int64), np.empty(0)
    x, y, w = np.empty(2 * n), np.empty(2 * n), np.empty(4 * n)
    low, u, d = factors
    fresh = False
    count, worst, broken = np.full(1, -1, np.int64), np.zeros(1), np.zeros(1)
    best, since = np.full(1, np.inf), np.zeros(1, np.int64)
    before = np.inf
    for k in range(max_iteration + 1):
        mismatch(lanes, pattern, base, slot, none, s, s1, v, x, y, worst)
        if count_iterations(worst, tolerance, k, patience, best, since, count) == 0:
            break
        if k == max_iteration or np.isnan(broken[0]):
            break
        if worst[0] <= ENOUGH * before or k == 0:
            forward(lanes, pattern, low, y)
        else:
            if not fresh:
                low, u, d = np.empty_like(low), np.empty_like(u), np.empty_like(d)
                fresh = True
            eliminate(lanes, pattern, base, slot, none, s1, x, w, low, u, d, y)
        substitute_and_turn(lanes, pattern, u, d, y, v, turn_max, stretch_max, broken)
        before = worst[0]
    reject_low(lanes, n, v, lowest, count)
    out[1][0] = count[0]
    out[2][0] = worst[0]
