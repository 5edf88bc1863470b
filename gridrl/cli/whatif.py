"""``gridrl whatif run | list | show | rerun | export | delete``: studies from the command line."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridrl.cli.common import (
    IslandOption,
    JsonOption,
    QLimitsOption,
    SlackOption,
    check_writeable,
    console,
    print_json,
)
from gridrl.cli.progress import share_bar
from gridrl.cli.whatif_flags import Names, edits_of_flags

if TYPE_CHECKING:
    from gridrl.whatif import Store, Study, StudyResult

app = typer.Typer(
    name="whatif",
    help="Studies: what happens if, compared, stored, and what to do about it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_OUT = (".html", ".json", ".csv", ".parquet")
_INTERRUPTED = 130  # as a shell says it

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="WHERE", envvar="GRIDRL_STORE", show_default=False,
        help="Database of studies: a file, or a URL like postgresql://user@host/db.",
    ),
]  # fmt: skip
NumberArgument = Annotated[int, typer.Argument(metavar="ID", help="Number of the study.")]
TopOption = Annotated[int, typer.Option("--top", min=1, help="Rows in each table.")]
VariantOption = Annotated[
    str | None, typer.Option("--variant", metavar="NAME", help="Show this variant in detail.")
]


def _names(flag: str, help_: str, metavar: str = "NAME") -> Any:
    return typer.Option(flag, metavar=metavar, help=help_ + " Repeatable.", show_default=False)


@app.command()
def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|CASE", show_default=False,
            help="A study file (.toml), or a case: a built-in grid or a file.",
        ),
    ],
    *,
    opened: Annotated[Names, _names("--open", "Open a line or transformer.")] = None,
    closed: Annotated[Names, _names("--close", "Close it.")] = None,
    outage: Annotated[Names, _names("--outage", "Take an element out of service.")] = None,
    scale_load: Annotated[
        float | None, typer.Option("--scale-load", metavar="FACTOR", help="Multiply every load.")
    ] = None,
    scale_generation: Annotated[
        float | None,
        typer.Option("--scale-generation", metavar="FACTOR", help="Multiply all generation."),
    ] = None,
    edit: Annotated[
        Names,
        _names("--edit", "Any edit of a study file: 'redispatch = \"gen:3\", p_mw = 120'.", "EDIT"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the study.", show_default=False)
    ] = None,
    n1: Annotated[bool | None, typer.Option("--n1/--no-n1", help="With every outage.")] = None,
    recommend: Annotated[
        bool | None,
        typer.Option("--recommend/--no-recommend", help="Search for remedial actions."),
    ] = None,
    q_limits: QLimitsOption = False,
    distributed_slack: SlackOption = False,
    island_rule: IslandOption = "dead",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads to solve with.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a report (.html), or .json, .csv, "
                     ".parquet."),
    ] = None,
    store: StoreOption = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep it in the store.")] = True,
    fail_on_violation: Annotated[
        bool, typer.Option("--fail-on-violation", help="Exit with code 1 if a limit is violated.")
    ] = False,
    top: TopOption = 10,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Solve a base case and its variants with all their outages; compare, and keep the results."""
    if report is not None:
        _check_out(report)
    flags = edits_of_flags(opened, closed, outage, scale_load, scale_generation, edit)
    if source.lower().endswith(".toml"):
        study = _study_of_file(Path(source), flags)
    else:
        study = _study_of_case(source, flags)
    flow = {"enforce_q_limits": q_limits, "distributed_slack": distributed_slack}
    study = _with_options(
        study, name, n1, recommend,
        {key: value for key, value in flow.items() if value}
        | ({"island_rule": island_rule} if island_rule != "dead" else {})
        | ({"threads": threads} if threads is not None else {}),
    )  # fmt: skip
    if keep:
        from gridrl.whatif import Store

        with Store(store) as opened_store:
            result = _run_kept(opened_store, opened_store.begin(study), study)
            _finish(result, report, top, as_json)
    else:
        with share_bar(study.name) as progress:
            result = study.run(progress)
        _finish(result, report, top, as_json)
    if fail_on_violation and _violated(result):
        raise typer.Exit(1)


def _study_of_file(path: Path, flags: list[Any]) -> "Study":
    from gridrl.errors import StudyError
    from gridrl.whatif import Study

    if flags:
        raise StudyError(
            f"{flags[0][1]}: edits by options belong to a case; {path.name} is a study file. Write "
            "them into the file."
        )
    return Study.read(path)


def _study_of_case(source: str, flags: list[tuple[dict[str, Any], str]]) -> "Study":
    from gridrl.io import load
    from gridrl.whatif import Study, Variant, parse_edit

    edits = tuple(parse_edit(table, where) for table, where in flags)
    variants = (Variant(name="what-if", edits=edits),) if edits else ()
    study = Study(case=load(source), variants=variants)
    study.check()
    return study


def _with_options(
    study: "Study", name: str | None, n1: bool | None, recommend: bool | None, flow: dict[str, Any]
) -> "Study":
    """Options beat the study file."""
    from dataclasses import replace

    settings = study.settings
    if flow:
        settings = replace(settings, flow=replace(settings.flow, **flow))
    if n1 is not None:
        settings = replace(settings, n1=n1)
    if recommend is not None:
        settings = replace(settings, recommend=recommend)
    return replace(study, settings=settings, name=name or study.name)


def _run_kept(store: "Store", number: int, study: "Study | None" = None) -> "StudyResult":
    """Solve what is missing; on Ctrl-C say what is kept."""
    study = study or store.study(number)
    err = console(stderr=True)
    try:
        with share_bar(study.name) as progress:
            for _ in store.solve(number, progress, study):
                pass
    except KeyboardInterrupt:
        left = len(store.missing(number))
        done = 1 + len(study.variants) - left
        err.print(
            f"Stopped. {done} of {done + left} variants are kept as study {number}; "
            f"`gridrl whatif rerun {number}` goes on."
        )
        raise typer.Exit(_INTERRUPTED) from None
    err.print(f"Study {number} is kept in {store}.")
    return store.result(number)


def _finish(result: "StudyResult", report: Path | None, top: int, as_json: bool) -> None:
    from gridrl.cli.whatif_show import show_study
    from gridrl.whatif.export import document, write

    if as_json:
        print_json(document(result))
    else:
        show_study(result, top)
    if report is not None:
        write(report, result)
        console(stderr=True).print(f"Report: {report}")


def _violated(result: "StudyResult") -> bool:
    from gridrl.whatif.tables import violates

    return any(not one.solved or violates(one) for one in result)


def _check_out(path: Path) -> None:
    check_writeable(path, _OUT, "--report")
    if path.suffix.lower() == ".parquet":
        from gridrl.rows import require_pyarrow

        require_pyarrow()


def _existing(store: str | None) -> str | None:
    """The store asked for, unless it is a file that is not there: reading makes none."""
    from gridrl.errors import StudyError

    if store is not None and "://" not in store and not os.path.exists(store):  # noqa: PTH110 - False, too, for what can be no path
        raise StudyError(
            f"There is no store of studies at {store}. Correct the path, or let "
            "`gridrl whatif run` make one there."
        )
    return store


@app.command(name="list")
def list_(*, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Every study that is kept, newest first."""
    from gridrl.cli.whatif_show import show_list
    from gridrl.whatif import Store

    with Store(store) as opened:
        rows = opened.studies()
        if as_json:
            print_json({"store": str(opened), "studies": rows})
        else:
            show_list(str(opened), rows)


@app.command()
def show(
    number: NumberArgument,
    *,
    variant: VariantOption = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", metavar="NAME", help="Compare it with this variant, not the base."
        ),
    ] = None,
    top: TopOption = 10,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a study found: all variants side by side, or one of them in detail."""
    from gridrl.cli.whatif_show import show_study, show_variant
    from gridrl.whatif import Store
    from gridrl.whatif.export import document

    with Store(_existing(store)) as opened:
        result, left = opened.result(number), opened.missing(number)
        if against is not None:
            result = result.against(against)
        if as_json:
            made = document(result, only=variant)
            print_json({**opened.head(number), **made, "missing": left})
        elif variant is None:
            show_study(result, top)
        else:
            show_variant(result, result[variant], top)
    if left and not as_json:
        console(stderr=True).print(
            f"{len(left)} variants are not finished; `gridrl whatif rerun {number}` goes on.",
            style="yellow",
        )


@app.command()
def rerun(
    number: NumberArgument,
    *,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a report as well.")
    ] = None,
    top: TopOption = 10,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Solve what is missing; if nothing is, solve all of it again and compare with what is kept."""
    from gridrl.cli.whatif_show import show_check
    from gridrl.whatif import Store

    if report is not None:
        _check_out(report)
    with Store(_existing(store)) as opened:
        _note_change(opened.head(number))
        if opened.missing(number):
            result = _run_kept(opened, number)
            _finish(result, report, top, as_json)
            return
        with share_bar(f"study {number}") as progress:
            rows = opened.check(number, progress)
        if report is not None:
            from gridrl.whatif.export import write

            write(report, opened.result(number))
    if as_json:
        print_json({"id": number, "same": all(row["same"] for row in rows), "variants": rows})
    else:
        show_check(number, rows, top)
    if not all(row["same"] for row in rows):
        raise typer.Exit(1)


def _note_change(head: dict[str, Any]) -> None:
    """Say so if the case has changed since the study was made; it is solved as it was stored."""
    from gridrl.errors import GridrlError
    from gridrl.io import load

    try:
        now = load(head["case"]).digest
    except GridrlError:
        return  # gone or moved: the store has what is needed
    if now != head["digest"]:
        console(stderr=True).print(
            f"{head['case']} has changed since study {head['id']} was made (or is read differently "
            "now); the study is solved with the case as it was.",
            style="yellow",
        )


@app.command()
def export(
    number: NumberArgument,
    out: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help=".html (report), .json (all), .csv or .parquet."),
    ],
    *,
    table: Annotated[
        str,
        typer.Option(
            "--table", metavar="NAME",
            help="For .csv and .parquet: variants, violations, outages, branches, buses, units or "
            "recommendations.",
        ),
    ] = "variants",
    store: StoreOption = None,
) -> None:  # fmt: skip
    """Write a study to files: a report for people, tables for programs."""
    from gridrl.errors import StudyError
    from gridrl.whatif import Store
    from gridrl.whatif.export import TABLES, write
    from gridrl.whatif.places import nearest

    if table not in TABLES:
        raise StudyError(f"--table: no table '{table}'. {nearest(table, TABLES)}")
    for path in out:
        check_writeable(path, _OUT, "export")
    with Store(_existing(store)) as opened:
        result = opened.result(number)
        for path in out:
            write(path, result, table)
            console(stderr=True).print(f"Written: {path}")


@app.command()
def delete(
    numbers: Annotated[list[int], typer.Argument(metavar="ID...", help="Numbers of studies.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreOption = None,
) -> None:
    """Remove studies from the store."""
    from gridrl.whatif import Store

    with Store(_existing(store)) as opened:
        for number in numbers:
            head = opened.head(number)
            if not yes:
                typer.confirm(f"Delete study {number} ({head['name']})?", abort=True, err=True)
            opened.delete(number)
            console(stderr=True).print(f"Study {number} is deleted.")
