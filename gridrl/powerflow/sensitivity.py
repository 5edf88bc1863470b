"""DC sensitivities of a case: how flows answer to transfers, outages, splits and injections.

With branch susceptances ``b``, incidence ``E`` (+1 at the from end) and the inverse ``X`` of the
nodal matrix, ``A = diag(b) E X E' diag(b)`` and ``M = diag(b) - A``. A column of M over its
diagonal is the line outage distribution factor with its sign turned, and a bus split is the signed
sum of the columns of the ends that move: Woodbury's identity in rank one. ``diag(b) E X`` are the
power transfer distribution factors. All exact for the DC power flow of `gridrl.powerflow.dc`.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from gridrl.case import Case
from gridrl.grid import Bools, Complexes, Floats, Ints
from gridrl.jit import announced
from gridrl.powerflow.kernels_screen import screen_base, screen_losses
from gridrl.powerflow.solve import LANES

COLUMNS = 48  # right sides solved at a time: they fit the cache
WIDTH = len(LANES)  # kernels read branches in groups of this size


@dataclass(frozen=True, eq=False, kw_only=True)
class Moves:
    """Actions as the kernels take them: branch ends that leave their node together."""

    part_of: Ints  # [n + 1]
    part_branch: Ints  # [m] branch whose end leaves, or that opens or closes
    part_sign: Floats  # [m] +1 where that is its from end, -1 for its to end
    moved_unit: Ints  # [k] units that leave with them
    unit_of: Ints  # [n + 1]

    def __len__(self) -> int:
        return int(self.part_of.size - 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sensitivities:
    """The matrix M by columns, and the flows that actions change; branches padded with zeros."""

    case: Case
    node: Ints  # [n_terminal] node of each terminal, -1 where it is not connected
    live: Bools  # [n_branch] branches that carry current
    column: Floats  # [m, width] columns of M; of an open branch: of its closing
    column_of: Ints  # [n_branch] row of ``column``, -1 where there is none
    column_branch: Ints  # [m]
    closing: Floats  # [m] what an open branch adds to the pivot, 0 for closed ones
    across: Floats  # [m] p.u. flow that an open branch would carry without resistance of the grid
    flow: Floats  # [width] p.u. active flows
    q2: Floats  # [width] p.u. squared reactive flow that loadings contain
    inv2: Floats  # [width] squared inverse ratings, 0 where unlimited
    unit_p: Floats  # [n_unit] p.u. what each unit feeds in
    solve: object  # right sides [n_node, k] -> angles, dead and reference nodes 0

    @property
    def n_node(self) -> int:
        """Nodes that `transfer_rows` tells apart: both busbars of every substation."""
        return 2 * self.case.grid.n_substation

    def transfer(self, node: Ints) -> Floats:
        """[n_branch, k] flow on every branch for 1 p.u. from each node to the reference (PTDF)."""
        grid = self.case.grid
        n_node = int(self.node.max()) + 1
        unit = np.zeros((n_node, node.size))
        unit[node, np.arange(node.size)] = 1.0
        assert callable(self.solve)
        theta = self.solve(unit)
        f, t = self.node[: grid.n_branch], self.node[grid.n_branch : 2 * grid.n_branch]
        out = np.zeros((grid.n_branch, node.size))
        at = np.flatnonzero(self.live)
        out[at] = grid.b_dc[at, None] * (theta[f[at]] - theta[t[at]])
        return out

    def transfer_rows(self, branch: Ints) -> Floats:
        """[k, n_node] flow on each branch for 1 p.u. from every node to the reference (PTDF).

        The nodal matrix is symmetric: a row is found like a column. It pays for few branches.
        """
        grid = self.case.grid
        f, t = self.node[branch], self.node[grid.n_branch + branch]
        ends = np.zeros((self.n_node, branch.size))
        live = np.flatnonzero(self.live[branch])
        ends[f[live], live] = grid.b_dc[branch[live]]
        ends[t[live], live] -= grid.b_dc[branch[live]]
        assert callable(self.solve)
        return np.asarray(self.solve(ends).T)

    def outage_factors(self, branch: int) -> Floats:
        """[n_branch] change of each flow by the loss of ``branch``, per p.u. it carried (LODF).

        NaN where the loss cuts the grid in two.
        """
        row = self.column[self.column_of[branch], : self.case.grid.n_branch]
        pivot = row[branch]
        if abs(pivot) <= 1e-7 * self.case.grid.b_dc[branch]:
            return np.full(row.size, np.nan)
        return np.asarray(-row / pivot)


@dataclass(frozen=True, eq=False, kw_only=True)
class Losses:
    """States in which one unit or one branch is lost, without any action."""

    unit: Ints  # [n_loss] unit lost, -1 for a branch
    branch: Ints  # [n_loss] branch lost, -1 for a unit
    flow: Floats  # [n_loss, width] p.u. active flows
    q2: Floats  # [n_loss, width] p.u. squared reactive flows


def sensitivities(
    case: Case,
    branches: Ints,
    *,
    s_from: Complexes | None = None,
    s_to: Complexes | None = None,
    unit_p: Floats | None = None,
) -> Sensitivities:
    """Columns of M for ``branches``, around the present state of a case.

    Parameters
    ----------
    branches
        Branches that actions or outages switch or move.
    s_from, s_to : [n_branch] p.u.
        Solved AC flows. With them loadings start from what really flows and contain its reactive
        part; without, everything is DC.
    unit_p : [n_unit] p.u.
        What units feed in; scheduled by default.
    """
    grid = case.grid
    n_branch = grid.n_branch
    busbar, closed = case.topology.busbar[0], case.topology.closed[0]
    second = grid.n_substation + np.arange(grid.n_substation)
    on = np.where(busbar == 2, second[grid.terminal_substation], grid.terminal_substation)
    node = np.where(busbar > 0, on, -1)
    f, t, at = node[:n_branch], node[n_branch : 2 * n_branch], node[2 * n_branch :]
    n_node = 2 * grid.n_substation
    both = closed & (f >= 0) & (t >= 0)
    reference = np.zeros(n_node, np.bool_)
    reference[at[grid.is_reference & (at >= 0)]] = True
    pairs = (np.ones(int(both.sum())), (f[both], t[both]))
    graph = scipy.sparse.coo_array(pairs, shape=(n_node, n_node))
    _, island = connected_components(graph, directed=False)
    alive = np.isin(island, island[reference])
    live = both & alive[np.maximum(f, 0)]
    solve = _solver(grid.b_dc, f, t, live, alive & ~reference)
    usable = (f >= 0) & (t >= 0) & alive[np.maximum(f, 0)] & alive[np.maximum(t, 0)]
    branches = np.unique(branches[usable[branches]])
    width = -(-n_branch // WIDTH) * WIDTH
    column, closing = np.zeros((branches.size, width)), np.zeros(branches.size)
    for first in range(0, branches.size, COLUMNS):
        _columns(
            grid.b_dc, f, t, live, solve, branches, slice(first, first + COLUMNS), column, closing
        )
    column_of = np.full(n_branch, -1, np.int64)
    column_of[branches] = np.arange(branches.size)
    unit_p = np.array(case.injection.p[0]) if unit_p is None else unit_p
    power = np.zeros(n_node)
    np.add.at(power, at[at >= 0], unit_p[at >= 0])
    theta, flow = _base_flow(case, f, t, live, solve, power, at)
    q2 = np.zeros(n_branch)
    if s_from is not None and s_to is not None:
        flow, q2 = through(s_from, s_to)
        flow, q2 = np.where(live, flow, 0.0), np.where(live, q2, 0.0)
    return Sensitivities(
        case=case, node=node, live=live, column=column, column_of=column_of,
        column_branch=branches, closing=closing, across=_across(case, f, t, live, branches, theta),
        flow=_padded(flow, width), q2=_padded(q2, width), unit_p=unit_p, solve=solve,
        inv2=_padded(_inverse_ratings(case), width),
    )  # fmt: skip


def through(s_from: Complexes, s_to: Complexes) -> tuple[Floats, Floats]:
    """Active flow through the middle of branches, and the square of the larger reactive one."""
    q = np.maximum(np.abs(s_from.imag), np.abs(s_to.imag))
    return (s_from.real - s_to.real) / 2.0, q**2


def dc_losses(found: Sensitivities, unit: Ints, branch: Ints) -> Losses:
    """The flows after each loss by DC sensitivities; the reference takes over for a unit.

    Branches must have a column. Where the loss of a branch cuts the grid, its flows are 0: such
    losses are not screened.
    """
    there = found.node[2 * found.case.grid.n_branch + unit]
    power = np.where(there >= 0, found.unit_p[unit], 0.0)
    width = found.flow.size
    by_unit = found.flow - _padded(found.transfer(np.maximum(there, 0)).T * power[:, None], width)
    rows = found.column_of[branch]
    pivot = found.column[rows, branch]
    whole = np.abs(pivot) > 1e-7 * np.abs(found.case.grid.b_dc[branch])
    share = np.where(whole, found.flow[branch] / np.where(whole, pivot, 1.0), 0.0)
    by_branch = found.flow - found.column[rows] * share[:, None]
    n = unit.size + branch.size
    return Losses(
        unit=np.concatenate([unit, np.full(branch.size, -1)]),
        branch=np.concatenate([np.full(unit.size, -1), branch]),
        flow=np.concatenate([by_unit, np.where(whole[:, None], by_branch, 0.0)]),
        q2=np.repeat(found.q2[None], n, axis=0),
    )  # fmt: skip


def _columns(
    b: Floats, f: Ints, t: Ints, live: Bools, solve: object, branches: Ints, part: slice,
    column: Floats, closing: Floats,
) -> None:  # fmt: skip
    """Fill some columns: of M for live branches, of what closing does for open ones."""
    which = branches[part]
    right = np.zeros((2 * max(int(f.max()), int(t.max())) + 2, which.size))
    each = np.arange(which.size)
    right[f[which], each] += b[which]
    right[t[which], each] -= b[which]
    assert callable(solve)
    theta = solve(right)
    at = np.flatnonzero(live)
    rows = np.zeros((which.size, column.shape[1]))
    rows[:, at] = (b[at, None] * (theta[f[at]] - theta[t[at]])).T
    own = b[which] * (theta[f[which], each] - theta[t[which], each])
    shut = live[which]
    rows[shut] *= -1.0
    rows[each[shut], which[shut]] += b[which[shut]]
    rows[each[~shut], which[~shut]] = -b[which[~shut]]
    column[part] = rows
    closing[part] = np.where(shut, 0.0, -own)


def _solver(b: Floats, f: Ints, t: Ints, live: Bools, free: Bools) -> object:
    """Angles for right sides [n_node, k]; nodes that are not free have 0."""
    f, t, b = f[live], t[live], b[live]
    n = free.size
    entries = (np.concatenate([b, b, -b, -b]),
               (np.concatenate([f, t, f, t]), np.concatenate([f, t, t, f])))  # fmt: skip
    matrix = scipy.sparse.coo_array(entries, shape=(n, n)).tocsr()
    inner = np.flatnonzero(free)
    factor = None
    if inner.size:  # the matrix is symmetric: its own ordering leaves a tenth of the fill
        factor = splu(
            matrix[inner][:, inner].tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01,
            options={"SymmetricMode": True},
        )  # fmt: skip

    def solve(right: Floats) -> Floats:
        theta = np.zeros((n, right.shape[1]))
        if factor is not None:
            theta[inner] = factor.solve(np.ascontiguousarray(right[:n][inner]))
        return theta

    return solve


def _base_flow(
    case: Case, f: Ints, t: Ints, live: Bools, solve: object, power: Floats, at: Ints
) -> tuple[Floats, Floats]:
    """DC angles [n_node] and flows [n_branch], references at their angles."""
    grid = case.grid
    held = np.zeros(power.size)
    unit = np.flatnonzero(grid.is_reference & (at >= 0))
    held[at[unit]] = grid.va_reference[unit]
    k = np.flatnonzero(live)
    pushed = grid.b_dc[k] * (held[f[k]] - held[t[k]] - grid.shift_dc[k])
    right = power.copy()
    np.add.at(right, f[k], -pushed)
    np.add.at(right, t[k], pushed)
    assert callable(solve)
    theta = solve(right[:, None])[:, 0] + held
    flow = np.zeros(grid.n_branch)
    flow[k] = grid.b_dc[k] * (theta[f[k]] - theta[t[k]] - grid.shift_dc[k])
    return theta, flow


def _across(case: Case, f: Ints, t: Ints, live: Bools, branches: Ints, theta: Floats) -> Floats:
    grid = case.grid
    angle = theta[f[branches]] - theta[t[branches]] - grid.shift_dc[branches]
    return np.where(live[branches], 0.0, grid.b_dc[branches] * angle)


def _inverse_ratings(case: Case) -> Floats:
    """[n_branch] largest squared inverse rating of a branch, at 1 p.u. voltage."""
    grid = case.grid
    return np.asarray((1.0 / np.minimum.reduce([grid.i_max_from, grid.i_max_to, grid.s_max])) ** 2)


def _padded(rows: Floats, width: int) -> Floats:
    out = np.zeros((*rows.shape[:-1], width))
    out[..., : rows.shape[-1]] = rows
    return out


def loading_after(found: Sensitivities, moves: Moves) -> Floats:
    """[n] highest loading after each move, 1 is the rating; infinite where it cuts the grid."""
    out = np.empty(len(moves))
    actions, grid = _arrays(found, moves)
    moved = moved_power(found, moves, np.array([-1]))[0]
    with announced("screen"):
        screen_base(LANES, actions, grid, (found.flow, found.q2, moved), out)
    return out


def loading_after_losses(
    found: Sensitivities, moves: Moves, losses: Losses, order: Ints
) -> tuple[Floats, Ints]:
    """Highest loadings of the moves in ``order`` with every loss.

    Returns
    -------
    loading : [n_order, n_loss]
        0 where the loss cuts the grid.
    cuts : [n_order]
        Losses that cut off what is supplied, because of the move.
    """
    rows = np.where(losses.branch >= 0, found.column_of[np.maximum(losses.branch, 0)], -1)
    loading = np.empty((order.size, losses.unit.size))
    cuts = np.empty(order.size, np.int64)
    actions, grid = _arrays(found, moves)
    moved = moved_power(found, moves, losses.unit)
    with announced("screen-losses"):
        screen_losses(
            LANES, actions, grid, (losses.flow, losses.q2, moved, rows), order, loading, cuts
        )
    return loading, cuts


def moved_power(found: Sensitivities, moves: Moves, lost: Ints) -> Floats:
    """[n_loss, n] p.u. that each move interrupts besides branch flows, after the loss of a unit."""
    owner = np.repeat(np.arange(len(moves)), np.diff(moves.unit_of))
    part_owner = np.repeat(np.arange(len(moves)), np.diff(moves.part_of))
    power, rows = found.unit_p[moves.moved_unit], found.column_of[moves.part_branch]
    whole = np.bincount(owner, power, len(moves)).astype(np.float64)
    whole += np.bincount(part_owner, found.across[rows], len(moves))
    out = np.repeat(whole[None], lost.size, axis=0)
    for row in np.flatnonzero(np.isin(lost, moves.moved_unit)):
        mine = moves.moved_unit == lost[row]
        out[row] -= np.bincount(owner[mine], power[mine], len(moves))
    return out


def _arrays(found: Sensitivities, moves: Moves) -> tuple[tuple[object, ...], tuple[object, ...]]:
    rows = found.column_of[moves.part_branch]
    part_owner = np.repeat(np.arange(len(moves)), np.diff(moves.part_of))
    extra = np.bincount(part_owner, found.closing[rows], len(moves)).astype(np.float64)
    grid = (found.column, found.column_branch, found.inv2, np.array(found.case.grid.b_dc))
    return (moves.part_of, rows, moves.part_sign, extra), grid
