"""``gridrl train``: learned parts; a start for one grid, a policy for all."""

from pathlib import Path
from typing import Annotated

import typer

from gridrl.cli.common import CaseArgument, check_writeable, console, read_case

app = typer.Typer(
    name="train", help="Train learned parts for a grid; loads torch.", no_args_is_help=True
)


@app.command("warm-start")
def warm_start(
    case: CaseArgument,
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to write the weights.")
    ] = Path("warm_start.safetensors"),
    states: Annotated[
        int, typer.Option("--states", min=200, help="States to solve and learn from.")
    ] = 20000,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over them.")] = 40,
    width: Annotated[
        float, typer.Option("--width", metavar="PERCENT", help="Loads move by up to this.")
    ] = 20.0,
    outages: Annotated[
        float, typer.Option("--outages", metavar="PERCENT", help="States with a branch out.")
    ] = 50.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same weights.")] = 0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads to use.")] = 1,
) -> None:
    """Learn where an optimal power flow of this grid begins best, from states that we solve.

    The weights go to `gridrl opf CASE --weights FILE`.
    """
    from gridrl.errors import CaseError

    check_writeable(out, (".safetensors",), "--out")
    if not 0.0 < width < 100.0:
        raise CaseError(f"--width {width:g}: give a percentage between 0 and 100.")
    if not 0.0 <= outages <= 100.0:
        raise CaseError(f"--outages {outages:g}: give a percentage from 0 to 100.")
    loaded = read_case(case)

    import numpy as np

    from gridrl.training.warm_start import TrainOptions, train

    err = console(stderr=True)
    found = train(
        loaded,
        np.random.default_rng(seed),
        options=TrainOptions(
            states=states, epochs=epochs, width=width / 100.0, outages=outages / 100.0,
            threads=threads,
        ),
        say=lambda text: err.print(text, style="dim"),
    )  # fmt: skip
    found.save(out)
    err.print(f"Weights: {out}, {out.stat().st_size / 2**20:.1f} MiB.")


@app.command("policy")
def policy(
    *,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder for lessons, checkpoints and weights. "
                     "The same command goes on where it was stopped."),
    ] = Path("policy"),
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="What to learn from and how, in TOML; "
                     "without it, four grids from 5 to 57 buses."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two small grids, minutes instead of hours.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Same seed, same weights.")
    ] = None,
) -> None:  # fmt: skip
    """Teach a graph network which switching orders to try first, on many grids at once.

    The weights go to `gridrl evaluate --policy learned:weights=DIR/policy.safetensors`.
    """
    from dataclasses import replace

    from gridrl.cli.common import check_folder
    from gridrl.cli.progress import share_bar
    from gridrl.errors import PolicyError
    from gridrl.training.policy import QUICK, Plan, read_plan, train_policy

    check_folder(out, "--out")
    if config is not None and quick:
        raise PolicyError("--config and --quick are two plans. Give one of them.")
    plan = read_plan(config) if config is not None else QUICK if quick else Plan()
    if seed is not None:
        plan = replace(plan, seed=seed)
    err = console(stderr=True)
    with share_bar("train") as bar:
        found = train_policy(plan, out, bar=bar, say=lambda text: err.print(text, style="dim"))
    err.print(f"Weights: {found}, {found.stat().st_size / 2**20:.1f} MiB.")
