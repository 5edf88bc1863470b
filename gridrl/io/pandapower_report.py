"""The loss report of the pandapower door: every table with rows ends in a row here."""

from typing import Any

import numpy as np
import pandas as pd

from gridrl.case import Fate, ReportRow
from gridrl.grid import Bools
from gridrl.io.pandapower_branches import Branches
from gridrl.io.pandapower_ppc import Model
from gridrl.io.pandapower_units import column

KEPT = "bus line trafo impedance ext_grid gen sgen load storage shunt".split()
MAPPED = {
    "trafo3w": "three two-winding legs that meet at a star point, as pandapower does",
    "ward": "one constant-power and one constant-impedance unit each",
    "xward": "a ward, and a voltage source behind its impedance",
    "motor": "constant power from rating, loading, efficiency and cos phi",
    "dcline": "two generators each, as pandapower does",
    "asymmetric_load": "the sum of the phases, balanced",
    "asymmetric_sgen": "the sum of the phases, balanced",
}
NOT_READ = {
    "controller": "controllers are not run: taps and set points stay as they stand in the net",
    "measurement": "measurements have no effect on a power flow",
    "group": "groups have no effect on a power flow",
    "trafo_characteristic_table": "",
    "shunt_characteristic_table": "",
}
_STEPS = "evaluated at the present position; other positions are not kept"


def report(net: Any, model: Model, branches: Branches, looped: Bools) -> list[ReportRow]:
    """Rows for ``net`` as it was converted; ``looped`` marks branches that became shunts."""
    rows = []
    for table, frame in net.items():
        if not isinstance(frame, pd.DataFrame) or table.startswith(("_", "res_")) or not len(frame):
            continue
        if table in ("poly_cost", "pwl_cost"):  # gridrl.io.pandapower_costs reports them
            continue
        rows += _table(net, table, model)
    rows += _loops(branches, looped)
    return rows + _ratings(net) + _shared_voltage(model)


def _row(fate: Fate, kind: str, ids: Any, note: str = "") -> ReportRow:
    names = tuple(str(k) for k in ids)
    named = fate in (Fate.REFUSED, Fate.SUSPECT)
    return ReportRow(
        fate=fate, kind=kind, count=len(names), note=note, elements=names if named else ()
    )


def _table(net: Any, table: str, model: Model) -> list[ReportRow]:
    frame = net[table]
    if table == "gen":
        frame = frame.iloc[: model.n_gen]
        return [_row(Fate.KEPT, table, frame.index)] if len(frame) else []
    if table == "switch":
        return _switches(net)
    if table in KEPT:
        rows = [_row(Fate.KEPT, table, frame.index)]
        return rows + (_zip(net) if table == "load" else [])
    if table in MAPPED:
        return [_row(Fate.MAPPED, table, frame.index, MAPPED[table])]
    if table.endswith("characteristic_table"):
        return [_row(Fate.MAPPED, table, frame.index, _STEPS)]
    if table in ("bus_geodata", "line_geodata"):
        note = "coordinates of an old version; pandapower.convert_format moves them to bus.geo"
        return [_row(Fate.REFUSED, table, frame.index, note)]
    return [_row(Fate.REFUSED, table, frame.index, NOT_READ.get(table, "table not read"))]


def _switches(net: Any) -> list[ReportRow]:
    switch = net.switch
    bus_bus = (switch.et == "b").to_numpy()
    closed, impedance = switch.closed.to_numpy(dtype=bool), switch.z_ohm.to_numpy() > 0
    rows = []
    for mask, note in (
        (bus_bus & closed & ~impedance, "closed bus-bus switch: its buses are one substation"),
        (bus_bus & ~closed & ~impedance, "open bus-bus switch: its buses stay separate"),
        (bus_bus & impedance, "bus-bus switch with an impedance: a branch"),
        (~bus_bus, "switch at a branch: connects or disconnects the end of that branch"),
    ):
        if mask.any():
            rows.append(_row(Fate.MAPPED, "switch", switch.index[mask], note))
    return rows


def _zip(net: Any) -> list[ReportRow]:
    load = net.load
    fields = [f"const_{kind}_{quantity}_percent" for kind in "zi" for quantity in "pq"]
    dependent = np.any([column(load, field, 0.0) != 0.0 for field in fields], axis=0)
    if not dependent.any():
        return []
    note = (
        "voltage dependence as pandapower solves it: the mean of the shares of the loads at a bus, "
        "applied to all constant-power elements there"
    )
    return [_row(Fate.MAPPED, "load", load.index[dependent], note)]


def _loops(branches: Branches, looped: Bools) -> list[ReportRow]:
    if not looped.any():
        return []
    note = "both ends on one substation: only the shunt admittance acts, as a shunt unit"
    return [_row(Fate.MAPPED, "branch", branches.element[looped], note)]


def _ratings(net: Any) -> list[ReportRow]:
    """Ratings that are missing or zero, and the loading limits of the optimal power flow."""
    rows = []
    if len(net.line):
        missing = ~(column(net.line, "max_i_ka", np.nan) > 0.0)
        if missing.any():
            note = "max_i_ka is missing or not positive: the line is taken as unlimited"
            rows.append(_row(Fate.SUSPECT, "line", net.line.index[missing], note))
    for table in ("line", "trafo", "trafo3w"):
        limited = ~np.isnan(column(net[table], "max_loading_percent", np.nan))
        if limited.any():
            note = "max_loading_percent is not read: loadings and limits refer to the full rating"
            rows.append(
                _row(Fate.REFUSED, f"{table}.max_loading_percent", net[table].index[limited], note)
            )
    return rows


def _shared_voltage(model: Model) -> list[ReportRow]:
    """Fused buses with different nominal voltages: pandapower lets one of them decide."""
    bus = model.net.bus
    ours = model.vn_kv[model.substation_of(bus.index)]
    odd = ~np.isclose(bus.vn_kv.to_numpy(), ours, rtol=1e-6)
    if not odd.any():
        return []
    note = (
        "vn_kv (kV) differs from the bus it is joined with by a closed switch, whose vn_kv counts"
    )
    return [_row(Fate.SUSPECT, "bus", bus.index[odd], note)]
