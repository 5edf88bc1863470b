"""Newton power flow over lanes: every lane its own injections, outages and busbar splits.

The unknowns of a row are (theta, ln |v|); equations are active and reactive power balance. Each
row is a 2x2 block, so the whole elimination runs on blocks of a fixed pattern without pivoting.
The mismatch is float64 always; factors take the type of the work arrays, and float32 costs no
accuracy because every solution is checked on the float64 mismatch.
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.powerflow.kernels_eliminate import eliminate, forward_own, live_pattern
from gridrl.powerflow.kernels_group import (
    close_lane_rows,
    count_iterations,
    hand_out,
    lane_row_room,
    load_group,
    mismatch,
    open_lane_rows,
    reject_low,
)
from gridrl.sparse.lanes import (
    borrowed,
    cast,
    choose,
    fma,
    fnma,
    greater,
    larger,
    load,
    smaller,
    splat,
    store,
)

BROKEN = -4  # instead of iterations: the factors were not finite, the voltages mean nothing


@kernel
def substitute_and_turn(
    lanes, pattern, kind, slot, u, d, y, v, turn_max, stretch_max, moving, broken
):
    """Back substitution, then ``v`` times exp(step): turned by theta, stretched by ln |v|.

    Only lanes where ``moving`` (in the type of ``v``) is above zero are turned.

    A step is cut at ``turn_max`` rad and ``stretch_max``. A row whose |v| is held keeps it to the
    last bit: its stretch is exactly zero and the turn is a rational rotation of modulus one.
    ``broken`` becomes NaN in the lanes whose step is not finite: their voltages are worthless.
    """
    pattern, kind, slot, u, d = borrowed((pattern, kind, slot, u, d))
    y, v, moving, broken = borrowed((y, v, moving, broken))
    u_ptr, u_idx = pattern[3], pattern[4]
    n_lane = len(lanes)
    one = splat(lanes, v, 1.0)
    turn_high = splat(lanes, v, turn_max)
    stretch_high = splat(lanes, v, stretch_max)
    zero = splat(lanes, y, 0.0)
    still = splat(lanes, v, 0.0)
    moves = greater(load(lanes, moving, 0), still)
    poison = zero
    for i in range(u_ptr.size - 2, -1, -1):
        if slot[i] < 0 and kind[i] == 2:
            continue
        a0 = load(lanes, y, 2 * i * n_lane)
        a1 = load(lanes, y, (2 * i + 1) * n_lane)
        for p in range(u_ptr[i], u_ptr[i + 1]):
            j = np.int64(u_idx[p])
            r = 4 * p * n_lane
            y0 = load(lanes, y, 2 * j * n_lane)
            y1 = load(lanes, y, (2 * j + 1) * n_lane)
            u0 = load(lanes, u, r)
            u1 = load(lanes, u, r + n_lane)
            u2 = load(lanes, u, r + 2 * n_lane)
            u3 = load(lanes, u, r + 3 * n_lane)
            a0 = fnma(u1, y1, fnma(u0, y0, a0))
            a1 = fnma(u3, y1, fnma(u2, y0, a1))
        o = 4 * i * n_lane
        x0 = load(lanes, d, o) * a0 + load(lanes, d, o + n_lane) * a1
        x1 = load(lanes, d, o + 2 * n_lane) * a0 + load(lanes, d, o + 3 * n_lane) * a1
        store(lanes, y, 2 * i * n_lane, x0)
        store(lanes, y, (2 * i + 1) * n_lane, x1)
        poison = fma(x0, zero, fma(x1, zero, poison))
        turn = smaller(larger(cast(v, x0), -turn_high), turn_high)
        stretch = smaller(larger(cast(v, x1), -stretch_high), stretch_high)
        turn, stretch = choose(moves, turn, still), choose(moves, stretch, still)
        turn_voltage(lanes, i, v, turn, stretch, one)
    store(lanes, broken, 0, poison)


@inlined
def turn_voltage(lanes, i, v, turn, stretch, one):
    """Row ``i`` of ``v`` times exp(stretch + j turn), by Pade (2, 2) and a cubic."""
    n_lane = len(lanes)
    a = fnma(splat(lanes, v, 1.0 / 12.0), turn * turn, one)
    b = splat(lanes, v, 0.5) * turn
    inverse = one / fma(a, a, b * b)
    c = (a * a - b * b) * inverse
    s = splat(lanes, v, 2.0) * a * b * inverse
    grow = fma(stretch, splat(lanes, v, 1.0 / 6.0), splat(lanes, v, 0.5))
    grow = fma(stretch, fma(stretch, grow, one), one)
    c = c * grow
    s = s * grow
    vr = load(lanes, v, 2 * i * n_lane)
    vi = load(lanes, v, (2 * i + 1) * n_lane)
    store(lanes, v, 2 * i * n_lane, vr * c - vi * s)
    store(lanes, v, (2 * i + 1) * n_lane, vr * s + vi * c)


@kernel
def newton(
    lanes, like, pattern, node, base, s_node, s_current, states, v_start, order, settings, stale,
    out,
):  # fmt: skip
    """Solve the states named by ``order``, in groups of one state per lane.

    Parameters
    ----------
    lanes : tuple of n_lane integers
    like : float32[0] or float64[0]
        Element type of the factors.
    pattern, node, base, s_node, s_current, states, v_start :
        See `gridrl.powerflow.model.Model` and `gridrl.powerflow.states.States`.
    order : int64[m]
        States to solve; neighbours share a group.
    settings : (tolerance, max_iteration, turn_max, stretch_max, patience, lowest)
        See `count_iterations` and `reject_low` for the last two.
    stale : int
        Iteration whose step takes the factors of the one before; -1: every one makes its own.
    out : (v complex128[B, n_node], iterations int32[B], worst float64[B])
        Filled for the states in ``order``; iterations is -1 where it did not converge, -2 where
        the solution has a voltage below ``lowest``, BROKEN where factors were not finite.
    """
    if order.size == 0:
        return
    pattern, node, base, s_node, s_current = borrowed((pattern, node, base, s_node, s_current))
    states, v_start, order, out = borrowed((states, v_start, order, out))
    n_lane, n = len(lanes), node.size
    v, s = np.empty(2 * n * n_lane), np.empty(2 * n * n_lane)
    s1 = np.empty(2 * n * n_lane if s_current.shape[0] > 0 else 0)
    x, y = np.empty(2 * n * n_lane, like.dtype), np.empty(2 * n * n_lane, like.dtype)
    w, d = np.empty(4 * n * n_lane, like.dtype), np.empty(4 * n * n_lane, like.dtype)
    u = np.empty(4 * max(1, pattern[4].size) * n_lane, like.dtype)
    low = np.empty(u.size if stale >= 0 else 0, like.dtype)
    worst = np.zeros(n_lane)
    row_data = np.empty(lane_row_room(pattern) * n_lane)
    slot, rows_open = np.full(n, -1, np.int64), np.empty(n, np.int64)
    group, count = np.empty(n_lane, np.int64), np.empty(n_lane, np.int64)
    room = (
        np.empty_like(pattern[3]), np.empty_like(pattern[4]), np.empty_like(pattern[5]),
        np.empty_like(pattern[6]),
    )  # fmt: skip
    live, before = live_pattern(pattern, base[4], slot, room), 0
    for first in range(0, order.size, n_lane):
        for lane in range(n_lane):
            group[lane] = order[min(first + lane, order.size - 1)]
        opened = open_lane_rows(lanes, group, pattern, base, states, slot, row_data, rows_open)
        load_group(lanes, group, n, states, s_node, s_current, v_start, s, s1, v)
        if opened > 0 or before > 0:
            live = live_pattern(pattern, base[4], slot, room)
        before = opened
        _iterate(lanes, live, base, slot, row_data, s, s1, v, x, y, w, (low, u, d), settings, stale,
                 worst, count)  # fmt: skip
        close_lane_rows(opened, rows_open, slot)
        reject_low(lanes, n, v, settings[5], count)
        for lane in range(min(n_lane, order.size - first)):
            hand_out(lane, group[lane], count, worst, node, v, out)


@kernel
def _iterate(lanes, pattern, base, slot, row_data, s, s1, v, x, y, w, factors, settings, stale,
             worst, count):  # fmt: skip
    """Newton's method on one group; ``count`` becomes the iterations of each lane, -1: unsolved.

    A lane that is done stands still, so that its solution does not depend on what shares its group.
    """
    pattern, base, slot, row_data, s, s1 = borrowed((pattern, base, slot, row_data, s, s1))
    v, x, y, w, factors, worst, count = borrowed((v, x, y, w, factors, worst, count))
    tolerance, max_iteration, turn_max, stretch_max, patience, _ = settings
    n_lane = len(lanes)
    low, u, d = factors
    none = low[:0]
    broken, moving = np.zeros(n_lane, y.dtype), np.ones(n_lane)
    best, since = np.full(n_lane, np.inf), np.zeros(n_lane, np.int64)
    count[:] = -1
    for iteration in range(max_iteration + 1):
        mismatch(lanes, pattern, base, slot, row_data, s, s1, v, x, y, worst)
        running = count_iterations(worst, tolerance, iteration, patience, best, since, count)
        if running == 0 or iteration == max_iteration:
            return
        if iteration == stale:
            forward_own(lanes, pattern, base[4], slot, low, y)
        else:
            kept = low if iteration + 1 == stale else none
            eliminate(lanes, pattern, base, slot, row_data, s1, x, w, kept, u, d, y)
        for lane in range(n_lane):
            moving[lane] = 1.0 if count[lane] < 0 and since[lane] <= patience else 0.0
        substitute_and_turn(
            lanes, pattern, base[4], slot, u, d, y, v, turn_max, stretch_max, moving, broken
        )
        for lane in range(n_lane):
            if moving[lane] > 0.0 and np.isnan(broken[lane]):
                since[lane] = patience + 1
                count[lane] = BROKEN


@kernel
def factor_base(pattern, base, v_base):
    """Factors of the base state's Jacobian at ``v_base`` (float64[n, 2]), for all lanes alike.

    Returns (low, u, d): blocks of L, of U, and inverted diagonal blocks, float32 and flat.
    """
    lanes = (0,)
    n = pattern[0].size - 1
    room = 4 * max(1, pattern[4].size)
    low, u, d = np.zeros(room), np.zeros(room), np.zeros(4 * n)
    slot = np.full(n, -1, np.int64)
    none = np.empty(0)
    x = v_base.copy().reshape(-1)
    y = np.zeros(2 * n)
    eliminate(lanes, pattern, base, slot, none, none, x, np.zeros(4 * n), low, u, d, y)
    return low.astype(np.float32), u.astype(np.float32), d.astype(np.float32)
