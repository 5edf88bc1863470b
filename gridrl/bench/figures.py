"""Figures of our engine beside the race: threads, reactive limits, memory."""

import resource
import time
from dataclasses import replace

import numpy as np

from gridrl.bench.contender import Contender
from gridrl.bench.ours import Gridrl, contingencies_of
from gridrl.bench.problem import Problem, n1_problem
from gridrl.bench.runner import Row
from gridrl.case import Case
from gridrl.io import load
from gridrl.powerflow.options import FlowOptions
from gridrl.security.result import SecurityOptions, SecurityResult
from gridrl.security.sweep import security

SLICE_S = 0.2  # wall time that one measurement of threads should last at least


def solvable(problem: Problem) -> Problem:
    """The outages of a problem that have a power flow."""
    found = Gridrl().prepare(problem, "newton lanes")
    found.run()
    assert found.voltages is not None
    solved = np.isfinite(found.voltages()).any(axis=1)
    return replace(problem, outage=problem.outage[solved], variant="with a power flow")


def threads(problem: Problem, *, repeats: int, counts: tuple[int, ...] = (1, 2)) -> list[Row]:
    """Wall time of N-1 with some threads; the ratio is to one thread."""
    rows = []
    problem = solvable(problem)
    for algorithm in ("nearby", "newton lanes"):
        runs = [Gridrl(threads=n).prepare(problem, algorithm).run for n in counts]
        best = [(np.inf, np.inf)] * len(runs)
        for run in runs:
            run()
        began = time.perf_counter()
        runs[0]()
        times = max(1, int(SLICE_S / (time.perf_counter() - began)))
        for _ in range(repeats):
            for k, run in enumerate(runs):
                wall, cpu = time.perf_counter(), time.process_time()
                for _ in range(times):
                    run()
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                best[k] = min(best[k], (wall / times, cpu / times))
        for n, (wall, cpu) in zip(counts, best, strict=True):
            row = _row(problem, "threads", f"{algorithm}, {n} thread{'s' if n > 1 else ''}", cpu)
            row |= {"threads": n, "wall_us": 1e6 * wall / problem.states}
            row |= {"ratio": best[0][0] / wall, "ratio_to": "wall time of one thread"}
            rows.append(row)
    return rows


def q_limits(problem: Problem, *, repeats: int) -> list[Row]:
    """CPU time of the security sweep without and with reactive limits; the ratio is to without."""
    outages = contingencies_of(problem)
    names = ("security", "security, Q limits on")
    best = [np.inf, np.inf]
    results: list[SecurityResult] = []
    for turn in range(min(repeats, 3) + 1):
        results = []
        for k, on in enumerate((False, True)):
            settings = FlowOptions(tolerance=problem.tolerance, enforce_q_limits=on)
            cpu = time.process_time()
            results.append(
                security(
                    problem.case, contingencies=outages, options=SecurityOptions(flow=settings)
                )
            )
            if turn:  # the first compiles
                best[k] = min(best[k], time.process_time() - cpu)
    rows = []
    for name, cpu, result in zip(names, best, results, strict=True):
        row = _row(problem, "q_limits", name, cpu)
        row |= {"ratio": best[0] / cpu, "ratio_to": "without Q limits"}
        row |= {"solved": int((result.iterations >= 0).sum())}
        if not result.base.solved()[0]:
            row |= {"cpu_s": None, "per_state_us": None, "ratio": None, "status": "diverged"}
            row |= {"note": "the case itself has no power flow within these limits"}
        rows.append(row)
    return rows


def memory(name: str, case: Case, contender: Contender, who: int) -> Row:
    """Peak memory and CPU time of a full N-1; call in a process that does nothing else.

    A peer keeps the voltages of all states, our sweep keeps what it found.
    """
    rng = np.random.default_rng(0)
    ours = isinstance(contender, Gridrl)
    algorithm = "security" if ours else contender.algorithms(n1_problem(name, case, rng, 1))[0].name
    contender.prepare(n1_problem("case14", load("case14"), rng), algorithm).run()  # compiles
    problem = n1_problem(name, case, rng)
    prepared = contender.prepare(problem, algorithm)
    before = resource.getrusage(who).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    prepared.run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    row = _row(problem, "memory", algorithm, cpu)
    return row | {
        "contender": contender.name,
        "version": contender.version(),
        "wall_us": 1e6 * wall / problem.states,
        "peak_mib": resource.getrusage(who).ru_maxrss / 1024,
        "before_mib": before / 1024,
        "note": "all outages at once, fresh process, one run; peak of the whole process",
    }


def _row(problem: Problem, task: str, algorithm: str, cpu_s: float) -> Row:
    ours = Gridrl()
    return {
        "case": problem.grid_name,
        "task": task,
        "contender": ours.name,
        "algorithm": algorithm,
        "cpu_s": cpu_s,
        "per_state_us": 1e6 * cpu_s / problem.states,
        "ratio": None,
        "equal": None,
        "max_dv_pu": None,
        "variant": problem.variant,
        "states": problem.states,
        "threads": 1,
        "status": "ok",
        "version": ours.version(),
        "grid_digest": problem.case.digest,
    }
