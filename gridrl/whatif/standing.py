"""How a case stands and how that is proved, as rows in MW and percent: a unit door."""

from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.grid import Bools
from gridrl.powerflow.options import FlowStatus
from gridrl.security.contingency import Contingencies
from gridrl.security.topology_result import TopologySecurity
from gridrl.whatif.outlook import SHED, Reference
from gridrl.whatif.voltages import VoltageStanding, bus_label, limits_of_nodes

Row = dict[str, Any]
WORST = 5  # contingencies that a proof lists
LISTED = 20  # overloads that a standing lists


def insecure(found: TopologySecurity, reference: Reference) -> Bools:
    """[m] contingencies that overload, collapse, or break what the case before held.

    More voltages outside their limits than in the intact grid, before any action or now; or more
    demand cut off than the intact grid had.
    """
    lost = reference.lost if np.isfinite(reference.lost) else 0.0
    return np.asarray(
        np.isnan(found.pair_loading)
        | (found.pair_loading > 1.0)
        | (found.pair_voltage > min(reference.voltage, int(found.voltage[0])))
        | (found.pair_lost > lost + SHED)
    )


def standing_of(
    case: Case, found: TopologySecurity, contingencies: Contingencies, reference: Reference,
    voltages: VoltageStanding,
) -> Row:  # fmt: skip
    """State of a case before and after its contingencies, JSON-ready.

    Keys: ``status, overloads, worst_loading_percent, worst_branch, voltage_violations,
    worst_voltage_pu, worst_voltage_bus, worst_voltage_limit_pu, lost_load_mw, worst_n1_percent,
    worst_n1_outage, worst_n1_branch, n1_voltage_outages, worst_n1_voltage_pu,
    worst_n1_voltage_bus, worst_n1_voltage_outage, worst_n1_voltage_limit_pu, n1_insecure,
    n1_diverged, n1_outages``. Numbers are null where there is no power flow, and those of a worst
    voltage where none is outside its limits.
    """
    grid = case.grid
    result = voltages.result
    loading = np.nan_to_num(result.loading(0), nan=0.0)
    over = [int(k) for k in np.argsort(-loading, kind="stable") if loading[k] > 1.0][:LISTED]
    solved = bool(result.solved()[0])
    branch = int(found.branch[0])
    after = np.nan_to_num(found.pair_loading, nan=-1.0)
    at = int(np.argmax(after)) if after.size else -1
    known = at >= 0 and after[at] >= 0
    worst_branch = int(found.pair_branch[at]) if known else -1
    return {
        "status": FlowStatus(int(found.status[0])).name.lower(),
        "overloads": [
            {"element": grid.branch_label[k], "loading_percent": 100.0 * float(loading[k])}
            for k in over
        ],
        "worst_loading_percent": 100.0 * float(found.loading[0]) if solved else None,
        "worst_branch": grid.branch_label[branch] if solved and branch >= 0 else "",
        "voltage_violations": int(found.voltage[0]) if solved else None,
        **_voltage_row("worst_voltage", voltages, voltages.node, None),
        "lost_load_mw": float(found.lost[0]) * grid.s_base_mva,
        "worst_n1_percent": 100.0 * float(after[at]) if known else None,
        "worst_n1_outage": contingencies.name[int(found.contingency[at])] if known else "",
        "worst_n1_branch": grid.branch_label[worst_branch] if worst_branch >= 0 else "",
        "n1_voltage_outages": int(voltages.contingency.size),
        **_voltage_row(
            "worst_n1_voltage",
            voltages,
            int(voltages.after_node[0]) if voltages.contingency.size else -1,
            float(voltages.after_voltage[0]) if voltages.contingency.size else None,
        ),
        "worst_n1_voltage_outage": contingencies.name[int(voltages.contingency[0])]
        if voltages.contingency.size
        else "",
        "n1_insecure": int(insecure(found, reference).sum()),
        "n1_diverged": int(np.isnan(found.pair_loading).sum()),
        "n1_outages": int(found.contingency.size),
    }


def _voltage_row(key: str, voltages: VoltageStanding, node: int, v: float | None) -> Row:
    """A voltage outside its limits, with its bus and the limit; of the intact grid by default."""
    if node < 0:
        return {f"{key}_pu": None, f"{key}_bus": "", f"{key}_limit_pu": None}
    low, high = limits_of_nodes(voltages.result)
    v = float(np.abs(voltages.result.v[0, node])) if v is None else v
    return {
        f"{key}_pu": v, f"{key}_bus": bus_label(voltages.result, node),
        f"{key}_limit_pu": float(low[node] if v < low[node] else high[node]),
    }  # fmt: skip


def proof_of(
    case: Case, found: TopologySecurity, contingencies: Contingencies, reference: Reference
) -> Row:
    """What was solved after an action: every contingency, with the worst of them."""
    order = np.argsort(-np.nan_to_num(found.pair_loading, nan=np.inf), kind="stable")[:WORST]
    return {
        "n0_status": FlowStatus(int(found.status[0])).name.lower(),
        "n1_outages": int(found.contingency.size),
        "n1_insecure": int(insecure(found, reference).sum()),
        "n1_diverged": int(np.isnan(found.pair_loading).sum()),
        "worst": [
            {
                "outage": contingencies.name[int(found.contingency[k])],
                "branch": _branch(case, int(found.pair_branch[k])),
                "loading_percent": None
                if np.isnan(found.pair_loading[k])
                else 100.0 * float(found.pair_loading[k]),
            }
            for k in order
        ],
    }


def _branch(case: Case, branch: int) -> str:
    return case.grid.branch_label[branch] if branch >= 0 else ""
