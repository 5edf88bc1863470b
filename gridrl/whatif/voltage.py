"""Voltages back within their limits, before and after N-1, with the least change.

Set points of generators, tap changers and shunts first; active powers only where these are not
enough. A mixed-integer program over the AC state's own first derivatives proposes, the AC power
flow with all contingencies decides, and the program is made anew there until nothing is outside or
nothing improves. HiGHS solves it, through SciPy. Loadings near their rating and the reactive
limits of machines before any contingency are constraints, too.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gridrl.case import Case
from gridrl.grid import Floats, Ints, Topology
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.result import FlowResult
from gridrl.security.contingency import Contingencies
from gridrl.security.topologies import secure_topologies
from gridrl.security.topology_result import TopologySecurity
from gridrl.whatif.levers import Levers, levers_of, moved_case, power_change
from gridrl.whatif.outlook import REFUSED, Reference, outside, values
from gridrl.whatif.redispatch import Means, has_means
from gridrl.whatif.voltage_program import (
    NEAR_LOADING,
    SET_POINT_REACH,
    TAP_REACH,
    Program,
    program_of,
    solved,
)
from gridrl.whatif.voltages import VoltageStanding, voltage_standing

ROUNDS, ROUNDS_LARGE = 6, 2  # of programs
VOLTAGE_STATES, LOADING_STATES = 20, 8  # contingencies of one program, the worst first
LARGE = 1e7  # branch loadings of N-1 from which only set points, taps and shunts are tried
FEW = 400  # contingencies that are solved all at once
LESS = 0.98  # part of the badness that an answer must leave at most


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
    standing = voltage_standing(case, found, options)
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
    program: Program | None = None
    for _ in range(ROUNDS_LARGE if _large(best.case, contingencies) else ROUNDS):
        if best.standing.clean:
            break
        program = program or _program_of(best, contingencies, options)
        wanted = solved(levers, program, best.change, reach)
        if wanted is None or (np.abs(wanted - best.change) < levers.grain / 2).all():
            break
        after = replace(best, change=wanted, case=moved_case(levers, wanted))
        every = np.arange(len(contingencies))
        # where there are many, the likely ones first
        for which in (every,) if every.size < FEW else (program.contingency, every):
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
        standing = voltage_standing(case, found, options)
    return replace(after, found=found, value=value, standing=standing)


def _better(after: Mended, best: Mended) -> bool:
    """Clearly nearer to the limits; or as near, with fewer voltages outside."""
    now, before = after.standing.badness, best.standing.badness
    fewer = bool(outside(after.found)[0] < outside(best.found)[0])
    return now < LESS * before or (now <= before and fewer)


def _program_of(best: Mended, contingencies: Contingencies, options: FlowOptions) -> Program:
    """The constraints of the intact state and of the worst contingencies, linearised."""
    which = _worst(best)
    result = _states(best, which, contingencies, options)
    return program_of(best.levers, best.change, result, which)


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
