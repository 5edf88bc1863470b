"""``gridrl opf``: the cheapest dispatch of one state within all limits."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gridrl.cli.common import (
    CaseArgument,
    JsonOption,
    OpenOption,
    ScaleOption,
    check_writeable,
    console,
    new_table,
    number,
    print_json,
    read_case,
)
from gridrl.cli.flow import label
from gridrl.rows import require_pyarrow, write_rows

if TYPE_CHECKING:
    from gridrl.case import Case
    from gridrl.opf import OpfSolution


SolverOption = Annotated[
    str,
    typer.Option(
        "--solver",
        help="interior_point (ours), ipopt, pypower, pandapower, pandapower_dc, highs_dc, "
        "highs_switching, soc (a lower bound).",
    ),
]
StartOption = Annotated[
    Literal["auto", "flat", "dc", "flow"], typer.Option("--start", help="Where to begin.")
]
StartsOption = Annotated[
    int, typer.Option("--starts", min=1, help="Begin at so many places; the best is kept.")
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Of the random places among --starts.")
]
TimeLimitOption = Annotated[
    float | None, typer.Option("--time-limit", metavar="SECONDS", help="Of our solver.")
]
FallbackOption = Annotated[
    bool,
    typer.Option("--fallback/--no-fallback", help="Where ours finds no optimum, go on with Ipopt."),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="FILE", help="Begin where these say (gridrl train warm-start)."
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Dispatch as .csv, .parquet or .json.")
]
TopOption = Annotated[int, typer.Option("--top", min=1, help="Rows in each table.")]
SwitchOption = Annotated[
    bool, typer.Option("--switch", help="Also search what to open so that it costs less.")
]
SplitOption = Annotated[
    bool, typer.Option("--split", help="With --switch: substations may be split too.")
]
MaxSwitchesOption = Annotated[
    int, typer.Option("--max-switches", min=1, help="With --switch: actions at most.")
]
SecureOption = Annotated[
    bool,
    typer.Option(
        "--n1-secure",
        help="With --switch: keep only states that are N-1 secure, or no worse than before.",
    ),
]
SecureLimitOption = Annotated[
    float, typer.Option("--n1-limit", metavar="PERCENT", help="Loading allowed after an outage.")
]
BudgetOption = Annotated[
    int | None, typer.Option("--budget", min=1, help="With --switch: AC-OPFs at most.")
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=1, help="With --switch: threads to solve with.")
]


def opf(
    case: CaseArgument,
    *,
    opened: OpenOption = None,
    scale_load: ScaleOption = 1.0,
    solver: SolverOption = "interior_point",
    start: StartOption = "auto",
    starts: StartsOption = 1,
    seed: SeedOption = 0,
    time_limit: TimeLimitOption = None,
    fallback: FallbackOption = True,
    weights: WeightsOption = None,
    out: OutOption = None,
    top: TopOption = 20,
    switch: SwitchOption = False,
    split: SplitOption = False,
    max_switches: MaxSwitchesOption = 8,
    n1_secure: SecureOption = False,
    n1_limit: SecureLimitOption = 100.0,
    budget: BudgetOption = None,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Find the cheapest dispatch: AC optimal power flow within all limits, checked by a judge."""
    from gridrl.cli.opf_switch import check_limit
    from gridrl.opf import solve

    if out is not None:
        check_writeable(out, (".csv", ".json", ".parquet"), "--out")
        if out.suffix.lower() == ".parquet":
            require_pyarrow()
    check_limit(n1_limit)
    loaded = read_case(case, opened, scale_load)
    settings: dict[str, Any] = {} if start == "auto" else {"start": start}
    settings |= _ours(loaded, solver, starts, seed, time_limit, weights)
    solution = solve(loaded, solver, fallback=fallback, **settings)
    if not (switch and solution.ok):
        _report(solution, out, top, as_json=as_json)
        return
    from gridrl.cli.opf_switch import switch as search
    from gridrl.opf.switching import SwitchingOptions

    options = SwitchingOptions(
        max_switches=max_switches, splits=split, budget=budget, threads=threads
    )
    found = search(
        loaded, options, n1_secure=n1_secure, n1_limit=n1_limit / 100.0, top=top, as_json=as_json
    )
    if out is not None:
        write_rows(out, found["solution"]["units"], found)


def _report(solution: "OpfSolution", out: Path | None, top: int, *, as_json: bool) -> None:
    """Print and write one solution; exit code 1 where it is no optimum."""
    from gridrl.opf.tables import document as describe

    document = describe(solution)
    if as_json:
        print_json(document)
    if not solution.ok:
        _explain(solution, document)
        raise typer.Exit(1)
    if out is not None:
        write_rows(out, document["units"], document)
    if not as_json:
        _show(document, top, priced=solution.case.grid.costs.n_cost > 0)
    if out is not None:
        console(stderr=True).print(f"Dispatch: {out}")


def _ours(
    case: "Case",
    solver: str,
    starts: int,
    seed: int,
    time_limit: float | None,
    weights: Path | None,
) -> dict[str, Any]:
    """The settings that our own solver alone takes."""
    from gridrl.errors import CaseError
    from gridrl.opf.interior_point import Options
    from gridrl.opf.warm_start import learned_start

    given = {"--starts": starts > 1, "--time-limit": time_limit is not None,
             "--weights": weights is not None}  # fmt: skip
    for name in (name for name, used in given.items() if used and solver != "interior_point"):
        raise CaseError(f"{name} is for our own solver; leave out --solver {solver}.")
    settings: dict[str, Any] = {}
    if starts > 1:
        settings |= {"starts": starts, "seed": seed}
    if time_limit is not None:
        settings["options"] = Options(time_limit_s=time_limit)
    if weights is not None:
        settings["warm"] = learned_start(case, weights)
    return settings


def _explain(solution: "OpfSolution", document: dict[str, Any]) -> None:
    """Say on standard error why there is no optimum, and what is missed most."""
    from gridrl.opf import OpfStatus

    proof = "which is proved" if solution.proved else "as far as could be found"
    hint = {
        OpfStatus.INFEASIBLE: f"no dispatch meets all limits, {proof}. The limits that are missed "
        "most:",
        OpfStatus.ITERATION_LIMIT: "no optimum within the iterations allowed. Where it ended:",
        OpfStatus.TIME_LIMIT: "no optimum within the time limit. Where it ended:",
    }.get(solution.status, "no optimum found. Where it ended:")
    broken = [v for v in document["violations"] if v["amount_pu"] > 0]
    worst = sorted(broken, key=lambda v: -v["amount_pu"])[:3]
    named = "; ".join(f"{v['kind']} {v['amount_pu']:.2g} p.u. at {v['element']}" for v in worst)
    err = console(stderr=True)
    err.print(f"{solution.case.grid.name}: {hint} {named}.", style="bold red")
    err.print(f"{solution.message}.", style="dim")


def _show(document: dict[str, Any], top: int, *, priced: bool) -> None:
    out = console()
    for line in _verdict(document, priced=priced):
        out.print(line)
    numbers = ("P MW", "P limits", "Q Mvar", "Q limits", "price /MWh")
    units = sorted(document["units"], key=lambda row: -row["p_mw"])
    table = new_table(
        f"Dispatch: {min(top, len(units))} of {len(units)} units, largest first",
        *("unit", "bus", *numbers, "at limit"),
        right=numbers,
    )
    for row in units[:top]:
        table.add_row(
            label(row),
            row["bus"],
            number(row["p_mw"]),
            _range(row["p_min_mw"], row["p_max_mw"]),
            number(row["q_mvar"]),
            _range(row["q_min_mvar"], row["q_max_mvar"]),
            number(row["price_per_mwh"], 2),
            row["at_limit"],
        )
    out.print(table)
    full = [row for row in document["branches"] if row["loading_percent"] > 99.9]
    if full:
        table = new_table(
            f"{min(top, len(full))} of {len(full)} branches at their rating",
            *("branch", "from", "to", "loading %", "P MW", "Q Mvar"),
            right=("loading %", "P MW", "Q Mvar"),
        )
        for row in full[:top]:
            table.add_row(
                label(row),
                row["from_bus"],
                row["to_bus"],
                number(row["loading_percent"]),
                number(row["p_from_mw"]),
                number(row["q_from_mvar"]),
            )
        out.print(table)


def _range(low: float, high: float) -> str:
    return f"{number(low)}..{number(high)}"


def _verdict(document: dict[str, Any], *, priced: bool) -> list[str]:
    prices = [row["price_per_mwh"] for row in document["buses"]]
    prices = [price for price in prices if math.isfinite(price)]
    priced_at = f"prices {min(prices):.2f} to {max(prices):.2f} per MWh" if prices else "no prices"
    worst = max(document["violations"], key=lambda v: v["amount_pu"])
    counted = f", {document['iterations']} iterations" if document["iterations"] >= 0 else ""
    first = (
        f"{document['case']}: cost {document['cost']:,.2f} per hour, {document['solver']} "
        f"({document['model']}){counted}. Generation "
        f"{number(document['generation_mw'])} MW, losses {number(document['losses_mw'])} MW, "
        f"{priced_at}."
    )
    where = f", {worst['element']}" if worst["element"] else ""
    judged = f"{document['max_violation_pu']:.1e} p.u. ({worst['kind']}{where})"
    lines = [first, f"Judge: largest violation {judged}."]
    if not priced:
        lines.append("No unit has a cost, so every dispatch within the limits is as good.")
    if document["fallback"] or " starts" in document["message"]:
        lines.append(f"{document['message']}.")
    if document["model"] == "DC":
        lines.append("The DC model knows no losses, voltages and reactive power: AC needs more.")
    if math.isfinite(document["lower_bound"]):
        lines.append(
            f"Lower bound: no AC dispatch within the limits costs less than "
            f"{document['lower_bound']:,.2f} per hour. This one is that of the relaxation."
        )
    if document["status"] == "islanded":
        lines.append("Part of the demand has no supply; the rest is optimal.")
    return lines
