"""Least-cost redispatch, curtailment and load shedding against overloads, before and after N-1.

A linear program over AC-anchored sensitivities: the loading of every branch near its limit, in
every state near a limit, is what the AC power flow says plus what PTDF and LODF say of the changes.
Its answer is solved in AC with all contingencies and linearised again there until nothing is
overloaded or nothing improves. HiGHS solves the program, through SciPy.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
import scipy.sparse
from scipy.optimize import linprog

from gridrl.case import Case
from gridrl.grid import Bools, Floats, Ints, Topology
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.model import DEMAND_KINDS
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.result import FlowResult
from gridrl.powerflow.sensitivity import Sensitivities, sensitivities
from gridrl.security.contingency import GENERATOR_KINDS, Contingencies
from gridrl.security.topologies import TopologySecurity, secure_topologies
from gridrl.whatif.outlook import Reference, excess, values

ROUNDS = 5
NEAR = 0.85  # loading from which a branch is a constraint
AIM = 0.997  # loading that the linear program keeps: the rest is for what is not linear
MOST_STATES = 40  # contingencies of one program, the worst first; others follow in later rounds
MOST_ROWS = 600  # constraints of one program, the highest loadings first
SHED_PRICE, CURTAIL_PRICE = 1e3, 20.0  # of redispatch, per p.u.
OVERLOAD_PRICE, WORST_PRICE, INTACT_PRICE = 1e4, 1e7, 1e8  # per loading of 1
DIGITS = 3  # of the largest unit: set points are multiples of that, 0.1 MW beside 650 MW


class Means(IntEnum):
    """What may be changed, each including the ones before."""

    REDISPATCH = 1
    CURTAILMENT = 2
    SHEDDING = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class Dispatch:
    """A change of injections with its AC results."""

    case: Case
    change: Floats  # [n_unit] p.u. change of what each unit feeds in; what the reference does: 0
    used: Means
    found: TopologySecurity  # of one state
    value: float  # see `gridrl.whatif.outlook.values`
    solves: int

    @property
    def moved(self) -> float:
        """P.u. moved: half the sum of all changes, with what the reference balances."""
        return float(max(np.maximum(self.change, 0).sum(), np.maximum(-self.change, 0).sum()))


def dispatch(
    case: Case, contingencies: Contingencies, reference: Reference, means: Means,
    base: TopologySecurity, options: FlowOptions,
) -> Dispatch | None:  # fmt: skip
    """Change injections so that nothing is overloaded; the best found, None if nothing helps.

    ``base`` is the case itself, solved with all contingencies.
    """
    low, high, price = _bounds(case, means)
    grain = _grain(case)
    free = np.flatnonzero(high - low > grain)
    if not reference.solved or not free.size:
        return None
    best = Dispatch(
        case=case, change=np.zeros(case.grid.n_unit), used=Means.REDISPATCH, found=base,
        value=float(values(base, reference)[0]), solves=0,
    )  # fmt: skip
    solves, reach = 0, np.inf
    rows: tuple[Floats, Floats, Bools] | None = None
    for _ in range(ROUNDS):
        if best.value <= 1.0:
            break
        rows = rows or _rows(best.case, best.found, contingencies, free, options)
        near = best.change - reach, best.change + reach
        bounds = np.maximum(low, near[0]), np.minimum(high, near[1]), price
        change = _program(best.case, rows, free, best.change, bounds, grain, options)
        step = np.inf if change is None else float(np.abs(change - best.change).max())
        if change is None or step < grain:
            break
        now = with_change(case, change)
        found = secure_topologies(now, now.topology, contingencies, options=options)
        solves += found.solves
        value = float(values(found, reference)[0])
        better = value < best.value - 1e-4 or (
            value < best.value + 1e-4 and excess(found)[0] < excess(best.found)[0] - 1e-3
        )
        if not better:  # the way was too long for a straight line
            reach = 0.3 * step
            continue
        rows = None
        best = Dispatch(
            case=now, change=change, used=_used(case, change), found=found, value=value, solves=0
        )
    return replace(best, solves=solves) if best.change.any() else None


def bounds_of(case: Case, means: Means) -> tuple[Floats, Floats, Floats, float]:
    """`_bounds`, and the smallest change worth a phone call, p.u."""
    return *_bounds(case, means), _grain(case)


def _bounds(case: Case, means: Means) -> tuple[Floats, Floats, Floats]:
    """Least and largest change of every unit, p.u., and its price per p.u.

    A generator without a maximum in the file may go down only; one without a minimum, to 0. The
    reference is no variable: it balances, within its own limits.
    """
    grid = case.grid
    p = case.injection.p[0]
    kind = np.array(grid.unit_kind)
    there = case.topology.busbar[0, 2 * grid.n_branch :] > 0
    load = np.isin(kind, list(DEMAND_KINDS)) & there & (p < 0)
    machine = np.isin(kind, GENERATOR_KINDS) & there & ~grid.is_reference
    machine &= ~np.isin(kind, ("dcline", "hvdc"))
    renewable = machine & np.isin(kind, ("sgen", "storage", "battery")) & ~grid.dispatchable
    steered = machine & ~renewable
    low, high = np.zeros(p.size), np.zeros(p.size)
    top = np.where(np.isfinite(grid.p_max), grid.p_max, p)
    bottom = np.where(np.isfinite(grid.p_min), grid.p_min, np.minimum(p, 0.0))
    high[steered] = np.maximum(top - p, 0.0)[steered]
    low[steered] = np.minimum(bottom - p, 0.0)[steered]
    price = np.ones(p.size)
    if means >= Means.CURTAILMENT:
        low[renewable] = np.minimum(-p, 0.0)[renewable]
        price[renewable] = CURTAIL_PRICE
    if means >= Means.SHEDDING:
        high[load] = -p[load]
        price[load] = SHED_PRICE
    return low, high, price


def _grain(case: Case) -> float:
    """Smallest change worth a phone call, p.u.: a power of ten in MW."""
    largest = float(np.abs(case.injection.p[0]).max(initial=0.0)) * case.grid.s_base_mva
    if largest <= 0.0:
        return 1e-3
    return float(10.0 ** (np.floor(np.log10(largest)) - DIGITS)) / case.grid.s_base_mva


def has_means(case: Case, means: Means) -> bool:
    """Whether a kind of means adds anything to those before it."""
    now = _bounds(case, means)
    if means is Means.REDISPATCH:
        return bool((now[1] - now[0] > _grain(case)).any())
    before = _bounds(case, Means(means - 1))
    return bool(any((a != b).any() for a, b in zip(now[:2], before[:2], strict=True)))


def _used(case: Case, change: Floats) -> Means:
    kind = np.array(case.grid.unit_kind)
    moved = change != 0
    if (moved & np.isin(kind, list(DEMAND_KINDS))).any():
        return Means.SHEDDING
    renewable = np.isin(kind, ("sgen", "storage", "battery")) & ~case.grid.dispatchable
    return Means.CURTAILMENT if (moved & renewable).any() else Means.REDISPATCH


def with_change(case: Case, change: Floats) -> Case:
    """The case with changed injections; a load keeps its power factor."""
    p, q = case.injection.p.copy(), case.injection.q.copy()
    load = np.isin(np.array(case.grid.unit_kind), list(DEMAND_KINDS)) & (p[0] < 0)
    q[0, load] *= (p[0, load] + change[load]) / p[0, load]
    p[0] += change
    return replace(case, injection=replace(case.injection, p=p, q=q))


def _program(
    case: Case, rows_left: tuple[Floats, Floats, Bools], free: Ints, change: Floats,
    bounds: tuple[Floats, Floats, Floats], grain: float, options: FlowOptions,
) -> Floats | None:  # fmt: skip
    """[n_unit] the cheapest change that keeps all loadings by the linearisation around ``case``.

    Where not all can be kept: the one with the lowest worst loading, then the least overload.
    """
    rows, left, intact = rows_left
    if not left.size:
        return None
    low, high, price = (array[free] for array in bounds)
    price = price * _merit(case, free)
    room = reference_room(case, options)
    n, m = free.size, left.size
    # up and down apart, each with its price; what is too much of each loading; the worst of those
    over = np.where(intact, INTACT_PRICE, OVERLOAD_PRICE)
    cost = np.concatenate([price, price, over, [WORST_PRICE]])
    sparse = scipy.sparse.csr_array(rows)
    eye, none = scipy.sparse.eye_array(m), scipy.sparse.csr_array((m, 2 * n))
    one = scipy.sparse.csr_array(np.ones((m, 1)))
    balance = np.concatenate([np.ones(n), -np.ones(n), np.zeros(m + 1)])
    blocks: list[Any] = [
        scipy.sparse.hstack([sparse, -sparse, -eye, 0 * one]),
        scipy.sparse.hstack([none, eye, -one]),
        scipy.sparse.csr_array(np.stack([balance, -balance])),
    ]
    matrix: Any = scipy.sparse.csr_array(scipy.sparse.vstack(blocks))  # SciPy's types want it dense
    total = float(change[free].sum())
    right = np.concatenate(
        [left + rows @ change[free], np.zeros(m), [total + room[1], -(total + room[0])]]
    )
    # a unit moves from its schedule: up to ``high``, or down to ``low``
    limits = [(max(0.0, float(x)), max(0.0, float(y))) for x, y in zip(low, high, strict=True)]
    limits += [(max(0.0, -float(y)), max(0.0, -float(x))) for x, y in zip(low, high, strict=True)]
    limits += [(0.0, np.inf)] * (m + 1)
    solved = linprog(cost, A_ub=matrix, b_ub=right, bounds=limits, method="highs")
    if solved.x is None:
        return None
    out = np.zeros(change.size)
    out[free] = solved.x[:n] - solved.x[n : 2 * n]
    p = case.injection.p[0] - change
    whole = np.clip(np.round((p + out) / grain) * grain - p, bounds[0], bounds[1])
    return np.where(np.abs(out) < grain / 2, 0.0, whole)


def _merit(case: Case, free: Ints) -> Floats:
    """[n] price of moving a unit, relative: 1, or more where the file says that it costs more."""
    costs = case.grid.costs
    rank = np.zeros(case.grid.n_unit)
    for k in np.flatnonzero(~costs.of_reactive & (np.diff(costs.point_start) == 0)):
        unit = int(costs.unit[k])
        powers = np.arange(1, costs.coefficient.shape[1])
        p = case.injection.p[0, unit]
        rank[unit] = float((costs.coefficient[k, 1:] * powers * p ** (powers - 1)).sum())
    spread = float(np.ptp(rank[free])) if free.size else 0.0
    return (
        1.0 + np.abs(rank[free] - np.median(rank[free])) / spread if spread else np.ones(free.size)
    )


def reference_room(case: Case, options: FlowOptions) -> tuple[float, float]:
    """What the sum of all changes may be, p.u.: the reference takes up the opposite."""
    grid = case.grid
    power = prepare(case, options=options).flow().unit_power().real
    at = grid.is_reference & (case.topology.busbar[0, 2 * grid.n_branch :] > 0)
    top = np.where(np.isfinite(grid.p_max), grid.p_max, np.inf)[at]
    bottom = np.where(np.isfinite(grid.p_min), grid.p_min, -np.inf)[at]
    up = float(np.maximum(top - power[at], 0.0).sum())
    down = float(np.maximum(power[at] - bottom, 0.0).sum())
    return -min(up, 1e6), min(down, 1e6)


def _rows(
    case: Case, found: TopologySecurity, contingencies: Contingencies, free: Ints,
    options: FlowOptions,
) -> tuple[Floats, Floats, Bools]:  # fmt: skip
    """Change of loading per p.u. of each free unit, [m, n_free], and what is left to the aim.

    And [m] whether that is before any contingency.
    """
    grid = case.grid
    after = np.nan_to_num(found.pair_loading, nan=0.0)
    near = np.argsort(-after, kind="stable")[:MOST_STATES]
    near = np.sort(near[after[near] > NEAR])
    b_of, branch, u_of, unit = contingencies.members(grid)
    lost_b = [branch[b_of[k] : b_of[k + 1]] for k in found.contingency[near]]
    lost_u = [unit[u_of[k] : u_of[k + 1]] for k in found.contingency[near]]
    single = [k for k in range(near.size) if lost_b[k].size <= 1]
    busbar = np.repeat(case.topology.busbar, 1 + len(single), axis=0)
    closed = np.repeat(case.topology.closed, 1 + len(single), axis=0)
    for row, k in enumerate(single, 1):
        closed[row, lost_b[k]] = False
        busbar[row, 2 * grid.n_branch + lost_u[k]] = 0
    result = prepare(case, options=options).flow(Topology(busbar=busbar, closed=closed))
    outages = [lost_b[k][lost_b[k] >= 0] for k in single]
    every = np.concatenate([np.empty(0, np.int64), *outages]).astype(np.int64)
    factors = sensitivities(case, np.unique(every))
    node = factors.node[2 * grid.n_branch + free]
    transfer = np.where(node >= 0, factors.transfer(np.maximum(node, 0)), 0.0)
    parts, left, intact = [], [], []
    for state in range(result.batch):
        lost = lost_b[single[state - 1]] if state else every[:0]
        gone = lost_u[single[state - 1]] if state else every[:0]
        rows, room = _state_rows(_loading(result, state), result, state, factors, transfer, lost)
        rows[:, np.isin(free, gone)] = 0.0
        parts.append(rows)
        left.append(room)
        intact.append(np.full(room.size, state == 0))
    limit = np.concatenate(left)
    worst = np.argsort(limit, kind="stable")[:MOST_ROWS]
    return np.concatenate(parts)[worst], limit[worst], np.concatenate(intact)[worst]


def _loading(result: FlowResult, state: int) -> Floats:
    """[n_branch] loading, 0 where unrated."""
    return np.nan_to_num(result.loading(state), nan=0.0)


def _state_rows(
    loading: Floats, result: FlowResult, state: int, factors: Sensitivities, transfer: Floats,
    lost: Ints,
) -> tuple[Floats, Floats]:  # fmt: skip
    near = np.flatnonzero(loading > NEAR)
    s_from, s_to = result.s_from[state, near], result.s_to[state, near]
    flow = (s_from - s_to) / 2.0
    size = np.maximum(np.abs(flow), 1e-9)
    rows = transfer[near]
    if lost.size == 1 and factors.column_of[lost[0]] >= 0:
        moved = np.nan_to_num(factors.outage_factors(int(lost[0])), nan=0.0)[near]
        rows = rows + moved[:, None] * transfer[lost[0]][None, :]
    # d|S| / rating = P dP / |S| / rating, with the reactive flow as it is
    gain = loading[near] / size * (flow.real / size)
    return rows * gain[:, None], AIM - loading[near]


def generation_cost(case: Case, change: Floats) -> float | None:
    """Change of cost in the file's currency per hour; None where a moved unit has no cost."""
    grid, costs = case.grid, case.grid.costs
    of = {int(u): k for k, u in enumerate(costs.unit) if not costs.of_reactive[k]}
    total = 0.0
    for unit in np.flatnonzero(
        (change != 0) & ~np.isin(np.array(grid.unit_kind), list(DEMAND_KINDS))
    ):
        k = of.get(int(unit))
        if k is None or costs.point_start[k] != costs.point_start[k + 1]:
            return None
        p = float(case.injection.p[0, unit])
        power = np.arange(costs.coefficient.shape[1])
        total += float((costs.coefficient[k] * ((p + change[unit]) ** power - p**power)).sum())
    return total
