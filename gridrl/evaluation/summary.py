"""What rows of episodes add up to: one line for each scenario and policy, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridrl.arrays import Floats
from gridrl.evaluation.ledger import CLASSES_PER_E, Row
from gridrl.evaluation.statistics import Interval, mean_interval, resamples, time_quantile

SEED = 0  # of the resamples: the same rows, the same intervals


def summarise(rows: Sequence[Row], *, hours: dict[str, float]) -> list[Row]:
    """One line for each scenario and policy, in the order of the rows.

    Parameters
    ----------
    rows
        Of `gridrl.evaluation.run.evaluate`.
    hours
        Length of a step of every scenario.

    The differences are to the first policy of the scenario, over the episodes that both finished.
    """
    lines = []
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        here = [row for row in rows if row["scenario"] == scenario]
        policies = list(dict.fromkeys(row["policy"] for row in here))
        first = {_pair(row): row for row in here if row["policy"] == policies[0]}
        for policy in policies:
            mine = [row for row in here if row["policy"] == policy]
            line = _line(mine, hours[scenario])
            line |= _difference(mine, first) if policy != policies[0] else _NO_DIFFERENCE
            lines.append({"scenario": scenario, "policy": policy, **line})
    return lines


def _pair(row: Row) -> tuple[int, int]:
    return row["episode"], row["seed"]


def _line(rows: Sequence[Row], hours: float) -> Row:
    steps = _column(rows, "steps")
    played = max(float(steps.sum()), 1.0)
    looked = float(_column(rows, "n1_steps").sum())
    decisions = float(_column(rows, "decisions").sum())
    times: dict[int, int] = {}
    for row in rows:
        for at, count in row["times"].items():
            times[int(at)] = times.get(int(at), 0) + count
    drawn = resamples(len(rows), np.random.default_rng(SEED))
    survival = mean_interval(100.0 * _column(rows, "survived"), drawn)
    share = mean_interval(_column(rows, "steps_pct"), drawn)
    out: Row = {
        "episodes": len({row["episode"] for row in rows}), "seeds": len({r["seed"] for r in rows}),
        "played": len(rows),
        **_spread("survived_pct", survival), **_spread("steps_pct", share),
        "steps": int(steps.sum()), "hours": played * hours,
        "overload_hours": float(_column(rows, "overload_steps").sum()) * hours,
        "overload_pct": 100.0 * float(_column(rows, "overload_steps").sum()) / played,
        "n1_insecure_pct": 100.0 * float(_column(rows, "n1_insecure_steps").sum()) / looked
        if looked else None,
        "n1_insecure_hours": float(_column(rows, "n1_insecure_steps").sum()) / looked * played
        * hours if looked else None,
    }  # fmt: skip
    for name in ("losses_mwh", "redispatch_mwh", "curtailment_mwh", "storage_mwh"):
        out[name] = float(_column(rows, name).sum())
    for name in ("orders", "line_orders", "substation_orders", "refused", "trips"):
        out[f"{name}_per_day"] = float(_column(rows, name).sum()) / (played * hours) * 24.0
    out |= {
        "depth_mean": float((_column(rows, "depth_mean") * steps).sum()) / played,
        "depth_max": int(_column(rows, "depth_max").max()),
        "decisions": int(decisions),
        "simulations_per_decision": _per(rows, "candidates", decisions),
        "solves_per_decision": _per(rows, "solves", decisions),
        "decision_ms_p50": _milliseconds(times, 0.5), "decision_ms_p99": _milliseconds(times, 0.99),
        "endings": {
            name: sum(row["ending"] == name for row in rows)
            for name in dict.fromkeys(row["ending"] for row in rows)
        },
    }  # fmt: skip
    return out


def _column(rows: Sequence[Row], name: str) -> Floats:
    return np.array([float(row[name]) for row in rows])


def _per(rows: Sequence[Row], name: str, decisions: float) -> float | None:
    return float(_column(rows, name).sum()) / decisions if decisions else None


def _milliseconds(times: dict[int, int], share: float) -> float | None:
    seconds = time_quantile(times, share, CLASSES_PER_E)
    return None if seconds is None else 1000.0 * seconds


def _spread(name: str, interval: Interval) -> dict[str, Any]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


_NO_DIFFERENCE: Row = {
    "pairs": 0, "gain_steps_pct": None, "gain_steps_pct_low": None, "gain_steps_pct_high": None,
}  # fmt: skip


def _difference(rows: Sequence[Row], first: dict[tuple[int, int], Row]) -> Row:
    """Steps more than the first policy lived for, over the episodes that both finished."""
    both = [row for row in rows if _pair(row) in first]
    if not both:
        return _NO_DIFFERENCE
    gain = _column(both, "steps_pct") - _column([first[_pair(row)] for row in both], "steps_pct")
    drawn = resamples(gain.size, np.random.default_rng(SEED))
    return {"pairs": len(both), **_spread("gain_steps_pct", mean_interval(gain, drawn))}
