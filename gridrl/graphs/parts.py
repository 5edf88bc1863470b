"""Features of lines, busbars and units, shared by the representations."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gridrl.actions import IMMOVABLE
from gridrl.arrays import Bools, Floats, Ints
from gridrl.graphs.batch import Features, Static, columns, share
from gridrl.grid import Grid
from gridrl.observation import Observation

LINE = (
    "rho", "rho_trend", "p_from", "q_from", "p_to", "q_to", "v_from", "v_to", "angle", "status",
    "overflow", "cooldown", "maintenance_near", "maintenance_left", "r", "x", "b", "inverse_rating",
    "log_ratio", "shift",
)  # fmt: skip
GEN = (
    "p", "q", "v", "on", "p_expected", "p_min", "p_max", "ramp_up", "ramp_down", "redispatchable",
    "renewable", "slack", "holds_voltage", "target_dispatch", "actual_dispatch", "curtailment",
)  # fmt: skip
LOAD = ("p", "q", "v", "on", "p_expected", "q_expected", "impedance_share", "movable")
STORAGE = ("p", "q", "v", "on", "charge", "energy", "absorb_max", "produce_max", "power")
BUSBAR = (
    "v", "used", "terminals", "second", "splittable", "cooldown", "slack", "v_min", "v_max", "p",
    "q",
)  # fmt: skip
CROWD = 8.0  # terminals of a busbar that count as 1


@dataclass(frozen=True, eq=False)
class Branches:
    """Electrical parameters of branches, read off their two-ports."""

    r: Floats  # [n_branch] p.u.
    x: Floats  # [n_branch] p.u.
    b: Floats  # [n_branch] p.u. charging of both ends
    inverse_rating: Floats  # [n_branch] 1 / p.u.; 0: unlimited
    log_ratio: Floats  # [n_branch] logarithm of the off-nominal ratio of the from end
    shift: Floats  # [n_branch] rad

    @classmethod
    def of(cls, grid: Grid) -> "Branches":
        """With y_ff = (y + jb/2) / |t|^2, y_ft = -y / conj(t), y_tf = -y / t, y_tt = y + jb/2."""
        ratio = np.sqrt(np.abs(grid.y_tt) / np.maximum(np.abs(grid.y_ff), 1e-12))
        ratio = np.maximum(ratio, 1e-6)
        shift = 0.5 * np.angle(
            grid.y_ft / np.where(np.abs(grid.y_tf) > 0, grid.y_tf, 1.0) + (grid.y_tf == 0)
        )
        series = -grid.y_ft * ratio * np.exp(-1j * shift)
        impedance = 1.0 / np.where(np.abs(series) > 1e-12, series, 1e12)
        rating = np.minimum(np.minimum(grid.i_max_from, grid.i_max_to), grid.s_max)
        return cls(
            impedance.real, impedance.imag, 2.0 * (grid.y_tt - series).imag,
            np.where(np.isfinite(rating) & (rating > 0), 1.0 / np.maximum(rating, 1e-9), 0.0),
            np.log(ratio), shift,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Parts:
    """Features of everything in one grid."""

    static: Static

    @cached_property
    def branches(self) -> Branches:
        return Branches.of(self.static.grid)

    @cached_property
    def load_unit(self) -> Ints:
        """Units that are neither dispatched generators nor storage."""
        static = self.static
        taken = np.concatenate([static.gen_unit, static.storage_unit])
        return np.setdiff1d(np.arange(static.grid.n_unit), taken)

    @cached_property
    def movable(self) -> Bools:
        """[n_terminal] whether a terminal may sit on either busbar of its substation."""
        static = self.static
        out = static.second_node[static.grid.terminal_substation] >= 0
        fixed = [kind in IMMOVABLE for kind in static.grid.unit_kind]
        out[2 * static.grid.n_branch :][fixed] = False
        return out

    def node(self, seen: Observation) -> Ints:
        """[B, n_terminal] busbar of each terminal, -1 where it is not connected."""
        at = self.static.grid.terminal_substation
        second = self.static.second_node[at]
        busbar = np.asarray(seen.busbar)
        return np.where(busbar == 2, second, np.where(busbar == 1, at, -1))

    def lines(self, seen: Observation) -> Features:
        """[B, n_branch, n_feature] see `LINE`."""
        static, fixed = self.static, self.branches
        ahead = np.asarray(seen.maintenance_ahead, np.float64)
        near = np.where(ahead >= 0, 1.0 / (1.0 + 10.0 * ahead / static.day_steps), 0.0)
        return columns(
            seen.rho, seen.rho_trend, seen.p_from, seen.q_from, seen.p_to, seen.q_to, seen.v_from,
            seen.v_to, seen.angle, seen.line_status, share(seen.overflow, static.soft_steps + 1),
            share(seen.line_cooldown, max(static.line_cooldown, static.reconnection)), near,
            share(seen.maintenance_left, static.day_steps), fixed.r, fixed.x, fixed.b,
            fixed.inverse_rating, fixed.log_ratio, fixed.shift,
            shape=(seen.batch, static.grid.n_branch),
        )  # fmt: skip

    def gens(self, seen: Observation) -> Features:
        """[B, n_gen, n_feature] see `GEN`."""
        static, u = self.static, self.static.gen_unit
        grid = static.grid
        return columns(
            seen.unit_p[:, u], seen.unit_q[:, u], seen.unit_v[:, u], self._on(seen, u),
            self.expected(seen, "p")[:, u], *static.gen_limits, static.redispatchable,
            static.renewable, grid.is_reference[u], (grid.controls_voltage | grid.is_reference)[u],
            seen.target_dispatch, seen.actual_dispatch, seen.curtailment,
            shape=(seen.batch, u.size),
        )  # fmt: skip

    def loads(self, seen: Observation) -> Features:
        """[B, n_load, n_feature] see `LOAD`."""
        u, grid = self.load_unit, self.static.grid
        return columns(
            seen.unit_p[:, u], seen.unit_q[:, u], seen.unit_v[:, u], self._on(seen, u),
            self.expected(seen, "p")[:, u], self.expected(seen, "q")[:, u], grid.z_share_p[u],
            self.movable[2 * grid.n_branch :][u], shape=(seen.batch, u.size),
        )  # fmt: skip

    def stores(self, seen: Observation) -> Features:
        """[B, n_storage, n_feature] see `STORAGE`."""
        u = self.static.storage_unit
        energy, absorb, produce = self.static.storage_limits
        return columns(
            seen.unit_p[:, u], seen.unit_q[:, u], seen.unit_v[:, u], self._on(seen, u),
            seen.storage_charge / np.maximum(energy, 1e-9), energy, absorb, produce,
            seen.storage_power, shape=(seen.batch, u.size),
        )  # fmt: skip

    def busbars(self, seen: Observation, node: Ints) -> tuple[Features, Bools]:
        """[B, n_node, n_feature], see `BUSBAR`, and [B, n_node] whether anything sits there."""
        static = self.static
        grid, n = static.grid, static.n_node
        count = self.gathered(node, (node >= 0).astype(float))
        used = count > 0
        v = np.concatenate([seen.v_from, seen.v_to, seen.unit_v], axis=1)
        live = (node >= 0) & np.isfinite(v) & (v > 0)
        told = np.maximum(self.gathered(node, live.astype(float)), 1.0)
        unit = node[:, 2 * grid.n_branch :]
        first = self._substation
        out = columns(
            self.gathered(node, np.where(live, v, 0.0)) / told, used, count / CROWD,
            np.arange(n) >= grid.n_substation, static.second_node[first] >= 0,
            share(seen.substation_cooldown, static.substation_cooldown)[:, first],
            self.gathered(unit, np.broadcast_to(grid.is_reference.astype(float), unit.shape)) > 0,
            grid.v_min[first], grid.v_max[first], self.gathered(unit, seen.unit_p),
            self.gathered(unit, seen.unit_q), shape=(seen.batch, n),
        )  # fmt: skip
        return out, used

    def gathered(self, node: Ints, values: Floats) -> Floats:
        """[B, n_node] sums of ``values`` [B, m] at their nodes [B, m]; -1 is nowhere."""
        batch, n = len(node), self.static.n_node
        place = np.where(node >= 0, node + n * np.arange(batch)[:, None], batch * n).ravel()
        found = np.nan_to_num(np.asarray(values, np.float64)).ravel()
        total = np.bincount(place, found, minlength=batch * n + 1)[:-1]
        return np.asarray(total.reshape(batch, n), np.float64)

    def expected(self, seen: Observation, of: str) -> Floats:
        """[B, n_unit] change that the forecast expects, 0 where none is given."""
        then = getattr(seen, f"{of}_forecast")
        now = getattr(seen, f"unit_{of}")
        return np.asarray(then - now if then.shape[1] else np.zeros(now.shape), np.float64)

    @cached_property
    def _substation(self) -> Ints:
        """[n_node] of each busbar."""
        static = self.static
        split = np.flatnonzero(static.second_node >= 0)
        out = np.arange(static.n_node)
        out[static.second_node[split]] = split
        return out

    def _on(self, seen: Observation, unit: Ints) -> Bools:
        return np.asarray(seen.busbar[:, 2 * self.static.grid.n_branch + unit] > 0)
