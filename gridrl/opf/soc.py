"""A lower bound on the cost of the AC problem: its second-order cone relaxation, by Clarabel.

What is reported does not rest on Clarabel's tolerance: any dual point gives a bound, once the
residual of its stationarity is charged with the worst that variables within their limits can make
of it. An infeasible relaxation is proved the same way, and proves the AC problem infeasible.
"""

import time
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import lsqr

from gridrl.errors import MissingExtra
from gridrl.grid import Floats
from gridrl.opf.cones import Cones, cone_model
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus

ROUNDING = 1e-10  # of the terms of a certificate, which a proof has to exceed


def solve(problem: OpfProblem, *, time_limit_s: float = np.inf) -> OpfSolution:
    """Solve the relaxation.

    Returns
    -------
    OpfSolution
        ``lower_bound`` is certified: no dispatch within the limits of the AC problem costs less,
        up to rounding. The dispatch itself is that of the relaxation, with angles fitted to it, and
        breaks limits of the AC problem, as the judge shows. ``INFEASIBLE`` is proved.

    Raises
    ------
    MissingExtra
        ``clarabel`` is not installed.
    GridError
        The grid has loads of constant current or costs of third degree.
    """
    try:
        import clarabel
    except ImportError as missing:
        raise MissingExtra("Solver 'soc' needs clarabel: pip install 'gridrl[opf]'.") from missing
    began = time.perf_counter()
    model = cone_model(problem)
    scale = 1.0 / max(float(np.abs(model.slope).max(initial=0.0)), 1.0)
    cones = [clarabel.ZeroConeT(model.n_equal), clarabel.NonnegativeConeT(model.n_less)]
    cones += [clarabel.SecondOrderConeT(int(size)) for size in model.cone]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    if np.isfinite(time_limit_s):
        settings.time_limit = float(time_limit_s)
    built = time.perf_counter()
    found = clarabel.DefaultSolver(
        scipy.sparse.diags(model.curve * scale, format="csc"), model.slope * scale,
        scipy.sparse.csc_matrix(model.matrix @ model.change), model.right, cones, settings,
    ).solve()  # fmt: skip
    done = time.perf_counter()
    # costs are those of sources, which the change of variables leaves alone
    x, z = model.change @ np.array(found.x), np.array(found.z)
    bound = certified_bound(model, x, z / scale)
    status = _status(clarabel, found.status)
    if status is OpfStatus.INFEASIBLE and not proves_infeasible(model, z):
        status = OpfStatus.FAILED
    return _solution(
        problem, model, x, status=status, iterations=int(found.iterations),
        bound=bound, build_s=built - began, solve_s=done - built,
        message=f"Clarabel: {found.status}",
    )  # fmt: skip


def _status(clarabel: Any, status: Any) -> OpfStatus:
    known = clarabel.SolverStatus
    for ours, theirs in (
        (OpfStatus.OPTIMAL, (known.Solved, known.AlmostSolved)),
        (OpfStatus.INFEASIBLE, (known.PrimalInfeasible, known.AlmostPrimalInfeasible)),
        (OpfStatus.TIME_LIMIT, (known.MaxTime,)),
        (OpfStatus.ITERATION_LIMIT, (known.MaxIterations,)),
    ):
        if status in theirs:
            return ours
    return OpfStatus.FAILED


def certified_bound(model: Cones, x: Floats, z: Floats) -> float:
    """Lower bound on the cost from any ``x`` and any multipliers ``z``; -inf where there is none.

    For every feasible point ``u``: the cost is at least ``-x P x / 2 - b z + r u`` with the
    residual ``r = P x + q + A' z``, and ``u`` is within its limits.
    """
    if not (np.isfinite(x).all() and np.isfinite(z).all()):
        return -np.inf
    z = _projected(model, z)
    residual = model.curve * x + model.slope + model.matrix.T @ z
    return float(
        model.constant - 0.5 * (x * model.curve * x).sum() - model.right @ z
        + _least(model, residual)
    )  # fmt: skip


def proves_infeasible(model: Cones, z: Floats) -> bool:
    """Whether multipliers show that no point meets all constraints (lemma of Farkas)."""
    if not np.isfinite(z).all():
        return False
    z = _projected(model, z)
    excess = -float(model.right @ z) + _least(model, model.matrix.T @ z)
    return excess > ROUNDING * float(np.abs(model.right) @ np.abs(z))


def _least(model: Cones, weight: Floats) -> float:
    """The least of ``weight u`` over all ``u`` within their limits."""
    used = weight != 0
    low, high = model.lower[used], model.upper[used]
    with np.errstate(invalid="ignore"):
        return float(np.minimum(weight[used] * low, weight[used] * high).sum())


def _projected(model: Cones, z: Floats) -> Floats:
    """The nearest multipliers in the dual cone: free, non-negative, second-order."""
    z = z.copy()
    less = slice(model.n_equal, model.n_equal + model.n_less)
    z[less] = np.maximum(z[less], 0.0)
    start = model.n_equal + model.n_less + np.concatenate([[0], np.cumsum(model.cone)])
    for size in np.unique(model.cone):
        head = start[:-1][model.cone == size]
        at = head[:, None] + np.arange(size)
        block = z[at]
        top, rest = block[:, 0], np.linalg.norm(block[:, 1:], axis=1)
        # a little more than the norm: the rounding of the norm must not break the certificate
        block[:, 0] = np.maximum(top, rest * (1.0 + 1e-15))
        z[at] = block
    return z


def _solution(
    problem: OpfProblem, model: Cones, x: Floats, *, status: OpfStatus, iterations: int,
    bound: float, build_s: float, solve_s: float, message: str,
) -> OpfSolution:  # fmt: skip
    """Dispatch and voltages of the relaxation; angles are those that fit all branches best."""
    n, pairs, grid = model.n_node, model.n_pair, problem.case.grid
    w, wr, wi = x[:n], x[n : n + pairs], x[n + pairs : n + 2 * pairs]
    v = np.sqrt(np.maximum(w, 0.0))
    p, q = problem.unit_powers(v, x[n + 2 * pairs :])
    angle = np.full(n, np.nan)
    if np.isfinite(x).all():
        angle = _angles(problem, np.arctan2(wi, wr)[model.pair] * model.sense)
    at = (problem.substation, problem.busbar)
    voltage = np.full((grid.n_substation, 2), np.nan + 0j)
    voltage[at] = v * np.exp(1j * angle)
    unknown = np.full((grid.n_substation, 2), np.nan)
    if status is OpfStatus.OPTIMAL and problem.lost_demand.any():
        status = OpfStatus.ISLANDED
    return OpfSolution(
        case=problem.case, solver="soc", model="SOC", status=status, p=p, q=q, v=voltage,
        price_p=unknown, price_q=unknown, iterations=iterations, lower_bound=bound,
        proved=status is OpfStatus.INFEASIBLE,
        build_s=build_s, solve_s=solve_s, message=message,
    )  # fmt: skip


def _angles(problem: OpfProblem, difference: Floats) -> Floats:
    """Angles whose differences are nearest to those of the branches, and the references'."""
    n, m, refs = problem.n_node, problem.n_line, problem.reference.size
    row = np.arange(m)
    rows = np.concatenate([row, row, m + np.arange(refs)])
    columns = np.concatenate([problem.from_node, problem.to_node, problem.reference])
    values = np.concatenate([np.ones(m), -np.ones(m), np.full(refs, 1e3)])
    matrix = scipy.sparse.csr_array((values, (rows, columns)), shape=(m + refs, n))
    return np.asarray(lsqr(matrix, np.concatenate([difference, 1e3 * problem.reference_angle]))[0])
