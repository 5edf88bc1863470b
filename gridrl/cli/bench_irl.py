"""``gridrl bench irl``: Turbo-IRL beside other methods, on gridworlds."""

import json
from pathlib import Path
from typing import Any

from gridrl.cli.common import check_folder, console, new_table, print_json
from gridrl.cli.progress import share_bar


def run_irl(
    *, quick: bool, seeds: int | None, out: Path | None, resume: bool, as_json: bool
) -> None:
    """Run the suite; every finished world is kept in ``out`` at once."""
    from threadpoolctl import threadpool_limits

    from gridrl.bench import irl

    err = console(stderr=True)
    kept = None
    if out is not None:
        check_folder(out, "--out")
        kept = out / "irl_rows.jsonl"
        if not resume:
            kept.unlink(missing_ok=True)
    # Matrices of 64 states: more threads than one only wait for each other.
    with share_bar("irl") as bar, threadpool_limits(1):
        made = irl.run(
            quick=quick, seeds=seeds, kept=kept, progress=bar,
            say=lambda text: err.print(text, style="dim"),
        )  # fmt: skip
    if out is not None:
        irl.save(out, made)
        err.print(f"Results: {out / 'irl.json'}")
    if as_json:
        print_json(made)
    else:
        _show(made)


def render_irl() -> None:
    """Put the published results into docs/benchmarks.md, and renew the files beside them."""
    from gridrl.bench import irl, irl_cells
    from gridrl.bench.contender import checkout
    from gridrl.bench.irl_render import summary, tables
    from gridrl.bench.render import insert
    from gridrl.errors import CaseError

    root = checkout().parent
    path = root / "benchmarks" / "results" / "irl.json"
    if not path.is_file():
        raise CaseError("There are no results irl.json yet: gridrl bench irl")
    made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    made["gridworld"] = irl_cells.cells(made["rows"])
    made["targets"] = irl_cells.targets(made["gridworld"], made["rows"])
    made["targets"] += irl_cells.grid_targets(made["grid"])
    made["rows"] = made.pop("rows")  # stays last
    irl.save(path.parent, made)
    text = tables(made).replace("(irl.svg)", "(../benchmarks/results/irl.svg)")
    for page, part in (("docs/benchmarks.md", text), ("docs/inverse-rl.md", summary(made))):
        changed = insert(root / page, irl.SUITE, part)
        console().print(f"{page}: {'renewed' if changed else 'up to date'}")


def _show(made: dict[str, Any]) -> None:
    from gridrl.bench.irl_render import SHOWN, cell, summary

    plain = {k: v for k, v in SHOWN.items() if k not in ("epic", "evd_soft")}
    table = new_table("gridrl bench irl", "cell", *plain.values())
    for line in made["gridworld"]:
        table.add_row(line["cell"], *(cell(line, key) for key in plain))
    console().print(table)
    console().print(summary(made))
