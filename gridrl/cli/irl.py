"""``gridrl irl``: what operators want, read from their decisions; alone, together, by messages."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from gridrl.cli.common import JsonOption, check_folder, check_writeable, console, print_json

app = typer.Typer(
    name="irl",
    help="Inverse RL: what trade-offs operators make, without pooling their logs.",
    no_args_is_help=True,
)
AgreementOption = Annotated[
    Path | None,
    typer.Option(
        "--agreement", metavar="FILE", help="TOML file with shared features, units and prior."
    ),
]
ReportOption = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Report: .html, .svg or .png.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="The result as .json.")
]


@app.command("fit")
def fit(
    decisions: Annotated[
        list[Path],
        typer.Argument(
            metavar="CSV...", help="Decisions of each operator; its name is the file's."
        ),
    ],
    *,
    shared: Annotated[
        str,
        typer.Option(
            "--shared", metavar="A,B,...", help="Features that all share; the rest is own."
        ),
    ] = "",
    agreement: AgreementOption = None,
    out: OutOption = None,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit operators whose decisions are all here; how alike they are is learned from the data.

    Columns of a CSV file: decision, chosen (0 or 1), and one per feature; a row per candidate.
    With --agreement, its prior is taken as it stands.
    """
    _check_outputs(out, report)
    together: Any = import_module("irl.together")
    record: Any = import_module("irl.record")
    names = [name.strip() for name in shared.split(",") if name.strip()]
    found = together.fit_files(decisions, names, agreement)
    _finish(record, found, out, report, as_json)


@app.command("exchange")
def exchange(
    decisions: Annotated[Path, typer.Argument(metavar="CSV", help="Decisions of this operator.")],
    *,
    name: Annotated[str, typer.Option("--name", help="What this operator is called.")],
    agreement: Annotated[
        Path,
        typer.Option("--agreement", metavar="FILE", help="TOML file that all parties hold."),
    ],
    folder: Annotated[
        Path,
        typer.Option("--folder", metavar="DIR", help="Where messages of all parties lie."),
    ],
    audit: Annotated[
        Path | None,
        typer.Option(
            "--audit", metavar="FILE", help="Log of all that came and went; NAME.audit.jsonl."
        ),
    ] = None,
    out: OutOption = None,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take one turn: read the others' messages in the folder, fit, and write the own one there.

    Nothing but that file (about 20 numbers for five shared features) leaves. Repeat in turns
    until it says that weights have settled; any order leads to the same point. Messages are not
    differentially private.
    """
    _check_outputs(out, report)
    if not folder.is_dir():
        check_folder(folder, "--folder")
    turns: Any = import_module("irl.exchange")
    record: Any = import_module("irl.record")
    turns.check_name(name)
    agreed = import_module("irl.agreement").read_agreement(agreement)
    log = import_module("irl.decisions").read_decisions(decisions)
    audit = audit or Path(f"{name}.audit.jsonl")
    turn = turns.take_turn(name, log, agreed, folder, audit)
    err = console(stderr=True)
    heard = ", ".join(message.agent for message in turn.heard) or "nobody yet"
    err.print(f"Heard: {heard}. Said: {len(turn.message.to_json())} bytes. Log: {audit}")
    err.print("Settled." if turn.settled else "Not settled: another round after the others'.")
    _finish(record, record.of_turn(turn, agreed, audit), out, report, as_json)


@app.command("report")
def report_of(
    result: Annotated[Path, typer.Argument(metavar="JSON", help="What fit or exchange wrote.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help=".html, .svg or .png.")] = Path(
        "irl.html"
    ),
) -> None:
    """Draw weights with intervals, convergence and the exchange of information."""
    check_writeable(out, (".html", ".svg", ".png"), "--out")
    made = import_module("irl.record").read(result)
    import_module("irl.report").write_report(out, made)
    console(stderr=True).print(f"Report: {out}")


def _check_outputs(out: Path | None, report: Path | None) -> None:
    if out is not None:
        check_writeable(out, (".json",), "--out")
    if report is not None:
        check_writeable(report, (".html", ".svg", ".png"), "--report")


def _finish(
    record: Any, made: dict[str, Any], out: Path | None, report: Path | None, as_json: bool
) -> None:
    err = console(stderr=True)
    if out is not None:
        record.save(out, made)
        err.print(f"Result: {out}")
    if report is not None:
        import_module("irl.report").write_report(report, made)
        err.print(f"Report: {report}")
    if as_json:
        print_json(made)
    else:
        console().print(record.summary(made))
