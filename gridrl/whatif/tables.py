"""What a study found as rows in MW, percent and p.u.: a unit door.

Rows before and after a variant's edits stand beside each other, with their difference.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gridrl.powerflow.options import FlowStatus
from gridrl.powerflow.tables import branch_rows, bus_rows, summary, unit_rows
from gridrl.security.tables import contingency_rows
from gridrl.whatif.results import StudyResult, VariantResult, topology_change

Row = dict[str, Any]
_ROUNDING = 1e-6  # p.u.: a voltage held at its limit is not outside it


def variant_row(base: VariantResult, result: VariantResult) -> Row:
    """A variant in a few numbers.

    Columns: ``variant, edits, status``, then of the state before any outage
    ``worst_loading_percent, worst_branch, overloads, v_min_pu, v_min_bus, v_max_pu, v_max_bus,
    voltage_violations, load_mw, generation_mw, losses_mw, lost_load_mw``, then of the outages
    ``n1_outages, n1_insecure, n1_unsolved, n1_worst_loading_percent, n1_worst_branch,
    n1_worst_outage``, then ``busbars_changed, elements_switched, topology_depth, seconds``. Numbers
    are NaN, and counts None, where there is no solution; None where no outages were solved.
    """
    now = summary(result.case, result.flow)
    if not result.solved:
        now |= {"overloads": None, "voltage_violations": None}
    change = topology_change(base.case, result.case)
    state = (
        *("worst_loading_percent", "worst_branch", "overloads", "v_min_pu", "v_min_bus"),
        *("v_max_pu", "v_max_bus", "voltage_violations", "load_mw", "generation_mw", "losses_mw"),
        "lost_load_mw",
    )
    return {
        "variant": result.name,
        "edits": str(result.variant),
        "status": result.status,
        **{key: now[key] for key in state},
        **_outage_numbers(result),
        "busbars_changed": len(change.busbars),
        "elements_switched": len(change.switched),
        "topology_depth": change.depth,
        "seconds": result.seconds,
    }


def _outage_numbers(result: VariantResult) -> Row:
    n1 = result.n1
    keys = ("n1_outages", "n1_insecure", "n1_unsolved", "n1_worst_loading_percent",
            "n1_worst_branch", "n1_worst_outage")  # fmt: skip
    if n1 is None:
        return dict.fromkeys(keys)
    unsolved = int(np.isin(n1.status, (FlowStatus.DIVERGED, FlowStatus.BLACKOUT)).sum())
    known = np.isfinite(n1.loading)
    worst = int(np.nanargmax(n1.loading)) if known.any() else -1
    return dict(zip(keys, (
        len(n1.contingencies),
        int(n1.insecure().sum()),
        unsolved,
        float(100.0 * n1.loading[worst]) if worst >= 0 else np.nan,
        result.case.grid.branch_label[int(n1.branch[worst])] if worst >= 0 else "",
        n1.contingencies.name[worst] if worst >= 0 else "",
    ), strict=True))  # fmt: skip


def comparison_rows(study: StudyResult) -> list[Row]:
    """`variant_row` of the base state and of every variant."""
    return [variant_row(study.base, result) for result in study]


def violates(result: VariantResult) -> bool:
    """Whether the state, or one of its outages, violates a limit or leaves demand unsupplied."""
    return bool(violation_rows(result)) or (
        result.n1 is not None and bool(result.n1.insecure().any())
    )


def overloads(result: VariantResult) -> bool:
    """Whether a branch is above its rating, before or after an outage."""
    after = result.n1 is not None and bool((result.n1.overloads > 0).any())
    return after or bool((result.flow.loading() > 1.0).any())


def voltages_outside(result: VariantResult) -> bool:
    """Whether a voltage is outside its limits, before or after an outage."""
    after = result.n1 is not None and bool((result.n1.voltage_violations > 0).any())
    return after or any(True for _ in _voltages(result))


def violation_rows(result: VariantResult) -> list[Row]:
    """What the state before any outage violates, worst first in each kind.

    Columns: ``kind`` ("current", "voltage" or "lost load"), ``element, value, limit, unit``.
    """
    if not result.solved:
        return []
    grid, flow = result.case.grid, result.flow
    rows: list[Row] = []
    loading = 100.0 * flow.loading()
    for k in np.argsort(-np.nan_to_num(loading), kind="stable"):
        if not loading[k] > 100.0:
            break
        rows.append({"kind": "current", "element": grid.branch_label[k],
                     "value": float(loading[k]), "limit": 100.0, "unit": "%"})  # fmt: skip
    rows += sorted(_voltages(result), key=lambda row: -abs(row["value"] - row["limit"]))
    lost = float(flow.lost_demand[0]) * grid.s_base_mva
    if lost > _ROUNDING:
        rows.append({"kind": "lost load", "element": "", "value": lost, "limit": 0.0, "unit": "MW"})
    return rows


def _voltages(result: VariantResult) -> Iterable[Row]:
    grid, flow = result.case.grid, result.flow
    magnitude = np.abs(flow.v[0])
    second = np.flatnonzero(flow.second_node >= 0)
    nodes = [(s, s, "") for s in range(grid.n_substation)]
    nodes += [(int(flow.second_node[s]), int(s), " busbar 2") for s in second]
    for node, s, suffix in nodes:
        v = float(magnitude[node])
        low, high = float(grid.v_min[s]), float(grid.v_max[s])
        if grid.is_star[s] or np.isnan(v) or low - _ROUNDING <= v <= high + _ROUNDING:
            continue
        yield {
            "kind": "voltage", "element": grid.substation_label[s] + suffix, "value": v,
            "limit": low if v < low else high, "unit": "p.u.",
        }  # fmt: skip


def outage_rows(result: VariantResult, top: int | None = None) -> list[Row]:
    """The outages of a variant, worst first; none where they were not solved."""
    return [] if result.n1 is None else contingency_rows(result.case, result.n1, top)


# Columns of a row that change with the state, by table.
_CHANGING = {
    "branches": ("in_service", "p_from_mw", "q_from_mvar", "p_to_mw", "q_to_mvar", "i_from_ka",
                 "i_to_ka", "loading_percent"),
    "buses": ("vm_pu", "va_degree"),
    "units": ("in_service", "p_mw", "q_mvar"),
}  # fmt: skip
_ROWS = {"branches": branch_rows, "buses": bus_rows, "units": unit_rows}


def change_rows(before: VariantResult, after: VariantResult, table: str) -> list[Row]:
    """Every branch, bus or unit before and after.

    Parameters
    ----------
    table
        "branches", "buses" or "units".

    Each row has what names the element, then for every quantity ``..._before`` and ``..._after``
    and, for numbers, ``..._change``. A bus has a row for each busbar in use; a busbar 2 that
    is in use on one side only is compared with busbar 1 on the other.
    """
    old = _ROWS[table](before.case, before.flow)
    new = _ROWS[table](after.case, after.flow)
    return [_changed(a, b, _CHANGING[table]) for a, b in _pairs(old, new, table)]


def _pairs(old: Sequence[Row], new: Sequence[Row], table: str) -> Iterable[tuple[Row, Row]]:
    if table != "buses":
        yield from zip(old, new, strict=True)
        return
    first = {row["id"]: row for row in old if row["busbar"] == 1}
    before = {(row["id"], row["busbar"]): row for row in old}
    after = {(row["id"], row["busbar"]): row for row in new}
    mine = {row["id"]: row for row in new if row["busbar"] == 1}
    place = {ident: k for k, ident in enumerate(first)}
    for key in sorted({*before, *after}, key=lambda key: (place[key[0]], key[1])):
        a, b = before.get(key, first[key[0]]), after.get(key, mine[key[0]])
        yield a, {**b, "busbar": key[1]}


def _changed(before: Row, after: Row, columns: Sequence[str]) -> Row:
    row = {key: value for key, value in after.items() if key not in columns}
    for column in columns:
        a, b = before[column], after[column]
        row[f"{column}_before"], row[f"{column}_after"] = a, b
        if isinstance(a, float):
            change = b - a
            if column == "va_degree":
                change = (change + 180.0) % 360.0 - 180.0
            row[f"{column}_change"] = change
    return row
