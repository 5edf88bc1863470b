"""DC loadings of many switching actions, and of every outage after each, without solving anything.

Taking branch ends off a node (all ends of an opened line, or the group that moves to another
busbar) changes the DC flows ``f`` of all branches along one vector ``g``, the signed sum of the
columns of a matrix ``M`` that belong to those ends: ``f' = f - g c / den``, where ``c`` is what
flows over the coupler between both groups and ``den`` what ``g`` makes of it. The matrix changes by
rank one too, ``M' = M - g g' / den``, so an outage after an action is that step once more.
See `gridrl.powerflow.sensitivity` for the matrix.

Tuples passed to the kernels::

    actions  (part_of, part_row, part_sign, extra): rows of ``column`` and signs of each action;
             what closing a branch adds to ``den`` float64[n]
    grid     (column, branch, f, inv2, q2, b): the matrix by its columns float64[m, width], the
             branch of each column; flows p.u. float64[n_case, width] (0: base, then one per loss
             of a unit); squared inverse ratings, squared reactive flow float64[width];
             susceptances float64[n_branch]
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import fma, fnma, larger, load, splat, store

CUT = 1e-7  # relative pivot below which an action or outage cuts the grid in two


@inlined
def _coefficient(a, case, actions, grid, moved_p):
    """c / den of an action; infinite where it cuts the grid, with den beside it."""
    part_of, part_row, part_sign, extra = actions
    column, branch, f, b = grid[0], grid[1], grid[2], grid[5]
    den, c, size = extra[a], -moved_p[case, a], 0.0
    for p in range(part_of[a], part_of[a + 1]):
        k = branch[part_row[p]]
        c += part_sign[p] * f[case, k]
        size += abs(b[k])
        for q in range(part_of[a], part_of[a + 1]):
            den += part_sign[p] * part_sign[q] * column[part_row[q], k]
    if abs(den) <= CUT * size:
        return np.inf, 0.0
    return c / den, den


@inlined
def _highest(lanes, like, squares):
    store(lanes, like, 0, squares)
    best = 0.0
    for lane in range(len(lanes)):
        best = max(best, like[lane])
    return np.sqrt(best)


@kernel
def screen_base(lanes, actions, grid, moved_p, out):
    """Highest loading after each action, float64[n] (1 is the rating; infinite where it cuts)."""
    part_of, part_row, part_sign = actions[:3]
    column, _, f, inv2, q2, _ = grid
    width, n_lane = inv2.size, len(lanes)
    scratch = np.empty(n_lane)
    base = f[0]
    for a in range(part_of.size - 1):
        factor, den = _coefficient(a, 0, actions, grid, moved_p)
        if den == 0.0:
            out[a] = np.inf
            continue
        top = splat(lanes, inv2, 0.0)
        first, last = part_of[a], part_of[a + 1]
        for o in range(0, width, n_lane):
            flow = load(lanes, base, o)
            for p in range(first, last):
                sign = splat(lanes, inv2, part_sign[p] * factor)
                flow = fnma(sign, load(lanes, column[part_row[p]], o), flow)
            value = fma(flow, flow, load(lanes, q2, o)) * load(lanes, inv2, o)
            top = larger(value, top)
        out[a] = _highest(lanes, scratch, top)


@kernel
def screen_outages(lanes, actions, grid, moved_p, outage_row, order, loading, cuts):
    """Highest loading after each action in ``order`` and each loss after it.

    Parameters
    ----------
    outage_row : int64[n_outage]
        Row of ``column`` of each branch outage, -1 for one that is not screened.
    loading : float64[n_order, n_case + n_outage]
        Filled: the action alone, then with each loss of a unit, then with each outage.
    cuts : int64[n_order]
        Filled: outages that cut off what is supplied after the action.
    """
    part_of, part_row, part_sign = actions[:3]
    column, branch, f, inv2, q2, b = grid
    width, n_lane, n_case = inv2.size, len(lanes), f.shape[0]
    scratch, g, flow = np.empty(n_lane), np.empty(width), np.empty(width)
    for at in range(order.size):
        a = order[at]
        cuts[at] = 0
        g[:] = 0.0
        for p in range(part_of[a], part_of[a + 1]):
            sign, row = splat(lanes, inv2, part_sign[p]), column[part_row[p]]
            for o in range(0, width, n_lane):
                store(lanes, g, o, fma(sign, load(lanes, row, o), load(lanes, g, o)))
        for case in range(n_case - 1, -1, -1):  # the base last: its flows stay in ``flow``
            factor, den = _coefficient(a, case, actions, grid, moved_p)
            if den == 0.0:
                break
            step, top = splat(lanes, inv2, factor), splat(lanes, inv2, 0.0)
            for o in range(0, width, n_lane):
                value = fnma(step, load(lanes, g, o), load(lanes, f[case], o))
                store(lanes, flow, o, value)
                value = fma(value, value, load(lanes, q2, o)) * load(lanes, inv2, o)
                top = larger(value, top)
            loading[at, case] = _highest(lanes, scratch, top)
        if den == 0.0:
            loading[at] = np.inf
            continue
        for e in range(outage_row.size):
            loading[at, n_case + e] = loading[at, 0]
            row = outage_row[e]
            if row < 0:
                continue
            k = branch[row]
            pivot = column[row, k] - g[k] * g[k] / den
            if abs(pivot) <= CUT * abs(b[k]):
                cuts[at] += abs(flow[k]) > 1e-6 and abs(column[row, k]) > CUT * abs(b[k])
                continue
            t = flow[k] / pivot
            step = splat(lanes, inv2, t)
            back = splat(lanes, inv2, t * g[k] / den)
            top = splat(lanes, inv2, 0.0)
            for o in range(0, width, n_lane):
                value = fma(back, load(lanes, g, o), load(lanes, flow, o))
                value = fnma(step, load(lanes, column[row], o), value)
                value = fma(value, value, load(lanes, q2, o)) * load(lanes, inv2, o)
                top = larger(value, top)
            loading[at, n_case + e] = _highest(lanes, scratch, top)
