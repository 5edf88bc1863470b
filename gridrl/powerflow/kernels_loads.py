"""What the units of every load row inject, by row of the equations."""

import numpy as np

from gridrl.jit import kernel


@kernel
def shunt_differences(units, p, q, base_p, base_q, z_p, z_q):
    """Constant-impedance parts by which each load row differs from the base state.

    Parameters
    ----------
    units : int64[m], units with such a part
    p, q : float64[n_load, n_unit]; base_p, base_q : float64[n_unit], p.u.
    z_p, z_q : float64[n_unit], shares

    Returns
    -------
    z_of : int64[n_load + 1]
    unit, g, b : the unit of each difference, and its admittance in p.u.
    """
    z_of = np.zeros(p.shape[0] + 1, np.int64)
    for load in range(p.shape[0]):
        z_of[load + 1] = z_of[load]
        for m in units:
            z_of[load + 1] += p[load, m] != base_p[m] or q[load, m] != base_q[m]
    unit, g, b = np.empty(z_of[-1], np.int64), np.empty(z_of[-1]), np.empty(z_of[-1])
    at = 0
    for load in range(p.shape[0]):
        if z_of[load + 1] == z_of[load]:
            continue
        for m in units:
            if p[load, m] != base_p[m] or q[load, m] != base_q[m]:
                unit[at] = m
                g[at] = -z_p[m] * (p[load, m] - base_p[m])
                b[at] = z_q[m] * (q[load, m] - base_q[m])
                at += 1
    return z_of, unit, g, b


@kernel
def node_injections(p, q, unit_at, parts, power, current):
    """Constant-power and constant-current injection of every row, for each load row.

    Parameters
    ----------
    p, q : float64[n_load, n_unit], p.u. at 1 p.u. voltage
    unit_at : int64[n_unit], row of each unit in the base topology, -1 if disconnected
    parts : float64[n_unit, 4], constant-power shares of p and q, constant-current shares
    power, current : float64[n_load, n, 2], zeroed and filled; ``current`` may be empty
    """
    for load in range(p.shape[0]):
        row = power[load]
        row[:, :] = 0.0
        for m in range(unit_at.size):
            i = unit_at[m]
            if i >= 0:
                row[i, 0] += parts[m, 0] * p[load, m]
                row[i, 1] += parts[m, 1] * q[load, m]
        if current.shape[0] > 0:
            row = current[load]
            row[:, :] = 0.0
            for m in range(unit_at.size):
                i = unit_at[m]
                if i >= 0:
                    row[i, 0] += parts[m, 2] * p[load, m]
                    row[i, 1] += parts[m, 3] * q[load, m]
