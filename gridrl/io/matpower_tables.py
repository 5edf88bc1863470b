"""MATPOWER's tables and what must hold in them before anything is computed.

Columns are counted from zero. Source: MATPOWER User's Manual, appendix B.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridrl.errors import CaseError, GridError, offending
from gridrl.grid import Bools, Complexes, Floats

BUS_I, BUS_TYPE, PD, QD, GS, BS, BUS_AREA = 0, 1, 2, 3, 4, 5, 6
VA, BASE_KV, VMAX, VMIN = 8, 9, 11, 12
GEN_BUS, PG, QG, QMAX, QMIN, VG, GEN_STATUS, PMAX, PMIN = 0, 1, 2, 3, 4, 5, 7, 8, 9
F_BUS, T_BUS, BR_R, BR_X, BR_B, RATE_A, TAP, SHIFT, BR_STATUS = 0, 1, 2, 3, 4, 5, 8, 9, 10
ANGMIN, ANGMAX = 11, 12
PQ, PV, REF, NONE = 1, 2, 3, 4


@dataclass(frozen=True, eq=False, kw_only=True)
class MatpowerTables:
    """A MATPOWER case as it stands in the file, MW, MVAr, kV, degrees."""

    base_mva: float
    bus: Floats  # [n_bus, >= 13]
    gen: Floats  # [n_gen, >= 8], capability columns from PMAX on may be missing
    branch: Floats  # [n_branch, >= 11]
    bus_name: tuple[str, ...] = ()  # [n_bus] or empty
    gencost: Floats | None = None  # [n_gen or 2 n_gen, >= 5]
    branch_shunt: Complexes | None = None  # [n_branch, 2] p.u. at either end, instead of BR_B
    branch_name: tuple[str, ...] = ()  # [n_branch] "" for the default, or empty


def check_shapes(tables: MatpowerTables) -> None:
    for label, table, least in (
        ("bus", tables.bus, 13),
        ("gen", tables.gen, 8),
        ("branch", tables.branch, 11),
    ):
        if table.ndim != 2 or table.shape[1] < least:
            raise CaseError(
                f"The {label} table has shape {table.shape}; MATPOWER needs at least {least} "
                "columns. Give every row all its columns."
            )
    if tables.bus.shape[0] == 0:
        raise CaseError("The bus table is empty. A case needs at least one bus.")
    if tables.bus_name and len(tables.bus_name) != tables.bus.shape[0]:
        raise CaseError(
            f"bus_name has {len(tables.bus_name)} entries for {tables.bus.shape[0]} buses. "
            "Give one name per bus."
        )


def check_numbers(tables: MatpowerTables, labels: tuple[str, ...]) -> None:
    """Refuse what no power flow can use, naming element, field and unit."""
    bus, gen, branch = tables.bus, tables.gen, tables.branch
    whole = np.isfinite(bus[:, BUS_I]) & (bus[:, BUS_I] == np.round(bus[:, BUS_I]))
    refuse(~whole, labels, "BUS_I", "is not a whole number", "Number the buses 1, 2, 3, ...")
    _, first = np.unique(bus[:, BUS_I], return_index=True)
    again = np.ones(len(labels), dtype=bool)
    again[first] = False
    refuse(again, labels, "BUS_I", "is used more than once", "Give every bus its own number.")
    refuse(
        ~np.isin(bus[:, BUS_TYPE], (PQ, PV, REF, NONE)),
        labels,
        "BUS_TYPE",
        "is not 1 (PQ), 2 (PV), 3 (reference) or 4 (isolated)",
        "Correct the type.",
    )
    gens = tuple(f"gen {k + 1}" for k in range(len(gen)))
    lines = tuple(f"branch {k + 1} ({f:g}-{t:g})" for k, (f, t) in enumerate(branch[:, :2]))
    for table, names, columns in (
        (bus, labels, {PD: "PD (MW)", QD: "QD (MVAr)", GS: "GS (MW)", BS: "BS (MVAr)"}),
        (bus, labels, {VA: "VA (degrees)", BASE_KV: "BASE_KV (kV)"}),
        (gen, gens, {PG: "PG (MW)", QG: "QG (MVAr)", VG: "VG (p.u.)", GEN_STATUS: "GEN_STATUS"}),
        (branch, lines, {BR_R: "BR_R (p.u.)", BR_X: "BR_X (p.u.)", BR_B: "BR_B (p.u.)"}),
        (branch, lines, {TAP: "TAP", SHIFT: "SHIFT (degrees)", BR_STATUS: "BR_STATUS"}),
    ):
        for column, field in columns.items():
            bad = ~np.isfinite(table[:, column])
            refuse(bad, names, field, "is not a finite number", "Give its value.")
    limits = {QMAX: "QMAX (MVAr)", QMIN: "QMIN (MVAr)", PMAX: "PMAX (MW)", PMIN: "PMIN (MW)"}
    for column, field in limits.items():
        if column < gen.shape[1]:
            refuse(np.isnan(gen[:, column]), gens, field, "is NaN", "Write Inf where unlimited.")
    for column, field in ((VMAX, "VMAX (p.u.)"), (VMIN, "VMIN (p.u.)")):
        refuse(np.isnan(bus[:, column]), labels, field, "is NaN", "Give a limit in p.u.")
    bad = np.isnan(branch[:, RATE_A]) | (branch[:, RATE_A] < 0)
    refuse(bad, lines, "RATE_A (MVA)", "is negative or NaN", "Write 0 where unlimited.")
    refuse(branch[:, TAP] < 0, lines, "TAP", "is negative", "Give a ratio > 0, or 0 for a line.")
    short = (branch[:, BR_R] == 0) & (branch[:, BR_X] == 0) & (branch[:, BR_STATUS] > 0)
    fix = "Give its impedance, or merge the two buses."
    refuse(short, lines, "BR_R and BR_X (p.u.)", "are both zero", fix)
    known = set(bus[:, BUS_I].tolist())
    for table, names, column, field in (
        (gen, gens, GEN_BUS, "GEN_BUS"),
        (branch, lines, F_BUS, "F_BUS"),
        (branch, lines, T_BUS, "T_BUS"),
    ):
        bad = np.array([b not in known for b in table[:, column].tolist()], dtype=bool)
        refuse(bad, names, field, "names a bus that is not in the bus table", "Correct it.")
    if branch.shape[1] > ANGMAX:
        for column, field in ((ANGMIN, "ANGMIN (degrees)"), (ANGMAX, "ANGMAX (degrees)")):
            bad = np.isnan(branch[:, column])
            refuse(bad, lines, field, "is NaN", "Write -360 and 360 where unlimited.")
    loop = branch[:, F_BUS] == branch[:, T_BUS]
    refuse(loop, lines, "F_BUS and T_BUS", "are the same bus", "Remove the branch.")


def refuse(bad: Bools, names: Sequence[str], field: str, problem: str, remedy: str) -> None:
    if bad.any():
        raise GridError(f"{offending(bad, names)}: {field} {problem} ({bad.sum()} rows). {remedy}")
