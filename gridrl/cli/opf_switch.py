"""``gridrl opf --switch``: what to open or split so that the optimal dispatch is cheaper."""

from typing import TYPE_CHECKING, Any

from gridrl.cli.common import console, new_table, number, print_json

if TYPE_CHECKING:
    from gridrl.case import Case
    from gridrl.opf.secure import N1
    from gridrl.opf.switching import Search, Switched, SwitchingOptions


def switch(
    case: "Case",
    options: "SwitchingOptions",
    *,
    n1_secure: bool,
    n1_limit: float,
    top: int,
    as_json: bool,
) -> dict[str, Any]:
    """Search, say how it goes on stderr, print what was found; the document with everything."""
    from gridrl.opf.secure import Comparison, n1
    from gridrl.opf.switching import begin, improve

    err = console(stderr=True)
    search = begin(case, options)
    err.print(f"As it is switched: cost {search.base.cost:,.2f} per hour.", style="dim")
    before = n1(search.base.solution, limit=n1_limit, threads=options.threads)
    seen: dict[tuple[int, ...], N1] = {(): before}

    def outages(state: "Switched") -> "N1":
        if state.chosen not in seen:
            seen[state.chosen] = n1(state.solution, limit=n1_limit, threads=options.threads)
        return seen[state.chosen]

    def accept(state: "Switched") -> bool:
        return outages(state).compared_with(before) is not Comparison.WORSE

    said = 0

    def progress(now: "Search") -> None:
        nonlocal said
        if len(now.history) > said:
            said = len(now.history)
            err.print(
                f"{len(now.best.chosen)} switched: cost {now.best.cost:,.2f}, "
                f"{100 * now.saving:.2f} % saved after {now.ac_opfs} AC-OPFs",
                style="dim",
            )

    stopped = False
    try:
        improve(search, options, accept=accept if n1_secure else None, progress=progress)
    except KeyboardInterrupt:
        stopped = True
        err.print("Stopped; this is the best so far.", style="bold")
    document = describe(search, before, outages(search.best), top=top, stopped=stopped)
    if as_json:
        print_json(document)
    else:
        _show(document, n1_secure)
    return document


def check_limit(percent: float) -> None:
    """Refuse a loading after outages that is no percentage of a rating."""
    from gridrl.errors import CaseError

    if not 0.0 < percent <= 1000.0:
        raise CaseError(f"--n1-limit {percent:g}: give a percentage of the rating, 100 to 1000.")


def describe(
    search: "Search", before: "N1", after: "N1", *, top: int, stopped: bool
) -> dict[str, Any]:
    """Everything about a search that has ended, its dispatch included."""
    from gridrl.actions import action_edit
    from gridrl.opf.tables import document

    case, actions, best = search.case, search.actions, search.best
    return {
        "case": case.source or case.grid.name,
        "base_cost": search.base.cost,
        "cost": best.cost,
        "saving_percent": 100.0 * search.saving,
        "switch": [
            {"action": words, **action_edit(case, actions, k)}
            for words, k in zip(search.words(), best.chosen, strict=True)
        ],
        "ac_opfs": search.ac_opfs,
        "stopped": stopped,
        "steps": [{"switched": len(state.chosen), "cost": state.cost} for state in search.history],
        "n1": {
            "verdict": str(after.compared_with(before)),
            "before": before.row(top),
            "after": after.row(top),
        },
        "solution": document(best.solution),
    }


def _show(document: dict[str, Any], n1_secure: bool) -> None:
    out = console()
    saved = document["base_cost"] - document["cost"]
    out.print(
        f"{document['case']}: cost {document['base_cost']:,.2f} -> {document['cost']:,.2f} per "
        f"hour, {saved:,.2f} ({document['saving_percent']:.2f} %) saved by "
        f"{len(document['switch'])} switching actions; {document['ac_opfs']} AC-OPFs."
    )
    judged = document["solution"]["max_violation_pu"]
    out.print(f"Judge: largest violation {judged:.1e} p.u. of the dispatch after switching.")
    if not document["switch"]:
        why = " among the states that are no worse in N-1" if n1_secure else ""
        out.print(f"No switching was found that makes the dispatch cheaper{why}.")
        return
    for k, action in enumerate(document["switch"], 1):
        out.print(f"  {k}. {action['action']}")
    _show_outages(document["n1"])


def _show_outages(found: dict[str, Any]) -> None:
    out = console()
    table = new_table(
        f"N-1 at the optimal dispatch: {found['verdict']}",
        *("", "insecure", "of", "worst loading %", "no power flow", "load cut off MW"),
        right=("insecure", "of", "worst loading %", "no power flow", "load cut off MW"),
    )
    for name in ("before", "after"):
        row = found[name]
        table.add_row(
            f"{name} switching",
            str(row["insecure"]),
            str(row["contingencies"]),
            number(row["worst_loading_percent"]),
            str(row["without_power_flow"]),
            number(row["lost_load_mw"]),
        )
    out.print(table)
    worst = [row["contingency"] for row in found["after"]["worst"][:3]]
    if found["after"]["insecure"] and worst:
        out.print(f"Worst outages after switching: {', '.join(worst)}.")
