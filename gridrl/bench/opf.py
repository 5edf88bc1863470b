"""The suites ``opf``: solvers of optimal power flow side by side, each judged by `verify`.

Each contender has a process of its own, with one thread, which solves when it is its turn; so a
program that crashes, hangs or eats memory costs its own rows and nobody else's.
`gridrl.bench.opf_worker` is what runs there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gridrl.bench.opf_process import Worker
from gridrl.bench.opf_suite import PUBLISHED, Posed, Suite
from gridrl.bench.runner import Row
from gridrl.rows import plain

TOLERANCE_PU = 1e-6  # a solution may break limits by this
GAP_PCT = 0.01  # and cost this much more than the best one known
SOLVED = ("optimal", "islanded")
OTHER_MODELS = ("highs_dc", "pandapower_dc", "soc")  # not judged as AC dispatches
FIXED = (
    "case", "group", "contender", "model", "status", "iterations", "objective",
    "gap_best_known_pct", "gap_lower_bound_pct", "max_violation_pu", "build_s", "solve_s", "cpu_s",
    "start",
)  # fmt: skip


def run(
    plan: Suite,
    report: Callable[[float, str], None] = lambda *_: None,
    keep: Callable[[list[Row]], None] = lambda _: None,
    done: Sequence[Row] = (),
) -> list[Row]:
    """All rows of a suite.

    Parameters
    ----------
    report
        Told the share that is done and what is being done.
    keep
        Gets all rows so far after every case.
    done
        Rows of an earlier run; their cases are not run again.
    """
    rows = list(done)
    finished = {row["case"] for row in done}
    todo = [posed for posed in plan.cases if posed.name not in finished]
    workers = [Worker(name) for name in plan.contenders]
    try:
        for worker in workers:  # compiled kernels and imported packages, outside every timer
            report(0.0, f"{worker.contender} starts")
            if todo:
                smallest = min(todo, key=lambda posed: Path(posed.path).stat().st_size)
                worker.ask(smallest, plan.time_limit_s + 300.0, judge=False)
        for k, posed in enumerate(todo):

            def say(what: str, k: int = k, name: str = posed.name) -> None:
                report(k / len(todo), f"{name}: {what}")

            rows += _compared(posed, race(posed, workers, plan, say))
            keep(rows)
    finally:
        for worker in workers:
            worker.end()
    return rows


def race(
    posed: Posed, workers: Sequence[Worker], plan: Suite, say: Callable[[str], None]
) -> list[Row]:
    """One case: all contenders judged once, then timed in turns."""
    turns: dict[str, list[Row]] = {worker.contender: [] for worker in workers}
    for turn in range(plan.repeats + 1):  # the first is judged; it counts only where it stays alone
        for worker in workers:
            mine = turns[worker.contender]
            if turn and not _goes_on(mine, plan.patience_s):
                continue
            say(f"{worker.contender}, {'judged' if not turn else f'turn {turn}'}")
            mine.append(worker.ask(posed, plan.time_limit_s, judge=turn == 0))
    return [_row(posed, name, answers) for name, answers in turns.items()]


def _goes_on(turns: list[Row], patience_s: float) -> bool:
    """Whether a contender gets another turn: it claims an optimum, and there is time for one."""
    spent = sum(answer.get("cpu_s") or 0.0 for answer in turns)
    return turns[0]["status"] in SOLVED and spent * (1 + 1 / len(turns)) <= patience_s


def _row(posed: Posed, contender: str, answers: list[Row]) -> Row:
    """The first turn's findings and the others' times: one row without gaps."""
    timed = [a for a in answers[1:] if a.get("cpu_s") is not None] or answers[:1]

    def of(key: str) -> list[float]:
        return [float(a[key]) for a in timed if a.get(key) is not None] or [math.nan]

    quartiles = np.percentile(of("solve_s"), [25, 75])
    return {
        **dict.fromkeys(FIXED), "case": posed.name, "group": posed.group, "contender": contender,
        **answers[0],
        "build_s": float(np.median(of("build_s"))),
        "solve_s": float(np.median(of("solve_s"))),
        "solve_iqr_s": float(quartiles[1] - quartiles[0]),
        "cpu_s": min(of("cpu_s")),
        "cpu_again_s": min(of("cpu_again_s")),
        "turns": len(timed),
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the objectives of one case are held against, and who says so."""

    best: float
    best_source: str
    bound: float
    bound_source: str


def _compared(posed: Posed, rows: list[Row]) -> list[Row]:
    """The rows of one case with their gaps to the best objective and bound known."""
    best, best_source = posed.best_known, PUBLISHED
    if math.isnan(best):
        valid = [float(r["objective"]) for r in rows if _is_valid(r) and not r["lines_opened"]]
        best, best_source = min(valid, default=math.nan), "this run"
    bounds = [float(row["lower_bound"]) for row in rows if row.get("lower_bound") is not None]
    bound, bound_source = max(bounds, default=math.nan), "soc, this run"
    if math.isnan(bound):
        bound, bound_source = best * (1.0 - 0.01 * posed.soc_gap_pct), PUBLISHED
    known = _Known(best=best, best_source=best_source, bound=bound, bound_source=bound_source)
    return [_with_gaps(posed, row, known) for row in rows]


def _with_gaps(posed: Posed, row: Row, known: _Known) -> Row:
    """Gaps are of solutions to the problem that the other side is the optimum or bound of."""
    model, objective = str(row["model"]), row["objective"]
    is_ac = model.startswith("AC")
    gap = to_bound = math.nan
    if row["status"] in SOLVED and objective:
        if is_ac:
            gap = 100.0 * (objective / known.best - 1.0)
            to_bound = math.nan if row["lines_opened"] else 100.0 * (1.0 - known.bound / objective)
        elif model == "DC":
            some = math.isfinite(posed.dc_objective)  # the published model has no dispatch
            gap = 100.0 * (objective / posed.dc_objective - 1.0) if some else math.nan
        else:
            to_bound = 100.0 * (1.0 - row["lower_bound"] / known.best)
    other_model = model in ("DC", "SOC") or row["contender"] in OTHER_MODELS
    extra = {
        "gap_best_known_pct": gap,
        "gap_lower_bound_pct": to_bound,
        "success": _as_published(posed, row) if other_model else _is_valid(row) and gap <= GAP_PCT,
        "best_known": known.best,
        "best_known_source": known.best_source,
        "bound": known.bound,
        "bound_source": known.bound_source,
    }
    return {str(key): value for key, value in plain(row | extra).items()}


def _as_published(posed: Posed, row: Row) -> bool | None:
    """A DC model without any dispatch counts where the published one has none either."""
    hopeless = row["contender"] == "highs_dc" and row["status"] == "infeasible"
    return math.isinf(posed.dc_objective) if hopeless else None


def _is_valid(row: Row) -> bool:
    """Whether a row is a dispatch that meets the limits of the AC problem, as its solver claims."""
    violation = row.get("max_violation_pu")
    claimed = row["status"] in SOLVED and str(row["model"]).startswith("AC")
    return claimed and violation is not None and float(violation) <= TOLERANCE_PU
