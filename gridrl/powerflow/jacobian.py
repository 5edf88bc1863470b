"""The equations of several solved AC states, stacked as if they were one grid, with derivatives.

The equations are those of docs/engine.md in (angle, ln |V|). State ``s`` has the nodes from
``s * n_node`` on, and nothing joins two states: what is done for one grid is done for all of them
at the price of one call.
"""

from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from gridrl.grid import Bools, Complexes, Floats, Ints
from gridrl.powerflow.result import FlowResult

HELD = 1e-6  # p.u.: further from its set point a voltage is not held


class Equations:
    """Power balance of states of a result: ``S - s = 0`` at every node of every state."""

    def __init__(self, result: FlowResult, states: Ints) -> None:
        self.grid, self.states = result.grid, states
        self.n_node = int(result.v.shape[1])
        own = np.stack([result.terminal_node(state) for state in states.tolist()])
        first = self.n_node * np.arange(states.size)
        self.node: Ints = np.where(own >= 0, own + first[:, None], -1)  # [k, n_terminal]
        v = result.v[states].ravel()
        self.alive: Bools = np.isfinite(v)  # [n], and so is everything below
        self.n = v.size
        self.voltage: Complexes = np.where(self.alive, v, 1.0)
        self.size: Floats = np.abs(self.voltage)
        row = np.minimum(states, result.injection.batch - 1)
        injection = result.injection
        self.p, self.q, self.v_set = injection.p[row], injection.q[row], injection.v_set[row]

    def of_branches(self, values: Any) -> Any:
        """[k, n_branch] what is the same in every state."""
        return np.broadcast_to(values, (self.states.size, self.grid.n_branch))

    @cached_property
    def admittance(self) -> Any:
        """Sparse [n, n]; a branch with one open end is a shunt."""
        grid, n_branch = self.grid, self.grid.n_branch
        f, t = self.node[:, :n_branch], self.node[:, n_branch : 2 * n_branch]
        both = (f >= 0) & (t >= 0)
        y = [self.of_branches(y)[both] for y in (grid.y_ff, grid.y_ft, grid.y_tf, grid.y_tt)]
        values, row, column = list(y), [f[both], f[both], t[both], t[both]], []
        column = [f[both], t[both], f[both], t[both]]
        through = grid.y_ft * grid.y_tf
        for end, own, other, there in (
            (f, grid.y_ff, grid.y_tt, t), (t, grid.y_tt, grid.y_ff, f),
        ):  # fmt: skip
            only = (end >= 0) & (there < 0)
            beyond = np.divide(
                through, other, out=np.zeros(n_branch, np.complex128), where=other != 0
            )
            values.append(self.of_branches(own - beyond)[only])
            row.append(end[only])
            column.append(end[only])
        return sparse(
            np.concatenate(values), np.concatenate(row), np.concatenate(column), (self.n, self.n)
        )

    @cached_property
    def unit_node(self) -> Ints:
        """[k, n_unit] live node of each unit, -1 where it is out or dead."""
        at = self.node[:, 2 * self.grid.n_branch :]
        return np.where((at >= 0) & self.alive[at], at, -1)

    @cached_property
    def holds(self) -> Bools:
        """[k, n_unit] units that hold the magnitude of their node."""
        grid, at = self.grid, self.unit_node
        holds = (at >= 0) & (grid.controls_voltage | grid.is_reference)
        near = np.abs(np.nan_to_num(self.v_set) - self.size[at]) < HELD
        held = np.zeros(self.n, np.bool_)
        held[at[holds & (near | grid.is_reference)]] = True
        return np.asarray(holds & held[at])

    @cached_property
    def quiet(self) -> Bools:
        """[k, n_unit] units whose power the solution does not decide."""
        return (self.unit_node >= 0) & ~self.holds

    def at_voltage(self, power: int) -> tuple[Floats, Floats]:
        """[k, n_unit] share of P (0) or Q (1) that is left at the voltage, and its slope by ln|V|.

        What is not connected has values of no meaning.
        """
        grid, size = self.grid, self.size[self.unit_node]
        i, z = (grid.i_share_p, grid.z_share_p) if power == 0 else (grid.i_share_q, grid.z_share_q)
        return 1.0 - i - z + i * size + z * size**2, i * size + 2.0 * z * size**2

    @cached_property
    def _drawn(self) -> tuple[Complexes, Complexes]:
        """[n] power of units that hold nothing, with the active power of the others; its slope."""
        (share_p, slope_p), (share_q, slope_q) = self.at_voltage(0), self.at_voltage(1)
        at, quiet = self.unit_node, self.quiet
        now, slope = np.zeros((2, self.n), np.complex128)
        np.add.at(now, at[quiet], (self.p * share_p + 1j * self.q * share_q)[quiet])
        np.add.at(slope, at[quiet], (self.p * slope_p + 1j * self.q * slope_q)[quiet])
        holders = self.holds & ~self.grid.is_reference
        np.add.at(now, at[holders], self.p[holders])
        return now, slope

    @cached_property
    def power(self) -> Complexes:
        """[n] S - s: what holding units feed in, 0 elsewhere."""
        drawn = self.voltage * np.conj(self.admittance @ self.voltage)
        return np.asarray(drawn - self._drawn[0])

    @cached_property
    def slopes(self) -> tuple[Ints, Ints, Complexes, Complexes]:
        """Complex derivatives of S - s: rows, columns, by angle and by ln |V|.

        Entries of one place are to be added.
        """
        v, y = self.voltage, self.admittance
        row = np.repeat(np.arange(self.n), np.diff(y.indptr))
        column = y.indices.astype(np.int64)
        flows, own = v[row] * np.conj(y.data * v[column]), v * np.conj(y @ v)
        every = np.arange(self.n)
        return (
            np.concatenate([row, every]), np.concatenate([column, every]),
            np.concatenate([-1j * flows, 1j * own]),
            np.concatenate([flows, own - self._drawn[1]]),
        )  # fmt: skip

    @cached_property
    def jacobian(self) -> tuple[Ints, Ints, Floats]:
        """Derivatives of (P, Q) by (angle, ln |V|): rows 0..2n, columns 0..2n, values."""
        row, column, by_angle, by_size = self.slopes
        n = self.n
        return (
            np.concatenate([row, row, n + row, n + row]),
            np.concatenate([column, n + column, column, n + column]),
            np.concatenate([by_angle.real, by_size.real, by_angle.imag, by_size.imag]),
        )

    @cached_property
    def free(self) -> Ints:
        """Unknowns that the equations decide: angles, then n + nodes whose |V| is not held."""
        holding, angle_held = np.zeros((2, self.n), np.bool_)
        holding[self.unit_node[self.holds]] = True
        angle_held[self.unit_node[(self.unit_node >= 0) & self.grid.is_reference]] = True
        # where a generator took over an island, its angle is held; the first that holds |V|
        _, island = connected_components(abs(self.admittance), directed=False)
        candidates = np.flatnonzero(self.alive & holding)
        candidates = candidates[~np.isin(island[candidates], island[angle_held])]
        _, first = np.unique(island[candidates], return_index=True)
        angle_held[candidates[first]] = True
        angles, sizes = self.alive & ~angle_held, self.alive & ~holding
        return np.concatenate([np.flatnonzero(angles), self.n + np.flatnonzero(sizes)])


def sparse(value: Any, row: Ints, column: Ints, shape: tuple[int, int]) -> Any:
    """A sparse array from its entries; those of one place are added."""
    return scipy.sparse.csr_array((value, (row, column)), shape=shape)
