"""``gridrl doctor``: is the installation sound, and what does this machine offer."""

from dataclasses import asdict
from typing import Annotated

import typer

from gridrl.cli.common import JsonOption, console, print_json


def doctor(
    *,
    warm: Annotated[
        bool, typer.Option("--warm", help="Compile the kernels now, not at first use.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check versions, packages, CPU, GPU and the cache of compiled kernels."""
    from gridrl.doctor import examine, missing
    from gridrl.doctor import warm as warm_up

    if warm:
        warm_up()
    findings = examine()
    wrong = missing(findings)
    if as_json:
        print_json({"ok": not wrong, "findings": [asdict(finding) for finding in findings]})
    else:
        from rich.table import Table

        out = console()
        table = Table(box=None, show_header=False, padding=(0, 1))
        for finding in findings:
            mark, style = ("ok", "green") if finding.ok else ("WRONG", "bold red")
            table.add_row(mark, finding.topic, finding.value, style=None if finding.ok else style)
        out.print(table)
        for finding in wrong:
            out.print(f"{finding.topic}: {finding.value}. {finding.advice}", style="bold red")
        out.print("All is well." if not wrong else f"{len(wrong)} to put right.")
    if wrong:
        raise typer.Exit(1)
