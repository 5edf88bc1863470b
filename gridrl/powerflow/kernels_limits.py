"""Loadings and voltages of solved states against their limits, without keeping the voltages.

Tuples passed to both kernels::

    limits  (inv_from, inv_to, inv_s, bar, v_low, v_high, v_low_bar, v_high_bar): squared inverse
            ratings float64[n_branch] (0 where unlimited) and the squared loading above which a
            branch is a finding; squared voltage limits float64[n] by row (0 and inf where
            unlimited) and the squared voltages beyond which a row is a finding.
            Empty arrays: check nothing.
    out     (v, iterations, worst, loading, branch, over, volt_row, volt, outside,
             listed, list_state, list_what, list_value): the first three belong to the solver;
             then per state the highest loading, its branch, how many branches are findings; the
             row whose voltage lies furthest outside (or nearest to) its limits, that voltage, how
             many rows are findings; then a list of all findings: state, branch (or -1 - row for
             a voltage), loading or voltage. ``listed[0]`` counts findings, also those that no
             longer fit: the caller provides more room and repeats.
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.powerflow.kernels_group import reactive_mismatch
from gridrl.sparse.lanes import any_of, borrowed, choose, fma, greater, larger, load, splat, store


@kernel
def _note(out, state, what, value):
    listed, list_state, list_what, list_value = out[9:13]
    at = listed[0]
    listed[0] = at + 1
    if at < list_state.size:
        list_state[at], list_what[at], list_value[at] = state, what, value


@kernel
def check_group(lanes, group, count, outage, ends, y, islands, v, limits, out):
    """Check a group of solved lanes whose states open one branch each at most.

    What the outage cuts off (``islands``, see `gridrl.powerflow.kernels_chord.chord`) gets voltage
    0 in ``v``, carries nothing and is outside no limit.
    """
    group, count, outage, ends, y, v = borrowed((group, count, outage, ends, y, v))
    limits, out, islands = borrowed((limits, out, islands))
    inv_from, inv_to, inv_s, bar = limits[:4]
    if inv_from.size == 0:
        return
    n_lane = len(lanes)
    dark = _darken(group, outage, islands, v, n_lane)
    loading, branch, over = out[3], out[4], out[5]
    best, where = np.empty(n_lane), np.empty(n_lane)
    row = np.empty(n_lane)
    top, index = splat(lanes, v, -1.0), splat(lanes, v, -1.0)
    for lane in range(n_lane):
        over[group[lane]] = 0
    for k in range(inv_from.size):
        f, t = ends[0][k], ends[1][k]
        if f < 0 and t < 0:
            continue
        value = _loading2(lanes, k, f, t, y, v, inv_from, inv_to, inv_s)
        gone = False
        for lane in range(n_lane):
            gone = gone or outage[group[lane]] == k
        if gone:
            store(lanes, row, 0, value)
            for lane in range(n_lane):
                if outage[group[lane]] == k:
                    row[lane] = 0.0
            value = load(lanes, row, 0)
        higher = greater(value, top)
        top = choose(higher, value, top)
        index = choose(higher, splat(lanes, v, k), index)
        if any_of(greater(value, splat(lanes, v, bar[k]))):
            store(lanes, row, 0, value)
            for lane in range(n_lane):
                if row[lane] > bar[k] and _first(group, count, lane):
                    _note(out, group[lane], k, np.sqrt(row[lane]))
                    over[group[lane]] += 1
    store(lanes, best, 0, top)
    store(lanes, where, 0, index)
    for lane in range(n_lane):
        loading[group[lane]] = np.sqrt(max(best[lane], 0.0))
        branch[group[lane]] = np.int64(where[lane])
    _check_voltages(lanes, group, count, dark, v, limits[4:], out)


@kernel
def _darken(group, outage, islands, v, n_lane):
    """Voltage 0 for what the outage of each lane cuts off; returns whether any does."""
    side, order, first, last = islands
    some = False
    if side.size == 0:
        return some
    for lane in range(n_lane):
        k = outage[group[lane]]
        if k < 0 or side[k] == 0:
            continue
        some = True
        for e in range(first[k], last[k]):
            v[2 * order[e] * n_lane + lane] = 0.0
            v[(2 * order[e] + 1) * n_lane + lane] = 0.0
    return some


@kernel
def reject_reactive(lanes, pattern, base, slot, row_data, s, s1, v, reactive, count):
    """Solved lanes whose units leave their reactive limits, or could leave them, become -3.

    ``reactive`` is (row, q_low, q_high, limited_row, v2_low, v2_high): rows that units hold and
    what these may bring in p.u.; rows of units at a limit and the squared voltages between which
    the limit binds. The injection ``s`` has no reactive power of units that hold a voltage.
    """
    pattern, base, slot, row_data = borrowed((pattern, base, slot, row_data))
    s, s1, v, reactive, count = borrowed((s, s1, v, reactive, count))
    row, q_low, q_high, limited_row, v2_low, v2_high = reactive
    n_lane = len(lanes)
    out = np.zeros(n_lane, np.bool_)
    value = np.empty(n_lane)
    for e in range(row.size):
        store(lanes, value, 0, -reactive_mismatch(lanes, pattern, base, slot, row_data, s, s1, v,
                                                  row[e]))  # fmt: skip
        for lane in range(n_lane):
            out[lane] = out[lane] or not q_low[e] <= value[lane] <= q_high[e]
    for e in range(limited_row.size):
        i = limited_row[e]
        vr, vi = load(lanes, v, 2 * i * n_lane), load(lanes, v, (2 * i + 1) * n_lane)
        store(lanes, value, 0, fma(vr, vr, vi * vi))
        for lane in range(n_lane):
            out[lane] = out[lane] or not v2_low[e] <= value[lane] <= v2_high[e]
    for lane in range(n_lane):
        if count[lane] >= 0 and out[lane]:
            count[lane] = -3


@inlined
def _first(group, count, lane):
    """Whether the lane is solved and its state is not that of an earlier lane (a filled group)."""
    return count[lane] >= 0 and (lane == 0 or group[lane] != group[lane - 1])


@inlined
def _loading2(lanes, k, f, t, y, v, inv_from, inv_to, inv_s):
    """Squared loading of branch ``k``: the largest over its ends and kinds of rating."""
    n_lane = len(lanes)
    zero = splat(lanes, v, 0.0)
    value = zero
    i = f if f >= 0 else t
    j = t if t >= 0 else f
    vr, vi = load(lanes, v, 2 * i * n_lane), load(lanes, v, (2 * i + 1) * n_lane)
    xr, xi = load(lanes, v, 2 * j * n_lane), load(lanes, v, (2 * j + 1) * n_lane)
    for e in range(2):
        if (e == 0 and f < 0) or (e == 1 and t < 0):
            continue
        if f >= 0 and t >= 0:
            own, mutual = y[3 * e, k], y[1 + e, k]
        else:
            own, mutual = y[4 + e, k], 0.0j
        ar, ai, br, bi = (vr, vi, xr, xi) if e == 0 or f < 0 else (xr, xi, vr, vi)
        g, b = splat(lanes, v, own.real), splat(lanes, v, own.imag)
        h, c = splat(lanes, v, mutual.real), splat(lanes, v, mutual.imag)
        ir = g * ar - b * ai + h * br - c * bi
        ii = g * ai + b * ar + h * bi + c * br
        i2 = fma(ir, ir, ii * ii)
        rating = inv_from[k] if e == 0 else inv_to[k]
        if rating > 0.0:
            value = larger(value, i2 * splat(lanes, v, rating))
        if inv_s[k] > 0.0:
            value = larger(value, i2 * fma(ar, ar, ai * ai) * splat(lanes, v, inv_s[k]))
    return value


@kernel
def _check_voltages(lanes, group, count, dark, v, limits, out):
    v_low, v_high, low_bar, high_bar = limits
    n_lane = len(lanes)
    volt_row, volt, outside = out[6], out[7], out[8]
    far, where = np.empty(n_lane), np.empty(n_lane)
    top, index = splat(lanes, v, -np.inf), splat(lanes, v, -1.0)
    zero = splat(lanes, v, 0.0)
    for lane in range(n_lane):
        outside[group[lane]] = 0
    for i in range(v_low.size):
        if v_low[i] <= 0.0 and np.isinf(v_high[i]):
            continue
        vr, vi = load(lanes, v, 2 * i * n_lane), load(lanes, v, (2 * i + 1) * n_lane)
        v2 = fma(vr, vr, vi * vi)
        beyond = larger(v2 - splat(lanes, v, v_high[i]), splat(lanes, v, v_low[i]) - v2)
        if dark:
            beyond = choose(greater(v2, zero), beyond, splat(lanes, v, -np.inf))
        further = greater(beyond, top)
        top = choose(further, beyond, top)
        index = choose(further, splat(lanes, v, i), index)
        if any_of(greater(beyond, zero)):
            store(lanes, far, 0, v2)
            for lane in range(n_lane):
                found = far[lane] > high_bar[i] or 0.0 < far[lane] < low_bar[i]
                if found and _first(group, count, lane):
                    _note(out, group[lane], -1 - i, np.sqrt(far[lane]))
                    outside[group[lane]] += 1
    store(lanes, where, 0, index)
    for lane in range(n_lane):
        i = np.int64(where[lane])
        volt_row[group[lane]] = i
        if i >= 0:
            re, im = v[2 * i * n_lane + lane], v[(2 * i + 1) * n_lane + lane]
            volt[group[lane]] = np.hypot(re, im)


@kernel
def check_states(v, which, changes, network, base, node, limits, out):
    """Check states given by their voltages (complex128[B, n_node]), whatever they switch."""
    v, which, changes, network = borrowed((v, which, changes, network))
    base, node, limits, out = borrowed((base, node, limits, out))
    inv_from, inv_to, inv_s, bar, v_low, v_high, low_bar, high_bar = limits
    loading, branch, over, volt_row, volt, outside = out[3:9]
    b_of, b_branch, b_from, b_to, b_closed = changes[:5]
    _, row_from, row_to, y, _ = network
    n_branch = inv_from.size
    busbar_f, busbar_t, closed = base[0].copy(), base[1].copy(), base[2].copy()
    for state in which:
        for c in range(b_of[state], b_of[state + 1]):
            k = b_branch[c]
            busbar_f[k], busbar_t[k], closed[k] = b_from[c], b_to[c], b_closed[c]
        loading[state], branch[state], over[state] = 0.0, -1, 0
        top = -1.0
        for k in range(n_branch):
            if not closed[k]:
                continue
            f = node[row_from[k, busbar_f[k] - 1]] if busbar_f[k] > 0 else -1
            t = node[row_to[k, busbar_t[k] - 1]] if busbar_t[k] > 0 else -1
            vf = v[state, f] if f >= 0 else 0.0j
            vt = v[state, t] if t >= 0 else 0.0j
            value = _state_loading2(
                f >= 0, t >= 0, vf, vt, y[0, k], y[1, k], y[2, k], y[3, k], y[4, k], y[5, k],
                inv_from[k], inv_to[k], inv_s[k],
            )  # fmt: skip
            if value > top:
                top = value
                loading[state], branch[state] = np.sqrt(value), k
            if value > bar[k]:
                _note(out, state, k, np.sqrt(value))
                over[state] += 1
        volt_row[state], outside[state], volt[state] = -1, 0, np.nan
        far = -np.inf
        for i in range(v_low.size):
            x = v[state, node[i]]
            v2 = x.real * x.real + x.imag * x.imag
            if np.isnan(v2) or (v_low[i] <= 0.0 and np.isinf(v_high[i])):
                continue
            beyond = max(v2 - v_high[i], v_low[i] - v2)
            if beyond > far:
                far = beyond
                volt_row[state], volt[state] = i, np.sqrt(v2)
            if v2 > high_bar[i] or v2 < low_bar[i]:
                _note(out, state, -1 - i, np.sqrt(v2))
                outside[state] += 1
        for c in range(b_of[state], b_of[state + 1]):
            k = b_branch[c]
            busbar_f[k], busbar_t[k], closed[k] = base[0][k], base[1][k], base[2][k]


@inlined
def _state_loading2(
    has_from, has_to, vf, vt, y_ff, y_ft, y_tf, y_tt, y_from, y_to, inv_from, inv_to, inv_s
):
    """Squared loading of one branch; takes numbers, because passing arrays costs more than this."""
    if np.isnan(vf.real) or np.isnan(vt.real):
        return 0.0
    value = 0.0
    if has_from:
        i = y_ff * vf + y_ft * vt if has_to else y_from * vf
        i2 = i.real * i.real + i.imag * i.imag
        value = max(i2 * inv_from, i2 * (vf.real * vf.real + vf.imag * vf.imag) * inv_s)
    if has_to:
        i = y_tf * vf + y_tt * vt if has_from else y_to * vt
        i2 = i.real * i.real + i.imag * i.imag
        value = max(value, i2 * inv_to, i2 * (vt.real * vt.real + vt.imag * vt.imag) * inv_s)
    return value
