"""One injection on the base topology in a single call: for loops that ask one state at a time.

Around Newton's method a call through the batch front costs more than the solution of a small
grid; here everything between an injection and its voltages is compiled.
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.powerflow.kernels_loads import node_injections
from gridrl.powerflow.kernels_newton import newton


@kernel
def newton_once(lanes, like, equations, near, units, lists, settings, p, q, v_set, out):
    """Solve one injection from a solved state near it.

    Parameters
    ----------
    equations : (pattern, node, base), see `gridrl.powerflow.kernels_newton.newton`
    near : float64[1, n, 2], solved voltages by row
    units : (unit_at, parts, held_rows, holder, shunt_units, base_p, base_q, has_current_part)
    lists : change lists of the base state itself
    p, q, v_set : float64[1, n_unit] p.u.
    out : (v complex128[1, n_node], iterations int32[1], worst float64[1])

    Returns
    -------
    bool
        False where this is not for here: constant-impedance parts differ from the base state's,
        or a voltage to hold is no positive number.
    """
    unit_at, parts, held_rows, holder, shunt_units, base_p, base_q, with_current = units
    n = near.shape[1]
    for m in shunt_units:
        if p[0, m] != base_p[m] or q[0, m] != base_q[m]:
            return False
    start = near.copy()
    for i in held_rows:
        wanted = v_set[0, holder[i]]
        if not (wanted > 0.0 and wanted < np.inf):
            return False
        now = np.hypot(near[0, i, 0], near[0, i, 1])
        start[0, i, 0] *= wanted / now
        start[0, i, 1] *= wanted / now
    power = np.empty((1, n, 2))
    current = np.empty((1 if with_current else 0, n, 2))
    node_injections(p, q, unit_at, parts, power, current)
    order = np.zeros(1, np.int64)
    newton(
        lanes, like, equations[0], equations[1], equations[2], power, current, lists, start, order,
        settings, out,
    )  # fmt: skip
    return True
