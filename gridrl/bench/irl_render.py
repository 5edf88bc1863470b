"""The suite ``irl`` as Markdown tables and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gridrl.bench.irl_cells import MAIN, OURS
from gridrl.bench.opf_profile import COLOURS, DASHES
from gridrl.bench.render import markdown, provenance

Row = dict[str, Any]
# Methods in the picture; the table has all.
DRAWN = (OURS, "independent", "deep_maxent", "multitask_oracle", "pooled", "fedavg")
_LEAST = 1e-3  # value difference at which the axis begins
SHOWN = {
    "method": "method", "correlation": "correlation", "std_mse": "standardised MSE",
    "evd_hard": "EVD, hard", "evd_soft": "EVD, soft", "epic": "EPIC", "nll": "held-out nats",
    "std_mse_turbo_below_pct": "MSE: turbo below by %",
    "evd_hard_turbo_below_pct": "EVD hard: turbo below by %", "cpu_s": "CPU s",
}  # fmt: skip


GRID = {
    "method": "method", "shared_error": "error of shared weights",
    "utility_correlation": "correlation of utility", "regret": "regret",
    "regret_strange": "regret, strange switching", "top1": "best guess right",
    "nll": "held-out nats",
    "shared_error_turbo_below_pct": "error: turbo below by %",
    "regret_turbo_below_pct": "regret: turbo below by %",
}  # fmt: skip


def summary(made: Row) -> str:
    """What was aimed at and what came out, then the exchange itself and its speed."""
    head = ["aim", "target", "measured", "95 % interval", "met"]
    body = [
        [t["what"], t["target"], f"{t['measured']:.3g}", _range(t["low"], t["high"]),
         "yes" if t["met"] else "**no**"]
        for t in made["targets"]
    ]  # fmt: skip
    return f"{markdown(head, body)}\n\n{_exchange(made)}\n"


def _exchange(made: Row) -> str:
    point, ours, twice = (
        made[k] for k in ("fixed_point", "coverage90", "coverage90_double_counting")
    )
    errors = made["coverage90_error"], made["coverage90_double_counting_error"]
    exchange = (
        "Exchange against one joint fit to all raw data: largest difference of any weight "
        f"{point['max_gap']:.1e} after at most {point['rounds']} rounds ({point['problems']} "
        "problems, 2 to 8 agents, three orders). 90 % intervals of shared weights cover "
        f"{ours:.3f} ± {errors[0]:.3f}; with messages fed back (double counting) "
        f"{twice:.3f} ± {errors[1]:.3f}."
    )
    head = ["states", "horizon", "discount", "ours, ms", "plain dense NumPy, ms", "ratio",
            "tight NumPy, ms", "ratio"]  # fmt: skip
    body = [
        [str(s["states"]), str(s["horizon"] or "endless"), str(s["discount"]), _ms(s["ours_ms"]),
         _ms(s["plain_ms"]), _times(s["ratio_plain"]), _ms(s["tight_ms"]), _times(s["ratio_tight"])]
        for s in made["speed"]
    ]  # fmt: skip
    speed = "Soft value iteration with occupancy, one reward, one thread:"
    return "\n\n".join([exchange, speed, markdown(head, body)])


def tables(made: Row) -> str:
    """Everything, a table for each cell."""
    parts = [provenance(made), summary(made), "![Standardised error over overlap](irl.svg)"]
    for name in dict.fromkeys(line["cell"] for line in made["gridworld"]):
        lines = [line for line in made["gridworld"] if line["cell"] == name]
        kind, overlap, episodes = name.split(" ")
        title = f"{kind}, overlap {overlap}, episodes {episodes} ({lines[0]['seeds']} worlds)"
        body = [[cell(line, key) for key in SHOWN] for line in lines]
        parts.append(f"### {title}\n\n{markdown(list(SHOWN.values()), body)}")
    return "\n\n".join(parts + _on_grid(made["grid"])) + "\n"


def _on_grid(grid: Sequence[Row]) -> list[str]:
    parts = []
    for who, spread in dict.fromkeys((x["demonstrator"], x["spread"]) for x in grid):
        lines = [x for x in grid if (x["demonstrator"], x["spread"]) == (who, spread)]
        decisions = "/".join(map(str, lines[0]["decisions"]))
        title = f"grid, {who} operators, spread {spread:g}, decisions {decisions}"
        body = [[cell(line, key) for key in GRID] for line in lines]
        covered = next(x["rates_covered"] for x in lines if x["method"] == OURS)
        parts += [
            f"### {title} ({lines[0]['seeds']} worlds)",
            markdown(list(GRID.values()), body),
            f"90 % intervals of the judged operator's exchange rates cover {covered:.2f}.",
        ]
    return parts


def cell(line: Row, key: str) -> str:
    value = line[key]
    if value is None or isinstance(value, str):
        return value or ""
    if key.endswith("pct"):
        return f"{value:.0f} {_range(line[f'{key}_low'], line[f'{key}_high'], 0)}".strip()
    if key == "cpu_s":
        return f"{value:.2g}"
    return f"{value:.3f} {_range(line[f'{key}_low'], line[f'{key}_high'])}".strip()


def _range(low: float | None, high: float | None, digits: int = 3) -> str:
    return "" if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.0f}x"


def draw(lines: Sequence[Row], path: Path) -> None:
    """Standardised error and hard value difference over the overlap, with 95 % intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(line["kind"] for line in lines))
    figure = Figure(figsize=(4.2 * len(kinds), 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(kinds), squeeze=False, sharex=True, sharey="row")
    metrics = {"std_mse": "standardised MSE", "evd_hard": "EVD, hard"}
    for row, metric in enumerate(metrics):
        for panel, kind in zip(axes[row], kinds, strict=True):
            _panel(panel, [line for line in lines if line["kind"] == kind], metric)
            panel.set_title(f"{kind}, episodes {'/'.join(map(str, MAIN))}" if row == 0 else "")
        axes[row][0].set_ylabel(metrics[metric])
    for panel in axes[-1]:
        panel.set_xlabel("overlap of rewards")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(panel: Any, lines: Sequence[Row], metric: str) -> None:
    """One metric of one kind of reward, a line for each method."""
    for number, method in enumerate(DRAWN):
        here = [x for x in lines if x["method"] == method and x["demonstrations"] == MAIN]
        here.sort(key=lambda line: line["overlap"])
        x, y, low, high = (
            np.array([line[key] for line in here], np.float64)
            for key in ("overlap", metric, f"{metric}_low", f"{metric}_high")
        )
        if metric == "evd_hard":  # spans decades; what is below is as good as nothing
            y, low, high = (np.maximum(part, _LEAST) for part in (y, low, high))
        panel.errorbar(
            x + 0.006 * (number - 2), y, yerr=[y - low, high - y], label=method, capsize=2,
            color=COLOURS[number], linestyle=DASHES[number % len(DASHES)],
            linewidth=2.2 if method == OURS else 1.2,
        )  # fmt: skip
    if metric == "evd_hard":
        panel.set_yscale("log")
    panel.set_ylim(bottom=_LEAST if metric == "evd_hard" else 0.0)
    panel.grid(visible=True, alpha=0.3)
