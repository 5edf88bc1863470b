"""Single outages and injections near one solved base state, without any new factorisation.

All lanes share the base Jacobian's factors in float32 (chord iteration). An outage enters as a
correction of rank 4 in the middle of the triangular solves, where it is sparse: it lives on the
paths of its two rows up the elimination tree. An outage that cuts something off changes the
equations of the end that stays supplied only: what is cut off goes on as if that end still fed it,
and is looked at no more. A unit that fails lets its voltage go, a correction of rank 1. Anderson
acceleration of depth 2 makes up for the frozen Jacobian. The mismatch is exact in float64, so what
converges is a solution like Newton's; what does not is for `gridrl.powerflow.kernels_newton`.
"""

import numpy as np

from gridrl.jit import inlined, kernel
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
from gridrl.powerflow.kernels_limits import check_group, reject_reactive
from gridrl.powerflow.kernels_newton import turn_voltage
from gridrl.powerflow.kernels_outage import (
    compensate,
    compensate_setup,
    outage_blocks,
    outage_paths,
)
from gridrl.powerflow.kernels_release import let_go, release, release_setup, stretch_released
from gridrl.powerflow.kernels_triangular import backward, forward
from gridrl.sparse.lanes import borrowed, cast, fma, fnma, load, splat, store


@inlined
def _turn_row(lanes, i, v, turn, stretch, held, one):
    """Row ``i`` of ``v`` times exp(stretch + j turn); exactly unit modulus where |v| is held."""
    n_lane = len(lanes)
    t = cast(v, turn)
    if held:
        turn_voltage(lanes, i, v, t, splat(lanes, v, 0.0), one)
        return
    # 1 + z + z^2/2 + z^3/6 with z = stretch + j turn
    z = cast(v, stretch)
    sixth = splat(lanes, v, 1.0 / 6.0)
    pr = fma(sixth, z, splat(lanes, v, 0.5))
    pi = sixth * t
    qr = fma(z, pr, one) - t * pi
    qi = fma(z, pi, t * pr)
    c = fma(z, qr, one) - t * qi
    s = fma(z, qi, t * qr)
    vr = load(lanes, v, 2 * i * n_lane)
    vi = load(lanes, v, (2 * i + 1) * n_lane)
    store(lanes, v, 2 * i * n_lane, vr * c - vi * s)
    store(lanes, v, (2 * i + 1) * n_lane, vr * s + vi * c)


@kernel
def anderson_step(lanes, kind, v, f, f_before, step, k, work):
    """One accelerated step from the chord step ``f`` (Anderson, depth 2, per lane).

    ``f_before`` and ``step`` are the previous chord step and the step taken then; ``work`` holds
    two differences of f, two of the iterate, and two squared norms.
    """
    kind, v, f, f_before, step, work = borrowed((kind, v, f, f_before, step, work))
    n = kind.size
    n_lane = len(lanes)
    n2 = 2 * n * n_lane
    one = splat(lanes, v, 1.0)
    zero = splat(lanes, f, 0.0)
    if k == 0:
        for i in range(n):
            turn = load(lanes, f, 2 * i * n_lane)
            stretch = load(lanes, f, (2 * i + 1) * n_lane)
            store(lanes, step, 2 * i * n_lane, turn)
            store(lanes, step, (2 * i + 1) * n_lane, stretch)
            _turn_row(lanes, i, v, turn, stretch, kind[i] > 0, one)
        return
    now = (k - 1) & 1
    old = 1 - now
    df_now, df_old = now * n2, old * n2
    dx_now, dx_old = 2 * n2 + now * n2, 2 * n2 + old * n2
    a11, b1 = splat(lanes, f, 1e-30), zero
    a12, b2 = zero, zero
    for i in range(2 * n):
        fi = load(lanes, f, i * n_lane)
        df = fi - load(lanes, f_before, i * n_lane)
        store(lanes, work, df_now + i * n_lane, df)
        store(lanes, work, dx_now + i * n_lane, df + load(lanes, step, i * n_lane))
        a11 = fma(df, df, a11)
        b1 = fma(df, fi, b1)
        if k > 1:
            before = load(lanes, work, df_old + i * n_lane)
            a12 = fma(df, before, a12)
            b2 = fma(before, fi, b2)
    g1, g2 = b1 / a11, zero
    if k > 1:
        a22 = load(lanes, work, 4 * n2 + old * n_lane)
        ratio = a12 / a11
        # 1e-5: float32 differences that are nearly parallel must not be told apart
        g2 = (b2 - ratio * b1) / fma(a22, splat(lanes, f, 1e-5), a22 - ratio * a12)
        g1 = (b1 - a12 * g2) / a11
    else:
        dx_old = dx_now
    store(lanes, work, 4 * n2 + now * n_lane, a11)
    for i in range(n):
        o = 2 * i * n_lane
        turn = fnma(g1, load(lanes, work, dx_now + o), load(lanes, f, o))
        turn = fnma(g2, load(lanes, work, dx_old + o), turn)
        store(lanes, step, o, turn)
        o += n_lane
        stretch = fnma(g1, load(lanes, work, dx_now + o), load(lanes, f, o))
        stretch = fnma(g2, load(lanes, work, dx_old + o), stretch)
        store(lanes, step, o, stretch)
        _turn_row(lanes, i, v, turn, stretch, kind[i] > 0, one)


@kernel
def chord(
    lanes, pattern, tree, node, base, factors, base_v, s_node, s_current, states, outage, ends, y,
    islands, v_start, order, settings, reactive, limits, out,
):  # fmt: skip
    """Solve the states named by ``order``: each the base state, its injection, one outage at most.

    A state may let one held voltage go besides (its kind is PQ where the base has PV).

    Parameters
    ----------
    tree : (parent, l_of_u)
    factors : what `gridrl.powerflow.kernels_newton.factor_base` returns
    base_v : float64[n, 2], solved base voltages by row
    outage : int64[B], branch that each state opens, -1 for none
    ends : (end_f, end_t) int64[n_branch], rows of both ends in the base state, -1 where open
    islands : what `gridrl.security.kernels_bridges.bridges` returns, or empty arrays
        Where they are given, outages may cut something off: voltages there mean nothing.
    settings : (tolerance, max_iteration, carry, patience, lowest)
        With ``carry``, a lane starts each state from its previous one (time series) and the
        states of ``order`` are dealt to lanes in contiguous runs.
    reactive : see `gridrl.powerflow.kernels_limits.reject_reactive`
    limits, out : see `gridrl.powerflow.kernels_limits.check_group`
        ``out`` begins with (v complex128[B or 0, n_node], iterations int32[B], worst float64[B]).
    """
    carry = settings[2]
    n_lane, n = len(lanes), node.size
    v, s = np.empty(2 * n * n_lane), np.empty(2 * n * n_lane)
    s1 = np.empty(2 * n * n_lane if s_current.shape[0] > 0 else 0)
    steps = (
        np.zeros(2 * n * n_lane, np.float32), np.zeros(2 * n * n_lane, np.float32),
        np.zeros(2 * n * n_lane, np.float32), np.zeros((8 * n + 2) * n_lane, np.float32),
    )  # fmt: skip
    worst = np.zeros(n_lane)
    row_data = np.empty(lane_row_room(pattern) * n_lane)
    slot, rows_open = np.full(n, -1, np.int64), np.empty(n, np.int64)
    mark, place, paths = np.full(n, -1, np.int64), np.zeros(n, np.int64), np.empty(n, np.int64)
    f, b = np.empty(0, np.float32), np.empty(0, np.float32)
    m, core = np.empty(16 * n_lane, np.float32), np.empty(16 * n_lane, np.float32)
    group, count = np.empty(n_lane, np.int64), np.empty(n_lane, np.int64)
    rows_f, rows_t = np.empty(n_lane, np.int64), np.empty(n_lane, np.int64)
    released, inverse = np.full(n_lane, -1, np.int64), np.zeros(n_lane, np.float32)
    z = np.empty(0, np.float32)
    v_hold = np.empty(2 * n * n_lane if carry else 0)
    n_group = (order.size + n_lane - 1) // n_lane
    for g in range(n_group):
        for lane in range(n_lane):
            at = lane * n_group + g if carry else g * n_lane + lane
            group[lane] = order[min(at, order.size - 1)]
            k = outage[group[lane]]
            rows_f[lane] = ends[0][k] if k >= 0 else -1
            rows_t[lane] = ends[1][k] if k >= 0 else -1
        opened = open_lane_rows(lanes, group, pattern, base, states, slot, row_data, rows_open)
        if carry and g > 0:
            v_hold[:] = v
        load_group(lanes, group, n, states, s_node, s_current, v_start, s, s1, v)
        if carry and g > 0:
            _carry_over(count, base[4], v_hold, v)
        n_path = outage_paths(lanes, rows_f, rows_t, g, tree[0], base[4], mark, paths)
        if n_path > 0:
            if f.size < 8 * n_path * n_lane:
                f = np.empty((8 * n_path + 64) * n_lane, np.float32)
                b = np.empty((8 * n_path + 64) * n_lane, np.float32)
            outage_blocks(
                lanes, group, outage, rows_f, rows_t, islands[0], y, base_v, base[4], n_path, paths,
                place, f, b, m,
            )  # fmt: skip
            compensate_setup(lanes, n_path, paths, place, pattern, tree[1], factors, f, b, m, core)
        some = let_go(group, states, base[4], released)
        if some:
            if z.size == 0:
                z = np.empty(2 * n * n_lane, np.float32)
            release_setup(lanes, pattern, base, base_v, factors, released, z, inverse)
        _iterate(
            lanes, pattern, base, base_v, factors, slot, row_data, s, s1, v, steps,
            (n_path, paths, f, b, core), (some, released, z, inverse), settings, worst, count,
        )  # fmt: skip
        reject_reactive(lanes, pattern, base, slot, row_data, s, s1, v, reactive, count)
        close_lane_rows(opened, rows_open, slot)
        reject_low(lanes, n, v, settings[4], count)
        check_group(lanes, group, count, outage, ends, y, islands, v, limits, out)
        for lane in range(n_lane):
            if (lane * n_group + g if carry else g * n_lane + lane) < order.size:
                hand_out(lane, group[lane], count, worst, node, v, out)


@kernel
def _iterate(lanes, pattern, base, base_v, factors, slot, row_data, s, s1, v, steps, opened, let,
             settings, worst, count):  # fmt: skip
    """Chord iteration on one group; ``count`` becomes the iterations of each lane, -1: unsolved."""
    tolerance, max_iteration, _, patience, _ = settings
    n_path, paths, f, b, core = opened
    some, released, z, inverse = let
    x, x_before, step, history = steps
    none = np.empty(0, np.float32)
    best, since = np.full(len(lanes), np.inf), np.zeros(len(lanes), np.int64)
    count[:] = -1
    for k in range(max_iteration + 1):
        mismatch(lanes, pattern, base, slot, row_data, s, s1, v, none, x, worst)
        running = count_iterations(worst, tolerance, k, patience, best, since, count)
        if running == 0 or k == max_iteration:
            return
        forward(lanes, pattern, factors[0], x)
        if n_path > 0:
            compensate(lanes, n_path, paths, f, b, core, x)
        backward(lanes, pattern, factors[1], factors[2], x)
        if some:
            release(lanes, pattern, base, base_v, released, z, inverse, x)
        anderson_step(lanes, base[4], v, x, x_before, step, k, history)
        if some:
            stretch_released(released, step, v)
        x, x_before = x_before, x


@kernel
def _carry_over(count, kind, before, v):
    """Keep the voltages of the lane's previous state, if solved, with the magnitudes held now."""
    n_lane = count.size
    for i in range(kind.size):
        for lane in range(n_lane):
            re, im = before[2 * i * n_lane + lane], before[(2 * i + 1) * n_lane + lane]
            if kind[i] == 2 or count[lane] < 0:
                continue
            if kind[i] == 1:
                now = np.hypot(v[2 * i * n_lane + lane], v[(2 * i + 1) * n_lane + lane])
                scale = now / np.hypot(re, im)
                re, im = re * scale, im * scale
            v[2 * i * n_lane + lane] = re
            v[(2 * i + 1) * n_lane + lane] = im
