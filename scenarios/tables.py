"""Series from tables that a user brings: one CSV file for each quantity.

``p_mw.csv`` is needed; ``q_mvar.csv``, ``vm_pu.csv``, ``p_forecast_mw.csv`` and
``q_forecast_mvar.csv`` may follow. The header names elements ("load:3", "gen:0"), each line is a
step. Loads and storage count as consumption, generators as production. What a table leaves out
stays as the case has it. A column ``episode`` with whole numbers begins a new episode where it
changes; a column ``seconds`` gives the time, from which the step follows.
"""

import csv
from pathlib import Path

import numpy as np

from gridrl.arrays import Floats, Ints
from gridrl.case import Case
from gridrl.env.series import Series
from gridrl.errors import ScenarioError

CONSUMES = frozenset({"load", "storage", "shunt", "motor"})
SPECIAL = ("episode", "seconds")


def read_series(case: Case, folder: Path) -> Series:
    """The tables in ``folder`` as a series of ``case``.

    Raises
    ------
    ScenarioError
        A table is missing, names an element that the grid lacks, or holds no numbers.
    """
    first, columns, values = _table(folder / "p_mw.csv")
    rows = values.shape[0]
    base = case.grid.s_base_mva
    p = _fill(case, case.injection.p, columns, values / base, first, signed=True)
    q, v_set = (
        np.repeat(case.injection.q, rows, axis=0),
        np.repeat(case.injection.v_set, rows, axis=0),
    )
    forecasts = {"p": np.empty((0, p.shape[1])), "q": np.empty((0, p.shape[1]))}
    for name, scale in (
        ("q_mvar", base), ("vm_pu", 1.0), ("p_forecast_mw", base), ("q_forecast_mvar", base),
    ):  # fmt: skip
        path = folder / f"{name}.csv"
        if not path.is_file():
            continue
        label, names, table = _table(path)
        if table.shape[0] != rows:
            raise ScenarioError(f"{label} has {table.shape[0]} steps, but p_mw.csv has {rows}.")
        table = table / scale
        if name == "q_mvar":
            q = _fill(case, case.injection.q, names, table, label, signed=True)
        elif name == "vm_pu":
            v_set = _fill(case, case.injection.v_set, names, table, label, signed=False)
        else:
            known = p if name.startswith("p") else q
            forecasts[name[0]] = _fill(case, known, names, table, label, signed=True)
    start, step_s = _times(columns, values, rows)
    none = np.empty((0, case.grid.n_branch), np.bool_)
    return Series(
        start=start, p=p, q=q, v_set=v_set, maintenance=none, hazard=none,
        p_forecast=forecasts["p"], q_forecast=forecasts["q"], step_s=step_s,
        names=tuple(f"{folder.name}-{k}" for k in range(start.size - 1)),
    )  # fmt: skip


def _table(path: Path) -> tuple[str, list[str], Floats]:
    """Name, header and numbers of a CSV file."""
    if not path.is_file():
        raise ScenarioError(f"There is no table {path.name} in {path.parent.name or '.'}.")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as broken:
        raise ScenarioError(f"{path.name} cannot be read: {broken}.") from broken
    if len(rows) < 3:
        raise ScenarioError(f"{path.name} needs a header and two steps or more.")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header):
        raise ScenarioError(f"{path.name} has two columns of one name.")
    ragged = [k + 2 for k, row in enumerate(rows[1:]) if len(row) != len(header)]
    if ragged:
        raise ScenarioError(
            f"Line {ragged[0]} of {path.name} has not the {len(header)} columns of its header."
        )
    try:
        values = np.array(rows[1:], np.float64)
    except ValueError as broken:
        raise ScenarioError(f"{path.name} holds something that is no number: {broken}.") from broken
    if not np.isfinite(values).all():
        line = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0]) + 2
        raise ScenarioError(f"Line {line} of {path.name} holds a value that is not finite.")
    return path.name, header, values


def _fill(
    case: Case, start: Floats, names: list[str], values: Floats, label: str, *, signed: bool
) -> Floats:
    """[n_row, n_unit] what the case has, with the columns of a table in their places."""
    grid = case.grid
    rows = values.shape[0]
    out = np.repeat(start, rows, axis=0) if start.shape[0] == 1 else start.copy()
    for at, name in enumerate(names):
        if name in SPECIAL:
            continue
        units = np.flatnonzero(grid.unit_element == grid.find_element(name))
        if units.size != 1:
            raise ScenarioError(
                f"{label} has a column {name}, which is no single load or generator."
            )
        consumes = signed and grid.unit_kind[int(units[0])] in CONSUMES
        out[:, int(units[0])] = -values[:, at] if consumes else values[:, at]
    return out


def _times(names: list[str], values: Floats, rows: int) -> tuple[Ints, float]:
    """First row of every episode, and the seconds of a step."""
    start = [0, rows]
    if "episode" in names:
        changes = np.flatnonzero(np.diff(values[:, names.index("episode")])) + 1
        start = [0, *changes.tolist(), rows]
    step_s = 300.0
    if "seconds" in names:
        steps = np.diff(values[: start[1], names.index("seconds")])
        if not steps.size or not (steps > 0).all() or np.ptp(steps) > 1e-6 * steps[0]:
            raise ScenarioError("Column seconds of p_mw.csv must grow by equal steps.")
        step_s = float(steps[0])
    return np.array(start, np.int64), step_s
