"""One injection on the base topology in a single call: for loops that ask one state at a time.

Around Newton's method a call through the batch front costs more than the solution of a small
grid; here everything between an injection and its voltages is compiled. The base's factors serve
the first step, and factors serve again as long as steps with them gain a digit.
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.powerflow.kernels_chord import forward
from gridrl.powerflow.kernels_eliminate import eliminate
from gridrl.powerflow.kernels_group import count_iterations, mismatch, reject_low
from gridrl.powerflow.kernels_loads import node_injections
from gridrl.powerflow.kernels_newton import substitute_and_turn

ENOUGH = 0.1  # of the mismatch may remain after a step, or the factors are made anew


@kernel
def newton_once(whole, index, kind, real, p, q, v_set, out):
    """Solve one injection from a solved state near it.

    Arrays come packed in few, because each one that a call takes costs as much as a row of the
    equations; `gridrl.powerflow.once` packs them.

    Parameters
    ----------
    whole : int64, (n, n_entry, n_fill, n_unit, n_held, n_shunt, has_current_part); y_ptr,
        u_ptr, l_ptr [n + 1 each], node [n], unit_at [n_unit], held_rows, their holders [n_held
        each], shunt_units [n_shunt]
    index : int32, y_idx [n_entry], u_idx, l_idx [n_fill each]
    kind : int8[n]
    real : float64, yg, yb [n_entry each], dg, db [n each]; low, u [4 n_fill each], d [4 n] of
        `gridrl.powerflow.kernels_newton.factor_base`; near [2 n] solved voltages by row;
        parts [4 n_unit]; base_p, base_q [n_unit each]; (tolerance, max_iteration, turn_max,
        stretch_max, patience, lowest)
    p, q, v_set : float64[1, n_unit] p.u.
    out : (v complex128[1, n_node], iterations int32[1], worst float64[1])

    Returns
    -------
    bool
        False where this is not for here: constant-impedance parts differ from the base state's,
        or a voltage to hold is no positive number.
    """
    n, n_entry, n_fill, n_unit, n_held, n_shunt, with_current = (
        whole[0],
        whole[1],
        whole[2],
        whole[3],
        whole[4],
        whole[5],
        whole[6],
    )
    whole = whole[7:]
    k = 3 * (n + 1)
    node, unit_at = whole[k : k + n], whole[k + n : k + n + n_unit]
    k += n + n_unit
    held_rows, holder = whole[k : k + n_held], whole[k + n_held : k + 2 * n_held]
    shunt_units = whole[k + 2 * n_held : k + 2 * n_held + n_shunt]
    pattern = (
        whole[: n + 1], index[:n_entry], whole[:0], whole[n + 1 : 2 * n + 2],
        index[n_entry : n_entry + n_fill], whole[2 * n + 2 : 3 * n + 3], index[n_entry + n_fill :],
    )  # fmt: skip
    k = 2 * n_entry
    base = (real[:n_entry], real[n_entry:k], real[k : k + n], real[k + n : k + 2 * n], kind)
    k += 2 * n
    factors = (
        real[k : k + 4 * n_fill], real[k + 4 * n_fill : k + 8 * n_fill],
        real[k + 8 * n_fill : k + 8 * n_fill + 4 * n],
    )  # fmt: skip
    k += 8 * n_fill + 4 * n
    near = real[k : k + 2 * n]
    k += 2 * n
    parts = real[k : k + 4 * n_unit].reshape(n_unit, 4)
    k += 4 * n_unit
    for m in shunt_units:
        if p[0, m] != real[k + m] or q[0, m] != real[k + n_unit + m]:
            return False
    work = np.empty(10 * n if with_current else 8 * n)
    v = work[: 2 * n]
    v[:] = near
    for h in range(n_held):
        i, wanted = held_rows[h], v_set[0, holder[h]]
        if not (wanted > 0.0 and wanted < np.inf):
            return False
        scale = wanted / np.hypot(v[2 * i], v[2 * i + 1])
        v[2 * i] *= scale
        v[2 * i + 1] *= scale
    s, s1 = work[6 * n : 8 * n], work[8 * n :]
    node_injections(
        p, q, unit_at, parts, s.reshape(1, n, 2), s1.reshape(1 if with_current else 0, n, 2)
    )
    _iterate(pattern, base, factors, s, s1, real[real.size - 6 :], v, work[2 * n : 6 * n], out)
    for i in range(n):
        out[0][0, node[i]] = complex(v[2 * i], v[2 * i + 1])
    return True


@kernel
def _iterate(pattern, base, factors, s, s1, settings, v, work, out):
    """Steps with factors that are as old as they may be; ``v`` becomes the solution."""
    tolerance, max_iteration, patience = settings[0], np.int64(settings[1]), settings[4]
    turn_max, stretch_max, lowest = settings[2], settings[3], settings[5]
    lanes = (0,)
    n = v.size // 2
    slot = np.full(n + 2, -1, np.int64)
    count, since = slot[n : n + 1], slot[n + 1 :]
    since[0] = 0
    x, y = work[: 2 * n], work[2 * n : 4 * n]
    few = np.zeros(4)
    worst, broken, best, moving, none = few[:1], few[1:2], few[2:3], few[3:], few[:0]
    best[0], moving[0] = np.inf, 1.0
    low, u, d = factors
    fresh, w = False, none
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
                w = np.empty(4 * n)
                fresh = True
            eliminate(lanes, pattern, base, slot, none, s1, x, w, low, u, d, y)
        substitute_and_turn(
            lanes, pattern, base[4], slot, u, d, y, v, turn_max, stretch_max, moving, broken
        )
        before = worst[0]
    reject_low(lanes, n, v, lowest, count)
    out[1][0] = count[0]
    out[2][0] = worst[0]
