"""Security results as rows in MW, percent and p.u., worst first: a unit door."""

from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.grid import Ints
from gridrl.powerflow.options import FlowStatus
from gridrl.security.result import SecurityResult

Row = dict[str, Any]


MAJOR_LOSS = 0.1  # share of the demand: losing that much is worse than any overload


def severity_order(result: SecurityResult) -> Ints:
    """[n] contingencies, worst first.

    Collapse; then a tenth of the demand or more cut off; then the overload caused; then voltages;
    then lost load; then the highest loading.
    """
    unsolved = np.isin(result.status, (FlowStatus.DIVERGED, FlowStatus.BLACKOUT))
    loading = np.where(np.isnan(result.loading), -1.0, result.loading)
    caused = np.zeros(loading.size)
    branch = result.violation_branch >= 0
    np.maximum.at(caused, result.violation_of[branch], result.violation_value[branch])
    demand = np.maximum(-result.base.unit_power().real, 0.0).sum()
    major = np.where(result.lost_load >= MAJOR_LOSS * demand, result.lost_load, 0.0)
    if demand <= 0.0:
        major = np.zeros(loading.size)
    keys = (-loading, -result.lost_load, -result.voltage_violations, -caused, -major, ~unsolved)
    return np.lexsort(keys).astype(np.int64)


def contingency_rows(case: Case, result: SecurityResult, top: int | None = None) -> list[Row]:
    """One row per contingency, worst first, at most ``top``.

    Columns: ``contingency, kind, status, worst_loading_percent, worst_branch, overloads,
    worst_voltage_pu, worst_bus, voltage_violations, lost_load_mw, lost_generation_mw,
    iterations``. Numbers are NaN where the contingency has no solution.
    """
    grid = case.grid
    base = grid.s_base_mva
    rows = []
    for k in severity_order(result)[:top]:
        first = result.contingencies.elements[k]
        kind = grid.element_kind[first[0]] if len(first) == 1 else f"N-{len(first)}"
        node, branch = int(result.voltage_node[k]), int(result.branch[k])
        rows.append(
            {
                "contingency": result.contingencies.name[k],
                "kind": kind,
                "status": FlowStatus(int(result.status[k])).name.lower(),
                "worst_loading_percent": float(100.0 * result.loading[k]),
                "worst_branch": grid.branch_label[branch] if branch >= 0 else "",
                "overloads": int(result.overloads[k]),
                "worst_voltage_pu": float(result.voltage[k]),
                "worst_bus": _bus(case, result, node),
                "voltage_violations": int(result.voltage_violations[k]),
                "lost_load_mw": float(result.lost_load[k] * base),
                "lost_generation_mw": float(result.lost_generation[k] * base),
                "iterations": int(result.iterations[k]),
            }
        )
    return rows


def violation_rows(case: Case, result: SecurityResult) -> list[Row]:
    """One row per violation: ``contingency, element, kind, value, unit``, in contingency order."""
    rows = []
    for m in range(result.violation_of.size):
        branch = int(result.violation_branch[m])
        value = float(result.violation_value[m])
        rows.append(
            {
                "contingency": result.contingencies.name[int(result.violation_of[m])],
                "element": case.grid.branch_label[branch]
                if branch >= 0
                else _bus(case, result, int(result.violation_node[m])),
                "kind": "loading" if branch >= 0 else "voltage",
                "value": 100.0 * value if branch >= 0 else value,
                "unit": "%" if branch >= 0 else "pu",
            }
        )
    return rows


def _bus(case: Case, result: SecurityResult, node: int) -> str:
    if node < 0:
        return ""
    grid = case.grid
    if node < grid.n_substation:
        return grid.substation_label[node]
    second = np.flatnonzero(result.base.second_node == node)
    return f"{grid.substation_label[int(second[0])]} busbar 2"
