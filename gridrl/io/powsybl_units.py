"""Loads, generators, shunts, compensators, batteries and DC lines of a powsybl network.

Sources: the IIDM grid model. Loads and boundary injections are positive when drawn, generators,
batteries and VSC set points when injected; here everything is positive into the bus.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from gridrl.case import Fate, ReportRow
from gridrl.errors import GridError, offending
from gridrl.grid import Bools, Floats, Ints
from gridrl.io.assemble import Units, stack
from gridrl.io.powsybl_places import S_BASE_MVA, Frame, Places


def read_units(network: Any, places: Places, rows: list[ReportRow]) -> list[Units]:
    """Every unit of the network; what cannot be represented is named in ``rows``."""
    parts: list[Units] = []
    loads = Frame.read("load", network.get_loads(all_attributes=True))
    if len(loads):
        parts.append(_plain(loads, places, "p0", "q0", -1.0))
    gens = Frame.read("gen", network.get_generators(all_attributes=True))
    if len(gens):
        parts.append(_gens(gens, places, rows))
    batteries = Frame.read("battery", network.get_batteries(all_attributes=True))
    if len(batteries):
        parts.append(_plain(batteries, places, "target_p", "target_q", 1.0))
    shunts = Frame.read("shunt", network.get_shunt_compensators(all_attributes=True))
    if len(shunts):
        parts.append(_shunts(shunts, places, rows))
    compensators = Frame.read("svc", network.get_static_var_compensators(all_attributes=True))
    if len(compensators):
        parts.append(_compensators(compensators, places, rows))
    rows += [
        ReportRow(fate=Fate.KEPT, kind=frame.kind, count=len(frame), note="")
        for frame in (loads, gens, batteries, shunts, compensators)
        if len(frame)
    ]
    lines = Frame.read("dcline", network.get_hvdc_lines(all_attributes=True))
    if len(lines):
        parts += _dc_lines(lines, network, places, rows)
    return parts


def _plain(frame: Frame, places: Places, p: str, q: str, sign: float) -> Units:
    at, busbar = places.terminal(frame.texts("bus_id"), frame.texts("voltage_level_id"))
    return Units.plain(
        frame.kind,
        frame.id,
        at,
        sign * frame.numbers(p, "MW") / S_BASE_MVA,
        sign * frame.numbers(q, "MVAr") / S_BASE_MVA,
        name=frame.name,
        in_service=busbar > 0,
    )


def _note(
    rows: list[ReportRow], fate: Fate, kind: str, frame: Frame, mask: Bools, note: str
) -> None:
    if mask.any():
        ids = tuple(frame.id[int(k)] for k in np.flatnonzero(mask))
        rows.append(ReportRow(fate=fate, kind=kind, count=len(ids), note=note, elements=ids))


def _set_points(
    frame: Frame, places: Places, at: Ints, holds: Bools, rows: list[ReportRow]
) -> Floats:
    """Voltage set points p.u. at the own bus, NaN where none is held.

    A set point for another bus is taken over in per unit of that bus, unless the file gives its
    local equivalent in kV.
    """
    target = frame.data["target_v"].astype(float)
    bad = holds & ~(target > 0)
    if bad.any():
        raise GridError(
            f"{bad.sum()} {frame.kind} rows hold a voltage without a positive target_v (kV): "
            f"{offending(bad, frame.id)}. Give target_v, or switch the regulation off."
        )
    aimed = np.array([places.of_bus.get(bus, -1) for bus in frame.texts("regulated_bus_id")])
    node = places.buses.node
    remote = holds & (aimed >= 0) & (node[aimed] != node[at])
    v_set = target / places.vn(np.where(remote, aimed, at))
    if "equivalent_local_target_v" in frame.data:
        local = frame.data["equivalent_local_target_v"].astype(float)
        v_set = np.where(remote & (local > 0), local / places.vn(at), v_set)
    note = "regulates another bus in the file; here it holds its set point at its own bus"
    _note(rows, Fate.REFUSED, "remote voltage control", frame, remote, note)
    return np.where(holds, v_set, np.nan)


def _gens(frame: Frame, places: Places, rows: list[ReportRow]) -> Units:
    holds = frame.flags("voltage_regulator_on")
    # A generator that holds a voltage needs no target_q, and many files have none.
    missing = holds & np.isnan(frame.data["target_q"].astype(float))
    target_q = np.where(missing, 0.0, frame.data["target_q"].astype(float))
    frame = replace(frame, data={**frame.data, "target_q": target_q})
    units = _plain(frame, places, "target_p", "target_q", 1.0)
    curves = np.array([kind == "CURVE" for kind in frame.texts("reactive_limits_kind")], dtype=bool)
    note = "the reactive capability curve is read at the scheduled P"
    _note(rows, Fate.MAPPED, "reactive curve", frame, curves, note)
    p_max = frame.limits("max_p", np.inf) / S_BASE_MVA
    return replace(
        units,
        v_set=_set_points(frame, places, units.bus, holds, rows),
        dispatchable=np.ones(units.bus.size, dtype=bool),
        p_min=frame.limits("min_p", -np.inf) / S_BASE_MVA,
        p_max=p_max,
        q_min=frame.limits("min_q_at_target_p", -np.inf) / S_BASE_MVA,
        q_max=frame.limits("max_q_at_target_p", np.inf) / S_BASE_MVA,
        slack_weight=np.where(np.isfinite(p_max), np.maximum(p_max, 0), 0),
    )


def _shunts(frame: Frame, places: Places, rows: list[ReportRow]) -> Units:
    """Admittance of the present section count; 1 S at 1 kV draws 1 MW."""
    at, busbar = places.terminal(frame.texts("bus_id"), frame.texts("voltage_level_id"))
    scale = places.vn(at) ** 2 / S_BASE_MVA
    note = "automatic control is not represented; the section count of the file is kept"
    moving = frame.flags("voltage_regulation_on")
    _note(rows, Fate.REFUSED, "shunt control", frame, moving, note)
    return Units.plain(
        "shunt",
        frame.id,
        at,
        -frame.numbers("g", "S") * scale,
        frame.numbers("b", "S") * scale,
        name=frame.name,
        in_service=busbar > 0,
        impedance=True,
    )


def _compensators(frame: Frame, places: Places, rows: list[ReportRow]) -> Units:
    """Static var compensators: at a voltage, at a reactive power, or off."""
    at, busbar = places.terminal(frame.texts("bus_id"), frame.texts("voltage_level_id"))
    mode = np.array(frame.texts("regulation_mode"))
    on = frame.flags("regulating")
    fixed = on & (mode == "REACTIVE_POWER")
    q = np.where(fixed, -frame.data["target_q"].astype(float), 0.0) / S_BASE_MVA
    if np.isnan(q).any():
        raise GridError(f"svc {offending(np.isnan(q), frame.id)}: target_q (MVAr) is missing.")
    units = Units.plain(
        "svc", frame.id, at, np.zeros(len(frame)), q, name=frame.name, in_service=busbar > 0
    )
    scale = places.vn(at) ** 2 / S_BASE_MVA
    holds = on & (mode == "VOLTAGE")
    note = "susceptance limits are taken as reactive power limits at 1 p.u."
    _note(rows, Fate.MAPPED, "svc limits", frame, holds, note)
    return replace(
        units,
        v_set=_set_points(frame, places, at, holds, rows),
        q_min=frame.limits("b_min", -np.inf) * scale,
        q_max=frame.limits("b_max", np.inf) * scale,
    )


def _dc_lines(lines: Frame, network: Any, places: Places, rows: list[ReportRow]) -> list[Units]:
    """Each DC line as two units, one per converter station, its active power being fixed.

    The inverter gives (P (1 - l1) - r I^2) (1 - l2) with losses l in per cent of either station
    and I = P (1 - l1) / nominal voltage (PowSyBl, ``HvdcUtils``).
    """
    stations = {
        "vsc": Frame.read("vsc", network.get_vsc_converter_stations(all_attributes=True)),
        "lcc": Frame.read("lcc", network.get_lcc_converter_stations(all_attributes=True)),
    }
    home = {ident: (kind, k) for kind, f in stations.items() for k, ident in enumerate(f.id)}
    set_v = {
        "vsc": _station_set_points(stations["vsc"], places, rows),
        "lcc": np.full(len(stations["lcc"]), np.nan),
    }
    power = lines.numbers("target_p", "MW")
    resistance, nominal = lines.numbers("r", "ohm"), lines.numbers("nominal_v", "kV")
    first_sends = np.array(
        [mode.startswith("SIDE_1_RECTIFIER") for mode in lines.texts("converters_mode")]
    )
    ends = [[home[i] for i in lines.texts(f"converter_station{side}_id")] for side in "12"]
    loss = [np.array([stations[kind].data["loss_factor"][k] for kind, k in end]) for end in ends]
    sends, takes = (np.where(first_sends, loss[a], loss[b]) / 100 for a, b in ((0, 1), (1, 0)))
    through = power * (1 - sends)
    arriving = (through - resistance * (through / nominal) ** 2) * (1 - takes)
    live = lines.flags("connected1") & lines.flags("connected2")
    parts = []
    for side, end in enumerate(ends):
        p = np.where(first_sends == (side == 0), -power, arriving) * live
        frames = [stations[kind] for kind, _ in end]
        at, busbar = places.terminal(
            [f.texts("bus_id")[k] for f, (_, k) in zip(frames, end, strict=True)],
            [f.texts("voltage_level_id")[k] for f, (_, k) in zip(frames, end, strict=True)],
        )
        q = np.array([_station_q(stations, where, p[k]) for k, where in enumerate(end)])
        units = Units.plain(
            "dcline",
            lines.id,
            at,
            p / S_BASE_MVA,
            q / S_BASE_MVA,
            name=lines.name,
            in_service=busbar > 0,
        )
        held = np.array([set_v[kind][k] for kind, k in end])
        parts.append(replace(units, v_set=held))
    note = "two injections, active power fixed at the scheduled value less losses"
    rows.append(ReportRow(fate=Fate.MAPPED, kind="dcline", count=len(lines), note=note))
    droop = Frame.read("dcline", network.get_extensions("hvdcAngleDroopActivePowerControl"))
    if len(droop):
        enabled = droop.flags("enabled")
        note = "angle droop (AC emulation) is not represented; the schedule is kept"
        _note(rows, Fate.REFUSED, "dcline droop", droop, enabled, note)
    return [stack(parts)]


def _station_set_points(frame: Frame, places: Places, rows: list[ReportRow]) -> Floats:
    if not len(frame):
        return np.zeros(0)
    at, _ = places.terminal(frame.texts("bus_id"), frame.texts("voltage_level_id"))
    return _set_points(frame, places, at, frame.flags("voltage_regulator_on"), rows)


def _station_q(stations: dict[str, Frame], where: tuple[str, int], p: float) -> float:
    """Reactive power that a station injects, MVAr."""
    kind, k = where
    frame = stations[kind]
    if kind == "vsc":
        q = float(frame.data["target_q"][k])
        return 0.0 if np.isnan(q) else q
    factor = float(frame.data["power_factor"][k])
    if not 0 < abs(factor) <= 1:
        raise GridError(f"lcc {frame.id[k]}: power_factor is {factor}; it must lie in 0..1.")
    return -abs(p) * float(np.tan(np.arccos(abs(factor))))
