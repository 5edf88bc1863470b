"""How one solved AC state answers to set points, taps, shunt steps and injections, to first order.

The equations are those of docs/engine.md in (angle, ln |V|). What is asked about (a voltage, a
loading, the reactive power of a machine) is a gradient; one solve with the transposed Jacobian for
each gives its derivative by every control at once.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from gridrl.grid import Bools, Complexes, Floats, Grid, Ints
from gridrl.powerflow.result import FlowResult

HELD = 1e-6  # p.u.: further from its set point a voltage is not held


@dataclass(frozen=True, eq=False, kw_only=True)
class Controls:
    """What may be changed: held voltages, then taps, then shunts, then active powers.

    A row of derivatives is per p.u. of voltage, per tap position, per shunt step and per p.u. of
    power, in this order.
    """

    held: tuple[Ints, ...]  # units that hold one node together
    tap: Ints  # tap changers of `Grid.steps`
    shunt: Ints  # shunts of `Grid.steps`
    unit: Ints  # units whose active power may change
    unit_q: Floats  # [unit.size] p.u. of reactive power that goes with each p.u. of active power

    @property
    def size(self) -> int:
        return len(self.held) + self.tap.size + self.shunt.size + self.unit.size

    @property
    def cuts(self) -> tuple[int, int, int]:
        """Where taps, shunts and powers begin."""
        first = len(self.held)
        return first, first + self.tap.size, first + self.tap.size + self.shunt.size


@dataclass(frozen=True, eq=False, kw_only=True)
class Watched:
    """Quantities of a state with their first derivatives."""

    value: Floats  # [m]
    gradient: Any  # sparse [m, 2 n_node] by angle, then by ln |V|
    direct: Any  # sparse [m, n_control] at fixed voltages


class Linear:
    """One solved state of a result, linearised by ``controls``."""

    def __init__(self, result: FlowResult, state: int, controls: Controls) -> None:
        self._result, self._state, self._controls = result, state, controls
        self._node = result.terminal_node(state)
        self._v = result.v[state]
        self.alive: Bools = np.isfinite(self._v)
        self._n = self._v.size
        self._voltage = np.where(self.alive, self._v, 1.0)
        self._size = np.abs(self._voltage)

    # --- what may be asked ----------------------------------------------------------------------
    def voltages(self, node: Ints) -> Watched:
        """Voltage magnitudes of nodes, p.u."""
        gradient = _sparse(
            self._size[node], np.arange(node.size), self._n + node, (node.size, 2 * self._n)
        )
        return Watched(
            value=self._size[node], gradient=gradient,
            direct=scipy.sparse.csr_array((node.size, self._controls.size)),
        )  # fmt: skip

    def reactive(self, node: Ints) -> Watched:
        """Reactive power that the machines holding these nodes feed in, p.u."""
        by_angle, by_size = self._mismatch
        power = self._voltage * np.conj(self._admittance @ self._voltage) - self._units
        return Watched(
            value=power.imag[node],
            gradient=scipy.sparse.hstack([by_angle.imag[node], by_size.imag[node]]).tocsr(),
            direct=self._by_control.imag[node],
        )

    def loadings(self, branch: Ints) -> Watched:
        """Loading of branches, 1 is the rating: the largest of its ends."""
        grid = self._result.grid
        f, t = self._node[branch], self._node[grid.n_branch + branch]
        v_f = np.where(f >= 0, self._voltage[f], 0.0)
        v_t = np.where(t >= 0, self._voltage[t], 0.0)
        y = [getattr(grid, name)[branch] for name in ("y_ff", "y_ft", "y_tf", "y_tt")]
        # an open end has the voltage at which it carries no current
        v_f = np.where((f < 0) & (t >= 0), -y[1] / _nonzero(y[0]) * v_t, v_f)
        v_t = np.where((t < 0) & (f >= 0), -y[2] / _nonzero(y[3]) * v_f, v_t)
        parts = [(y[0] * v_f, y[1] * v_t), (y[3] * v_t, y[2] * v_f)]  # own, other
        current = [own + other for own, other in parts]
        rated = np.stack(
            [np.abs(current[0]) / grid.i_max_from[branch],
             np.abs(current[1]) / grid.i_max_to[branch],
             np.abs(v_f * current[0]) / grid.s_max[branch],
             np.abs(v_t * current[1]) / grid.s_max[branch]]
        )  # fmt: skip
        which = rated.argmax(axis=0)
        value = rated[which, np.arange(branch.size)]
        at_to = which % 2 == 1
        own, other = (np.where(at_to, parts[1][k], parts[0][k]) for k in (0, 1))
        whole = own + other
        scale = value * np.conj(whole) / np.maximum(np.abs(whole) ** 2, 1e-30)
        here, there = np.where(at_to, t, f), np.where(at_to, f, t)
        apparent = np.where(which >= 2, value, 0.0)
        live = (here >= 0) & (there >= 0)
        rows, alone = np.flatnonzero(live), np.flatnonzero((here >= 0) & (there < 0))
        terms = (
            (here, (1j * own * scale).real), (there, (1j * other * scale).real),
            (self._n + here, (own * scale).real + apparent),
            (self._n + there, (other * scale).real),
        )  # fmt: skip
        gradient = _sparse(
            np.concatenate([*(values[rows] for _, values in terms), (value + apparent)[alone]]),
            np.concatenate([np.tile(rows, 4), alone]),
            np.concatenate([*(at[rows] for at, _ in terms), self._n + here[alone]]),
            (branch.size, 2 * self._n),
        )  # fmt: skip
        return Watched(
            value=value, gradient=gradient,
            direct=self._tap_loadings(branch, at_to, own, other, scale, live),
        )  # fmt: skip

    def rows(self, watched: Watched) -> Floats:
        """[m, n_control] derivative of each quantity by each control.

        NaN-free: what a dead node or a lost element cannot change is 0.
        """
        free, factors, right, moved = self._factors
        gradient = watched.gradient[:, free].toarray().T
        adjoint = factors.solve(np.ascontiguousarray(gradient), trans="T")
        indirect = -(right.T @ adjoint).T
        return np.asarray(indirect + (watched.gradient @ moved + watched.direct).toarray())

    # --- the equations --------------------------------------------------------------------------
    @cached_property
    def _admittance(self) -> Any:
        grid, n = self._result.grid, self._n
        f, t = self._node[: grid.n_branch], self._node[grid.n_branch : 2 * grid.n_branch]
        both = np.flatnonzero((f >= 0) & (t >= 0))
        values = [grid.y_ff[both], grid.y_ft[both], grid.y_tf[both], grid.y_tt[both]]
        row = [f[both], f[both], t[both], t[both]]
        column = [f[both], t[both], f[both], t[both]]
        through = grid.y_ft * grid.y_tf
        for end, own, other, there in (
            (f, grid.y_ff, grid.y_tt, t), (t, grid.y_tt, grid.y_ff, f),
        ):  # fmt: skip
            only = np.flatnonzero((end >= 0) & (there < 0))
            beyond = np.divide(
                through[only], other[only], out=np.zeros(only.size, np.complex128),
                where=other[only] != 0,
            )  # fmt: skip
            values.append(own[only] - beyond)
            row.append(end[only])
            column.append(end[only])
        return _sparse(np.concatenate(values), np.concatenate(row), np.concatenate(column), (n, n))

    @cached_property
    def _unit_node(self) -> Ints:
        """[n_unit] live node of each unit, -1 where it is out or dead."""
        at = self._node[2 * self._result.grid.n_branch :]
        return np.where((at >= 0) & self.alive[at], at, -1)

    @cached_property
    def _holds(self) -> Bools:
        """[n_unit] units that hold the magnitude of their node."""
        grid = self._result.grid
        v_set = self._result.injection.v_set[min(self._state, self._result.injection.batch - 1)]
        at = self._unit_node
        holds = (at >= 0) & (grid.controls_voltage | grid.is_reference)
        near = np.abs(np.nan_to_num(v_set) - self._size[at]) < HELD
        held = np.zeros(self._n, np.bool_)
        held[at[holds & (near | grid.is_reference)]] = True
        return np.asarray(holds & held[at])

    def _shares(self, unit: Ints) -> tuple[Complexes, Complexes]:
        """Power of units at their voltage, and its derivative by ln |V|, p.u."""
        grid, injection = self._result.grid, self._result.injection
        k = min(self._state, injection.batch - 1)
        size = self._size[self._unit_node[unit]]
        parts = []
        for power, i, z in (
            (injection.p[k, unit], grid.i_share_p[unit], grid.z_share_p[unit]),
            (injection.q[k, unit], grid.i_share_q[unit], grid.z_share_q[unit]),
        ):
            now = power * (1.0 - i - z + i * size + z * size**2)
            parts.append((now, power * (i * size + 2.0 * z * size**2)))
        return parts[0][0] + 1j * parts[1][0], parts[0][1] + 1j * parts[1][1]

    @cached_property
    def _quiet(self) -> Ints:
        """Units whose power the solution does not decide."""
        return np.flatnonzero((self._unit_node >= 0) & ~self._holds)

    @cached_property
    def _units(self) -> Complexes:
        """[n_node] power of units that hold nothing; of the others their active power only."""
        grid, injection = self._result.grid, self._result.injection
        out = np.zeros(self._n, np.complex128)
        np.add.at(out, self._unit_node[self._quiet], self._shares(self._quiet)[0])
        k = min(self._state, injection.batch - 1)
        holders = np.flatnonzero(self._holds & ~grid.is_reference)
        np.add.at(out, self._unit_node[holders], injection.p[k, holders])
        return out

    @cached_property
    def _mismatch(self) -> tuple[Any, Any]:
        """Complex derivatives of S - s by angle and by ln |V|, sparse [n_node, n_node]."""
        v, y = self._voltage, self._admittance
        current = y @ v
        turned = scipy.sparse.diags_array(v)
        flows = turned @ (y @ turned).conj()
        own = scipy.sparse.diags_array(v * np.conj(current))
        slope = np.zeros(self._n, np.complex128)
        np.add.at(slope, self._unit_node[self._quiet], self._shares(self._quiet)[1])
        by_angle = 1j * (own - flows)
        by_size = own + flows - scipy.sparse.diags_array(slope)
        return by_angle.tocsr(), by_size.tocsr()

    @cached_property
    def _by_control(self) -> Any:
        """Complex derivative of S - s by each control at fixed voltages, sparse."""
        grid, controls = self._result.grid, self._controls
        steps, n_branch = grid.steps, grid.n_branch
        first, second, third = controls.cuts
        row, column, value = [], [], []
        for c, k in enumerate(controls.tap.tolist(), first):
            branch = int(steps.tap_branch[k])
            ends = self._node[branch], self._node[n_branch + branch]
            if min(ends) < 0 or not self.alive[list(ends)].all():
                continue
            current = self._tap_currents(k)
            for node, moved in zip(ends, current, strict=True):
                row.append(node)
                column.append(c)
                value.append(self._voltage[node] * np.conj(moved))
        for c, k in enumerate(controls.shunt.tolist(), second):
            node = int(self._unit_node[steps.shunt_unit[k]])
            if node >= 0:
                row.append(node)
                column.append(c)
                value.append(-complex(steps.shunt_p[k], steps.shunt_q[k]) * self._size[node] ** 2)
        for c, (m, q) in enumerate(
            zip(controls.unit.tolist(), controls.unit_q.tolist(), strict=True), third
        ):
            node = int(self._unit_node[m])
            if node >= 0:
                row.append(node)
                column.append(c)
                at_voltage = _zip(grid, m, float(self._size[node]))
                value.append(-complex(at_voltage[0], 0.0 if self._holds[m] else q * at_voltage[1]))
        return _sparse(
            np.array(value, np.complex128), np.array(row, np.int64), np.array(column, np.int64),
            (self._n, controls.size),
        )  # fmt: skip

    def _tap_currents(self, k: int) -> tuple[complex, complex]:
        """Change of the currents at both ends per position of a tap changer, voltages fixed."""
        grid = self._result.grid
        steps = grid.steps
        b = int(steps.tap_branch[k])
        v_f = self._voltage[self._node[b]]
        v_t = self._voltage[self._node[grid.n_branch + b]]
        each = float(steps.tap_size[k] / steps.tap_ratio[k])
        own_f, own_t = (0.0, 2.0) if steps.tap_at_to[k] else (2.0, 0.0)
        return (
            complex(-each * (own_f * grid.y_ff[b] * v_f + grid.y_ft[b] * v_t)),
            complex(-each * (own_t * grid.y_tt[b] * v_t + grid.y_tf[b] * v_f)),
        )

    def _tap_loadings(
        self, branch: Ints, at_to: Bools, own: Complexes, other: Complexes, scale: Complexes,
        live: Bools,
    ) -> Any:  # fmt: skip
        """Direct change of loadings by the taps of the very branches."""
        steps, first = self._result.grid.steps, self._controls.cuts[0]
        place = {int(b): k for k, b in enumerate(branch) if live[k]}
        row, column, value = [], [], []
        for c, k in enumerate(self._controls.tap.tolist(), first):
            at = place.get(int(steps.tap_branch[k]), -1)
            if at < 0:
                continue
            same = bool(steps.tap_at_to[k]) == bool(at_to[at])
            each = float(steps.tap_size[k] / steps.tap_ratio[k])
            moved = -each * ((2.0 if same else 0.0) * own[at] + other[at])
            row.append(at)
            column.append(c)
            value.append(float((moved * scale[at]).real))
        return _sparse(
            np.array(value), np.array(row, np.int64), np.array(column, np.int64),
            (branch.size, self._controls.size),
        )  # fmt: skip

    @cached_property
    def _factors(self) -> tuple[Ints, Any, Any, Any]:
        """Free unknowns, factors of their Jacobian, its right sides, and unknowns moved as such."""
        n, grid = self._n, self._result.grid
        holding = np.zeros(n, np.bool_)
        holding[self._unit_node[self._holds]] = True
        angle_held = np.zeros(n, np.bool_)
        angle_held[self._unit_node[(self._unit_node >= 0) & grid.is_reference]] = True
        self._one_angle_per_island(holding, angle_held)
        free = np.concatenate(
            [np.flatnonzero(self.alive & ~angle_held), n + np.flatnonzero(self.alive & ~holding)]
        )
        by_angle, by_size = self._mismatch
        whole = scipy.sparse.vstack(
            [scipy.sparse.hstack([by_angle.real, by_size.real]),
             scipy.sparse.hstack([by_angle.imag, by_size.imag])]
        ).tocsr()  # fmt: skip
        moved = self._moved()
        change = scipy.sparse.vstack([self._by_control.real, self._by_control.imag]).tocsr()
        right = (whole[free] @ moved + change[free]).tocsr()
        return free, splu(whole[free][:, free].tocsc()), right, moved

    def _one_angle_per_island(self, holding: Bools, angle_held: Bools) -> None:
        """Where a generator took over an island, its angle is held; the first that holds |V|."""
        count, island = connected_components(abs(self._admittance), directed=False)
        anchored = np.zeros(count, np.bool_)
        anchored[island[angle_held]] = True
        for node in np.flatnonzero(self.alive & holding):
            if not anchored[island[node]]:
                angle_held[node] = anchored[island[node]] = True

    def _moved(self) -> Any:
        """Change of ln |V| of held nodes by their set points, sparse [2 n_node, n_control]."""
        row, column = [], []
        for c, units in enumerate(self._controls.held):
            on = units[self._holds[units]]
            for node in np.unique(self._unit_node[on]).tolist():
                row.append(node)
                column.append(c)
        at = np.array(row, np.int64)
        return _sparse(
            1.0 / self._size[at], self._n + at, np.array(column, np.int64),
            (2 * self._n, self._controls.size),
        )  # fmt: skip

    def holding_nodes(self) -> Ints:
        """Nodes whose magnitude is held."""
        return np.unique(self._unit_node[self._holds])

    def reactive_range(self, node: Ints) -> tuple[Floats, Floats]:
        """Least and largest reactive power of all machines that hold each node, p.u."""
        grid, ends = self._result.grid, []
        for limit in (grid.q_min, grid.q_max):
            total = np.zeros(self._n)
            np.add.at(total, self._unit_node[self._holds], limit[self._holds])
            ends.append(total[node])
        return ends[0], ends[1]


def _zip(grid: Grid, m: int, size: float) -> tuple[float, float]:
    """What of a unit's P and Q at nominal voltage it has at another."""
    p, q = (
        float(1.0 - i - z + i * size + z * size**2)
        for i, z in (
            (grid.i_share_p[m], grid.z_share_p[m]), (grid.i_share_q[m], grid.z_share_q[m]),
        )
    )  # fmt: skip
    return p, q


def _nonzero(y: Complexes) -> Complexes:
    return np.where(y == 0.0, 1e30, y)


def _sparse(value: Any, row: Ints, column: Ints, shape: tuple[int, int]) -> Any:
    return scipy.sparse.csr_array((value, (row, column)), shape=shape)
