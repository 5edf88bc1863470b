"""Our solver: a primal-dual interior point with 4x4 blocks on the graph of the grid.

The front of the kernels: arrays in elimination order, a start, the call, and the way back.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Bools, Floats, Ints
from gridrl.jit import announced
from gridrl.opf.kernels_ipm import interior_point as run
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus
from gridrl.opf.start import Start, choose_start
from gridrl.sparse.kernels_ldl import update_targets
from gridrl.sparse.pattern import analyse

MODEL = "AC-S"
FAR = 1e30  # stands for no limit
RELAX = 1e-8  # limits are widened by this much, p.u., so that there is room between equal ones
PUSH = 1e-2  # the start keeps this distance from limits, or this share of the range
STRAIN = 100.0  # a branch this many times over its rating is no place to begin
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Arranged:
    """A problem as the kernels take it: nodes in elimination order, costs scaled."""

    node: Ints  # [n_node] node of every row
    row: Ints  # [n_node] row of every node
    net: tuple[NDArray[np.float64] | NDArray[np.int64], ...]
    symbolic: tuple[NDArray[np.int64] | NDArray[np.int32], ...]
    block_of: Ints  # [n_line]
    active: Bools  # [n_inequality]
    held: Bools  # [n_node, 2] angle, voltage


def arrange(problem: OpfProblem) -> Arranged:
    """Order the nodes for little fill, and lay out everything in that order."""
    n, m = problem.n_node, problem.n_line
    pattern = analyse(n, problem.from_node, problem.to_node)
    node, row = pattern.node, pattern.row
    start, stop = row[problem.from_node], row[problem.to_node]
    u_ptr, u_idx = pattern.u_ptr, pattern.u_idx
    column = np.repeat(np.arange(n), np.diff(u_ptr))
    wanted = np.minimum(start, stop) * n + np.maximum(start, stop)
    block_of = np.searchsorted(column * n + u_idx, wanted).astype(np.int64)
    sources = problem.sources
    low = np.concatenate([problem.v_min[node], sources.lower, problem.angle_min])
    high = np.concatenate([problem.v_max[node], sources.upper, problem.angle_max])
    fixed_v = problem.v_max[node] - problem.v_min[node] <= 2 * RELAX
    held = np.zeros((n, 2), dtype=bool)
    held[row[problem.reference], 0] = True
    held[:, 1] = fixed_v
    bounded_low, bounded_high = np.isfinite(low), np.isfinite(high)
    bounded_low[:n] &= ~fixed_v
    bounded_high[:n] &= ~fixed_v
    limit = np.zeros((m, 6))
    rated = np.zeros((2, m), dtype=bool)
    for side in range(2):
        power, current = problem.s_max[:, side], problem.i_max[:, side]
        by_power, by_current = np.isfinite(power), np.isfinite(current)
        rated[side] = by_power | by_current
        size = np.where(by_power, power, np.where(by_current, current, 1.0))
        limit[:, 3 * side] = np.where(rated[side], 1.0 / size, 0.0)
        limit[:, 3 * side + 1] = np.where(by_power, size * (1 + 2 * RELAX), 0.0)
        limit[:, 3 * side + 2] = np.where(by_current, size * (1 + 2 * RELAX), 0.0)
    ns = sources.n
    active = np.concatenate(
        [
            bounded_low[:n],
            bounded_high[:n],
            bounded_low[n : n + ns],
            bounded_high[n : n + ns],
            bounded_low[n + ns :],
            bounded_high[n + ns :],
            *rated,
        ]
    )
    low = np.where(np.isfinite(low), low - RELAX * np.maximum(1.0, np.abs(low)), -FAR)
    high = np.where(np.isfinite(high), high + RELAX * np.maximum(1.0, np.abs(high)), FAR)
    columns = (
        problem.g_shunt,
        problem.b_shunt,
        problem.p_fixed,
        problem.q_fixed,
        problem.p_current,
        problem.q_current,
    )
    y = problem.y
    net = (
        start,
        stop,
        np.ascontiguousarray(
            np.stack([part for k in range(4) for part in (y[:, k].real, y[:, k].imag)], axis=1)
        ),
        limit,
        np.ascontiguousarray(np.stack(columns, axis=1)[node]),
        row[sources.node],
        sources.reactive.astype(np.int64),
        np.ascontiguousarray(sources.coefficient),
        low,
        high,
    )
    return Arranged(
        node=node,
        row=row,
        net=net,
        symbolic=(u_ptr, u_idx, *update_targets(u_ptr, u_idx)),
        block_of=block_of,
        active=active,
        held=held,
    )


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
    """Whether equal angles would drive a branch to many times its rating: phase shifters do."""
    v = np.ones(problem.n_node)
    power = np.abs(problem.y[:, 0] * v[problem.from_node] + problem.y[:, 1] * v[problem.to_node])
    rating = np.minimum(problem.s_max[:, 0], problem.i_max[:, 0])
    return bool((power > STRAIN * rating).any())


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
        arranged = arrange(problem)
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
                point, options.tolerance, options.acceptable, attempt.max_iterations, options.mu,
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
    return _solution(
        problem, arranged, point, scale, status, iterations,
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
    from gridrl.opf.kernels_model import evaluate

    h = np.zeros(arranged.active.size)
    evaluate(arranged.net, va, v, s, np.zeros((v.size, 2)), h, np.zeros((problem.n_line, 8)))
    return h


def _solution(
    problem: OpfProblem,
    arranged: Arranged,
    point: tuple[Floats, ...],
    scale: float,
    status: OpfStatus,
    iterations: int,
    *,
    start: str,
    build_s: float,
    solve_s: float,
    message: str,
) -> OpfSolution:
    va, v, s, lam, _t, _y = point
    grid, row = problem.case.grid, arranged.row
    voltage = np.full((grid.n_substation, 2), np.nan + 0j)
    price = np.full((2, grid.n_substation, 2), np.nan)
    at = (problem.substation, problem.busbar)
    voltage[at] = (v * np.exp(1j * va))[row]
    for q in range(2):
        price[q][at] = lam[row, q] / scale
    p, q_ = problem.unit_powers(v[row], s)
    if status is OpfStatus.OPTIMAL and problem.lost_demand.any():
        status = OpfStatus.ISLANDED
    return OpfSolution(
        case=problem.case,
        solver="interior_point",
        model=MODEL,
        status=status,
        p=p,
        q=q_,
        v=voltage,
        price_p=price[0],
        price_q=price[1],
        iterations=iterations,
        start=start,
        build_s=build_s,
        solve_s=solve_s,
        message=message,
    )
