"""The command line: ``gridrl load | flow | security | whatif | opf | train | irl | ...``.

Commands are thin and import what they need when they run, so that ``gridrl --help`` answers at
once. Exit codes: 0 done, 1 the grid has no power flow or no optimal one (or
``--fail-on-violation`` found a violation), 2 wrong use.
"""

import os
import sys
from typing import Annotated

import typer

from gridrl import __version__
from gridrl.cli.bench import bench
from gridrl.cli.common import printable
from gridrl.cli.doctor import doctor
from gridrl.cli.evaluate import evaluate
from gridrl.cli.flow import flow
from gridrl.cli.irl import app as irl
from gridrl.cli.load import load
from gridrl.cli.opf import opf
from gridrl.cli.security import security
from gridrl.cli.train import app as train
from gridrl.cli.whatif import app as whatif

app = typer.Typer(
    name="gridrl",
    help="What happens to a power grid if: AC power flow, N-1 security and studies of real grids.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gridrl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # acted on by its callback
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options before the command."""


app.command()(load)
app.command()(flow)
app.command()(security)
app.command()(opf)
app.add_typer(whatif)
app.add_typer(train)
app.add_typer(irl)
app.command()(evaluate)
app.command()(bench)
app.command()(doctor)


def _own_errors() -> type[Exception]:
    """`GridrlError`, imported (with numpy behind it) only once something has gone wrong."""
    from gridrl.errors import GridrlError

    return GridrlError


def main() -> None:
    """Run the command line; what gridrl refuses is one sentence on stderr and exit code 2."""
    try:
        app()
    except SystemExit:
        raise
    except BrokenPipeError:  # `gridrl ... | head`: not worth a word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except _own_errors() as error:
        typer.echo(f"gridrl: {printable(' '.join(str(error).split()))}", err=True)
        raise SystemExit(2) from error
