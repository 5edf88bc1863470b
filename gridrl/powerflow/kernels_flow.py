"""Power that enters every branch at both ends, for each state of a batch."""

import numpy as np

from gridrl.jit import inlined, kernel


@kernel
def branch_flows(v, changes, network, base, node, out_from, out_to):
    """Complex power into both ends of every branch; 0 where an end is open or dead.

    Parameters
    ----------
    v : complex128[B, n_node], NaN at dead nodes
    changes, network, base : see `gridrl.powerflow.kernels_states`
    node : int64[n_node], node of every row
    out_from, out_to : complex128[B, n_branch], filled, p.u.
    """
    b_of, b_branch, b_from, b_to, b_closed = changes[:5]
    _, row_from, row_to, y, _ = network
    n_branch = base[2].size
    end_f, end_t = np.empty(n_branch, np.int64), np.empty(n_branch, np.int64)
    for k in range(n_branch):
        end_f[k] = _node(row_from, node, k, base[0][k], base[2][k])
        end_t[k] = _node(row_to, node, k, base[1][k], base[2][k])
    for state in range(v.shape[0]):
        for c in range(b_of[state], b_of[state + 1]):
            k = b_branch[c]
            end_f[k] = _node(row_from, node, k, b_from[c], b_closed[c])
            end_t[k] = _node(row_to, node, k, b_to[c], b_closed[c])
        for k in range(n_branch):
            f, t = end_f[k], end_t[k]
            vf = v[state, f] if f >= 0 else 0.0 + 0.0j
            vt = v[state, t] if t >= 0 else 0.0 + 0.0j
            out_from[state, k], out_to[state, k] = _flow(
                f >= 0, t >= 0, vf, vt, y[0, k], y[1, k], y[2, k], y[3, k], y[4, k], y[5, k]
            )
        for c in range(b_of[state], b_of[state + 1]):
            k = b_branch[c]
            end_f[k] = _node(row_from, node, k, base[0][k], base[2][k])
            end_t[k] = _node(row_to, node, k, base[1][k], base[2][k])


@inlined
def _node(rows, node, k, busbar, closed):
    """Node of a branch end, -1 where it is open."""
    return node[rows[k, busbar - 1]] if closed and busbar > 0 else np.int64(-1)


@inlined
def _flow(has_from, has_to, vf, vt, y_ff, y_ft, y_tf, y_tt, y_from, y_to):
    """Power into both ends; takes numbers, because passing arrays costs more than this."""
    s_from, s_to = 0.0 + 0.0j, 0.0 + 0.0j
    if has_from and has_to:
        s_from = vf * (y_ff * vf + y_ft * vt).conjugate()
        s_to = vt * (y_tf * vf + y_tt * vt).conjugate()
    elif has_from:
        s_from = vf * (y_from * vf).conjugate()
    elif has_to:
        s_to = vt * (y_to * vt).conjugate()
    if np.isnan(vf.real) or np.isnan(vt.real):
        return 0.0 + 0.0j, 0.0 + 0.0j
    return s_from, s_to
