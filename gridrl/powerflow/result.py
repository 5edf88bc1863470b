"""What a power flow found, in per unit; `gridrl.powerflow.tables` makes MW and kV of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Bools, Complexes, Floats, Grid, Injection, Ints, Topology
from gridrl.powerflow.options import has_voltages


@dataclass(frozen=True, eq=False, kw_only=True)
class FlowResult:
    """Voltages and flows of a batch of states of one grid.

    Node ``s`` is busbar 1 of substation ``s``; busbar 2 of the substations that some state splits
    follow after those. A dead node has voltage NaN; so has every node of a diverged state.
    """

    grid: Grid
    topology: Topology  # batch of 1 (shared) or B
    injection: Injection  # batch of 1 (shared) or B
    second_node: Ints  # [n_substation] node of busbar 2, -1 where there is none
    v: Complexes  # [B, n_node] p.u.
    s_from: Complexes  # [B, n_branch] p.u., positive into the branch
    s_to: Complexes  # [B, n_branch] p.u., positive into the branch
    status: NDArray[np.int8]  # [B] FlowStatus
    iterations: NDArray[np.int32]  # [B] Newton iterations of the last attempt, -1 where diverged
    mismatch: Floats  # [B] p.u., largest power mismatch
    lost_demand: Floats  # [B] p.u., demand that is disconnected or without supply

    @property
    def batch(self) -> int:
        return int(self.status.size)

    def solved(self) -> Bools:
        """[B] whether the state has voltages (status OK or ISLANDED)."""
        return has_voltages(self.status)

    def terminal_node(self, state: int = 0) -> Ints:
        """[n_terminal] node of every terminal in one state, -1 where disconnected or open."""
        k = min(state, self.topology.batch - 1)
        return np.asarray(self._nodes(slice(k, k + 1))[0])

    def _nodes(self, states: slice) -> Ints:
        """[k, n_terminal] node of every terminal in some states of the topology."""
        busbar, closed = self.topology.busbar[states], self.topology.closed[states]
        substation = self.grid.terminal_substation
        node = np.where(busbar == 2, self.second_node[substation], substation)
        usable = np.ones(busbar.shape, np.bool_)
        n_branch = self.grid.n_branch
        usable[:, :n_branch] = usable[:, n_branch : 2 * n_branch] = closed
        return np.where((busbar > 0) & usable, node, -1)

    def current(self, state: int = 0) -> tuple[Floats, Floats]:
        """[n_branch] magnitude of the current at both ends of every branch, p.u."""
        i_from, i_to = self._currents(slice(state, state + 1))
        return i_from[0], i_to[0]

    def _currents(self, states: slice) -> tuple[Floats, Floats]:
        """[k, n_branch] magnitude of the current at both ends of every branch, p.u."""
        shared = self.topology.batch == 1
        node = self._nodes(slice(0, 1) if shared else states)
        magnitude = np.abs(self.v[states])
        n_branch = self.grid.n_branch
        ends = []
        for power, at in (
            (self.s_from[states], node[:, :n_branch]),
            (self.s_to[states], node[:, n_branch : 2 * n_branch]),
        ):
            place = np.maximum(at, 0)
            v = magnitude[:, place[0]] if shared else np.take_along_axis(magnitude, place, axis=1)
            live = (at >= 0) & np.isfinite(v) & (v > 0)
            ends.append(np.divide(np.abs(power), v, out=np.zeros(power.shape), where=live))
        return ends[0], ends[1]

    def loading(self, state: int = 0) -> Floats:
        """[n_branch] largest of current and apparent power at either end over its rating.

        1.0 is the rating; NaN where the branch has no rating at all or the state has no solution.
        """
        return np.asarray(self._loadings(slice(state, state + 1))[0])

    def loadings(self) -> Floats:
        """[B, n_branch] `loading` of every state."""
        return self._loadings(slice(None))

    def _loadings(self, states: slice) -> Floats:
        grid = self.grid
        i_from, i_to = self._currents(states)
        s = np.maximum(np.abs(self.s_from[states]), np.abs(self.s_to[states]))
        parts = np.maximum(
            np.maximum(i_from / grid.i_max_from, i_to / grid.i_max_to), s / grid.s_max
        )
        rated = np.isfinite(grid.i_max_from) | np.isfinite(grid.i_max_to) | np.isfinite(grid.s_max)
        solved = has_voltages(self.status[states])
        return np.where(rated & solved[:, None], parts, np.nan)

    def unit_power(self, state: int = 0) -> Complexes:
        """[n_unit] power of every unit in one state, p.u., positive into the busbar.

        What balances a node goes to the units that hold it: active power to reference units in
        proportion to their slack weight, reactive power in proportion to their reactive range
        (equally where no range is known). Dead and disconnected units have 0.
        """
        grid = self.grid
        node = self.terminal_node(state)
        at = node[2 * grid.n_branch :]
        k = min(state, self.injection.batch - 1)
        magnitude = np.where(at >= 0, np.abs(self.v[state][np.maximum(at, 0)]), np.nan)
        live = np.isfinite(magnitude)
        m = np.where(live, magnitude, 0.0)
        p = self.injection.p[k] * _zip(grid.i_share_p, grid.z_share_p, m)
        q = self.injection.q[k] * _zip(grid.i_share_q, grid.z_share_q, m)
        p, q = np.where(live, p, 0.0), np.where(live, q, 0.0)
        drawn = np.zeros(self.v.shape[1], np.complex128)
        for power, ends in (
            (self.s_from[state], node[: grid.n_branch]),
            (self.s_to[state], node[grid.n_branch : 2 * grid.n_branch]),
        ):
            np.add.at(drawn, ends[ends >= 0], power[ends >= 0])
        holds = live & (grid.controls_voltage | grid.is_reference)
        reach = np.where(np.isfinite(grid.q_max - grid.q_min), grid.q_max - grid.q_min, 0.0)
        _balance(p, drawn.real, at, live, live & grid.is_reference, grid.slack_weight)
        _balance(q, drawn.imag, at, live, holds, reach)
        return np.asarray(p + 1j * q)


def _zip(i_share: Floats, z_share: Floats, v: Floats) -> Floats:
    return np.asarray(1.0 - i_share - z_share + i_share * v + z_share * v * v)


def _balance(
    power: Floats, drawn: Floats, at: Ints, live: Bools, holds: Bools, weight: Floats
) -> None:
    """Give the holding units of each node what its branches draw and the others do not bring."""
    n = drawn.size
    others = np.bincount(at[live & ~holds], power[live & ~holds], n)
    owed = drawn - others
    node = at[holds]
    share = np.maximum(weight[holds], 0.0)
    total = np.bincount(node, share, n)
    even = total[node] <= 0
    share = np.where(even, 1.0, share)
    total = np.bincount(node, share, n)
    power[holds] = owed[node] * share / total[node]
