"""Power flows of a batch of states with the trips that follow them, in one compiled call.

The way from Python to a kernel costs more than the power flow of a small grid, and a cascade takes
several of them. States are taken a word at a time, so that what is made of them on the way to
Newton's method stays in the caches. Tuples passed between these kernels::

    model     (pattern, base, network, base_topology, units, unit_at, power_parts, shunts, starts,
              nodes, stale): see `gridrl.powerflow.model.Model`; shunts are (units, p, q) of the
              base injection, starts what `warm_starts` takes; nodes (node of every row, dark nodes
              of the base state, nodes without a row); stale see `newton`
    models    (the model without second busbars, which halves the work where none is in use; the
              model with them)
    world     (base_switching, branches, second_node, side_both)
    state     (busbar, closed, p, q, v, s_from, s_to, rho, v_last) of all states; v_last are the
              voltages to start from
    course    (v_set, v_row, unit): row v_row[b] of v_set holds the voltages of state b, a column
              for each unit that holds one
    settings  (tolerance, bold, careful, lowest, near): bold and careful are (most iterations,
              longest turn, longest stretch, patience), see `gridrl.powerflow.solve`
"""

import numpy as np

from gridrl.env.kernels_grid import loadings, warm_starts
from gridrl.env.kernels_orders import trip
from gridrl.jit import kernel
from gridrl.powerflow.kernels_islands import WORD
from gridrl.powerflow.kernels_loads import node_injections, shunt_differences
from gridrl.powerflow.kernels_newton import newton
from gridrl.powerflow.kernels_states import state_lists, topology_changes
from gridrl.sparse.lanes import borrowed

RUNNING, DIVERGED, ISLANDED = 0, 2, 3  # as `gridrl.env.state.Ending`
FIRST = 4  # iterations after which the states that are not solved go on among themselves
CUT, LOW = -3, -2  # beside what `gridrl.powerflow.kernels_newton.newton` says of iterations


@kernel
def settle(
    lanes, types, which, models, world, state, course, settings, protection, ending, tripped
):
    """Solve states, open what is overloaded, and solve again until no line trips.

    Parameters
    ----------
    types : (float32[0], float64[0])
    which : int64[m]
    protection : (steps above the soft limit int32[B, n_branch], what `trip` calls settings)
        The last of these numbers is whether lines trip at all.
    ending : int8[B]
        Filled for the states in ``which``: RUNNING, DIVERGED or ISLANDED.
    tripped : bool[B, n_branch]
        Set where a line opens; ``closed`` is changed alike.

    Returns
    -------
    int
        Power flows that it took.
    """
    which, models, world, state = borrowed((which, models, world, state))
    course, ending, tripped = borrowed((course, ending, tripped))
    counter, limits = borrowed(protection)
    closed, rho = state[1], state[7]
    solve_all(lanes, types, which, models, world, state, course, settings, ending)
    solves = which.size
    if not limits[4]:
        return solves
    counted = np.zeros(closed.shape, np.bool_)
    left, n_left = np.empty_like(which), 0
    for b in which:
        left[n_left] = b
        n_left += ending[b] == RUNNING
    left = left[:n_left]
    while True:
        n_left = 0
        for b in left:
            if ending[b] == RUNNING and trip(
                rho[b], closed[b], counter[b], counted[b], limits, tripped[b]
            ):
                left[n_left] = b
                n_left += 1
        if n_left == 0:
            return solves
        left = left[:n_left]
        solve_all(lanes, types, left, models, world, (*state[:8], state[4]), course, settings,
                  ending)  # fmt: skip
        solves += n_left


@kernel
def solve_all(lanes, types, which, models, world, state, course, settings, ending):
    """Solve the states in ``which``, those that use no second busbar among themselves."""
    which, models, world, state = borrowed((which, models, world, state))
    course, ending = borrowed((course, ending))
    busbar, base_busbar = state[0], world[0][0]
    part, n_split, n_plain = np.empty_like(which), 0, 0
    for b in which:
        moved = 0
        for t in range(base_busbar.size):
            moved += (busbar[b, t] == 2) & (base_busbar[t] != 2)
        if moved > 0:
            n_split += 1
            part[which.size - n_split] = b
        else:
            part[n_plain] = b
            n_plain += 1
    for k in range(2):
        some = part[:n_plain] if k == 0 else part[n_plain:]
        _climb(lanes, types, some, models[k], world, state, course, settings, ending)
    for b in which:
        if ending[b] != RUNNING:
            state[4][b] = np.nan
            for values in (state[5], state[6]):
                values[b] = np.nan
            state[7][b] = np.nan


@kernel
def _climb(lanes, types, which, model, world, state, course, settings, ending):
    """Solve states of one model: boldly, then with care from scratch.

    A shorter ladder than `gridrl.powerflow.solve.solve` climbs, because many states of a batch
    under random orders have no solution: factors in float64 only where those in float32 ended near
    a solution; one with voltages that no grid is operated at only where nothing better is found.
    """
    which, model, world, state = borrowed((which, model, world, state))
    course, ending = borrowed((course, ending))
    single, double = types
    tolerance, bold, careful, lowest, near = settings
    left, low = which.copy(), np.zeros(which.size, np.bool_)
    for rung in range(4):
        n_left = 0
        for first in range(0, left.size, WORD):
            some = left[first : first + WORD].copy()
            if rung == 0:
                count, worst = _attempt(lanes, single, some, False, model, world, state, course,
                                        (tolerance, *bold, lowest), ending)  # fmt: skip
            elif rung == 1:
                count, worst = _attempt(lanes, single, some, True, model, world, state, course,
                                        (tolerance, *careful, lowest), ending)  # fmt: skip
            elif rung == 2:
                count, worst = _attempt(lanes, double, some, True, model, world, state, course,
                                        (tolerance, *careful, lowest), ending)  # fmt: skip
            else:
                count, worst = _attempt(lanes, double, some, False, model, world, state, course,
                                        (tolerance, *bold, 0.0), ending)  # fmt: skip
            for e in range(some.size):
                if count[e] >= 0 or count[e] == CUT:
                    continue
                was_low = count[e] == LOW if rung == 0 else low[first + e]
                if rung == 0 or was_low or (rung == 1 and worst[e] <= near):
                    left[n_left], low[n_left] = some[e], was_low
                    n_left += 1
        left = left[:n_left]


@kernel
def _attempt(lanes, like, some, afresh, model, world, state, course, settings, ending):
    """Newton's method on a word of states, from where they were or from scratch.

    Voltages, flows and loadings are written where it succeeds. Returns the iterations of each
    state, below 0 where it has no solution here, and its largest mismatch.
    """
    some, model, world, state = borrowed((some, model, world, state))
    course, ending = borrowed((course, ending))
    pattern, base, network, base_topology, units, unit_at, parts, shunts, starts, nodes, stale = (
        model
    )
    m, n = some.size, nodes[0].size
    busbar, closed = _rows(some, state[0]), _rows(some, state[1])
    p, q = _rows(some, state[2]), _rows(some, state[3])
    v_set = _set_points(some, course, unit_at.size)
    changes = topology_changes(busbar, closed, world[0][0], world[0][1])
    check = (changes[0][1:] > changes[0][:-1]) | (changes[5][1:] > changes[5][:-1])
    z_of, z_unit, z_g, z_b = shunt_differences(
        shunts[0], p, q, shunts[1], shunts[2], units[7], units[8]
    )
    every = np.arange(m)
    lists, dead_of, dead_row, _, cut = state_lists(
        changes, check, every, network, base_topology, units, p, q, v_set,
        (z_of, unit_at[z_unit], z_g, z_b),
    )  # fmt: skip
    current_part = (units[9] != 0.0).any() or (units[10] != 0.0).any()
    power, current = np.empty((m, n, 2)), np.empty((m if current_part else 0, n, 2))
    node_injections(p, q, unit_at, parts, power, current)
    begin = np.empty((m, n, 2))
    warm_starts(some, state[8], nodes[0], starts, v_set, afresh, begin)
    v, worst = np.empty((m, n), np.complex128), np.full(m, np.inf)
    count = np.where(cut, np.int32(CUT), np.int32(-1)).astype(np.int32)
    known, rows = (*lists, every, every), np.arange(n)
    order, first = np.flatnonzero(~cut), min(FIRST, settings[1])
    newton(lanes, like, pattern, rows, base, power, current, known, begin, order,
           (settings[0], first, *settings[2:]), stale, (v, count, worst))  # fmt: skip
    order = order[count[order] == -1]
    for e in order:  # the slow ones share lanes from here on
        for i in range(n):
            begin[e, i, 0], begin[e, i, 1] = v[e, i].real, v[e, i].imag
    newton(lanes, like, pattern, rows, base, power, current, known, begin, order,
           (settings[0], settings[1] - first, *settings[2:]), -1, (v, count, worst))  # fmt: skip
    for e in range(m):
        ending[some[e]] = RUNNING if count[e] >= 0 else (ISLANDED if cut[e] else DIVERGED)
    _keep(some, count, check, v, (dead_of, dead_row), nodes, state[4])
    loadings(
        some, count >= 0, state[4], state[0], state[1], world[1], world[2], world[3], state[5],
        state[6], state[7],
    )  # fmt: skip
    return count, worst


@kernel
def _keep(some, count, check, v, dead, nodes, v_out):
    """Write the voltages of solved states, NaN at nodes without supply."""
    some, count, check, v, dead, nodes, v_out = borrowed(
        (some, count, check, v, dead, nodes, v_out)
    )
    dead_of, dead_row = dead
    node, dark, absent = nodes
    for e in range(some.size):
        if count[e] < 0:
            continue
        b = some[e]
        for i in range(node.size):
            v_out[b, node[i]] = v[e, i]
        for k in absent:
            v_out[b, k] = np.nan
        if check[e]:
            for c in range(dead_of[e], dead_of[e + 1]):
                v_out[b, node[dead_row[c]]] = np.nan
        else:
            for k in dark:
                v_out[b, k] = np.nan


@kernel
def _rows(which, table):
    """Rows of a table as an array of their own."""
    which, table = borrowed((which, table))
    out = np.empty((which.size, table.shape[1]), table.dtype)
    for e in range(which.size):
        r = which[e]
        for k in range(table.shape[1]):
            out[e, k] = table[r, k]
    return out


@kernel
def _set_points(some, course, n_unit):
    """Voltages that each unit holds [m, n_unit]; what holds none is left blank."""
    some, course = borrowed((some, course))
    table, row, unit = course
    out = np.empty((some.size, n_unit))
    for e in range(some.size):
        r = row[some[e]]
        for c in range(unit.size):
            out[e, unit[c]] = table[r, c]
    return out
