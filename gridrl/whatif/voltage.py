"""Voltages back within their limits, before and after N-1, with the least change.

Set points of generators, tap changers and shunts first; active powers only where these are not
enough. A mixed-integer program over the AC state's own first derivatives proposes, the AC power
flow with all contingencies decides, and the program is made anew there until nothing is outside or
nothing improves. HiGHS solves it, through SciPy. Loadings near their rating and the reactive
limits of machines before any contingency are constraints, too.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from gridrl.case import Case
from gridrl.grid import Floats, Ints, Topology
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.linear import Linear, Watched
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.result import FlowResult
from gridrl.security.contingency import Contingencies
from gridrl.security.topologies import TopologySecurity, secure_topologies
from gridrl.whatif.dispatch_program import reference_room
from gridrl.whatif.levers import Levers, levers_of, moved_case, power_change, rounded
from gridrl.whatif.outlook import REFUSED, Reference, outside, values
from gridrl.whatif.redispatch import Means, has_means
from gridrl.whatif.voltages import (
    INTACT,
    VoltageStanding,
    depths,
    limits_of_nodes,
    voltage_standing,
)

ROUNDS, ROUNDS_LARGE = 6, 2  # of programs
VOLTAGE_STATES, LOADING_STATES = 20, 8  # contingencies of one program, the worst first
LARGE = 1e7  # branch loadings of N-1 from which only set points, taps and shunts are tried
NEAR_VOLTAGE, NEAR_LOADING = 0.02, 0.9  # from where a voltage (p.u.) or loading is a constraint
MOST_VOLTAGES, MOST_LOADINGS = 40, 20  # constraints of each state
MOST_INTACT = 300  # voltages of the intact state: what is not watched there may be moved back
MOST_CONTROLS = 60  # set points of one program, and as many of everything else
AIM_VOLTAGE, AIM_LOADING = 5e-4, 0.997  # what the program keeps free for what is not linear
VOLTAGE_PRICE, LOADING_PRICE = 1e5, 1e4  # of what is beyond a limit, per p.u., against moves
SET_POINT_REACH, TAP_REACH = 0.05, 5.0  # p.u. and positions that one program may move
LESS = 0.98  # part of the badness that an answer must leave at most
GAP, NODES = 1e-3, 500  # where the search for whole steps ends


@dataclass(frozen=True, eq=False, kw_only=True)
class Mended:
    """A change of controls with its AC results."""

    levers: Levers
    change: Floats  # [n_control]
    case: Case
    found: TopologySecurity  # of one state
    standing: VoltageStanding
    value: float  # see `gridrl.whatif.outlook.values`
    solves: int


def mend(
    case: Case, contingencies: Contingencies, reference: Reference, found: TopologySecurity,
    options: FlowOptions, stages: Sequence[Means | None], locked: Collection[int] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> list[Mended]:  # fmt: skip
    """What brings voltages nearer to their limits, one answer for each stage that helps.

    Parameters
    ----------
    found
        The case itself, solved with all contingencies.
    stages
        Means to use, each with all of those before it: None is set points, taps and shunts.
    locked
        Elements that keep their set points and steps.
    """
    large = _large(case, contingencies)
    if not reference.solved or (large and not found.voltage[0]):
        return []  # on a large grid what an outage might break is only told: it takes too long
    standing = voltage_standing(case, found, contingencies, options)
    levers = levers_of(case, None, locked)
    best = Mended(
        levers=levers, change=np.zeros(levers.controls.size), case=case, found=found,
        standing=standing, value=float(values(found, reference)[0]), solves=0,
    )  # fmt: skip
    out = []
    for means in [means for means in stages if means is None or not large]:
        if best.standing.clean:
            break
        if means is not None and not has_means(case, means):
            continue
        if means is not None and not best.found.voltage[0]:
            break  # no power is moved now for a voltage that some outage might break
        progress("voltages" if means is None else f"voltages with {means.name.lower()}")
        levers = levers_of(case, means, locked)
        if not (levers.high - levers.low > levers.grain / 2).any():
            continue  # nothing to move
        started = replace(best, levers=levers, change=_carried(best, levers), solves=0)
        better = _improved(started, contingencies, reference, options)
        if better.change.any() and better.standing.badness < LESS * best.standing.badness:
            best = better
            out.append(better)
    return out


def _large(case: Case, contingencies: Contingencies) -> bool:
    return case.grid.n_branch * len(contingencies) > LARGE


def _carried(best: Mended, levers: Levers) -> Floats:
    """The change so far, for more controls: voltages first, then the powers they share."""
    third = levers.controls.cuts[2]
    power = power_change(best.levers, best.change)
    return np.concatenate([best.change[:third], power[levers.controls.unit]])


def _improved(
    best: Mended, contingencies: Contingencies, reference: Reference, options: FlowOptions
) -> Mended:
    levers = best.levers
    first, second, _ = levers.controls.cuts
    reach = np.full(levers.controls.size, np.inf)
    reach[:first], reach[first:second] = SET_POINT_REACH, TAP_REACH
    allowed = max(1.0, best.value) + 1e-3
    solves = 0
    program: _Program | None = None
    for _ in range(ROUNDS_LARGE if _large(best.case, contingencies) else ROUNDS):
        if best.standing.clean:
            break
        program = program or _program_of(best, contingencies, options)
        wanted = _solved(levers, program, best.change, reach)
        if wanted is None or (np.abs(wanted - best.change) < levers.grain / 2).all():
            break
        after = replace(best, change=wanted, case=moved_case(levers, wanted))
        for which in (program.contingency, np.arange(len(contingencies))):  # the likely ones first
            after = _checked(after, which, contingencies, reference, options)
            solves += after.found.solves
            good = after.value <= allowed and _better(after, best)
            if not good:
                break
        if good:
            best, program = after, None
            continue
        step = np.abs(wanted - best.change)  # the way was too long for a straight line
        reach = np.where(levers.whole, np.maximum(1.0, np.floor(0.4 * step)), 0.4 * step)
    return replace(best, solves=solves)


def _checked(
    after: Mended, which: Ints, contingencies: Contingencies, reference: Reference,
    options: FlowOptions,
) -> Mended:  # fmt: skip
    """With the AC power flows after some contingencies."""
    case = after.case
    found = secure_topologies(
        case, case.topology, contingencies, only=(np.array([0, which.size]), which),
        options=options,
    )  # fmt: skip
    value = float(values(found, reference)[0])
    standing = after.standing
    if value < REFUSED:
        standing = voltage_standing(case, found, contingencies, options)
    return replace(after, found=found, value=value, standing=standing)


def _better(after: Mended, best: Mended) -> bool:
    """Clearly nearer to the limits; or as near, with fewer voltages outside."""
    now, before = after.standing.badness, best.standing.badness
    fewer = bool(outside(after.found)[0] < outside(best.found)[0])
    return now < LESS * before or (now <= before and fewer)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Program:
    """Rows ``matrix @ (change - now) <= left`` at a price per unit beyond; inf: not beyond."""

    matrix: Floats  # [m, n_control]
    left: Floats  # [m]
    price: Floats  # [m]
    room: tuple[float, float]  # p.u. that the sum of all powers may change
    chosen: Ints  # controls that may move: the most effective ones
    contingency: Ints  # those whose states are in the rows


def _program_of(best: Mended, contingencies: Contingencies, options: FlowOptions) -> _Program:
    """The constraints of the intact state and of the worst contingencies, linearised."""
    which = _worst(best)
    result = _states(best, which, contingencies, options)
    parts = []
    for state in np.flatnonzero(result.solved()).tolist():
        linear = Linear(result, state, best.levers.controls)
        parts.append(_voltage_rows(linear, result, state))
        parts.append(_loading_rows(linear, result, state))
        if state == 0:
            parts.append(_reactive_rows(linear))
    powers = best.levers.controls.unit.size
    matrix, left, price = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return _Program(
        matrix=matrix,
        left=left,
        price=price,
        chosen=_most_effective(best, matrix, left),
        contingency=which,
        room=reference_room(best.case, result.unit_power(0).real) if powers else (0.0, 0.0),
    )


def _most_effective(best: Mended, matrix: Floats, left: Floats) -> Ints:
    """The controls that can do most about what is beyond a limit, and those moved already.

    Few are asked for then, and the program is small on a grid with a thousand of them.
    """
    levers, first = best.levers, len(best.levers.controls.held)
    room = np.maximum(levers.high, -levers.low)
    room[:first] = np.minimum(room[:first], SET_POINT_REACH)
    power = room[levers.controls.cuts[2] :]
    power[:] = np.minimum(power, np.median(power)) if power.size else power
    wrong = np.flatnonzero(left < 0.0)
    gain = np.abs(matrix[wrong]) * room
    share = gain / np.maximum(gain.max(axis=1, keepdims=True), 1e-12)
    effect = share.sum(axis=0)
    effect[best.change != 0.0] = np.inf
    order = np.argsort(-effect, kind="stable")
    parts = order[order < first], order[order >= first]  # powers crowd no set point out
    return np.sort(np.concatenate([part[:MOST_CONTROLS] for part in parts]))


def _worst(best: Mended) -> Ints:
    """The contingencies with the furthest voltages, and those with the highest loadings."""
    loading = np.nan_to_num(best.found.pair_loading, nan=0.0)
    loaded = np.argsort(-loading, kind="stable")[:LOADING_STATES]
    loaded = best.found.contingency[loaded[loading[loaded] > NEAR_LOADING]]
    return np.union1d(best.standing.contingency[:VOLTAGE_STATES], loaded).astype(np.int64)


def _states(
    best: Mended, which: Ints, contingencies: Contingencies, options: FlowOptions
) -> FlowResult:
    """The intact state, and those after some contingencies."""
    case = best.case
    busbar = np.repeat(case.topology.busbar, 1 + which.size, axis=0)
    closed = np.repeat(case.topology.closed, 1 + which.size, axis=0)
    b_of, branch, u_of, unit = contingencies.members(case.grid)
    for row, k in enumerate(which.tolist(), 1):
        closed[row, branch[b_of[k] : b_of[k + 1]]] = False
        busbar[row, 2 * case.grid.n_branch + unit[u_of[k] : u_of[k + 1]]] = 0
    split = np.unique(case.grid.terminal_substation[(case.topology.busbar[0] == 2)])
    return prepare(case, split=split, options=options).flow(Topology(busbar=busbar, closed=closed))


Rows = tuple[Floats, Floats, Floats]


def _voltage_rows(linear: Linear, result: FlowResult, state: int) -> Rows:
    """Voltages near their limits or beyond them."""
    beyond = depths(result, state)
    node = _highest(beyond, -NEAR_VOLTAGE, MOST_VOLTAGES if state else MOST_INTACT)
    low, high = limits_of_nodes(result)
    low, high, v = low[node], high[node], np.abs(result.v[state][node])
    matrix = linear.rows(linear.voltages(node))
    aim = np.minimum(AIM_VOLTAGE, np.nan_to_num(high - low, posinf=1.0) / 4.0)
    over, under = np.isfinite(high), low > 0.0
    return (
        np.concatenate([matrix[over], -matrix[under]]),
        np.concatenate([(high - aim - v)[over], (v - low - aim)[under]]),
        np.full(int(over.sum() + under.sum()), VOLTAGE_PRICE * (INTACT if state == 0 else 1.0)),
    )


def _loading_rows(linear: Linear, result: FlowResult, state: int) -> Rows:
    """Loadings near the rating: what is beyond it already must not grow."""
    loading = np.nan_to_num(result.loading(state), nan=0.0)
    branch = _highest(loading, NEAR_LOADING, MOST_LOADINGS)
    left = np.maximum(AIM_LOADING - loading[branch], 0.0)
    return linear.rows(linear.loadings(branch)), left, np.full(branch.size, LOADING_PRICE)


def _reactive_rows(linear: Linear) -> Rows:
    """Reactive power of machines that hold a voltage: within its range, or not further out."""
    node = linear.holding_nodes()
    watched: Watched = linear.reactive(node)
    low, high = linear.reactive_range(node)
    over, under = np.isfinite(high), np.isfinite(low)
    matrix, q = linear.rows(watched), watched.value
    left = np.concatenate([(high - q)[over], (q - low)[under]])
    return (
        np.concatenate([matrix[over], -matrix[under]]),
        np.maximum(left, 0.0),
        np.full(left.size, np.inf),
    )


def _highest(value: Floats, least: float, most: int) -> Ints:
    order = np.argsort(-value, kind="stable")[:most]
    return np.sort(order[value[order] > least])


def _solved(levers: Levers, program: _Program, now: Floats, reach: Floats) -> Floats | None:
    """[n_control] the cheapest change that keeps the rows, as far as they can be kept."""
    some = program.chosen
    low = np.maximum(levers.low, now - reach)[some]
    high = np.minimum(levers.high, now + reach)[some]
    most_moved = np.abs(program.matrix[:, some]) @ np.maximum(high - now[some], now[some] - low)
    rows_kept = np.flatnonzero(most_moved > program.left)  # the others cannot be broken
    dense, left, price = (
        program.matrix[np.ix_(rows_kept, some)], program.left[rows_kept], program.price[rows_kept],
    )  # fmt: skip
    n, m = some.size, left.size
    soft = np.isfinite(price)
    cost = np.concatenate([levers.price[some], levers.price[some], np.where(soft, price, 0.0)])
    matrix = scipy.sparse.csr_array(dense)
    power = (some >= levers.controls.cuts[2]).astype(np.float64)
    total = float(power @ now[some])
    rows: Any = scipy.sparse.vstack(
        [scipy.sparse.hstack([matrix, -matrix, -scipy.sparse.eye_array(m)]),
         scipy.sparse.csr_array(np.concatenate([power, -power, np.zeros(m)])[None])]
    )  # fmt: skip
    room = program.room
    most = np.concatenate([left + dense @ now[some], [total + room[1]]])
    least = np.concatenate([np.full(m, -np.inf), [total + room[0]]])
    # up and down apart, each with its price, then what is beyond each row
    bounds = Bounds(
        np.concatenate([np.maximum(low, 0.0), np.maximum(-high, 0.0), np.zeros(m)]),
        np.concatenate([np.maximum(high, 0.0), np.maximum(-low, 0.0), np.where(soft, np.inf, 0.0)]),
    )
    # a lever that stands between two steps moves to one of them: the program may ignore that
    whole = np.concatenate([levers.whole[some], levers.whole[some], np.zeros(m, np.bool_)])
    found = milp(
        cost, constraints=LinearConstraint(rows, least, most), bounds=bounds,
        integrality=whole.astype(np.int64), options={"mip_rel_gap": GAP, "node_limit": NODES},
    )  # fmt: skip
    if found.x is None:
        return None
    change = np.zeros(now.size)
    change[some] = found.x[:n] - found.x[n : 2 * n]
    return rounded(levers, change)
