"""Power flows of a batch of environment states, from the voltages they had last."""

import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Bools, Complexes, Floats, Ints
from gridrl.env.kernels_grid import drop_empty, loadings, warm_starts
from gridrl.env.state import Bytes, Ending, State
from gridrl.env.world import World
from gridrl.grid import Injection
from gridrl.powerflow.kernels_newton import newton
from gridrl.powerflow.kernels_states import topology_changes
from gridrl.powerflow.model import load_rows
from gridrl.powerflow.solve import (
    BOLD,
    CAREFUL,
    CAREFUL_ITERATIONS,
    DOUBLE,
    LANES,
    LOWEST,
    SINGLE,
    Like,
    Pace,
    States,
    in_threads,
    make_states,
)


def solve_states(world: World, state: State, which: Ints, v_set: Floats, v_row: Ints) -> Bytes:
    """Solve the states in ``which`` into ``v, s_from, s_to, rho`` of ``state``.

    ``v_row`` [B] is the row of ``v_set`` [m, n_unit] that holds the voltages of each state.

    Returns
    -------
    int8[m]
        `Ending` of each: RUNNING where it was solved.
    """
    model = world.engine.model
    everyone = which.size == state.batch
    some = slice(None) if everyone else which
    held = v_set[v_row[some]]
    injection = _trusted(state.p[some], state.q[some], held)
    changes = topology_changes(state.busbar[some], state.closed[some], *world.base_switching)
    changed = (np.diff(changes[0]) + np.diff(changes[5])) > 0
    check = changed | (not model.steady)
    states = make_states(model, changes, injection, np.arange(which.size), check)
    whole = ~states.cut
    out = (
        np.full((which.size, model.n_node), np.nan + 0j),
        np.full(which.size, -1, np.int32),
        np.full(which.size, np.inf),
    )
    order = np.flatnonzero(whole)
    if order.size:
        _newton(world, state, which, states, injection, held, order, out)
    solved = out[1] >= 0
    out[0][~solved] = np.nan
    drop_empty(which, state.busbar, state.closed, world.places[0], model.second_node, out[0])
    ending = np.where(solved, Ending.RUNNING, Ending.DIVERGED).astype(np.int8)
    ending[~whole] = Ending.ISLANDED
    state.v[which] = out[0]
    find_loadings(world, state, which, solved)
    return ending


def _newton(
    world: World, state: State, which: Ints, states: States, injection: Injection, v_set: Floats,
    order: Ints, out: tuple[Complexes, NDArray[np.int32], Floats],
) -> None:  # fmt: skip
    """Newton's method from the last voltages; what that does not solve, carefully from scratch.

    A shorter ladder than `gridrl.powerflow.solve.solve` climbs, because many states of a batch
    under random orders have no solution. The scratch is that of the base injection.
    """
    model, options = world.engine.model, world.engine.options
    power, current = load_rows(model, injection)

    def attempt(
        part: Ints, v: Complexes, like: Like, pace: Pace, most: int, lowest: float = LOWEST
    ) -> Ints:
        start = np.empty((part.size, model.n_node, 2))
        last = which[part] if v is state.v else np.arange(part.size)
        warm_starts(
            last, v, model.pattern.node, world.sibling, model.own_start[0], *world.held,
            v_set if part.size == len(v_set) else v_set[part], start,
        )  # fmt: skip
        start_of = np.zeros(which.size, np.int64)
        start_of[part] = np.arange(part.size)
        lists = (*states.lists, states.load_of, start_of)
        settings = (options.tolerance, most, *pace, lowest)
        lanes = LANES  # for a few states too: a trajectory must not depend on its batch

        def run(some: Ints) -> None:
            newton(
                lanes, like, model.pattern_arrays, model.pattern.node, model.base_arrays, power,
                current, lists, start, some, settings, out,
            )  # fmt: skip

        in_threads(run, part, options.threads, n_lane=len(lanes))
        return part[out[1][part] < 0]

    left = attempt(order, state.v, SINGLE, BOLD, options.max_iteration)
    if left.size:
        low = left[out[1][left] == -2]
        nothing = np.full((left.size, model.n_node), np.nan + 0j)
        left = attempt(left, nothing, DOUBLE, CAREFUL, CAREFUL_ITERATIONS)
        again = np.intersect1d(low, left)
        if again.size:
            attempt(again, state.v, DOUBLE, BOLD, options.max_iteration, 0.0)


def _trusted(p: Floats, q: Floats, v_set: Floats) -> Injection:
    """An injection that looks at these arrays, which were checked when the world was built."""
    injection = object.__new__(Injection)
    for name, value in (("p", p), ("q", q), ("v_set", v_set)):
        locked = value.view()
        locked.setflags(write=False)
        object.__setattr__(injection, name, locked)
    return injection


def find_loadings(world: World, state: State, which: Ints, solved: Bools) -> None:
    """Fill flows and loadings of the states in ``which`` from their voltages."""
    loadings(
        which, solved, state.v, state.busbar, state.closed, world.branches,
        world.engine.model.second_node, world.rules.rho_side == "both", state.s_from, state.s_to,
        state.rho,
    )  # fmt: skip
