"""How far voltages are outside their limits, before and after every contingency."""

from dataclasses import dataclass

import numpy as np

from gridrl.case import Case
from gridrl.grid import Floats, Ints
from gridrl.powerflow.flow import flow
from gridrl.powerflow.limits import ROUNDING
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.result import FlowResult
from gridrl.security.contingency import Contingencies
from gridrl.security.result import SecurityOptions
from gridrl.security.sweep import security
from gridrl.security.topologies import TopologySecurity


@dataclass(frozen=True, eq=False, kw_only=True)
class VoltageStanding:
    """Voltages of one state against their limits; depths are p.u. beyond a limit."""

    result: FlowResult  # before any contingency
    outside: int  # nodes outside their limits before any contingency
    depth: float  # p.u., summed over them
    node: int  # the furthest of them, -1 where there is none
    contingency: Ints  # [m] contingencies after which a voltage is outside, the furthest first
    after_depth: Floats  # [m] p.u. of the furthest voltage
    after_voltage: Floats  # [m] p.u.
    after_node: Ints  # [m]

    @property
    def clean(self) -> bool:
        """Every voltage is within its limits, before and after every contingency."""
        return not self.outside and not self.contingency.size

    @property
    def badness(self) -> float:
        """All depths together: what a remedy makes less."""
        return self.depth + float(self.after_depth.sum())

    def substation(self, node: int) -> int:
        """Substation of a node."""
        grid = self.result.grid
        if node < grid.n_substation:
            return node
        return int(np.flatnonzero(self.result.second_node == node)[0])


def voltage_standing(
    case: Case, found: TopologySecurity, contingencies: Contingencies, options: FlowOptions
) -> VoltageStanding:
    """Look closer at the voltages of a case that was solved with all contingencies as ``found``."""
    result = flow(case, options=options)
    beyond = depths(result, 0)
    outside = np.flatnonzero(beyond > ROUNDING)
    which = found.contingency[found.pair_voltage > 0]
    some = Contingencies(
        name=tuple(contingencies.name[k] for k in which),
        elements=tuple(contingencies.elements[k] for k in which),
    )
    swept = security(case, contingencies=some, options=SecurityOptions(flow=options))
    v, node = swept.voltage, swept.voltage_node
    depth = np.zeros(which.size)
    known = np.flatnonzero((node >= 0) & np.isfinite(v))
    low, high = limits_of_nodes(swept.base)
    depth[known] = np.maximum(low[node[known]] - v[known], v[known] - high[node[known]])
    order = np.argsort(-depth, kind="stable")
    order = order[depth[order] > ROUNDING]
    return VoltageStanding(
        result=result, outside=int(outside.size), depth=float(beyond[outside].sum()),
        node=int(np.argmax(beyond)) if outside.size else -1, contingency=which[order],
        after_depth=depth[order], after_voltage=v[order], after_node=node[order],
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
