"""Lines, transformers and boundary lines of a powsybl network as two-ports in per unit.

Sources: the IIDM grid model. Impedances are in ohm, admittances in siemens. A transformer is an
ideal ratio ``rho e^(j alpha)`` at side 1, then its shunt ``g + jb``, then ``r + jx``, all
referred to side 2 (to the star point for a leg). In SI, i = Y v; per unit divides by nothing but
the nominal voltages of both ends, so ends of different nominal voltage need no correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridrl.case import Fate, ReportRow
from gridrl.errors import GridError, offending
from gridrl.grid import Complexes, Floats, Ints
from gridrl.io.assemble import Branches, Buses, Units
from gridrl.io.powsybl_places import S_BASE_MVA, Frame, Places
from gridrl.io.twoport import pi_model


@dataclass(frozen=True, eq=False, kw_only=True)
class End:
    """One side of branches: where, whether connected, nominal voltage."""

    at: Ints  # [n] bus position
    busbar: NDArray[np.int8]  # [n]
    vn_kv: Floats  # [n]


@dataclass(frozen=True, eq=False, kw_only=True)
class Drawn:
    """Branches with the star points and injections that came with them."""

    branches: tuple[Branches, ...]
    buses: Buses  # all buses, star points last
    units: tuple[Units, ...]


def read_branches(network: Any, lines: Frame, places: Places, rows: list[ReportRow]) -> Drawn:
    """Every branch of the network; what cannot be represented is named in ``rows``."""
    parts = []
    if len(lines):
        parts.append(_lines(lines, places))
    trafos = Frame.read("trafo", network.get_2_windings_transformers(all_attributes=True))
    if len(trafos):
        parts.append(_trafos(trafos, places))
    buses, units = places.buses, []
    legs = Frame.read("trafo3w", network.get_3_windings_transformers(all_attributes=True))
    if len(legs):
        buses, star = _with_stars(buses, legs.name, legs.id, legs.numbers("rated_u0", "kV"))
        parts += [_leg(legs, side, star, places) for side in "123"]
    boundary = Frame.read("boundary_line", network.get_boundary_lines(all_attributes=True))
    ties = Frame.read("tie_line", network.get_tie_lines(all_attributes=True))
    if len(boundary):
        buses, halves, injections = _boundary(boundary, ties, buses, places, network, rows)
        parts.append(halves)
        units.append(injections)
    rows += [
        ReportRow(fate=Fate.KEPT, kind=frame.kind, count=len(frame), note="")
        for frame in (lines, trafos, legs, boundary)
        if len(frame)
    ]
    _report_controls(network, rows)
    return Drawn(branches=tuple(parts), buses=buses, units=tuple(units))


def _end(frame: Frame, places: Places, side: str) -> End:
    at, busbar = places.terminal(
        frame.texts(f"bus{side}_id"), frame.texts(f"voltage_level{side}_id")
    )
    return End(at=at, busbar=busbar, vn_kv=places.vn(at))


def _series(frame: Frame, r: str, x: str) -> Complexes:
    z = frame.numbers(r, "ohm") + 1j * frame.numbers(x, "ohm")
    if (z == 0).any():
        raise GridError(
            f"{(z == 0).sum()} {frame.kind} rows have r = x = 0 ohm: "
            f"{offending(z == 0, frame.id)}. "
            "Give an impedance, or replace them by closed switches."
        )
    return np.asarray(1 / z, dtype=np.complex128)


def _two_port(
    frame: Frame,
    kind: str,
    ends: tuple[End, End],
    y_series: Complexes,
    y_ends: tuple[Complexes, Complexes],
    ratio: Complexes,
) -> Branches:
    """SI two-ports to per unit: Y12 in siemens times kV1 kV2 / MVA, and alike."""
    one, two = ends
    y_ff, y_ft, y_tf, y_tt = pi_model(y_series, *y_ends, ratio)
    with np.errstate(divide="ignore"):
        x = (1 / y_series).imag
    x = np.where(x == 0, np.abs(1 / y_series), x)
    unlimited = np.full(len(frame), np.inf)
    return Branches(
        kind=(kind,) * len(frame),
        id=frame.id,
        name=frame.name,
        from_bus=one.at,
        to_bus=two.at,
        y_ff=y_ff * one.vn_kv**2 / S_BASE_MVA,
        y_ft=y_ft * one.vn_kv * two.vn_kv / S_BASE_MVA,
        y_tf=y_tf * one.vn_kv * two.vn_kv / S_BASE_MVA,
        y_tt=y_tt * two.vn_kv**2 / S_BASE_MVA,
        b_dc=one.vn_kv * two.vn_kv / (x * np.abs(ratio) * S_BASE_MVA),
        shift_dc=np.angle(ratio),
        i_max_from=unlimited,
        i_max_to=unlimited,
        s_max=unlimited,
        angle_min=-unlimited,
        angle_max=unlimited,
        closed=np.ones(len(frame), dtype=bool),
        from_busbar=one.busbar,
        to_busbar=two.busbar,
    )


def _lines(frame: Frame, places: Places) -> Branches:
    y_ends = tuple(
        frame.numbers(f"g{side}", "S") + 1j * frame.numbers(f"b{side}", "S") for side in "12"
    )
    return _two_port(
        frame,
        "line",
        (_end(frame, places, "1"), _end(frame, places, "2")),
        _series(frame, "r", "x"),
        (y_ends[0], y_ends[1]),
        np.ones(len(frame), dtype=np.complex128),
    )


def _ratio(frame: Frame, rho: str, alpha: str) -> Complexes:
    """From side over inside: the inverse of IIDM's ``rho e^(j alpha)``."""
    gain = frame.numbers(rho, "-")
    if (gain <= 0).any():
        raise GridError(
            f"{(gain <= 0).sum()} {frame.kind} rows have no positive ratio {rho}: "
            f"{offending(gain <= 0, frame.id)}. Correct rated voltages and tap steps."
        )
    turn = np.exp(1j * np.deg2rad(frame.numbers(alpha, "degrees")))
    return np.asarray(1 / (gain * turn), dtype=np.complex128)


def _trafos(frame: Frame, places: Places) -> Branches:
    y_near = frame.numbers("g_at_current_tap", "S") + 1j * frame.numbers("b_at_current_tap", "S")
    return _two_port(
        frame,
        "trafo",
        (_end(frame, places, "1"), _end(frame, places, "2")),
        _series(frame, "r_at_current_tap", "x_at_current_tap"),
        (y_near, np.zeros(len(frame), dtype=np.complex128)),
        _ratio(frame, "rho", "alpha"),
    )


def _with_stars(
    buses: Buses, names: Sequence[str], ids: Sequence[str], vn_kv: Floats
) -> tuple[Buses, Ints]:
    """Append one star point per id; returns the buses and the positions of the new ones."""
    n = len(buses.id)
    if (vn_kv <= 0).any():
        raise GridError(
            f"The star point has no positive rated voltage (kV): {offending(vn_kv <= 0, ids)}."
        )
    fresh = int(buses.node.max(initial=-1)) + 1 + np.arange(len(ids))
    star = Buses(
        id=(*buses.id, *("",) * len(ids)),
        name=(*buses.name, *(name or ident for name, ident in zip(names, ids, strict=True))),
        node=np.concatenate([buses.node, fresh]),
        vn_kv=np.concatenate([buses.vn_kv, vn_kv]),
        v_min=np.concatenate([buses.v_min, np.zeros(len(ids))]),
        v_max=np.concatenate([buses.v_max, np.full(len(ids), np.inf)]),
        area=(*buses.area, *("",) * len(ids)),
    )
    return star, n + np.arange(len(ids), dtype=np.int64)


def _leg(frame: Frame, side: str, star: Ints, places: Places) -> Branches:
    """Leg ``side`` of every three-winding transformer, from its bus to the star point."""
    tap = f"{side}_at_current_tap"
    y_near = frame.numbers(f"g{tap}", "S") + 1j * frame.numbers(f"b{tap}", "S")
    inner = End(
        at=star,
        busbar=np.ones(len(frame), dtype=np.int8),
        vn_kv=frame.numbers("rated_u0", "kV"),
    )
    return _two_port(
        frame,
        "trafo3w",
        (_end(frame, places, side), inner),
        _series(frame, f"r{tap}", f"x{tap}"),
        (y_near, np.zeros(len(frame), dtype=np.complex128)),
        _ratio(frame, f"rho{side}", f"alpha{side}"),
    )


def _boundary(
    frame: Frame,
    ties: Frame,
    buses: Buses,
    places: Places,
    network: Any,
    rows: list[ReportRow],
) -> tuple[Buses, Branches, Units]:
    """Boundary lines, each to an inner point; the two halves of a tie line share theirs.

    Shunt admittance lies on the network side; at the inner point hangs the rest of the world,
    ``p0 + j q0`` drawn, less what its generation produces. Halves of a tie line draw nothing.
    """
    owner = frame.texts("tie_line_id")
    element = tuple(tie or own for tie, own in zip(owner, frame.id, strict=True))
    order = list(dict.fromkeys(element))
    at, busbar = places.terminal(frame.texts("bus_id"), frame.texts("voltage_level_id"))
    near = End(at=at, busbar=busbar, vn_kv=places.vn(at))
    vn_star = [near.vn_kv[element.index(ident)] for ident in order]
    buses, star = _with_stars(buses, ("",) * len(order), order, np.array(vn_star))
    inner_at = star[[order.index(ident) for ident in element]]
    inner = End(at=inner_at, busbar=np.ones(len(frame), dtype=np.int8), vn_kv=buses.vn_kv[inner_at])
    halves = _two_port(
        frame,
        frame.kind,
        (near, inner),
        _series(frame, "r", "x"),
        (
            frame.numbers("g", "S") + 1j * frame.numbers("b", "S"),
            np.zeros(len(frame), dtype=np.complex128),
        ),
        np.ones(len(frame), dtype=np.complex128),
    )
    title = dict(zip(ties.id, ties.name, strict=True))
    names = tuple(title[tie] if tie else own for tie, own in zip(owner, frame.name, strict=True))
    kinds = tuple("tie_line" if tie else frame.kind for tie in owner)
    halves = replace(halves, kind=kinds, id=element, name=names)
    if len(ties):
        note = "two halves in series; the point between them is not a bus"
        rows.append(ReportRow(fate=Fate.MAPPED, kind="tie_line", count=len(ties), note=note))
    return buses, halves, _beyond(frame, inner_at, network, rows)


def _beyond(frame: Frame, inner_at: Ints, network: Any, rows: list[ReportRow]) -> Units:
    """What hangs on the inner points of boundary lines that belong to no tie line."""
    free = np.array([not tie for tie in frame.texts("tie_line_id")], dtype=bool)
    p = -np.array(frame.data["p0"], dtype=float)[free]
    q = -np.array(frame.data["q0"], dtype=float)[free]
    made = Frame.read("boundary line", network.get_boundary_lines_generation())
    where = {ident: k for k, ident in enumerate(np.array(frame.id)[free].tolist())}
    for k, ident in enumerate(made.id):
        if ident in where:
            p[where[ident]] += float(made.data["target_p"][k])
            q[where[ident]] += float(made.data["target_q"][k])
    holding = made.flags("voltage_regulator_on") if len(made) else np.zeros(0, dtype=bool)
    if holding.any():
        ids = tuple(made.id[int(k)] for k in np.flatnonzero(holding))
        note = "generation behind the boundary holds its Q here, not its voltage"
        rows.append(
            ReportRow(
                fate=Fate.REFUSED, kind="boundary control", count=len(ids), note=note, elements=ids
            )
        )
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        raise GridError("A boundary line has no finite p0 (MW) or q0 (MVAr). Give both.")
    picked = np.flatnonzero(free)
    return Units.plain(
        frame.kind,
        [frame.id[int(k)] for k in picked],
        inner_at[free],
        p / S_BASE_MVA,
        q / S_BASE_MVA,
        name=[frame.name[int(k)] for k in picked],
    )


def _report_controls(network: Any, rows: list[ReportRow]) -> None:
    """Tap changers that would move; their present position is kept."""
    for kind, frame in (
        ("ratio tap control", network.get_ratio_tap_changers(all_attributes=True)),
        ("phase tap control", network.get_phase_tap_changers(all_attributes=True)),
    ):
        changers = Frame.read(kind, frame)
        column = "regulating" if "regulating" in changers.data else "on_load"
        if not len(changers) or column not in changers.data:
            continue
        moving = changers.flags(column)
        if moving.any():
            ids = tuple(changers.id[int(k)] for k in np.flatnonzero(moving))
            note = "automatic control is not represented; the tap position of the file is kept"
            row = ReportRow(fate=Fate.REFUSED, kind=kind, count=len(ids), note=note, elements=ids)
            rows.append(row)
