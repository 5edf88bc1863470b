"""One contender of the suites ``opf`` in a process of its own; answers one solve a line.

Reads requests, one JSON text a line, from stdin until it ends, and answers each on stdout. What
programs print goes to stderr. Its parent is `gridrl.bench.opf`.
"""

import gc
import json
import os
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from gridrl.errors import GridrlError, MissingExtra
from gridrl.io import load
from gridrl.opf import OpfSolution, verify
from gridrl.opf.arrange import forget_orders
from gridrl.opf.problem import OpfProblem, build_problem
from gridrl.opf.registry import solve_problem
from gridrl.rows import plain

Answer = dict[str, Any]
WORTH_TWO_S = 2.0  # what takes longer is solved once in a turn
PACKAGES = {
    "ipopt": "ipyopt", "pypower": "PYPOWER", "pandapower": "pandapower",
    "pandapower_dc": "pandapower", "highs_dc": "highspy", "highs_switching": "highspy",
    "soc": "clarabel", "interior_point": "gridrl",
}  # fmt: skip


def main() -> None:
    """Answer until there are no more requests."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        problem: OpfProblem | None = None
        path = ""
        for line in sys.stdin:
            request = json.loads(line)
            try:
                if problem is None or path != request["path"]:
                    path, problem = request["path"], build_problem(load(request["path"]))
                answer = _turn(problem, request)
            except MissingExtra as error:
                answer = {"status": "missing", "message": str(error)}
            except GridrlError as error:
                answer = {"status": "refused", "message": str(error)}
            print(json.dumps(plain(answer)), file=out, flush=True)


def _turn(problem: OpfProblem, request: dict[str, Any]) -> Answer:
    """One solve from scratch: nothing that an earlier turn worked out is left. Then once more.

    The second one finds the order of elimination worked out, as it is where scenarios of one grid
    are solved one after the other.
    """
    solver, settings = request["contender"], request.get("settings", {})
    forget_orders()
    _reset_peak()
    solution, wall, cpu = _timed(problem, solver, settings)
    times = {"cpu_s": cpu, "wall_s": wall, "build_s": solution.build_s, "solve_s": solution.solve_s}
    if request["judge"]:
        peak = _peak_mib()  # before the judge takes memory of its own
        return {**_judged(problem, solution), **times, "rss_mib": peak, "version": _version(solver)}
    if cpu < WORTH_TWO_S:
        _, _, times["cpu_again_s"] = _timed(problem, solver, settings)
    return {"status": solution.status.name.lower(), **times}


def _timed(
    problem: OpfProblem, solver: str, settings: dict[str, Any]
) -> tuple[OpfSolution, float, float]:
    """A solution, and the wall and CPU time it took."""
    gc.collect()
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        solution = solve_problem(problem, solver, **settings)
        return solution, time.perf_counter() - wall, time.process_time() - cpu
    finally:
        gc.enable()


def _judged(problem: OpfProblem, solution: OpfSolution) -> Answer:
    """What the judge says of it, on the grid as posed and the switching state as found."""
    case = replace(problem.case, topology=solution.case.topology)
    verdict = verify(case, solution.p, solution.q, solution.v)
    before, after = problem.case.topology.closed[0], solution.case.topology.closed[0]
    return {
        "nodes": problem.n_node,
        "branches": problem.n_line,
        "digest": problem.case.digest,
        "model": solution.model,
        "status": solution.status.name.lower(),
        "proved": solution.proved,
        "iterations": solution.iterations if solution.iterations >= 0 else None,
        "objective": verdict.cost,
        "max_violation_pu": verdict.max_violation_pu,
        "violations_pu": {v.kind: v.amount_pu for v in verdict.violations},
        "worst": f"{verdict.worst.kind} {verdict.worst.element}".strip(),
        "lower_bound": solution.lower_bound,
        "start": solution.start,
        "fallback": solution.fallback,
        "lines_opened": int((before & ~after).sum()),
        "message": solution.message,
    }


def _version(solver: str) -> str:
    try:
        return metadata.version(PACKAGES[solver])
    except (KeyError, metadata.PackageNotFoundError):
        return ""


def _reset_peak() -> None:
    """Linux: let the peak of memory begin anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak_mib() -> float:
    """Peak of resident memory in MiB; NaN where the system does not say."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return float("nan")
    kib = [line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(kib[0]) / 1024 if kib else float("nan")


if __name__ == "__main__":
    main()
