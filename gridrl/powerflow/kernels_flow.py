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
            _one_flow(state, k, end_f[k], end_t[k], v, y, out_from, out_to)
            if drawn.size > 0:
                _draw(state, end_f[k], end_t[k], out_from[state, k], out_to[state, k], drawn)
        for c in range(b_of[state], b_of[state + 1]):
            k = b_branch[c]
            f = node[row_from[k, b_from[c] - 1]] if b_closed[c] and b_from[c] > 0 else -1
            t = node[row_to[k, b_to[c] - 1]] if b_closed[c] and b_to[c] > 0 else -1
            if drawn.size > 0:
                _draw(state, end_f[k], end_t[k], -out_from[state, k], -out_to[state, k], drawn)
            _one_flow(state, k, f, t, v, y, out_from, out_to)
            if drawn.size > 0:
                _draw(state, f, t, out_from[state, k], out_to[state, k], drawn)


@inlined
def _draw(state, f, t, s_from, s_to, drawn):
    if f >= 0:
        drawn[state, f] += s_from
    if t >= 0:
        drawn[state, t] += s_to


@inlined
def _one_flow(state, k, f, t, v, y, out_from, out_to):
    s_from = 0.0 + 0.0j
    s_to = 0.0 + 0.0j
    vf = v[state, f] if f >= 0 else 0.0 + 0.0j
    vt = v[state, t] if t >= 0 else 0.0 + 0.0j
    if f >= 0 and t >= 0:
        s_from = vf * (y[0, k] * vf + y[1, k] * vt).conjugate()
        s_to = vt * (y[2, k] * vf + y[3, k] * vt).conjugate()
    elif f >= 0:
        s_from = vf * (y[4, k] * vf).conjugate()
    elif t >= 0:
        s_to = vt * (y[5, k] * vt).conjugate()
    dead = np.isnan(vf.real) or np.isnan(vt.real)
    out_from[state, k] = 0.0 if dead else s_from
    out_to[state, k] = 0.0 if dead else s_to
