"""Power that every unit brings, with what balances its node."""

import numpy as np

from gridrl.jit import kernel


@kernel
def unit_powers(p, q, v, s_from, s_to, busbar, closed, ends, units, second, out_p, out_q):
    """Active and reactive power of every unit, positive into the busbar.

    The units that hold the voltage of a node share what its branches draw and the others do not
    bring: active power those that are a reference, by weight; reactive power all of them, equally.

    Parameters
    ----------
    p, q : float64[B, n_unit], p.u. as scheduled
    v : complex128[B, n_node], NaN where dead
    s_from, s_to : complex128[B, n_branch]
    busbar, closed : int8[B, n_terminal], bool[B, n_branch]
    ends : (from substation, to substation) int64[n_branch]
    units : (substation int64, holds bool, reference bool, weight, i_share_p, i_share_q, z_share_p,
             z_share_q float64), [n_unit] each
    second : int64[n_substation]
    out_p, out_q : float64[B, n_unit], filled
    """
    substation, holds, reference, weight, i_p, i_q, z_p, z_q = units
    n_unit, n_branch, n_node = p.shape[1], closed.shape[1], v.shape[1]
    owed = np.empty(n_node, np.complex128)
    shares, heavy = np.empty(n_node), np.empty(n_node)
    at = np.empty(n_unit, np.int64)
    for b in range(p.shape[0]):
        owed[:] = 0.0
        shares[:] = 0.0
        heavy[:] = 0.0
        for k in range(n_branch):
            if closed[b, k] and not np.isnan(s_from[b, k].real):
                for end in range(2):
                    to = busbar[b, k + end * n_branch]
                    s = ends[end][k]
                    node = s if to == 1 else (second[s] if to == 2 else -1)
                    if node >= 0:
                        owed[node] += s_to[b, k] if end else s_from[b, k]
        for m in range(n_unit):
            to = busbar[b, 2 * n_branch + m]
            s = substation[m]
            node = s if to == 1 else (second[s] if to == 2 else np.int64(-1))
            if node >= 0 and np.isnan(v[b, node].real):
                node = -1
            at[m] = node
            out_p[b, m] = 0.0
            out_q[b, m] = 0.0
            if node < 0:
                continue
            size = abs(v[b, node])
            out_p[b, m] = p[b, m] * (1.0 - i_p[m] - z_p[m] + i_p[m] * size + z_p[m] * size * size)
            out_q[b, m] = q[b, m] * (1.0 - i_q[m] - z_q[m] + i_q[m] * size + z_q[m] * size * size)
            if reference[m]:
                heavy[node] += max(weight[m], 0.0)
            else:
                owed[node] -= out_p[b, m]
            if holds[m]:
                shares[node] += 1.0
            else:
                owed[node] -= 1j * out_q[b, m]
        for m in range(n_unit):
            if at[m] >= 0 and reference[m]:
                total = heavy[at[m]]
                part = max(weight[m], 0.0) / total if total > 0.0 else 1.0 / shares[at[m]]
                out_p[b, m] = owed[at[m]].real * part
            if at[m] >= 0 and holds[m]:
                out_q[b, m] = owed[at[m]].imag / shares[at[m]]
