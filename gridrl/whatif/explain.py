"""Why a remedial action works, in words and flows: what moves where, and what it leaves."""

from dataclasses import replace
from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.grid import Floats
from gridrl.powerflow.model import DEMAND_KINDS
from gridrl.powerflow.result import FlowResult
from gridrl.security.contingency import Contingencies
from gridrl.security.topology_result import TopologySecurity

Row = dict[str, Any]
SHOWN = 6  # branches in an explanation
NOTHING_MW = 1e-6
RENEWABLE, STORAGE_KINDS = ("sgen",), ("storage", "battery")
SPELLED, NAMED = 4, 3  # changes up to which each is spelled out; those named of many


def loaded_state(base: TopologySecurity) -> tuple[int, int]:
    """The outage (-1: none) after which a loading is highest, and the branch that has it."""
    pair = np.nan_to_num(base.pair_loading, nan=0.0)
    at = int(np.argmax(pair)) if pair.size else -1
    if at < 0 or np.nan_to_num(base.loading[0], nan=0.0) >= pair[at]:
        return -1, int(base.branch[0])
    return int(base.contingency[at]), int(base.pair_branch[at])


def moved_flows(was: FlowResult, now: FlowResult, worst: int, outage: str) -> list[Row]:
    """The branches whose flow an action changes most, the relieved one (``worst``) first.

    Rows: ``element, before_mw, after_mw, before_percent, after_percent, outage`` (empty for the
    intact grid).
    """
    grid = was.grid
    power = [np.nan_to_num(r.s_from[0].real) * grid.s_base_mva for r in (was, now)]
    loading = [np.nan_to_num(r.loading(0), nan=0.0) * 100.0 for r in (was, now)]
    change = np.abs(power[1] - power[0])
    change[worst] = np.inf
    order = np.argsort(-change, kind="stable")[:SHOWN]
    return [
        {
            "element": grid.branch_label[k],
            "before_mw": float(power[0][k]), "after_mw": float(power[1][k]),
            "before_percent": float(loading[0][k]), "after_percent": float(loading[1][k]),
            "outage": outage,
        }
        for k in order.tolist()
        if change[k] > 0.05
    ]  # fmt: skip


def without(case: Case, contingencies: Contingencies, outage: int) -> Case:
    """The case after a contingency; as it is for -1."""
    if outage < 0:
        return case
    grid = case.grid
    elements = contingencies.elements[outage]
    closed, busbar = case.topology.closed.copy(), case.topology.busbar.copy()
    closed[0, np.isin(grid.branch_element, elements)] = False
    busbar[0, 2 * grid.n_branch :][np.isin(grid.unit_element, elements)] = 0
    return replace(case, topology=replace(case.topology, busbar=busbar, closed=closed))


def explanation(kind: str, before: Row, after: Row, why: list[Row], voltages: list[Row]) -> str:
    """A few sentences that an operator can check against the rows."""
    if kind == "nothing":
        return f"Without any action: {_state(before)}."
    said = [f"Without this: {_state(before)}. With it: {_state(after)}."]
    if voltages and (row := voltages[0])["after_pu"] is not None:
        where = f"After the loss of {row['outage']}" if row["outage"] else "In the intact grid"
        said.append(
            f"{where}, the voltage of bus {row['bus']} goes from {row['before_pu']:.3f} to "
            f"{row['after_pu']:.3f} p.u."
        )
    if why and (why[0]["before_percent"] > 100.0 or not voltages):
        first, *others = why
        where = f"After the loss of {first['outage']}" if first["outage"] else "In the intact grid"
        said.append(
            f"{where}, {first['element']} goes from {first['before_percent']:.0f} % "
            f"({abs(first['before_mw']):.0f} MW) to {first['after_percent']:.0f} % "
            f"({abs(first['after_mw']):.0f} MW)."
        )
        taking = [row for row in others if abs(row["after_mw"]) > abs(row["before_mw"]) + 0.5][:3]
        if taking:
            names = ", ".join(
                f"{row['element']} ({abs(row['after_mw']) - abs(row['before_mw']):+.0f} MW, "
                f"{row['after_percent']:.0f} %)"
                for row in taking
            )
            said.append(f"The power goes through {names} instead.")
    return " ".join(said)


def _state(standing: Row) -> str:
    if standing["worst_loading_percent"] is None:
        return "the grid has no power flow"
    text = f"{standing['worst_loading_percent']:.0f} % on {standing['worst_branch'] or 'no branch'}"
    if standing["worst_n1_percent"] is not None:
        text += (
            f", N-1 worst {standing['worst_n1_percent']:.0f} % on {standing['worst_n1_branch']} "
            f"after {standing['worst_n1_outage']}"
        )
    if standing["worst_voltage_bus"]:
        text += f", {standing['worst_voltage_pu']:.3f} p.u. at bus {standing['worst_voltage_bus']}"
    elif standing["worst_n1_voltage_bus"]:
        text += (
            f", {standing['worst_n1_voltage_pu']:.3f} p.u. at bus "
            f"{standing['worst_n1_voltage_bus']} after {standing['worst_n1_voltage_outage']}"
        )
    return text


def unsolved(before: Row, after: Row) -> list[str]:
    """What remains after an action, one sentence each; empty where nothing does."""
    out = []
    if after["status"] in ("diverged", "blackout"):
        return ["The grid has no power flow."]
    if after["overloads"]:
        worst = after["overloads"][0]
        out.append(
            f"{_branches(len(after['overloads']))} overloaded before any outage, worst "
            f"{worst['element']} at {worst['loading_percent']:.0f} %."
        )
    if (after["worst_n1_percent"] or 0.0) > 100.0:
        out.append(
            f"After {after['worst_n1_outage']}, {after['worst_n1_branch']} is at "
            f"{after['worst_n1_percent']:.0f} %."
        )
    if after["n1_diverged"]:
        out.append(f"No power flow after {_outages(after['n1_diverged'])}.")
    if after["voltage_violations"]:
        n = after["voltage_violations"]
        out.append(
            f"{n} {'voltage is' if n == 1 else 'voltages are'} outside the limits before any "
            f"outage, the furthest {after['worst_voltage_pu']:.3f} p.u. at bus "
            f"{after['worst_voltage_bus']} (limit {after['worst_voltage_limit_pu']:.3f})."
        )
    n, was = after["n1_voltage_outages"], before["n1_voltage_outages"]
    if n:
        more = f", {n - was} more than without this" if n > was else ""
        out.append(
            f"After {_outages(n)} a voltage is outside its limits{more}, the furthest "
            f"{after['worst_n1_voltage_pu']:.3f} p.u. at bus {after['worst_n1_voltage_bus']} after "
            f"{after['worst_n1_voltage_outage']} (limit {after['worst_n1_voltage_limit_pu']:.3f})."
        )
    if after["lost_load_mw"] > 1e-3:
        out.append(f"{after['lost_load_mw']:.1f} MW of demand have no supply.")
    rest = after["n1_insecure"]
    if rest and not out:
        out.append(f"Demand is still cut off, or a voltage limit broken, after {_outages(rest)}.")
    return out


def _outages(n: int) -> str:
    return "1 outage" if n == 1 else f"{n} outages"


def _branches(n: int) -> str:
    return "1 branch stays" if n == 1 else f"{n} branches stay"


def dispatch_edits(case: Case, change: Floats) -> tuple[Row, ...]:
    """Changes of injections as edits of a study file, see `gridrl.whatif.edits`."""
    grid = case.grid
    out: list[Row] = []
    for m in np.flatnonzero(change).tolist():
        e = int(grid.unit_element[m])
        verb, sign = _verb(case, m)
        p = sign * float(case.injection.p[0, m] + change[m]) * grid.s_base_mva
        p = round(max(0.0, p) if verb == "shed" else p, 10)  # 1.0000000000000004 reads badly
        out.append({verb: f"{grid.element_kind[e]}:{grid.element_id[e]}", "p_mw": p})
    return tuple(out)


def _verb(case: Case, m: int) -> tuple[str, float]:
    """How a unit's power is changed, and the sign of what a user calls its power."""
    grid = case.grid
    kind = grid.unit_kind[m]
    if kind in DEMAND_KINDS:
        return "shed", -1.0
    if kind in STORAGE_KINDS:
        return "storage", -1.0
    renewable = kind in RENEWABLE and not grid.dispatchable[m]
    return ("curtail" if renewable else "redispatch"), 1.0


_DOES = {"shed": "shed", "storage": "charge", "curtail": "curtail", "redispatch": "dispatch"}


def dispatch_words(case: Case, change: Floats) -> str:
    """Changes of injections in an operator's words, the largest first.

    Many are put together: what goes up, what goes down, the largest of each by name.
    """
    grid, base = case.grid, case.grid.s_base_mva
    groups: dict[tuple[str, bool], list[tuple[str, float]]] = {}
    for m in np.argsort(-np.abs(change), kind="stable").tolist():
        if not change[m]:
            break
        verb, sign = _verb(case, m)
        p = sign * float(case.injection.p[0, m]) * base
        by = sign * float(change[m]) * base
        to = 0.0 if abs(p + by) < NOTHING_MW else p + by
        words = f"{grid.unit_label[m]} from {p:.4g} to {to:.4g} MW"
        groups.setdefault((verb, by > 0), []).append((words, by))
    if sum(map(len, groups.values())) <= SPELLED:
        said = [f"{_DOES[v]} {words}" for (v, _), items in groups.items() for words, _ in items]
        return ", ".join(said)
    return "; ".join(
        f"{_DOES[verb]} {sum(by for _, by in items):+.4g} MW at "
        f"{named([words for words, _ in items])}"
        for (verb, _), items in groups.items()
    )


def named(items: list[str], most: int = NAMED) -> str:
    """The first of a list, and how many there are besides."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
