"""One self-contained HTML file about a study: it loads nothing, runs nothing, and can be mailed.

The template escapes every value; the only markup made here is the SVG of `report_map`, which
escapes its own.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gridrl.errors import StudyError
from gridrl.plot import LOADING
from gridrl.powerflow.options import FlowStatus
from gridrl.security.result import SHED, SecurityResult
from gridrl.whatif.report_map import LOOKS, Canvas, canvas_of, css, svg
from gridrl.whatif.results import StudyResult, VariantResult
from gridrl.whatif.tables import change_rows, comparison_rows, outage_rows, violation_rows

_BRANCHES_DRAWN = 60_000  # in all maps together; a picture of 10,000 branches has about 0.5 MB
_N_DETAILED = 40  # variants with a section of their own
_N_HEAT_OUTAGES, _N_HEAT_VARIANTS = 80, 24
_N_ROWS = 20  # of a table that is cut
_N_WORDS = 160  # letters of an action that a table spells out
_ALL_ROWS_UPTO = 400  # branches, up to which every element is listed
Row = dict[str, Any]


def write_report(path: str | Path, study: StudyResult) -> None:
    """Write the report.

    Raises
    ------
    StudyError
        The file cannot be written.
    """
    text = render(study)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as problem:
        raise StudyError(f"Cannot write {path}: {problem.strerror}.") from None


def render(study: StudyResult) -> str:
    """The report as HTML."""
    from gridrl.whatif.store import versions

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"num": _number, "heat": _heat_class}
    rows = comparison_rows(study)
    shown = _detailed(study, rows)
    sections = _sections(study, rows, shown)
    case = study.base.case
    return environment.get_template("report.html").render(
        study=study,
        case=case,
        rows=rows,
        verdict=_verdict(rows),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=versions(),
        css=Markup(css()),  # noqa: S704 - colours of ours, nothing of the user's
        looks=LOOKS,
        bands=LOADING,
        heat=_heat_map(study, rows),
        sections=sections,
        advised=_advised(sections),
        anchors={rows[k]["variant"]: n for n, k in enumerate(shown)},
        omitted=len(rows) - len(shown),
        flow=study.settings.get("flow", {}),
    )


def _detailed(study: StudyResult, rows: Sequence[Row]) -> list[int]:
    """Variants that get a section: all, or the base and the worst, in the study's order."""
    if len(rows) <= _N_DETAILED:
        return list(range(len(rows)))

    def badness(k: int) -> tuple[bool, float]:
        worst = rows[k]["worst_loading_percent"]
        return rows[k]["status"] in ("diverged", "blackout"), -1.0 if math.isnan(worst) else worst

    worst = sorted(range(1, len(study)), key=badness, reverse=True)
    return [0, *sorted(worst[: _N_DETAILED - 1])]


def _verdict(rows: Sequence[Row]) -> list[str]:
    """What a reader must know before reading on."""
    lines = []
    failed = [row["variant"] for row in rows if row["status"] in ("diverged", "blackout")]
    if failed:
        lines.append(f"No power flow: {_listed(failed)}.")
    over = [row for row in rows if row["overloads"]]
    if over:
        worst = max(over, key=lambda row: float(row["worst_loading_percent"]))
        lines.append(
            f"{len(over)} of {len(rows)} states overload a branch before any outage; the highest "
            f"loading is {worst['worst_loading_percent']:.1f} % on {worst['worst_branch']} in "
            f"'{worst['variant']}'."
        )
    else:
        lines.append("No state overloads a branch before any outage.")
    outside = [row for row in rows if row["voltage_violations"]]
    if outside:
        most = max(outside, key=lambda row: int(row["voltage_violations"]))
        lines.append(
            f"{len(outside)} of {len(rows)} states have voltages outside their limits before any "
            f"outage; most in '{most['variant']}': {most['voltage_violations']}, from "
            f"{most['v_min_pu']:.3f} p.u. at {most['v_min_bus']} to {most['v_max_pu']:.3f} p.u. at "
            f"{most['v_max_bus']}."
        )
    lost = [row["variant"] for row in rows if row["lost_load_mw"] > SHED]
    if lost:
        lines.append(f"Load without supply: {_listed(lost)}.")
    insecure = [row for row in rows if row["n1_insecure"]]
    if insecure:
        most = max(insecure, key=lambda row: int(row["n1_insecure"]))
        lines.append(
            f"{len(insecure)} of {len(rows)} states have insecure outages; most in "
            f"'{most['variant']}': {most['n1_insecure']} of {most['n1_outages']}."
        )
    return lines


def _listed(names: Sequence[str], limit: int = 6) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" * (len(names) > limit))


def _sections(study: StudyResult, rows: Sequence[Row], shown: Sequence[int]) -> list[Row]:
    """What the template says about each variant."""
    canvas = canvas_of(study.base.case.grid)
    n_maps = max(2, _BRANCHES_DRAWN // max(study.base.case.grid.n_branch, 1))
    worst = sorted(shown[1:], key=lambda k: -np.nan_to_num(rows[k]["worst_loading_percent"]))
    drawn = {0, *worst[: n_maps - 1]}
    return [
        _section(study, study[rows[k]["variant"]], rows[k], canvas if k in drawn else None)
        for k in shown
    ]


def _section(study: StudyResult, result: VariantResult, row: Row, canvas: Canvas | None) -> Row:
    grid = result.case.grid
    every = grid.n_branch <= _ALL_ROWS_UPTO
    branches = change_rows(study.base, result, "branches") if result.solved else []
    moved = sorted(
        (row for row in branches if math.isfinite(row["p_from_mw_change"])),
        key=lambda row: -abs(row["p_from_mw_change"]),
    )
    return {
        "row": row,
        "result": result,
        "notes": [note for note in result.case.notes if note not in study.base.case.notes],
        "map": None if canvas is None else Markup(svg(canvas, result)),  # noqa: S704 - escaped there
        "from_file": canvas is not None and canvas.from_file,
        "violations": violation_rows(result)[:200],
        "outages": outage_rows(result, _N_ROWS),
        "n_outages": 0 if result.n1 is None else len(result.n1.contingencies),
        "moved": [] if result is study.base else moved[:_N_ROWS],
        "branches": branches if every else [],
        "buses": change_rows(study.base, result, "buses") if every and result.solved else [],
        "recommendations": [] if result.advice is None else result.advice["recommendations"],
        "tried": {} if result.advice is None else result.advice.get("tried", {}),
    }


def _advised(sections: Sequence[Row]) -> list[Row]:
    """The first recommendation for each variant that has any, with where its section is."""
    out = []
    for anchor, section in enumerate(sections):
        advice, cards = section["result"].advice, section["recommendations"]
        if advice is None or not cards:
            continue
        first, others = cards[0], [card for card in cards[1:] if card.get("kind") != "nothing"]
        out.append(
            {
                "anchor": anchor, "variant": section["row"]["variant"],
                "action": _short(first), "verified": bool(first.get("verified")),
                "before": advice.get("before") or {}, "after": first.get("after") or {},
                "others": len(others),
            }
        )  # fmt: skip
    return out


def _short(card: Row) -> str:
    """An action in a table: its words, or how many steps it has."""
    words, steps = str(card.get("action", "")), len(card.get("edits") or [])
    if len(words) <= _N_WORDS:
        return words
    return f"{card.get('kind', 'action')} in {steps} steps"


def _heat_map(study: StudyResult, rows: Sequence[Row]) -> Row:
    """Outages against variants; where there are too many of either, the worst of them."""
    solved = [row for row in rows if row["n1_outages"] is not None]
    omitted_variants = max(0, len(solved) - _N_HEAT_VARIANTS)
    worst = sorted(solved[1:], key=lambda row: -int(row["n1_insecure"]))[: _N_HEAT_VARIANTS - 1]
    keep = {row["variant"] for row in (*solved[:1], *worst)}
    columns = [row["variant"] for row in solved if row["variant"] in keep]
    cells: dict[str, dict[str, Row]] = {}
    score: dict[str, float] = {}
    for result in map(study.__getitem__, columns):
        assert result.n1 is not None
        for k, name in enumerate(result.n1.contingencies.name):
            cell = _cell(result, k)
            cells.setdefault(name, {})[result.name] = cell
            score[name] = max(score.get(name, -1.0), cell["score"])
    order = sorted(score, key=lambda name: -score[name])
    return {
        "columns": columns,
        "rows": [(name, [cells[name].get(variant) for variant in columns])
                 for name in order[:_N_HEAT_OUTAGES]],
        "omitted": max(0, len(order) - _N_HEAT_OUTAGES),
        "omitted_variants": omitted_variants,
    }  # fmt: skip


def _cell(result: VariantResult, k: int) -> Row:
    n1 = result.n1
    assert n1 is not None
    grid = result.case.grid
    if n1.status[k] in (FlowStatus.DIVERGED, FlowStatus.BLACKOUT):
        said = "no power flow" if n1.status[k] == FlowStatus.DIVERGED else "blackout"
        return {"text": "\N{MULTIPLICATION X}", "css": "failed", "title": said, "score": 1e9}
    marks, title = "", []
    loading, branch = _caused(n1, k)
    if branch >= 0 and loading == loading:
        title.append(f"{loading:.1f} % on {grid.branch_label[branch]}")
    if n1.overloads[k]:
        title.append(f"{n1.overloads[k]} overloads caused")
    elif loading > 100.0:
        title.append("overloaded before the outage, and no worse after it")
        loading = math.nan
    if n1.voltage_violations[k]:
        marks += "v"
        title.append(f"{n1.voltage_violations[k]} voltages outside their limits")
    lost = float(n1.lost_load[k])
    if lost > SHED:
        marks += "\N{CIRCLED DIVISION SLASH}"
        title.append(f"{lost * grid.s_base_mva:.1f} MW cut off")
    unknown = "-" if branch < 0 else "="
    text = (unknown if loading != loading else f"{loading:.0f}") + (f" {marks}" if marks else "")
    score = (0.0 if loading != loading else loading) + 1000.0 * lost + 0.1 * len(marks)
    return {"text": text, "css": _heat_class(loading), "title": ", ".join(title), "score": score}


def _caused(n1: SecurityResult, k: int) -> tuple[float, int]:
    """Highest loading that an outage causes, %, and its branch; the highest at all if none."""
    mine = (n1.violation_of == k) & (n1.violation_branch >= 0)
    if not mine.any():
        return 100.0 * float(n1.loading[k]), int(n1.branch[k])
    worst = np.flatnonzero(mine)[int(np.argmax(n1.violation_value[mine]))]
    return 100.0 * float(n1.violation_value[worst]), int(n1.violation_branch[worst])


def _heat_class(percent: Any) -> str:
    """CSS class of a loading."""
    if percent is None or not math.isfinite(percent):
        return "unknown"
    return f"h{next(k for k, band in enumerate(LOADING) if percent <= band.upto)}"


def _number(value: Any, digits: int = 1) -> str:
    """A number for a reader; a dash for what does not exist."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "\N{EN DASH}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}"
