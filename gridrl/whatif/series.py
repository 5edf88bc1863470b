"""Time series: every row of a CSV file becomes a variant.

The first column is the time (any text, each once). Every other column is a set point:
``load:3.p_mw``, ``load:3.q_mvar``, ``gen:1.p_mw``, ``storage:0.p_mw``, or a factor for
everything: ``scale_load``, ``scale_generation``. Empty cells leave the case as it is.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gridrl.case import Case
from gridrl.edit import LOAD_KINDS
from gridrl.errors import ElementError, StudyError
from gridrl.whatif.draft import GENERATION_KINDS, STORAGE_KINDS
from gridrl.whatif.edits import Edit, parse_edit
from gridrl.whatif.results import Variant

MAX_BYTES = 64 * 2**20
_FACTORS = ("scale_load", "scale_generation")
_QUANTITIES = ("p_mw", "q_mvar")


@dataclass(frozen=True)
class _Column:
    """What a column sets."""

    verb: str
    element: str = ""  # empty for a factor
    quantity: str = ""


def read_series(
    path: Path, case: Case, name: str, shared: Sequence[Edit] = ()
) -> tuple[Variant, ...]:
    """One variant per row, called after the series and its time.

    Parameters
    ----------
    path
        CSV file, comma separated, decimal points.
    case
        The case whose elements the columns name.
    shared
        Edits made in every step, before its set points.

    Raises
    ------
    StudyError
        The file cannot be read as a time series; the message says in which line and column.
    ElementError
        A column names an element that the case does not have.
    """
    try:
        lines = list(csv.reader(_text(path).splitlines()))
    except csv.Error as broken:
        raise StudyError(f"{path.name} is not a CSV file: {broken}.") from None
    if len(lines) < 2:
        raise StudyError(f"{path.name} holds no time step. Give a header and one line per step.")
    head = [cell.strip() for cell in lines[0]]
    columns = [_column(path, text, case) for text in head[1:]]
    if not columns:
        raise StudyError(f"{path.name}, line 1: no column beside the time. Add e.g. 'scale_load'.")
    variants = []
    for number, row in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        at = f"{path.name}, line {number}"
        if len(row) != len(head):
            raise StudyError(f"{at}: {len(row)} cells, but the header has {len(head)}.")
        edits = _edits(columns, head[1:], row[1:], at)
        time = row[0].strip()
        variants.append(
            Variant(name=f"{name} {time}", edits=(*shared, *edits), family=name, where=at)
        )
    return tuple(variants)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StudyError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB.")
        return path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise StudyError(f"Cannot read time series {path.name}: {problem.strerror}.") from None
    except UnicodeDecodeError:
        raise StudyError(f"{path.name} is not a text file in UTF-8.") from None
    except ValueError as problem:  # a name that can be no file's
        raise StudyError(f"Cannot read time series {path.name!r}: {problem}.") from None


def _column(path: Path, text: str, case: Case) -> _Column:
    at = f"{path.name}, line 1, column '{text}'"
    if text in _FACTORS:
        return _Column(text)
    name, _, quantity = text.rpartition(".")
    if quantity not in _QUANTITIES:
        raise StudyError(
            f"{at}: write an element and a quantity, like 'load:3.p_mw' or 'load:3.q_mvar', or "
            "'scale_load' or 'scale_generation'."
        )
    try:
        element = case.grid.find_element(name)
    except ElementError as unknown:
        raise ElementError(f"{at}: {unknown}") from None
    kind = case.grid.element_kind[element]
    label = f"{kind}:{case.grid.element_id[element]}"
    for kinds, verb in (
        (LOAD_KINDS, "set_load"), (GENERATION_KINDS, "redispatch"), (STORAGE_KINDS, "storage"),
    ):  # fmt: skip
        if kind in kinds:
            if quantity == "q_mvar" and verb != "set_load":
                break
            return _Column(verb, label, quantity)
    raise StudyError(f"{at}: {quantity} of a {kind} cannot be set by a time series.")


def _edits(
    columns: Sequence[_Column], head: Sequence[str], cells: Sequence[str], at: str
) -> list[Edit]:
    tables: dict[tuple[str, str], dict[str, float | str]] = {}
    for column, text, cell in zip(columns, head, cells, strict=True):
        if not cell.strip():
            continue
        try:
            value = float(cell)
        except ValueError:
            raise StudyError(
                f"{at}, column '{text}': '{cell.strip()[:40]}' is not a number (decimal point, no "
                "unit)."
            ) from None
        table = tables.setdefault((column.verb, column.element), {})
        key = column.quantity or column.verb
        if key in table:
            raise StudyError(f"{at}: two columns set {text}. Leave one out.")
        table[key] = value
        if column.element:
            table[column.verb] = column.element
    return [parse_edit(table, at) for table in tables.values()]
