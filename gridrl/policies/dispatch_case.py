"""A grid in operation as an optimal power flow: the smallest change of generation that relieves it.

Generators may move as far as their ramps let them in some steps, renewables may be cut back, and
each p.u. of change costs the same (renewables more). Voltages stay at their set points, because an
operator of an environment does not order them.
"""

from dataclasses import dataclass, replace

import numpy as np

from gridrl.arrays import Bools, Floats
from gridrl.case import Case
from gridrl.costs import CostRow, join
from gridrl.env.state import Orders, State
from gridrl.env.world import World
from gridrl.grid import Injection, Topology

CURTAIL_PRICE = 20.0  # of a p.u. of renewables, where one of a generator costs 1
SLACK_ROOM = 0.02  # share of the load: losses that the reference may make up for besides
MADE_UP = 0.8  # share of the ramps that curtailment may claim: the series needs them too
LOADED, LEAST_ACTIVE = 0.3, 0.5  # loadings that count, least share of them that is active power
LEAST_MW = 0.01  # smaller orders are none
APART = 1e-6  # p.u.: narrower ranges are no choice


@dataclass(frozen=True, eq=False, kw_only=True)
class Movable:
    """What may be moved in one state, and from where."""

    p: Floats  # [n_unit] p.u. expected without orders
    low: Floats  # [n_unit] p.u.
    high: Floats  # [n_unit] p.u.
    renewable: Bools  # [n_unit]


def movable(world: World, state: State, b: int, steps: int, *, lossless: bool = False) -> Movable:
    """Powers of state ``b`` and how far they can be moved in some steps.

    A ``lossless`` model balances without losses: with them, it would order them away.
    """
    grid, fleet = world.case.grid, world.fleet
    p = state.p[b].copy()
    owed = _imbalance(world, state, b, lossless)
    p[grid.is_reference] += owed * _share(grid.is_reference)
    low, high = p.copy(), p.copy()
    renewable = np.zeros(grid.n_unit, np.bool_)
    unit = fleet.gen_unit
    moves = fleet.redispatchable & ~fleet.renewable
    reach = np.where(moves, steps, 0)
    low[unit] = np.minimum(p[unit], np.maximum(fleet.p_min, p[unit] - reach * fleet.ramp_down))
    high[unit] = np.maximum(p[unit], np.minimum(fleet.p_max, p[unit] + reach * fleet.ramp_up))
    renewable[unit] = fleet.renewable
    low[renewable] = np.minimum(p[renewable], 0.0)
    fixed = grid.is_reference & (high - low < APART)
    room = SLACK_ROOM * float(np.maximum(-p, 0.0).sum())
    low[fixed], high[fixed] = p[fixed] - room, p[fixed] + room
    return Movable(p=p, low=low, high=high, renewable=renewable)


def _share(reference: Bools) -> Floats:
    return np.full(int(reference.sum()), 1.0 / max(int(reference.sum()), 1))


def _imbalance(world: World, state: State, b: int, lossless: bool) -> float:
    """What the reference brings beyond its schedule, p.u.: losses less the sum of injections."""
    losses = float(np.nan_to_num((state.s_from[b] + state.s_to[b]).real).sum())
    losses = 0.0 if lossless else losses
    grid = world.case.grid
    fixed = np.array([kind != "shunt" for kind in grid.unit_kind])
    return losses - float(state.p[b][fixed].sum())


def as_case(
    world: World, state: State, b: int, move: Movable, *, aim: float, lossless: bool = False
) -> Case:
    """State ``b`` as a case whose optimum is the cheapest change.

    ``aim`` is the loading that no branch shall pass. To a ``lossless`` model, which knows active
    power alone, ratings are what they leave for it beside the reactive power of now.
    """
    grid = world.case.grid
    room = aim * (_active_share(state, b) if lossless else np.ones(grid.n_branch))
    free = move.high - move.low > APART
    rows = []
    for unit in np.flatnonzero(free):
        low, at, high = (float(x[unit]) for x in (move.low, move.p, move.high))
        price = CURTAIL_PRICE if move.renewable[unit] else 1.0
        points = ((low, price * (at - low)), (at, 0.0), (high, price * (high - at)))
        kept = tuple(point for k, point in enumerate(points) if k == 1 or abs(point[0] - at) > 0)
        rows.append(CostRow(unit=int(unit), points=kept))
    inf = np.full(grid.n_unit, np.inf)
    posed = replace(
        grid, dispatchable=free, p_min=move.low, p_max=move.high, q_min=-inf, q_max=inf,
        v_min=np.zeros(grid.n_substation), v_max=np.full(grid.n_substation, np.inf),
        i_max_from=grid.i_max_from * room, i_max_to=grid.i_max_to * room, s_max=grid.s_max * room,
        costs=join(rows),
    )  # fmt: skip
    injection = Injection(
        p=move.p[None], q=state.q[b][None], v_set=np.array(world.series.v_set[state.row[b]])[None]
    )
    topology = Topology(busbar=state.busbar[b][None], closed=state.closed[b][None])
    return replace(world.case, grid=posed, injection=injection, topology=topology, start=None)


def _active_share(state: State, b: int) -> Floats:
    """[n_branch] active power at 1 p.u. voltage for each p.u. of current, of loaded branches."""
    s, rho = state.s_from[b], np.nan_to_num(state.rho[b])
    share = np.abs(s.real) / np.maximum(np.abs(s), 1e-12)
    return np.where((rho > LOADED) & np.isfinite(share), np.maximum(share, LEAST_ACTIVE), 1.0)


def as_orders(world: World, move: Movable, p: Floats) -> Orders:
    """[1] orders that lead towards powers ``p`` [n_unit], as far as one step goes.

    No more is curtailed than the ramps can make up for, and then they are left to do that.
    """
    fleet, base = world.fleet, world.case.grid.s_base_mva
    unit = fleet.gen_unit
    change = p[unit] - move.p[unit]
    change[np.abs(change) * base < LEAST_MW] = 0.0
    turn = fleet.redispatchable & ~fleet.renewable
    redispatch = np.where(turn, np.clip(change, -fleet.ramp_down, fleet.ramp_up), 0.0)
    cut = fleet.renewable & (change < 0) & (fleet.p_max > 0)
    curtail = np.full(fleet.n_gen, np.nan)
    if cut.any():
        room = np.where(turn, np.minimum(fleet.ramp_up, fleet.p_max - move.p[unit]), 0.0)
        share = min(1.0, MADE_UP * float(np.maximum(room, 0.0).sum() / -change[cut].sum()))
        left = move.p[unit][cut] + share * change[cut]
        curtail[cut] = np.clip(left / fleet.p_max[cut], 0.0, 1.0)
        redispatch = np.zeros(fleet.n_gen)
    return Orders(
        redispatch=redispatch[None] if redispatch.any() else None,
        curtail=curtail[None] if cut.any() else None,
    )


def as_words(world: World, orders: Orders) -> str:
    """Orders to generators in an operator's words."""
    fleet, grid = world.fleet, world.case.grid
    base, said = grid.s_base_mva, []
    if orders.redispatch is not None:
        said += [
            f"{grid.unit_label[int(fleet.gen_unit[g])]} {orders.redispatch[0, g] * base:+.1f} MW"
            for g in np.flatnonzero(orders.redispatch[0])
        ]
    if orders.curtail is not None:
        said += [
            f"{grid.unit_label[int(fleet.gen_unit[g])]} to at most "
            f"{orders.curtail[0, g] * fleet.p_max[g] * base:.1f} MW"
            for g in np.flatnonzero(~np.isnan(orders.curtail[0]))
        ]
    return ", ".join(said)
