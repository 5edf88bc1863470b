"""The optimal power flow of a case as arrays: the model that PGLib's solvers share.

Minimise the cost of generation subject to power balance at every node, limits of voltage, of
active and reactive power, of apparent power (or current) at both ends of every branch, and of
angle differences. Source: S. Babaeinejadsarookolaee et al., The Power Grid Library for
Benchmarking AC Optimal Power Flow Algorithms, arXiv:1908.02788, model 1.

Vocabulary::

    node    an energised busbar of a substation
    source  something that injects power chosen by the optimiser: the P of a generator, its Q, or
            one segment of a piecewise-linear cost
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gridrl.case import Case
from gridrl.errors import GridError, offending
from gridrl.grid import Bools, Complexes, Floats, Grid, Ints
from gridrl.opf.sources import Sources, build_sources

# Below this no grid is operated; the polar equations need |v| > 0.
V_FLOOR = 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class OpfProblem:
    """One switching state of a case, in per unit; only what is energised."""

    case: Case
    # Nodes
    substation: Ints  # [n_node]
    busbar: Ints  # [n_node] 0 or 1
    p_fixed: Floats  # [n_node] power injected whatever the voltage
    q_fixed: Floats  # [n_node]
    p_current: Floats  # [n_node] power injected per |v| (constant-current loads)
    q_current: Floats  # [n_node]
    g_shunt: Floats  # [n_node] drawn as g |v|^2 - 1j b |v|^2
    b_shunt: Floats  # [n_node]
    v_min: Floats  # [n_node]
    v_max: Floats  # [n_node] np.inf where unlimited
    reference: Ints  # [n_island] node that holds the angle
    reference_angle: Floats  # [n_island] rad
    # Branches with both ends on nodes
    branch: Ints  # [n_line] branch of the grid
    from_node: Ints  # [n_line]
    to_node: Ints  # [n_line]
    y: Complexes  # [n_line, 4] y_ff, y_ft, y_tf, y_tt
    s_max: Floats  # [n_line, 2] limit of apparent power at either end, np.inf where none
    i_max: Floats  # [n_line, 2] limit of current where there is none of power
    angle_min: Floats  # [n_line] rad
    angle_max: Floats  # [n_line] rad
    # What is chosen, and what could not be supplied
    sources: Sources
    unit_node: Ints  # [n_unit] -1 where disconnected or without supply
    lost_demand: Floats  # [n_unit] p.u. apparent power of fixed units that nothing supplies

    @property
    def n_node(self) -> int:
        return int(self.substation.size)

    @property
    def n_line(self) -> int:
        return int(self.branch.size)

    def unit_powers(self, v: Floats, value: Floats) -> tuple[Floats, Floats]:
        """[n_unit] P and Q of every unit at voltage magnitudes ``v`` and source ``value``."""
        grid, injection = self.case.grid, self.case.injection
        live = self.unit_node >= 0
        m = np.where(live, v[np.maximum(self.unit_node, 0)], 0.0)
        power = []
        for given, i_share, z_share in (
            (injection.p[0], grid.i_share_p, grid.z_share_p),
            (injection.q[0], grid.i_share_q, grid.z_share_q),
        ):
            power.append(
                np.where(live, given * (1 - i_share - z_share + m * (i_share + m * z_share)), 0.0)
            )
        return self.sources.fill(power[0], power[1], value)


def build_problem(case: Case) -> OpfProblem:
    """The optimisation problem of the case's own switching state.

    Units that are not dispatchable keep their power; those of them that control voltage keep
    their set point too and give the reactive power it takes, within their limits. So does a unit
    that controls the voltage of a bus without voltage limits. An island needs a unit that is a
    reference or dispatchable; without one it is dead. Each island's first
    reference unit (else its first dispatchable one) holds the angle.

    Raises
    ------
    GridError
        A lower limit is above its upper one, or a cost is not convex where it must be.
    """
    grid = case.grid
    _refuse_crossed_limits(case)
    terminal = _terminal_nodes(case)
    n_branch, n_flat = grid.n_branch, 2 * grid.n_substation
    start, stop = terminal[:n_branch], terminal[n_branch : 2 * n_branch]
    at = terminal[2 * n_branch :]
    both = (start >= 0) & (stop >= 0)
    joined = coo_array((np.ones(both.sum()), (start[both], stop[both])), shape=(n_flat, n_flat))
    _, label = connected_components(joined, directed=False)
    island = label.astype(np.int64)
    leads = (grid.is_reference | grid.dispatchable) & (at >= 0)
    alive = np.isin(island, island[at[leads]])
    flat = np.flatnonzero(alive)
    node_of = np.full(n_flat + 1, -1)
    node_of[flat] = np.arange(flat.size)
    unit_node = node_of[at]
    line = np.flatnonzero(both & (node_of[start] >= 0))
    reference, reference_angle = _references(grid, island[flat], unit_node)
    sources, holds = build_sources(case, unit_node)
    fixed, current, shunt = _node_powers(case, unit_node, sources, flat.size)
    shunt += _open_ends(case, node_of[start], node_of[stop], flat.size)
    fixed += sources.constant_injection(flat.size)
    substation = flat // 2
    v_min, v_max = _voltage_limits(case, substation, unit_node, holds)
    s_max, i_max = _flow_limits(grid, line)
    demand = np.where(grid.dispatchable, 0.0, np.hypot(case.injection.p[0], case.injection.q[0]))
    return OpfProblem(
        case=case,
        substation=substation,
        busbar=flat % 2,
        p_fixed=fixed.real,
        q_fixed=fixed.imag,
        p_current=current.real,
        q_current=current.imag,
        g_shunt=-shunt.real,
        b_shunt=shunt.imag,
        v_min=v_min,
        v_max=v_max,
        reference=reference,
        reference_angle=reference_angle,
        branch=line,
        from_node=node_of[start[line]],
        to_node=node_of[stop[line]],
        y=np.stack([grid.y_ff, grid.y_ft, grid.y_tf, grid.y_tt], axis=1)[line],
        s_max=s_max,
        i_max=i_max,
        angle_min=grid.angle_min[line],
        angle_max=grid.angle_max[line],
        sources=sources,
        unit_node=unit_node,
        lost_demand=np.where((at >= 0) & (unit_node < 0), demand, 0.0),
    )


def _terminal_nodes(case: Case) -> Ints:
    """[n_terminal] flat index 2 substation + busbar, -1 where disconnected or open."""
    grid = case.grid
    busbar = case.topology.busbar[0].astype(np.int64)
    closed = case.topology.closed[0]
    usable = np.concatenate([closed, closed, np.ones(grid.n_unit, dtype=bool)]) & (busbar > 0)
    return np.where(usable, 2 * grid.terminal_substation + busbar - 1, -1)


def _references(grid: Grid, island: Ints, unit_node: Ints) -> tuple[Ints, Floats]:
    """One node for each island, and the angle it holds."""
    on = unit_node >= 0
    order = np.concatenate(
        [np.flatnonzero(on & grid.is_reference), np.flatnonzero(on & grid.dispatchable)]
    )
    _, first = np.unique(island[unit_node[order]], return_index=True)
    lead = order[np.sort(first)]
    return unit_node[lead], grid.va_reference[lead]


def _node_powers(
    case: Case, unit_node: Ints, sources: Sources, n_node: int
) -> tuple[Complexes, Complexes, Complexes]:
    """Constant, constant-current and constant-impedance injection of every node."""
    grid = case.grid
    p = np.where(sources.chosen_p, 0.0, case.injection.p[0])
    q = np.where(sources.chosen_q, 0.0, case.injection.q[0])
    i = p * grid.i_share_p + 1j * q * grid.i_share_q
    z = p * grid.z_share_p + 1j * q * grid.z_share_q
    on = unit_node >= 0
    out = []
    for part in (p + 1j * q - i - z, i, z):
        total = np.zeros(n_node, dtype=np.complex128)
        np.add.at(total, unit_node[on], part[on])
        out.append(total)
    return out[0], out[1], out[2]


def _open_ends(case: Case, start: Ints, stop: Ints, n_node: int) -> Complexes:
    """Constant-impedance injection of closed branches with one end on nothing."""
    grid = case.grid
    total = np.zeros(n_node, dtype=np.complex128)
    product = grid.y_ft * grid.y_tf
    for here, there, own, far in (
        (start, stop, grid.y_ff, grid.y_tt),
        (stop, start, grid.y_tt, grid.y_ff),
    ):
        k = np.flatnonzero((here >= 0) & (there < 0) & (far != 0))
        y = own[k] - product[k] / far[k]
        np.add.at(total, here[k], -y.conj())
    return total


def _voltage_limits(
    case: Case, substation: Ints, unit_node: Ints, holds: Bools
) -> tuple[Floats, Floats]:
    grid = case.grid
    v_min = np.maximum(grid.v_min[substation], V_FLOOR)
    v_max = grid.v_max[substation].copy()
    k = np.flatnonzero(holds & (unit_node >= 0))
    v_min[unit_node[k]] = v_max[unit_node[k]] = case.injection.v_set[0][k]
    return v_min, v_max


def _flow_limits(grid: Grid, line: Ints) -> tuple[Floats, Floats]:
    """Limits at both ends. Where a branch is rated in both, the tighter at 1 p.u. holds."""
    s_max = np.stack([grid.s_max[line]] * 2, axis=1)
    i_max = np.stack([grid.i_max_from[line], grid.i_max_to[line]], axis=1)
    by_current = i_max < s_max
    return np.where(by_current, np.inf, s_max), np.where(by_current, i_max, np.inf)


def _refuse_crossed_limits(case: Case) -> None:
    grid = case.grid
    on = (case.topology.busbar[0, 2 * grid.n_branch :] > 0) & grid.dispatchable
    closed = case.topology.closed[0]
    for low, high, used, names, what in (
        (grid.p_min, grid.p_max, on, grid.unit_label, "p_min above p_max (MW)"),
        (grid.q_min, grid.q_max, on, grid.unit_label, "q_min above q_max (Mvar)"),
        (grid.v_min, grid.v_max, True, grid.substation_label, "v_min above v_max (p.u.)"),
        (grid.angle_min, grid.angle_max, closed, grid.branch_label, "angle_min above angle_max"),
    ):
        crossed = np.asarray((low > high) & used)
        if crossed.any():
            raise GridError(
                f"{crossed.sum()} limits contradict each other, {what}: "
                f"{offending(crossed, names)}. Correct them; no dispatch can meet both."
            )
