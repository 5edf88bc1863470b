"""Our solver from several starts: an optimum is a local one, and the best of several is kept.

The first start is that of a single solve. Then follow the other standard starts, then random ones:
dispatch and voltages anywhere within their limits, angles of a DC flow. What is best, the judge
says.
"""

import time
from dataclasses import replace

import numpy as np

from gridrl.errors import GridError
from gridrl.grid import Floats
from gridrl.opf.interior_point import Options
from gridrl.opf.interior_point import solve as solve_once
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, PrimalDual
from gridrl.opf.start import Start, choose_start
from gridrl.opf.verify import verify

VALID_PU = 1e-6  # limits may be missed by this much, p.u.
SAME = 1e-6  # costs this close (relative) are those of one optimum
FAR_PU = 1.0  # random powers without a limit are within this


def solve(
    problem: OpfProblem,
    *,
    start: str | Start = "auto",
    warm: OpfSolution | PrimalDual | None = None,
    options: Options | None = None,
    log: Floats | None = None,
    starts: int = 1,
    seed: int = 0,
) -> OpfSolution:
    """Solve one problem from one start, or from several.

    Parameters
    ----------
    problem, start, warm, options, log
        As for `gridrl.opf.interior_point.solve`; ``start`` and ``warm`` are those of the first. A
        time limit is that of all starts together.
    starts
        How many to begin from. The cheapest solution that meets all limits is kept; its message
        says how many there were and what others cost.
    seed
        Of the random starts. The same seed gives the same result.

    Raises
    ------
    GridError
        Fewer than one start; else as `gridrl.opf.interior_point.solve`.
    """
    if starts < 1:
        raise GridError(f"{starts} starts are none. Give 1 or more.")
    options = options or Options()
    began = time.perf_counter()
    best = solve_once(problem, start=start, warm=warm, options=options, log=log)
    if starts == 1:
        return best
    cost = _cost(best)
    found = [cost]
    iterations = best.iterations
    for begin in _others(problem, best.start, starts - 1, np.random.default_rng(seed)):
        left = options.time_limit_s - (time.perf_counter() - began)
        if left <= 0.0:
            break
        other = solve_once(problem, start=begin, options=replace(options, time_limit_s=left))
        found.append(_cost(other))
        iterations += other.iterations
        if found[-1] < cost * (1.0 - SAME * np.sign(cost)) or (other.ok and not best.ok):
            best, cost = other, found[-1]
    return replace(
        best, iterations=iterations, solve_s=time.perf_counter() - began - best.build_s,
        message=f"{best.message}; {_summary(np.array(found))}",
    )  # fmt: skip


def _cost(solution: OpfSolution) -> float:
    """What the judge says that it costs; inf where it is no solution."""
    if not solution.ok:
        return np.inf
    verdict = verify(solution.case, solution.p, solution.q, solution.v)
    return verdict.cost if verdict.max_violation_pu <= VALID_PU else np.inf


def _summary(costs: Floats) -> str:
    good = np.sort(costs[np.isfinite(costs)])
    if not good.size:
        return f"none of {costs.size} starts led to an optimum"
    gaps = np.diff(good) > SAME * np.abs(good[:-1])
    kept = f"the best of {costs.size} starts ({good.size} optimal)"
    if not gaps.any():
        return f"{kept}, all at the same cost"
    return f"{kept}, {1 + int(gaps.sum())} optima between {good[0]:.8g} and {good[-1]:.8g} per hour"


def _others(
    problem: OpfProblem, first: str, count: int, rng: np.random.Generator
) -> list[str | Start]:
    """Standard starts that were not the first, then random ones."""
    standard: list[str | Start] = [name for name in ("dc", "flat", "flow") if name != first]
    drawn = [random_start(problem, rng) for _ in range(count - len(standard))]
    return [*standard, *drawn][:count]


def random_start(problem: OpfProblem, rng: np.random.Generator) -> Start:
    """Powers and voltages drawn within their limits, at DC angles."""
    base = choose_start(problem, "dc", None)
    low, high = problem.sources.lower, problem.sources.upper
    low = np.where(np.isfinite(low), low, np.minimum(-FAR_PU, high))
    high = np.where(np.isfinite(high), high, np.maximum(FAR_PU, low))
    v_max = np.where(np.isfinite(problem.v_max), problem.v_max, np.maximum(problem.v_min, 1.1))
    return Start(
        name="random",
        va=base.va,
        v=rng.uniform(problem.v_min, v_max),
        s=rng.uniform(low, high),
    )
