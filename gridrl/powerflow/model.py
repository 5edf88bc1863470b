"""The equations of a grid in one fixed pattern, around one base state.

A `Model` is built once from a grid, a base topology and a base injection. Every other state is
described by how it differs from that base, so thousands of states share the pattern, the
ordering and most admittances. It holds no solver: see `gridrl.powerflow.solve`.

Vocabulary: node ``s`` is busbar 1 of substation ``s``; busbar 2 of a substation that may be split
is a node after those. A row is a node in elimination order.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gridrl.errors import GridError, offending
from gridrl.grid import Bools, Complexes, Floats, Grid, Injection, Ints, Topology
from gridrl.powerflow.dc import angles
from gridrl.powerflow.kernels_islands import FIXED, PQ, PV, live_rows
from gridrl.powerflow.kernels_loads import node_injections
from gridrl.sparse.pattern import Pattern, analyse

DEMAND_KINDS = frozenset({"load", "asymmetric_load", "motor", "ward", "xward", "dangling_line"})


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """Pattern, admittances and lookups of a grid; arrays are writeable but not to be written."""

    grid: Grid
    topology: Topology  # the base state, batch of one
    injection: Injection  # the base state, batch of one
    second_node: Ints  # [n_substation] node of busbar 2, -1 where it may not be split
    node_substation: Ints  # [n_node]
    pattern: Pattern
    row_from: Ints  # [n_branch, 2] row of the from end on busbar 1, 2; -1 where there is none
    row_to: Ints  # [n_branch, 2]
    unit_row: Ints  # [n_unit, 2]
    entry: Ints  # [n_branch, 2, 2, 2] admittance entries (forth, back) by busbars of the ends
    y: Complexes  # [6, n_branch] y_ff, y_ft, y_tf, y_tt, and each end alone (other end open)
    yg: Floats  # [n_entry] base state
    yb: Floats  # [n_entry]
    dg: Floats  # [n_node] diagonal, by row
    db: Floats  # [n_node]
    kind: NDArray[np.int8]  # [n_node] by row, as the units make it
    alive: Bools  # [n_node] by row, whether the base state supplies it
    holder: Ints  # [n_node] unit that holds the row's voltage, -1 where none
    controls: Bools  # [n_unit] grid.controls_voltage or a reference
    demand: Bools  # [n_unit]
    island_rule: str  # "dead" or "generator", see FlowOptions
    first_of: Ints  # [n_substation + 1]
    members: Ints  # [n_unit] units by substation

    @cached_property
    def live_ends(self) -> tuple[Ints, Ints]:
        """[n_branch] as `branch_ends`, and -1 at rows that the base state leaves without supply."""
        return tuple(  # type: ignore[return-value]
            np.where((end >= 0) & self.alive[np.maximum(end, 0)], end, -1)
            for end in self.branch_ends
        )

    @property
    def n_node(self) -> int:
        return int(self.node_substation.size)

    @property
    def n_entry(self) -> int:
        return int(self.pattern.y_idx.size)

    @cached_property
    def has_current_part(self) -> bool:
        """Whether any unit draws a constant current."""
        return bool((self.grid.i_share_p != 0).any() or (self.grid.i_share_q != 0).any())

    @cached_property
    def pattern_arrays(self) -> tuple[NDArray[np.int64] | NDArray[np.int32], ...]:
        """The pattern as the Newton kernels take it."""
        p = self.pattern
        return p.y_ptr, p.y_idx, p.y_row, p.u_ptr, p.u_idx, p.l_ptr, p.l_idx

    @cached_property
    def base_arrays(self) -> tuple[NDArray[np.float64] | NDArray[np.int8], ...]:
        """The base equations as the Newton kernels take them; dead rows are FIXED."""
        kind = np.where(self.alive, self.kind, FIXED).astype(np.int8)
        return self.yg, self.yb, self.dg, self.db, kind

    @cached_property
    def unit_arrays(self) -> tuple[NDArray[np.int64] | NDArray[np.float64] | Bools, ...]:
        """The units as `gridrl.powerflow.kernels_states` takes them."""
        g = self.grid
        return (
            self.unit_row, np.array(g.unit_substation), self.first_of, self.members,
            self.controls, np.array(g.is_reference), np.array(g.va_reference),
            np.array(g.z_share_p), np.array(g.z_share_q),
            np.array(g.i_share_p), np.array(g.i_share_q), self.demand, self.promotion,
        )  # fmt: skip

    @cached_property
    def promotion(self) -> Floats:
        """[n_unit or 0] rank by which a generator takes over an island, largest first."""
        if self.island_rule == "dead":
            return np.empty(0)
        grid = self.grid
        size = np.where(np.isfinite(grid.p_max), grid.p_max, np.abs(self.injection.p[0]))
        return np.asarray(size, np.float64)

    @cached_property
    def steady(self) -> bool:
        """Whether states that cut nothing off are supplied just as the base state is built.

        Not where a generator took over an island of the base state itself.
        """
        return bool(self.promotion.size == 0 or not (self.controls & self._dark_units).any())

    @property
    def _dark_units(self) -> Bools:
        at = self.unit_at
        return np.asarray((at >= 0) & ~self.alive[np.maximum(at, 0)])

    @cached_property
    def all_alive(self) -> bool:
        """Whether the base state supplies every node."""
        return bool(self.alive.all())

    @cached_property
    def shunt_units(self) -> Ints:
        """Connected units with a constant-impedance part."""
        part = (self.grid.z_share_p != 0) | (self.grid.z_share_q != 0)
        return np.flatnonzero(part & (self.unit_at >= 0))

    @cached_property
    def power_parts(self) -> Floats:
        """[n_unit, 4] constant-power shares of p and q, constant-current shares of p and q."""
        g = self.grid
        own = (1.0 - g.z_share_p - g.i_share_p, 1.0 - g.z_share_q - g.i_share_q)
        return np.stack([*own, g.i_share_p, g.i_share_q], axis=1)

    @cached_property
    def held_rows(self) -> Ints:
        """Rows whose voltage some unit holds in the base state."""
        return np.flatnonzero(self.holder >= 0)

    @cached_property
    def held_places(self) -> tuple[Ints, Ints]:
        """Rows that a voltage-controlling unit may sit on, on either busbar; their substations."""
        rows = self.unit_row[self.controls]
        rows = np.unique(rows[rows >= 0])
        return rows, self.node_substation[self.pattern.node[rows]]

    @cached_property
    def own_start(self) -> Floats:
        """[1, n_node, 2] start voltages from scratch, by row, for the base injection."""
        v = start_voltage(self, self.injection)
        return np.stack([v.real, v.imag], axis=-1)

    @cached_property
    def network_arrays(self) -> tuple[object, ...]:
        """The branches as `gridrl.powerflow.kernels_states` takes them."""
        return self.entry, self.row_from, self.row_to, self.y, self.n_entry

    @cached_property
    def base_topology(self) -> tuple[object, ...]:
        """The base topology as `gridrl.powerflow.kernels_states` takes it."""
        n_branch = self.grid.n_branch
        busbar = np.array(self.topology.busbar[0])
        return (
            busbar[:n_branch], busbar[n_branch : 2 * n_branch], np.array(self.topology.closed[0]),
            busbar[2 * n_branch :], self.kind, self.alive,
        )  # fmt: skip

    @cached_property
    def unit_at(self) -> Ints:
        """[n_unit] row of each unit in the base state, -1 where disconnected."""
        busbar = self.topology.busbar[0, 2 * self.grid.n_branch :].astype(np.int64)
        rows = self.unit_row[np.arange(self.grid.n_unit), np.maximum(busbar - 1, 0)]
        return np.where(busbar > 0, rows, -1)

    @cached_property
    def branch_ends(self) -> tuple[Ints, Ints]:
        """[n_branch] rows of both ends in the base state, -1 where open."""
        n_branch = self.grid.n_branch
        busbar = self.topology.busbar[0].astype(np.int64)
        closed = self.topology.closed[0]
        every = np.arange(n_branch)
        f, t = busbar[:n_branch], busbar[n_branch : 2 * n_branch]
        from_row = np.where(closed & (f > 0), self.row_from[every, np.maximum(f - 1, 0)], -1)
        to_row = np.where(closed & (t > 0), self.row_to[every, np.maximum(t - 1, 0)], -1)
        return from_row, to_row


def build_model(
    grid: Grid,
    topology: Topology,
    injection: Injection,
    split: Ints | None = None,
    island_rule: str = "dead",
) -> Model:
    """Build the equations of ``grid`` around a base state.

    Parameters
    ----------
    split
        Substations that get a second busbar; by default those that ``topology`` splits. Each
        costs time in every solve: name only those that some state will split.

    Raises
    ------
    GridError
        A star point is to be split, or the base state has no reference unit.
    """
    busbar = topology.busbar[0]
    used = np.unique(grid.terminal_substation[busbar == 2])
    split = used if split is None else np.union1d(split, used)
    stars = grid.is_star[split]
    if stars.any():
        names = offending(stars, [grid.substation_name[int(s)] for s in split])
        raise GridError(f"A star point has no busbars to split: {names}.")
    second = np.full(grid.n_substation, -1, np.int64)
    second[split] = grid.n_substation + np.arange(split.size)
    pattern = _pattern(grid, second)
    rows = np.full((grid.n_substation, 2), -1, np.int64)
    rows[:, 0] = pattern.row[: grid.n_substation]
    rows[split, 1] = pattern.row[grid.n_substation :]
    by_substation = np.argsort(grid.unit_substation, kind="stable")
    counts = np.bincount(grid.unit_substation, minlength=grid.n_substation)
    controls = grid.controls_voltage | grid.is_reference
    partial = {
        "grid": grid,
        "topology": topology,
        "injection": injection,
        "second_node": second,
        "node_substation": np.concatenate([np.arange(grid.n_substation), split]),
        "pattern": pattern,
        "row_from": rows[grid.from_substation],
        "row_to": rows[grid.to_substation],
        "unit_row": rows[grid.unit_substation],
        "island_rule": island_rule,
        "y": _two_ports(grid),
        "controls": controls,
        "demand": np.array([kind in DEMAND_KINDS for kind in grid.unit_kind], np.bool_),
        "first_of": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "members": by_substation.astype(np.int64),
    }
    return _with_base_state(partial)


def _pattern(grid: Grid, second: Ints) -> Pattern:
    """Pattern in which every branch may sit on any busbar of its two substations."""
    f, t = grid.from_substation, grid.to_substation
    left, right = [f], [t]
    for a, b in ((second[f], t), (f, second[t]), (second[f], second[t])):
        both = (a >= 0) & (b >= 0)
        left.append(a[both])
        right.append(b[both])
    n = grid.n_substation + int((second >= 0).sum())
    return analyse(n, np.concatenate(left), np.concatenate(right))


def _two_ports(grid: Grid) -> Complexes:
    """[6, n_branch] the four admittances, and what each end sees when the other is open."""
    y_ff, y_ft, y_tf, y_tt = grid.y_ff, grid.y_ft, grid.y_tf, grid.y_tt
    through = y_ft * y_tf
    f_alone = y_ff - np.divide(through, y_tt, out=np.zeros_like(y_ff), where=y_tt != 0)
    t_alone = y_tt - np.divide(through, y_ff, out=np.zeros_like(y_tt), where=y_ff != 0)
    return np.stack([y_ff, y_ft, y_tf, y_tt, f_alone, t_alone])


def _entries(pattern: Pattern, row_from: Ints, row_to: Ints) -> Ints:
    """Positions of the (from, to) and (to, from) entries for each choice of busbars."""
    entry = np.full((row_from.shape[0], 2, 2, 2), -1, np.int64)
    for a in range(2):
        for b in range(2):
            there = (row_from[:, a] >= 0) & (row_to[:, b] >= 0)
            f, t = row_from[there, a], row_to[there, b]
            entry[there, a, b, 0] = pattern.entry(f, t)
            entry[there, a, b, 1] = pattern.entry(t, f)
    return entry


def _with_base_state(partial: dict[str, object]) -> Model:
    """Fill in the admittances, kinds and supply of the base state."""
    pattern = partial["pattern"]
    assert isinstance(pattern, Pattern)
    n = pattern.n
    blank: dict[str, object] = {
        "entry": _entries(pattern, partial["row_from"], partial["row_to"]),  # type: ignore[arg-type]
        "yg": np.zeros(pattern.y_idx.size),
        "yb": np.zeros(pattern.y_idx.size),
        "dg": np.zeros(n),
        "db": np.zeros(n),
        "kind": np.full(n, PQ, np.int8),
        "alive": np.zeros(n, np.bool_),
        "holder": np.full(n, -1, np.int64),
    }
    model = Model(**partial, **blank)  # type: ignore[arg-type]
    _fill_admittances(model)
    _fill_kinds(model)
    unit_busbar = model.topology.busbar[0, 2 * model.grid.n_branch :].copy()
    end_f, end_t = model.branch_ends
    live_rows(
        end_f, end_t, model.unit_row, np.array(model.grid.is_reference), unit_busbar,
        np.empty(n, np.int64), model.alive,
    )  # fmt: skip
    if not model.alive.any() and not model.promotion.size:
        raise GridError(
            f"{model.grid.name} has no connected external grid or slack generator, so nothing "
            "fixes its voltage angle. Add one, put one in service, or choose the island rule "
            "'generator'."
        )
    return model


def _fill_admittances(model: Model) -> None:
    end_f, end_t = model.branch_ends
    busbar = np.maximum(model.topology.busbar[0].astype(np.int64) - 1, 0)
    n_branch = model.grid.n_branch
    diagonal = np.zeros(model.n_node, np.complex128)
    off = np.zeros(model.n_entry, np.complex128)
    both = (end_f >= 0) & (end_t >= 0)
    np.add.at(diagonal, end_f[both], model.y[0, both])
    np.add.at(diagonal, end_t[both], model.y[3, both])
    a, b = busbar[:n_branch][both], busbar[n_branch : 2 * n_branch][both]
    np.add.at(off, model.entry[both, a, b, 0], model.y[1, both])
    np.add.at(off, model.entry[both, a, b, 1], model.y[2, both])
    for end, alone, other in ((end_f, 4, end_t), (end_t, 5, end_f)):
        only = (end >= 0) & (other < 0)
        np.add.at(diagonal, end[only], model.y[alone, only])
    unit_at = model.unit_at
    shunt = unit_shunts(model, model.injection.p, model.injection.q)[0]
    np.add.at(diagonal, unit_at[unit_at >= 0], shunt[unit_at >= 0])
    model.yg[:], model.yb[:] = off.real, off.imag
    model.dg[:], model.db[:] = diagonal.real, diagonal.imag


def unit_shunts(model: Model, p: Floats, q: Floats) -> Complexes:
    """[n_load, n_unit] admittance of the constant-impedance part of every unit, p.u."""
    grid = model.grid
    return -(grid.z_share_p * p - 1j * grid.z_share_q * q)


def _fill_kinds(model: Model) -> None:
    """References win over voltage control; among several units of a node the first one holds."""
    unit_at = model.unit_at
    for m in np.flatnonzero(model.controls & (unit_at >= 0))[::-1]:
        row = unit_at[m]
        reference = bool(model.grid.is_reference[m])
        if model.kind[row] != FIXED or reference:
            model.kind[row] = FIXED if reference else PV
            model.holder[row] = m


def load_rows(model: Model, injection: Injection) -> tuple[Floats, Floats]:
    """Constant-power and constant-current injection [n_load, n_node, 2] by row."""
    power = np.empty((injection.batch, model.n_node, 2))
    current = np.empty((injection.batch if model.has_current_part else 0, model.n_node, 2))
    node_injections(injection.p, injection.q, model.unit_at, model.power_parts, power, current)
    return power, current


def start_voltage(model: Model, injection: Injection) -> Complexes:
    """[n_load, n_node] DC angles and held magnitudes, by row: where Newton starts from scratch."""
    angle = dc_angles(model, injection)
    v = np.exp(1j * angle)
    held = model.holder >= 0
    v[:, held] *= injection.v_set[:, model.holder[held]]
    # an empty second busbar starts from the voltage of its sibling
    split = np.flatnonzero(model.second_node >= 0)
    first, second = model.pattern.row[split], model.pattern.row[model.second_node[split]]
    empty = ~model.alive[second]
    v[:, second[empty]] = v[:, first[empty]]
    return np.asarray(v, np.complex128)


def dc_angles(model: Model, injection: Injection) -> Floats:
    """[n_load, n_node] angles of the DC power flow of the base topology, by row, rad."""
    grid = model.grid
    end_f, end_t = model.branch_ends
    both = (end_f >= 0) & (end_t >= 0)
    power = np.zeros((injection.batch, model.n_node))
    at = model.unit_at
    np.add.at(power.T, at[at >= 0], injection.p.T[at >= 0])
    held = np.zeros(model.n_node)
    reference = model.alive & (model.kind == FIXED)
    held[reference] = grid.va_reference[model.holder[reference]]
    theta = angles(
        end_f[both], end_t[both], grid.b_dc[both], grid.shift_dc[both], power,
        reference | ~model.alive, np.broadcast_to(held, power.shape),
    )  # fmt: skip
    return np.where(np.isfinite(theta), theta, 0.0)
