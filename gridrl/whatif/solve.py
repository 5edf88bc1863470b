"""Variants of one case solved side by side: those that share admittances are one batch."""

from collections.abc import Sequence

import numpy as np

from gridrl.case import Case
from gridrl.grid import Grid, Injection, Ints, Topology
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.options import FlowOptions, FlowStatus
from gridrl.powerflow.result import FlowResult

_ELECTRICAL = ("y_ff", "y_ft", "y_tf", "y_tt")


def solve_variants(
    base: Case, cases: Sequence[Case], options: FlowOptions, *, sequence: bool = False
) -> list[FlowResult]:
    """AC power flow of every case, a batch of one each, in their order.

    Parameters
    ----------
    base
        The case that they are variants of: batches start from its voltages.
    cases
        Made of ``base`` by edits: same elements and buses, perhaps other admittances and ratings.
    sequence
        Neighbouring cases are alike (a time series).
    """
    found: list[FlowResult | None] = [None] * len(cases)
    can_run = [_has_reference(case) or options.island_rule == "generator" for case in cases]
    for k in np.flatnonzero(~np.array(can_run, np.bool_)).tolist():
        found[k] = _blackout(cases[k])
    if not _has_reference(base) and any(can_run):
        base = cases[can_run.index(True)]
    for grid, members in _groups(base, cases, can_run):
        switched = [k for k in members if cases[k].topology is not base.topology]
        loaded = [k for k in members if cases[k].topology is base.topology]
        for which in (switched, loaded):
            if which:
                states = _solve(_on(base, grid), [cases[k] for k in which], options, sequence)
                for k, state in zip(which, states, strict=True):
                    found[k] = state
    return [state for state in found if state is not None]


def _groups(
    base: Case, cases: Sequence[Case], wanted: Sequence[bool]
) -> list[tuple[Grid, list[int]]]:
    """Cases by the admittances of their grids; ratings do not matter to a power flow."""
    groups: list[tuple[Grid, list[int]]] = [(base.grid, [])]
    for k in np.flatnonzero(np.array(wanted, np.bool_)).tolist():
        case = cases[k]
        for grid, members in groups:
            if _electrically_same(grid, case.grid):
                members.append(k)
                break
        else:
            groups.append((case.grid, [k]))
    return groups


def _electrically_same(one: Grid, other: Grid) -> bool:
    return one is other or all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in _ELECTRICAL
    )


def _on(base: Case, grid: Grid) -> Case:
    if grid is base.grid:
        return base
    return Case(grid=grid, topology=base.topology, injection=base.injection, source=base.source)


def _solve(
    base: Case, cases: Sequence[Case], options: FlowOptions, sequence: bool
) -> list[FlowResult]:
    """Solve cases that share ``base``'s admittances."""
    topology: Topology | None = None
    if any(case.topology is not base.topology for case in cases):
        topology = Topology(
            busbar=np.concatenate([case.topology.busbar for case in cases]),
            closed=np.concatenate([case.topology.closed for case in cases]),
        )
    injection = Injection(
        p=np.concatenate([case.injection.p for case in cases]),
        q=np.concatenate([case.injection.q for case in cases]),
        v_set=np.concatenate([case.injection.v_set for case in cases]),
    )
    engine = prepare(base, split=_split(base, topology), options=options)
    batch = engine.flow(topology, injection, sequence=sequence)
    return [_state(batch, k, case) for k, case in enumerate(cases)]


def _split(base: Case, topology: Topology | None) -> Ints:
    """Substations that some state splits."""
    if topology is None:
        return np.empty(0, np.int64)
    used = (topology.busbar == 2).any(axis=0)
    return np.unique(base.grid.terminal_substation[used]).astype(np.int64)


def _state(batch: FlowResult, k: int, case: Case) -> FlowResult:
    """Row ``k`` of a batch, on the case's own grid: its ratings may differ."""
    one = slice(k, k + 1)
    return FlowResult(
        grid=case.grid, topology=case.topology, injection=case.injection,
        second_node=batch.second_node, v=batch.v[one], s_from=batch.s_from[one],
        s_to=batch.s_to[one], status=batch.status[one], iterations=batch.iterations[one],
        mismatch=batch.mismatch[one], lost_demand=batch.lost_demand[one],
    )  # fmt: skip


def _has_reference(case: Case) -> bool:
    connected = case.topology.busbar[0, 2 * case.grid.n_branch :] > 0
    return bool((case.grid.is_reference & connected).any())


def _blackout(case: Case) -> FlowResult:
    """What a case without any reference ends as: the engine takes no such base state."""
    grid = case.grid
    nothing = np.full((1, grid.n_branch), np.nan + 0j)
    return FlowResult(
        grid=grid, topology=case.topology, injection=case.injection,
        second_node=np.full(grid.n_substation, -1, np.int64),
        v=np.full((1, grid.n_substation), np.nan + 0j), s_from=nothing, s_to=nothing,
        status=np.array([FlowStatus.BLACKOUT], np.int8), iterations=np.array([-1], np.int32),
        mismatch=np.array([np.nan]),
        lost_demand=np.array([np.maximum(-case.injection.p[0], 0.0).sum()]),
    )  # fmt: skip
