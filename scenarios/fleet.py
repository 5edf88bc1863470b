"""Tables of what operators dispatch: ramps and limits of generators, and storage units.

One line for each unit, with its element ("gen:3"). Power in MW, ramps in MW for each step, energy
in MWh; a generator's ``redispatchable`` and ``renewable`` are 0 or 1.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from gridrl.arrays import Floats
from gridrl.case import Case
from gridrl.env.fleet import Fleet
from gridrl.errors import ScenarioError
from scenarios.tables import in_mw, labels

# column: whether it counts in MW (MWh)
GENERATORS = {
    "p_min": True, "p_max": True, "ramp_up": True, "ramp_down": True, "redispatchable": False,
    "renewable": False,
}  # fmt: skip
STORAGE = {
    "energy_min": True, "energy_max": True, "absorb_max": True, "produce_max": True,
    "charge_efficiency": False, "discharge_efficiency": False, "loss": True,
}  # fmt: skip


def read_fleet(case: Case, generators: Path, storage: Path | None) -> Fleet:
    """The generators and storage units that two tables list, in their order.

    Raises
    ------
    ScenarioError
        A table is missing, has other columns, or names an element that the grid lacks.
    """
    gens: dict[str, Any] = _read(case, generators, GENERATORS)
    stores = _read(case, storage, STORAGE)
    for name in ("redispatchable", "renewable"):
        if not np.isin(gens[name], (0.0, 1.0)).all():
            raise ScenarioError(f"Column {name} of {generators.name} must hold 0 or 1.")
        gens[name] = gens[name] == 1.0
    return Fleet(gen_unit=gens.pop("unit"), storage_unit=stores.pop("unit"), **gens, **stores)


def write_fleet(case: Case, fleet: Fleet, generators: Path, storage: Path) -> None:
    """Write both tables; the second where there is any storage."""
    _write(case, fleet, fleet.gen_unit, generators, GENERATORS)
    if fleet.n_storage:
        _write(case, fleet, fleet.storage_unit, storage, STORAGE)


def _read(case: Case, path: Path | None, columns: dict[str, bool]) -> dict[str, Any]:
    rows: list[list[str]] = []
    if path is not None:
        header = ["element", *columns]
        try:
            with path.open(encoding="utf-8", newline="") as file:
                found, *rows = [row for row in csv.reader(file) if row] or [[]]
        except (OSError, UnicodeDecodeError, csv.Error) as broken:
            raise ScenarioError(f"{path.name} cannot be read: {broken}.") from broken
        if found != header or any(len(row) != len(header) for row in rows):
            raise ScenarioError(f"{path.name} must have the columns {', '.join(header)}.")
    grid = case.grid
    out: dict[str, Any] = {"unit": np.empty(len(rows), np.int64)}
    for k, row in enumerate(rows):
        units = np.flatnonzero(grid.unit_element == grid.find_element(row[0]))
        if units.size != 1 or units[0] in out["unit"][:k]:
            raise ScenarioError(f"{row[0]} is no single unit of {grid.name}, or is listed twice.")
        out["unit"][k] = units[0]
    try:
        values = np.array([row[1:] for row in rows], np.float64).reshape(len(rows), len(columns))
    except ValueError as broken:
        raise ScenarioError(f"A table of the fleet holds no number: {broken}.") from broken
    if np.isnan(values).any():
        raise ScenarioError("A table of the fleet holds a value that is no number.")
    for place, (name, power) in enumerate(columns.items()):
        out[name] = values[:, place] / (grid.s_base_mva if power else 1.0)
    return out


def _write(case: Case, fleet: Fleet, unit: Any, path: Path, columns: dict[str, bool]) -> None:
    base = case.grid.s_base_mva
    table: list[Floats] = [
        in_mw(np.asarray(getattr(fleet, name), np.float64), base if power else 1.0)
        for name, power in columns.items()
    ]
    label = labels(case)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["element", *columns])
        for k, m in enumerate(unit.tolist()):
            writer.writerow([label[m], *(repr(float(column[k])) for column in table)])
