"""Power flows of a batch of environment states, from the voltages they had last."""

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.kernels_settle import settle
from gridrl.env.state import Bytes, State
from gridrl.env.world import World
from gridrl.powerflow.solve import (
    BOLD,
    CAREFUL,
    CAREFUL_ITERATIONS,
    DOUBLE,
    LANES,
    LOWEST,
    SINGLE,
    in_threads,
)

TYPES = (SINGLE, DOUBLE)
NO_TRIPS = (1.0, 0, 1.0, False, False)


def settle_states(
    world: World, state: State, which: Ints, v_set: Floats, v_row: Ints, *, beginning: bool = False
) -> tuple[Bools, int]:
    """Solve the states in ``which`` into ``v, s_from, s_to, rho``, and again until no line trips.

    ``ending`` becomes RUNNING, DIVERGED or ISLANDED. ``v_row`` [B] is the row of ``v_set``
    [m, n_unit] that holds the voltages of each state; ``beginning`` that of a reset, where no line
    counts as overloaded for another step.

    Returns
    -------
    tripped : bool[B, n_branch]
    solves : int
        Power flows that it took.
    """
    rules = world.rules
    limits = (
        float(rules.soft_limit), int(rules.soft_steps), float(rules.hard_limit), not beginning,
        bool(rules.overflow_trips),
    )  # fmt: skip
    return _settle(world, state, which, (v_set, v_row), limits, state.ending)


def solve_states(world: World, state: State, which: Ints, v_set: Floats, v_row: Ints) -> Bytes:
    """The same without trips; ``ending`` of the state stays as it is.

    Returns
    -------
    int8[m]
        `Ending` of each: RUNNING where it was solved.
    """
    ending = np.zeros(state.batch, np.int8)
    _settle(world, state, which, (v_set, v_row), NO_TRIPS, ending)
    return ending[which]


def _settle(
    world: World, state: State, which: Ints, course: tuple[Floats, Ints],
    limits: tuple[float, int, float, bool, bool], ending: Bytes,
) -> tuple[Bools, int]:  # fmt: skip
    options = world.engine.options
    bold, careful = (options.max_iteration, *BOLD), (CAREFUL_ITERATIONS, *CAREFUL)
    settings = (options.tolerance, bold, careful, LOWEST)
    tripped = np.zeros(state.closed.shape, np.bool_)
    arrays = (
        state.busbar, state.closed, state.p, state.q, state.v, state.s_from, state.s_to, state.rho,
    )  # fmt: skip
    solves = []

    def run(part: Ints) -> None:
        solves.append(
            settle(
                LANES, TYPES, part, *world.flow_arrays, arrays, course, settings,
                (state.protection, limits), ending, tripped,
            )  # fmt: skip
        )

    in_threads(run, which, options.threads)
    return tripped, sum(solves)
