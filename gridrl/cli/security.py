"""``gridrl security``: what every single outage does to a grid, worst first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gridrl.cli.common import (
    CaseArgument,
    JsonOption,
    OpenOption,
    ScaleOption,
    check_writeable,
    console,
    number,
    print_json,
    read_case,
    require_pyarrow,
    write_rows,
)

Progress = Callable[[int, int], None]


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
    fail_on_violation: Annotated[
        bool, typer.Option("--fail-on-violation", help="Exit with code 1 if anything is insecure.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Open every branch and unit in turn (N-1) and rank the outages by what they do."""
    if out is not None:
        check_writeable(out, (".csv", ".json", ".parquet"), "--out")
        if out.suffix.lower() == ".parquet":
            require_pyarrow()
    loaded = read_case(case, opened, scale_load)
    raise NotImplementedError


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
