"""How far voltages are outside their limits, before and after every contingency."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.grid import Floats, Ints
from gridrl.powerflow.flow import flow
from gridrl.powerflow.limits import ROUNDING
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.result import FlowResult
from gridrl.security.topology_result import TopologySecurity

SHOWN = 6  # buses in an explanation
EACH = 5e-3  # p.u. that a voltage outside its limits weighs besides its depth
INTACT = 10.0  # what a voltage before any contingency weighs against one after it


@dataclass(frozen=True, eq=False, kw_only=True)
class VoltageStanding:
    """Voltages of one state against their limits; depths are p.u. beyond a limit."""

    case: Case
    options: FlowOptions
    outside: int  # nodes outside their limits before any contingency
    depth: float  # p.u., summed over them
    node: int  # the furthest of them, -1 where there is none
    node_depth: float  # p.u. that it is outside
    contingency: Ints  # [m] contingencies after which a voltage is outside, the furthest first
    after_depth: Floats  # [m] p.u. of the furthest voltage
    after_voltage: Floats  # [m] p.u.
    after_place: Ints  # [m] as in `gridrl.security.topology_result.TopologySecurity`

    @cached_property
    def result(self) -> FlowResult:
        """The flow before any contingency."""
        return flow(self.case, options=self.options)

    @property
    def after_node(self) -> Ints:
        """[m] nodes of ``result``."""
        n = self.case.grid.n_substation
        second = self.result.second_node[self.after_place % n]
        return np.where(self.after_place < n, self.after_place, second)

    @property
    def clean(self) -> bool:
        """Every voltage is within its limits, before and after every contingency."""
        return not self.outside and not self.contingency.size

    @property
    def badness(self) -> float:
        """All depths together, and how many: what a remedy makes less, the intact grid first."""
        return INTACT * (self.depth + EACH * self.outside) + float(
            self.after_depth.sum() + EACH * self.contingency.size
        )

    @property
    def intact_is_worst(self) -> bool:
        """Whether the furthest voltage is one before any contingency."""
        return not self.contingency.size or self.node_depth >= float(self.after_depth[0])

    @property
    def worst_outage(self) -> int:
        """The contingency after which a voltage is furthest outside; -1 for the intact grid."""
        return -1 if self.intact_is_worst else int(self.contingency[0])


def voltage_standing(case: Case, found: TopologySecurity, options: FlowOptions) -> VoltageStanding:
    """Look closer at the voltages of a case that was solved with all contingencies as ``found``."""
    grid = case.grid
    pair = np.flatnonzero((found.pair_voltage > 0) & (found.pair_place >= 0))
    place, v = found.pair_place[pair], found.pair_volt[pair]
    at = place % grid.n_substation
    depth = np.nan_to_num(np.maximum(grid.v_min[at] - v, v - grid.v_max[at]))
    order = np.argsort(-depth, kind="stable")
    order = order[depth[order] > ROUNDING]
    standing = VoltageStanding(
        case=case, options=options, outside=0, depth=0.0, node=-1, node_depth=0.0,
        contingency=found.contingency[pair[order]], after_depth=depth[order],
        after_voltage=v[order], after_place=place[order],
    )  # fmt: skip
    if not found.voltage[0]:
        return standing
    beyond = depths(standing.result, 0)
    outside = np.flatnonzero(beyond > ROUNDING)
    node = int(np.argmax(beyond)) if outside.size else -1
    return replace(
        standing, outside=int(outside.size), depth=float(beyond[outside].sum()), node=node,
        node_depth=float(beyond[node]) if outside.size else 0.0,
    )  # fmt: skip


def limits_of_nodes(result: FlowResult) -> tuple[Floats, Floats]:
    """[n_node] voltage limits, p.u.; star points have none."""
    grid, second = result.grid, np.flatnonzero(result.second_node >= 0)
    at = np.concatenate([np.arange(grid.n_substation), second])
    at[grid.n_substation :] = second[np.argsort(result.second_node[second])]
    free = grid.is_star[at]
    return np.where(free, 0.0, grid.v_min[at]), np.where(free, np.inf, grid.v_max[at])


def depths(result: FlowResult, state: int) -> Floats:
    """[n_node] p.u. that each voltage is beyond its limit; negative within, by the nearer one."""
    low, high = limits_of_nodes(result)
    v = np.abs(result.v[state])
    out = np.maximum(low - v, v - high)
    return np.where(np.isfinite(v), out, -np.inf)


def bus_label(result: FlowResult, node: int) -> str:
    """Name of a node for a reader; empty for none."""
    grid = result.grid
    if node < grid.n_substation:
        return grid.substation_label[node] if node >= 0 else ""
    return f"{grid.substation_label[int(np.argmax(result.second_node == node))]} busbar 2"


def moved_voltages(was: FlowResult, now: FlowResult, outage: str) -> list[dict[str, Any]]:
    """The voltages that were furthest outside, and where they are after an action.

    Rows: ``bus, before_pu, after_pu, low_pu, high_pu, outage`` (empty for the intact grid).
    """
    beyond = depths(was, 0)
    low, high = limits_of_nodes(was)
    worst = np.argsort(-beyond, kind="stable")[:SHOWN]
    return [
        {
            "bus": bus_label(was, int(k)), "before_pu": float(np.abs(was.v[0, k])),
            "after_pu": _magnitude(now, int(k)), "low_pu": float(low[k]),
            "high_pu": float(high[k]) if np.isfinite(high[k]) else None, "outage": outage,
        }
        for k in worst
        if beyond[k] > ROUNDING
    ]  # fmt: skip


def _magnitude(result: FlowResult, node: int) -> float | None:
    """P.u., None for a node that is not there or has no voltage."""
    v = float(np.abs(result.v[0, node])) if node < result.v.shape[1] else np.nan
    return v if np.isfinite(v) else None
