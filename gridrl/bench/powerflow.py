"""The suite ``powerflow``: our engine against other programs, one child process per grid.

A child is started with one thread for every library; a program that brings it down costs one
row: the child is started again without it. `gridrl.bench.child` is what runs there.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gridrl.bench.contender import checkout, peer_names
from gridrl.bench.runner import FIXED, OURS, Row
from gridrl.errors import CaseError

Report = Callable[[str], None]

TASKS = ("single", "n1", "sweep", "topology", "threads", "q_limits", "memory")
ONE_THREAD = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip
ENDED_EARLY = 1000  # no exit code of a process


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one child process is to do."""

    case: str
    tasks: tuple[str, ...]
    contenders: tuple[str, ...]
    states: dict[str, int]
    substations: int
    repeats: int
    patience_s: float
    seed: int
    without_voltage_control: bool = False  # whether the variant PQ is posed too
    barred: tuple[tuple[str, str], ...] = ()  # (contender, algorithm) that crashed


def suite() -> dict[str, Any]:
    """The settings in ``benchmarks/suites/powerflow.toml``."""
    with (checkout() / "suites" / "powerflow.toml").open("rb") as file:
        return tomllib.load(file)


def jobs(
    cases: Sequence[str] = (),
    tasks: Sequence[str] = (),
    contenders: Sequence[str] = (),
    *,
    quick: bool = False,
) -> list[Job]:
    """The jobs of the suite, all or some.

    Raises
    ------
    CaseError
        There is no such task or contender.
    """
    settings = suite()
    scale = settings["quick" if quick else "full"]
    known = [OURS, *peer_names()]
    for asked, offered, what in ((tasks, TASKS, "task"), (contenders, known, "contender")):
        unknown = sorted(set(asked) - set(offered))
        if unknown:
            raise CaseError(f"No {what} {', '.join(unknown)}. There are: {', '.join(offered)}.")
    chosen_tasks = tuple(tasks or scale["tasks"])
    peers = [c for c in (contenders or settings["contenders"]) if c != OURS]
    out = []
    for case in cases or scale["cases"]:
        states = {k: v for k, v in settings["states"].items() if isinstance(v, int)}
        states |= settings["states"].get(case, {})
        here = tuple(t for t in chosen_tasks if t != "memory" or _measures(case, tasks, settings))
        out.append(
            Job(
                case=case, tasks=here, contenders=(OURS, *peers), states=states,
                substations=settings["topology"]["substations"], repeats=scale["repeats"],
                patience_s=scale["patience_s"], seed=settings["seed"],
                without_voltage_control=case in settings["pq"]["cases"],
            )
        )  # fmt: skip
    return out


def _measures(case: str, asked: Sequence[str], settings: dict[str, Any]) -> bool:
    return "memory" in asked or case in settings["memory"]["cases"]


def run(
    todo: Sequence[Job],
    report: Report = lambda _: None,
    keep: Callable[[list[Row]], None] = lambda _: None,
) -> list[Row]:
    """All rows of some jobs; tasks that measure memory get a process each.

    ``keep`` gets the rows so far after every job, so that a run that is cut short loses one.
    """
    rows: list[Row] = []
    for job in todo:
        timed = tuple(t for t in job.tasks if t != "memory")
        if timed:
            rows += _run_job(_with(job, tasks=timed), report)
        if "memory" in job.tasks:
            for contender in ("gridrl", "lightsim2grid"):
                if contender in job.contenders:
                    alone = _with(job, tasks=("memory",), contenders=(contender,))
                    rows += _run_job(alone, report)
        keep(rows)
    return rows


def one_thread() -> dict[str, str]:
    """The environment of a process whose libraries take one thread each."""
    return {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}


def _with(job: Job, **changes: Any) -> Job:
    return Job(**{**asdict(job), **changes})


def _run_job(job: Job, report: Report) -> list[Row]:
    """Run children until all tasks are done; each crash bars what ran at that moment.

    What is done stays done. Whoever cannot be left out (ourselves, or the same one again) costs
    the rest of the task.
    """
    rows: list[Row] = []
    while job.tasks:
        found, last, code, said = _child(job, report)
        if code == 0:
            return rows + found
        task, contender, algorithm = last
        report(f"{job.case}: {' '.join(last)} brought its process down (code {code}); going on")
        at = job.tasks.index(task) if task in job.tasks else 0
        rows += [row for row in found if row["task"] in job.tasks[:at]]
        again = contender in ("", OURS) or job.tasks[at] == "memory"
        if again or (contender, algorithm) in job.barred:
            rows += [row for row in found if row["task"] == job.tasks[at]]
            rows.append(_crashed(job, job.tasks[at], contender, algorithm, f"code {code}: {said}"))
            job = _with(job, tasks=job.tasks[at + 1 :])
        else:
            job = _with(job, tasks=job.tasks[at:], barred=(*job.barred, (contender, algorithm)))
    return rows


def _crashed(job: Job, task: str, contender: str, algorithm: str, note: str) -> Row:
    empty: Row = dict.fromkeys(FIXED)
    named = {"case": job.case, "task": task, "contender": contender or OURS, "variant": ""}
    return empty | named | {"algorithm": algorithm, "status": "crashed", "note": note[-300:]}


def _child(job: Job, report: Report) -> tuple[list[Row], tuple[str, str, str], int, str]:
    """Rows, what began last (task, contender, algorithm), exit code and last words of a child."""
    rows: list[Row] = []
    last = ("", "", "")
    finished = False
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
        with subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-W", "ignore", "-m", "gridrl.bench.child", json.dumps(asdict(job))],
            stdout=subprocess.PIPE, stderr=words, env=one_thread(), text=True, encoding="utf-8",
        ) as child:  # fmt: skip
            assert child.stdout is not None
            for line in child.stdout:
                event = json.loads(line)
                finished = "done" in event
                if finished:
                    continue
                if "row" in event:
                    rows.append(event["row"])
                    continue
                last = (event["task"], event["contender"], event["algorithm"])
                report(" ".join(part for part in (job.case, *last, event["what"]) if part))
        words.seek(0)
        said = words.read()[-2000:].strip()
    # some programs end the process themselves, with code 0
    code = child.returncode if finished or child.returncode else ENDED_EARLY
    return rows, last, code, said
