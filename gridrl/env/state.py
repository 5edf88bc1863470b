"""What changes in an episode: the state of a batch of grids, orders to it, and what came of them.

Vocabulary: a *line* is a branch of any kind; *rho* is its loading, 1.0 at the rating. A *row* is a
line of the time series. Powers are p.u., energies p.u. h.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Bools, Complexes, Floats, Ints

Bytes = NDArray[np.int8]
Counts = NDArray[np.int32]


class Ending(IntEnum):
    """Why an episode is over."""

    RUNNING = 0
    SURVIVED = 1  # the series ended
    DIVERGED = 2  # no power flow
    ISLANDED = 3  # a part of the grid was cut off
    UNBALANCED = 4  # ramps and limits cannot balance storage and curtailment


@dataclass(frozen=True, eq=False, kw_only=True)
class State:
    """A batch of grids in operation. A step makes a new one and leaves this one as it is."""

    row: Ints  # [B] row of the series that the grid is loaded with
    first: Ints  # [B] row the episode began with
    last: Ints  # [B] row the episode ends with
    episode: Ints  # [B]
    seed: NDArray[np.uint64]  # [B] everything random in the episode follows from it
    ending: Bytes  # [B] `Ending`
    # Switching
    busbar: Bytes  # [B, n_terminal] 1 or 2, of an open line: where it was last; 0 never connected
    closed: Bools  # [B, n_branch]
    # Rules
    overflow: Counts  # [B, n_branch] steps in a row above the rating
    protection: Counts  # [B, n_branch] steps in a row above the soft limit
    line_cooldown: Counts  # [B, n_branch] steps until it may be ordered
    substation_cooldown: Counts  # [B, n_substation]
    # Dispatch
    target: Floats  # [B, n_gen] p.u. redispatch that was ordered
    actual: Floats  # [B, n_gen] p.u. redispatch in effect
    set_point: Floats  # [B, n_gen] p.u. power including redispatch
    limit: Floats  # [B, n_gen] curtailment limit, share of p_max; 1: none
    modified: Bools  # [B, n_gen] was ever ordered to redispatch
    charge: Floats  # [B, n_storage] p.u. h
    absorbed: Floats  # [B, n_storage] p.u. that storage draws
    totals: Floats  # [B, 2] p.u. absorbed by all storage, changed by all curtailment
    # Opponent
    budget: Floats  # [B]
    attacked: Counts  # [B] line, -1: none
    attack_left: Counts  # [B] steps, with the present one
    attack_pause: Counts  # [B] steps
    attack_wait: Counts  # [B] steps until it attacks, once it may; -1: not drawn
    # Power flow
    p: Floats  # [B, n_unit] p.u. injected, before the slack makes up for losses
    q: Floats  # [B, n_unit] p.u.
    v: Complexes  # [B, n_node] p.u., NaN at dead nodes
    s_from: Complexes  # [B, n_branch] p.u., positive into the branch
    s_to: Complexes  # [B, n_branch] p.u.
    rho: Floats  # [B, n_branch]

    @property
    def batch(self) -> int:
        return int(self.row.size)

    @property
    def running(self) -> Bools:
        """[B] whether the episode goes on."""
        return np.asarray(self.ending == Ending.RUNNING)

    @property
    def steps(self) -> Ints:
        """[B] steps since the episode began."""
        return np.asarray(self.row - self.first)


@dataclass(frozen=True, eq=False, kw_only=True)
class Orders:
    """What operators want in one step; None asks for nothing. All parts may be combined."""

    set_busbar: Bytes | None = None  # [B, n_terminal] 0 leave, 1 or 2 a busbar, -1 open its line
    set_line: Bytes | None = None  # [B, n_branch] 0 leave, 1 close, -1 open
    redispatch: Floats | None = None  # [B, n_gen] p.u. more than ordered so far
    curtail: Floats | None = None  # [B, n_gen] largest share of p_max, NaN: leave
    storage: Floats | None = None  # [B, n_storage] p.u. to absorb; negative: to produce


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What came of one step."""

    verdict: Bytes  # [B] 0 legal, 1 ambiguous, 2 illegal: then nothing was done
    failed: Bools  # [B] a redispatch was refused
    tripped: Bools  # [B, n_branch] opened by protection
    attacked: Counts  # [B] line that the opponent holds out, -1: none
    line_hit: Bools  # [B, n_branch] status ordered
    substation_hit: Bools  # [B, n_substation] configured
    solves: int  # power flows that the step took, all states together
