"""The front of the AC power flow: cases, topologies and injections in, a `FlowResult` out."""

import numpy as np

from gridrl.case import Case
from gridrl.errors import GridError
from gridrl.grid import Floats, Injection, Topology
from gridrl.powerflow.kernels_flow import branch_flows
from gridrl.powerflow.model import Model, build_model
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.result import FlowResult
from gridrl.powerflow.controls import solve_with_controls
from gridrl.powerflow.solve import (
    Solved,
    States,
    base_topology,
    changes_of,
    make_states,
    network_arrays,
    no_changes,
    starts,
)

DEFAULT = FlowOptions()


def flow(
    case: Case,
    *,
    topology: Topology | None = None,
    injection: Injection | None = None,
    options: FlowOptions = DEFAULT,
) -> FlowResult:
    """AC power flow of one state or of a batch.

    Parameters
    ----------
    topology, injection
        The states to solve; by default those of the case. One of them may hold a single state
        that all share.
    options
        Tolerance, limits, threads.

    Returns
    -------
    FlowResult
        One row per state. A state that diverges, or loses part of the grid, is a row that says so.

    Raises
    ------
    GridError
        Shapes do not fit the grid, or nothing fixes the voltage angle.

    Examples
    --------
    >>> import gridrl
    >>> result = gridrl.flow(gridrl.load("case14"))
    >>> round(abs(result.v[0]).min(), 4).item()
    1.01
    """
    topology = case.topology if topology is None else topology
    injection = case.injection if injection is None else injection
    batch = _batch(case, topology, injection)
    model = build_model(case.grid, _split_base(case, topology), case.injection, _split(case, topology))
    load_of = np.arange(batch) if injection.batch > 1 else np.zeros(batch, np.int64)
    if topology is case.topology:
        changes = no_changes(batch)
        check = np.zeros(batch, np.bool_)
        check[0] = True
    else:
        if topology.batch < batch:
            topology = Topology(
                busbar=np.repeat(topology.busbar, batch, axis=0),
                closed=np.repeat(topology.closed, batch, axis=0),
            )
        changes = changes_of(model, topology)
        check = np.ones(batch, np.bool_)
    states = make_states(model, changes, injection, load_of, check)
    if topology is case.topology and batch > 1:
        states.cut[:] = states.cut[0]
        states.lost[:] = states.lost[0]
    start = _start(model, case, injection, options)
    solved = solve_with_controls(model, states, injection, start, options)
    return _result(model, topology, injection, states, solved)


def _batch(case: Case, topology: Topology, injection: Injection) -> int:
    grid = case.grid
    if topology.busbar.shape[1] != grid.n_terminal or topology.closed.shape[1] != grid.n_branch:
        raise GridError(
            f"The topology has {topology.busbar.shape[1]} terminals and {topology.closed.shape[1]} "
            f"branches; {grid.name} has {grid.n_terminal} and {grid.n_branch}."
        )
    if injection.p.shape[1] != grid.n_unit:
        raise GridError(
            f"The injection is for {injection.p.shape[1]} units; {grid.name} has {grid.n_unit}."
        )
    sizes = {topology.batch, injection.batch} - {1}
    if len(sizes) > 1:
        raise GridError(
            f"The topology holds {topology.batch} states and the injection {injection.batch}; "
            "give equally many, or one for all."
        )
    return sizes.pop() if sizes else 1


def _split(case: Case, topology: Topology) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Substations that some state puts something on busbar 2 of."""
    used = (topology.busbar == 2).any(axis=0)
    return np.unique(case.grid.terminal_substation[used]).astype(np.int64)


def _split_base(case: Case, topology: Topology) -> Topology:
    """The state that the others are described against: the only one, or that of the case."""
    return topology if topology.batch == 1 else case.topology


def _start(model: Model, case: Case, injection: Injection, options: FlowOptions) -> Floats:
    """Start from the base state's solution where a batch pays for solving it first."""
    if injection.batch == 1:
        return starts(model, injection)
    base = make_states(model, no_changes(1), model.injection, np.zeros(1, np.int64))
    from gridrl.powerflow.solve import solve

    near = solve(model, base, model.injection, starts(model, model.injection), options)
    if np.isnan(near.v[0]).all():
        return starts(model, injection)
    return starts(model, injection, near.v[0])


def _result(
    model: Model, topology: Topology, injection: Injection, states: States, solved: Solved
) -> FlowResult:
    shape = (states.batch, model.grid.n_branch)
    s_from, s_to = np.empty(shape, np.complex128), np.empty(shape, np.complex128)
    branch_flows(
        solved.v, states.changes, network_arrays(model), base_topology(model), model.pattern.node,
        s_from, s_to, np.empty((0, 0), np.complex128),
    )  # fmt: skip
    diverged = ~np.isin(solved.status, (0, 1))
    s_from[diverged] = np.nan
    s_to[diverged] = np.nan
    return FlowResult(
        grid=model.grid, topology=topology, injection=injection, second_node=model.second_node,
        v=solved.v, s_from=s_from, s_to=s_to, status=solved.status, iterations=solved.iterations,
        mismatch=solved.mismatch, lost_demand=states.lost,
    )  # fmt: skip
