"""A reader for pandapower's JSON files that trusts nothing in them.

``pandapower.from_json`` imports every module that a file names, reads files that it points at and
allocates what it asks for. This reader takes tables of numbers and short texts, into tables that
pandapower itself declares, and ignores (and reports) whatever else is there. No name from the file
is ever imported, called or opened.
"""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
from pandapower.convert_format import convert_format

from gridrl.case import Fate, ReportRow
from gridrl.errors import CaseError
from gridrl.io.files import read_bytes

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 64
MAX_COLUMNS = 1000
OLDEST = (2, 0, 0)  # tables had other names and units before

# Tables that an empty net does not have, with plain columns that pandapower's own code reads
_EXTRA_TABLES = ("trafo_characteristic_table", "shunt_characteristic_table", "bus_geodata")
_IGNORED = re.compile(
    r"_.*|res_.*|std_types|version|format_version|converged|OPF_converged|profiles"
)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?[\w.+-]{0,20}")
_OPTIONS = frozenset(
    "calculate_voltage_angles trafo_model trafo_loading trafo3w_losses switch_rx_ratio "
    "neglect_open_switch_branches consider_line_temperature voltage_depend_loads "
    "distributed_slack enforce_q_lims enforce_p_lims tdpf".split()
)
_CONVERSION_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    UserWarning,
    RuntimeError,
)


def read_pandapower_json(
    path: str | Path, *, max_bytes: int = MAX_BYTES
) -> tuple[Any, list[ReportRow]]:
    """The network in a file written by ``pandapower.to_json``, and what was not read.

    Raises
    ------
    CaseError
        Too big, too deep, not JSON, no pandapower network, or of a version that cannot be
        converted. Values are not judged here: `gridrl.io.pandapower_check` does.
    """
    where = str(path)
    content = _parse(read_bytes(path, limit=max_bytes), where)
    body = content.get("_object") if isinstance(content, dict) else None
    if not isinstance(body, dict) or content.get("_class") != "pandapowerNet":
        raise CaseError(
            f"{where} holds no pandapower network. Write it with pandapower.to_json(net, path), "
            "without an encryption key."
        )
    net = pp.create_empty_network(add_stdtypes=False)
    rows: list[ReportRow] = []
    for key, value in body.items():
        rows += _read_item(net, key, value, where)
    return _to_current_format(net, body, where), rows


def _parse(data: bytes, where: str) -> Any:
    """JSON with limits: nesting, duplicate keys, digits. NaN and Infinity become floats."""
    brackets = np.frombuffer(_STRING.sub(b"", data), dtype=np.uint8)
    step = np.isin(brackets, list(b"[{")).astype(np.int64) - np.isin(brackets, list(b"]}"))
    depth = int(step.cumsum().max(initial=0))
    if depth > MAX_DEPTH:
        raise CaseError(
            f"{where} nests {depth} levels deep; a pandapower network needs about 6 and gridrl "
            f"reads at most {MAX_DEPTH}."
        )
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except RecursionError as error:
        raise CaseError(f"{where} nests too deep.") from error
    except ValueError as error:  # not JSON, not UTF-8, a duplicate key, or a giant integer
        raise CaseError(f"{where} is no valid JSON: {error}.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice[:40]}' appears twice in one object")
    return found


def _read_item(net: Any, key: str, value: Any, where: str) -> list[ReportRow]:
    """Put one entry of the file into ``net`` if it is known and plain."""
    if key in ("sn_mva", "f_hz") and isinstance(value, int | float):
        net[key] = _float(value)
    elif key == "name" and isinstance(value, str):
        net["name"] = value[:200]
    elif key == "user_pf_options" and isinstance(value, dict):
        net["user_pf_options"] = {
            option: setting
            for option, setting in value.items()
            if option in _OPTIONS and isinstance(setting, str | bool | int | float)
        }
    elif _IGNORED.fullmatch(key):
        return []
    elif isinstance(value, dict) and value.get("_class") == "DataFrame":
        return _read_table(net, key, value, where)
    elif value not in (None, "", [], {}):
        return [ReportRow(fate=Fate.REFUSED, kind=key[:80], count=1, note="not read")]
    return []


def _read_table(net: Any, table: str, value: dict[str, Any], where: str) -> list[ReportRow]:
    columns, index, cells = _split(value, table, where)
    declared = net[table] if isinstance(net.get(table), pd.DataFrame) else None
    if not index:
        return []
    plain = declared is not None and "object" not in declared.columns
    if not plain and table not in _EXTRA_TABLES:
        note = "table not read: it may hold objects"
        return [ReportRow(fate=Fate.REFUSED, kind=table[:80], count=len(index), note=note)]
    dtypes = dict(declared.dtypes.astype(str)) if declared is not None else {}
    frame: dict[str, Any] = {}
    dropped = []
    for k, name in enumerate(columns):
        column = [row[k] for row in cells]
        if (table, name) == ("pwl_cost", "points") and all(map(_is_points, column)):
            frame[name] = _objects([[[_float(x) for x in part] for part in c] for c in column])
        elif any(isinstance(cell, list | dict) for cell in column):
            dropped.append(name)
        else:
            frame[name] = _column(column, dtypes.get(name, ""))
    for name, dtype in dtypes.items():
        if name not in frame and name in dropped:
            frame[name] = _column([None] * len(index), dtype)
    net[table] = pd.DataFrame(frame, index=pd.Index(index, dtype=np.int64))
    note = "column not read: it holds lists or objects"
    return [
        ReportRow(fate=Fate.REFUSED, kind=f"{table}.{name}"[:80], count=len(index), note=note)
        for name in dropped
    ]


def _is_points(cell: Any) -> bool:
    """Whether a cell is a list of lists of numbers: ranges and slopes of a cost function."""
    return isinstance(cell, list) and all(
        isinstance(part, list) and all(type(x) in (int, float) for x in part) for part in cell
    )


def _objects(cells: list[Any]) -> Any:
    out = np.empty(len(cells), dtype=object)
    out[:] = cells
    return out


def _split(
    value: dict[str, Any], table: str, where: str
) -> tuple[list[str], list[int], list[list[Any]]]:
    """Columns, index and rows of a table in pandas' "split" orientation, shapes checked."""
    content = value.get("_object")
    if isinstance(content, str):
        content = _parse(content.encode(errors="replace"), f"{where}, table {table[:40]}")
    if not isinstance(content, dict) or not {"columns", "index", "data"} <= set(content):
        raise CaseError(f"{where}: table {table[:40]} is not a table in 'split' orientation.")
    columns, index, cells = content["columns"], content["index"], content["data"]
    sound = (
        all(isinstance(part, list) for part in (columns, index, cells))
        and len(columns) <= MAX_COLUMNS
        and all(isinstance(name, str) for name in columns)
        and len(set(columns)) == len(columns)
        and len(index) == len(cells)
        and all(isinstance(row, list) and len(row) == len(columns) for row in cells)
    )
    if not sound:
        raise CaseError(
            f"{where}: table {table[:40]} is not rectangular, or has no proper column names."
        )
    if not all(type(k) is int and -(2**63) <= k < 2**63 for k in index):
        raise CaseError(f"{where}: table {table[:40]} has an index that is no whole number.")
    return columns, index, cells


def _float(cell: Any) -> float:
    try:
        return np.nan if cell is None else float(cell)
    except OverflowError:  # an integer beyond any float
        return np.inf


def _column(cells: list[Any], dtype: str) -> Any:
    """A typed column; what does not fit its type stays as it is, for the check to complain of."""
    kinds = {type(cell) for cell in cells} - {type(None)}
    numeric = kinds <= {int, float}
    empty = not kinds
    if dtype == "bool" or (not dtype and kinds == {bool}):
        fits = None not in cells and all(cell in (0, 1) for cell in cells)
        return np.array(cells, dtype=bool) if fits else pd.Series(cells, dtype=object).to_numpy()
    if dtype == "Int64" and numeric:
        finite = [cell is not None and np.isfinite(_float(cell)) for cell in cells]
        return _integers([cell if ok else None for cell, ok in zip(cells, finite, strict=True)])
    if numeric and dtype != "object" and (dtype or not empty):
        values = np.array([_float(cell) for cell in cells])
        whole = np.isfinite(values).all() and (values == np.rint(values)).all()
        if dtype.startswith(("int", "uint")) and whole and (np.abs(values) < 2**31).all():
            return values.astype(dtype)
        return values
    return pd.Series(cells, dtype=object).to_numpy()


def _integers(values: list[Any]) -> Any:
    try:
        return pd.array(values, dtype="Int64")
    except (TypeError, ValueError, OverflowError):
        return pd.array([None] * len(values), dtype="Int64")


def _to_current_format(net: Any, body: dict[str, Any], where: str) -> Any:
    """Let pandapower bring an older network up to date: on our tables it finds only numbers."""
    version, written = str(body.get("version")), body.get("format_version", body.get("version"))
    match = _VERSION.fullmatch(str(written))
    if not match or not _VERSION.fullmatch(version):
        raise CaseError(f"{where} does not say which pandapower version wrote it.")
    if tuple(int(part or 0) for part in match.groups()) < OLDEST:
        raise CaseError(
            f"{where} has pandapower format {written}; gridrl reads 2.0 and later. Open and save "
            "it with a current pandapower where it can be trusted."
        )
    net["version"], net["format_version"] = version, str(written)
    convert: Callable[..., Any] = convert_format
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return convert(net, drop_invalid_geodata=True)
    except _CONVERSION_ERRORS as error:
        raise CaseError(
            f"{where} has pandapower format {written}, which pandapower {pp.__version__} cannot "
            f"bring up to date: {type(error).__name__}: {error}."
        ) from error
