"""What the rows of a suite ``opf`` add up to, and its tables in Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridrl.bench.opf import GAP_PCT, OTHER_MODELS, SOLVED, TOLERANCE_PU
from gridrl.bench.render import markdown, provenance
from gridrl.bench.runner import Row

OURS = "interior_point"
SHIFT_S = 0.01  # of the geometric mean of times: below this, differences do not matter much
COLUMNS = {
    "case": "case", "contender": "contender", "model": "model", "status": "status",
    "iterations": "it", "objective": "objective", "gap_best_known_pct": "gap best %",
    "gap_lower_bound_pct": "gap bound %", "max_violation_pu": "violation p.u.",
    "worst": "worst", "build_s": "build s", "solve_s": "solve s", "cpu_s": "CPU s",
    "cpu_again_s": "CPU again s", "rss_mib": "MiB", "start": "start", "lines_opened": "opened",
}  # fmt: skip


def aggregates(rows: Sequence[Row], time_limit_s: float) -> list[Row]:
    """One row for each contender: successes, failures, mean times, ratios to ours.

    ``sgm_cpu_s`` is the shifted geometric mean of CPU times over all cases, with the time limit
    in place of the time where a contender did not succeed. Ratios compare the cases that both
    solved: ``ratio_sgm`` of the shifted means, ``ratio_min`` and ``ratio_median`` of single cases.
    """
    names = list(dict.fromkeys(row["contender"] for row in rows))
    ours = {row["case"]: row for row in rows if row["contender"] == OURS and solved(row)}
    out = []
    for name in names:
        mine = [row for row in rows if row["contender"] == name]
        good = [row for row in mine if solved(row)]
        times = [row["cpu_s"] if solved(row) else time_limit_s for row in mine]
        both = [row for row in good if row["case"] in ours and is_ac(name)]
        made: Row = {
            "contender": name,
            "model": " ".join(sorted({str(row["model"]) for row in mine if row["model"]})),
            "cases": len(mine),
            "solved": len(good),
            "by_fallback": sum(bool(row.get("fallback")) for row in good),
            "sgm_cpu_s": shifted_mean(times),
        }
        if name != OURS and both:
            for key, suffix in (("cpu_s", ""), ("cpu_again_s", "_again"), ("solve_s", "_solve")):
                made |= _ratios(both, [ours[row["case"]] for row in both], key, suffix)
        out.append(made)
    return out


def _ratios(theirs: list[Row], ours: list[Row], key: str, suffix: str) -> Row:
    pairs = [
        (a[key], b[key]) for a, b in zip(theirs, ours, strict=True)
        if a.get(key) is not None and b.get(key) is not None
    ]  # fmt: skip
    if not pairs:
        return {}
    a, b = np.array(pairs).T
    return {
        f"compared{suffix}": len(pairs),
        f"ratio_sgm{suffix}": shifted_mean(a) / shifted_mean(b),
        f"ratio_min{suffix}": float((a / b).min()),
        f"ratio_median{suffix}": float(np.median(a / b)),
    }


def solved(row: Row) -> bool:
    """Whether a contender did its task: an AC dispatch that counts, or its own model's optimum."""
    if row["success"] is not None:
        return bool(row["success"])
    return row["status"] in SOLVED


def shifted_mean(times: Any) -> float:
    """Geometric mean of ``t + shift``, less the shift, s."""
    values = np.asarray(times, dtype=np.float64)
    return float(np.exp(np.log(values + SHIFT_S).mean()) - SHIFT_S)


def failures(rows: Sequence[Row]) -> list[str]:
    """One line for each row that is no success, with the reason."""
    return [f"`{row['case']}`, {row['contender']}: {_why(row)}" for row in rows if not solved(row)]


def _why(row: Row) -> str:
    if row["status"] not in SOLVED:
        return f"{row['status']}. {row.get('message') or ''}".strip()
    violation, gap = row["max_violation_pu"], row["gap_best_known_pct"]
    if violation is None or violation > TOLERANCE_PU:
        return f"violates limits by {cell(violation)} p.u. ({row['worst']})"
    return f"{cell(gap)} % above the best known objective"


def summary(made: dict[str, Any]) -> str:
    """The aggregates as a table, and how to read them."""
    rows = made["aggregates"]
    columns = {
        "contender": "contender", "model": "model", "solved": "solved", "sgm_cpu_s": "mean CPU s",
        "ratio_sgm": "times ours", "ratio_sgm_again": "again", "ratio_median": "median",
        "ratio_min": "least",
    }  # fmt: skip
    body = []
    for row in rows:
        cells = [cell(row.get(key)) for key in columns]
        cells[2] = f"{row['solved']} of {row['cases']}"
        if row["by_fallback"]:
            cells[2] += f" ({row['by_fallback']} by fallback)"
        again = row.get("compared_again", 0)
        if 0 < again < row["compared"]:  # slow cases are solved once
            cells[5] += f" ({again} cases)"
        body.append(cells)
    return (
        f"{markdown(list(columns.values()), body)}\n\n"
        f"Solved: all limits met within {TOLERANCE_PU:g} p.u. and cost within {GAP_PCT:g} % of the "
        "best known, both as the judge finds them; for DC and SOC, the optimum of that model, or "
        "the proof that it has none where the published one has none. Mean CPU s: shifted "
        "geometric mean (10 ms) of the whole call with nothing known of the grid "
        f"before, unsolved cases counted as {made['time_limit_s']:g} s. Times ours: their shifted "
        "mean over that of `interior_point`, on the cases that both solved; *again* with the "
        "order of elimination known from an earlier solve; median and least of single cases. "
        "`ipopt` is Ipopt with MUMPS as the wheel of ipyopt ships it, on our derivatives.\n"
    )


def tables(made: dict[str, Any]) -> str:
    """Aggregates, failures and every row."""
    rows = made["rows"]
    missed = failures(rows)
    listed = "\n".join(f"- {line}" for line in missed) if missed else "None."
    used = {
        k: t for k, t in COLUMNS.items() if any(row.get(k) not in (None, 0, "") for row in rows)
    }
    body = [[cell(row.get(key), key) for key in used] for row in rows]
    return (
        "\n\n".join(
            [
                provenance(made),
                summary(made).strip(),
                f"![performance profile]({made['suite']}.svg)",
                f"#### Not solved\n\n{listed}",
                f"#### Every row\n\n{markdown(list(used.values()), body)}",
            ]
        )
        + "\n"
    )


def cell(value: Any, key: str = "") -> str:
    """A value as a cell of a table; ``key`` is its column."""
    if value is None:
        return ""
    if key == "objective":
        return f"{value:,.2f}"
    if key == "max_violation_pu":
        return f"{value:.1e}"
    if isinstance(value, float):
        if abs(value) >= 100:
            return f"{value:,.0f}"
        return f"{value:.3g}"
    return str(value).replace("|", "/")


def is_ac(name: str) -> bool:
    """Whether a contender's times belong into the profile."""
    return name not in OTHER_MODELS
