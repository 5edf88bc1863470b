"""``gridrl flow``: voltages and flows of one state of a grid."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridrl.cli.common import (
    CaseArgument,
    JsonOption,
    OpenOption,
    Row,
    ScaleOption,
    check_writeable,
    console,
    number,
    print_json,
    read_case,
)

if TYPE_CHECKING:
    from gridrl.case import Case
    from gridrl.powerflow import FlowResult


def flow(
    case: CaseArgument,
    *,
    opened: OpenOption = None,
    scale_load: ScaleOption = 1.0,
    q_limits: Annotated[
        bool, typer.Option("--q-limits", help="Hold generators within their reactive limits.")
    ] = False,
    distributed_slack: Annotated[
        bool, typer.Option("--distributed-slack", help="Share the imbalance among the machines.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the grid, coloured by loading (.png, .svg, .pdf)."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Rows in each table.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Solve the AC power flow of one state: voltages, branch flows, loadings."""
    from gridrl.powerflow import FlowOptions, FlowStatus
    from gridrl.powerflow import flow as solve
    from gridrl.powerflow.tables import branch_rows, bus_rows, summary

    if plot is not None:
        check_writeable(plot, (".png", ".svg", ".pdf"), "--plot")
    loaded = read_case(case, opened, scale_load)
    options = FlowOptions(enforce_q_limits=q_limits, distributed_slack=distributed_slack)
    result = solve(loaded, options=options)
    status = FlowStatus(int(result.status[0]))
    solved = status in (FlowStatus.OK, FlowStatus.ISLANDED)
    document: dict[str, Any] = {
        "case": loaded.source or loaded.grid.name,
        "digest": loaded.digest,
        "status": status.name.lower(),
        "iterations": int(result.iterations[0]),
        "mismatch_pu": float(result.mismatch[0]),
        "summary": summary(loaded, result) if solved else {},
        "buses": bus_rows(loaded, result) if solved else [],
        "branches": branch_rows(loaded, result) if solved else [],
    }
    if as_json:
        print_json(document)
    if not solved:
        console(stderr=True).print(no_flow(loaded, result, status.name), style="bold red")
        raise typer.Exit(1)
    if not as_json:
        _show(document, top)
    if plot is not None:
        from gridrl.plot import plot_grid

        plot_grid(loaded, result, path=plot)
        console(stderr=True).print(f"Picture: {plot}")


def no_flow(case: "Case", result: "FlowResult", status: str) -> str:
    """Why there is nothing to show, and what a user can try."""
    name = case.grid.name
    if status == "BLACKOUT":
        return (
            f"{name}: no part of the grid has both load and a machine that holds the angle, so "
            "there is no power flow. Check the external grids and what is open."
        )
    return (
        f"{name}: no power flow found; after {int(result.iterations[0])} iterations "
        f"{float(result.mismatch[0]):.2g} p.u. of power still does not balance. The grid may be "
        "loaded past voltage collapse (try --scale-load 0.9), or its data may be wrong "
        "(`gridrl load` lists what looks suspect)."
    )


def loading_style(percent: Any) -> str | None:
    """Colour of a loading; the number beside it says the same."""
    if not isinstance(percent, float):
        return None
    return "bold red" if percent > 100 else "yellow" if percent > 90 else None


def _show(document: dict[str, Any], top: int) -> None:
    from rich.table import Table

    out = console()
    rows: list[Row] = document["branches"]
    loaded = [row for row in rows if _finite(row["loading_percent"])]
    loaded.sort(key=lambda row: -row["loading_percent"])
    over = [row for row in loaded if row["loading_percent"] > 100]
    out.print(*_verdict(document, loaded, over), sep="\n")

    table = Table(title=f"Branches, the {min(top, len(loaded))} most loaded", title_justify="left")
    table.add_column("branch")
    for column in ("P from MW", "Q from Mvar", "I from kA", "loading %"):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in loaded[:top]:
        percent = float(row["loading_percent"])
        table.add_row(
            label(row),
            number(row["p_from_mw"]),
            number(row["q_from_mvar"]),
            number(row["i_from_ka"], 3),
            number(percent),
            "OVERLOAD" if percent > 100 else "",
            style=loading_style(percent),
        )
    if loaded:
        out.print(table)

    buses = [row for row in document["buses"] if _finite(row["vm_pu"])]
    buses.sort(key=lambda row: -abs(row["vm_pu"] - 1))
    table = Table(title=f"Buses, the {min(top, len(buses))} farthest from 1 p.u.", title_justify="left")
    table.add_column("bus")
    for column in ("voltage p.u.", "angle degree"):
        table.add_column(column, justify="right")
    for row in buses[:top]:
        table.add_row(label(row), number(row["vm_pu"], 4), number(row["va_degree"], 2))
    out.print(table)


def _verdict(document: dict[str, Any], loaded: list[Row], over: list[Row]) -> list[str]:
    total = document["summary"]
    lines = [
        f"{document['case']}: solved in {document['iterations']} iterations. Load "
        f"{number(total['load_mw'])} MW, generation {number(total['generation_mw'])} MW, losses "
        f"{number(total['losses_mw'])} MW."
    ]
    if over:
        worst = loaded[0]
        lines.append(
            f"{len(over)} overloaded; worst: {label(worst)}, {worst['loading_percent']:.1f} %."
        )
    elif loaded:
        lines.append(
            f"No overload; highest loading: {label(loaded[0])}, "
            f"{loaded[0]['loading_percent']:.1f} %."
        )
    else:
        lines.append("No branch of this grid has a rating, so no loading can be given.")
    if document["status"] == "islanded":
        lines.append(
            f"Part of the grid has no supply: {number(total.get('lost_load_mw'))} MW of load is lost."
        )
    return lines


def label(row: Row) -> str:
    """How a bus or branch is called in a table: kind:id, and the name where it says more."""
    ident = str(row["id"])
    text = f"{row['kind']}:{ident}" if "kind" in row else ident
    name = row.get("name")
    return f"{text} ({name})" if name and str(name) != ident else text


def _finite(value: Any) -> bool:
    import math

    return isinstance(value, float) and math.isfinite(value)
