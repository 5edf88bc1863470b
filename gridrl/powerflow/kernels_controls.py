"""What the voltage-holding units of every node must bring, and what they can."""

import numpy as np

from gridrl.jit import kernel


@kernel
def held_power(v, drawn, changes, load_of, unit_busbar, unit_node, units, p, q, limits, out):
    """Power that balances each node after all units that do not hold it.

    Parameters
    ----------
    v, drawn : complex128[B, n_node]
        Voltages (NaN where dead) and what the branches draw, p.u.
    changes, units : see `gridrl.powerflow.kernels_states`
    unit_node : int64[n_unit, 2], node of every unit on busbar 1 and 2
    limits : (q_min, q_max) float64[n_unit], p.u.
    out : (held, q_low, q_high, v_held, q_given, mode)
        complex128 and float64 [B, n_node], filled: power the holding units owe, the sum of their
        limits, the voltage they hold, the reactive power the injection gives them; and int8 mode:
        0 nobody holds the node, 1 units hold |v|, 2 a reference.
    """
    u_of, u_unit, u_busbar = changes[5:8]
    controls, reference, z_p, z_q, i_p, i_q = units[4], units[5], *units[7:11]
    q_min, q_max, v_set = limits
    held, q_low, q_high, v_held, q_given, mode = out
    busbar = unit_busbar.copy()
    for state in range(v.shape[0]):
        load = load_of[state]
        for c in range(u_of[state], u_of[state + 1]):
            busbar[u_unit[c]] = u_busbar[c]
        for i in range(v.shape[1]):
            held[state, i] = drawn[state, i]
            q_low[state, i], q_high[state, i], q_given[state, i] = 0.0, 0.0, 0.0
            v_held[state, i] = np.nan
            mode[state, i] = 0
        for m in range(busbar.size):
            if busbar[m] == 0:
                continue
            i = unit_node[m, busbar[m] - 1]
            size = abs(v[state, i])
            if np.isnan(size):
                continue
            if controls[m]:
                mode[state, i] = 2 if reference[m] else max(mode[state, i], np.int8(1))
                q_low[state, i] += q_min[m]
                q_high[state, i] += q_max[m]
                q_given[state, i] += q[load, m]
                if np.isnan(v_held[state, i]):
                    v_held[state, i] = v_set[load, m]
            if not reference[m]:
                part_p = p[load, m] * (1.0 - i_p[m] - z_p[m] + (i_p[m] + z_p[m] * size) * size)
                part_q = q[load, m] * (1.0 - i_q[m] - z_q[m] + (i_q[m] + z_q[m] * size) * size)
                held[state, i] -= complex(part_p, 0.0 if controls[m] else part_q)
        for c in range(u_of[state], u_of[state + 1]):
            busbar[u_unit[c]] = unit_busbar[u_unit[c]]
