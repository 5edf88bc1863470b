"""The AC security sweep: every contingency solved in full, by the fastest way that is exact.

Outages of one branch or machine run on the base state's factors; all others, and what does not
converge there, run through Newton's method with islands worked out. Both check the same
limits on the same equations. Voltages are not kept: a sweep of a continental grid fits a laptop.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gridrl.case import Case
from gridrl.grid import Bools, Floats, Ints
from gridrl.powerflow.controls import solve_with_controls
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.kernels_limits import check_states
from gridrl.powerflow.limits import Findings, Limits, limits_of
from gridrl.powerflow.model import DEMAND_KINDS, Model
from gridrl.powerflow.nearby import SolvedBase, solve_nearby
from gridrl.powerflow.options import FlowStatus, has_voltages
from gridrl.powerflow.result import FlowResult
from gridrl.powerflow.solve import Changes, make_states, pool
from gridrl.security.carried import Carried, carried, keep_supplied_side
from gridrl.security.contingency import Contingencies, n_minus_1
from gridrl.security.result import SecurityOptions, SecurityResult

Progress = Callable[[int, int], None]

NEARBY_CHUNK = 256  # states
NEWTON_BYTES = 64 * 2**20  # voltages and flows that a Newton chunk may hold
DEFAULT = SecurityOptions()


@dataclass(eq=False, kw_only=True)
class _Sweep:
    """What the parts of one sweep share; the arrays are filled in place."""

    model: Model
    base: SolvedBase | None
    start: Floats  # [1, n_node, 2] solved base voltages by row
    limits: Limits
    options: SecurityOptions
    changes: Changes
    findings: Findings
    status: NDArray[np.int8]
    iterations: NDArray[np.int32]
    lost_load: Floats
    lost_generation: Floats
    carried: Carried
    infeed: Bools  # [n_unit] units that feed in
    dead_in_base: int  # rows that the case itself leaves without supply
    lost_in_base: float  # p.u. demand there
    base_dead_row: Ints
    violations: list[tuple[Ints, Ints, Floats]]


def security(
    case: Case,
    *,
    contingencies: Contingencies | None = None,
    options: SecurityOptions = DEFAULT,
    progress: Progress | None = None,
) -> SecurityResult:
    """Solve every contingency by AC power flow and check currents and voltages.

    Parameters
    ----------
    contingencies
        By default N-1 over all lines, transformers and generators in service.
    progress
        Called with (done, total) as parts of the sweep finish.

    Returns
    -------
    SecurityResult
        One row per contingency. Where the case itself has no solution, every row is DIVERGED.

    Examples
    --------
    >>> import gridrl
    >>> result = gridrl.security(gridrl.load("case14"))
    >>> len(result.contingencies)
    24
    """
    if contingencies is None:
        keep = options.flow.island_rule == "generator"
        contingencies = n_minus_1(case, reference_too=keep)
    engine = prepare(case, options=options.flow)
    base = engine.flow()
    n = len(contingencies)
    if not base.solved()[0]:
        return _unsolved(contingencies, base)
    model = engine.model
    changes, outage = _changes(model, contingencies)
    sweep = _Sweep(
        model=model, base=engine.nearby, start=engine.start(case.injection),
        limits=limits_of(model, base, options.threshold),
        options=options, changes=changes, findings=Findings.room(n, 0),
        status=np.zeros(n, np.int8), iterations=np.full(n, -1, np.int32),
        lost_load=np.zeros(n), lost_generation=np.zeros(n), violations=[],
        dead_in_base=int(np.diff(engine.base_states.dead_of)[0]),
        lost_in_base=float(engine.base_states.lost[0]),
        base_dead_row=engine.base_states.dead_row,
        carried=carried(model, changes, outage, limited=options.flow.enforce_q_limits),
        infeed=np.array([kind not in DEMAND_KINDS for kind in case.grid.unit_kind], np.bool_),
    )  # fmt: skip
    report = _Counter(n, progress)
    nearby = _by_severity(sweep)
    _in_parts(_nearby_part, sweep, nearby, NEARBY_CHUNK, options.flow.threads, report)
    stubborn = nearby[sweep.iterations[nearby] < 0]
    report.take_back(stubborn.size)
    rest = np.concatenate([np.setdiff1d(np.arange(n), nearby), stubborn])
    room = (model.n_node + 3 * model.grid.n_branch) * 16
    chunk = max(8, min(NEARBY_CHUNK, NEWTON_BYTES // room // 8 * 8))
    _in_parts(_newton_part, sweep, rest, chunk, options.flow.threads, report)
    return _result(sweep, contingencies, base)


def _by_severity(sweep: _Sweep) -> Ints:
    """What the base's factors carry; those that need as many iterations share lanes."""
    if sweep.base is None:
        return np.zeros(0, np.int64)
    which, outage = np.flatnonzero(sweep.carried.which), sweep.carried.outage
    lines, machines = which[outage[which] >= 0], which[outage[which] < 0]
    step = sweep.base.outage_step[outage[lines]]
    unit = np.asarray(sweep.changes[6], np.int64)[sweep.changes[5][machines]]
    power = np.abs(sweep.model.injection.p[0][unit])
    return np.concatenate(
        [lines[np.argsort(-step, kind="stable")], machines[np.argsort(-power, kind="stable")]]
    )


class _Counter:
    """Reports progress from several threads as one growing number."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._progress = progress

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)

    def take_back(self, count: int) -> None:
        self._done -= count


def _changes(model: Model, contingencies: Contingencies) -> tuple[Changes, Ints]:
    """What each contingency switches, and the branch of those that open just one (else -1)."""
    grid = model.grid
    b_of, branch, u_of, unit = contingencies.members(grid)
    end_f, end_t = model.branch_ends
    works = (end_f[branch] >= 0) | (end_t[branch] >= 0)
    b_of, branch = _filtered(b_of, branch, works)
    u_of, unit = _filtered(u_of, unit, model.unit_at[unit] >= 0)
    busbar = model.topology.busbar[0]
    changes = (
        b_of, branch, busbar[branch], busbar[grid.n_branch + branch],
        np.zeros(branch.size, np.bool_), u_of, unit, np.zeros(unit.size, np.int8),
    )  # fmt: skip
    single = (np.diff(b_of) == 1) & (np.diff(u_of) == 0)
    outage = np.full(single.size, -1, np.int64)
    outage[single] = branch[b_of[:-1][single]]
    return changes, outage


def _filtered(of: Ints, items: Ints, keep: Bools) -> tuple[Ints, Ints]:
    total = np.concatenate([[0], np.cumsum(keep)])
    return total[of].astype(np.int64), items[keep]


def _in_parts(
    part: Callable[[_Sweep, Ints], None], sweep: _Sweep, which: Ints, size: int, threads: int,
    report: _Counter,
) -> None:  # fmt: skip
    def pieces() -> Iterator[Ints]:
        for begin in range(0, which.size, size):
            yield which[begin : begin + size]

    def run(piece: Ints) -> int:
        part(sweep, piece)
        return piece.size

    if threads == 1:
        for piece in pieces():
            report.add(run(piece))
        return
    for done in pool(threads).map(run, pieces()):
        report.add(done)


def _part_of(changes: Changes, which: Ints) -> Changes:
    """The changes of some contingencies, numbered from 0."""
    out: list[NDArray[np.generic]] = []
    for columns in (changes[:5], changes[5:]):
        of = columns[0].astype(np.int64)
        counts = of[which + 1] - of[which]
        new = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        pick = np.repeat(of[which] - new[:-1], counts) + np.arange(new[-1])
        out += [new, *(column[pick] for column in columns[1:])]
    return tuple(out)


def _nearby_part(sweep: _Sweep, which: Ints) -> None:
    assert sweep.base is not None
    model, injection = sweep.model, sweep.base.model.injection
    size = which.size
    changes = _part_of(sweep.changes, which)
    states = make_states(
        model, changes, injection, np.zeros(size, np.int64), np.zeros(size, np.bool_)
    )
    keep_supplied_side(states, sweep.carried, which)
    room = 16 * size
    while True:
        found = Findings.room(size, room)
        iterations = np.full(size, -1, np.int32)
        solve_nearby(
            sweep.base, states, injection, sweep.carried.outage[which], sweep.base.v,
            np.arange(size), sweep.options.flow.tolerance, islands=sweep.carried.islands,
            keep=(np.empty((0, 0), np.complex128), iterations, np.empty(size)),
            limits=sweep.limits, findings=found,
        )  # fmt: skip
        if found.listed[0] <= room:
            break
        room = int(found.listed[0])
    _take(sweep, which, found, iterations >= 0)
    sweep.iterations[which] = iterations
    _note_losses(sweep, which[iterations >= 0])


def _note_losses(sweep: _Sweep, which: Ints) -> None:
    """What is lost with branches that cut something off, and with machines."""
    cutting = which[sweep.carried.cuts[which]]
    branch = sweep.carried.outage[cutting]
    connected = sweep.carried.islands_left[branch]
    sweep.status[cutting] = np.where(connected, FlowStatus.ISLANDED, FlowStatus.OK)
    sweep.lost_load[cutting] = sweep.carried.lost_load[branch]
    sweep.lost_generation[cutting] = sweep.carried.lost_generation[branch]
    machines = which[sweep.carried.outage[which] < 0]
    unit = np.asarray(sweep.changes[6], np.int64)[sweep.changes[5][machines]]
    sweep.lost_generation[machines] = np.maximum(sweep.model.injection.p[0][unit], 0.0)


def _take(sweep: _Sweep, which: Ints, found: Findings, solved: Bools) -> None:
    """Copy a part's findings into the sweep."""
    whole = sweep.findings
    kept = which[solved]
    for name in ("loading", "branch", "over", "volt_row", "volt", "outside"):
        getattr(whole, name)[kept] = getattr(found, name)[solved]
    m = int(found.listed[0])
    of = which[found.list_state[:m]]
    sweep.violations.append((of, found.list_what[:m].copy(), found.list_value[:m].copy()))


def _newton_part(sweep: _Sweep, which: Ints) -> None:
    model, injection = sweep.model, sweep.model.injection
    size = which.size
    changes = _part_of(sweep.changes, which)
    states = make_states(model, changes, injection, np.zeros(size, np.int64))
    # the parts themselves run in threads
    alone = replace(sweep.options.flow, threads=1)
    solved = solve_with_controls(model, states, injection, sweep.start, alone)
    ok = solved.iterations >= 0
    ok &= solved.status != FlowStatus.BLACKOUT
    room = 16 * size
    while True:
        found = Findings.room(size, room)
        check_states(
            solved.v, np.flatnonzero(ok), changes, model.network_arrays, model.base_topology,
            model.pattern.node, sweep.limits.arrays, (np.empty(0), np.empty(0), np.empty(0),
            *found.arrays),
        )  # fmt: skip
        if found.listed[0] <= room:
            break
        room = int(found.listed[0])
    _take(sweep, which, found, ok)
    sweep.iterations[which] = solved.iterations
    dead = (np.diff(states.dead_of) > sweep.dead_in_base) & states.cut
    islanded = np.where(dead, FlowStatus.ISLANDED, FlowStatus.OK)
    fine = has_voltages(solved.status)
    sweep.status[which] = np.where(fine, islanded, solved.status)
    sweep.lost_load[which] = states.lost - sweep.lost_in_base
    for at, state in enumerate(which):
        sweep.lost_generation[state] = _lost_generation(
            sweep, states.dead_row[states.dead_of[at] : states.dead_of[at + 1]],
            np.asarray(changes[6][changes[5][at] : changes[5][at + 1]], np.int64),
        )  # fmt: skip


def _lost_generation(sweep: _Sweep, dead_row: Ints, units: Ints) -> float:
    """p.u. scheduled infeed of the units that fail or sit on rows that lost supply."""
    model = sweep.model
    at = model.unit_at
    gone = np.isin(at, dead_row) & (at >= 0) & ~np.isin(at, sweep.base_dead_row)
    gone[units] = True
    return float(np.maximum(model.injection.p[0][gone & sweep.infeed], 0.0).sum())


def _result(sweep: _Sweep, contingencies: Contingencies, base: FlowResult) -> SecurityResult:
    node = sweep.model.pattern.node
    found = sweep.findings
    of = np.concatenate([np.empty(0, np.int64), *(v[0] for v in sweep.violations)])
    what = np.concatenate([np.empty(0, np.int64), *(v[1] for v in sweep.violations)])
    value = np.concatenate([np.empty(0), *(v[2] for v in sweep.violations)])
    order = np.lexsort((what, of))
    of, what, value = of[order], what[order], value[order]
    is_branch = what >= 0
    rows = np.where(is_branch, 0, -1 - what)
    return SecurityResult(
        contingencies=contingencies, base=base, status=sweep.status, iterations=sweep.iterations,
        loading=found.loading, branch=found.branch, overloads=found.over, voltage=found.volt,
        voltage_node=np.where(found.volt_row >= 0, node[np.maximum(found.volt_row, 0)], -1),
        voltage_violations=found.outside, lost_load=sweep.lost_load,
        lost_generation=sweep.lost_generation, violation_of=of,
        violation_branch=np.where(is_branch, what, -1),
        violation_node=np.where(is_branch, -1, node[rows]), violation_value=value,
    )  # fmt: skip


def _unsolved(contingencies: Contingencies, base: FlowResult) -> SecurityResult:
    n = len(contingencies)
    none, nobody = np.full(n, np.nan), np.full(n, -1, np.int64)
    whole, real = np.empty(0, np.int64), np.empty(0)
    return SecurityResult(
        contingencies=contingencies, base=base,
        status=np.full(n, FlowStatus.DIVERGED, np.int8), iterations=np.full(n, -1, np.int32),
        loading=none, branch=nobody, overloads=np.zeros(n, np.int64), voltage=none,
        voltage_node=nobody, voltage_violations=np.zeros(n, np.int64), lost_load=np.zeros(n),
        lost_generation=np.zeros(n), violation_of=whole, violation_branch=whole,
        violation_node=whole, violation_value=real,
    )  # fmt: skip
