"""Grids in trouble to learn from: rows of a scenario's series, switched and weakened at random.

Drawn states are independent of each other and of any policy. A policy's own states come from
playing it (`gridrl.training.imitate`), since what it does leads where nothing else does.
"""

from dataclasses import dataclass

import numpy as np

from gridrl.arrays import Ints
from gridrl.env.choices import Choices
from gridrl.env.kernels_orders import apply_topology
from gridrl.env.simulate import taken
from gridrl.env.solve import solve_states
from gridrl.env.state import Ending, State
from gridrl.env.step import reset
from gridrl.env.world import World
from gridrl.policies.policy import worst_loading


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What has happened to a grid before somebody has to decide."""

    most_orders: int = 5  # switching orders in force
    most_outages: int = 2  # branches out of service
    busy: float = 0.2  # share of elements that may not be ordered yet
    low: float = 0.8  # highest loading from which a state is worth learning from
    quiet: float = 0.1  # share of the quieter states that is kept all the same
    high: float = 3.0  # highest loading up to which there is something left to save


def draw_states(
    world: World, choices: Choices, size: int, rng: np.random.Generator, trouble: Trouble
) -> State:
    """Up to ``size`` states with a power flow; fewer where most of what is drawn has none."""
    grid, series = world.case.grid, world.series
    episode = rng.integers(series.n_episode, size=size)
    first = rng.integers(np.diff(series.start)[episode] - 1)
    state = reset(world, rng, episode=episode, first=first)
    _switch(choices, state, rng, trouble.most_orders)
    out = rng.integers(trouble.most_outages + 1, size=size)
    for k in range(trouble.most_outages):
        which = np.flatnonzero(out > k)
        element = grid.branch_element[rng.integers(grid.n_branch, size=which.size)]
        state.closed[which] &= grid.branch_element[None] != element[:, None]
    which = np.flatnonzero(state.running)
    state.ending[which] = solve_states(world, state, which, world.tables[2], state.row)
    _hold(world, state, rng, trouble.busy)
    worst = worst_loading(state)
    kept = (worst >= trouble.low) | (rng.random(size) < trouble.quiet)
    kept &= (worst <= trouble.high) & (state.ending == Ending.RUNNING)
    return taken(state, np.flatnonzero(kept))


def _switch(choices: Choices, state: State, rng: np.random.Generator, most: int) -> None:
    """Carry out random orders, configurations more often than openings."""
    configures = np.flatnonzero(choices.substation >= 0)
    opens = np.flatnonzero((choices.set_line == -1).any(axis=1))
    orders = rng.integers(most + 1, size=state.batch)
    legal = np.zeros(state.batch, np.int8)
    for k in range(most):
        number = np.zeros(state.batch, np.int64)
        for some, share in ((configures, 0.8), (opens, 0.2)):
            if some.size:
                hit = (rng.random(state.batch) < share) & (number == 0)
                number[hit] = rng.choice(some, int(hit.sum()))
        number[orders <= k] = 0
        asked = choices.orders(state, number)
        if asked.set_busbar is not None and asked.set_line is not None:
            apply_topology(
                state.running, asked.set_busbar, asked.set_line, legal, state.busbar, state.closed
            )


def _hold(world: World, state: State, rng: np.random.Generator, busy: float) -> None:
    """Counters as rules would have left them."""
    rules = world.rules
    held = rng.random(state.closed.shape) < busy
    longest = np.where(state.closed, rules.line_cooldown, max(rules.reconnection, 1))
    # an open line is as often held out, as one under attack, as it is free to be closed
    held |= ~state.closed & (rng.random(state.closed.shape) < 0.5)
    count = rng.integers(1, np.maximum(longest, 1) + 1)
    state.line_cooldown[:] = np.where(held & (longest > 0), count, 0)
    if rules.substation_cooldown:
        held = rng.random(state.substation_cooldown.shape) < busy
        count = rng.integers(1, rules.substation_cooldown + 1, size=held.shape)
        state.substation_cooldown[:] = np.where(held, count, 0)
    over: Ints = rng.integers(rules.soft_steps + 1, size=state.rho.shape)
    state.overflow[:] = np.where(state.rho > 1.0, over, 0)
    state.protection[:] = np.where(state.rho > rules.soft_limit, over, 0)
