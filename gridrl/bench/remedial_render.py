"""Markdown tables out of the suite ``remedial``."""

from collections.abc import Sequence
from typing import Any

from gridrl.bench.render import markdown, provenance
from gridrl.bench.runner import Row

SEARCH = {
    "case": "stressed case", "actions": "actions", "worst_before_pct": "before %",
    "worst_n1_pct": "recommended %", "worst_n1_unitary_pct": "one action %",
    "worst_n1_exhaustive_pct": "exhaustive %", "ac_solves": "AC solves", "share_pct": "share %",
    "found_best": "as good", "cpu_s": "s", "spearman": "rank correlation",
    "dc_median_error_pct": "DC error %", "best_ten_in_dc_thirty": "AC top 10 in DC top 30",
}  # fmt: skip
SPEED = {
    "case": "grid", "task": "task", "actions": "actions", "contingencies": "outages",
    "cpu_s": "s", "per_s": "per s", "with_outages_per_s": "per s with all outages",
    "peer_per_s": "Grid2Op per s", "peer_cpu_s": "Grid2Op s", "ratio": "ratio",
    "max_dloading": "largest difference",
}  # fmt: skip
RACES = ("screen", "verify", "secure")
STUDY = {
    "case": "grid", "variants": "states", "contingencies": "outages", "advised": "with advice",
    "relieved": "relieved", "secure": "secure after it", "ac_solves": "AC solves of the search",
    "threads": "threads", "wall_s": "s", "cpu_s": "CPU s",
}  # fmt: skip


def tables(made: dict[str, Any]) -> str:
    """Every row, and what it ran on."""
    found = [row for row in made["rows"] if row["task"] == "search"]
    fast = [row for row in made["rows"] if row["task"] in RACES]
    whole = [row for row in made["rows"] if row["task"] == "study"]
    parts = [provenance(made)]
    if found:
        parts.append(
            "### Recommended against exhaustive\n\nWorst loading before and after every loss of a "
            f"branch or generator. {_score(found)}\n\n{_table(found, SEARCH)}"
        )
    if fast:
        parts.append(
            "### Speed\n\n`screen`: DC screen, no other program. `verify`: AC power flows of "
            "unitary actions beside `obs.simulate`. `secure`: every action with every branch "
            "outage, beside `obs.simulate` over the same actions without any outage.\n\n"
            f"{_table(fast, SPEED)}"
        )
    if whole:
        parts.append(
            "### Whole studies\n\nThe case and ten variants (branches opened, machines out, loads "
            "scaled), each with every outage and, where a branch is overloaded, with "
            f"recommendations and their proof.\n\n{_table(whole, STUDY)}"
        )
    return "\n\n".join(parts) + "\n"


def summary(made: dict[str, Any]) -> str:
    """The score in a sentence, and the speeds."""
    found = [row for row in made["rows"] if row["task"] == "search"]
    fast = [row for row in made["rows"] if row["task"] in RACES]
    whole = [row for row in made["rows"] if row["task"] == "study"]
    parts = [_score(found)] if found else []
    if fast:
        parts.append(_table(fast, SPEED))
    if whole:
        parts.append(_table(whole, STUDY))
    return "\n\n".join(parts) + "\n"


def _score(found: Sequence[Row]) -> str:
    good = sum(bool(row["found_best"]) for row in found)
    most = max(float(row["share_pct"]) for row in found)
    return (
        f"As good as exhaustive search, within a percentage point: {good} of {len(found)} stressed "
        f"cases, with at most {most:.1f} % of its AC power flows."
    )


def _table(rows: Sequence[Row], columns: dict[str, str]) -> str:
    used = {k: title for k, title in columns.items() if any(row.get(k) is not None for row in rows)}
    return markdown(list(used.values()), [[_cell(row.get(k)) for k in used] for row in rows])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        if abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
