"""The report of an evaluation: Markdown, JSON, and one HTML file with plots that loads nothing."""

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import gridrl
from gridrl.errors import ScenarioError
from gridrl.evaluation.ledger import Row

# Narrow enough, each, for a page or a terminal
TABLES = {
    "How the grid fared": {
        "policy": "policy", "played": "episodes", "survived_pct": "survived %",
        "steps_pct": "steps %", "gain_steps_pct": "more than the first",
        "overload_pct": "overloaded %", "n1_insecure_pct": "N-1 insecure %",
    },
    "What it took": {
        "policy": "policy", "losses_mwh": "losses MWh", "redispatch_mwh": "redispatch MWh",
        "curtailment_mwh": "curtailment MWh", "orders_per_day": "orders/day",
        "depth_mean": "depth, mean", "depth_max": "depth, most",
    },
    "How it was decided": {
        "policy": "policy", "decisions": "decisions",
        "simulations_per_decision": "simulations/decision",
        "solves_per_decision": "power flows/decision", "decision_ms_p50": "ms, p50",
        "decision_ms_p99": "ms, p99",
    },
}  # fmt: skip
SPREAD = ("survived_pct", "steps_pct", "gain_steps_pct")
NOTES = (
    (
        "Steps %: share of its episode that a grid lived for, with the 95 % interval of a "
        "bootstrap over episodes. More than the first: steps % beyond those of the first policy, "
        "paired. Overloaded and N-1 insecure: shares of the time."
    ),
    (
        "N-1 insecure: some single branch outage would overload a branch or leave no power flow; "
        "outages that cut something off in any case do not count."
    ),
    "Depth: substations away from the reference switching, and lines open.",
    (
        "A decision counts where the policy looked for something to do. Its time is that of one "
        "call for all episodes side by side, shared by those that decided: play with --batch 1 for "
        "latency."
    ),
)


def document(lines: Sequence[Row], rows: Sequence[Row], *, asked: int, settings: Row) -> Row:
    """Everything that is known, as JSON has it; episodes without their orders."""
    short = [{k: v for k, v in row.items() if k not in ("times", "trace")} for row in rows]
    return {
        "kind": "gridrl evaluation", "gridrl": gridrl.__version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"), "asked": asked,
        "finished": len(rows), **settings, "summary": list(lines), "episodes": short,
    }  # fmt: skip


def cell(line: Row, name: str) -> str:
    """A value as a person reads it, with its interval where it has one."""
    value = line[name]
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    text = _short(value)
    if name in SPREAD and line[f"{name}_low"] is not None:
        return f"{text} [{_short(line[f'{name}_low'])}, {_short(line[f'{name}_high'])}]"
    return text


def _short(value: float) -> str:
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def markdown(lines: Sequence[Row]) -> str:
    """The tables of each scenario."""
    parts = []
    for scenario in dict.fromkeys(line["scenario"] for line in lines):
        here = [line for line in lines if line["scenario"] == scenario]
        parts.append(f"## {_escaped(scenario)}")
        for title, columns in TABLES.items():
            head = f"| {' | '.join(columns.values())} |"
            rule = "| :-- |" + " --: |" * (len(columns) - 1)
            body = [
                "| " + " | ".join(_escaped(cell(line, name)) for name in columns) + " |"
                for line in here
            ]
            parts.append("\n".join([f"**{title}**", "", head, rule, *body]))
    return "\n\n".join(["# Evaluation", *parts, "\n\n".join(NOTES)]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def write_reports(folder: Path, made: Row) -> list[Path]:
    """Write report.json, report.md and report.html into a folder.

    Raises
    ------
    ScenarioError
        A file cannot be written.
    """
    texts = {
        "report.json": json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "report.md": markdown(made["summary"]),
        "report.html": html(made),
    }
    try:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as problem:
        raise ScenarioError(f"Cannot write into {folder}: {problem.strerror}.") from problem
    return [folder / name for name in texts]


def html(made: Row) -> str:
    """The report as one HTML file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    lines = made["summary"]
    scenarios = list(dict.fromkeys(line["scenario"] for line in lines))
    sections = [
        {
            "scenario": scenario,
            "tables": [
                {
                    "title": title, "columns": list(columns.values()),
                    "rows": [
                        [cell(line, name) for name in columns]
                        for line in lines if line["scenario"] == scenario
                    ],
                }
                for title, columns in TABLES.items()
            ],
            "plots": [
                Markup(plot)  # noqa: S704 - matplotlib's own SVG, which escapes its texts
                for plot in plots(
                    [line for line in lines if line["scenario"] == scenario],
                    [row for row in made["episodes"] if row["scenario"] == scenario],
                )
            ],
        }
        for scenario in scenarios
    ]  # fmt: skip
    return environment.get_template("report.html").render(made=made, sections=sections, notes=NOTES)


def plots(lines: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """SVG of survival over time, of steps with their intervals, and of what it cost."""
    from matplotlib.figure import Figure

    figures = []
    names = [line["policy"] for line in lines]
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.subplots()
    for name in names:
        mine = [row for row in rows if row["policy"] == name]
        share = np.sort([100.0 * row["steps"] / row["horizon"] for row in mine])
        lost = np.sort([100.0 * r["steps"] / r["horizon"] for r in mine if not r["survived"]])
        x = np.concatenate([[0.0], lost, [100.0]])
        y = 100.0 * (1.0 - np.concatenate([[0.0], np.arange(1, lost.size + 1), [lost.size]])
                     / share.size)  # fmt: skip
        axes.step(x, y, where="post", label=name)
    axes.set(xlabel="share of the episode %", ylabel="grids alive %", ylim=(-3, 103))
    axes.legend(fontsize=8)
    figures.append(figure)
    figure = Figure(figsize=(7.0, 0.8 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    _bars(axes, names, [line["steps_pct"] for line in lines])
    for place, line in enumerate(lines):
        if line["steps_pct_low"] is not None:
            axes.plot([line["steps_pct_low"], line["steps_pct_high"]], [place] * 2, "k-", lw=1.2)
    axes.set(xlabel="steps %, with 95 % interval", xlim=(0, 103))
    figures.append(figure)
    figure = Figure(figsize=(7.0, 0.9 + 0.35 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, names, [line["overload_pct"] for line in lines])
    left.set(xlabel="time overloaded %")
    _bars(right, names, [line["n1_insecure_pct"] or 0.0 for line in lines])
    right.set(xlabel="time N-1 insecure %")
    figures.append(figure)
    return [_svg(figure) for figure in figures]


def _bars(axes: Any, names: Sequence[str], values: Sequence[float]) -> None:
    axes.barh(range(len(names)), values, color="#2b7bba", height=0.6)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)  # the first on top; axes may share this
    axes.set_xlim(0.0, max(1.0, 1.05 * max(axes.get_xlim()[1], 0.0)))


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
