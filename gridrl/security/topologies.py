"""AC N-0 and N-1 of many switching states of one case, as one batch.

The states are solved side by side by Newton's method; then the outages after each state run on that
state's own factors, and what these cannot carry (several elements at once, stubborn ones) runs
through Newton's method again. It is what `gridrl.security` does for one state.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridrl.case import Case
from gridrl.grid import Bools, Complexes, Floats, Grid, Ints, Topology
from gridrl.jit import announced
from gridrl.powerflow.engine import Engine, prepare
from gridrl.powerflow.kernels_limits import check_states
from gridrl.powerflow.limits import ROUNDING, Findings, Limits, limits_of
from gridrl.powerflow.model import load_rows
from gridrl.powerflow.nearby import ITERATIONS, NO_LIMITS, PATIENCE
from gridrl.powerflow.options import FlowOptions, FlowStatus, has_voltages
from gridrl.powerflow.result import FlowResult
from gridrl.powerflow.solve import (
    LANES,
    LOWEST,
    Solved,
    States,
    changes_of,
    in_threads,
    make_states,
    solve,
)
from gridrl.security.contingency import Contingencies
from gridrl.security.kernels_topologies import LEFT, NOTHING, secure_states
from gridrl.security.result import SecurityOptions, SecurityResult
from gridrl.security.sweep import security
from gridrl.security.topology_result import BY_PAIR, TopologySecurity, empty

PART = 512  # outages that a thread takes at least
MANY = 400  # outages of a state from which it pays to sort them
CHUNK = 4096  # pairs that Newton's method solves at a time
DEFAULT = FlowOptions()
# A second busbar costs time in every solve: states are taken together that split few substations.
SPLIT_SHARE, SPLIT_LEAST = 0.06, 8


def secure_topologies(
    case: Case,
    topology: Topology,
    contingencies: Contingencies,
    *,
    only: tuple[Ints, Ints] | None = None,
    options: FlowOptions = DEFAULT,
    engine: Engine | None = None,
) -> TopologySecurity:
    """Solve every state and the contingencies after it.

    Parameters
    ----------
    topology
        States of the case, any number.
    only : (pair_of, contingency)
        Contingencies of each state; all by default.
    options
        With reactive limits or a distributed slack every state gets a sweep of its own, as
        `gridrl.security` makes it: exact, but many times slower.
    engine
        The case prepared for every substation that a state splits, for many calls on one grid. By
        default the states are taken in groups, each with an engine of its own: a second busbar
        costs time in every solve, and on large grids few states need the same ones.

    Raises
    ------
    GridError
        A state splits a substation that ``engine`` was not prepared for.
    """
    n, each = topology.batch, len(contingencies)
    if only is None:
        only = (np.arange(n + 1) * each, np.tile(np.arange(each), n))
    out = empty(n, only)
    if options.enforce_q_limits or options.distributed_slack:
        for k in range(n):
            _sweep(case, topology, contingencies, k, options, out)
        return out
    if engine is not None:
        _secure(engine, topology, contingencies, np.arange(n), out)
        return out
    for part in _groups(case.grid, topology):
        split = _split_of(case.grid, topology, part)
        engine = prepare(case, split=split, options=options)
        chosen = Topology(busbar=topology.busbar[part], closed=topology.closed[part])
        _secure(engine, chosen, contingencies, part, out)
    return out


def _split_of(grid: Grid, topology: Topology, part: Ints) -> Ints:
    used = (topology.busbar[part] == 2).any(axis=0)
    return np.unique(grid.terminal_substation[used])


def _groups(grid: Grid, topology: Topology) -> Iterator[Ints]:
    """States in groups that split few substations between them."""
    state, terminal = np.nonzero(topology.busbar == 2)
    substation = grid.terminal_substation[terminal]
    first = np.full(topology.batch, -1, np.int64)
    first[state[::-1]] = substation[::-1]
    most = max(SPLIT_LEAST, int(SPLIT_SHARE * grid.n_substation))
    order = np.argsort(first, kind="stable")
    found = np.unique(first)
    label = np.searchsorted(found, first) // most
    for k in range(int(label.max()) + 1 if label.size else 0):
        yield order[label[order] == k]


def _secure(
    engine: Engine, topology: Topology, contingencies: Contingencies, rows: Ints,
    out: TopologySecurity,
) -> None:  # fmt: skip
    """Solve the states and pairs of one group into their places."""
    model = engine.model
    states, solved = engine.solve(topology)
    limits = limits_of(model, threshold=np.inf)  # what is over it is counted, not listed
    ok = has_voltages(solved.status)
    found = _check(engine, states, solved.v, np.flatnonzero(ok), limits)
    out.status[rows], out.lost[rows] = solved.status, states.lost
    for name in ("loading", "branch", "voltage"):
        getattr(out, name)[rows[ok]] = found[name][ok]
    counts = np.diff(out.pair_of)[rows]
    pair_of = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    pairs = np.repeat(out.pair_of[rows] - pair_of[:-1], counts) + np.arange(pair_of[-1])
    if not pairs.size:
        return
    owner = np.repeat(np.arange(rows.size), counts)
    line, machine = _singles(engine.case.grid, contingencies)
    if counts.max() >= MANY and engine.nearby:  # those that need as many iterations share lanes
        step = np.where(line >= 0, engine.nearby.outage_step[line], -1.0)[out.contingency[pairs]]
        pairs = pairs[np.lexsort((-step, owner))]
    which = out.contingency[pairs]
    how, loading, branch, outside, volt, row, lost = _carried(
        engine, states, solved, ok, (pair_of, line[which], machine[which]), limits
    )
    same = how == NOTHING
    for values, name in ((loading, "loading"), (branch, "branch"), (outside, "voltage"),
                         (volt, "volt"), (row, "volt_row")):  # fmt: skip
        values[same] = found[name][owner[same]]
    out.pair_loading[pairs], out.pair_branch[pairs], out.pair_voltage[pairs] = (
        loading, branch, outside,
    )  # fmt: skip
    out.pair_volt[pairs], out.pair_place[pairs] = volt, _place(engine, row)
    out.pair_lost[pairs] = states.lost[owner] + lost
    out.pair_status[pairs] = _STATUS[how]
    left = np.flatnonzero((how == LEFT) & ok[owner])
    start = _start(engine, solved.v)
    for begin in range(0, left.size, CHUNK):
        some = left[begin : begin + CHUNK]
        _newton(
            engine, topology, contingencies, owner[some], which[some], start, limits,
            pairs[some], out,
        )  # fmt: skip


def _carried(
    engine: Engine, states: States, solved: Solved, ok: Bools, pairs: tuple[Ints, Ints, Ints],
    limits: Limits,
) -> tuple[Any, ...]:  # fmt: skip
    """What the factors of the states in ``ok`` say of the pairs: see `secure_states`."""
    model, injection = engine.model, engine.case.injection
    pair_of, m = pairs[0], int(pairs[0][-1])
    out = (
        np.full(m, LEFT, np.int8), np.full(m, np.nan), np.full(m, -1, np.int64),
        np.zeros(m, np.int64), np.full(m, np.nan), np.full(m, -1, np.int64), np.zeros(m),
    )  # fmt: skip
    power, current = load_rows(model, injection)

    def run(part: Ints) -> None:
        of = np.clip(pair_of, part[0], part[-1] + 1)
        secure_states(
            LANES, model.pattern_arrays, (model.pattern.parent, model.pattern.l_of_u),
            model.pattern.node, model.network_arrays, model.base_arrays, model.base_topology,
            model.unit_arrays, (states.changes, states.lists, states.dead_of, states.dead_row),
            solved.v, power, current, (injection.p[0], injection.q[0], injection.v_set[0]),
            np.flatnonzero(ok & (np.diff(of) > 0)), (of, *pairs[1:]),
            (engine.options.tolerance, ITERATIONS, False, PATIENCE, LOWEST), NO_LIMITS,
            limits.arrays, out,
        )  # fmt: skip

    with announced("secure-topologies"):
        in_threads(run, np.arange(m), engine.options.threads, n_lane=PART, in_order=True)
    return out


_STATUS = np.array(
    [FlowStatus.OK, FlowStatus.DIVERGED, FlowStatus.OK, FlowStatus.ISLANDED], np.int8
)  # by what the kernel says of a pair


def _place(engine: Engine, row: Ints) -> Ints:
    """Substation of rows, with n_substation added for busbar 2; -1 stays."""
    node = engine.model.pattern.node[row]
    at = engine.model.node_substation[node]
    at = at + engine.case.grid.n_substation * (node >= engine.case.grid.n_substation)
    return np.where(row >= 0, at, -1)


def _sweep(
    case: Case, topology: Topology, contingencies: Contingencies, k: int, options: FlowOptions,
    out: TopologySecurity,
) -> None:  # fmt: skip
    """One state by a security sweep of its own."""
    one = Topology(busbar=topology.busbar[k : k + 1], closed=topology.closed[k : k + 1])
    pairs = slice(int(out.pair_of[k]), int(out.pair_of[k + 1]))
    which = out.contingency[pairs].tolist()
    some = Contingencies(
        name=tuple(contingencies.name[c] for c in which),
        elements=tuple(contingencies.elements[c] for c in which),
    )
    found = state_of(
        security(
            replace(case, topology=one), contingencies=some, options=SecurityOptions(flow=options)
        )
    )
    for f in fields(TopologySecurity):
        if f.name not in ("pair_of", "contingency"):
            getattr(out, f.name)[pairs if f.name in BY_PAIR else slice(k, k + 1)] = getattr(
                found, f.name
            )


def state_of(found: SecurityResult) -> TopologySecurity:
    """A sweep's result as that of one state with its contingencies in the sweep's order."""
    base, n = found.base, len(found.contingencies)
    loading = base.loading(0)
    out = empty(1, (np.array([0, n]), np.arange(n)))
    out.status[0], out.lost[0] = base.status[0], base.lost_demand[0]
    if base.solved()[0]:
        rated = bool(np.isfinite(loading).any())
        out.loading[0] = np.nanmax(loading) if rated else 0.0
        out.branch[0] = int(np.nanargmax(loading)) if rated else -1
        out.voltage[0] = _outside(base.grid, base)
    out.pair_status[:], out.pair_loading[:] = found.status, found.loading
    out.pair_branch[:] = found.branch
    out.pair_voltage[:] = out.voltage[0] + found.voltage_violations
    out.pair_lost[:] = out.lost[0] + found.lost_load
    second = np.flatnonzero(base.second_node >= 0)
    place = np.concatenate([np.arange(base.grid.n_substation), base.grid.n_substation + second])
    place[base.second_node[second]] = base.grid.n_substation + second
    node = found.voltage_node
    out.pair_volt[:], out.pair_place[:] = found.voltage, np.where(node >= 0, place[node], -1)
    return out


def _outside(grid: Grid, base: FlowResult) -> int:
    """Nodes outside their voltage limits."""
    node = np.concatenate([np.arange(grid.n_substation), np.flatnonzero(base.second_node >= 0)])
    v = np.abs(base.v[0])
    out = (v < grid.v_min[node] - ROUNDING) | (v > grid.v_max[node] + ROUNDING)
    return int((out & ~grid.is_star[node]).sum())


def _singles(grid: Grid, contingencies: Contingencies) -> tuple[Ints, Ints]:
    """[n_contingency] the branch of those that lose just one, and the unit alike; else -1."""
    b_of, branch, u_of, unit = contingencies.members(grid)
    n_branch, n_unit = np.diff(b_of), np.diff(u_of)
    line, machine = np.full(n_branch.size, -1, np.int64), np.full(n_branch.size, -1, np.int64)
    single = (n_branch == 1) & (n_unit == 0)
    line[single] = branch[b_of[:-1][single]]
    single = (n_branch == 0) & (n_unit == 1)
    machine[single] = unit[u_of[:-1][single]]
    return line, machine


def _start(engine: Engine, v: Complexes) -> Floats:
    """[n, n_node, 2] solved voltages by row; dead rows get those of the case."""
    node = engine.model.pattern.node
    rows = v[:, node]
    base = engine.start(engine.case.injection)[0]
    rows = np.where(np.isnan(rows), base[:, 0] + 1j * base[:, 1], rows)
    return np.stack([rows.real, rows.imag], axis=-1)


def _check(
    engine: Engine, states: States, v: Complexes, which: Ints, limits: Limits
) -> dict[str, NDArray[np.generic]]:
    """Loadings and voltages of solved states."""
    found = Findings.room(v.shape[0], 0)
    check_states(
        v, which, states.changes, engine.model.network_arrays, engine.model.base_topology,
        engine.model.pattern.node, limits.arrays,
        (np.empty(0), np.empty(0), np.empty(0), *found.arrays),
    )  # fmt: skip
    return {
        "loading": found.loading, "branch": found.branch, "voltage": found.outside,
        "volt": found.volt, "volt_row": found.volt_row,
    }  # fmt: skip


def _newton(
    engine: Engine, topology: Topology, contingencies: Contingencies, state: Ints, which: Ints,
    start: Floats, limits: Limits, pairs: Ints, out: TopologySecurity,
) -> None:  # fmt: skip
    """Pairs that no factors carry, by Newton's method from the state's own voltages."""
    model, injection = engine.model, engine.case.injection
    after = _after(engine.case.grid, topology, contingencies, state, which)
    states = make_states(model, changes_of(model, after), injection, np.zeros(which.size, np.int64))
    solved: Solved = solve(model, states, injection, start, engine.options, start_of=state)
    ok: Bools = has_voltages(solved.status)
    found = _check(engine, states, solved.v, np.flatnonzero(ok), limits)
    out.pair_status[pairs], out.pair_lost[pairs] = solved.status, states.lost
    kept = pairs[ok]
    out.pair_loading[kept] = found["loading"][ok]
    out.pair_branch[kept], out.pair_voltage[kept] = found["branch"][ok], found["voltage"][ok]
    row = np.asarray(found["volt_row"][ok], np.int64)
    out.pair_volt[kept], out.pair_place[kept] = found["volt"][ok], _place(engine, row)


def _after(
    grid: Grid, topology: Topology, contingencies: Contingencies, state: Ints, which: Ints
) -> Topology:
    """The states ``state`` with the elements of contingencies ``which`` gone."""
    busbar, closed = topology.busbar[state], topology.closed[state]
    b_of, branch, u_of, unit = contingencies.members(grid)
    row, at = _members(b_of, which)
    closed[row, branch[at]] = False
    row, at = _members(u_of, which)
    busbar[row, 2 * grid.n_branch + unit[at]] = 0
    return Topology(busbar=busbar, closed=closed)


def _members(of: Ints, which: Ints) -> tuple[Ints, Ints]:
    """Rows 0.. of ``which``, repeated, and the places of their members."""
    counts = of[which + 1] - of[which]
    before = np.cumsum(counts) - counts
    at = np.repeat(of[which] - before, counts) + np.arange(counts.sum())
    return np.repeat(np.arange(which.size), counts), at
