"""How `gridrl whatif` prints studies: only printing, every number comes from the tables."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gridrl.cli.common import console, new_table, number, rating_note

if TYPE_CHECKING:
    from rich.console import Console

    from gridrl.whatif import StudyResult, VariantResult

Row = dict[str, Any]


def show_list(where: str, rows: Sequence[Row]) -> None:
    """Every study of a store."""
    out = console()
    if not rows:
        out.print(f"No study in {where} yet. `gridrl whatif run STUDY.toml` makes one.")
        return
    table = new_table(
        f"Studies in {where}", "id", "name", "made", "case", "variants", right=("id", "variants")
    )
    for row in rows:
        done, size = row["finished"], row["variants"]
        table.add_row(
            str(row["id"]), row["name"], row["created"][:16].replace("T", " ") + " UTC",
            row["case"], str(size) if done == size else f"{done} of {size}",
            style=None if done == size else "yellow",
        )  # fmt: skip
    out.print(table)


def show_study(study: "StudyResult", top: int) -> None:
    """All variants side by side, then what is wrong with the worst of them."""
    rows = study.comparison()
    out = console()
    case = study.base.case
    count = f"{len(rows) - 1} variant{'' if len(rows) == 2 else 's'}"
    out.print(f"{study.name}: {count} of {case.source or case.grid.name}", style="bold")
    if study.shared:
        out.print(f"Changed in the base and in every variant: {study.shared}.")
    for note in case.notes:
        out.print(f"Note: {note}", style="yellow")
    loadings = [row["worst_loading_percent"] for row in rows]
    note = rating_note(max((x for x in loadings if math.isfinite(x)), default=math.inf))
    if note:
        out.print(note, style="yellow")
    out.print(_comparison(rows, top))
    if len(rows) > top:
        out.print(f"... and {len(rows) - top} more variants (--top).")
    worst = _worst(study, rows)
    if worst is not None:
        _show_wrong(out, study, worst, top)


def _comparison(rows: Sequence[Row], top: int) -> Any:
    table = new_table(
        "Variants: highest loading before any outage | under single outages",
        *("variant", "result", "worst %", "on", "over", "volt", "lost MW"),
        *("insecure", "N-1 %", "on", "after"),
        right=("worst %", "over", "volt", "lost MW", "insecure", "N-1 %"),
    )
    table.columns[0].min_width = min(24, max(len(row["variant"]) for row in rows))
    for row in rows[:top]:
        outages = row["n1_outages"]
        insecure = "-" if outages is None else f"{row['n1_insecure']}/{outages}"
        table.add_row(
            row["variant"], _result_text(row), number(row["worst_loading_percent"]),
            row["worst_branch"], number(row["overloads"]), number(row["voltage_violations"]),
            number(row["lost_load_mw"]) if row["lost_load_mw"] else "-",
            insecure, number(row["n1_worst_loading_percent"]), row["n1_worst_branch"] or "",
            row["n1_worst_outage"] or "", style=_style(row),
        )  # fmt: skip
    return table


def _result_text(row: Row) -> str:
    return {
        "ok": "ok", "islanded": "part off", "diverged": "NO POWER FLOW", "blackout": "BLACKOUT",
    }[row["status"]]  # fmt: skip


def _style(row: Row) -> str | None:
    if row["status"] in ("diverged", "blackout") or row["overloads"]:
        return "bold red"
    return "yellow" if row["voltage_violations"] or row["n1_insecure"] else None


def _worst(study: "StudyResult", rows: Sequence[Row]) -> "VariantResult | None":
    """The solved variant whose state before any outage is worst, of those that violate anything."""
    from gridrl.whatif.tables import violation_rows

    def badness(row: Row) -> tuple[float, ...]:
        loading = row["worst_loading_percent"]
        loading = loading if math.isfinite(loading) else 0.0
        over = loading if loading > 100.0 else 0.0
        return over, row["voltage_violations"], row["n1_insecure"] or 0, loading

    solved = [row for row in rows if row["status"] in ("ok", "islanded")]
    for row in sorted(solved, key=badness, reverse=True):
        result = study[row["variant"]]
        if violation_rows(result) or result.advice:
            return result
    return None


def _show_wrong(out: "Console", study: "StudyResult", result: "VariantResult", top: int) -> None:
    from gridrl.whatif.tables import change_rows, violation_rows

    rows = violation_rows(result)
    if rows:
        before = {
            _branch_name(row): row["loading_percent_before"]
            for row in change_rows(study.base, result, "branches")
        }
        table = new_table(
            f"What '{result.name}' violates before any outage",
            *("kind", "element", "value", "limit", "in base", "unit"),
            right=("value", "limit", "in base"),
        )
        for row in rows[:top]:
            digits = 4 if row["unit"] == "p.u." else 1
            was = before.get(row["element"]) if row["kind"] == "current" else None
            table.add_row(
                row["kind"], row["element"], number(row["value"], digits),
                number(row["limit"], digits), number(was), row["unit"],
                style="bold red" if row["kind"] != "voltage" else "yellow",
            )  # fmt: skip
        out.print(table)
        if len(rows) > top:
            out.print(f"... and {len(rows) - top} more (--top).")
    _show_advice(out, result, top)


def _branch_name(row: Row) -> str:
    named = row["name"] and row["name"] != row["id"]
    return f"{row['kind']}:{row['id']}" + (f" ({row['name']})" if named else "")


def _show_advice(out: "Console", result: "VariantResult", top: int) -> None:
    if result.advice is None:
        return
    out.print(f"'{result.name}': {result.advice.get('verdict', '')}", style="bold")
    table = new_table(
        "What can be done", "rank", "action", "steps", "cost", "loading %", "worst N-1 %",
        "volt", "N-1 volt", "not secure", "AC checked",
        right=("rank", "steps", "cost", "loading %", "worst N-1 %", "volt", "N-1 volt"),
    )  # fmt: skip
    for item in result.advice.get("recommendations", [])[:top]:
        after = item.get("after") or {}
        cost = item.get("cost")
        table.add_row(
            str(item.get("rank", "")), str(item.get("action", "")), str(item.get("steps", "")),
            "-" if cost is None else f"{number(float(cost))} {item.get('cost_unit') or ''}".strip(),
            number(after.get("worst_loading_percent")), number(after.get("worst_n1_percent")),
            number(after.get("voltage_violations")), number(after.get("n1_voltage_outages")),
            f"{after.get('n1_insecure', '-')} of {after.get('n1_outages', '-')}",
            "yes" if item.get("verified") else "NO",
        )  # fmt: skip
    out.print(table)
    out.print(
        "Volt: voltages outside their limits before any outage; N-1 volt: outages after which one "
        "is. Not secure: outages after which a branch is overloaded, also one that was so before; "
        "or that break a voltage limit or cut demand off.",
        style="dim",
    )


def show_variant(study: "StudyResult", result: "VariantResult", top: int) -> None:
    """One variant: its edits, violations, outages and the elements that changed most."""
    from gridrl.cli.security import result_text as outage_text
    from gridrl.cli.security import row_style as outage_style
    from gridrl.whatif.tables import change_rows, outage_rows

    out = console()
    from gridrl.whatif.tables import variant_row

    out.print(f"{study.name}, {result.name}: {result.variant}", style="bold")
    row = variant_row(study.base, result)
    if result.solved:
        out.print(
            f"Load {number(row['load_mw'])} MW, losses {number(row['losses_mw'])} MW, voltage "
            f"{number(row['v_min_pu'], 3)} to {number(row['v_max_pu'], 3)} p.u.; "
            f"{row['busbars_changed']} substations and {row['elements_switched']} elements "
            "switched differently than in the base."
        )
    beside = [] if result is study.base else [variant_row(study.base, study.base)]
    out.print(_comparison([*beside, row], 2))
    _show_wrong(out, study, result, top)
    if result.n1 is not None:
        table = new_table(
            f"The worst of {len(result.n1.contingencies)} outages",
            *("outage", "result", "loading %", "on", "p.u.", "at", "lost MW"),
            right=("loading %", "p.u.", "lost MW"),
        )
        for row in outage_rows(result, top):
            table.add_row(
                row["contingency"], outage_text(row), number(row["worst_loading_percent"]),
                row["worst_branch"], number(row["worst_voltage_pu"], 3), row["worst_bus"],
                number(row["lost_load_mw"]) if row["lost_load_mw"] > 0 else "-",
                style=outage_style(row),
            )  # fmt: skip
        out.print(table)
    if result is study.base or not result.solved:
        return
    rows = [
        row for row in change_rows(study.base, result, "branches")
        if math.isfinite(row["p_from_mw_change"])
    ]  # fmt: skip
    rows.sort(key=lambda row: -abs(row["p_from_mw_change"]))
    if not rows:
        return
    table = new_table(
        f"The {min(top, len(rows))} branches whose flow changed most",
        *("branch", "MW before", "MW after", "% before", "% after"),
        right=("MW before", "MW after", "% before", "% after"),
    )
    for row in rows[:top]:
        table.add_row(
            _branch_name(row), number(row["p_from_mw_before"]), number(row["p_from_mw_after"]),
            number(row["loading_percent_before"]), number(row["loading_percent_after"]),
        )  # fmt: skip
    out.print(table)


def show_check(number_: int, rows: Sequence[Row], top: int) -> None:
    """What solving a study again gave."""
    out = console()
    different = [row for row in rows if not row["same"]]
    if not different:
        out.print(
            f"Study {number_}: all {len(rows)} variants were solved again with the same result.",
            style="bold green",
        )
        return
    out.print(
        f"Study {number_}: {len(different)} of {len(rows)} variants differ.", style="bold red"
    )
    table = new_table(
        "What differs", "variant", "kept", "now", "max ΔV p.u.", "max ΔS MVA", "outages",
        right=("max ΔV p.u.", "max ΔS MVA"),
    )  # fmt: skip
    for row in different[:top]:
        table.add_row(
            row["variant"], row["status"], row["status_now"], f"{row['max_dv_pu']:.2g}",
            f"{row['max_ds_mva']:.2g}", "same" if row["n1_same"] else "differ",
        )  # fmt: skip
    out.print(table)
