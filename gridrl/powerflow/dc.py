"""The DC power flow: active power and angles of the linearised grid, losses and voltages ignored.

``p_from = b_dc (theta_from - theta_to - shift_dc)`` and ``p_to = -p_from`` (Wood and Wollenberg,
Power Generation, Operation and Control, chapter 4). It starts the AC solution and screens.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from gridrl.case import Case
from gridrl.errors import GridError
from gridrl.grid import Bools, Floats, Injection, Ints, Topology
from gridrl.powerflow.options import FlowStatus


@dataclass(frozen=True, eq=False, kw_only=True)
class DcResult:
    """Angles and active flows of a batch of states."""

    theta: Floats  # [B, n_node] rad, NaN at dead nodes; nodes as in FlowResult
    p_from: Floats  # [B, n_branch] p.u., positive into the branch; p_to is its negative
    status: NDArray[np.int8]  # [B] FlowStatus
    second_node: Ints  # [n_substation] node of busbar 2, -1 where no state splits it


def dc_flow(
    case: Case, *, topology: Topology | None = None, injection: Injection | None = None
) -> DcResult:
    """DC power flow of one state or a batch.

    Parameters
    ----------
    topology, injection
        By default those of the case; one of them may hold a single state that all share.

    Raises
    ------
    GridError
        Batches of different size.
    """
    grid = case.grid
    topology = case.topology if topology is None else topology
    injection = case.injection if injection is None else injection
    if topology.batch > 1 and injection.batch not in (1, topology.batch):
        raise GridError(
            f"The topology holds {topology.batch} states and the injection {injection.batch}; "
            "give equally many, or one for all."
        )
    split = np.unique(grid.terminal_substation[(topology.busbar == 2).any(axis=0)])
    second = np.full(grid.n_substation, -1, np.int64)
    second[split] = grid.n_substation + np.arange(split.size)
    parts = [
        _one_topology(
            case, second, topology.busbar[k], topology.closed[k],
            injection.p if topology.batch == 1 else injection.p[min(k, injection.batch - 1)][None],
        )
        for k in range(topology.batch)
    ]  # fmt: skip
    return DcResult(
        theta=np.concatenate([p[0] for p in parts]),
        p_from=np.concatenate([p[1] for p in parts]),
        status=np.concatenate([p[2] for p in parts]),
        second_node=second,
    )


def _one_topology(
    case: Case, second: Ints, busbar: NDArray[np.int8], closed: Bools, p: Floats
) -> tuple[Floats, Floats, NDArray[np.int8]]:
    grid = case.grid
    n_branch, n = grid.n_branch, grid.n_substation + int((second >= 0).sum())
    substation = grid.terminal_substation
    node = np.where(busbar == 2, second[substation], substation)
    node = np.where(busbar > 0, node, -1)
    f, t, at = node[:n_branch], node[n_branch : 2 * n_branch], node[2 * n_branch :]
    both = closed & (f >= 0) & (t >= 0)
    reference = grid.is_reference & (at >= 0)
    fixed = np.zeros(n, np.bool_)
    fixed[at[reference]] = True
    held = np.zeros(n)
    held[at[reference]] = grid.va_reference[reference]
    pairs = (np.ones(int(both.sum())), (f[both], t[both]))
    _, island = connected_components(scipy.sparse.coo_array(pairs, shape=(n, n)), directed=False)
    alive = np.isin(island, island[fixed])
    power = np.zeros((p.shape[0], n))
    np.add.at(power.T, at[at >= 0], p.T[at >= 0])
    theta = angles(f[both], t[both], grid.b_dc[both], grid.shift_dc[both], power,
                   fixed | ~alive, np.broadcast_to(held, power.shape))  # fmt: skip
    flow = np.zeros((p.shape[0], n_branch))
    flow[:, both] = grid.b_dc[both] * (theta[:, f[both]] - theta[:, t[both]] - grid.shift_dc[both])
    flow[:, both & ~alive[np.maximum(f, 0)]] = 0.0
    theta[:, ~alive] = np.nan
    connected = np.zeros(n, np.bool_)
    for ends in (f[closed & (f >= 0)], t[closed & (t >= 0)], at[at >= 0]):
        connected[ends] = True
    status = FlowStatus.ISLANDED if (connected & ~alive).any() else FlowStatus.OK
    status = status if alive.any() else FlowStatus.BLACKOUT
    status = status if np.isfinite(flow).all() else FlowStatus.DIVERGED
    return theta, flow, np.full(p.shape[0], status, np.int8)


def angles(
    f: Ints, t: Ints, b: Floats, shift: Floats, power: Floats, fixed: Bools, held: Floats
) -> Floats:
    """Solve the DC equations for [B, n] angles in rad.

    Parameters
    ----------
    f, t, b, shift
        Ends, susceptances in p.u. and phase shifts in rad of the branches in service.
    power : [B, n]
        Injection of every node, p.u.
    fixed : [n]
        Nodes whose angle is ``held`` [B, n]: references and dead nodes.

    Where the equations have no unique solution the free angles are NaN.
    """
    n = power.shape[1]
    entries = (np.concatenate([b, b, -b, -b]),
               (np.concatenate([f, t, f, t]), np.concatenate([f, t, t, f])))  # fmt: skip
    matrix = scipy.sparse.coo_array(entries, shape=(n, n)).tocsr()
    pushed = power.copy()
    np.add.at(pushed.T, f, (b * shift)[:, None])
    np.add.at(pushed.T, t, -(b * shift)[:, None])
    theta = np.where(fixed, held, 0.0)
    free = np.flatnonzero(~fixed)
    if free.size:
        owed = pushed[:, free] - (matrix[free] @ theta.T).T
        try:
            theta[:, free] = splu(matrix[free][:, free].tocsc()).solve(owed.T).T
        except RuntimeError:  # SuperLU: the factor is exactly singular
            theta[:, free] = np.nan
    return theta
