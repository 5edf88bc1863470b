"""MATPOWER tables (bus, gen, branch) as a `Case`, with MATPOWER's own meaning of every column.

Plain arrays in MW, MVAr, degrees and p.u. go in; which program read them does not matter.

Source: MATPOWER User's Manual, section 3 (modeling) and appendix B (columns); the choice of
reference and set points follows its functions ``bustypes`` and ``runpf``. Columns are counted
from zero here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridrl.case import Case, Fate, ReportRow
from gridrl.costs import Costs
from gridrl.errors import CaseError
from gridrl.grid import Bools, Floats, Ints
from gridrl.io.assemble import Branches, Buses, Units, assemble, stack
from gridrl.io.matpower_costs import read_costs
from gridrl.io.matpower_tables import (
    ANGMAX,
    ANGMIN,
    BASE_KV,
    BR_B,
    BR_R,
    BR_STATUS,
    BR_X,
    BS,
    BUS_AREA,
    BUS_I,
    BUS_TYPE,
    F_BUS,
    GEN_BUS,
    GEN_STATUS,
    GS,
    NONE,
    PD,
    PG,
    PMAX,
    PMIN,
    PV,
    QD,
    QG,
    QMAX,
    QMIN,
    RATE_A,
    REF,
    SHIFT,
    T_BUS,
    TAP,
    VA,
    VG,
    VMAX,
    VMIN,
    MatpowerTables,
    check_numbers,
    check_shapes,
    refuse,
)
from gridrl.io.twoport import pi_model


@dataclass(frozen=True, eq=False, kw_only=True)
class Roles:
    """What each in-service generator does, after MATPOWER's ``bustypes`` and ``runpf``."""

    bus: Ints  # [n_gen] bus position
    on: Bools  # [n_gen] in service and not on an isolated bus
    controls: Bools  # [n_gen] holds the voltage of a PV or reference bus
    reference: Bools  # [n_gen] first generator of a reference bus
    v_set: Floats  # [n_gen] p.u.: the last generator of a bus decides, as in MATPOWER


@dataclass(frozen=True, eq=False, kw_only=True)
class Parts:
    """What `assemble` joins; other bus-branch formats add their own rows in between."""

    buses: Buses
    branches: Branches
    units: Units
    costs: Costs


def from_tables(
    tables: MatpowerTables,
    *,
    name: str,
    report: Sequence[ReportRow] = (),
    source: str = "",
    origin: str = "MATPOWER tables",
    notes: Sequence[str] = (),
) -> Case:
    """Make a `Case` of MATPOWER tables; ``report`` holds what was lost before.

    A branch is a pi model behind an ideal transformer at its from end (ratio ``TAP``, 0 meaning
    1, and ``SHIFT`` degrees). ``GS`` and ``BS`` become a constant-impedance unit. A generator on
    a PQ bus holds no voltage. Everything at an isolated bus (type 4) is disconnected.

    Raises
    ------
    CaseError, GridError
        A value is missing, impossible or refers to an unknown bus; the message names it.
    """
    rows = list(report)
    parts = convert(tables, rows, name=name)
    return assemble(
        name=name,
        s_base_mva=tables.base_mva,
        buses=parts.buses,
        branches=parts.branches,
        units=parts.units,
        costs=parts.costs,
        report=rows,
        source=source,
        origin=origin,
        notes=notes,
    )


def convert(tables: MatpowerTables, rows: list[ReportRow], *, name: str) -> Parts:
    """The tables of a `Case` in per unit; what happened to each element is added to ``rows``."""
    check_shapes(tables)
    base = tables.base_mva
    if not (np.isfinite(base) and base > 0):
        raise CaseError(f"{name}: baseMVA is {base} MVA; it must be a positive number.")
    labels = tuple(f"bus {b:g}" if b < 1e6 else f"bus {b:.0f}" for b in tables.bus[:, BUS_I])
    check_numbers(tables, labels)
    ids = tuple(str(int(b)) for b in tables.bus[:, BUS_I])
    rows.append(ReportRow(fate=Fate.KEPT, kind="bus", count=len(ids), note=""))
    position = {int(b): k for k, b in enumerate(tables.bus[:, BUS_I])}
    vn_kv = _base_kv(tables, labels, rows)
    roles = _roles(tables, position, rows)
    branches = _branches(tables, position, vn_kv, rows)
    units = _units(tables, roles, rows)
    first = units.kind.index("gen") if len(tables.gen) else 0
    costs = read_costs(tables.gencost, len(tables.gen), first, base, rows)
    buses = Buses(
        id=ids,
        name=tables.bus_name or ("",) * len(ids),
        node=np.arange(len(ids)),
        vn_kv=vn_kv,
        v_min=tables.bus[:, VMIN],
        v_max=tables.bus[:, VMAX],
        area=tuple(f"{a:g}" if np.isfinite(a) else "" for a in tables.bus[:, BUS_AREA]),
    )
    return Parts(buses=buses, branches=branches, units=units, costs=costs)


def _base_kv(tables: MatpowerTables, labels: tuple[str, ...], rows: list[ReportRow]) -> Floats:
    """Nominal voltages in kV. MATPOWER never uses them for the flow, so 0 means unknown."""
    vn_kv = tables.bus[:, BASE_KV].copy()
    unknown = vn_kv == 0
    if unknown.all():
        note = "BASE_KV is 0 kV (unknown) at every bus; taken as 1 kV. Per-unit results hold."
        ids = tuple(label.removeprefix("bus ") for label in labels)
        row = ReportRow(fate=Fate.SUSPECT, kind="bus", count=len(ids), note=note, elements=ids)
        rows.append(row)
        return np.ones_like(vn_kv)
    fix = "Give the nominal voltage in kV at these buses (or 0 at all, if none is known)."
    refuse(vn_kv <= 0, labels, "BASE_KV (kV)", "is not positive", fix)
    return vn_kv


def _roles(tables: MatpowerTables, position: dict[int, int], rows: list[ReportRow]) -> Roles:
    """Who holds which voltage and who is the reference, as MATPOWER decides it."""
    bus, gen = tables.bus, tables.gen
    kind = bus[:, BUS_TYPE].astype(np.int64)
    at = np.array([position[int(b)] for b in gen[:, GEN_BUS]], dtype=np.int64)
    on = (gen[:, GEN_STATUS] > 0) & (kind[at] != NONE) if at.size else np.zeros(0, dtype=bool)
    has_gen = np.zeros(len(kind), dtype=bool)
    has_gen[at[on]] = True
    idle = np.isin(kind, (PV, REF)) & ~has_gen
    ids = tuple(str(int(b)) for b in bus[:, BUS_I])
    if idle.any():
        note = "type 2 or 3 without a generator in service: a PQ bus, as in MATPOWER"
        rows.append(report_row(Fate.MAPPED, "bus type", idle, ids, note))
    is_reference = (kind == REF) & has_gen
    if not is_reference.any():
        holders = np.flatnonzero((kind == PV) & has_gen)
        if not holders.size:
            raise CaseError(
                "No bus of type 3 (reference) or 2 (PV) has a generator in service. Set BUS_TYPE 3 "
                "at the bus that balances the grid and give it a generator."
            )
        is_reference[holders[0]] = True
        note = "no reference bus with a generator; the first PV bus is taken, as in MATPOWER"
        rows.append(report_row(Fate.MAPPED, "reference bus", is_reference, ids, note))
    controls = on & (np.isin(kind[at], (PV, REF)) if at.size else on)
    setpoint = np.full(len(kind), np.nan)
    setpoint[at[controls]] = gen[controls, VG]  # repeated positions: the last one stays
    v_set = np.where(controls, setpoint[at], np.nan)
    gens = tuple(str(k + 1) for k in range(len(gen)))
    bad = controls & ~(gen[:, VG] > 0)
    fix = "Give the voltage set point in p.u. (about 1)."
    refuse(bad, tuple(f"gen {g}" for g in gens), "VG (p.u.)", "is not positive", fix)
    moved = controls & (gen[:, VG] != v_set)
    if moved.any():
        note = "generators of one bus disagree on VG; the last one decides, as in MATPOWER"
        rows.append(report_row(Fate.MAPPED, "gen VG", moved, gens, note))
    leader = np.zeros(len(gen), dtype=bool)
    for b in np.flatnonzero(is_reference):
        leader[np.flatnonzero(controls & (at == b))[0]] = True
    return Roles(bus=at, on=on, controls=controls, reference=leader, v_set=v_set)


def _branches(
    tables: MatpowerTables, position: dict[int, int], vn_kv: Floats, rows: list[ReportRow]
) -> Branches:
    bus, branch = tables.bus, tables.branch
    n = len(branch)
    start = np.array([position[int(b)] for b in branch[:, F_BUS]], dtype=np.int64)
    end = np.array([position[int(b)] for b in branch[:, T_BUS]], dtype=np.int64)
    ratio = np.where(branch[:, TAP] == 0, 1.0, branch[:, TAP])
    shift = np.deg2rad(branch[:, SHIFT])
    # An open branch may have no impedance in the file; closing it later must not divide by zero.
    series = branch[:, BR_R] + 1j * branch[:, BR_X]
    dead = series == 0
    y_series = np.where(dead, 0, 1 / np.where(dead, 1, series)).astype(np.complex128)
    y_end = (
        np.tile(0.5j * branch[:, [BR_B]], 2)
        if tables.branch_shunt is None
        else (tables.branch_shunt)
    )
    y_ff, y_ft, y_tf, y_tt = pi_model(
        y_series, y_end[:, 0], y_end[:, 1], ratio * np.exp(1j * shift)
    )
    no_x = (branch[:, BR_X] == 0) & ~dead
    ids = tuple(str(k + 1) for k in range(n))
    if no_x.any():
        note = "x is 0: the DC model uses |r + jx| instead"
        rows.append(report_row(Fate.MAPPED, "branch", no_x, ids, note))
    if dead.any():
        note = "out of service and without impedance: it would carry nothing if closed"
        rows.append(report_row(Fate.SUSPECT, "branch", dead, ids, note))
    x_dc = np.where(no_x, np.abs(series), branch[:, BR_X])
    isolated = bus[:, BUS_TYPE] == NONE
    is_line = (ratio == 1) & (shift == 0) & (vn_kv[start] == vn_kv[end])
    for kind, mask in (("line", is_line), ("trafo", ~is_line)):
        if mask.any():
            rows.append(ReportRow(fate=Fate.KEPT, kind=kind, count=int(mask.sum()), note=""))
    unlimited = np.full(n, np.inf)
    angle_min, angle_max = _angle_limits(branch)
    names = _branch_names(branch)
    if tables.branch_name:
        names = tuple(own or made for own, made in zip(tables.branch_name, names, strict=True))
    return Branches(
        kind=tuple("line" if line else "trafo" for line in is_line),
        id=ids,
        name=names,
        from_bus=start,
        to_bus=end,
        y_ff=y_ff,
        y_ft=y_ft,
        y_tf=y_tf,
        y_tt=y_tt,
        b_dc=np.where(dead, 0, 1 / (np.where(dead, 1, x_dc) * ratio)),
        shift_dc=shift,
        i_max_from=unlimited,
        i_max_to=unlimited,
        s_max=np.where(branch[:, RATE_A] == 0, np.inf, branch[:, RATE_A] / tables.base_mva),
        angle_min=angle_min,
        angle_max=angle_max,
        closed=(branch[:, BR_STATUS] > 0) & ~isolated[start] & ~isolated[end],
        from_busbar=(~isolated[start]).astype(np.int8),
        to_busbar=(~isolated[end]).astype(np.int8),
    )


def _branch_names(branch: Floats) -> tuple[str, ...]:
    """Names such as "1-2", and "1-2 #2" for the second branch between two buses."""
    seen: dict[frozenset[int], int] = {}
    names = []
    for start, end in branch[:, :2].astype(np.int64).tolist():
        pair = frozenset((start, end))
        seen[pair] = seen.get(pair, 0) + 1
        names.append(f"{start}-{end}" + (f" #{seen[pair]}" if seen[pair] > 1 else ""))
    return tuple(names)


def _units(tables: MatpowerTables, roles: Roles, rows: list[ReportRow]) -> Units:
    bus, gen, base = tables.bus, tables.gen, tables.base_mva
    live = bus[:, BUS_TYPE] != NONE
    ids = np.array([str(int(b)) for b in bus[:, BUS_I]])
    parts = []
    for kind, p, q, impedance in (
        ("load", -bus[:, PD], -bus[:, QD], False),
        ("shunt", -bus[:, GS], bus[:, BS], True),
    ):
        at = np.flatnonzero((p != 0) | (q != 0))
        parts.append(
            Units.plain(
                kind,
                ids[at].tolist(),
                at,
                p[at] / base,
                q[at] / base,
                in_service=live[at],
                impedance=impedance,
            )
        )
    parts.append(_gens(tables, roles))
    for part, kind in zip(parts, ("load", "shunt", "gen"), strict=True):
        if part.id:
            rows.append(ReportRow(fate=Fate.KEPT, kind=kind, count=len(part.id), note=""))
    passive = roles.on & ~roles.controls
    if passive.any():
        gens = tuple(str(k + 1) for k in range(len(gen)))
        note = "on a PQ bus (type 1): constant PG and QG, holds no voltage, as in MATPOWER"
        rows.append(report_row(Fate.MAPPED, "gen", passive, gens, note))
    return stack(parts)


def _gens(tables: MatpowerTables, roles: Roles) -> Units:
    gen, base = tables.gen, tables.base_mva
    n = len(gen)
    zero = np.zeros(n)

    def limit(column: int, absent: float) -> Floats:
        return gen[:, column] / base if column < gen.shape[1] else np.full(n, absent)

    return Units(
        kind=("gen",) * n,
        id=tuple(str(k + 1) for k in range(n)),
        name=("",) * n,
        bus=roles.bus,
        busbar=roles.on.astype(np.int8),
        p=gen[:, PG] / base,
        q=gen[:, QG] / base,
        v_set=roles.v_set,
        is_reference=roles.reference,
        va_reference=np.where(roles.reference, np.deg2rad(tables.bus[roles.bus, VA]), 0.0),
        slack_weight=roles.reference.astype(float),
        dispatchable=np.ones(n, dtype=bool),
        p_min=limit(PMIN, -np.inf),
        p_max=limit(PMAX, np.inf),
        q_min=limit(QMIN, -np.inf),
        q_max=limit(QMAX, np.inf),
        i_share_p=zero,
        i_share_q=zero,
        z_share_p=zero,
        z_share_q=zero,
    )


def _angle_limits(branch: Floats) -> tuple[Floats, Floats]:
    """Limits of the angle difference in rad; MATPOWER: 0/0 and -360/360 mean unlimited."""
    n = len(branch)
    if branch.shape[1] <= ANGMAX:
        return np.full(n, -np.inf), np.full(n, np.inf)
    low, high = branch[:, ANGMIN], branch[:, ANGMAX]
    given = (low != 0) | (high != 0)
    return (
        np.where(given & (low > -360), np.deg2rad(low), -np.inf),
        np.where(given & (high < 360), np.deg2rad(high), np.inf),
    )


def report_row(fate: Fate, kind: str, mask: Bools, ids: Sequence[str], note: str) -> ReportRow:
    """A row for the elements that ``mask`` selects."""
    picked = tuple(ids[int(k)] for k in np.flatnonzero(mask))
    return ReportRow(fate=fate, kind=kind, count=len(picked), note=note, elements=picked)
