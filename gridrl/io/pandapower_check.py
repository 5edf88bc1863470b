"""A first look at the tables of a pandapower net, before pandapower computes with them.

Says what is wrong in the user's own words (table, index, field, unit), where pandapower would
fail with an opaque error or, worse, converge. Works on a private copy and hands it back clean:
numeric columns numeric, broken elements that are out of service anyway left out.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridrl.case import Fate, ReportRow
from gridrl.errors import CaseError, GridError, offending
from gridrl.grid import Bools
from gridrl.io.pandapower_fields import (
    BUS_FIELDS,
    FIELDS,
    FLAGS,
    LOOKED_UP,
    NUMBERS,
    OPTIONAL,
    REFUSED,
    SWITCHED,
)

MAX_BUS_INDEX = 10_000_000  # pandapower's lookups are arrays as long as the largest index


def clean(net: Any) -> tuple[Any, list[ReportRow]]:
    """A private copy of ``net`` fit for conversion, and what was left out or looks wrong.

    Raises
    ------
    CaseError
        ``net`` lacks tables or columns: it is no pandapower net, or one of an old version.
    GridError
        Values that no power flow can use, all of them in one message.
    """
    missing = [table for table in FIELDS if not isinstance(getattr(net, table, None), pd.DataFrame)]
    if missing:
        raise CaseError(
            f"This is no pandapower network of a current version: no table {', '.join(missing)}. "
            "Run pandapower.convert_format on it first."
        )
    own = copy.deepcopy(net)
    problems: list[str] = []
    rows = _refuse_tables(own)
    for table in FIELDS:
        if len(own[table]):
            problems += _check_index(own[table], table)
    if not problems:
        _check_base(own, problems)
        for table in FIELDS:
            if len(own[table]):
                rows += _check_table(own, table, problems)
    if not problems:
        rows += _check_switches(own, problems)
        _check_loops(own, problems)
        _check_look_ups(own, problems)
        _check_reference(own, problems)
    if problems:
        raise GridError("\n".join(problems))
    return own, rows


def _refuse_tables(net: Any) -> list[ReportRow]:
    """Empty the tables that cannot be represented, and say so."""
    rows = []
    for table, why in REFUSED.items():
        frame = net.get(table)
        if isinstance(frame, pd.DataFrame) and len(frame):
            net[table] = frame.iloc[:0]
            ids = tuple(str(k) for k in frame.index)
            rows.append(
                ReportRow(fate=Fate.REFUSED, kind=table, count=len(ids), note=why, elements=ids)
            )
    return rows


def label(frame: Any, table: str) -> list[str]:
    """Name every row as ``table:index (name)``."""
    names = frame.name if "name" in frame else [""] * len(frame)
    return [
        f"{table}:{k}" + (f" ({text})" if isinstance(text, str) and text else "")
        for k, text in zip(frame.index, names, strict=True)
    ]


def _check_index(frame: Any, table: str) -> list[str]:
    index = frame.index
    if index.has_duplicates:
        twice = offending(index.duplicated(), [str(k) for k in index])
        problem = (
            f"{table} has {index.duplicated().sum()} duplicate indices: {twice}. "
            "Give every element an index of its own."
        )
        return [problem]
    if index.dtype.kind not in "iu":
        return [f"{table} has an index of type {index.dtype}; it must hold whole numbers."]
    if index.min() < 0 or (table == "bus" and index.max() > MAX_BUS_INDEX):
        problem = (
            f"{table} has indices from {index.min()} to {index.max()}; they must lie in "
            f"0..{MAX_BUS_INDEX}. pandapower.create_continuous_bus_index renumbers them."
        )
        return [problem]
    return []


def _check_base(net: Any, problems: list[str]) -> None:
    for field, unit in (("sn_mva", "MVA"), ("f_hz", "Hz")):
        value = net.get(field)
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not np.isfinite(float(value)) or float(value) <= 0:
            problems.append(
                f"{field} of the network is {value!r}; give a positive number of {unit}."
            )
    if not len(net.bus):
        problems.append("The network has no bus. Add at least one bus and one external grid.")


def _check_table(net: Any, table: str, problems: list[str]) -> list[ReportRow]:
    """Check one table, collect what makes it unusable, and drop what is broken but off."""
    frame = net[table]
    names = label(frame, table)
    before = len(problems)
    wanted = (*FIELDS[table], *BUS_FIELDS.get(table, ()), *FLAGS.get(table, ()))
    problems += [
        f"Table {table} has no column {field}; run pandapower.convert_format on the network."
        for field in wanted
        if field not in frame and field not in OPTIONAL
    ]
    if len(problems) > before:
        return []
    for field in FLAGS.get(table, ()):
        _make_flags(frame, field, names, problems)
    if len(problems) > before:
        return []
    off = _none(frame)
    if "in_service" in frame and table != "bus":  # a bus is named by others, on or off
        off = ~frame.in_service.to_numpy(dtype=bool)
    broken = _none(frame)
    for field, (unit, rule) in FIELDS[table].items():
        if field in frame:
            bad, text = _bad_numbers(frame, field, rule)
            _complain(bad & ~off, names, f"{field} {text} ({unit})", frame[field], problems)
            broken |= bad
    for field in NUMBERS & set(frame.columns):
        bad, text = _bad_numbers(frame, field, "any")
        _complain(bad, names, f"{field} {text}", frame[field], problems)
    for field in BUS_FIELDS.get(table, ()):
        bad = ~np.isin(_numbers(frame[field]), net.bus.index.to_numpy())
        _complain(bad & ~off, names, f"{field} names no bus of the network", frame[field], problems)
        broken |= bad
    if len(problems) > before:
        return []
    net[table] = frame[~broken].copy()
    for field in BUS_FIELDS.get(table, ()):
        net[table][field] = net[table][field].astype(np.int64)
    return _left_out(net, table, [names[int(k)] for k in np.flatnonzero(broken)])


def _left_out(net: Any, table: str, names: list[str]) -> list[ReportRow]:
    """Report elements that were dropped, and drop their switches too."""
    if not names:
        return []
    for et, switched in SWITCHED.items():
        if switched == table:
            gone = (net.switch.et == et) & ~net.switch.element.isin(net[table].index)
            net["switch"] = net.switch[~gone]
    note = "out of service and without usable values: left out"
    row = ReportRow(
        fate=Fate.REFUSED, kind=table, count=len(names), note=note, elements=tuple(names)
    )
    return [row]


def _none(frame: Any) -> Bools:
    return np.zeros(len(frame), dtype=bool)


def _make_flags(frame: Any, field: str, names: Sequence[str], problems: list[str]) -> None:
    """Turn a yes/no column into booleans; missing ``slack`` and the like count as no."""
    if field not in frame or frame[field].dtype == bool:
        return
    column = frame[field]
    if field not in ("in_service", "closed"):
        column = column.where(column.notna(), False)
    bad = ~column.isin([True, False]).to_numpy()
    _complain(bad, names, f"{field} must be true or false", column, problems)
    if not bad.any():
        frame[field] = column.astype(bool)


def _numbers(column: Any) -> Any:
    """A column as floats; texts and flags are no numbers, even if they look like it."""
    if column.dtype == object:
        column = column.where(~column.map(lambda value: isinstance(value, str | bool)))
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _bad_numbers(frame: Any, field: str, rule: str) -> tuple[Bools, str]:
    """Which entries break ``rule``, and how to call it. Numeric columns are made numeric."""
    column = frame[field]
    if not isinstance(column.dtype, np.dtype) or column.dtype.kind not in "iuf":
        text = column.map(lambda value: isinstance(value, str | bool | list | dict)).to_numpy(bool)
        values = np.where(text, np.nan, _numbers(column.where(~text)))
        if text.any():
            return text, "is no number"
        frame[field] = values
    else:
        values = np.asarray(column, dtype=np.float64)
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        checks = {
            "finite": (~finite, "must be a finite number"),
            "positive": (~(finite & (values > 0)), "must be positive"),
            "nonzero": (~(finite & (values != 0)), "must be a number other than zero"),
            "fraction": (~(finite & (values > 0) & (values <= 1)), "must lie between 0 and 1"),
            "percent": (~(finite & (values >= 0) & (values <= 100)), "must lie between 0 and 100"),
            "any": (np.zeros(values.size, dtype=bool), ""),
            "known": (np.isinf(values), "must not be infinite"),
        }
    return checks[rule]


def _complain(
    bad: Bools, names: Sequence[str], what: str, column: Any, problems: list[str]
) -> None:
    if bad.any():
        seen = column[bad].iloc[0]
        value = repr(seen)[:40] if isinstance(seen, str) else str(seen)[:40]
        problems.append(
            f"{bad.sum()} of {bad.size}: {what}: {offending(bad, names)}; the first has {value}. "
            "Correct the value, or set the element out of service."
        )


def _check_switches(net: Any, problems: list[str]) -> list[ReportRow]:
    """Switches must hang at an element that exists, and should hang at one of its ends."""
    switch = net.switch
    if not len(switch) or problems:
        return []
    names = label(switch, "switch")
    known = switch.et.isin(list(SWITCHED)).to_numpy()
    _complain(~known, names, "et must be b, l, t or t3", switch.et, problems)
    stray = _none(switch)
    for et, table in SWITCHED.items():
        mine = (switch.et == et).to_numpy()
        lost = mine & ~np.isin(_numbers(switch.element), net[table].index.to_numpy())
        _complain(lost, names, f"element names no {table} of the network", switch.element, problems)
        if et != "b" and not lost.any():
            ends = net[table].loc[switch.element[mine], list(BUS_FIELDS[table])].to_numpy()
            stray[mine] = (ends != switch.bus.to_numpy()[mine, None]).all(axis=1)
    of_trafo3w = stray & (switch.et == "t3").to_numpy()
    _complain(of_trafo3w, names, "bus is no end of its trafo3w", switch.bus, problems)
    if problems:
        return []
    switch["element"] = switch.element.astype(np.int64)
    switch["z_ohm"] = switch.z_ohm.fillna(0.0)
    if not stray.any():
        return []
    note = "bus is no end of the switched element; acts on its from or lv end, as in pandapower"
    ids = tuple(f"switch:{k}" for k in switch.index[stray])
    return [ReportRow(fate=Fate.SUSPECT, kind="switch", count=len(ids), note=note, elements=ids)]


def _check_look_ups(net: Any, problems: list[str]) -> None:
    """Elements that follow a table need that table, with numbers in it."""
    for table, (flag, look_up, fields) in LOOKED_UP.items():
        frame, rows = net[table], net.get(look_up)
        if flag not in frame or not frame[flag].any():
            continue
        if not isinstance(rows, pd.DataFrame) or not set(fields) <= set(rows.columns):
            problems.append(
                f"{table} has {flag} set but table {look_up} lacks one of {', '.join(fields)}. "
                f"Add it, or set {flag} to False."
            )
            continue
        for field in fields:
            bad, text = _bad_numbers(rows, field, "any")
            _complain(bad, label(rows, look_up), f"{field} {text}", rows[field], problems)


def _check_loops(net: Any, problems: list[str]) -> None:
    ends = {"line": ("from_bus", "to_bus"), "impedance": ("from_bus", "to_bus")}
    ends |= {"trafo": ("hv_bus", "lv_bus"), "dcline": ("from_bus", "to_bus")}
    for table, (start, stop) in ends.items():
        frame = net[table]
        if len(frame) and {start, stop} <= set(frame.columns):
            bad = (frame[start] == frame[stop]).to_numpy()
            what = f"{start} and {stop} are the same bus"
            _complain(bad, label(frame, table), what, frame[start], problems)


def _check_reference(net: Any, problems: list[str]) -> None:
    if problems:
        return
    alive = net.bus.index[net.bus.in_service]
    feeds = [net.ext_grid[net.ext_grid.in_service], net.gen[net.gen.in_service & net.gen.slack]]
    if not any(frame.bus.isin(alive).any() for frame in feeds):
        problems.append(
            "The network has no external grid and no slack generator in service, so nothing sets "
            "the voltage angle. Add one with pandapower.create_ext_grid, or set gen.slack."
        )
