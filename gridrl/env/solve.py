"""Power flows of a batch of environment states, from the voltages they had last."""

from typing import Any

import numpy as np

from gridrl.arrays import Complexes, Floats, Ints
from gridrl.env.kernels_settle import solve_all
from gridrl.env.state import Bytes, State
from gridrl.env.world import World
from gridrl.jit import announced
from gridrl.powerflow.solve import (
    BOLD,
    CAREFUL,
    DOUBLE,
    LANES,
    LOWEST,
    NEAR,
    SINGLE,
    in_threads,
)

TYPES = (SINGLE, DOUBLE)
MOST_CAREFUL = 32  # iterations; of thousands of states, the slowest that had a solution took 14


def solve_states(world: World, state: State, which: Ints, v_set: Floats, v_row: Ints) -> Bytes:
    """Solve the states in ``which`` into ``v, s_from, s_to, rho``; no line trips.

    ``v_row`` [B] is the row of ``v_set`` [m, n_holding] that has the voltages of each state, see
    `World.tables`.

    Returns
    -------
    int8[m]
        `Ending` of each: RUNNING where it was solved, else DIVERGED or ISLANDED.
    """
    ending = np.zeros(state.batch, np.int8)
    arrays = flow_state(state, state.v)

    def run(part: Ints) -> None:
        solve_all(
            LANES, TYPES, part, *world.flow_arrays, arrays, (v_set, v_row, world.holding),
            flow_settings(world),
            ending,
        )  # fmt: skip

    with announced("environment"):
        in_threads(run, which, world.engine.options.threads)
    return ending[which]


def flow_state(state: State, v_last: Complexes) -> tuple[Any, ...]:
    """``state`` as `gridrl.env.kernels_settle` takes it."""
    return (
        state.busbar, state.closed, state.p, state.q, state.v, state.s_from, state.s_to, state.rho,
        v_last,
    )  # fmt: skip


def flow_settings(world: World) -> tuple[Any, ...]:
    """``settings`` as `gridrl.env.kernels_settle` takes them."""
    options = world.engine.options
    bold, careful = (options.max_iteration, *BOLD), (MOST_CAREFUL, *CAREFUL)
    return (options.tolerance, bold, careful, LOWEST, NEAR)
