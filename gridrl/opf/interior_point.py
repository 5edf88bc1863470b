"""Our solver: a primal-dual interior point with 4x4 blocks on the graph of the grid.

The front of the kernels: arrays in elimination order, a start, the call, and the way back.
"""

import time
from dataclasses import dataclass

import numpy as np

from gridrl.grid import Floats
from gridrl.jit import announced
from gridrl.opf.arrange import FAR, Arranged, arrange, solution
from gridrl.opf.kernels_ipm import interior_point as run
from gridrl.opf.kernels_model import evaluate
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus
from gridrl.opf.start import Start, choose_start

RELAX = 1e-9  # limits are widened by this much, p.u., so that there is room between equal ones
PUSH = 1e-2  # the start keeps this distance from limits, or this share of the range
STRAIN = 5.0  # a phase shifter this many times over its rating is no place to begin
STEEPEST = 100.0  # the cost is scaled so that its slopes start below this


@dataclass(frozen=True, eq=False, kw_only=True)
class Options:
    """Settings of the interior point; the defaults suit PGLib."""

    tolerance: float = 1e-8  # scaled error, see W\u00e4chter and Biegler (2006), equation 5
    acceptable: float = 1e-6
    max_iterations: int = 500
    mu: float = 0.1
    line_search: bool = False  # from the first iteration on
    retry: bool = True  # begin elsewhere where the first attempt fails


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One way to go about a problem."""

    start: str
    line_search: bool
    max_iterations: int


def attempts(problem: OpfProblem, start: str, options: Options) -> list[Attempt]:
    """What is tried in turn: fast from where the user says, then with more care from elsewhere."""
    most = options.max_iterations
    first = start
    if start == "auto":
        first = "dc" if _strained(problem) else "flat"
    other = "dc" if first != "dc" else "flat"
    plan = [
        Attempt(start=first, line_search=options.line_search, max_iterations=min(most, 200)),
        Attempt(start=other, line_search=True, max_iterations=most),
        Attempt(start=first, line_search=True, max_iterations=most),
        Attempt(start=other, line_search=False, max_iterations=most),
    ]
    if start == "auto" and first == "dc":  # phase shifters: the line search is the faster one
        plan = [plan[2], plan[0], plan[1], plan[3]]
    return plan if options.retry else plan[:1]


def _strained(problem: OpfProblem) -> bool:
    """Whether equal angles would drive a phase shifter to many times its rating."""
    power = np.abs(problem.y[:, 0] + problem.y[:, 1])
    rating = np.minimum(problem.s_max[:, 0], problem.i_max[:, 0])
    shifts = problem.case.grid.shift_dc[problem.branch] != 0
    return bool((shifts & (power > STRAIN * rating)).any())


def solve(
    problem: OpfProblem,
    *,
    start: str = "auto",
    warm: OpfSolution | None = None,
    options: Options | None = None,
    log: Floats | None = None,
) -> OpfSolution:
    """Solve one problem.

    Parameters
    ----------
    problem
        What `gridrl.opf.problem.build_problem` makes of a case.
    start
        Where to begin: "flat", "dc" or "flow" (see `gridrl.opf.start`), or "auto": flat, unless
        phase shifters speak against it.
    warm
        A solution of the same grid to begin from instead.
    options
        Tolerances and limits.
    log
        float64[k, 8], filled with the first k iterations of the last attempt; see
        `gridrl.opf.kernels_ipm.interior_point`.
    """
    options = options or Options()
    began = time.perf_counter()
    with announced("optimal power flow"):
        arranged = arrange(problem, RELAX)
        built = time.perf_counter()
        plan = attempts(problem, start, options)
        iterations = 0
        codes = []
        for k, attempt in enumerate(plan):
            first = choose_start(problem, attempt.start, warm if k == 0 else None)
            point, scale = _interior(problem, arranged, first, options.mu)
            net = list(arranged.net)
            net[7] = net[7] * scale
            code, used, error, _ = run(
                tuple(net), arranged.symbolic, arranged.block_of, arranged.active, arranged.held,
                point,
                (options.tolerance, options.acceptable, float(attempt.max_iterations), options.mu),
                not attempt.line_search, np.zeros((0, 8)) if log is None else log,
            )  # fmt: skip
            iterations += used
            codes.append(OpfStatus(code))
            if codes[-1] is OpfStatus.OPTIMAL or codes[-2:] == [OpfStatus.INFEASIBLE] * 2:
                break
    status = codes[-1]
    if status is not OpfStatus.OPTIMAL and OpfStatus.INFEASIBLE in codes:
        status = OpfStatus.INFEASIBLE
    manner = "filter line search" if attempt.line_search else "predictor-corrector"
    return solution(
        problem, arranged, solver="interior_point", status=status, iterations=iterations,
        va=point[0], v=point[1], s=point[2], prices=point[3] / scale,
        start=first.name, build_s=built - began, solve_s=time.perf_counter() - built,
        message=f"{manner}, attempt {len(codes)} of {len(plan)}, scaled error {error:.1e}",
    )  # fmt: skip


def _interior(
    problem: OpfProblem, arranged: Arranged, start: Start, mu: float
) -> tuple[tuple[Floats, ...], float]:
    """The start moved inside the limits, with slacks and multipliers; and the cost's scale."""
    n, ns = problem.n_node, problem.sources.n
    node, net, active = arranged.node, arranged.net, arranged.active
    low, high = net[8], net[9]
    v = _inside(start.v[node], low[:n], high[:n])
    v = np.where(arranged.held[:, 1], problem.v_min[node], v)
    s = _inside(start.s, low[n : n + ns], high[n : n + ns])
    va = start.va[node].copy()
    slopes = np.zeros(ns)
    for k in range(net[7].shape[1] - 1, 0, -1):
        slopes = slopes * s + k * net[7][:, k]
    scale = min(1.0, STEEPEST / max(float(np.abs(slopes).max(initial=0.0)), 1e-12))
    h = inequalities(problem, arranged, va, v, s)
    t = np.where(active, np.maximum(-h, PUSH), 1.0)
    bound = 2 * n + 2 * ns
    t[:bound] = np.where(active[:bound], -h[:bound], 1.0)
    y = np.where(active, mu / t, 0.0)
    return (va, v, s, np.zeros((n, 2)), t, y), scale


def _inside(value: Floats, low: Floats, high: Floats) -> Floats:
    """Values moved off their limits."""
    room = np.where((low > -FAR) & (high < FAR), PUSH * (high - low), np.inf)
    least = low + np.minimum(PUSH * np.maximum(1.0, np.abs(low)), room)
    most = high - np.minimum(PUSH * np.maximum(1.0, np.abs(high)), room)
    value = np.where(low > -FAR, np.maximum(value, least), value)
    return np.where(high < FAR, np.minimum(value, most), value)


def inequalities(
    problem: OpfProblem, arranged: Arranged, va: Floats, v: Floats, s: Floats
) -> Floats:
    """All inequalities at a point in elimination order; see `gridrl.opf.kernels_model`."""
    h = np.zeros(arranged.active.size)
    evaluate(arranged.net, va, v, s, np.zeros((v.size, 2)), h, np.zeros((problem.n_line, 8)))
    return h
