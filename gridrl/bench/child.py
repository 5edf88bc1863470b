"""Runs one job of the suite ``powerflow`` and prints rows and progress, one JSON text a line.

What other programs print goes to stderr: stdout belongs to the parent process.
"""

import json
import math
import os
import resource
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np

from gridrl.bench import figures
from gridrl.bench.contender import Contender, load_peer
from gridrl.bench.ours import Gridrl
from gridrl.bench.powerflow import Job
from gridrl.bench.problem import (
    Problem,
    n1_problem,
    pq_problem,
    sweep_problem,
    topology_problem,
)
from gridrl.bench.runner import OURS, Row, race
from gridrl.case import Case
from gridrl.io import load

PQ_ONLY = "power_grid_model"  # knows no voltage control


def main() -> None:
    """Run the job that the first argument describes."""
    job = Job(**json.loads(sys.argv[1]))
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        for row in _rows(job, out):
            print(json.dumps({"row": _plain(row)}), file=out, flush=True)
        print(json.dumps({"done": True}), file=out, flush=True)


def _rows(job: Job, out: TextIO) -> Iterator[Row]:
    case = load(job.case)
    for task in job.tasks:

        def say(contender: str, algorithm: str, what: str, task: str = task) -> None:
            event = {"task": task, "contender": contender, "algorithm": algorithm, "what": what}
            print(json.dumps(event), file=out, flush=True)

        say("", "", "is posed")
        # each task draws from its own generator: a task alone gets the same problem
        rng = np.random.default_rng([job.seed, *task.encode()])
        if task == "memory":
            say(job.contenders[0], "", "runs alone")
            yield figures.memory(
                job.case, case, _contender(job.contenders[0]), resource.RUSAGE_SELF
            )
            continue
        if task in ("threads", "q_limits"):
            problem = _problem(job, "n1", case, np.random.default_rng([job.seed, *b"n1"]))
            say(OURS, "", "runs")
            yield from (figures.threads if task == "threads" else figures.q_limits)(
                problem, repeats=job.repeats
            )
            continue
        barred = frozenset((c, a) for c, a in job.barred)
        for problem, names in _posed(job, _problem(job, task, case, rng)):
            yield from race(
                problem, [_contender(name) for name in names], repeats=job.repeats,
                patience_s=job.patience_s, say=say, barred=barred,
            )  # fmt: skip


def _contender(name: str) -> Contender:
    return Gridrl() if name == OURS else load_peer(name)


def _problem(job: Job, task: str, case: Case, rng: np.random.Generator) -> Problem:
    states = job.states
    if task == "n1":
        return n1_problem(job.case, case, rng, states["outages"])
    if task == "topology":
        return topology_problem(job.case, case, rng, states["topology"], job.substations)
    return sweep_problem(job.case, task, case, rng, states[task])


def _posed(job: Job, problem: Problem) -> Iterator[tuple[Problem, tuple[str, ...]]]:
    """The problem in all its variants, each with the contenders that it is for."""
    yield problem, job.contenders
    if problem.task == "n1":
        # How long to try a state that has no power flow is a matter of taste, and can be most
        # of the time.
        solvable = figures.solvable(problem)
        if 0 < solvable.states < problem.states:
            yield solvable, tuple(c for c in job.contenders if c != PQ_ONLY)
    if (
        job.without_voltage_control
        and PQ_ONLY in job.contenders
        and problem.task in ("n1", "sweep")
    ):
        yield pq_problem(problem), (OURS, PQ_ONLY)


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


if __name__ == "__main__":
    main()
