"""Every single branch outage after every state of a batch, by AC power flows.

The states may differ in everything, injections included; `gridrl.security` does the same for many
switching states of one case.
"""

from dataclasses import dataclass

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.simulate import taken
from gridrl.env.solve import solve_states
from gridrl.env.state import Ending, State
from gridrl.env.world import World

SIDE_BY_SIDE = 4096


@dataclass(frozen=True, eq=False, kw_only=True)
class AfterOutages:
    """What single outages lead to, before any protection acts."""

    loading: Floats  # [n, n_branch] highest loading; that of the state where a branch is out
    lost: Bools  # [n, n_branch] no power flow, or a part is cut off

    @property
    def worst(self) -> Floats:
        """[n] highest loading after any outage that leaves a power flow."""
        return np.asarray(np.where(self.lost, 0.0, self.loading).max(axis=1, initial=0.0))

    @property
    def secure(self) -> Bools:
        """[n] whether nothing is overloaded after any outage that leaves a power flow."""
        return np.asarray(self.worst <= 1.0)

    def insecure(self, hopeless: Bools) -> Bools:
        """[n] whether an outage overloads something or ends in none, but for hopeless ones."""
        bad = np.where(self.lost, True, self.loading > 1.0) & ~hopeless
        return np.asarray(bad.any(axis=1))

    @property
    def solves(self) -> int:
        return int(self.loading.size)


def after_outages(
    world: World, state: State, which: Bools | None = None, lines: Bools | None = None
) -> AfterOutages:
    """Open each branch in turn, or each of ``lines``, with injections and switching as they are.

    Branches of one element (legs of a three-winding transformer) go together. Only the states in
    ``which`` [n] are looked at; by default those that run.
    """
    which = state.running if which is None else which
    grid = world.case.grid
    own = np.nan_to_num(state.rho, nan=np.inf).max(axis=1, initial=0.0)
    loading = np.repeat(own[:, None], grid.n_branch, axis=1)
    lost = np.zeros(loading.shape, np.bool_)
    together = grid.branch_element[:, None] == grid.branch_element[None]
    asked = state.closed & which[:, None]
    of, line = np.nonzero(asked if lines is None else asked & lines)
    for first in range(0, of.size, SIDE_BY_SIDE):
        part = (of[first : first + SIDE_BY_SIDE], line[first : first + SIDE_BY_SIDE])
        after = taken(state, part[0])
        after.closed[together[part[1]]] = False
        ending = solve_states(
            world, after, np.arange(part[0].size), world.tables[2], state.row[part[0]]
        )
        lost[part] = ending != Ending.RUNNING
        loading[part] = np.where(lost[part], np.inf, after.rho.max(axis=1))
    return AfterOutages(loading=loading, lost=lost)


def credible_lines(world: World) -> Bools | None:
    """[n_branch] branches that the scenario's opponent may take out; None where there is none."""
    if not world.opponent.exists:
        return None
    out = np.zeros(world.case.grid.n_branch, np.bool_)
    out[world.opponent.lines] = True
    return out


def hopeless_outages(world: World) -> Bools:
    """[n_branch] outages that cut something off even where everything else is in service."""
    from gridrl.env.step import reset

    first = reset(world, np.random.default_rng(0), episode=np.zeros(1, np.int64))
    found: Ints = np.asarray(after_outages(world, first).lost[0])
    return np.asarray(found, np.bool_)
