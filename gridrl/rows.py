"""Rows of a table as JSON, CSV and Parquet: what every part that writes a file shares."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def plain(value: Any) -> Any:
    """The value as JSON knows it: numpy unwrapped, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# A spreadsheet runs a cell that starts with one of these as a formula.
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r")


def csv_cell(value: Any) -> Any:
    """The value for a CSV cell: text that a spreadsheet would run is quoted, numbers are not."""
    value = plain(value)
    if isinstance(value, str) and value.startswith(_FORMULA_START):
        return "'" + value
    return "" if value is None else value


def write_rows(path: Path, rows: Sequence[Row], document: Mapping[str, Any]) -> None:
    """Write a table as .csv or .parquet, or the whole ``document`` around it as .json."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        text = json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")
    elif suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns(rows))
            writer.writerows([csv_cell(row.get(c)) for c in columns(rows)] for row in rows)
    else:
        parquet = require_pyarrow()
        import pyarrow

        table = pyarrow.table({c: [plain(row.get(c)) for row in rows] for c in columns(rows)})
        parquet.write_table(table, path)


def columns(rows: Iterable[Row]) -> list[str]:
    """Every column of the rows, in order of first appearance."""
    return list(dict.fromkeys(column for row in rows for column in row))


def require_pyarrow() -> Any:
    """`pyarrow.parquet`, or the sentence that says how to get it."""
    from gridrl.errors import MissingExtra

    try:
        import pyarrow.parquet
    except ImportError as missing:
        raise MissingExtra(
            "Parquet files need pyarrow: pip install 'gridrl[parquet]'. A .csv or .json file "
            "needs nothing."
        ) from missing
    return pyarrow.parquet
