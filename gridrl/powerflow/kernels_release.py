"""One held voltage per lane let go, on factors in which it is held.

The factors know the row of a held voltage as ``x = r`` in place of its reactive balance. Where the
unit that holds it fails, the balance ``g x = r`` applies instead: a change of rank one, so that
the step is y + z (r - g y) / (g z) with y = J^-1 r and z = J^-1 e (Sherman and Morrison 1950).
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.powerflow.kernels_triangular import backward, forward
from gridrl.sparse.lanes import borrowed, fma, load, store


@kernel
def let_go(group, states, kind, released):
    """The row of each lane whose voltage is held in the base but not in the state, -1: none.

    Returns whether there is any.
    """
    k_of, k_row, k_kind = states[4:7]
    some = False
    for lane in range(group.size):
        released[lane] = -1
        for c in range(k_of[group[lane]], k_of[group[lane] + 1]):
            if k_kind[c] == 0 and kind[k_row[c]] == 1:
                released[lane] = k_row[c]
                some = True
    return some


@kernel
def release_setup(lanes, pattern, base, base_v, factors, released, z, inverse):
    """``z`` becomes J^-1 e of each lane, and ``inverse`` 1 / (g z), 0 where nothing is let go."""
    n_lane = len(lanes)
    z[:] = 0.0
    for lane in range(n_lane):
        if released[lane] >= 0:
            z[(2 * released[lane] + 1) * n_lane + lane] = 1.0
    forward(lanes, pattern, factors[0], z)
    backward(lanes, pattern, factors[1], factors[2], z)
    for lane in range(n_lane):
        inverse[lane] = 0.0
        if released[lane] >= 0:
            inverse[lane] = 1.0 / _slope(released[lane], lane, n_lane, pattern, base, base_v, z)


@kernel
def release(lanes, pattern, base, base_v, released, z, inverse, x):
    """Correct the step ``x`` of each lane whose voltage is let go."""
    pattern, base, base_v, z, x = borrowed((pattern, base, base_v, z, x))
    n_lane = len(lanes)
    by = np.zeros(n_lane, x.dtype)
    for lane in range(n_lane):
        i = released[lane]
        if i >= 0:
            owed = x[(2 * i + 1) * n_lane + lane]  # the row is x = r in the factors
            by[lane] = inverse[lane] * (owed - _slope(i, lane, n_lane, pattern, base, base_v, x))
    scale = load(lanes, by, 0)
    for k in range(2 * base[4].size):
        o = k * n_lane
        store(lanes, x, o, fma(load(lanes, z, o), scale, load(lanes, x, o)))


@kernel
def _slope(i, lane, n_lane, pattern, base, base_v, x):
    """Change of the reactive balance of row ``i`` by the step ``x`` of one lane, to first order."""
    y_ptr, y_idx = pattern[0], pattern[1]
    yg, yb, dg, db, _ = base
    v = complex(base_v[i, 0], base_v[i, 1])
    own = v * (complex(dg[i], db[i]) * v).conjugate()
    power = own
    total = 0.0
    for p in range(y_ptr[i], y_ptr[i + 1]):
        j = np.int64(y_idx[p])
        mutual = v * (complex(yg[p], yb[p]) * complex(base_v[j, 0], base_v[j, 1])).conjugate()
        power += mutual
        turn, stretch = x[2 * j * n_lane + lane], x[(2 * j + 1) * n_lane + lane]
        total += mutual.imag * stretch - mutual.real * turn
    turn, stretch = x[2 * i * n_lane + lane], x[(2 * i + 1) * n_lane + lane]
    return total + (power - own).real * turn + (power + own).imag * stretch


@kernel
def stretch_released(released, step, v):
    """Change the magnitudes that are let go, as `turn_voltage` does for those that never held."""
    n_lane = released.size
    for lane in range(n_lane):
        i = released[lane]
        if i >= 0:
            grow = np.exp(np.float64(step[(2 * i + 1) * n_lane + lane]))
            v[2 * i * n_lane + lane] *= grow
            v[(2 * i + 1) * n_lane + lane] *= grow
