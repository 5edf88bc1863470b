"""A group of states side by side: what their lanes share, what each has of its own, its mismatch.

Lane arrays are flat: number ``k`` of lane ``l`` sits at ``k * n_lane + l``. A row is either
*common* (all lanes of the group agree with the base state: scalar admittances) or a *lane row*
(``slot[i] >= 0``: admittances and masks per lane at ``row_data[slot[i] * n_lane:]``).

A group of states is described by change lists in the order of `gridrl.powerflow.solve.States`.
Kinds of rows: 0 PQ, 1 PV (|v| held), 2 FIXED (v held: a reference, or a dead node).
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import absolute, borrowed, cast, fma, larger, load, splat, store

GIVE_UP = 1e9  # p.u. mismatch from which no iteration comes back


@kernel
def open_lane_rows(lanes, group, pattern, base, states, slot, row_data, rows_open):
    """Give every row that some lane of the group changes its own admittances and masks.

    Returns the number of rows opened; ``rows_open`` lists them, for `close_lane_rows`.
    """
    group, pattern, base, states = borrowed((group, pattern, base, states))
    slot, row_data, rows_open = borrowed((slot, row_data, rows_open))
    y_ptr, y_idx, y_row = pattern[0], pattern[1], pattern[2]
    yg, yb, dg, db, kind = base
    y_of, y_pos, y_g, y_b, k_of, k_row, k_kind = states[:7]
    n_lane = len(lanes)
    n_entry = y_idx.size
    opened = 0
    used = 0
    for lane in range(n_lane):
        state = group[lane]
        for c in range(y_of[state], y_of[state + 1]):
            pos = y_pos[c]
            i = y_row[pos] if pos < n_entry else pos - n_entry
            if slot[i] < 0:
                used = _open_row(lanes, i, used, y_ptr, base, slot, row_data)
                rows_open[opened] = i
                opened += 1
        for c in range(k_of[state], k_of[state + 1]):
            i = k_row[c]
            if slot[i] < 0:
                used = _open_row(lanes, i, used, y_ptr, base, slot, row_data)
                rows_open[opened] = i
                opened += 1
    for lane in range(n_lane):
        state = group[lane]
        for c in range(y_of[state], y_of[state + 1]):
            pos = y_pos[c]
            if pos < n_entry:
                i = y_row[pos]
                at = slot[i] + 2 * (pos - y_ptr[i])
            else:
                i = pos - n_entry
                at = slot[i] + 2 * (y_ptr[i + 1] - y_ptr[i])
            row_data[at * n_lane + lane] += y_g[c]
            row_data[(at + 1) * n_lane + lane] += y_b[c]
        for c in range(k_of[state], k_of[state + 1]):
            i = k_row[c]
            at = slot[i] + 2 * (y_ptr[i + 1] - y_ptr[i]) + 2
            row_data[at * n_lane + lane] = 1.0 if k_kind[c] < 2 else 0.0
            row_data[(at + 1) * n_lane + lane] = 1.0 if k_kind[c] == 0 else 0.0
    return opened


@inlined
def _open_row(lanes, i, used, y_ptr, base, slot, row_data):
    yg, yb, dg, db, kind = base
    n_lane = len(lanes)
    slot[i] = used
    for p in range(y_ptr[i], y_ptr[i + 1]):
        store(lanes, row_data, used * n_lane, splat(lanes, row_data, yg[p]))
        store(lanes, row_data, (used + 1) * n_lane, splat(lanes, row_data, yb[p]))
        used += 2
    live = 1.0 if kind[i] < 2 else 0.0
    free = 1.0 if kind[i] == 0 else 0.0
    store(lanes, row_data, used * n_lane, splat(lanes, row_data, dg[i]))
    store(lanes, row_data, (used + 1) * n_lane, splat(lanes, row_data, db[i]))
    store(lanes, row_data, (used + 2) * n_lane, splat(lanes, row_data, live))
    store(lanes, row_data, (used + 3) * n_lane, splat(lanes, row_data, free))
    return used + 4


@kernel
def close_lane_rows(opened, rows_open, slot):
    """Make all rows common again."""
    for r in range(opened):
        slot[rows_open[r]] = -1


@kernel
def lane_row_room(pattern):
    """Numbers per lane that lane rows can need at most: every row opened."""
    return 2 * pattern[1].size + 4 * (pattern[0].size - 1)


@kernel
def load_group(lanes, group, n, states, s_node, s_current, v_start, s, s1, v):
    """Write the start voltages and injections of a group of states into lane arrays."""
    group, states, s_node, s_current = borrowed((group, states, s_node, s_current))
    v_start, s, s1, v = borrowed((v_start, s, s1, v))
    k_of, k_row, k_v, k_angle = states[4], states[5], states[7], states[8]
    s_of, s_row, s_p, s_q, s_ip, s_iq, load_of, start_of = states[9:17]
    n_lane = len(lanes)
    _spread(lanes, group, n, start_of, v_start, v)
    _spread(lanes, group, n, load_of, s_node, s)
    if s1.size > 0:
        _spread(lanes, group, n, load_of, s_current, s1)
    for lane in range(n_lane):
        state = group[lane]
        for c in range(s_of[state], s_of[state + 1]):
            i = s_row[c]
            s[2 * i * n_lane + lane] += s_p[c]
            s[(2 * i + 1) * n_lane + lane] += s_q[c]
            if s1.size > 0:
                s1[2 * i * n_lane + lane] += s_ip[c]
                s1[(2 * i + 1) * n_lane + lane] += s_iq[c]
        for c in range(k_of[state], k_of[state + 1]):
            if not np.isnan(k_v[c]):
                i = k_row[c]
                re = v[2 * i * n_lane + lane]
                im = v[(2 * i + 1) * n_lane + lane]
                magnitude = np.sqrt(re * re + im * im)
                if not np.isnan(k_angle[c]):
                    re, im, magnitude = np.cos(k_angle[c]), np.sin(k_angle[c]), 1.0
                v[2 * i * n_lane + lane] = re / magnitude * k_v[c]
                v[(2 * i + 1) * n_lane + lane] = im / magnitude * k_v[c]


@kernel
def _spread(lanes, group, n, row_of, rows, out):
    """Lane ``l`` of ``out`` becomes ``rows[row_of[group[l]]]`` (float64[n, 2])."""
    n_lane = len(lanes)
    common = True
    for lane in range(1, n_lane):
        common = common and row_of[group[lane]] == row_of[group[0]]
    if common:
        row = rows[row_of[group[0]]]
        for i in range(n):
            store(lanes, out, 2 * i * n_lane, splat(lanes, out, row[i, 0]))
            store(lanes, out, (2 * i + 1) * n_lane, splat(lanes, out, row[i, 1]))
        return
    for lane in range(n_lane):
        row = rows[row_of[group[lane]]]
        for i in range(n):
            out[2 * i * n_lane + lane] = row[i, 0]
            out[(2 * i + 1) * n_lane + lane] = row[i, 1]


@kernel
def mismatch(lanes, pattern, base, slot, row_data, s, s1, v, x, r, worst):
    """Power balance error of every row into ``r``; the largest of each lane into ``worst``.

    ``x`` receives the voltages in its own type, unless it is empty.

    With constant-current parts (``s1`` not empty) a row is owed ``s + s1 |v|``.
    """
    pattern, base, slot, row_data, s, s1 = borrowed((pattern, base, slot, row_data, s, s1))
    v, x, r, worst = borrowed((v, x, r, worst))
    y_ptr, y_idx = pattern[0], pattern[1]
    kind = base[4]
    n_lane = len(lanes)
    zero = splat(lanes, v, 0.0)
    high = zero
    for i in range(kind.size):
        vr = load(lanes, v, 2 * i * n_lane)
        vi = load(lanes, v, (2 * i + 1) * n_lane)
        if x.size > 0:
            store(lanes, x, 2 * i * n_lane, cast(x, vr))
            store(lanes, x, (2 * i + 1) * n_lane, cast(x, vi))
        at = slot[i]
        if at < 0 and kind[i] == 2:
            store(lanes, r, 2 * i * n_lane, cast(r, zero))
            store(lanes, r, (2 * i + 1) * n_lane, cast(r, zero))
            continue
        if at < 0:
            ir, jr, ii, ji = _common_current(lanes, i, y_ptr, y_idx, base, vr, vi, v)
        else:
            ir, jr, ii, ji = _own_current(lanes, i, slot, y_ptr, y_idx, base, row_data, vr, vi, v)
        ir = ir - jr
        ii = ii + ji
        dp = load(lanes, s, 2 * i * n_lane) - (vr * ir + vi * ii)
        dq = load(lanes, s, (2 * i + 1) * n_lane) - (vi * ir - vr * ii)
        if s1.size > 0:
            magnitude = root(lanes, v, vr * vr + vi * vi)
            dp = fma(load(lanes, s1, 2 * i * n_lane), magnitude, dp)
            dq = fma(load(lanes, s1, (2 * i + 1) * n_lane), magnitude, dq)
        if at >= 0:
            o = (at + 2 * (y_ptr[i + 1] - y_ptr[i])) * n_lane
            dp = dp * load(lanes, row_data, o + 2 * n_lane)
            dq = dq * load(lanes, row_data, o + 3 * n_lane)
        elif kind[i] == 1:
            dq = zero
        store(lanes, r, 2 * i * n_lane, cast(r, dp))
        store(lanes, r, (2 * i + 1) * n_lane, cast(r, dq))
        high = larger(high, larger(absolute(dp), absolute(dq)))
    store(lanes, worst, 0, high)


@inlined
def _common_current(lanes, i, y_ptr, y_idx, base, vr, vi, v):
    """Parts of the current into row ``i``, whose admittances all lanes share."""
    yg, yb, dg, db, _ = base
    n_lane = len(lanes)
    g, b = splat(lanes, v, dg[i]), splat(lanes, v, db[i])
    ir, jr, ii, ji = g * vr, b * vi, g * vi, b * vr
    for p in range(y_ptr[i], y_ptr[i + 1]):
        if yg[p] == 0.0 and yb[p] == 0.0:  # a second busbar
            continue
        j = np.int64(y_idx[p])
        xr = load(lanes, v, 2 * j * n_lane)
        xi = load(lanes, v, (2 * j + 1) * n_lane)
        g, b = splat(lanes, v, yg[p]), splat(lanes, v, yb[p])
        ir, ii, jr, ji = fma(g, xr, ir), fma(g, xi, ii), fma(b, xi, jr), fma(b, xr, ji)
    return ir, jr, ii, ji


@inlined
def _own_current(lanes, i, slot, y_ptr, y_idx, base, row_data, vr, vi, v):
    """The same where every lane has its own admittances."""
    yg, yb = base[0], base[1]
    at, n_lane = slot[i], len(lanes)
    end = (at + 2 * (y_ptr[i + 1] - y_ptr[i])) * n_lane
    g, b = load(lanes, row_data, end), load(lanes, row_data, end + n_lane)
    ir, jr, ii, ji = g * vr, b * vi, g * vi, b * vr
    o = at * n_lane
    for p in range(y_ptr[i], y_ptr[i + 1]):
        j = np.int64(y_idx[p])
        if slot[j] < 0 and yg[p] == 0.0 and yb[p] == 0.0:  # in no lane is anything there
            o += 2 * n_lane
            continue
        xr = load(lanes, v, 2 * j * n_lane)
        xi = load(lanes, v, (2 * j + 1) * n_lane)
        g, b = load(lanes, row_data, o), load(lanes, row_data, o + n_lane)
        o += 2 * n_lane
        ir, ii, jr, ji = fma(g, xr, ir), fma(g, xi, ii), fma(b, xi, jr), fma(b, xr, ji)
    return ir, jr, ii, ji


@inlined
def reactive_mismatch(lanes, pattern, base, slot, row_data, s, s1, v, i):
    """Reactive mismatch of row ``i``, whether or not its voltage is held."""
    n_lane = len(lanes)
    vr, vi = load(lanes, v, 2 * i * n_lane), load(lanes, v, (2 * i + 1) * n_lane)
    if slot[i] < 0:
        ir, jr, ii, ji = _common_current(lanes, i, pattern[0], pattern[1], base, vr, vi, v)
    else:
        ir, jr, ii, ji = _own_current(
            lanes, i, slot, pattern[0], pattern[1], base, row_data, vr, vi, v
        )
    dq = load(lanes, s, (2 * i + 1) * n_lane) - (vi * (ir - jr) - vr * (ii + ji))
    if s1.size > 0:
        magnitude = root(lanes, v, vr * vr + vi * vi)
        dq = fma(load(lanes, s1, (2 * i + 1) * n_lane), magnitude, dq)
    return dq


@inlined
def root(lanes, like, x):
    """Square root by lanes, through scalars: only constant-current loads need it."""
    scratch = np.empty(len(lanes), like.dtype)
    store(lanes, scratch, 0, x)
    for lane in range(len(lanes)):
        scratch[lane] = np.sqrt(scratch[lane])
    return load(lanes, scratch, 0)


@kernel
def count_iterations(worst, tolerance, k, patience, best, since, count):
    """Note the lanes that are solved after ``k`` iterations; returns how many still run.

    A lane whose mismatch has not come down by a quarter for ``patience`` iterations, or is no
    number, is given up: ``since`` stays above ``patience`` then. ``best`` is the lowest mismatch
    so far.
    """
    worst, best, since, count = borrowed((worst, best, since, count))
    running = 0
    for lane in range(count.size):
        if since[lane] > patience:
            continue
        if worst[lane] < tolerance:
            if count[lane] < 0:
                count[lane] = k
            continue
        count[lane] = -1
        if worst[lane] < 0.75 * best[lane]:
            best[lane] = worst[lane]
            since[lane] = 0
        elif worst[lane] < GIVE_UP:
            since[lane] += 1
        else:  # also not a number
            since[lane] = patience + 1
        running += since[lane] <= patience
    return running


@kernel
def reject_low(lanes, n, v, lowest, count):
    """Solved lanes with a voltage below ``lowest`` become -2: likely not the operable solution."""
    n_lane = len(lanes)
    high = splat(lanes, v, -np.inf)
    zero = splat(lanes, v, 0.0)
    for i in range(n):
        vr, vi = load(lanes, v, 2 * i * n_lane), load(lanes, v, (2 * i + 1) * n_lane)
        high = larger(high, zero - fma(vr, vr, vi * vi))
    squares = np.empty(n_lane)
    store(lanes, squares, 0, high)
    for lane in range(n_lane):
        if count[lane] >= 0 and -squares[lane] < lowest * lowest:
            count[lane] = -2


@kernel
def hand_out(lane, state, count, worst, node, v, out):
    """Write the solution of one lane to its state's row of (v, iterations, mismatch)."""
    count, worst, node, v, out = borrowed((count, worst, node, v, out))
    v_out, iterations, worst_out = out[0], out[1], out[2]
    n_lane = count.size
    iterations[state] = count[lane]
    worst_out[state] = worst[lane]
    if v_out.shape[0] > 0:
        for i in range(node.size):
            v_out[state, node[i]] = complex(
                v[2 * i * n_lane + lane], v[(2 * i + 1) * n_lane + lane]
            )
