"""Newton power flow over lanes: every lane its own injections, outages and busbar splits.

The unknowns of a row are (theta, ln |v|); equations are active and reactive power balance. Each
row is a 2x2 block, so the whole elimination runs on blocks of a fixed pattern without pivoting.
The mismatch is float64 always; factors take the type of the work arrays, and float32 costs no
accuracy because every solution is checked on the float64 mismatch.

Kinds of rows: 0 PQ, 1 PV (|v| held), 2 FIXED (v held: a reference, or a dead node).

Lane arrays are flat: number ``k`` of lane ``l`` sits at ``k * n_lane + l``. A row is either
*common* (all lanes of the group agree with the base state: scalar admittances) or a *lane row*
(``slot[i] >= 0``: admittances and masks per lane at ``row_data[slot[i] * n_lane:]``).

A group of states is described by change lists in the order of `gridrl.powerflow.states.States`.
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import absolute, cast, fma, fnma, larger, load, smaller, splat, store


@kernel
def open_lane_rows(lanes, group, pattern, base, states, slot, row_data, rows_open):
    """Give every row that some lane of the group changes its own admittances and masks.

    Returns the number of rows opened; ``rows_open`` lists them, for `close_lane_rows`.
    """
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
                magnitude = np.hypot(re, im)
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
def mismatch(lanes, pattern, base, slot, row_data, s, s1, v, r, worst):
    """Power balance error of every row into ``r``; the largest of each lane into ``worst``.

    With constant-current parts (``s1`` not empty) a row is owed ``s + s1 |v|``.
    """
    y_ptr, y_idx = pattern[0], pattern[1]
    yg, yb, dg, db, kind = base
    n_lane = len(lanes)
    zero = splat(lanes, v, 0.0)
    high = zero
    for i in range(kind.size):
        vr = load(lanes, v, 2 * i * n_lane)
        vi = load(lanes, v, (2 * i + 1) * n_lane)
        at = slot[i]
        if at < 0:
            if kind[i] == 2:
                store(lanes, r, 2 * i * n_lane, cast(r, zero))
                store(lanes, r, (2 * i + 1) * n_lane, cast(r, zero))
                continue
            g = splat(lanes, v, dg[i])
            b = splat(lanes, v, db[i])
            ir, jr, ii, ji = g * vr, b * vi, g * vi, b * vr
            for p in range(y_ptr[i], y_ptr[i + 1]):
                j = np.int64(y_idx[p])
                xr = load(lanes, v, 2 * j * n_lane)
                xi = load(lanes, v, (2 * j + 1) * n_lane)
                g = splat(lanes, v, yg[p])
                b = splat(lanes, v, yb[p])
                ir, ii, jr, ji = fma(g, xr, ir), fma(g, xi, ii), fma(b, xi, jr), fma(b, xr, ji)
        else:
            end = (at + 2 * (y_ptr[i + 1] - y_ptr[i])) * n_lane
            g = load(lanes, row_data, end)
            b = load(lanes, row_data, end + n_lane)
            ir, jr, ii, ji = g * vr, b * vi, g * vi, b * vr
            o = at * n_lane
            for p in range(y_ptr[i], y_ptr[i + 1]):
                j = np.int64(y_idx[p])
                xr = load(lanes, v, 2 * j * n_lane)
                xi = load(lanes, v, (2 * j + 1) * n_lane)
                g = load(lanes, row_data, o)
                b = load(lanes, row_data, o + n_lane)
                o += 2 * n_lane
                ir, ii, jr, ji = fma(g, xr, ir), fma(g, xi, ii), fma(b, xi, jr), fma(b, xr, ji)
        ir = ir - jr
        ii = ii + ji
        dp = load(lanes, s, 2 * i * n_lane) - (vr * ir + vi * ii)
        dq = load(lanes, s, (2 * i + 1) * n_lane) - (vi * ir - vr * ii)
        if s1.size > 0:
            magnitude = root(lanes, v, vr * vr + vi * vi)
            dp = fma(load(lanes, s1, 2 * i * n_lane), magnitude, dp)
            dq = fma(load(lanes, s1, (2 * i + 1) * n_lane), magnitude, dq)
        if at >= 0:
            dp = dp * load(lanes, row_data, o + 2 * n_lane)
            dq = dq * load(lanes, row_data, o + 3 * n_lane)
        elif kind[i] == 1:
            dq = zero
        store(lanes, r, 2 * i * n_lane, cast(r, dp))
        store(lanes, r, (2 * i + 1) * n_lane, cast(r, dq))
        high = larger(high, larger(absolute(dp), absolute(dq)))
    store(lanes, worst, 0, high)


@inlined
def root(lanes, like, x):
    """Square root by lanes, through scalars: only constant-current loads need it."""
    scratch = np.empty(len(lanes), like.dtype)
    store(lanes, scratch, 0, x)
    for lane in range(len(lanes)):
        scratch[lane] = np.sqrt(scratch[lane])
    return load(lanes, scratch, 0)


@kernel
def eliminate(lanes, pattern, base, slot, row_data, s, s1, v, w, low, u, d, y):
    """Jacobian row, block elimination and forward substitution of every row in one pass.

    ``u`` and ``d`` receive the factor (rows of U, inverted diagonal blocks), ``y`` the forward
    substituted mismatch; ``w`` is a row of scratch. ``low`` receives the rows of L unless empty.
    """
    y_ptr, y_idx, _, u_ptr, u_idx, l_ptr, l_idx = pattern
    yg, yb, dg, db, kind = base
    n_lane = len(lanes)
    zero64 = splat(lanes, v, 0.0)
    zero = splat(lanes, w, 0.0)
    one = splat(lanes, w, 1.0)
    for i in range(kind.size):
        at = slot[i]
        if at < 0 and kind[i] == 2:
            _identity_row(lanes, i, u_ptr, u, d, y)
            continue
        for p in range(l_ptr[i], l_ptr[i + 1]):
            o = 4 * np.int64(l_idx[p]) * n_lane
            for q in range(4):
                store(lanes, w, o + q * n_lane, zero)
        for p in range(u_ptr[i], u_ptr[i + 1]):
            o = 4 * np.int64(u_idx[p]) * n_lane
            for q in range(4):
                store(lanes, w, o + q * n_lane, zero)
        vr = load(lanes, v, 2 * i * n_lane)
        vi = load(lanes, v, (2 * i + 1) * n_lane)
        mp, mq = one, one
        o = at * n_lane
        if at < 0:
            g = splat(lanes, v, dg[i])
            b = splat(lanes, v, db[i])
        else:
            end = (at + 2 * (y_ptr[i + 1] - y_ptr[i])) * n_lane
            g = load(lanes, row_data, end)
            b = load(lanes, row_data, end + n_lane)
            mp = cast(w, load(lanes, row_data, end + 2 * n_lane))
            mq = cast(w, load(lanes, row_data, end + 3 * n_lane))
        ir = g * vr - b * vi
        ii = g * vi + b * vr
        v2 = vr * vr + vi * vi
        da = v2 * g
        dbb = -(v2 * b)
        for p in range(y_ptr[i], y_ptr[i + 1]):
            j = np.int64(y_idx[p])
            xr = load(lanes, v, 2 * j * n_lane)
            xi = load(lanes, v, (2 * j + 1) * n_lane)
            if at < 0:
                g = splat(lanes, v, yg[p])
                b = splat(lanes, v, yb[p])
            else:
                g = load(lanes, row_data, o)
                b = load(lanes, row_data, o + n_lane)
                o += 2 * n_lane
            cr = g * xr - b * xi
            ci = g * xi + b * xr
            ir = ir + cr
            ii = ii + ci
            ja = cast(w, vr * cr + vi * ci)
            jb = cast(w, vi * cr - vr * ci)
            c = 4 * j * n_lane
            if at < 0:
                store(lanes, w, c, jb)
                store(lanes, w, c + n_lane, ja)
                if kind[i] == 0:
                    store(lanes, w, c + 2 * n_lane, -ja)
                    store(lanes, w, c + 3 * n_lane, jb)
            else:
                store(lanes, w, c, jb * mp)
                store(lanes, w, c + n_lane, ja * mp)
                store(lanes, w, c + 2 * n_lane, -(ja * mq))
                store(lanes, w, c + 3 * n_lane, jb * mq)
        p_out = vr * ir + vi * ii
        q_out = vi * ir - vr * ii
        dp = load(lanes, s, 2 * i * n_lane) - p_out
        dq = load(lanes, s, (2 * i + 1) * n_lane) - q_out
        w0 = cast(w, dbb - q_out)
        w1 = cast(w, p_out + da)
        w2 = cast(w, p_out - da)
        w3 = cast(w, q_out + dbb)
        if s1.size > 0:
            magnitude = root(lanes, v, v2)
            sp = load(lanes, s1, 2 * i * n_lane) * magnitude
            sq = load(lanes, s1, (2 * i + 1) * n_lane) * magnitude
            dp = dp + sp
            dq = dq + sq
            w1 = w1 - cast(w, sp)
            w3 = w3 - cast(w, sq)
        if at >= 0:
            w0 = fma(mp, w0 - one, one)
            w1 = w1 * mp
            w2 = w2 * mq
            w3 = fma(mq, w3 - one, one)
            dp = dp * load(lanes, row_data, o + 2 * n_lane)
            dq = dq * load(lanes, row_data, o + 3 * n_lane)
        elif kind[i] == 1:
            w2, w3, dq = zero, one, zero64
        c = 4 * i * n_lane
        store(lanes, w, c, w0)
        store(lanes, w, c + n_lane, w1)
        store(lanes, w, c + 2 * n_lane, w2)
        store(lanes, w, c + 3 * n_lane, w3)
        dp, dq = cast(w, dp), cast(w, dq)
        _reduce_row(lanes, i, u_ptr, u_idx, l_ptr, l_idx, w, low, u, d, y, dp, dq)


@inlined
def _identity_row(lanes, i, u_ptr, u, d, y):
    n_lane = len(lanes)
    zero = splat(lanes, d, 0.0)
    one = splat(lanes, d, 1.0)
    for p in range(4 * u_ptr[i], 4 * u_ptr[i + 1]):
        store(lanes, u, p * n_lane, zero)
    o = 4 * i * n_lane
    store(lanes, d, o, one)
    store(lanes, d, o + n_lane, zero)
    store(lanes, d, o + 2 * n_lane, zero)
    store(lanes, d, o + 3 * n_lane, one)
    store(lanes, y, 2 * i * n_lane, zero)
    store(lanes, y, (2 * i + 1) * n_lane, zero)


@inlined
def _reduce_row(lanes, i, u_ptr, u_idx, l_ptr, l_idx, w, low, u, d, y, y0, y1):
    """Subtract the rows above from row ``i`` in ``w``, invert its diagonal, keep its U part."""
    n_lane = len(lanes)
    for p in range(l_ptr[i], l_ptr[i + 1]):
        k = np.int64(l_idx[p])
        o = 4 * k * n_lane
        c0 = load(lanes, w, o)
        c1 = load(lanes, w, o + n_lane)
        c2 = load(lanes, w, o + 2 * n_lane)
        c3 = load(lanes, w, o + 3 * n_lane)
        d0 = load(lanes, d, o)
        d1 = load(lanes, d, o + n_lane)
        d2 = load(lanes, d, o + 2 * n_lane)
        d3 = load(lanes, d, o + 3 * n_lane)
        l0 = c0 * d0 + c1 * d2
        l1 = c0 * d1 + c1 * d3
        l2 = c2 * d0 + c3 * d2
        l3 = c2 * d1 + c3 * d3
        if low.size > 0:
            store(lanes, low, 4 * p * n_lane, l0)
            store(lanes, low, (4 * p + 1) * n_lane, l1)
            store(lanes, low, (4 * p + 2) * n_lane, l2)
            store(lanes, low, (4 * p + 3) * n_lane, l3)
        z0 = load(lanes, y, 2 * k * n_lane)
        z1 = load(lanes, y, (2 * k + 1) * n_lane)
        y0 = fnma(l1, z1, fnma(l0, z0, y0))
        y1 = fnma(l3, z1, fnma(l2, z0, y1))
        for q in range(u_ptr[k], u_ptr[k + 1]):
            o = 4 * np.int64(u_idx[q]) * n_lane
            r = 4 * q * n_lane
            u0 = load(lanes, u, r)
            u1 = load(lanes, u, r + n_lane)
            u2 = load(lanes, u, r + 2 * n_lane)
            u3 = load(lanes, u, r + 3 * n_lane)
            store(lanes, w, o, fnma(l1, u2, fnma(l0, u0, load(lanes, w, o))))
            o += n_lane
            store(lanes, w, o, fnma(l1, u3, fnma(l0, u1, load(lanes, w, o))))
            o += n_lane
            store(lanes, w, o, fnma(l3, u2, fnma(l2, u0, load(lanes, w, o))))
            o += n_lane
            store(lanes, w, o, fnma(l3, u3, fnma(l2, u1, load(lanes, w, o))))
    o = 4 * i * n_lane
    w0 = load(lanes, w, o)
    w1 = load(lanes, w, o + n_lane)
    w2 = load(lanes, w, o + 2 * n_lane)
    w3 = load(lanes, w, o + 3 * n_lane)
    inverse = splat(lanes, w, 1.0) / (w0 * w3 - w1 * w2)
    store(lanes, d, o, w3 * inverse)
    store(lanes, d, o + n_lane, -(w1 * inverse))
    store(lanes, d, o + 2 * n_lane, -(w2 * inverse))
    store(lanes, d, o + 3 * n_lane, w0 * inverse)
    store(lanes, y, 2 * i * n_lane, y0)
    store(lanes, y, (2 * i + 1) * n_lane, y1)
    for p in range(u_ptr[i], u_ptr[i + 1]):
        o = 4 * np.int64(u_idx[p]) * n_lane
        r = 4 * p * n_lane
        for q in range(4):
            store(lanes, u, r + q * n_lane, load(lanes, w, o + q * n_lane))


@kernel
def substitute_and_turn(lanes, pattern, u, d, y, v, turn_max, stretch_max, broken):
    """Back substitution, then ``v`` times exp(step): turned by theta, stretched by ln |v|.

    A step is cut at ``turn_max`` rad and ``stretch_max``. A row whose |v| is held keeps it to the
    last bit: its stretch is exactly zero and the turn is a rational rotation of modulus one.
    ``broken`` becomes NaN in the lanes whose step is not finite: their voltages are worthless.
    """
    u_ptr, u_idx = pattern[3], pattern[4]
    n_lane = len(lanes)
    one = splat(lanes, v, 1.0)
    turn_high = splat(lanes, v, turn_max)
    stretch_high = splat(lanes, v, stretch_max)
    zero = splat(lanes, y, 0.0)
    poison = zero
    for i in range(u_ptr.size - 2, -1, -1):
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
    lanes, like, pattern, node, base, s_node, s_current, states, v_start, order, settings, out
):
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
    settings : (tolerance, max_iteration, turn_max, stretch_max)
    out : (v complex128[B, n_node], iterations int32[B], worst float64[B])
        Filled for the states in ``order``; iterations is -1 where it did not converge.
    """
    tolerance, max_iteration, turn_max, stretch_max = settings
    v_out, iterations, worst_out = out
    n_lane = len(lanes)
    n = node.size
    v = np.empty(2 * n * n_lane)
    s = np.empty(2 * n * n_lane)
    s1 = np.empty(2 * n * n_lane if s_current.shape[0] > 0 else 0)
    w = np.zeros(4 * n * n_lane, like.dtype)
    u = np.zeros(4 * max(1, pattern[4].size) * n_lane, like.dtype)
    d = np.zeros(4 * n * n_lane, like.dtype)
    y = np.zeros(2 * n * n_lane, like.dtype)
    low = np.empty(0, like.dtype)
    worst = np.zeros(n_lane)
    row_data = np.empty(lane_row_room(pattern) * n_lane)
    slot = np.full(n, -1, np.int64)
    rows_open = np.empty(n, np.int64)
    group = np.empty(n_lane, np.int64)
    count = np.empty(n_lane, np.int64)
    broken = np.zeros(n_lane, like.dtype)
    failed = np.zeros(n_lane, np.bool_)
    for first in range(0, order.size, n_lane):
        for lane in range(n_lane):
            group[lane] = order[min(first + lane, order.size - 1)]
            count[lane] = -1
            failed[lane] = False
        opened = open_lane_rows(lanes, group, pattern, base, states, slot, row_data, rows_open)
        load_group(lanes, group, n, states, s_node, s_current, v_start, s, s1, v)
        for iteration in range(max_iteration + 1):
            mismatch(lanes, pattern, base, slot, row_data, s, s1, v, y, worst)
            running = 0
            for lane in range(n_lane):
                if failed[lane]:
                    continue
                if worst[lane] < tolerance:
                    if count[lane] < 0:
                        count[lane] = iteration
                else:
                    count[lane] = -1
                    running += 1
            if running == 0 or iteration == max_iteration:
                break
            eliminate(lanes, pattern, base, slot, row_data, s, s1, v, w, low, u, d, y)
            substitute_and_turn(lanes, pattern, u, d, y, v, turn_max, stretch_max, broken)
            for lane in range(n_lane):
                if np.isnan(broken[lane]) or worst[lane] > 1e9:
                    failed[lane] = True
                    count[lane] = -1
        close_lane_rows(opened, rows_open, slot)
        for lane in range(min(n_lane, order.size - first)):
            state = group[lane]
            iterations[state] = count[lane]
            worst_out[state] = worst[lane]
            for i in range(n):
                v_out[state, node[i]] = complex(
                    v[2 * i * n_lane + lane], v[(2 * i + 1) * n_lane + lane]
                )


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
    v = v_base.copy().reshape(-1)
    eliminate(
        lanes, pattern, base, slot, none, np.zeros(2 * n), none, v, np.zeros(4 * n), low, u, d,
        np.zeros(2 * n),
    )  # fmt: skip
    return low.astype(np.float32), u.astype(np.float32), d.astype(np.float32)
