"""DC optimal power flow by HiGHS: a linear program, or a convex quadratic one.

A dispatch by the linear model is cheaper than any that the grid can carry out where losses cost
money, and it says nothing of voltages: the judge shows what it would violate.
"""

import time

import numpy as np
import scipy.sparse

from gridrl.grid import Floats
from gridrl.opf.linear import (
    Linear,
    angle_rows,
    balance_rows,
    dc_solution,
    flow_rows,
    limited_angles,
    linear_model,
    pass_model,
    solver_of,
    status_of,
)
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution


def solve(problem: OpfProblem, *, time_limit_s: float = np.inf) -> OpfSolution:
    """Solve the linear model with HiGHS.

    Raises
    ------
    MissingExtra
        ``highspy`` is not installed.
    GridError
        A cost is a polynomial of third degree or higher, or concave.
    """
    began = time.perf_counter()
    highs = solver_of("highs_dc", time_limit_s)
    model = linear_model(problem)
    n, m = problem.n_node, problem.n_line
    width = model.cost.size
    limited = limited_angles(problem)
    matrix = scipy.sparse.vstack(
        [balance_rows(problem, model), flow_rows(problem, model),
         angle_rows(problem, limited, width)], format="csr",
    )  # fmt: skip
    fixed = np.concatenate([model.demand, np.zeros(m)])
    pass_model(
        highs, matrix,
        np.concatenate([fixed, problem.angle_min[limited]]),
        np.concatenate([fixed, problem.angle_max[limited]]),
        model.lower, model.upper, model.cost,
    )  # fmt: skip
    if model.curve.any():
        highs.passHessian(_hessian(model, n, width))
    built = time.perf_counter()
    highs.run()
    done = time.perf_counter()
    found, info = highs.getSolution(), highs.getInfo()
    status = status_of(highs)
    x, prices = np.full(width, np.nan), np.full(n, np.nan)
    if found.value_valid:
        x = np.array(found.col_value)
    if found.dual_valid:
        prices = np.array(found.row_dual)[:n]
    return dc_solution(
        problem, model, x=x, prices=prices, status=status, solver="highs_dc",
        iterations=max(info.simplex_iteration_count, info.ipm_iteration_count,
                       info.qp_iteration_count),
        build_s=built - began, solve_s=done - built,
        message=f"HiGHS: {highs.modelStatusToString(highs.getModelStatus())}",
    )  # fmt: skip


def _hessian(model: Linear, n: int, width: int) -> object:
    """Second derivatives of the cost, on the diagonal."""
    import highspy

    curved = np.flatnonzero(model.curve)
    counts: Floats = np.zeros(width + 1)
    counts[n + curved + 1] = 1
    hessian = highspy.HighsHessian()
    hessian.dim_ = width
    hessian.format_ = highspy.HessianFormat.kTriangular
    hessian.start_ = np.cumsum(counts).astype(np.int32)
    hessian.index_ = (n + curved).astype(np.int32)
    hessian.value_ = 2.0 * model.curve[curved]
    return hessian
