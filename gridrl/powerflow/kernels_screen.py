"""DC loadings of many switching actions, and of every outage after each, without solving anything.

Taking branch ends off a node (all ends of an opened line, or the group that moves to another
busbar) changes the DC flows ``f`` of all branches along one vector ``g``, the signed sum of the
columns of a matrix ``M`` that belong to those ends: ``f' = f - g c / den``, where ``c`` is what
flows over the coupler between both groups and ``den`` what ``g`` makes of it. An outage changes the
matrix by rank one, ``M - m m' / m_o`` with its column ``m``; so after it an action moves flows
along ``g - m g_o / m_o`` with ``den - g_o^2 / m_o``. See `gridrl.powerflow.sensitivity`.

Tuples passed to the kernels::

    actions  (part_of, part_row, part_sign, extra): rows of ``column`` and signs of each action;
             what closing a branch adds to ``den`` float64[n]
    grid     (column, branch, inv2, b): the matrix by its columns float64[m, width], the branch of
             each column; squared inverse ratings float64[width]; susceptances float64[n_branch]
    flows    (f, q2, moved_p): active flow and squared reactive flow p.u. of one state
             float64[width], and what each action moves besides branch ends float64[n]
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import fma, fnma, larger, load, splat, store

CUT = 1e-7  # relative pivot below which an action or outage cuts the grid in two


@inlined
def _pivot(a, actions, grid):
    """Den of an action, and the susceptances that it is made of."""
    part_of, part_row, part_sign, extra = actions
    column, branch, _, b = grid
    den, size = extra[a], 0.0
    for p in range(part_of[a], part_of[a + 1]):
        size += abs(b[branch[part_row[p]]])
        for q in range(part_of[a], part_of[a + 1]):
            value = column[part_row[q], branch[part_row[p]]]
            den += part_sign[p] * part_sign[q] * value
    return den, size


@inlined
def _coupler(a, actions, branch, f, moved_p):
    """What an action interrupts."""
    part_of, part_row, part_sign = actions[:3]
    c = -moved_p
    for p in range(part_of[a], part_of[a + 1]):
        c += part_sign[p] * f[branch[part_row[p]]]
    return c


@inlined
def _highest(lanes, scratch, squares):
    store(lanes, scratch, 0, squares)
    best = 0.0
    for lane in range(len(lanes)):
        best = max(best, scratch[lane])
    return np.sqrt(best)


@kernel
def screen_base(lanes, actions, grid, flows, out):
    """Highest loading after each action, float64[n] (1 is the rating; infinite where it cuts)."""
    part_of, part_row, part_sign = actions[:3]
    column, branch, inv2, _ = grid
    f, q2, moved_p = flows
    scratch = np.empty(len(lanes))
    for a in range(part_of.size - 1):
        den, size = _pivot(a, actions, grid)
        if abs(den) <= CUT * size:
            out[a] = np.inf
            continue
        factor = _coupler(a, actions, branch, f, moved_p[a]) / den
        top = splat(lanes, inv2, 0.0)
        first, last = part_of[a], part_of[a + 1]
        for o in range(0, inv2.size, len(lanes)):
            flow = load(lanes, f, o)
            for p in range(first, last):
                sign = splat(lanes, inv2, part_sign[p] * factor)
                flow = fnma(sign, load(lanes, column[part_row[p]], o), flow)
            value = fma(flow, flow, load(lanes, q2, o)) * load(lanes, inv2, o)
            top = larger(value, top)
        out[a] = _highest(lanes, scratch, top)


@kernel
def screen_losses(lanes, actions, grid, losses, order, loading, cuts):
    """Highest loading after each action in ``order`` and each loss.

    Parameters
    ----------
    losses : (f, q2, moved_p, row)
        Flows float64[n_loss, width] after each loss without an action, squared reactive flows
        alike, moved_p float64[n_loss, n]; the row of ``column`` of the branch lost, -1 for none.
    loading : float64[n_order, n_loss]
        Filled; 0 where a loss cuts the grid with or without the action.
    cuts : int64[n_order]
        Filled: losses that cut off what is supplied, because of the action.
    """
    part_of, part_row, part_sign = actions[:3]
    column, branch, inv2, b = grid
    f, q2, moved_p, rows = losses
    width, n_lane = inv2.size, len(lanes)
    scratch, g = np.empty(n_lane), np.empty(width)
    for at in range(order.size):
        a = order[at]
        cuts[at] = 0
        g[:] = 0.0
        for p in range(part_of[a], part_of[a + 1]):
            sign, row = splat(lanes, inv2, part_sign[p]), column[part_row[p]]
            for o in range(0, width, n_lane):
                store(lanes, g, o, fma(sign, load(lanes, row, o), load(lanes, g, o)))
        den, size = _pivot(a, actions, grid)
        for e in range(rows.size):
            loading[at, e] = 0.0
            row, along, left = max(rows[e], 0), 0.0, den
            if rows[e] >= 0:
                k = branch[row]
                if abs(column[row, k]) <= CUT * abs(b[k]):
                    continue
                along = g[k] / column[row, k]
                left = den - g[k] * along
            c = _coupler(a, actions, branch, f[e], moved_p[e, a])
            if abs(left) <= CUT * size:
                cuts[at] += abs(c) > 1e-6
                if abs(c) > 1e-6:
                    continue
                c, left = 0.0, 1.0  # the loss of what the action opened: nothing more happens
            step = splat(lanes, inv2, c / left)
            back = splat(lanes, inv2, along * (c / left))
            top = splat(lanes, inv2, 0.0)
            for o in range(0, width, n_lane):
                value = fnma(step, load(lanes, g, o), load(lanes, f[e], o))
                value = fma(back, load(lanes, column[row], o), value)
                value = fma(value, value, load(lanes, q2[e], o)) * load(lanes, inv2, o)
                top = larger(value, top)
            loading[at, e] = _highest(lanes, scratch, top)
