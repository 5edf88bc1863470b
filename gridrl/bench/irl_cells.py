"""Cells of the suite ``irl``: means over worlds with bootstrap intervals, and what was aimed at.

Worlds of a cell are resampled, all methods with the same ones: how hard a world is cancels in a
reduction. A reduction is ``1 - mean(turbo) / mean(other)``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridrl.arrays import Floats, Ints
from gridrl.evaluation.statistics import mean_interval, resamples

Row = dict[str, Any]
OURS = "turbo"
# Methods that share something without being the ceiling, or knowing the truth.
RIVALS = ("pooled", "fedavg", "multitask")
GRID = ("shared_error", "utility_correlation", "regret", "regret_strange", "top1", "nll")
METRICS = ("correlation", "std_mse", "evd_hard", "evd_soft", "epic", "nll")
MAIN = [100, 100, 5]


def cells(rows: Sequence[Row]) -> list[Row]:
    """One row for each cell and method, in the order in which cells first appear."""
    out = []
    for name in dict.fromkeys(row["cell"] for row in rows):
        worlds = [row for row in rows if row["cell"] == name]
        drawn = resamples(len(worlds), np.random.default_rng(0))
        keys = ("cell", "kind", "overlap", "agents", "demonstrations")
        for method in worlds[0]["results"]:
            line = {key: worlds[0][key] for key in keys}
            line |= {"method": method, "seeds": len(worlds)}
            for metric in METRICS:
                line |= _mean(_values(worlds, method, metric), drawn, metric)
            for metric in ("std_mse", "evd_hard"):
                line |= _reduction(worlds, method, metric, drawn)
            line["cpu_s"] = float(_values(worlds, method, "cpu_s").mean())
            out.append(line)
    return out


def grid_cells(rows: Sequence[Row]) -> list[Row]:
    """One row for each demonstrator, spread and method of the study on a grid."""
    out = []
    keys = ("demonstrator", "spread")
    for cell in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        worlds = [row for row in rows if tuple(row[key] for key in keys) == cell]
        drawn = resamples(len(worlds), np.random.default_rng(0))
        for method in worlds[0]["results"]:
            line = dict(zip(keys, cell, strict=True))
            line |= {"decisions": worlds[0]["decisions"], "method": method, "seeds": len(worlds)}
            for metric in GRID:
                line |= _mean(_values(worlds, method, metric), drawn, metric)
            for metric in ("shared_error", "regret", "regret_strange"):
                line |= _reduction(worlds, method, metric, drawn)
            if method == OURS:
                line["rates_covered"] = float(np.mean([row["rates_covered"] for row in worlds]))
            out.append(line)
    return out


def grid_targets(found: Sequence[Row]) -> list[Row]:
    """What was aimed at on the grid: operators as the model has them."""
    out = []
    lines = [line for line in found if line["demonstrator"] == "boltzmann"]
    for line in lines:
        where = f"grid, spread {line['spread']:g}"
        if line["method"] == OURS:
            for metric, wanted, most in (
                ("shared_error", 0.2, True),
                ("utility_correlation", 0.98, False),
            ):
                out.append(
                    _target(f"{where}: {metric}", wanted, line[metric], line[f"{metric}_low"],
                            line[f"{metric}_high"], most=most)
                )  # fmt: skip
        if line["method"] == "independent":
            for metric, wanted in (("shared_error", 70.0), ("regret", 30.0)):
                name = f"{metric}_turbo_below_pct"
                what = f"{where}: {metric} below independent, %"
                out.append(_target(what, wanted, line[name], line[f"{name}_low"],
                                   line[f"{name}_high"]))  # fmt: skip
    return out


def _values(worlds: Sequence[Row], method: str, metric: str) -> Floats:
    """[n_world]; NaN where the method has no such figure."""
    return np.array([row["results"][method][metric] for row in worlds], np.float64)


def _mean(values: Floats, drawn: Ints, metric: str) -> Row:
    if not np.isfinite(values).all():
        return {metric: None, f"{metric}_low": None, f"{metric}_high": None}
    found = mean_interval(values, drawn)
    return {metric: found.mean, f"{metric}_low": found.low, f"{metric}_high": found.high}


def _reduction(worlds: Sequence[Row], method: str, metric: str, drawn: Ints) -> Row:
    """By how many percent ours is below ``method``, with its 95 % interval."""
    name = f"{metric}_turbo_below_pct"
    ours, other = _values(worlds, OURS, metric), _values(worlds, method, metric)
    if method == OURS or not np.isfinite(other).all() or other.mean() <= 0:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    below = 100.0 * (1.0 - ours[drawn].mean(axis=1) / np.maximum(other[drawn].mean(axis=1), 1e-12))
    low, high = np.percentile(below, (2.5, 97.5))
    return {
        name: float(100.0 * (1.0 - ours.mean() / other.mean())),
        f"{name}_low": float(low), f"{name}_high": float(high),
    }  # fmt: skip


def targets(found: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """What was aimed at, what came out, and whether that is enough."""
    out = []
    for kind in dict.fromkeys(line["kind"] for line in found):
        here = [x for x in found if x["kind"] == kind and x["demonstrations"] == MAIN]
        for wanted, overlap, method, metric in (
            (60.0, 0.9, "deep_maxent", "std_mse"),
            (80.0, 0.9, "deep_maxent", "evd_hard"),
            (40.0, 0.9, "independent", "std_mse"),
        ):
            for line in here:
                if (line["overlap"], line["method"]) == (overlap, method):
                    name = f"{metric}_turbo_below_pct"
                    what = f"{kind}, overlap 0.9: {metric} below {method}, %"
                    out.append(_target(what, wanted, line[name], line[f"{name}_low"],
                                       line[f"{name}_high"]))  # fmt: skip
        worlds = [r for r in rows if (r["kind"], r["overlap"]) == (kind, 0.0)]
        worlds = [r for r in worlds if r["demonstrations"] == MAIN]
        if worlds:
            lost = _values(worlds, "independent", "correlation") - _values(
                worlds, OURS, "correlation"
            )
            seen = mean_interval(lost, resamples(lost.size, np.random.default_rng(0)))
            what = f"{kind}, overlap 0: correlation lost against independent"
            out.append(_target(what, 0.02, seen.mean, seen.low, seen.high, most=True))
    out += [_cells_won(found, rival) for rival in (*RIVALS, "independent")]
    return out


def _target(
    what: str, wanted: float, got: float, low: float | None, high: float | None, *,
    most: bool = False,
) -> Row:  # fmt: skip
    met = got <= wanted if most else got >= wanted
    return {"what": what, "target": f"{'at most' if most else 'at least'} {wanted:g}",
            "measured": got, "low": low, "high": high, "met": met}  # fmt: skip


def _cells_won(found: Sequence[Row], rival: str) -> Row:
    """Share of cells in which our mean standardised error is the lower one."""
    error = {(line["cell"], line["method"]): line["std_mse"] for line in found}
    names = list(dict.fromkeys(line["cell"] for line in found))
    won = [error[name, OURS] < error[name, rival] for name in names]
    return _target(f"cells with a lower std_mse than {rival}, % of {len(names)}", 80.0,
                   100.0 * float(np.mean(won)), None, None)  # fmt: skip
