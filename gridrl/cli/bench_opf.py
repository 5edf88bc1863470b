"""``gridrl bench opf``: solvers of optimal power flow side by side."""

import json
from pathlib import Path
from typing import Any

import typer

from gridrl.cli.common import console, new_table, print_json
from gridrl.cli.progress import share_bar

_INTERRUPTED = 130


def run_opf(
    name: str, *, cases: list[str], contenders: list[str], repeats: int | None,
    time_limit_s: float | None, out: Path | None, resume: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run a suite and show it; the files in ``out`` grow with every case."""
    from gridrl.bench import opf, opf_suite
    from gridrl.bench.document import document, rows_to_keep
    from gridrl.bench.opf_render import aggregates

    plan = opf_suite.suite(name, cases, contenders, repeats=repeats, time_limit_s=time_limit_s)
    full = f"opf_{name}"
    err = console(stderr=True)

    def made(rows: list[dict[str, Any]], note: str = "") -> dict[str, Any]:
        begun = document(full, rows, seed=plan.seed, note=note)
        begun["time_limit_s"] = plan.time_limit_s
        begun["repeats"] = plan.repeats
        begun["aggregates"] = aggregates(rows, plan.time_limit_s)
        return begun

    done: list[dict[str, Any]] = []
    if resume and out is not None:
        done = complete(rows_to_keep(out / f"{full}.json", made([])), plan.contenders)
        kept = len({row["case"] for row in done})
        err.print(f"Kept: {kept} of {len(plan.cases)} cases", style="dim")
    kept_rows = done

    def keep(rows: list[dict[str, Any]]) -> None:
        nonlocal kept_rows
        kept_rows = rows
        if out is not None:
            write(out, full, made(rows, "cut short"))

    try:
        with share_bar(f"bench {full}") as progress:
            rows = opf.run(plan, progress, keep, done)
    except KeyboardInterrupt:
        finished = len({row["case"] for row in kept_rows})
        where = f" and kept in {out / full}.json; --resume goes on" if out is not None else ""
        err.print(f"Stopped. {finished} of {len(plan.cases)} cases are done{where}.")
        raise typer.Exit(_INTERRUPTED) from None
    result = made(rows)
    if out is not None:
        write(out, full, result)
        err.print(f"Results: {out / full}.json")
    if as_json:
        print_json(result)
    else:
        show(result)


def complete(rows: list[dict[str, Any]], contenders: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of the cases that have one of every contender, and of no other."""
    by_case: dict[str, set[str]] = {}
    for row in rows:
        by_case.setdefault(row["case"], set()).add(row["contender"])
    return [row for row in rows if by_case[row["case"]] == set(contenders)]


def write(folder: Path, full: str, made: dict[str, Any]) -> None:
    """SUITE.json, SUITE.md and SUITE.svg, the performance profile."""
    from gridrl.bench.document import write as write_json
    from gridrl.bench.opf_profile import draw
    from gridrl.bench.opf_render import tables

    write_json(folder / f"{full}.json", made)
    (folder / f"{full}.md").write_text(tables(made), encoding="utf-8")
    if made["note"] != "cut short" and made["rows"]:
        draw(made["rows"], folder / f"{full}.svg")


def render_opf(name: str) -> None:
    """Put published results into the pages that show them, and renew the files beside them."""
    from gridrl.bench.contender import checkout
    from gridrl.bench.opf_render import aggregates, summary, tables
    from gridrl.bench.render import insert
    from gridrl.errors import CaseError

    root, full = checkout().parent, f"opf_{name}"
    path = root / "benchmarks" / "results" / f"{full}.json"
    if not path.is_file():
        raise CaseError(f"There are no results {path.name} yet: gridrl bench opf --suite {name}")
    made = json.loads(path.read_text(encoding="utf-8"))
    made["aggregates"] = aggregates(made["rows"], made["time_limit_s"])
    write(path.parent, full, made)
    text = tables(made).replace(f"({full}.svg)", f"(../benchmarks/results/{full}.svg)")
    pages = {"docs/benchmarks.md": text}
    if name == "pglib":
        pages["README.md"] = summary(made)
    for page, part in pages.items():
        changed = insert(root / page, full, part)
        console().print(f"{page}: {'renewed' if changed else 'up to date'}")


def show(made: dict[str, Any]) -> None:
    """Every row and the aggregates on the terminal."""
    from gridrl.bench.opf_render import COLUMNS, cell, failures, solved, summary

    left_out = "worst build_s solve_s cpu_again_s rss_mib start lines_opened".split()
    shown = {k: v for k, v in COLUMNS.items() if k not in left_out}
    table = new_table(f"gridrl bench opf, suite {made['suite']}", *shown.values())
    for row in made["rows"]:
        cells = [cell(row.get(key), key) for key in shown]
        table.add_row(*cells, style=None if solved(row) else "red")
    out = console()
    out.print(table)
    out.print(summary(made))
    for line in failures(made["rows"]):
        out.print(f"Not solved: {line}")
