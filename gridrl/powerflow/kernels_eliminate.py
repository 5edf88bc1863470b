"""Elimination of the Jacobian over lanes: its rows are made, reduced and kept in one pass.

Every row is a 2x2 block of a fixed pattern, without pivoting; see `gridrl.powerflow.kernels_newton`
for the unknowns and `gridrl.powerflow.kernels_group` for rows that lanes share or own.
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.powerflow.kernels_group import root
from gridrl.sparse.lanes import (
    absolute,
    any_of,
    borrowed,
    cast,
    fma,
    fnma,
    greater,
    larger,
    load,
    splat,
    store,
)


@kernel
def eliminate(lanes, pattern, base, slot, row_data, s1, x, w, low, u, d, y):
    """Jacobian row, block elimination and forward substitution of every row in one pass.

    ``x`` are the voltages in the type of the factors and ``y`` the mismatch, as
    `gridrl.powerflow.kernels_group.mismatch` leaves them. ``u`` and ``d`` receive the factor (rows
    of U, inverted diagonal blocks), ``y`` the forward substituted mismatch; ``w`` is a row of
    scratch. ``low`` receives the rows of L unless empty.
    """
    pattern, base, slot, row_data, s1 = borrowed((pattern, base, slot, row_data, s1))
    x, w, low, u, d, y = borrowed((x, w, low, u, d, y))
    u_ptr, u_idx, l_ptr, l_idx = pattern[3:7]
    kind = base[4]
    n_lane = len(lanes)
    zero = splat(lanes, w, 0.0)
    for i in range(kind.size):
        if slot[i] < 0 and kind[i] == 2:
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
        if slot[i] < 0:
            _common_jacobian_row(lanes, i, pattern, base, s1, x, w)
        else:
            _own_jacobian_row(lanes, i, slot, pattern, base, row_data, s1, x, w)
        _reduce_row(lanes, i, u_ptr, u_idx, l_ptr, l_idx, w, low, u, d, y)


@kernel
def live_pattern(pattern, kind, slot, room):
    """The pattern without fill in columns that are an identity in all lanes of a group.

    Second busbars on which nothing sits are most of them. Their unknowns do not move, so what
    multiplies these is never needed. ``room`` (u_ptr, u_idx, l_ptr, l_idx) is filled and used.
    """
    pattern, kind, slot, room = borrowed((pattern, kind, slot, room))
    for ptr, idx, new_ptr, new_idx in (
        (pattern[3], pattern[4], room[0], room[1]), (pattern[5], pattern[6], room[2], room[3]),
    ):  # fmt: skip
        used = 0
        for i in range(kind.size):
            new_ptr[i] = used
            if slot[i] < 0 and kind[i] == 2:
                continue
            for p in range(ptr[i], ptr[i + 1]):
                j = np.int64(idx[p])
                if slot[j] >= 0 or kind[j] != 2:
                    new_idx[used] = idx[p]
                    used += 1
        new_ptr[kind.size] = used
    return pattern[0], pattern[1], pattern[2], room[0], room[1], room[2], room[3]


@inlined
def _common_jacobian_row(lanes, i, pattern, base, s1, x, w):
    """Row ``i`` of the Jacobian where all lanes agree with the base state, into ``w``."""
    y_ptr, y_idx = pattern[0], pattern[1]
    yg, yb, dg, db, kind = base
    n_lane = len(lanes)
    vr = load(lanes, x, 2 * i * n_lane)
    vi = load(lanes, x, (2 * i + 1) * n_lane)
    g, b = splat(lanes, x, dg[i]), splat(lanes, x, db[i])
    ir, ii = g * vr - b * vi, g * vi + b * vr
    v2 = vr * vr + vi * vi
    da, dbb = v2 * g, -(v2 * b)
    for p in range(y_ptr[i], y_ptr[i + 1]):
        if yg[p] == 0.0 and yb[p] == 0.0:  # a second busbar
            continue
        j = np.int64(y_idx[p])
        xr = load(lanes, x, 2 * j * n_lane)
        xi = load(lanes, x, (2 * j + 1) * n_lane)
        g, b = splat(lanes, x, yg[p]), splat(lanes, x, yb[p])
        cr, ci = g * xr - b * xi, g * xi + b * xr
        ir, ii = ir + cr, ii + ci
        ja, jb = vr * cr + vi * ci, vi * cr - vr * ci
        c = 4 * j * n_lane
        store(lanes, w, c, jb)
        store(lanes, w, c + n_lane, ja)
        if kind[i] == 0:
            store(lanes, w, c + 2 * n_lane, -ja)
            store(lanes, w, c + 3 * n_lane, jb)
    p_out, q_out = vr * ir + vi * ii, vi * ir - vr * ii
    w1, w2, w3 = p_out + da, p_out - da, q_out + dbb
    if s1.size > 0:
        magnitude = root(lanes, x, v2)
        w1 = w1 - cast(x, load(lanes, s1, 2 * i * n_lane)) * magnitude
        w3 = w3 - cast(x, load(lanes, s1, (2 * i + 1) * n_lane)) * magnitude
    if kind[i] == 1:
        w2, w3 = splat(lanes, w, 0.0), splat(lanes, w, 1.0)
    c = 4 * i * n_lane
    store(lanes, w, c, dbb - q_out)
    store(lanes, w, c + n_lane, w1)
    store(lanes, w, c + 2 * n_lane, w2)
    store(lanes, w, c + 3 * n_lane, w3)


@inlined
def _own_jacobian_row(lanes, i, slot, pattern, base, row_data, s1, x, w):
    """Row ``i`` of the Jacobian with admittances and masks of each lane, into ``w``."""
    y_ptr, y_idx = pattern[0], pattern[1]
    yg, yb = base[0], base[1]
    at, n_lane = slot[i], len(lanes)
    one = splat(lanes, w, 1.0)
    vr = load(lanes, x, 2 * i * n_lane)
    vi = load(lanes, x, (2 * i + 1) * n_lane)
    end = (at + 2 * (y_ptr[i + 1] - y_ptr[i])) * n_lane
    g, b = cast(x, load(lanes, row_data, end)), cast(x, load(lanes, row_data, end + n_lane))
    mp = cast(x, load(lanes, row_data, end + 2 * n_lane))
    mq = cast(x, load(lanes, row_data, end + 3 * n_lane))
    ir, ii = g * vr - b * vi, g * vi + b * vr
    v2 = vr * vr + vi * vi
    da, dbb = v2 * g, -(v2 * b)
    o = at * n_lane
    for p in range(y_ptr[i], y_ptr[i + 1]):
        j = np.int64(y_idx[p])
        if slot[j] < 0 and yg[p] == 0.0 and yb[p] == 0.0:  # in no lane is anything there
            o += 2 * n_lane
            continue
        xr = load(lanes, x, 2 * j * n_lane)
        xi = load(lanes, x, (2 * j + 1) * n_lane)
        g, b = cast(x, load(lanes, row_data, o)), cast(x, load(lanes, row_data, o + n_lane))
        o += 2 * n_lane
        cr, ci = g * xr - b * xi, g * xi + b * xr
        ir, ii = ir + cr, ii + ci
        ja, jb = vr * cr + vi * ci, vi * cr - vr * ci
        c = 4 * j * n_lane
        store(lanes, w, c, jb * mp)
        store(lanes, w, c + n_lane, ja * mp)
        store(lanes, w, c + 2 * n_lane, -(ja * mq))
        store(lanes, w, c + 3 * n_lane, jb * mq)
    p_out, q_out = vr * ir + vi * ii, vi * ir - vr * ii
    w1, w3 = p_out + da, q_out + dbb
    if s1.size > 0:
        magnitude = root(lanes, x, v2)
        w1 = w1 - cast(x, load(lanes, s1, 2 * i * n_lane)) * magnitude
        w3 = w3 - cast(x, load(lanes, s1, (2 * i + 1) * n_lane)) * magnitude
    # a masked equation is the identity: its step is exactly zero; one that is not masked is to the
    # last bit what it would be in a common row
    c = 4 * i * n_lane
    store(lanes, w, c, fma(mp, dbb - q_out, one - mp))
    store(lanes, w, c + n_lane, w1 * mp)
    store(lanes, w, c + 2 * n_lane, (p_out - da) * mq)
    store(lanes, w, c + 3 * n_lane, fma(mq, w3, one - mq))


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
def _no_block(lanes, p, low):
    """Entry ``p`` of L is zero in all lanes."""
    n_lane = len(lanes)
    if low.size > 0:
        for q in range(4):
            store(lanes, low, (4 * p + q) * n_lane, splat(lanes, low, 0.0))


@inlined
def _reduce_row(lanes, i, u_ptr, u_idx, l_ptr, l_idx, w, low, u, d, y):
    """Subtract the rows above from row ``i`` in ``w``, invert its diagonal, keep its U part."""
    n_lane = len(lanes)
    zero = splat(lanes, w, 0.0)
    y0 = load(lanes, y, 2 * i * n_lane)
    y1 = load(lanes, y, (2 * i + 1) * n_lane)
    for p in range(l_ptr[i], l_ptr[i + 1]):
        k = np.int64(l_idx[p])
        o = 4 * k * n_lane
        c0 = load(lanes, w, o)
        c1 = load(lanes, w, o + n_lane)
        c2 = load(lanes, w, o + 2 * n_lane)
        c3 = load(lanes, w, o + 3 * n_lane)
        # most branches could sit on second busbars but do not: blocks that are zero in all lanes
        some = larger(larger(absolute(c0), absolute(c1)), larger(absolute(c2), absolute(c3)))
        if not any_of(greater(some, zero)):
            _no_block(lanes, p, low)
            continue
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
def forward_own(lanes, pattern, kind, slot, low, y):
    """``y`` becomes L^-1 y, with the rows of L of each lane that `eliminate` left in ``low``."""
    pattern, kind, slot, low, y = borrowed((pattern, kind, slot, low, y))
    l_ptr, l_idx = pattern[5], pattern[6]
    n_lane = len(lanes)
    for i in range(kind.size):
        if slot[i] < 0 and kind[i] == 2:
            continue
        y0 = load(lanes, y, 2 * i * n_lane)
        y1 = load(lanes, y, (2 * i + 1) * n_lane)
        for p in range(l_ptr[i], l_ptr[i + 1]):
            k = np.int64(l_idx[p])
            z0 = load(lanes, y, 2 * k * n_lane)
            z1 = load(lanes, y, (2 * k + 1) * n_lane)
            o = 4 * p * n_lane
            y0 = fnma(load(lanes, low, o), z0, y0)
            y0 = fnma(load(lanes, low, o + n_lane), z1, y0)
            y1 = fnma(load(lanes, low, o + 2 * n_lane), z0, y1)
            y1 = fnma(load(lanes, low, o + 3 * n_lane), z1, y1)
        store(lanes, y, 2 * i * n_lane, y0)
        store(lanes, y, (2 * i + 1) * n_lane, y1)
