"""The front of the AC power flow: a case in, a `FlowResult` out."""

from dataclasses import replace

import numpy as np

from gridrl.case import Case
from gridrl.grid import Injection, Topology
from gridrl.powerflow.engine import batch_size, prepare
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.result import FlowResult

DEFAULT = FlowOptions()


def flow(
    case: Case,
    *,
    topology: Topology | None = None,
    injection: Injection | None = None,
    sequence: bool = False,
    options: FlowOptions = DEFAULT,
) -> FlowResult:
    """AC power flow of one state or of a batch.

    For many calls on one grid, `gridrl.powerflow.engine.prepare` it once.

    Parameters
    ----------
    topology, injection
        The states to solve; by default those of the case. One of them may hold a single state
        that all share.
    sequence
        Neighbouring states are alike (a time series): start each from the one before.
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
    batch_size(case, topology, injection)
    if topology.batch == 1 and injection.batch == 1:
        # a single state is its own base: nothing to describe it against
        case = replace(case, topology=topology, injection=injection)
    used = (topology.busbar == 2).any(axis=0)
    split = np.unique(case.grid.terminal_substation[used]).astype(np.int64)
    engine = prepare(case, split=split, options=options)
    return engine.flow(
        None if topology is case.topology else topology,
        None if injection is case.injection else injection,
        sequence=sequence,
    )
