"""Which contingencies a solved state's own factors carry, and what they cut off."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Bools, Floats, Ints
from gridrl.powerflow.model import Model
from gridrl.powerflow.solve import Changes, States
from gridrl.security.kernels_bridges import bridges


@dataclass(frozen=True, eq=False, kw_only=True)
class Carried:
    """Outages of one branch closed at both ends, or of one machine that is no reference."""

    which: Bools  # [n] contingencies that the factors carry
    cuts: Bools  # [n] those of them that cut rows off
    islands_left: Bools  # [n_branch] whether anything is connected to what a branch cuts off
    outage: Ints  # [n] the branch that is lost, -1 for none
    islands: tuple[NDArray[np.generic], ...]  # as `gridrl.security.kernels_bridges.bridges`
    lost_load: Floats  # [n_branch] p.u. demand that the outage of a branch cuts off
    lost_generation: Floats  # [n_branch] p.u. scheduled infeed that it cuts off


def carried(model: Model, changes: Changes, outage: Ints, *, limited: bool) -> Carried:
    """Sort out the contingencies of a base state.

    Parameters
    ----------
    changes
        What each contingency switches.
    outage
        [n] the branch of those that open just one, else -1.
    limited
        Whether the reactive limits of machines are kept: then only what leaves all machines in
        place is carried.
    """
    end_f, end_t = model.branch_ends
    at = model.unit_at
    sources = np.unique(at[model.grid.is_reference & (at >= 0)])
    islands = bridges(model.n_node, end_f, end_t, sources)
    side, order, first, last = islands
    branch = np.maximum(outage, 0)
    lost = (outage >= 0) & (end_f[branch] >= 0) & (end_t[branch] >= 0)
    lost &= model.alive[np.maximum(end_f[branch], 0)]
    cuts = lost & (side[branch] > 0)
    if limited or model.promotion.size:  # an island may be taken over by a generator
        lost &= ~cuts
    which = lost | (np.zeros_like(lost) if limited else _machine(model, changes))
    demand = np.maximum(-model.injection.p[0], 0.0) * model.demand
    infeed = np.maximum(model.injection.p[0], 0.0) * ~model.demand
    things = _by_row(model, np.ones(demand.size))
    alone = (end_f < 0) != (end_t < 0)
    np.add.at(things, np.maximum(end_f, end_t)[alone], 1.0)
    by_place = [
        np.concatenate([[0.0], np.cumsum(row[order])])
        for row in (_by_row(model, demand), _by_row(model, infeed), things)
    ]
    count = by_place[2][last] - by_place[2][first]
    return Carried(
        which=which, cuts=cuts & which, outage=outage, islands=islands,
        islands_left=(count > 0) | (last - first > 1),
        lost_load=by_place[0][last] - by_place[0][first],
        lost_generation=by_place[1][last] - by_place[1][first],
    )  # fmt: skip


def _machine(model: Model, changes: Changes) -> Bools:
    """[n] contingencies that lose one connected unit which is neither a reference nor a demand."""
    b_of, u_of, unit = changes[0], changes[5], np.asarray(changes[6], np.int64)
    one = (np.diff(b_of) == 0) & (np.diff(u_of) == 1)
    m = (
        unit[np.minimum(u_of[:-1], max(unit.size - 1, 0))]
        if unit.size
        else np.zeros_like(u_of[:-1])
    )
    ok = ~model.grid.is_reference & ~model.demand & (model.unit_at >= 0)
    ok &= model.alive[np.maximum(model.unit_at, 0)]
    return np.asarray(one & ok[m])


def _by_row(model: Model, power: Floats) -> Floats:
    """[n_node + 1] sums by row; the last is 0."""
    at = model.unit_at
    out = np.zeros(model.n_node + 1)
    np.add.at(out, at[at >= 0], power[at >= 0])
    return out


def keep_supplied_side(states: States, carried: Carried, which: Ints) -> None:
    """Leave the equations of the far end alone where an outage cuts it off.

    ``states`` are those of the contingencies ``which``; a branch has four entries: its from row's
    two and its to row's two.
    """
    cutting = np.flatnonzero(carried.cuts[which])
    side = carried.islands[0][carried.outage[which[cutting]]]
    y_of, _, y_g, y_b = states.lists[:4]
    begin = y_of[cutting] + np.where(side == 1, 2, 0)
    for part in (y_g, y_b):
        part[begin] = part[begin + 1] = 0.0
