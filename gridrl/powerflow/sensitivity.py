"""DC sensitivities of a case: how flows answer to transfers, outages, splits and injections.

With branch susceptances ``b``, incidence ``E`` (+1 at the from end) and the inverse ``X`` of the
nodal matrix, ``A = diag(b) E X E' diag(b)`` and ``M = diag(b) - A``. A column of M over its diagonal
is the line outage distribution factor with its sign turned, and a bus split is the signed sum of
the columns of the ends that move: the case of rank one of Woodbury's identity. The power transfer
distribution factors are ``diag(b) E X``. Exact for the DC power flow of `gridrl.powerflow.dc`.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from gridrl.case import Case
from gridrl.grid import Bools, Complexes, Floats, Ints
from gridrl.jit import announced
from gridrl.powerflow.kernels_screen import screen_base, screen_outages
from gridrl.powerflow.solve import LANES

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
    flow: Floats  # [n_case, width] p.u. base flows, then those after each loss of a unit
    lost_unit: Ints  # [n_case] unit lost, -1 for the base
    inv2: Floats  # [width] squared inverse ratings, 0 where unlimited
    q2: Floats  # [width] p.u. squared reactive flow that loadings contain
    unit_p: Floats  # [n_unit] p.u. what each unit feeds in
    solve: object  # right sides [n_node, k] -> angles, dead and reference nodes 0

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

    def outage_factors(self, branch: int) -> Floats:
        """[n_branch] change of each flow by the loss of ``branch``, per p.u. it carried (LODF).

        NaN where the loss cuts the grid in two.
        """
        row = self.column[self.column_of[branch], : self.case.grid.n_branch]
        pivot = row[branch]
        if abs(pivot) <= 1e-7 * self.case.grid.b_dc[branch]:
            return np.full(row.size, np.nan)
        return np.asarray(-row / pivot)


def sensitivities(
    case: Case,
    branches: Ints,
    *,
    s_from: Complexes | None = None,
    s_to: Complexes | None = None,
    unit_p: Floats | None = None,
    lost_units: Ints | None = None,
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
    lost_units
        Units whose loss is screened too; the reference takes over.
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
    for first in range(0, branches.size, 512):
        _columns(grid.b_dc, f, t, live, solve, branches, slice(first, first + 512), column, closing)
    column_of = np.full(n_branch, -1, np.int64)
    column_of[branches] = np.arange(branches.size)
    unit_p = np.array(case.injection.p[0]) if unit_p is None else unit_p
    power = np.zeros(n_node)
    np.add.at(power, at[at >= 0], unit_p[at >= 0])
    theta, flow = _base_flow(case, f, t, live, solve, power, reference, at)
    if s_from is not None and s_to is not None:
        flow = np.where(live, (s_from.real - s_to.real) / 2.0, 0.0)
        q2 = np.where(live, np.maximum(np.abs(s_from.imag), np.abs(s_to.imag)) ** 2, 0.0)
    else:
        q2 = np.zeros(n_branch)
    lost_units = np.empty(0, np.int64) if lost_units is None else lost_units
    found = Sensitivities(
        case=case, node=node, live=live, column=column, column_of=column_of,
        column_branch=branches, closing=closing, across=_across(case, f, t, live, branches, theta),
        flow=_padded(flow[None], width), lost_unit=np.concatenate([[-1], lost_units]),
        inv2=_padded(_inverse_ratings(case)[None], width)[0],
        q2=_padded(q2[None], width)[0], unit_p=unit_p, solve=solve,
    )  # fmt: skip
    if not lost_units.size:
        return found
    there = at[lost_units]
    lost = found.transfer(np.maximum(there, 0)).T * np.where(
        there >= 0, unit_p[lost_units], 0.0
    )[:, None]
    return replace(found, flow=_padded(np.concatenate([flow[None], flow - lost]), width))


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
    factor = splu(matrix[inner][:, inner].tocsc()) if inner.size else None

    def solve(right: Floats) -> Floats:
        theta = np.zeros((n, right.shape[1]))
        if factor is not None:
            theta[inner] = factor.solve(np.ascontiguousarray(right[: n][inner]))
        return theta

    return solve


def _base_flow(
    case: Case, f: Ints, t: Ints, live: Bools, solve: object, power: Floats, reference: Bools,
    at: Ints,
) -> tuple[Floats, Floats]:  # fmt: skip
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
    out = np.zeros((rows.shape[0], width))
    out[:, : rows.shape[1]] = rows
    return out


def loading_after(found: Sensitivities, moves: Moves) -> Floats:
    """[n] highest DC loading after each move, 1 is the rating; infinite where it cuts the grid."""
    out = np.empty(len(moves))
    with announced("screen"):
        screen_base(LANES, *_arrays(found, moves), out)
    return out


def loading_after_outages(
    found: Sensitivities, moves: Moves, outages: Ints, order: Ints
) -> tuple[Floats, Ints]:
    """DC loadings of the moves in ``order`` with every loss after them.

    Parameters
    ----------
    outages
        Branches, -1 for one that is not screened.

    Returns
    -------
    loading : [n_order, n_case + n_outage]
        The move alone, then with the loss of each unit, then with each outage.
    cuts : [n_order]
        Outages that cut off what is supplied.
    """
    rows = np.where(outages >= 0, found.column_of[np.maximum(outages, 0)], -1)
    loading = np.empty((order.size, found.flow.shape[0] + outages.size))
    cuts = np.empty(order.size, np.int64)
    with announced("screen-outages"):
        screen_outages(LANES, *_arrays(found, moves), rows, order, loading, cuts)
    return loading, cuts


def _arrays(found: Sensitivities, moves: Moves) -> tuple[object, ...]:
    rows = found.column_of[moves.part_branch]
    injection = found.unit_p
    owner = np.repeat(np.arange(len(moves)), np.diff(moves.unit_of))
    moved = np.zeros((found.flow.shape[0], len(moves)))
    for case, lost in enumerate(found.lost_unit):
        power = np.where(moves.moved_unit == lost, 0.0, injection[moves.moved_unit])
        moved[case] = np.bincount(owner, power, len(moves))
    part_owner = np.repeat(np.arange(len(moves)), np.diff(moves.part_of))
    sign = moves.part_sign
    moved += np.bincount(part_owner, found.across[rows], len(moves))
    extra = np.bincount(part_owner, found.closing[rows], len(moves))
    return (
        (moves.part_of, rows, sign, extra),
        (found.column, found.column_branch, found.flow, found.inv2, found.q2,
         np.array(found.case.grid.b_dc)), moved,
    )  # fmt: skip
