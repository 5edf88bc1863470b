"""Series from tables that a user brings: one CSV file for each quantity.

``p_mw.csv`` is needed; ``q_mvar.csv``, ``vm_pu.csv``, ``p_forecast_mw.csv`` and
``q_forecast_mvar.csv`` may follow. The header names elements ("load:3", "gen:0"), each line is a
step. Loads and storage count as consumption, generators as production. What a table leaves out
stays as the case has it. A column ``episode`` with whole numbers begins a new episode where it
changes; a column ``seconds`` gives the time, from which the step follows. Forecasts that reach
several steps ahead have a column ``ahead``: all rows for 1 step, then all rows for 2, and so on.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from gridrl.arrays import Floats, Ints
from gridrl.case import Case
from gridrl.env.series import Series
from gridrl.errors import ScenarioError

CONSUMES = frozenset({"load", "storage", "shunt", "motor"})
SPECIAL = ("episode", "seconds", "ahead")


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
        n_ahead = _ahead(label, names, table, rows)
        scaled = table / scale
        if name == "q_mvar":
            q = _fill(case, case.injection.q, names, scaled, label, signed=True)
        elif name == "vm_pu":
            v_set = _fill(case, case.injection.v_set, names, scaled, label, signed=False)
        else:
            known = p if name.startswith("p") else q
            known = np.tile(known, (n_ahead, 1))
            made = _fill(case, known, names, scaled, label, signed=True)
            forecasts[name[0]] = made.reshape(n_ahead, rows, -1) if "ahead" in names else made
    start, step_s = _times(columns, values, rows)
    none = np.empty((0, case.grid.n_branch), np.bool_)
    return Series(
        start=start, p=p, q=q, v_set=v_set, maintenance=none, hazard=none,
        p_forecast=forecasts["p"], q_forecast=forecasts["q"], step_s=step_s,
        names=tuple(f"{folder.name}-{k}" for k in range(start.size - 1)),
    )  # fmt: skip


def _ahead(label: str, names: list[str], table: Floats, rows: int) -> int:
    """Steps that a table reaches ahead; 1 for all that are no forecasts."""
    if "ahead" not in names or "forecast" not in label:
        if table.shape[0] != rows:
            raise ScenarioError(f"{label} has {table.shape[0]} steps, but p_mw.csv has {rows}.")
        return 1
    ahead = table[:, names.index("ahead")]
    n_ahead = max(1, int(table.shape[0]) // rows)
    if ahead.size != n_ahead * rows or (ahead != np.repeat(np.arange(n_ahead) + 1, rows)).any():
        raise ScenarioError(
            f"Column ahead of {label} must be 1 in its first {rows} rows, 2 in the next {rows}, "
            "and so on."
        )
    return n_ahead


def write_series(case: Case, series: Series, folder: Path) -> None:
    """Write the tables that `read_series` reads, without columns that say what the case says."""
    base = case.grid.s_base_mva
    episode = np.repeat(np.arange(series.n_episode), np.diff(series.start))
    seconds = (np.arange(series.p.shape[0]) - series.start[episode]) * series.step_s
    _write(case, folder / "p_mw.csv", series.p, case.injection.p, base, episode=episode,
           seconds=seconds)  # fmt: skip
    _write(case, folder / "q_mvar.csv", series.q, case.injection.q, base)
    _write(case, folder / "vm_pu.csv", series.v_set, case.injection.v_set, 1.0)
    for name, values, known in (
        ("p_forecast_mw", series.p_forecast, series.p),
        ("q_forecast_mvar", series.q_forecast, series.q),
    ):
        if not len(values):
            continue
        deep = values if values.ndim == 3 else values[None]
        more = {}
        if values.ndim == 3:
            more["ahead"] = np.repeat(np.arange(len(deep)) + 1, deep.shape[1])
        _write(
            case, folder / f"{name}.csv", deep.reshape(-1, deep.shape[2]),
            np.tile(known, (len(deep), 1)), base, **more,
        )  # fmt: skip


def _write(
    case: Case, path: Path, values: Floats, known: Floats, base: float, **special: Any
) -> None:
    """One table; powers of what consumes change their sign."""
    signed = base != 1.0 or not path.name.startswith("vm")
    told = ~((values == known) | (np.isnan(values) & np.isnan(known))).all(axis=0)
    label, kinds = labels(case), case.grid.unit_kind
    head, columns = list(special), [np.asarray(column).tolist() for column in special.values()]
    for m in np.flatnonzero(told).tolist():
        sign = -1.0 if signed and kinds[m] in CONSUMES else 1.0
        head.append(label[m])
        columns.append((sign * in_mw(values[:, m], base)).tolist())
    if not head:  # nothing to say
        path.unlink(missing_ok=True)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows([repr(x) for x in row] for row in zip(*columns, strict=True))


def labels(case: Case) -> list[str]:
    """[n_unit] element of each unit, as tables name it."""
    grid = case.grid
    return [f"{grid.element_kind[int(e)]}:{grid.element_id[int(e)]}" for e in grid.unit_element]


def in_mw(values: Floats, base: float) -> Floats:
    """Powers times ``base``, so that dividing by it gives the same back where that can be."""
    out = values * base
    single = out.astype(np.float32).astype(np.float64)
    return np.where(single / base == values, single, out)


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
