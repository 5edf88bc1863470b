"""Power-flow results as rows in MW, MVAr, kV, kA and degrees: one of the two unit doors."""

from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.powerflow.model import DEMAND_KINDS
from gridrl.powerflow.options import FlowStatus
from gridrl.powerflow.result import FlowResult

Row = dict[str, Any]


def bus_rows(case: Case, result: FlowResult, state: int = 0) -> list[Row]:
    """One row per bus of the input, in its order; a split substation has a row per busbar.

    Columns: ``id, name, busbar, vn_kv, vm_pu, va_degree, v_min_pu, v_max_pu``. A dead bus has
    voltage NaN.
    """
    grid = case.grid
    rows = []
    for bus in range(grid.n_bus):
        sub = int(grid.bus_substation[bus])
        nodes = [(1, sub)]
        if result.second_node[sub] >= 0 and (result.topology.busbar == 2).any():
            nodes.append((2, int(result.second_node[sub])))
        for busbar, node in nodes:
            v = result.v[state, node]
            if busbar == 2 and np.isnan(v):
                continue
            rows.append(
                {
                    "id": grid.bus_id[bus],
                    "name": grid.bus_name[bus],
                    "busbar": busbar,
                    "vn_kv": float(grid.vn_kv[sub]),
                    "vm_pu": float(np.abs(v)),
                    "va_degree": float(np.rad2deg(np.angle(v))),
                    "v_min_pu": float(grid.v_min[sub]),
                    "v_max_pu": float(grid.v_max[sub]),
                }
            )
    return rows


def branch_rows(case: Case, result: FlowResult, state: int = 0) -> list[Row]:
    """One row per branch (three for a three-winding transformer), in the grid's order.

    Columns: ``id, kind, name, winding, from_bus, to_bus`` (ids of buses), ``from_bus_name,
    to_bus_name, in_service, p_from_mw, q_from_mvar, p_to_mw, q_to_mvar, i_from_ka, i_to_ka,
    loading_percent``. Loading is NaN without a rating.
    """
    grid = case.grid
    s_from, s_to = result.s_from[state] * grid.s_base_mva, result.s_to[state] * grid.s_base_mva
    i_from, i_to = result.current(state)
    base_ka = grid.s_base_mva / (np.sqrt(3.0) * grid.vn_kv)
    loading = 100.0 * result.loading(state)
    closed = result.topology.closed[min(state, result.topology.batch - 1)]
    seen: dict[int, int] = {}
    rows = []
    for k in range(grid.n_branch):
        element = int(grid.branch_element[k])
        seen[element] = seen.get(element, 0) + 1
        f, t = int(grid.from_substation[k]), int(grid.to_substation[k])
        rows.append(
            {
                "id": grid.element_id[element],
                "kind": grid.element_kind[element],
                "name": grid.element_name[element],
                "winding": seen[element],
                "from_bus": grid.substation_bus[f],
                "to_bus": grid.substation_bus[t],
                "from_bus_name": grid.substation_name[f],
                "to_bus_name": grid.substation_name[t],
                "in_service": bool(closed[k]),
                "p_from_mw": float(s_from[k].real),
                "q_from_mvar": float(s_from[k].imag),
                "p_to_mw": float(s_to[k].real),
                "q_to_mvar": float(s_to[k].imag),
                "i_from_ka": float(i_from[k] * base_ka[f]),
                "i_to_ka": float(i_to[k] * base_ka[t]),
                "loading_percent": float(loading[k]),
            }
        )
    return rows


def unit_rows(case: Case, result: FlowResult, state: int = 0) -> list[Row]:
    """One row per unit: ``id, kind, name, bus, in_service, p_mw, q_mvar``; infeed is positive."""
    grid = case.grid
    power = result.unit_power(state) * grid.s_base_mva
    node = result.terminal_node(state)[2 * grid.n_branch :]
    return [
        {
            "id": grid.element_id[int(grid.unit_element[m])],
            "kind": grid.unit_kind[m],
            "name": grid.element_name[int(grid.unit_element[m])],
            "bus": grid.substation_bus[int(grid.unit_substation[m])],
            "in_service": bool(node[m] >= 0),
            "p_mw": float(power[m].real),
            "q_mvar": float(power[m].imag),
        }
        for m in range(grid.n_unit)
    ]


def summary(case: Case, result: FlowResult, state: int = 0) -> Row:
    """The state in a few numbers.

    Keys: ``status, iterations, mismatch_pu, load_mw, generation_mw, losses_mw, lost_load_mw,
    worst_loading_percent, worst_branch, v_min_pu, v_min_bus, v_max_pu, v_max_bus, overloads,
    voltage_violations``. Numbers are NaN where the state has no solution.
    """
    grid = case.grid
    base = grid.s_base_mva
    power = result.unit_power(state).real * base
    demand = np.array([kind in DEMAND_KINDS for kind in grid.unit_kind], np.bool_)
    loading = 100.0 * result.loading(state)
    magnitude = np.abs(result.v[state])
    shown = np.ones(magnitude.size, np.bool_)
    shown[: grid.n_substation] = ~grid.is_star
    magnitude = np.where(shown, magnitude, np.nan)
    substation = np.concatenate(
        [np.arange(grid.n_substation), np.flatnonzero(result.second_node >= 0)]
    )
    solved = bool(result.solved()[state])
    worst = int(np.nanargmax(loading)) if np.isfinite(loading).any() else -1
    low = int(np.nanargmin(magnitude)) if np.isfinite(magnitude).any() else -1
    high = int(np.nanargmax(magnitude)) if np.isfinite(magnitude).any() else -1
    outside = (magnitude < grid.v_min[substation]) | (magnitude > grid.v_max[substation])
    return {
        "status": FlowStatus(int(result.status[state])).name.lower(),
        "iterations": int(result.iterations[state]),
        "mismatch_pu": float(result.mismatch[state]),
        "load_mw": float(-power[demand].sum()) if solved else np.nan,
        "generation_mw": float(power[~demand].sum()) if solved else np.nan,
        "losses_mw": float((result.s_from[state] + result.s_to[state]).real.sum() * base),
        "lost_load_mw": float(result.lost_demand[state] * base),
        "worst_loading_percent": float(loading[worst]) if worst >= 0 else np.nan,
        "worst_branch": grid.branch_label[worst] if worst >= 0 else "",
        "v_min_pu": float(magnitude[low]) if low >= 0 else np.nan,
        "v_min_bus": grid.substation_label[int(substation[low])] if low >= 0 else "",
        "v_max_pu": float(magnitude[high]) if high >= 0 else np.nan,
        "v_max_bus": grid.substation_label[int(substation[high])] if high >= 0 else "",
        "overloads": int((loading > 100.0).sum()),
        "voltage_violations": int(outside.sum()),
    }
