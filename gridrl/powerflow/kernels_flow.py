"""Power that enters every branch at both ends, for each state of a batch."""

import numpy as np

from gridrl.jit import inlined, kernel


@kernel
def branch_flows(v, changes, network, base, node, out_from, out_to, drawn):
    """Complex power into both ends of every branch; 0 where an end is open or dead.

    Parameters
    ----------
    v : complex128[B, n_node], NaN at dead nodes
    changes, network, base : see `gridrl.powerflow.kernels_states`
    node : int64[n_node], node of every row
    out_from, out_to : complex128[B, n_branch], filled, p.u.
    drawn : complex128[B, n_node] or [0, 0]
        Filled with what all branches together draw from each node, unless it is empty.
    """
    b_of, b_branch, b_from, b_to, b_closed = changes[:5]
    _, row_from, row_to, y, _ = network
    from_busbar, to_busbar, closed = base[0], base[1], base[2]
    n_branch = closed.size
    end_f = np.empty(n_branch, np.int64)
    end_t = np.empty(n_branch, np.int64)
    for k in range(n_branch):
        end_f[k] = node[row_from[k, from_busbar[k] - 1]] if closed[k] and from_busbar[k] > 0 else -1
        end_t[k] = node[row_to[k, to_busbar[k] - 1]] if closed[k] and to_busbar[k] > 0 else -1
    for state in range(v.shape[0]):
        for k in range(n_branch):
            f, t = end_f[k], end_t[k]
            vf = v[state, f] if f >= 0 else 0.0 + 0.0j
            vt = v[state, t] if t >= 0 else 0.0 + 0.0j
            s_from, s_to = _flow(
                f >= 0, t >= 0, vf, vt, y[0, k], y[1, k], y[2, k], y[3, k], y[4, k], y[5, k]
            )
            out_from[state, k], out_to[state, k] = s_from, s_to
            if drawn.size > 0 and f >= 0:
                drawn[state, f] += s_from
            if drawn.size > 0 and t >= 0:
                drawn[state, t] += s_to
        for c in range(b_of[state], b_of[state + 1]):
            k = b_branch[c]
            if drawn.size > 0 and end_f[k] >= 0:
                drawn[state, end_f[k]] -= out_from[state, k]
            if drawn.size > 0 and end_t[k] >= 0:
                drawn[state, end_t[k]] -= out_to[state, k]
            f = node[row_from[k, b_from[c] - 1]] if b_closed[c] and b_from[c] > 0 else -1
            t = node[row_to[k, b_to[c] - 1]] if b_closed[c] and b_to[c] > 0 else -1
            vf = v[state, f] if f >= 0 else 0.0 + 0.0j
            vt = v[state, t] if t >= 0 else 0.0 + 0.0j
            s_from, s_to = _flow(
                f >= 0, t >= 0, vf, vt, y[0, k], y[1, k], y[2, k], y[3, k], y[4, k], y[5, k]
            )
            out_from[state, k], out_to[state, k] = s_from, s_to
            if drawn.size > 0 and f >= 0:
                drawn[state, f] += s_from
            if drawn.size > 0 and t >= 0:
                drawn[state, t] += s_to


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
