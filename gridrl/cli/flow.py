"""``gridrl flow``: voltages and flows of one state of a grid."""

import math
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
from gridrl.rows import Row

if TYPE_CHECKING:
    from gridrl.case import Case
    from gridrl.powerflow import FlowResult


def flow(
    case: CaseArgument,
    *,
    opened: OpenOption = None,
    scale_load: ScaleOption = 1.0,
    q_limits: QLimitsOption = False,
    distributed_slack: SlackOption = False,
    island_rule: IslandOption = "dead",
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FILE", help="Draw the grid, coloured by loading (.png, .svg, .pdf)."
        ),
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
    options = FlowOptions(
        enforce_q_limits=q_limits,
        distributed_slack=distributed_slack,
        island_rule=island_rule,
    )
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
            f"{name}: nothing is left that holds the voltage angle, so nothing is supplied. "
            "Check the external grids and what is open."
        )
    return (
        f"{name}: no power flow found; the last attempt left "
        f"{float(result.mismatch[0]):.2g} p.u. of power unbalanced. The grid may be loaded past "
        "voltage collapse (try --scale-load 0.9), or its data may be wrong (`gridrl load` lists "
        "what looks suspect)."
    )


def loading_style(percent: float) -> str | None:
    """Colour of a loading; the number beside it says the same."""
    return "bold red" if percent > 100 else "yellow" if percent > 90 else None


def _show(document: dict[str, Any], top: int) -> None:
    out = console()
    for line in _verdict(document):
        out.print(line)
    loaded = [row for row in document["branches"] if math.isfinite(row["loading_percent"])]
    loaded.sort(key=lambda row: -row["loading_percent"])
    numbers = ("loading %", "P MW", "Q Mvar", "I kA")
    table = new_table(
        f"The {min(top, len(loaded))} most loaded branches",
        *("branch", "from", "to", *numbers, ""),
        right=numbers,
    )
    for row in loaded[:top]:
        percent = row["loading_percent"]
        table.add_row(
            label(row),
            bus_label(row, "from"),
            bus_label(row, "to"),
            number(percent),
            number(row["p_from_mw"]),
            number(row["q_from_mvar"]),
            number(max(row["i_from_ka"], row["i_to_ka"]), 3),
            "OVERLOAD" if percent > 100 else "",
            style=loading_style(percent),
        )
    if loaded:
        out.print(table)

    buses = [row for row in document["buses"] if math.isfinite(row["vm_pu"])]
    buses.sort(key=lambda row: (-_beyond(row), -abs(row["vm_pu"] - 1)))
    numbers = ("nominal kV", "voltage p.u.", "limits p.u.", "angle deg")
    table = new_table(
        f"The {min(top, len(buses))} buses with the worst voltage",
        *("bus", *numbers, ""),
        right=numbers,
    )
    for row in buses[:top]:
        limits = (row["v_min_pu"] or math.nan, row["v_max_pu"])
        table.add_row(
            label(row),
            f"{row['vn_kv']:g}",
            number(row["vm_pu"], 4),
            "..".join(number(limit, 3) for limit in limits),
            number(row["va_degree"], 2),
            "OUTSIDE" if _beyond(row) > 0 else "",
            style="bold red" if _beyond(row) > 0 else None,
        )
    out.print(table)


def _beyond(row: Row) -> float:
    """How far a bus is outside its voltage limits, p.u.; 0 or less inside."""
    return float(max(row["v_min_pu"] - row["vm_pu"], row["vm_pu"] - row["v_max_pu"], 0.0))


def _verdict(document: dict[str, Any]) -> list[str]:
    total = document["summary"]
    first = (
        f"{document['case']}: solved in {document['iterations']} iterations. Load "
        f"{number(total['load_mw'])} MW, generation {number(total['generation_mw'])} MW, losses "
        f"{number(total['losses_mw'])} MW, voltage {number(total['v_min_pu'], 3)} to "
        f"{number(total['v_max_pu'], 3)} p.u."
    )
    lines = [first]
    highest = f"{total['worst_branch']}, {number(total['worst_loading_percent'])} %"
    if not math.isfinite(total["worst_loading_percent"]):
        lines.append("No branch of this grid has a rating, so no loading can be given.")
    elif total["overloads"]:
        lines.append(f"Overloaded branches: {total['overloads']}; worst: {highest}.")
    else:
        note = rating_note(total["worst_loading_percent"])
        lines.append(f"No overload; highest loading: {highest}. {note}".rstrip())
    if total["voltage_violations"]:
        lines.append(f"Voltages outside their limits: {total['voltage_violations']}.")
    if total["lost_load_mw"] > 0:
        lines.append(f"{number(total['lost_load_mw'])} MW of load have no supply.")
    return lines


def bus_label(row: Row, end: str) -> str:
    """How the bus at one end of a branch is called in a table."""
    return label({"id": row[f"{end}_bus"], "name": row[f"{end}_bus_name"]})


def label(row: Row) -> str:
    """How a bus or branch is called in a table: kind:id, and the name where it says more."""
    text = f"{row['kind']}:{row['id']}" if "kind" in row else str(row["id"])
    return f"{text} ({row['name']})" if row["name"] not in ("", row["id"]) else text
