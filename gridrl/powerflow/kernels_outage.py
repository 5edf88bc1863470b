"""The outage of one branch per lane as a rank-4 correction in the middle of the base's solves.

With base Jacobian J = L U and the outage's change E M E', the step (J + E M E')^-1 r needs only
F = L^-1 E and B = U'^-1 E, which are zero off the elimination-tree paths of the branch's two
rows: x = U^-1 (y - F (I + M B'F)^-1 M B'y) with y = L^-1 r (Alsac, Stott and Tinney 1983).
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import borrowed, fma, fnma, load, splat, store


@kernel
def outage_paths(lanes, rows_f, rows_t, stamp, parent, kind, mark, paths):
    """Rows on the elimination-tree paths of all outaged ends, ascending; returns how many."""
    used = 0
    for lane in range(len(lanes)):
        for e in range(2):
            i = rows_f[lane] if e == 0 else rows_t[lane]
            if i < 0 or kind[i] == 2:
                continue
            while i >= 0 and mark[i] != stamp:
                mark[i] = stamp
                paths[used] = i
                used += 1
                i = parent[i]
    paths[:used].sort()
    return used


@kernel
def outage_blocks(
    lanes, group, outage, rows_f, rows_t, side, y, base_v, kind, n_path, paths, place, f, b, m
):
    """Unit vectors ``f``, ``b`` [path, 2, 4] and the lost Jacobian ``m`` [4, 4], by lane.

    Columns 0, 1 belong to the from row's two equations, 2, 3 to the to row's. ``side`` is that of
    `gridrl.security.kernels_bridges.bridges`, or empty: no outage cuts anything off.
    """
    group, outage, rows_f, rows_t, y, base_v = borrowed((group, outage, rows_f, rows_t, y, base_v))
    kind, paths, place, f, b, m = borrowed((kind, paths, place, f, b, m))
    n_lane = len(lanes)
    f[: 8 * n_path * n_lane] = 0.0
    b[: 8 * n_path * n_lane] = 0.0
    m[:] = 0.0
    for a in range(n_path):
        place[paths[a]] = a
    for lane in range(n_lane):
        k = outage[group[lane]]
        i, j = rows_f[lane], rows_t[lane]
        for e in range(2):
            row = i if e == 0 else j
            if row >= 0 and kind[row] != 2:
                a = place[row]
                for q in range(2):
                    f[((a * 2 + q) * 4 + 2 * e + q) * n_lane + lane] = 1.0
                    b[((a * 2 + q) * 4 + 2 * e + q) * n_lane + lane] = 1.0
        if i >= 0 and j >= 0:
            kept = side[k] if side.size > 0 else 0
            _lost_jacobian(k, i, j, kept, y, base_v, kind, m, lane, n_lane)


@kernel
def _lost_jacobian(k, i, j, kept, y, base_v, kind, m, lane, n_lane):
    """Minus the Jacobian of branch ``k`` between rows i and j: block ``m`` [4, 4] of one lane.

    Only the equations of one end where one is ``kept`` (1: from, 2: to; 0: both).
    """
    for e in range(2):
        if kept == 2 - e:
            continue
        here, there = (i, j) if e == 0 else (j, i)
        if kind[here] == 2:
            continue
        v = complex(base_v[here, 0], base_v[here, 1])
        x = complex(base_v[there, 0], base_v[there, 1])
        own = v * (y[0 if e == 0 else 3, k] * v).conjugate()
        mutual = v * (y[1 if e == 0 else 2, k] * x).conjugate()
        total = own + mutual
        free = kind[here] == 0
        o = 2 * e  # own column
        c = 2 - 2 * e  # other column
        top, bottom = 4 * (2 * e), 4 * (2 * e + 1)
        m[(top + o) * n_lane + lane] = -(own.imag - total.imag)
        if free:
            m[(top + o + 1) * n_lane + lane] = -(total.real + own.real)
            m[(bottom + o) * n_lane + lane] = -(total.real - own.real)
            m[(bottom + o + 1) * n_lane + lane] = -(total.imag + own.imag)
        if kind[there] != 2:
            m[(top + c) * n_lane + lane] = -mutual.imag
            if free:
                m[(bottom + c) * n_lane + lane] = mutual.real
            if kind[there] == 0:
                m[(top + c + 1) * n_lane + lane] = -mutual.real
                if free:
                    m[(bottom + c + 1) * n_lane + lane] = -mutual.imag


@kernel
def compensate_setup(lanes, n_path, paths, place, pattern, l_of_u, factors, f, b, m, core):
    """Carry ``f`` through L and ``b`` through U', and form core = (I + M B'F)^-1 M."""
    paths, place, pattern, l_of_u, factors = borrowed((paths, place, pattern, l_of_u, factors))
    f, b, m, core = borrowed((f, b, m, core))
    u_ptr, u_idx = pattern[3], pattern[4]
    low, u, d = factors
    n_lane = len(lanes)
    for a in range(n_path):
        k = paths[a]
        d0, d1 = splat(lanes, b, d[4 * k]), splat(lanes, b, d[4 * k + 1])
        d2, d3 = splat(lanes, b, d[4 * k + 2]), splat(lanes, b, d[4 * k + 3])
        for c in range(4):
            o0 = (8 * a + c) * n_lane
            o1 = (8 * a + 4 + c) * n_lane
            b0, b1 = load(lanes, b, o0), load(lanes, b, o1)
            store(lanes, b, o0, d0 * b0 + d2 * b1)
            store(lanes, b, o1, d1 * b0 + d3 * b1)
        for q in range(u_ptr[k], u_ptr[k + 1]):
            j = place[u_idx[q]]
            p = l_of_u[q]
            l0, l1 = splat(lanes, f, low[4 * p]), splat(lanes, f, low[4 * p + 1])
            l2, l3 = splat(lanes, f, low[4 * p + 2]), splat(lanes, f, low[4 * p + 3])
            u0, u1 = splat(lanes, f, u[4 * q]), splat(lanes, f, u[4 * q + 1])
            u2, u3 = splat(lanes, f, u[4 * q + 2]), splat(lanes, f, u[4 * q + 3])
            for c in range(4):
                o0, o1 = (8 * a + c) * n_lane, (8 * a + 4 + c) * n_lane
                q0, q1 = (8 * j + c) * n_lane, (8 * j + 4 + c) * n_lane
                f0, f1 = load(lanes, f, o0), load(lanes, f, o1)
                b0, b1 = load(lanes, b, o0), load(lanes, b, o1)
                store(lanes, f, q0, fnma(l1, f1, fnma(l0, f0, load(lanes, f, q0))))
                store(lanes, f, q1, fnma(l3, f1, fnma(l2, f0, load(lanes, f, q1))))
                store(lanes, b, q0, fnma(u2, b1, fnma(u0, b0, load(lanes, b, q0))))
                store(lanes, b, q1, fnma(u3, b1, fnma(u1, b0, load(lanes, b, q1))))
    _invert_core(lanes, n_path, f, b, m, core)


@kernel
def _invert_core(lanes, n_path, f, b, m, core):
    n_lane = len(lanes)
    g = np.empty(16 * n_lane, f.dtype)
    a = np.empty(16 * n_lane, f.dtype)
    zero, one = splat(lanes, f, 0.0), splat(lanes, f, 1.0)
    for r in range(4):
        for c in range(4):
            total = zero
            for k in range(2 * n_path):
                bk = load(lanes, b, (4 * k + r) * n_lane)
                total = fma(bk, load(lanes, f, (4 * k + c) * n_lane), total)
            store(lanes, g, (4 * r + c) * n_lane, total)
    for r in range(4):
        for c in range(4):
            total = one if r == c else zero
            for k in range(4):
                mk = load(lanes, m, (4 * r + k) * n_lane)
                total = fma(mk, load(lanes, g, (4 * k + c) * n_lane), total)
            store(lanes, a, (4 * r + c) * n_lane, total)
            store(lanes, core, (4 * r + c) * n_lane, load(lanes, m, (4 * r + c) * n_lane))
    for k in range(4):
        pivot = one / load(lanes, a, (4 * k + k) * n_lane)
        for c in range(4):
            o = (4 * k + c) * n_lane
            store(lanes, a, o, load(lanes, a, o) * pivot)
            store(lanes, core, o, load(lanes, core, o) * pivot)
        for r in range(4):
            if r == k:
                continue
            factor = load(lanes, a, (4 * r + k) * n_lane)
            for c in range(4):
                o, p = (4 * r + c) * n_lane, (4 * k + c) * n_lane
                store(lanes, a, o, fnma(factor, load(lanes, a, p), load(lanes, a, o)))
                store(lanes, core, o, fnma(factor, load(lanes, core, p), load(lanes, core, o)))


@kernel
def compensate(lanes, n_path, paths, f, b, core, x):
    """Correct the forward-substituted ``x`` for the outage: x - F core B' x."""
    paths, f, b, core, x = borrowed((paths, f, b, core, x))
    n_lane = len(lanes)
    zero = splat(lanes, x, 0.0)
    t0, t1, t2, t3 = zero, zero, zero, zero
    for a in range(n_path):
        k = paths[a]
        x0, x1 = load(lanes, x, 2 * k * n_lane), load(lanes, x, (2 * k + 1) * n_lane)
        o = 8 * a * n_lane
        t0 = fma(load(lanes, b, o + 4 * n_lane), x1, fma(load(lanes, b, o), x0, t0))
        t1 = fma(load(lanes, b, o + 5 * n_lane), x1, fma(load(lanes, b, o + n_lane), x0, t1))
        t2 = fma(load(lanes, b, o + 6 * n_lane), x1, fma(load(lanes, b, o + 2 * n_lane), x0, t2))
        t3 = fma(load(lanes, b, o + 7 * n_lane), x1, fma(load(lanes, b, o + 3 * n_lane), x0, t3))
    c0 = _core_row(lanes, core, 0, t0, t1, t2, t3)
    c1 = _core_row(lanes, core, 1, t0, t1, t2, t3)
    c2 = _core_row(lanes, core, 2, t0, t1, t2, t3)
    c3 = _core_row(lanes, core, 3, t0, t1, t2, t3)
    for a in range(n_path):
        k = paths[a]
        for q in range(2):
            o = (8 * a + 4 * q) * n_lane
            z = load(lanes, x, (2 * k + q) * n_lane)
            z = fnma(load(lanes, f, o), c0, z)
            z = fnma(load(lanes, f, o + n_lane), c1, z)
            z = fnma(load(lanes, f, o + 2 * n_lane), c2, z)
            z = fnma(load(lanes, f, o + 3 * n_lane), c3, z)
            store(lanes, x, (2 * k + q) * n_lane, z)


@inlined
def _core_row(lanes, core, r, t0, t1, t2, t3):
    n_lane = len(lanes)
    o = 4 * r * n_lane
    total = load(lanes, core, o) * t0 + load(lanes, core, o + n_lane) * t1
    return total + load(lanes, core, o + 2 * n_lane) * t2 + load(lanes, core, o + 3 * n_lane) * t3


@kernel
def first_steps(ends, y, base_v, kind, pattern, inverse):
    """Largest first step (rad, ln p.u.) at the ends of each branch when it opens.

    ``Z (I + M Z)^-1 s`` with the inverse base Jacobian Z at both ends and the lost power s: what
    takes a large step needs many iterations. 0 where an end is open; infinite where the outage
    cuts the grid apart.
    """
    u_ptr, u_idx = pattern[3], pattern[4]
    upper, lower, diagonal = inverse
    step = np.zeros(ends[0].size)
    z, a, m, w = np.zeros((4, 4)), np.empty((4, 4)), np.empty(16), np.empty(4)
    for k in range(step.size):
        i, j = ends[0][k], ends[1][k]
        if i < 0 or j < 0:
            continue
        first, last = min(i, j), max(i, j)
        p = u_ptr[first] + np.searchsorted(u_idx[u_ptr[first] : u_ptr[first + 1]], last)
        z[:2, :2], z[2:, 2:] = diagonal[i], diagonal[j]
        z[:2, 2:], z[2:, :2] = (upper[p], lower[p]) if i < j else (lower[p], upper[p])
        m[:] = 0.0
        _lost_jacobian(k, i, j, 0, y, base_v, kind, m, 0, 1)
        for e in range(2):
            here, there = (i, j) if e == 0 else (j, i)
            v = complex(base_v[here, 0], base_v[here, 1])
            x = complex(base_v[there, 0], base_v[there, 1])
            lost = v * (y[0 if e == 0 else 3, k] * v + y[1 if e == 0 else 2, k] * x).conjugate()
            w[2 * e] = lost.real if kind[here] < 2 else 0.0
            w[2 * e + 1] = lost.imag if kind[here] == 0 else 0.0
        for r in range(4):
            for c in range(4):
                a[r, c] = 1.0 if r == c else 0.0
                for q in range(4):
                    a[r, c] += m[4 * r + q] * z[q, c]
        _solve_small(a, w)
        for r in range(4):
            moved = abs(z[r, 0] * w[0] + z[r, 1] * w[1] + z[r, 2] * w[2] + z[r, 3] * w[3])
            step[k] = max(step[k], moved)
        if not np.isfinite(w).all():
            step[k] = np.inf
    return step


@inlined
def _solve_small(a, w):
    """``w`` becomes a^-1 w, by elimination with row pivots; ``a`` is overwritten."""
    n = w.size
    for k in range(n):
        pivot = k
        for r in range(k + 1, n):
            if abs(a[r, k]) > abs(a[pivot, k]):
                pivot = r
        for c in range(n):
            a[k, c], a[pivot, c] = a[pivot, c], a[k, c]
        w[k], w[pivot] = w[pivot], w[k]
        for r in range(k + 1, n):
            factor = a[r, k] / a[k, k]
            for c in range(k, n):
                a[r, c] -= factor * a[k, c]
            w[r] -= factor * w[k]
    for k in range(n - 1, -1, -1):
        for c in range(k + 1, n):
            w[k] -= a[k, c] * w[c]
        w[k] /= a[k, k]
