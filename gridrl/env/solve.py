"""Power flows of a batch of environment states, from the voltages they had last."""

import numpy as np

from gridrl.arrays import Bools, Ints
from gridrl.env.kernels_grid import loadings, warm_starts
from gridrl.env.state import Bytes, Ending, State
from gridrl.env.world import World
from gridrl.grid import Injection, Topology
from gridrl.powerflow.options import FlowStatus
from gridrl.powerflow.solve import changes_of, make_states, solve


def solve_states(world: World, state: State, which: Ints) -> Bytes:
    """Solve the states in ``which`` into ``v, s_from, s_to, rho`` of ``state``.

    Returns
    -------
    int8[m]
        `Ending` of each: RUNNING where it was solved.
    """
    model = world.engine.model
    injection = Injection(
        p=state.p[which], q=state.q[which], v_set=world.tables[2][state.row[which]]
    )
    topology = Topology(busbar=state.busbar[which], closed=state.closed[which])
    changes = changes_of(model, topology)
    changed = (np.diff(changes[0]) + np.diff(changes[5])) > 0
    check = changed | (not model.steady)
    states = make_states(model, changes, injection, np.arange(which.size), check)
    whole = ~states.cut
    start = np.empty((which.size, model.n_node, 2))
    warm_starts(
        which, state.v, model.pattern.node, world.sibling, model.own_start[0], *world.held,
        np.array(injection.v_set), start,
    )  # fmt: skip
    out = (
        np.full((which.size, model.n_node), np.nan + 0j),
        np.full(which.size, -1, np.int32),
        np.full(which.size, np.inf),
    )
    order = np.flatnonzero(whole)
    if order.size:
        solved = solve(
            model, states, injection, start, world.engine.options, order,
            np.arange(which.size), out,
        )  # fmt: skip
        status = solved.status
    else:
        status = np.full(which.size, FlowStatus.DIVERGED, np.int8)
    ending = np.where(status == FlowStatus.OK, Ending.RUNNING, Ending.DIVERGED).astype(np.int8)
    ending[~whole] = Ending.ISLANDED
    state.v[which] = out[0]
    find_loadings(world, state, which, ending == Ending.RUNNING)
    return ending


def find_loadings(world: World, state: State, which: Ints, solved: Bools) -> None:
    """Fill flows and loadings of the states in ``which`` from their voltages."""
    loadings(
        which, solved, state.v, state.busbar, state.closed, world.branches,
        world.engine.model.second_node, world.rules.rho_side == "both", state.s_from, state.s_to,
        state.rho,
    )  # fmt: skip
