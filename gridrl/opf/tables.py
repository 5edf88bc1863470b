"""Solutions of the optimal power flow as rows in MW, MVAr and currency per MWh: a unit door."""

from dataclasses import replace
from typing import Any

import numpy as np

from gridrl.opf.solution import OpfSolution
from gridrl.opf.verify import verify
from gridrl.powerflow.options import FlowStatus
from gridrl.powerflow.result import FlowResult
from gridrl.powerflow.tables import branch_rows
from gridrl.powerflow.tables import bus_rows as flow_bus_rows

Row = dict[str, Any]

AT_LIMIT = 1e-4  # p.u.; closer to a limit than this is at it


def as_flow(solution: OpfSolution) -> FlowResult:
    """The state that a solution describes, as a power flow would have found it."""
    case = solution.case
    grid = case.grid
    n = grid.n_substation
    v = np.concatenate([solution.v[:, 0], solution.v[:, 1]])
    bare = FlowResult(
        grid=grid,
        topology=case.topology,
        injection=case.injection,
        second_node=n + np.arange(n),
        v=v[None],
        s_from=np.zeros((1, grid.n_branch), dtype=np.complex128),
        s_to=np.zeros((1, grid.n_branch), dtype=np.complex128),
        status=np.array([FlowStatus.OK if solution.ok else FlowStatus.DIVERGED], dtype=np.int8),
        iterations=np.array([solution.iterations], dtype=np.int32),
        mismatch=np.zeros(1),
        lost_demand=np.zeros(1),
    )
    node = bare.terminal_node()
    at = np.append(v, 0.0)
    v_from, v_to = at[node[: grid.n_branch]], at[node[grid.n_branch : 2 * grid.n_branch]]
    open_from, open_to = node[: grid.n_branch] < 0, node[grid.n_branch : 2 * grid.n_branch] < 0
    with np.errstate(all="ignore"):
        far_from = np.where(open_from & ~open_to, -grid.y_ft * v_to / grid.y_ff, v_from)
        far_to = np.where(open_to & ~open_from, -grid.y_tf * v_from / grid.y_tt, v_to)
    s_from = far_from * np.conj(grid.y_ff * far_from + grid.y_ft * far_to)
    s_to = far_to * np.conj(grid.y_tf * far_from + grid.y_tt * far_to)
    s_from = np.where(open_from, 0.0, np.nan_to_num(s_from))
    s_to = np.where(open_to, 0.0, np.nan_to_num(s_to))
    return replace(bare, s_from=s_from[None], s_to=s_to[None])


def unit_rows(solution: OpfSolution) -> list[Row]:
    """One row for each unit that may be dispatched and is in service.

    Columns: ``id, kind, name, bus, p_mw, p_min_mw, p_max_mw, q_mvar, q_min_mvar, q_max_mvar,
    price_per_mwh`` (at its bus), ``at_limit`` ("p_min", "q_max", ...).
    """
    case = solution.case
    grid, base = case.grid, case.grid.s_base_mva
    busbar = case.topology.busbar[0, 2 * grid.n_branch :]
    rows = []
    for unit in np.flatnonzero(grid.dispatchable & (busbar > 0)):
        element, substation = int(grid.unit_element[unit]), int(grid.unit_substation[unit])
        limits = {name: float(getattr(grid, name)[unit]) for name in _LIMITS}
        reached = [
            name
            for name, limit in limits.items()
            if abs((solution.p if name[0] == "p" else solution.q)[unit] - limit) < AT_LIMIT
        ]
        rows.append(
            {
                "id": grid.element_id[element],
                "kind": grid.unit_kind[unit],
                "name": grid.element_name[element],
                "bus": grid.substation_bus[substation],
                "p_mw": float(solution.p[unit] * base),
                "p_min_mw": limits["p_min"] * base,
                "p_max_mw": limits["p_max"] * base,
                "q_mvar": float(solution.q[unit] * base),
                "q_min_mvar": limits["q_min"] * base,
                "q_max_mvar": limits["q_max"] * base,
                "price_per_mwh": float(solution.price_p[substation, busbar[unit] - 1] / base),
                "at_limit": " ".join(reached),
            }
        )
    return rows


_LIMITS = ("p_min", "p_max", "q_min", "q_max")


def bus_rows(solution: OpfSolution) -> list[Row]:
    """As `gridrl.powerflow.tables.bus_rows`, with ``price_per_mwh`` and ``price_per_mvarh``."""
    grid = solution.case.grid
    rows = flow_bus_rows(solution.case, as_flow(solution))
    substation = dict(zip(grid.bus_id, grid.bus_substation, strict=True))
    for row in rows:
        at = (int(substation[row["id"]]), row["busbar"] - 1)
        row["price_per_mwh"] = float(solution.price_p[at] / grid.s_base_mva)
        row["price_per_mvarh"] = float(solution.price_q[at] / grid.s_base_mva)
    return rows


def document(solution: OpfSolution) -> Row:
    """Everything about a solution, its cost and violations as `gridrl.opf.verify` finds them."""
    case = solution.case
    verdict = verify(case, solution.p, solution.q, solution.v)
    branches = branch_rows(case, as_flow(solution))
    p_mw = solution.p * case.grid.s_base_mva
    return {
        "case": case.source or case.grid.name,
        "digest": case.digest,
        "solver": solution.solver,
        "fallback": solution.fallback,
        "model": solution.model,
        "status": solution.status.name.lower(),
        "message": solution.message,
        "start": solution.start,
        "iterations": solution.iterations,
        "build_s": solution.build_s,
        "solve_s": solution.solve_s,
        "cost": verdict.cost,
        "lower_bound": solution.lower_bound,
        "max_violation_pu": verdict.max_violation_pu,
        "violations": [
            {"kind": v.kind, "amount_pu": v.amount_pu, "element": v.element}
            for v in verdict.violations
        ],
        "generation_mw": float(p_mw[case.grid.dispatchable].sum()),
        "losses_mw": float(sum(row["p_from_mw"] + row["p_to_mw"] for row in branches)),
        "units": unit_rows(solution),
        "buses": bus_rows(solution),
        "branches": branches,
    }
