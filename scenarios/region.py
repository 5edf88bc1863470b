"""A part of a larger grid: some of its buses, with what flows over the boundary as injections."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from gridrl.arrays import Ints
from gridrl.case import Case
from gridrl.costs import Costs
from gridrl.errors import ScenarioError
from gridrl.grid import Grid, Injection, Topology
from gridrl.powerflow.engine import prepare
from gridrl.steps import Steps

BOUNDARY = "boundary"


def region_of(case: Case, buses: tuple[str, ...]) -> Case:
    """The case with these buses alone.

    Each branch that is cut becomes a load ``boundary_KIND_ID`` at its inner end, which draws what
    flows out there in the power flow of the whole grid, so that the voltages inside stay what they
    are. Where the reference machine is outside, the largest voltage-controlling generator inside
    takes its place, with the angle that its bus has.

    Raises
    ------
    ScenarioError
        A bus does not exist, the region has no generator that can hold its voltage, or the whole
        grid has no power flow.
    """
    grid = case.grid
    strange = [bus for bus in buses if bus not in grid.bus_id]
    if strange:
        raise ScenarioError(f"The region names bus {strange[0]}, which {grid.name} does not have.")
    inside = np.zeros(grid.n_substation, np.bool_)
    inside[[int(grid.bus_substation[grid.bus_id.index(bus)]) for bus in buses]] = True
    kept_branch = inside[grid.from_substation] & inside[grid.to_substation]
    cut = inside[grid.from_substation] ^ inside[grid.to_substation]
    cut &= case.topology.closed[0]
    found = prepare(case).flow()
    if not found.solved()[0]:
        raise ScenarioError(f"{grid.name} has no power flow, so that no region can be cut from it.")
    s_from, s_to = found.s_from[0], found.s_to[0]
    lost = np.flatnonzero(cut)
    starts_in = inside[grid.from_substation[lost]]
    outflow = np.where(starts_in, s_from[lost], s_to[lost])
    at = np.where(starts_in, grid.from_substation[lost], grid.to_substation[lost])
    part = _taken(case, inside, np.flatnonzero(kept_branch))
    part = _with_loads(part, np.cumsum(inside)[at] - 1, outflow, _names(grid, lost))
    return _with_reference(part, np.angle(found.v[0, : grid.n_substation])[inside])


def _names(grid: Grid, branches: Ints) -> list[str]:
    """Names of the loads that stand for cut branches: unique also where an element has several."""
    out: list[str] = []
    for k in branches.tolist():
        e = int(grid.branch_element[k])
        name = f"{BOUNDARY}_{grid.element_kind[e]}_{grid.element_id[e]}"
        out.append(name if name not in out else f"{name}_{out.count(name) + 1}")
    return out


def _taken(case: Case, inside: np.ndarray[Any, Any], branch: Ints) -> Case:
    """What lies inside, with all index arrays renumbered."""
    grid = case.grid
    unit = np.flatnonzero(inside[grid.unit_substation])
    bus = np.flatnonzero(inside[grid.bus_substation])
    element = np.union1d(grid.branch_element[branch], grid.unit_element[unit])
    substation = np.flatnonzero(inside)
    which = {"branch": branch, "unit": unit, "bus": bus, "element": element}
    which["substation"] = substation
    to_substation = np.cumsum(inside) - 1
    to_element = np.full(grid.n_element, -1)
    to_element[element] = np.arange(element.size)
    changed: dict[str, Any] = {}
    for name, kind in _KIND_OF.items():
        value = getattr(grid, name)
        if isinstance(value, tuple):
            changed[name] = tuple(value[k] for k in which[kind])
        else:
            changed[name] = value[which[kind]]
    for name in ("from_substation", "to_substation", "unit_substation", "bus_substation"):
        changed[name] = to_substation[changed[name]]
    for name in ("branch_element", "unit_element"):
        changed[name] = to_element[changed[name]]
    ends = np.concatenate([branch, grid.n_branch + branch, 2 * grid.n_branch + unit])
    topology, injection = case.topology, case.injection
    return replace(
        case,
        grid=replace(
            grid, name=f"region of {grid.name}", costs=_costs(grid.costs, unit),
            steps=Steps.none(), **changed,
        ),
        topology=Topology(busbar=topology.busbar[:, ends], closed=topology.closed[:, branch]),
        injection=Injection(p=injection.p[:, unit], q=injection.q[:, unit],
                            v_set=injection.v_set[:, unit]),
        start=None,
    )  # fmt: skip


def _costs(costs: Costs, unit: Ints) -> Costs:
    """Polynomial costs of the units that are kept; piecewise ones are left out."""
    kept = np.flatnonzero(np.isin(costs.unit, unit) & (np.diff(costs.point_start) == 0))
    return replace(
        costs, unit=np.searchsorted(unit, costs.unit[kept]).astype(np.int64),
        of_reactive=costs.of_reactive[kept], coefficient=costs.coefficient[kept],
        point_start=np.zeros(kept.size + 1, np.int64), point_power=np.zeros(0),
        point_cost=np.zeros(0),
    )  # fmt: skip


_UNIT_VALUES = {
    "unit_kind": "load", "controls_voltage": False, "is_reference": False, "va_reference": 0.0,
    "slack_weight": 0.0, "dispatchable": False, "p_min": -np.inf, "p_max": np.inf,
    "q_min": -np.inf, "q_max": np.inf, "i_share_p": 0.0, "i_share_q": 0.0, "z_share_p": 0.0,
    "z_share_q": 0.0,
}  # fmt: skip


def _with_loads(case: Case, at: Ints, power: Any, names: list[str]) -> Case:
    """More loads: complex power that each draws at a substation."""
    grid, m = case.grid, len(names)
    changed: dict[str, Any] = {}
    for name, value in _UNIT_VALUES.items():
        old = getattr(grid, name)
        if isinstance(old, tuple):
            changed[name] = (*old, *[value] * m)
        else:
            changed[name] = np.concatenate([old, np.full(m, value, old.dtype)])
    new = grid.n_element + np.arange(m)
    injection, busbar = case.injection, case.topology.busbar
    return replace(
        case,
        grid=replace(
            grid, **changed, unit_element=np.concatenate([grid.unit_element, new]),
            unit_substation=np.concatenate([grid.unit_substation, at]),
            element_kind=(*grid.element_kind, *["load"] * m),
            element_id=(*grid.element_id, *names), element_name=(*grid.element_name, *[""] * m),
        ),
        topology=replace(
            case.topology, busbar=np.concatenate([busbar, np.ones((1, m), np.int8)], axis=1)
        ),
        injection=Injection(
            p=np.concatenate([injection.p, -power.real[None]], axis=1),
            q=np.concatenate([injection.q, -power.imag[None]], axis=1),
            v_set=np.concatenate([injection.v_set, np.full((1, m), np.nan)], axis=1),
        ),
    )  # fmt: skip


def _with_reference(case: Case, angle: Any) -> Case:
    """A machine that holds the angle, where none inside did."""
    grid = case.grid
    if grid.is_reference.any():
        return case
    machines = np.flatnonzero(grid.controls_voltage)
    if not machines.size:
        raise ScenarioError(
            "The region has no generator that holds a voltage. Add a bus with one to it."
        )
    size = np.where(np.isfinite(grid.p_max[machines]), grid.p_max[machines], 0.0)
    chosen = int(machines[size.argmax()])
    reference, weight, held = (
        np.array(getattr(grid, name)) for name in ("is_reference", "slack_weight", "va_reference")
    )
    reference[chosen], weight[chosen] = True, 1.0
    held[chosen] = angle[grid.unit_substation[chosen]]
    return replace(
        case,
        grid=replace(grid, is_reference=reference, slack_weight=weight, va_reference=held),
    )


def _kinds() -> dict[str, str]:
    """Fields of a grid that have one entry for each bus, substation, element, branch or unit."""
    out = {}
    branch = ("y_", "b_dc", "shift_dc", "i_max", "s_max", "angle_", "from_", "to_", "branch_")
    substation = ("substation_", "vn_kv", "v_min", "v_max", "is_star")
    for field in fields(Grid):
        name = field.name
        if name in ("name", "s_base_mva", "costs", "steps"):
            continue
        if name.startswith("bus_"):
            out[name] = "bus"
        elif name.startswith(substation):
            out[name] = "substation"
        elif name.startswith("element_"):
            out[name] = "element"
        else:
            out[name] = "branch" if name.startswith(branch) else "unit"
    return out


_KIND_OF = _kinds()
