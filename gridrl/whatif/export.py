"""A study's result as one document, or as one table over all variants."""

from pathlib import Path
from typing import Any

from gridrl.errors import StudyError
from gridrl.rows import plain, write_rows
from gridrl.whatif.places import nearest
from gridrl.whatif.results import StudyResult, VariantResult
from gridrl.whatif.tables import (
    change_rows,
    comparison_rows,
    outage_rows,
    variant_row,
    violation_rows,
)

TABLES = ("variants", "violations", "outages", "branches", "buses", "units", "recommendations")
ELEMENTS = ("branches", "buses", "units")
Row = dict[str, Any]


def document(
    study: StudyResult, *, elements: bool = True, only: str | None = None
) -> dict[str, Any]:
    """Everything that a study found, ready for `gridrl.rows.plain` and JSON.

    Parameters
    ----------
    elements
        With every branch, bus and unit of every variant, before and after.
    only
        One variant instead of all.

    Raises
    ------
    StudyError
        There is no such variant.
    """
    case = study.base.case
    results = study if only is None else [study[only]]
    wanted = ELEMENTS if elements else ()
    return {
        "study": study.name,
        "case": case.source or case.grid.name,
        "digest": case.digest,
        "settings": dict(study.settings),
        "notes": list(case.notes),
        "variants": [
            {**variant_row(study.base, result),
             "edit_tables": [edit.to_dict() for edit in result.variant.edits],
             "notes": list(result.case.notes), "violations": violation_rows(result),
             "outages": outage_rows(result), "advice": result.advice,
             **{name: change_rows(study.base, result, name) for name in wanted}}
            for result in results
        ],
    }  # fmt: skip


def table_rows(study: StudyResult, table: str) -> list[Row]:
    """One table over all variants; its first column names the variant.

    Raises
    ------
    StudyError
        There is no such table.
    """
    if table not in TABLES:
        raise StudyError(f"No table '{table}'. {nearest(table, TABLES)}")
    if table == "variants":
        return comparison_rows(study)
    return [
        {"variant": result.name, **row} for result in study for row in _rows(study, result, table)
    ]


def _rows(study: StudyResult, result: VariantResult, table: str) -> list[Row]:
    if table == "violations":
        return violation_rows(result)
    if table == "outages":
        return outage_rows(result)
    if table == "recommendations":
        found = [] if result.advice is None else result.advice.get("recommendations", [])
        return [_flat(item) for item in found]
    return change_rows(study.base, result, table)


def _flat(item: Row) -> Row:
    """A recommendation on one line."""
    keys = ("rank", "kind", "action", "steps", "cost", "cost_unit", "verified", "explanation")
    after = item.get("after") or {}
    numbers = (
        *("worst_loading_percent", "worst_n1_percent", "voltage_violations", "worst_voltage_pu"),
        *("n1_voltage_outages", "worst_n1_voltage_pu", "n1_insecure", "lost_load_mw"),
    )
    return {key: item.get(key) for key in keys} | {
        f"after_{key}": after.get(key) for key in numbers
    }


def write(path: Path, study: StudyResult, table: str = "variants") -> None:
    """Write a study by the file's suffix: .html (report), .json (all), .csv or .parquet (a table).

    Raises
    ------
    StudyError
        Another suffix.
    MissingExtra
        Parquet without pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix == ".html":
        from gridrl.whatif.report import write_report

        write_report(path, study)
    elif suffix == ".json":
        write_rows(path, [], plain(document(study)))
    elif suffix in (".csv", ".parquet"):
        write_rows(path, table_rows(study, table), {})
    else:
        raise StudyError(f"{path}: write .html, .json, .csv or .parquet, not '{suffix}'.")
