"""Security results as rows in MW, percent and p.u., worst first: a unit door."""

from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.grid import Ints
from gridrl.powerflow.options import FlowStatus
from gridrl.security.result import SecurityResult

Row = dict[str, Any]


def severity_order(result: SecurityResult) -> Ints:
    """[n] contingencies, worst first: collapse, then overloads, then voltages, then lost load."""
    unsolved = np.isin(result.status, (FlowStatus.DIVERGED, FlowStatus.BLACKOUT))
    loading = np.where(np.isnan(result.loading), -1.0, result.loading)
    over = np.maximum(loading, 1.0)  # below the rating, a loading is no reason to come first
    keys = (-loading, -result.lost_load, -result.voltage_violations, -over, ~unsolved)
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
