"""``gridrl bench opf``: solvers of optimal power flow side by side."""

from pathlib import Path
from typing import Any

import typer

from gridrl.cli.common import console, new_table
from gridrl.cli.progress import share_bar

_INTERRUPTED = 130


def run_opf(
    name: str, *, cases: list[str], contenders: list[str], repeats: int | None,
    time_limit_s: float | None, out: Path | None, resume: bool,
) -> dict[str, Any]:  # fmt: skip
    """Run a suite; the files in ``out`` grow with every case."""
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
    return result


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


def pages_of(made: dict[str, Any], folder: Path) -> dict[str, str]:
    """What goes into which page; renews the files beside the results too."""
    from gridrl.bench.opf_render import aggregates, summary, tables

    made["aggregates"] = aggregates(made["rows"], made["time_limit_s"])
    write(folder, made["suite"], made)
    picture = f"{made['suite']}.svg"
    text = tables(made).replace(f"({picture})", f"(../benchmarks/results/{picture})")
    pages = {"docs/benchmarks.md": text}
    if made["suite"] == "opf_pglib":
        pages["README.md"] = summary(made)
    return pages


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
