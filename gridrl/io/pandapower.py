"""The pandapower door: a pandapower net, in memory or by name, becomes a `Case`.

A power flow on the `Case` equals ``pandapower.runpp`` with its default options (and the net's
own ``user_pf_options``): transformers as T model, voltage angles calculated, loads voltage
dependent, reactive limits not enforced. The net handed in is left untouched.
"""

import json
import random
import warnings
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from gridrl.case import Case, ReportRow
from gridrl.errors import CaseError
from gridrl.grid import Bools, Floats, Grid, Injection, Topology
from gridrl.io.pandapower_branches import (
    BRANCH_TABLES,
    Branches,
    build_branches,
    impedance_switches,
)
from gridrl.io.pandapower_check import clean
from gridrl.io.pandapower_costs import read_costs
from gridrl.io.pandapower_ppc import Model, build_model
from gridrl.io.pandapower_report import report as loss_report
from gridrl.io.pandapower_steps import read_steps
from gridrl.io.pandapower_units import UNIT_TABLES, Units, build_units, column
from gridrl.io.validate import validate


def load_pandapower(
    net: Any,
    *,
    name: str,
    source: str = "",
    report: tuple[ReportRow, ...] = (),
    voltage_angles: bool = True,
) -> Case:
    """Convert a pandapower net.

    Parameters
    ----------
    net : pandapowerNet
        Copied before anything is changed.
    name : str
        What the grid is called in results.
    source : str
        What the user asked for, if not the name.
    report : tuple of ReportRow
        What reading the net has cost so far.
    voltage_angles : bool
        ``calculate_voltage_angles`` of ``runpp``. With False, transformer phase shifts and the
        angles of external grids are ignored, in the AC and in the DC model.

    Raises
    ------
    CaseError, GridError
        The net contradicts itself; the message names table, element, field and unit.
    """
    own, rows = clean(net)
    model = build_model(own, voltage_angles=voltage_angles)
    with np.errstate(all="ignore"):  # what overflows is refused by `validate`, with its name
        case = _convert(model, name, source or name, [*report, *rows])
    return replace(case, report=(*case.report, *validate(case)))


def _convert(model: Model, name: str, source: str, rows: list[ReportRow]) -> Case:
    own = model.net
    tables = [*BRANCH_TABLES, *(table for table in UNIT_TABLES if table not in BRANCH_TABLES)]
    frames = {table: own[table] for table in tables} | {
        "switch": impedance_switches(own),
        "gen": own.gen.iloc[: model.n_gen],
    }
    sizes = [len(frames[table]) for table in tables]
    first = dict(zip(tables, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
    branches = build_branches(model, first)
    looped = branches.from_substation == branches.to_substation
    units = build_units(model, first, branches.take(looped))
    rows = [*rows, *loss_report(own, model, branches, looped)]
    branches = branches.take(~looped)
    at = {key: k for k, key in enumerate(zip(units.kind, units.element, strict=True))}

    def unit_of(table: str, index: int) -> int | None:
        position = frames[table].index.get_indexer([index])[0]
        return at.get((table, first[table] + position)) if position >= 0 else None

    costs, cost_rows = read_costs(own, unit_of)
    rows += cost_rows
    grid = Grid(
        name=name,
        s_base_mva=float(own.sn_mva),
        **_bus_columns(model),
        **_substation_columns(model, own),
        element_kind=tuple(np.repeat(tables, sizes).tolist()),
        element_id=tuple(str(k) for table in tables for k in frames[table].index),
        element_name=tuple(text for table in tables for text in _names(frames[table])),
        **_branch_columns(branches),
        **_unit_columns(units),
        costs=costs,
        steps=read_steps(own, branches, units, first, float(own.sn_mva)),
    )
    return Case(
        grid=grid,
        topology=_topology(branches, units),
        injection=Injection(p=units.p[None], q=units.q[None], v_set=units.v_set[None]),
        report=tuple(rows),
        source=source,
        origin=f"pandapower {version('pandapower')}",
        notes=_notes(model),
    )


def _notes(model: Model) -> tuple[str, ...]:
    """What the net's own ``user_pf_options`` change against a plain power flow."""
    options = model.options
    notes = []
    if not options["calculate_voltage_angles"]:
        notes.append("Transformer phase shifts and external grid angles are ignored.")
    if options["trafo_loading"] == "power" and len(model.net.trafo3w):
        notes.append("Legs of three-winding transformers are rated in MVA at their star point too.")
    asked = ("enforce_q_lims", "enforce_p_lims", "distributed_slack")
    notes += [
        f"The network asks for {key} in user_pf_options; ask the solver for it."
        for key in asked
        if options[key]
    ]
    return tuple(notes)


def _names(frame: Any) -> list[str]:
    return _texts(frame, "name")


def _texts(frame: Any, column: str) -> list[str]:
    """A column as text; whole numbers without a decimal point, empty where nothing is given."""
    if column not in frame:
        return [""] * len(frame)
    return [_text(value) for value in frame[column]]


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


def _bus_columns(model: Model) -> dict[str, Any]:
    bus = model.net.bus
    x, y = _coordinates(model.net)
    return {
        "bus_id": tuple(str(k) for k in bus.index),
        "bus_name": tuple(_names(bus)),
        "bus_substation": model.substation_of(bus.index),
        "bus_x": x,
        "bus_y": y,
        "bus_area": tuple(_texts(bus, "zone")),
    }


def _coordinates(net: Any) -> tuple[Floats, Floats]:
    """Longitude and latitude (or x and y) of every bus, NaN where unknown or unreadable."""
    xy = np.full((len(net.bus), 2), np.nan)
    if "geo" in net.bus:
        for k, text in enumerate(net.bus.geo):
            if isinstance(text, str) and text:
                try:
                    xy[k] = json.loads(text)["coordinates"][:2]
                except (ValueError, KeyError, TypeError, RecursionError):
                    xy[k] = np.nan
    xy[~np.isfinite(xy).all(axis=1)] = np.nan
    return xy[:, 0], xy[:, 1]


def _substation_columns(model: Model, net: Any) -> dict[str, Any]:
    size = model.rows.size
    at = model.substation_of(net.bus.index)
    v_min, v_max = np.zeros(size), np.full(size, np.inf)
    np.maximum.at(v_min, at, column(net.bus, "min_vm_pu", 0.0))
    np.minimum.at(v_max, at, column(net.bus, "max_vm_pu", np.inf))
    names = [""] * size
    labels = [text or f"bus {k}" for k, text in zip(net.bus.index, _names(net.bus), strict=True)]
    for k, label in zip(at.tolist()[::-1], labels[::-1], strict=True):
        names[k] = label  # the first bus of several gives the name
    stars = [f"{table}:{k} star" for table in ("xward", "trafo3w") for k in net[table].index]
    names[size - len(stars) :] = stars
    return {
        "substation_name": tuple(names),
        "vn_kv": model.vn_kv,
        "v_min": v_min,
        "v_max": v_max,
        "is_star": model.is_star,
    }


def _branch_columns(branches: Branches) -> dict[str, Any]:
    y_ff, y_ft, y_tf, y_tt = branches.y.T
    return {
        "branch_element": branches.element.astype(np.int64),
        "from_substation": branches.from_substation.astype(np.int64),
        "to_substation": branches.to_substation.astype(np.int64),
        "y_ff": y_ff,
        "y_ft": y_ft,
        "y_tf": y_tf,
        "y_tt": y_tt,
        "b_dc": branches.b_dc,
        "shift_dc": branches.shift_dc,
        "i_max_from": branches.i_max_from,
        "i_max_to": branches.i_max_to,
        "s_max": branches.s_max,
        "angle_min": np.full(branches.element.size, -np.inf),
        "angle_max": np.full(branches.element.size, np.inf),
    }


def _unit_columns(units: Units) -> dict[str, Any]:
    same = (
        "controls_voltage is_reference va_reference slack_weight dispatchable "
        "p_min p_max q_min q_max"
    ).split()
    return {key: getattr(units, key) for key in same} | {
        "unit_element": units.element.astype(np.int64),
        "unit_kind": tuple(units.kind.tolist()),
        "unit_substation": units.substation,
        "i_share_p": units.share[:, 0],
        "i_share_q": units.share[:, 1],
        "z_share_p": units.share[:, 2],
        "z_share_q": units.share[:, 3],
    }


def _topology(branches: Branches, units: Units) -> Topology:
    on: Bools = np.concatenate([branches.from_on, branches.to_on, units.on])
    return Topology(busbar=on.astype(np.int8)[None], closed=branches.closed[None])


def build_named(function: str) -> Any:
    """The network that ``pandapower.networks.<function>()`` makes.

    Raises
    ------
    CaseError
        pandapower has no such function or cannot run it here.
    """
    import pandapower.networks

    make = getattr(pandapower.networks, function, None)
    if make is None:
        raise CaseError(f"pandapower {version('pandapower')} has no network '{function}'.")
    state = random.getstate()
    random.seed(0)  # the Kerber networks draw lengths; the same name must give the same grid
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()
    finally:
        random.setstate(state)
