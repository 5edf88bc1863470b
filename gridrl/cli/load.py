"""``gridrl load``: what a file holds, and what reading it cost."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from gridrl.cli.common import CaseArgument, JsonOption, console, new_table, print_json, read_case

if TYPE_CHECKING:
    from rich.table import Table

    from gridrl.case import Case


def load(case: CaseArgument, *, as_json: JsonOption = False) -> None:
    """Show what is in a grid: elements, voltage levels, and what the reader could not keep."""
    loaded = read_case(case)
    document = describe(loaded)
    if as_json:
        print_json(document)
    else:
        _show(document)


def describe(case: "Case") -> dict[str, Any]:
    """Counts, voltage levels and loss report of a case, ready for JSON."""
    import numpy as np

    grid = case.grid
    real = ~grid.is_star
    levels = []
    for kv in sorted(set(grid.vn_kv[real].tolist()), reverse=True):
        at = real & (grid.vn_kv == kv)
        lines = at[grid.from_substation] & at[grid.to_substation]
        units = at[grid.unit_substation]
        kinds = Counter(k for k, here in zip(grid.unit_kind, units, strict=True) if here)
        levels.append(
            {
                "vn_kv": kv,
                "buses": int(at[grid.bus_substation].sum()),
                "substations": int(at.sum()),
                "branches_within": int(lines.sum()),
                "units": dict(sorted(kinds.items())),
            }
        )
    rated = np.isfinite(grid.i_max_from) | np.isfinite(grid.i_max_to) | np.isfinite(grid.s_max)
    return {
        "case": case.source or grid.name,
        "name": grid.name,
        "origin": case.origin,
        "digest": case.digest,
        "s_base_mva": grid.s_base_mva,
        "buses": grid.n_bus,
        "substations": int(real.sum()),
        "branches": grid.n_branch,
        "branches_open": int((~case.topology.closed).sum()),
        "branches_without_rating": int((~rated).sum()),
        "elements": dict(sorted(Counter(grid.element_kind).items())),
        "voltage_levels": levels,
        "report": [
            {
                "fate": row.fate.value,
                "kind": row.kind,
                "count": row.count,
                "note": row.note,
                "elements": list(row.elements),
            }
            for row in case.report
        ],
        "notes": list(case.notes),
    }


_FATE_STYLE = {"kept": None, "mapped": "cyan", "refused": "bold red", "suspect": "yellow"}
_FATE_ORDER = ("refused", "suspect", "mapped", "kept")


def _show(document: dict[str, Any]) -> None:
    out = console()
    out.print(f"{document['name']}", style="bold")
    origin = f"from {document['origin']}, " if document["origin"] else ""
    out.print(
        f"{origin}{document['buses']} buses in {document['substations']} substations, "
        f"{document['branches']} branches ({document['branches_open']} open, "
        f"{document['branches_without_rating']} without a rating), base "
        f"{document['s_base_mva']:g} MVA"
    )
    out.print("Elements: " + ", ".join(f"{n} {kind}" for kind, n in document["elements"].items()))

    numbers = ("kV", "buses", "branches within")
    levels = new_table("Voltage levels", *numbers, "units", right=numbers)
    for level in document["voltage_levels"]:
        levels.add_row(
            f"{level['vn_kv']:g}",
            str(level["buses"]),
            str(level["branches_within"]),
            ", ".join(f"{n} {kind}" for kind, n in level["units"].items()),
        )
    out.print(levels)

    if document["report"]:
        out.print(_report(document["report"]))
    else:
        out.print("The reader kept everything.")
    for note in document["notes"]:
        out.print(f"Note: {note}")


def _report(rows: list[dict[str, Any]]) -> "Table":
    columns = ("fate", "kind", "count", "note")
    table = new_table("What became of the input", *columns, right=("count",))
    for row in sorted(rows, key=lambda row: _FATE_ORDER.index(row["fate"])):
        named = row["elements"][:5] if row["fate"] in ("refused", "suspect") else []
        more = ", ..." if len(row["elements"]) > len(named) else ""
        which = f" ({', '.join(named)}{more})" if named else ""
        style = _FATE_STYLE[row["fate"]]
        table.add_row(row["fate"], row["kind"], str(row["count"]), row["note"] + which, style=style)
    return table
