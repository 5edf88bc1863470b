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
from gridrl.bench.runner import OURS, Row
from gridrl.errors import CaseError

Report = Callable[[str], None]

TASKS = ("single", "n1", "sweep", "topology", "threads", "q_limits", "memory")
ONE_THREAD = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip
MOST_CRASHES = 12


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


def run(todo: Sequence[Job], report: Report = lambda _: None) -> list[Row]:
    """All rows of some jobs; tasks that measure memory get a process each."""
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
    return rows


def _with(job: Job, **changes: Any) -> Job:
    return Job(**{**asdict(job), **changes})


def _run_job(job: Job, report: Report) -> list[Row]:
    """Run a child until it comes through; each crash bars what ran at that moment."""
    for _ in range(MOST_CRASHES):
        rows, last, code, said = _child(job, report)
        if code == 0:
            return rows
        if last is None or last in job.barred or last[0] == OURS:
            raise RuntimeError(f"the benchmark of {job.case} ended with code {code}: {said}")
        report(f"{job.case}: {' '.join(last)} brought its process down (code {code}); going on")
        job = _with(job, barred=(*job.barred, last))
    raise RuntimeError(f"the benchmark of {job.case} crashed {MOST_CRASHES} times")


def _child(job: Job, report: Report) -> tuple[list[Row], tuple[str, str] | None, int, str]:
    """Rows, what began last, exit code and last words of a child process."""
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
    rows: list[Row] = []
    last: tuple[str, str] | None = None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
        with subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-W", "ignore", "-m", "gridrl.bench.child", json.dumps(asdict(job))],
            stdout=subprocess.PIPE, stderr=words, env=environment, text=True, encoding="utf-8",
        ) as child:  # fmt: skip
            assert child.stdout is not None
            for line in child.stdout:
                event = json.loads(line)
                if "row" in event:
                    rows.append(event["row"])
                else:
                    last = (event["contender"], event["algorithm"])
                    report(
                        " ".join(p for p in (job.case, event["task"], *last, event["what"]) if p)
                    )
        words.seek(0)
        said = words.read()[-2000:].strip()
    return rows, last, child.returncode, said
