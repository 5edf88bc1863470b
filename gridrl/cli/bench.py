"""``gridrl bench``: our engine against other programs, on the same problems."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gridrl.cli.common import JsonOption, console, new_table, number, print_json

SUITES = ("powerflow", "opf", "opf_switching", "remedial", "env_parity", "env_speed",
          "env_greedy", "policy", "irl")  # fmt: skip
PLAYED = ("env_parity", "env_speed", "env_greedy", "policy")
# As in gridrl.bench.powerflow, which `gridrl --help` must not load.
TASKS = ("single", "n1", "sweep", "topology", "threads", "q_limits", "memory")
REMEDIAL_TASKS = ("search", "screen", "verify", "secure", "study")


SuiteArgument = Annotated[
    str, typer.Argument(metavar="BENCH", help=f"What to run: {', '.join(SUITES)}.")
]
CasesOption = Annotated[
    str,
    typer.Option(
        "--suite",
        metavar="SUITE",
        help="Of opf: small, pglib (111 cases), typ, api, sad, pypower, large.",
    ),
]
CaseOption = Annotated[
    list[str] | None,
    typer.Option("--case", metavar="NAME", help="Some grids only; of opf also files. Repeatable."),
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help=f"{', '.join(TASKS)}; of remedial {', '.join(REMEDIAL_TASKS)}. Repeatable.",
    ),
]
ContenderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--contender",
        metavar="NAME",
        help="Some programs beside ours; of policy, policies as gridrl evaluate takes them. "
        "Repeatable.",
    ),
]
ContendersOption = Annotated[
    str, typer.Option("--contenders", metavar="A,B,...", help="The same as a list.")
]
RepeatsOption = Annotated[
    int | None, typer.Option("--repeats", metavar="N", help="Of opf: timed turns of each.")
]
TimeLimitOption = Annotated[
    float | None, typer.Option("--time-limit", metavar="SECONDS", help="Of opf: of one solve.")
]
SeedsOption = Annotated[
    int | None,
    typer.Option("--seeds", min=1, metavar="N", help="Of irl: worlds of each cell, 20."),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Two small grids, less than two minutes.")
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder for the results as .json and .md. A whole suite goes to benchmarks/results.",
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume", help="Keep the grids that are done in --out, where all else is the same."
    ),
]
RenderOption = Annotated[
    bool,
    typer.Option("--render", help="Run nothing: renew the pages from the published results."),
]


def bench(
    suite: SuiteArgument,
    *,
    cases: CasesOption = "small",
    case: CaseOption = None,
    task: TaskOption = None,
    contender: ContenderOption = None,
    contenders: ContendersOption = "",
    repeats: RepeatsOption = None,
    time_limit: TimeLimitOption = None,
    seeds: SeedsOption = None,
    quick: QuickOption = False,
    out: OutOption = None,
    resume: ResumeOption = False,
    render: RenderOption = False,
    as_json: JsonOption = False,
) -> None:
    """Race our engine against other programs; needs the repository and the extra `peers`."""
    from gridrl.cli.bench_opf import run_opf
    from gridrl.errors import CaseError

    if suite not in SUITES:
        raise CaseError(f"No suite '{suite}'. There is: {', '.join(SUITES)}.")
    if render:
        _render(suite, cases)
        return
    chosen = (contender or []) + [name.strip() for name in contenders.split(",") if name.strip()]
    some = bool(case or task or chosen or quick or repeats or time_limit or seeds)
    out = _folder(out, whole=not some)
    if suite == "opf":
        run_opf(
            cases, cases=case or [], contenders=chosen, repeats=1 if quick else repeats,
            time_limit_s=time_limit, out=out, resume=resume, as_json=as_json,
        )  # fmt: skip
        return
    if suite == "irl":
        from gridrl.cli.bench_irl import run_irl

        run_irl(quick=quick, seeds=seeds, out=out, resume=resume, as_json=as_json)
        return
    if suite == "powerflow":
        made = _run(suite, case or [], task or [], chosen, quick, out, resume)
    else:
        made = _run_other(suite, case or [], task or [], chosen, quick, out, resume)
    if out is not None:
        console(stderr=True).print(f"Results: {out / suite}.json")
    if as_json:
        print_json(made)
    else:
        _show(made)


def _folder(out: Path | None, *, whole: bool) -> Path | None:
    """Where results go: as asked for; those of a whole suite to the published ones."""
    from gridrl.bench.contender import checkout
    from gridrl.errors import CaseError

    if out is not None and out.exists() and not out.is_dir():
        raise CaseError(f"--out {out}: this is a file. Name a folder.")
    return checkout() / "results" if out is None and whole else out


def _run(
    suite: str, cases: list[str], tasks: list[str], contenders: list[str], quick: bool,
    out: Path | None, resume: bool,
) -> dict[str, Any]:  # fmt: skip
    """Run the jobs; the files in ``out`` grow with every grid."""
    from gridrl.bench import powerflow
    from gridrl.bench.document import document, rows_to_keep

    todo = powerflow.jobs(cases, tasks, contenders, quick=quick)
    seed, err = powerflow.suite()["seed"], console(stderr=True)
    done: list[dict[str, Any]] = []
    if resume and out is not None:
        done = rows_to_keep(out / f"{suite}.json", document(suite, [], seed=seed))
        finished = {row["case"] for row in done}
        todo = [job for job in todo if job.case not in finished]
        err.print(f"Kept: {', '.join(sorted(finished)) or 'nothing'}", style="dim")

    def keep(rows: list[dict[str, Any]]) -> None:
        if out is not None:
            _write(out, suite, document(suite, done + rows, seed=seed, note="cut short"))

    rows = done + powerflow.run(todo, lambda text: err.print(text, style="dim"), keep)
    made = document(suite, rows, seed=seed, note="quick" if quick else "")
    if out is not None:
        _write(out, suite, made)
    return made


def _run_other(
    suite: str, cases: list[str], tasks: list[str], contenders: list[str], quick: bool,
    out: Path | None, resume: bool,
) -> dict[str, Any]:  # fmt: skip
    if suite == "remedial":
        return _run_remedial(cases, tasks, quick, out)
    if suite == "opf_switching":
        return _run_switching(cases, quick, out)
    return _play(suite, cases, contenders, quick, out, resume)


def _run_remedial(
    cases: list[str], tasks: list[str], quick: bool, out: Path | None
) -> dict[str, Any]:
    """Run the suite ``remedial``; the files in ``out`` grow with every row."""
    from gridrl.bench import remedial
    from gridrl.bench.document import document

    err = console(stderr=True)
    seed = remedial.suite()["seed"]

    def keep(rows: list[dict[str, Any]]) -> None:
        if out is not None:
            _write(out, "remedial", document("remedial", rows, seed=seed, note="cut short"))

    rows = remedial.run(
        cases, tasks, quick=quick, report=lambda text: err.print(text, style="dim"), keep=keep
    )
    made = document("remedial", rows, seed=seed, note="quick" if quick else "")
    if out is not None:
        _write(out, "remedial", made)
    return made


def _run_switching(cases: list[str], quick: bool, out: Path | None) -> dict[str, Any]:
    """Run the suite ``opf_switching``; the file in ``out`` grows with every row."""
    from gridrl.bench import switching
    from gridrl.bench.document import write

    err = console(stderr=True)

    def keep(made: dict[str, Any]) -> None:
        if out is not None:
            write(out / f"{made['suite']}.json", made)

    return switching.run(
        cases, quick=quick, report=lambda text: err.print(text, style="dim"), keep=keep
    )


def _play(
    suite: str, chosen: list[str], policies: list[str], quick: bool, out: Path | None, resume: bool
) -> dict[str, Any]:
    """Run a suite of environments; the file in ``out`` grows with each, or with each policy."""
    from gridrl.bench import environment, environment_speed, greedy
    from gridrl.bench import policy as policy_suite
    from gridrl.bench.document import document, rows_to_keep

    err = console(stderr=True)
    seed = environment.suite(suite)["seed"]
    rows: list[dict[str, Any]] = []

    def say(text: str) -> None:
        err.print(text, style="dim", markup=False)

    def keep(more: list[dict[str, Any]]) -> dict[str, Any]:
        made = document(suite, rows + more, seed=seed, note="quick" if quick else "")
        if out is not None:
            _write(out, suite, made)
        return made

    made = document(suite, rows, seed=seed, note="quick" if quick else "")
    if resume and out is not None and suite != "policy":
        rows = rows_to_keep(out / f"{suite}.json", made)
        kept = sorted({row["environment"] for row in rows})
        say(f"Kept: {', '.join(kept) or 'nothing'}")
        made["rows"] = rows
    finished = {row["environment"] for row in rows}
    for name in environment.environments(suite, chosen, quick=quick):
        if name in finished:
            continue
        if suite == "policy":
            rows += policy_suite.policy(name, say, chosen=policies, keep=keep)
        else:
            run = {
                "env_parity": environment.parity, "env_speed": environment_speed.speed,
                "env_greedy": greedy.greedy,
            }[suite]  # fmt: skip
            rows += run(name, say)
        made = keep([])
    return made


def _show_play(made: dict[str, Any]) -> None:
    shown = {
        "env_parity": ("environment", "task", "steps", "orders", "max_delta_rho",
                       "same_death_step", "differences"),
        "env_speed": ("environment", "actions", "face", "contender", "batch", "steps_per_s",
                      "ratio", "of_doing_nothing"),
        "env_greedy": ("environment", "actions", "batch", "decision_ms", "peer_decision_ms",
                       "ratio", "same_choice"),
        "policy": ("pack", "policy", "steps_pct", "replayed_in_grid2op", "same_end_pct",
                   "simulations_per_decision", "decision_ms_p50"),
    }[made["suite"]]  # fmt: skip
    table = new_table(f"gridrl bench {made['suite']}", *(name.replace("_", " ") for name in shown))
    for row in made["rows"]:
        table.add_row(*(_plain(row[name]) for name in shown))
    console().print(table)


def _plain(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _write(folder: Path, suite: str, made: dict[str, Any]) -> None:
    from gridrl.bench.document import write

    write(folder / f"{suite}.json", made)
    (folder / f"{suite}.md").write_text(_pages(suite)[1](made), encoding="utf-8")


def _pages(suite: str) -> tuple[Any, Any]:
    """What makes the summary and the tables of a suite."""
    if suite == "remedial":
        from gridrl.bench import remedial_render

        return remedial_render.summary, remedial_render.tables
    if suite in PLAYED:
        from gridrl.bench import play_render

        return play_render.summary if suite == "env_speed" else None, play_render.tables
    from gridrl.bench import render

    return render.summary, render.tables


def _render(suite: str, cases: str) -> None:
    """Put the published results into the pages that show them; ``cases`` is the suite of opf."""
    if suite == "opf":
        from gridrl.cli.bench_opf import render_opf

        render_opf(cases)
        return
    if suite == "irl":
        from gridrl.cli.bench_irl import render_irl

        render_irl()
        return
    from gridrl.bench.contender import checkout
    from gridrl.bench.render import insert
    from gridrl.errors import CaseError

    root = checkout().parent
    path = root / "benchmarks" / "results" / f"{suite}.json"
    if not path.is_file():
        raise CaseError(
            f"There are no results {path.name} yet: gridrl bench {suite} --out {path.parent}"
        )
    made = json.loads(path.read_text(encoding="utf-8"))
    summary, tables = _pages(suite)
    pages = [("docs/benchmarks.md", tables)] + ([("README.md", summary)] if summary else [])
    for page, text in pages:
        changed = insert(root / page, suite, text(made))
        console().print(f"{page}: {'renewed' if changed else 'up to date'}")


def _show(made: dict[str, Any]) -> None:
    if made["suite"] == "remedial":
        console().print(_pages("remedial")[1](made), markup=False)
        return
    if made["suite"] == "opf_switching":
        from gridrl.bench import switching

        columns, lines = switching.table(made)
        shown_as = new_table("gridrl bench opf_switching", *columns)
        for line in lines:
            shown_as.add_row(*line)
        console().print(shown_as)
        return
    if made["suite"] != "powerflow":
        _show_play(made)
        return
    shown = {
        "grid": "case", "task": "task", "states": "variant", "program": "contender",
        "algorithm": "algorithm", "µs": "per_state_us", "ratio": "ratio", "equal": "equal",
        "note": "status",
    }  # fmt: skip
    table = new_table(f"gridrl bench {made['suite']}", *shown, right=("µs", "ratio"))
    for row in made["rows"]:
        cells = [_cell(row, column) for column in shown.values()]
        table.add_row(*cells, style="red" if row["equal"] is False else None)
    console().print(table)


def _cell(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if column == "equal":
        return {True: "yes", False: "NO", None: ""}[value]
    if column == "status":
        return "" if value == "ok" else f"{value}: {row.get('note', '')}"
    if column in ("per_state_us", "ratio"):
        return number(value, 2)
    return str(value or "")
