"""Power flows of a batch of states with the trips that follow them, in one compiled call.

The way from Python to a kernel costs more than the power flow of a small grid, and a cascade takes
several of them. States are taken a word at a time, so that what is made of them on the way to
Newton's method stays in the caches. Tuples passed between these kernels::

    model     (pattern, node, base, network, base_topology, units, unit_at, power_parts, shunts):
              see `gridrl.powerflow.model.Model`; shunts are (units, p, q) of the base injection
    world     (base_switching, starts, branches, second_node, side_both): starts are (sibling,
              scratch, held rows, their holders, dark nodes), see `warm_starts`
    state     (busbar, closed, p, q, v, s_from, s_to, rho) of all states
    course    (v_set, v_row): row v_row[b] of v_set holds the voltages of state b
    settings  (tolerance, bold, careful): each of the two is (most iterations, longest turn, longest
              stretch, patience), see `gridrl.powerflow.solve.Pace`; then the lowest voltage
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
CUT, LOW = -3, -2  # beside what `gridrl.powerflow.kernels_newton.newton` says of iterations


@kernel
def settle(lanes, types, which, model, world, state, course, settings, protection, ending, tripped):
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
    counter, limits = protection
    closed, rho = state[1], state[7]
    solve_all(lanes, types, which, model, world, state, course, settings, ending)
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
        solve_all(lanes, types, left, model, world, state, course, settings, ending)
        solves += n_left


@kernel
def solve_all(lanes, types, which, model, world, state, course, settings, ending):
    """Solve the states in ``which``: boldly, then with care from scratch; see `settle`.

    A shorter ladder than `gridrl.powerflow.solve.solve` climbs, because many states of a batch
    under random orders have no solution.
    """
    single, double = types
    tolerance, bold, careful, lowest = settings
    failed, low = np.empty_like(which), np.empty(which.size, np.bool_)
    n_failed = 0
    for first in range(0, which.size, WORD):
        some = which[first : first + WORD]
        count = _attempt(lanes, single, some, False, model, world, state, course,
                         (tolerance, *bold, lowest), ending)  # fmt: skip
        for e in range(some.size):
            if count[e] < 0 and count[e] != CUT:
                failed[n_failed], low[n_failed] = some[e], count[e] == LOW
                n_failed += 1
    n_low = 0
    for first in range(0, n_failed, WORD):
        some = failed[first : min(first + WORD, n_failed)]
        was_low = low[first : first + some.size].copy()
        count = _attempt(lanes, double, some, True, model, world, state, course,
                         (tolerance, *careful, lowest), ending)  # fmt: skip
        for e in range(some.size):
            if count[e] < 0 and was_low[e]:
                failed[n_low] = some[e]
                n_low += 1
    for first in range(0, n_low, WORD):
        _attempt(lanes, double, failed[first : min(first + WORD, n_low)], False, model, world,
                 state, course, (tolerance, *bold, 0.0), ending)  # fmt: skip
    for b in which:
        if ending[b] != RUNNING:
            state[4][b] = np.nan
            for values in (state[5], state[6]):
                values[b] = np.nan
            state[7][b] = np.nan


@kernel
def _attempt(lanes, like, some, afresh, model, world, state, course, settings, ending):
    """Newton's method on a word of states, from where they were or from scratch.

    Voltages, flows and loadings are written where it succeeds. Returns the iterations of each
    state, or what is below 0 where there are none.
    """
    pattern, node, base, network, base_topology, units, unit_at, parts, shunts = model
    switching, starts, branches, second, side_both = world
    m, n = some.size, node.size
    busbar, closed = _rows(some, state[0]), _rows(some, state[1])
    p, q, v_set = _rows(some, state[2]), _rows(some, state[3]), _rows(course[1][some], course[0])
    changes = topology_changes(busbar, closed, switching[0], switching[1])
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
    warm_starts(some, state[4], node, starts[0], starts[1], starts[2], starts[3], v_set, afresh,
                begin)  # fmt: skip
    v, worst = np.empty((m, n), np.complex128), np.empty(m)
    count = np.where(cut, np.int32(CUT), np.int32(-1)).astype(np.int32)
    order = np.flatnonzero(~cut)
    newton(lanes, like, pattern, node, base, power, current, (*lists, every, every), begin, order,
           settings, (v, count, worst))  # fmt: skip
    solved = count >= 0
    for e in range(m):
        ending[some[e]] = RUNNING if solved[e] else (ISLANDED if cut[e] else DIVERGED)
        if solved[e]:
            state[4][some[e]] = v[e]
            for c in range(dead_of[e], dead_of[e + 1]):
                state[4][some[e], node[dead_row[c]]] = np.nan
            for k in starts[4][: 0 if check[e] else starts[4].size]:
                state[4][some[e], k] = np.nan
    loadings(
        some, solved, state[4], state[0], state[1], branches, second, side_both, state[5],
        state[6], state[7],
    )  # fmt: skip
    return count


@kernel
def _rows(which, table):
    """Rows of a table as an array of their own."""
    which, table = borrowed((which, table))
    out = np.empty((which.size, table.shape[1]), table.dtype)
    for e in range(which.size):
        for k in range(table.shape[1]):
            out[e, k] = table[which[e], k]
    return out
