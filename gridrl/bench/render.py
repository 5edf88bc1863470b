"""Markdown tables out of the results of benchmarks, and into the pages that show them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gridrl.bench.runner import OURS, Row
from gridrl.errors import CaseError

BEGIN = "<!-- begin: gridrl bench {name} -->"
END = "<!-- end: gridrl bench {name} -->"
TASKS = {
    "single": "One flow at a time",
    "n1": "N-1",
    "sweep": "Sweep of injections",
    "topology": "Mixed topologies",
    "threads": "Threads",
    "q_limits": "Reactive limits",
    "memory": "Memory",
}
SUMMARY = {  # (task, variant): column
    ("single", "warm start"): "One flow, near the base",
    ("single", "dc start"): "One flow, from DC angles",
    ("n1", ""): "N-1",
    ("sweep", ""): "Sweep of injections",
    ("topology", ""): "Mixed topologies",
}
WORDS = {
    "single": "µs per flow, different loads, same topology; several starts",
    "n1": "µs per outage of one branch that cuts nothing off, voltages kept",
    "sweep": "µs per state, every load drawn within ±10 %",
    "topology": "µs per state with busbar splits and outages, no two alike",
    "threads": "wall time of N-1; the ratio is to one thread",
    "q_limits": "the security sweep with and without reactive limits; the ratio is to without",
    "memory": "all outages in a fresh process; peak of the whole process, and before the run",
}


def tables(made: dict[str, Any]) -> str:
    """All rows, a table for each task, and what they ran on."""
    parts = [provenance(made)]
    for task, title in TASKS.items():
        rows = [row for row in made["rows"] if row["task"] == task]
        if rows:
            parts.append(f"### {title}\n\n{WORDS[task]}.\n\n{_table(rows, _columns(task))}")
    return "\n\n".join(parts) + "\n"


def summary(made: dict[str, Any]) -> str:
    """For each grid, how many times faster we are than the fastest peer with the same result."""
    there = {row["task"] for row in made["rows"]}
    shown = [key for key in SUMMARY if key[0] in there]
    cases = list(dict.fromkeys(row["case"] for row in made["rows"]))
    head = ["grid", *(SUMMARY[key] for key in shown)]
    body = [[case, *(_best(made["rows"], case, *key) for key in shown)] for case in cases]
    return (
        markdown(head, body)
        + "\n\nµs per state on one core, and how many times as long the fastest other program took "
        "for the same result in the same run.\n"
    )


def _best(rows: Sequence[Row], case: str, task: str, variant: str) -> str:
    """Our fastest algorithm with an equal result, on the states as they were first posed."""
    ours = [
        r
        for r in rows
        if (r["case"], r["task"], r["variant"]) == (case, task, variant)
        and r["contender"] == OURS
        and r["equal"]
        and r["ratio"]
    ]
    if not ours:
        return "-"
    best = min(ours, key=lambda r: float(r["per_state_us"]))
    return f"{_number(best['per_state_us'])} ({best['ratio']:.1f}x)"


def provenance(made: dict[str, Any]) -> str:
    """One paragraph: machine, versions, threads, commit, seed."""
    m = made["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in made["versions"].items() if v != "not installed")
    return (
        f"{made['created'][:10]}, commit {made['commit']}, seed {made['seed']}, one thread each "
        f"unless said. {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB. {versions}; peers as "
        f"the wheels that their projects publish. {made['note']}".strip()
    )


def _columns(task: str) -> list[str]:
    columns = (
        "case variant contender algorithm per_state_us median_us ratio equal max_dv_pu".split()
    )
    if task == "memory":
        return "case contender algorithm states cpu_s per_state_us peak_mib before_mib".split()
    if task == "threads":
        return "case algorithm states per_state_us wall_us ratio".split()
    if task == "q_limits":
        return "case algorithm states solved per_state_us ratio remark".split()
    return [*columns, "states", "missed", "remark"]


def _table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    if "variant" in columns and not any(row["variant"] for row in rows):
        columns = [c for c in columns if c != "variant"]
    return markdown(columns, [[_cell(row, c) for c in columns] for row in rows])


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table of text cells."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Row, column: str) -> str:
    if column == "remark":
        model = row.get("model") or ""
        parts = [row["status"] if row["status"] != "ok" else "", model if model != "same" else ""]
        return ": ".join([*filter(None, parts), row.get("note") or ""]).strip(": ")
    value = row.get(column)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if column == "max_dv_pu":
        return f"{value:.0e}"
    if isinstance(value, float):
        return f"{value:.2f}" if column == "ratio" and value < 100 else _number(value)
    return str(value).replace("|", "/")


def _number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def insert(page: Path, name: str, text: str) -> bool:
    """Replace what lies between the markers of ``name``; whether that changed the page.

    Raises
    ------
    CaseError
        The page has no such markers.
    """
    begin, end = BEGIN.format(name=name), END.format(name=name)
    old = page.read_text(encoding="utf-8")
    before, found, rest = old.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise CaseError(f"{page.name} has no place for the table: add the lines {begin} and {end}.")
    new = f"{before}{begin}\n{text.strip()}\n{end}{after}"
    if new != old:
        page.write_text(new, encoding="utf-8")
    return new != old
