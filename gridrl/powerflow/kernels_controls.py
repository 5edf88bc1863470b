"""What the voltage-holding units of every node must bring, and what they can."""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import borrowed


@kernel
def held_power(
    v, which, changes, lists, load_of, equations, places, unit_busbar, units, p, q, limits, out
):
    """Power that balances some rows after all units that do not hold them.

    Parameters
    ----------
    v : complex128[B, n_node], p.u., NaN where dead
    which : int64[m], states to look at
    changes, units : see `gridrl.powerflow.kernels_states`
    lists : what the changes do to the equations, see there
    equations : (y_ptr, y_idx, y_row, node, yg, yb, dg, db), the base state's, by row
    places : (row, substation) int64[n_held], rows that units may hold
    limits : (q_min, q_max) float64[n_unit], v_set float64[n_load, n_unit], p.u.
    out : (held, q_low, q_high, v_held, q_given, mode)
        complex128 and float64 [m, n_held], filled: power the holding units owe, the sum of their
        limits, the voltage they hold, the reactive power the injection gives them; and int8 mode:
        0 nobody holds the row, 1 units hold |v|, 2 a reference.
    """
    v, which, changes, lists, load_of = borrowed((v, which, changes, lists, load_of))
    equations, places, unit_busbar, units = borrowed((equations, places, unit_busbar, units))
    p, q, limits, out = borrowed((p, q, limits, out))
    u_of, u_unit, u_busbar = changes[5:8]
    row, node = places[0], equations[3]
    power = np.empty(row.size, np.complex128)
    column = np.full(node.size, -1, np.int64)
    for h in range(row.size):
        column[row[h]] = h
    busbar = unit_busbar.copy()
    for a in range(which.size):
        state = which[a]
        for c in range(u_of[state], u_of[state + 1]):
            busbar[u_unit[c]] = u_busbar[c]
        _drawn(state, v, equations, row, column, lists, power)
        _owed(a, load_of[state], v[state], node, power, places, busbar, units, p, q, limits, out)
        for c in range(u_of[state], u_of[state + 1]):
            busbar[u_unit[c]] = unit_busbar[u_unit[c]]


@inlined
def _supplied(v):
    """The voltage, 0 where it is dead."""
    return 0.0 + 0.0j if np.isnan(v.real) else v


@kernel
def _drawn(state, v, equations, row, column, lists, power):
    """What the network, shunts included, draws from the rows that units may hold."""
    v, equations, row, column, lists, power = borrowed((v, equations, row, column, lists, power))
    y_ptr, y_idx, y_row, node, yg, yb, dg, db = equations
    y_of, y_pos, y_g, y_b = lists[:4]
    for h in range(row.size):
        i = row[h]
        current = complex(dg[i], db[i]) * _supplied(v[state, node[i]])
        for e in range(y_ptr[i], y_ptr[i + 1]):
            current += complex(yg[e], yb[e]) * _supplied(v[state, node[y_idx[e]]])
        power[h] = current
    for c in range(y_of[state], y_of[state + 1]):
        e = y_pos[c]
        i = y_row[e] if e < y_row.size else e - y_row.size
        j = y_idx[e] if e < y_row.size else i
        if column[i] >= 0:
            power[column[i]] += complex(y_g[c], y_b[c]) * _supplied(v[state, node[j]])
    for h in range(row.size):
        power[h] = v[state, node[row[h]]] * power[h].conjugate()


@kernel
def _owed(a, load, v, node, power, places, busbar, units, p, q, limits, out):
    """Fill row ``a`` of ``out``: see `held_power`."""
    v, node, power, places = borrowed((v, node, power, places))
    busbar, units, p, q, limits, out = borrowed((busbar, units, p, q, limits, out))
    unit_row, first_of, members, controls, reference = units[0], *units[2:6]
    z_p, z_q, i_p, i_q = units[7:11]
    q_min, q_max, v_set = limits
    held, q_low, q_high, v_held, q_given, mode = out
    for h in range(places[0].size):
        i, substation = places[0][h], places[1][h]
        owed = power[h]
        q_low[a, h], q_high[a, h], q_given[a, h] = 0.0, 0.0, 0.0
        v_held[a, h] = np.nan
        mode[a, h] = 0
        size = abs(v[node[i]])
        for k in range(first_of[substation], first_of[substation + 1]):
            m = members[k]
            if np.isnan(size) or busbar[m] == 0 or unit_row[m, busbar[m] - 1] != i:
                continue
            if controls[m]:
                mode[a, h] = 2 if reference[m] else max(mode[a, h], np.int8(1))
                q_low[a, h] += q_min[m]
                q_high[a, h] += q_max[m]
                q_given[a, h] += q[load, m]
                if np.isnan(v_held[a, h]):
                    v_held[a, h] = v_set[load, m]
            if not reference[m]:  # the constant-impedance part is in the equations
                part_p = p[load, m] * (1.0 - i_p[m] - z_p[m] + i_p[m] * size)
                part_q = q[load, m] * (1.0 - i_q[m] - z_q[m] + i_q[m] * size)
                owed -= complex(part_p, 0.0 if controls[m] else part_q)
        held[a, h] = owed
