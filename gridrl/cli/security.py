"""``gridrl security``: what every single outage does to a grid, worst first."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridrl.cli.common import (
    CaseArgument,
    IslandOption,
    JsonOption,
    OpenOption,
    QLimitsOption,
    ScaleOption,
    SlackOption,
    check_writeable,
    console,
    new_table,
    number,
    print_json,
    rating_note,
    read_case,
)
from gridrl.cli.flow import no_flow
from gridrl.rows import Row, require_pyarrow, write_rows

if TYPE_CHECKING:
    from gridrl.case import Case

Progress = Callable[[int, int], None]

_FAILED = ("diverged", "blackout")


def security(
    case: CaseArgument,
    *,
    opened: OpenOption = None,
    scale_load: ScaleOption = 1.0,
    contingencies: Annotated[
        Path | None,
        typer.Option("--contingencies", metavar="FILE", help="Outages to study, instead of N-1."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Rows in the table.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write every row: .csv, .json or .parquet."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads to solve with.")] = 1,
    q_limits: QLimitsOption = False,
    distributed_slack: SlackOption = False,
    island_rule: IslandOption = "dead",
    fail_on_violation: Annotated[
        bool, typer.Option("--fail-on-violation", help="Exit with code 1 if anything is insecure.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take every line, transformer and generator out in turn (N-1); rank what that does."""
    if out is not None:
        check_writeable(out, (".csv", ".json", ".parquet"), "--out")
        if out.suffix.lower() == ".parquet":
            require_pyarrow()
    loaded = read_case(case, opened, scale_load)
    options = {
        "enforce_q_limits": q_limits,
        "distributed_slack": distributed_slack,
        "island_rule": island_rule,
        "threads": threads,
    }
    document = _study(loaded, contingencies, options)
    rows = document["contingencies"]
    if out is not None:
        write_rows(out, rows, document)
    if as_json:
        print_json(document)
    else:
        _show(document, top)
    if out is not None:
        console(stderr=True).print(f"All {len(rows)} rows: {out}")
    if fail_on_violation and document["insecure"]:
        raise typer.Exit(1)


def _study(case: "Case", contingencies: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    """Solve the base state, then every outage; worst first, ready for JSON."""
    from gridrl.powerflow import FlowOptions, FlowStatus, flow
    from gridrl.powerflow.tables import summary
    from gridrl.security import SecurityOptions, read_contingencies
    from gridrl.security import security as secure
    from gridrl.security.tables import contingency_rows

    outages = None if contingencies is None else read_contingencies(contingencies, case)
    flow_options = FlowOptions(**options)
    base = flow(case, options=flow_options)
    if not base.solved()[0]:
        status = FlowStatus(int(base.status[0])).name
        console(stderr=True).print(no_flow(case, base, status), style="bold red")
        raise typer.Exit(1)
    what = "N-1" if contingencies is None else contingencies.name
    with progress_bar(what) as progress:
        result = secure(
            case,
            contingencies=outages,
            options=SecurityOptions(flow=flow_options),
            progress=progress,
        )
    rows = contingency_rows(case, result)
    before = summary(case, base)
    n_insecure = int(result.insecure().sum())
    return {
        "case": case.source or case.grid.name,
        "digest": case.digest,
        "verdict": f"{what}: {verdict(rows, n_insecure)}",
        "outages": len(rows),
        "insecure": n_insecure,
        "base": before,
        "contingencies": rows,
    }


def verdict(rows: Sequence[Row], n_insecure: int) -> str:
    """The study in one line: how many outages are insecure, and the worst that any of them does."""
    if not rows:
        return "there is nothing to take out of service."
    parts = [f"{n_insecure} of {len(rows)} outages insecure"]
    if not n_insecure:
        parts = [f"all {len(rows)} outages secure"]
    failed = [row for row in rows if row["status"] in _FAILED]
    if failed:
        parts.append(f"{len(failed)} without a power flow, first {failed[0]['contingency']}")
    rated = [row for row in rows if math.isfinite(row["worst_loading_percent"])]
    if rated:
        worst = max(rated, key=lambda row: float(row["worst_loading_percent"]))
        parts.append(
            f"highest loading {worst['worst_loading_percent']:.0f} % on {worst['worst_branch']} "
            f"after {worst['contingency']}"
        )
    lost = [row for row in rows if row["lost_load_mw"] > 0]
    if lost:
        most = max(lost, key=lambda row: float(row["lost_load_mw"]))
        parts.append(
            f"{len(lost)} cut off load, most {number(most['lost_load_mw'], 0)} MW after "
            f"{most['contingency']}"
        )
    return "; ".join(parts) + "."


def _show(document: dict[str, Any], top: int) -> None:
    out = console()
    style = "bold red" if document["insecure"] else "bold green"
    out.print(f"{document['case']}, {document['verdict']}", style=style)
    before = document["base"]
    if before["overloads"] or before["voltage_violations"]:
        out.print(
            f"Before any outage: {before['overloads']} overloads, {before['voltage_violations']} "
            "voltages outside their limits.",
            style="yellow",
        )
    loading = [row["worst_loading_percent"] for row in document["contingencies"]]
    note = rating_note(max((x for x in loading if math.isfinite(x)), default=math.inf))
    if note:
        out.print(note, style="yellow")
    rows = document["contingencies"][:top]
    numbers = ("loading %", "p.u.", "lost MW")
    table = new_table(
        f"The {len(rows)} worst outages",
        *("outage", "result", "loading %", "on", "p.u.", "at", "lost MW"),
        right=numbers,
    )
    for row in rows:
        table.add_row(
            row["contingency"],
            result_text(row),
            number(row["worst_loading_percent"]),
            row["worst_branch"],
            number(row["worst_voltage_pu"], 3),
            row["worst_bus"],
            number(row["lost_load_mw"]) if row["lost_load_mw"] > 0 else "-",
            style=row_style(row),
        )
    if rows:
        out.print(table)


def result_text(row: Row) -> str:
    """What an outage does, in words."""
    if row["status"] == "diverged":
        return "NO POWER FLOW"
    if row["status"] == "blackout":
        return "BLACKOUT"
    found = []
    for column, one, many in (
        ("overloads", "overload", "overloads"),
        ("voltage_violations", "voltage", "voltages"),
    ):
        if row[column]:
            found.append(f"{row[column]} {one if row[column] == 1 else many}")
    if row["status"] == "islanded":
        found.append("part cut off")
    return ", ".join(found) or "ok"


def row_style(row: Row) -> str | None:
    if row["status"] in _FAILED or row["overloads"]:
        return "bold red"
    return "yellow" if row["voltage_violations"] or row["status"] == "islanded" else None


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """Progress on stderr: a bar on a terminal, a line per tenth elsewhere."""
    err = console(stderr=True)
    if err.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        parts = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*parts, console=err, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    said = -1

    def say(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // total if total else 10
        if tenth > said and done:
            said = tenth
            err.print(f"{what}: {done} of {total}")

    yield say
