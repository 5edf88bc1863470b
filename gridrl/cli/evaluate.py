"""``gridrl evaluate``: the same episodes for several policies, and what came of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridrl.cli.common import JsonOption, console, new_table, print_json
from gridrl.cli.progress import share_bar

if TYPE_CHECKING:
    from gridrl.evaluation.run import Task

STOPPED = 130  # exit code after Ctrl-C, as shells have it


def evaluate(
    *,
    scenario: Annotated[
        list[str],
        typer.Option(
            "--scenario", metavar="NAME|PATH|FAMILY",
            help="A scenario by name or .toml file, or all of a family. Repeatable.",
        ),
    ],
    policy: Annotated[
        list[str],
        typer.Option(
            "--policy", metavar="NAME[:OPTION=VALUE,...]",
            help="do_nothing, reconnect, revert, random, greedy, n1_greedy, dc_redispatch, "
            "ac_redispatch, dc_switching, or what a plug-in brings. Repeatable; differences are "
            "to the first.",
        ),
    ],
    episodes: Annotated[
        int | None, typer.Option("--episodes", min=1, help="The first so many of the pack.")
    ] = None,
    pack: Annotated[
        str, typer.Option("--pack", help="all, train or test; by default test where there is one.")
    ] = "",
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="LIST", help="Such as 0-4 or 0,3,7; each episode "
                          "is played with each.")
    ] = "0",
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Longest episode, in steps.")
    ] = None,
    n1_every: Annotated[
        int, typer.Option("--n1-every", min=0, help="Steps between looks at all single outages; "
                          "0: never.")
    ] = 1,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Episodes side by side; 1 measures latency.")
    ] = 16,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for episodes and reports. The same "
                     "command goes on where it was stopped."),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Play policies on the same episodes with the same seeds; survival, security, cost, speed.

    Ctrl-C keeps the episodes that are finished.
    """
    from gridrl.cli.common import check_folder
    from gridrl.policies import parse

    if out is not None:
        check_folder(out, "--out")
    chosen = [parse(text) for text in policy]
    numbers = seed_list(seeds)
    err = console(stderr=True)
    with share_bar("evaluate") as bar:
        bar(0.0, "preparing")
        task = _task(scenario, pack, episodes, chosen, numbers, steps, n1_every, batch)
        rows, stopped = _played(task, out, bar)
    made = _document(task, rows)
    if out is not None:
        from gridrl.evaluation.report import write_reports

        paths = write_reports(out, made)
        err.print(f"Report: {paths[-1]}")
    if as_json:
        print_json(made)
    else:
        _show(made)
    if stopped:
        err.print(
            f"Stopped: {made['finished']} of {made['asked']} episodes are finished."
            + (" The same command goes on from there." if out is not None else "")
        )
        raise typer.Exit(STOPPED)


def _task(
    scenario: list[str], pack: str, episodes: int | None, chosen: list[Any], seeds: list[int],
    steps: int | None, n1_every: int, batch: int,
) -> "Task":  # fmt: skip
    from gridrl.evaluation.run import Task, place_of

    places = [
        place_of(name, pack=pack, episodes=episodes)
        for name in dict.fromkeys(found for text in scenario for found in _members(text))
    ]
    return Task(
        places=places, policies=chosen, seeds=seeds, steps=steps, n1_every=n1_every, batch=batch
    )


def _members(text: str) -> list[str]:
    """The scenarios of a family; anything else is a scenario itself."""
    from importlib import import_module

    from gridrl.errors import ScenarioError

    scenarios = import_module("scenarios")
    if text in scenarios.names() or Path(text).suffix:
        return [text]
    try:
        return list(scenarios.names(text))
    except ScenarioError:
        return [text]  # whose own message names what there is


def seed_list(text: str) -> list[int]:
    """Seeds of a list such as 0-4,9.

    Raises
    ------
    ScenarioError
        It is none.
    """
    from gridrl.errors import ScenarioError

    out: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not (low.isdecimal() and (high.isdecimal() if dash else not high)):
            raise ScenarioError(f"--seeds {text}: write numbers and ranges, such as 0-4,9.")
        span = range(int(low), int(high or low) + 1)
        if not 1 <= len(span) <= 10_000:
            raise ScenarioError(f"--seeds {text}: {part.strip()} is no range of up to 10,000.")
        out += span
    return list(dict.fromkeys(out))


def _played(task: "Task", out: Path | None, bar: Any) -> tuple[list[dict[str, Any]], bool]:
    """Rows, and whether Ctrl-C ended it."""
    from gridrl.evaluation.run import evaluate as play
    from gridrl.evaluation.store import Store

    store = Store(out, task.settings)
    try:
        return play(task, store, progress=bar), False
    except KeyboardInterrupt:
        return store.chosen(task.keys()), True


def _document(task: "Task", rows: list[dict[str, Any]]) -> dict[str, Any]:
    from gridrl.evaluation.report import document
    from gridrl.evaluation.summary import summarise

    hours = {place.name: place.world.series.step_s / 3600.0 for place in task.places}
    lines = summarise(rows, hours=hours)
    return document(lines, rows, asked=len(task.keys()), settings=task.settings)


_TABLES = {
    "how the grid fared": {
        "policy": "policy", "played": "episodes", "survived_pct": "survived %",
        "steps_pct": "steps %", "overload_pct": "overload %", "n1_insecure_pct": "N-1 insecure %",
    },
    "what it took": {
        "policy": "policy", "redispatch_mwh": "redispatch MWh", "orders_per_day": "orders/day",
        "simulations_per_decision": "simulations/decision", "decision_ms_p50": "ms p50",
        "decision_ms_p99": "ms p99",
    },
}  # fmt: skip


def _show(made: dict[str, Any]) -> None:
    from gridrl.evaluation.report import cell

    lines = made["summary"]
    for name in dict.fromkeys(line["scenario"] for line in lines):
        for what, shown in _TABLES.items():
            heads = list(shown.values())
            table = new_table(f"Evaluation on {name}: {what}", *heads, right=heads[1:])
            table.columns[0].no_wrap = True
            for line in lines:
                if line["scenario"] == name:
                    table.add_row(*(cell(line, column) for column in shown))
            console().print(table)
