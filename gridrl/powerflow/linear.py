"""How solved AC states answer to set points, taps, shunt steps and injections, to first order.

What is asked about (a voltage, a loading, the reactive power of a machine) is a gradient; one
solve with the transposed Jacobian for each gives its derivative by every control at once. Several
states are linearised together: their Jacobians are the blocks of one matrix, and a right side
holds one gradient of each.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import splu

from gridrl.grid import Bools, Complexes, Floats, Ints
from gridrl.powerflow.jacobian import HELD, Equations, sparse
from gridrl.powerflow.result import FlowResult


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
    """Quantities of some states with their first derivatives."""

    state: Ints  # [m] place of the state in those that were linearised
    value: Floats  # [m]
    gradient: Any  # sparse [m, 2 n] by angle, then by ln |V|
    direct: Any  # sparse [m, n_control] at fixed voltages


class Linear:
    """Solved states of a result, linearised by ``controls``.

    Nodes are numbered through: node ``k`` of the state in place ``s`` is ``s * n_node + k``.
    """

    def __init__(self, result: FlowResult, states: Ints, controls: Controls) -> None:
        self._is = Equations(result, states)
        self._controls = controls
        self.alive: Bools = self._is.alive
        self.n_node = self._is.n_node

    # --- what may be asked ----------------------------------------------------------------------
    def voltages(self, node: Ints) -> Watched:
        """Voltage magnitudes of nodes, p.u."""
        size, n = self._is.size[node], self._is.n
        return Watched(
            state=node // self.n_node, value=size,
            gradient=sparse(size, np.arange(node.size), n + node, (node.size, 2 * n)),
            direct=scipy.sparse.csr_array((node.size, self._controls.size)),
        )  # fmt: skip

    def reactive(self, node: Ints) -> Watched:
        """Reactive power that the machines holding these nodes feed in, p.u."""
        n = self._is.n
        place = np.full(2 * n, -1)
        place[n + node] = np.arange(node.size)
        row, column, value = self._is.jacobian
        asked = place[row] >= 0
        return Watched(
            state=node // self.n_node, value=self._is.power.imag[node],
            gradient=sparse(value[asked], place[row[asked]], column[asked], (node.size, 2 * n)),
            direct=self._by_control[node].imag,
        )  # fmt: skip

    def loadings(self, state: Ints, branch: Ints) -> Watched:
        """[m] loading of branches in the states of these places, 1 is the rating.

        The largest of both ends.
        """
        grid, voltage, n = self._is.grid, self._is.voltage, self._is.n
        f, t = self._is.node[state, branch], self._is.node[state, grid.n_branch + branch]
        v_f, v_t = np.where(f >= 0, voltage[f], 0.0), np.where(t >= 0, voltage[t], 0.0)
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
            (n + here, (own * scale).real + apparent), (n + there, (other * scale).real),
        )  # fmt: skip
        gradient = sparse(
            np.concatenate([*(values[rows] for _, values in terms), (value + apparent)[alone]]),
            np.concatenate([np.tile(rows, 4), alone]),
            np.concatenate([*(at[rows] for at, _ in terms), n + here[alone]]),
            (branch.size, 2 * n),
        )  # fmt: skip
        direct = self._tap_loadings(branch, at_to, (own * scale).real, (other * scale).real, live)
        return Watched(state=state, value=value, gradient=gradient, direct=direct)

    def rows(self, watched: Watched) -> Floats:
        """[m, n_control] derivative of each quantity by each control.

        NaN-free: what a dead node or a lost element cannot change is 0.
        """
        factors, spread, moved = self._factors
        column = _place_among_equals(watched.state)
        gradient = watched.gradient[:, self._is.free].tocoo()
        right = np.zeros((self._is.free.size, int(column.max(initial=-1)) + 1), order="F")
        right[gradient.col, column[gradient.row]] = gradient.data
        adjoint = factors.solve(right, trans="T") if right.size else right
        size = self._controls.size
        indirect = (spread @ adjoint).reshape(self._is.states.size, size, right.shape[1])
        direct = (watched.gradient @ moved + watched.direct).toarray()
        return np.asarray(direct - indirect[watched.state, :, column])

    def holding_nodes(self, state: int) -> Ints:
        """Nodes of the state in this place whose magnitude is held."""
        return np.unique(self._is.unit_node[state][self._is.holds[state]])

    def reactive_range(self, node: Ints) -> tuple[Floats, Floats]:
        """Least and largest reactive power of all machines that hold each node, p.u."""
        grid, holds = self._is.grid, self._is.holds
        ends = []
        for limit in (grid.q_min, grid.q_max):
            total = np.zeros(self._is.n)
            np.add.at(total, self._is.unit_node[holds], np.broadcast_to(limit, holds.shape)[holds])
            ends.append(total[node])
        return ends[0], ends[1]

    # --- what controls change -------------------------------------------------------------------
    @cached_property
    def _factors(self) -> tuple[Any, Any, Any]:
        """Factors of the Jacobian, its right sides by state, and unknowns moved as such."""
        at, free = self._is, self._is.free
        place = np.full(2 * at.n, -1)
        place[free] = np.arange(free.size)
        row, column, value = at.jacobian
        inner = (place[row] >= 0) & (place[column] >= 0)
        outer = (place[row] >= 0) & (place[column] < 0)
        shape = (free.size, 2 * at.n)
        moved = self._moved()
        change = scipy.sparse.vstack([self._by_control.real, self._by_control.imag]).tocsr()
        beside = sparse(value[outer], place[row[outer]], column[outer], shape)
        right = (beside @ moved + change[free]).tocoo()
        state = free % at.n // self.n_node
        spread = sparse(
            right.data, state[right.row] * self._controls.size + right.col, right.row,
            (at.states.size * self._controls.size, free.size),
        )  # fmt: skip
        within = place[row[inner]], place[column[inner]]
        matrix = scipy.sparse.csc_array((value[inner], within), shape=(free.size, free.size))
        return splu(matrix), spread, moved

    def _moved(self) -> Any:
        """Change of ln |V| of held nodes by their set points, sparse [2 n, n_control]."""
        units = self._controls.held
        control = np.repeat(np.arange(len(units)), [part.size for part in units])
        unit = np.concatenate([np.zeros(0, np.int64), *units])
        on = self._is.holds[:, unit]
        node, column = self._is.unit_node[:, unit][on], np.broadcast_to(control, on.shape)[on]
        pairs = np.unique(np.stack([node, column]), axis=1)
        return sparse(
            1.0 / self._is.size[pairs[0]], self._is.n + pairs[0], pairs[1],
            (2 * self._is.n, self._controls.size),
        )  # fmt: skip

    @cached_property
    def _by_control(self) -> Any:
        """Complex derivative of S - s by each control at fixed voltages, sparse [n, n_control]."""
        at, grid, steps, controls = self._is, self._is.grid, self._is.grid.steps, self._controls
        first, second, third = controls.cuts
        branch = steps.tap_branch[controls.tap]
        ends = at.node[:, branch], at.node[:, grid.n_branch + branch]
        live = (ends[0] >= 0) & (ends[1] >= 0) & at.alive[ends[0]] & at.alive[ends[1]]
        parts = [
            (node[live], (first + np.arange(branch.size) + 0 * node)[live],
             (at.voltage[node] * np.conj(current))[live])
            for node, current in zip(ends, self._tap_currents(*ends), strict=True)
        ]  # fmt: skip
        node = at.unit_node[:, steps.shunt_unit[controls.shunt]]
        each = -(steps.shunt_p + 1j * steps.shunt_q)[controls.shunt] * at.size[node] ** 2
        parts.append(_live(node, np.arange(second, third), each))
        unit = controls.unit
        p, q = (at.at_voltage(power)[0][:, unit] for power in (0, 1))
        q = np.where(at.holds[:, unit], 0.0, q * controls.unit_q)
        parts.append(_live(at.unit_node[:, unit], np.arange(third, controls.size), -(p + 1j * q)))
        row, column, value = (np.concatenate([part[k] for part in parts]) for k in range(3))
        return sparse(value.astype(np.complex128), row, column, (at.n, controls.size))

    def _tap_currents(self, f: Ints, t: Ints) -> tuple[Complexes, Complexes]:
        """[k, n_tap] change of the currents at both ends per position, at fixed voltages."""
        grid, steps, tap = self._is.grid, self._is.grid.steps, self._controls.tap
        b = steps.tap_branch[tap]
        v_f, v_t = self._is.voltage[f], self._is.voltage[t]
        each = (steps.tap_size / steps.tap_ratio)[tap]
        own_t = np.where(steps.tap_at_to[tap], 2.0, 0.0)
        return (
            -each * ((2.0 - own_t) * grid.y_ff[b] * v_f + grid.y_ft[b] * v_t),
            -each * (own_t * grid.y_tt[b] * v_t + grid.y_tf[b] * v_f),
        )

    def _tap_loadings(
        self, branch: Ints, at_to: Bools, own: Floats, other: Floats, live: Bools
    ) -> Any:
        """Direct change of loadings by the taps of the very branches."""
        steps, first, tap = self._is.grid.steps, self._controls.cuts[0], self._controls.tap
        at, c = np.nonzero((branch[:, None] == steps.tap_branch[tap]) & live[:, None])
        k = tap[c]
        same = steps.tap_at_to[k] == at_to[at]
        value = -(steps.tap_size / steps.tap_ratio)[k] * (np.where(same, 2.0 * own[at], 0.0))
        value -= (steps.tap_size / steps.tap_ratio)[k] * other[at]
        return sparse(value, at, first + c, (branch.size, self._controls.size))


def _live(node: Ints, column: Ints, value: Any) -> tuple[Ints, Ints, Any]:
    """Entries of what is connected to a live node."""
    live = node >= 0
    return node[live], np.broadcast_to(column, node.shape)[live], value[live]


def _place_among_equals(state: Ints) -> Ints:
    """[m] how many rows before have the same state."""
    order = np.argsort(state, kind="stable")
    grouped = state[order]
    begin = np.searchsorted(grouped, grouped)
    out = np.zeros(state.size, np.int64)
    out[order] = np.arange(state.size) - begin
    return out


def _nonzero(y: Complexes) -> Complexes:
    return np.where(y == 0.0, 1e30, y)


__all__ = ["HELD", "Controls", "Linear", "Watched"]
