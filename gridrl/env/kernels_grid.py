"""Loadings, start voltages and injections of a batch of states of an environment."""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import borrowed


@kernel
def gather(active, row, table, out):
    """Row ``row[b]`` of ``table`` (float64[n_row, n]) into ``out[b]`` of every active state."""
    active, row, table, out = borrowed((active, row, table, out))
    for b in range(active.size):
        if active[b]:
            r = row[b]
            for m in range(out.shape[1]):
                out[b, m] = table[r, m]


@kernel
def warm_starts(which, v, node, starts, v_set, afresh, start):
    """Start voltages by row from the last solution.

    Parameters
    ----------
    which : int64[m]
        States; ``start`` float64[m, n, 2] has one entry for each of them, in that order.
    v : complex128[B, n_node], NaN where there is none: the sibling's is taken, then ``scratch``
    node : int64[n], node of every row
    starts : (sibling, scratch, held, holder)
        The other busbar of a row's substation int64[n], -1 where there is none; start voltages
        float64[n, 2]; rows whose voltage a unit holds in the base state, and that unit int64[..].
    v_set : float64[m, n_unit]
    afresh : bool
        Start from ``scratch`` whatever was solved last.
    """
    which, v, node, starts, v_set, start = borrowed((which, v, node, starts, v_set, start))
    sibling, scratch, held, holder = starts
    for e in range(which.size):
        b = which[e]
        for i in range(node.size):
            at = v[b, node[i]]
            if at.real != at.real and sibling[i] >= 0:
                at = v[b, sibling[i]]
            known = not afresh and at.real == at.real
            start[e, i, 0] = at.real if known else scratch[i, 0]
            start[e, i, 1] = at.imag if known else scratch[i, 1]
        for c in range(held.size):
            i = held[c]
            squares = start[e, i, 0] * start[e, i, 0] + start[e, i, 1] * start[e, i, 1]
            scale = v_set[e, holder[c]] / np.sqrt(squares)
            start[e, i, 0] *= scale
            start[e, i, 1] *= scale


@inlined
def _node(busbar, s, second):
    return s if busbar == 1 else (second[s] if busbar == 2 else np.int64(-1))


@inlined
def _size(re, im):
    """|x| without the care that ``abs`` takes of numbers near overflow, which costs more."""
    return np.sqrt(re * re + im * im)


@kernel
def loadings(which, solved, v, busbar, closed, branches, second, side_both, s_from, s_to, rho):
    """Flows and loadings of the states in ``which``; those without a solution are left alone.

    Parameters
    ----------
    solved : bool[m]
    v : complex128[B, n_node] p.u.
    branches : (y float64[n_branch, 8], from and to substation int64[n_branch], ratings
                float64[3, n_branch])
        Real and imaginary parts of y_ff, y_ft, y_tf, y_tt; one over the current at the from and
        to end and apparent power, p.u.
    second : int64[n_substation], node of busbar 2
    side_both : bool
        Whether the to end and apparent power count, or the current of the from end alone.
    s_from, s_to : complex128[B, n_branch]; rho : float64[B, n_branch]
        Filled; 1.0 is the rating, 0 where a branch is open or has no rating.
    """
    which, solved, v, busbar, closed = borrowed((which, solved, v, busbar, closed))
    branches, second, s_from, s_to, rho = borrowed((branches, second, s_from, s_to, rho))
    y, from_sub, to_sub, inverse = branches
    n_branch = rho.shape[1]
    for e in range(which.size):
        b = which[e]
        for k in range(n_branch if solved[e] else 0):
            f = _node(busbar[b, k], from_sub[k], second)
            t = _node(busbar[b, n_branch + k], to_sub[k], second)
            if not closed[b, k] or f < 0 or t < 0:
                s_from[b, k], s_to[b, k], rho[b, k] = 0.0, 0.0, 0.0
                continue
            fr, fi, tr, ti = v[b, f].real, v[b, f].imag, v[b, t].real, v[b, t].imag
            ir = y[k, 0] * fr - y[k, 1] * fi + (y[k, 2] * tr - y[k, 3] * ti)
            ii = y[k, 0] * fi + y[k, 1] * fr + (y[k, 2] * ti + y[k, 3] * tr)
            jr = y[k, 4] * fr - y[k, 5] * fi + (y[k, 6] * tr - y[k, 7] * ti)
            ji = y[k, 4] * fi + y[k, 5] * fr + (y[k, 6] * ti + y[k, 7] * tr)
            p, q = fr * ir + fi * ii, fi * ir - fr * ii
            load = _size(ir, ii) * inverse[0, k]
            s_from[b, k] = complex(p, q)
            p_to, q_to = tr * jr + ti * ji, ti * jr - tr * ji
            s_to[b, k] = complex(p_to, q_to)
            if side_both:
                load = max(load, _size(jr, ji) * inverse[1, k])
                load = max(load, max(_size(p, q), _size(p_to, q_to)) * inverse[2, k])
            rho[b, k] = load
