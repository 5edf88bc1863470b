"""The linear (DC) model of a problem, as rows and columns for HiGHS.

Voltages are 1 p.u., angles small, nothing is lost: a branch carries ``b (va_from - va_to)`` with
``b = -Im(1 / z)``, whatever its tap or phase shift. This is the DC model of PGLib's table
(PowerModels' ``DCPPowerModel``), so that its column of DC objectives can be reproduced.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from gridrl.errors import GridError, MissingExtra
from gridrl.grid import Floats, Ints
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus

QUADRATIC = 3  # terms that a cost may have


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear:
    """Columns are angles, sources of active power, flows; rows balances, flows, angle limits."""

    source: Ints  # [n_p] the sources of active power
    b: Floats  # [n_line] p.u.
    rating: Floats  # [n_line] p.u., np.inf where unlimited
    lower: Floats  # [n_node + n_p + n_line]
    upper: Floats
    cost: Floats  # [n_node + n_p + n_line] currency/h per p.u.
    curve: Floats  # [n_p] currency/h per p.u.**2
    constant: float  # currency/h
    demand: Floats  # [n_node] p.u. what sources must bring besides flows


def linear_model(problem: OpfProblem) -> Linear:
    """The columns of a problem.

    Raises
    ------
    GridError
        A cost is a polynomial of third degree or higher, or concave.
    """
    n, m, sources = problem.n_node, problem.n_line, problem.sources
    source = np.flatnonzero(~sources.reactive)
    terms = np.zeros((source.size, max(QUADRATIC, sources.coefficient.shape[1])))
    terms[:, : sources.coefficient.shape[1]] = sources.coefficient[source]
    steep = terms[:, QUADRATIC:].any(axis=1) | (terms[:, 2] < 0)
    if steep.any():
        label = problem.case.grid.unit_label[sources.unit[source[steep][0]]]
        raise GridError(
            f"HiGHS takes linear and convex quadratic costs, and that of {label} is none. "
            "Use the solver 'interior_point'."
        )
    y_ff, y_ft, y_tf, y_tt = problem.y.T
    with np.errstate(all="ignore"):
        ratio = np.sqrt(np.abs(y_tt / y_ff))
    series = np.sqrt(y_ft * y_tf) * np.where(np.isfinite(ratio), ratio, 1.0)
    # a root has two signs: admittances of lines have no negative real part, or else are inductive
    side = (series * (y_ff * ratio**2 + y_tt).conj()).real
    series = np.where(side < 0, -series, series)
    rating = np.minimum(problem.s_max, problem.i_max).min(axis=1, initial=np.inf)
    free = np.full(n, np.inf)
    low, high = -free, free.copy()
    low[problem.reference] = high[problem.reference] = problem.reference_angle
    return Linear(
        source=source,
        b=-series.imag,
        rating=rating,
        lower=np.concatenate([low, sources.lower[source], -rating]),
        upper=np.concatenate([high, sources.upper[source], rating]),
        cost=np.concatenate([np.zeros(n), terms[:, 1], np.zeros(m)]),
        curve=terms[:, 2],
        constant=float(terms[:, 0].sum()),
        demand=problem.g_shunt - problem.p_fixed - problem.p_current,
    )


def balance_rows(problem: OpfProblem, model: Linear, extra: int = 0) -> Any:
    """[n_node, columns] sources less flows; ``extra`` empty columns follow."""
    n, m, n_p = problem.n_node, problem.n_line, model.source.size
    rows = np.concatenate([problem.sources.node[model.source], problem.from_node, problem.to_node])
    flow = n + n_p + np.arange(m)
    columns = np.concatenate([n + np.arange(n_p), flow, flow])
    values = np.concatenate([np.ones(n_p), -np.ones(m), np.ones(m)])
    return scipy.sparse.coo_array((values, (rows, columns)), shape=(n, n + n_p + m + extra))


def flow_rows(problem: OpfProblem, model: Linear, extra: int = 0) -> Any:
    """[n_line, columns] flow less what the angles make of it."""
    n, m, n_p = problem.n_node, problem.n_line, model.source.size
    k = np.arange(m)
    rows = np.concatenate([k, k, k])
    columns = np.concatenate([n + n_p + k, problem.from_node, problem.to_node])
    values = np.concatenate([np.ones(m), -model.b, model.b])
    return scipy.sparse.coo_array((values, (rows, columns)), shape=(m, n + n_p + m + extra))


def angle_rows(problem: OpfProblem, lines: Ints, columns: int) -> Any:
    """[len(lines), columns] angle differences of some branches."""
    k = np.arange(lines.size)
    rows = np.concatenate([k, k])
    at = np.concatenate([problem.from_node[lines], problem.to_node[lines]])
    values = np.concatenate([np.ones(lines.size), -np.ones(lines.size)])
    return scipy.sparse.coo_array((values, (rows, at)), shape=(lines.size, columns))


def limited_angles(problem: OpfProblem) -> Ints:
    return np.flatnonzero(np.isfinite(problem.angle_min) | np.isfinite(problem.angle_max))


def solver_of(name: str, time_limit_s: float) -> Any:
    """HiGHS, silent, with one thread.

    Raises
    ------
    MissingExtra
        ``highspy`` is not installed.
    """
    try:
        import highspy
    except ImportError as missing:
        raise MissingExtra(
            f"Solver '{name}' needs highspy: pip install 'gridrl[opf]'."
        ) from missing
    with _muted():
        make: Any = highspy.Highs
        highs = make()
    highs.silent()
    highs.setOptionValue("threads", 1)
    if np.isfinite(time_limit_s):
        highs.setOptionValue("time_limit", float(time_limit_s))
    return highs


@contextmanager
def _muted() -> Iterator[None]:
    """HiGHS greets on the process's standard output, whatever its options say."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # no standard output that could be spoilt
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def pass_model(
    highs: Any, matrix: Any, row_low: Floats, row_high: Floats, low: Floats, high: Floats,
    cost: Floats,
) -> Any:  # fmt: skip
    """Give HiGHS a linear program; returned for what more it shall have."""
    import highspy

    table = matrix.tocsr()
    program = highspy.HighsLp()
    program.num_row_, program.num_col_ = table.shape
    program.col_cost_, program.col_lower_, program.col_upper_ = cost, low, high
    program.row_lower_, program.row_upper_ = row_low, row_high
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = table.indptr
    program.a_matrix_.index_ = table.indices
    program.a_matrix_.value_ = table.data
    highs.passModel(program)
    return program


def status_of(highs: Any) -> OpfStatus:
    import highspy

    known = highspy.HighsModelStatus
    return {
        known.kOptimal: OpfStatus.OPTIMAL,
        known.kInfeasible: OpfStatus.INFEASIBLE,
        known.kTimeLimit: OpfStatus.TIME_LIMIT,
        known.kIterationLimit: OpfStatus.ITERATION_LIMIT,
    }.get(highs.getModelStatus(), OpfStatus.FAILED)


def dc_solution(
    problem: OpfProblem, model: Linear, *, x: Floats, prices: Floats, status: OpfStatus,
    solver: str, iterations: int, build_s: float, solve_s: float, message: str,
) -> OpfSolution:  # fmt: skip
    """A point of the linear program as a solution: voltages of 1 p.u., no reactive power chosen."""
    n, grid = problem.n_node, problem.case.grid
    values = np.zeros(problem.sources.n)
    values[model.source] = x[n : n + model.source.size]
    p, q = problem.unit_powers(np.ones(n), values)
    at = (problem.substation, problem.busbar)
    voltage = np.full((grid.n_substation, 2), np.nan + 0j)
    voltage[at] = np.exp(1j * x[:n])
    price = np.full((grid.n_substation, 2), np.nan)
    price[at] = prices
    if status is OpfStatus.OPTIMAL and problem.lost_demand.any():
        status = OpfStatus.ISLANDED
    return OpfSolution(
        case=problem.case, solver=solver, model="DC", status=status, p=p, q=q, v=voltage,
        price_p=price, price_q=np.full_like(price, np.nan), iterations=iterations,
        build_s=build_s, solve_s=solve_s, message=message,
    )  # fmt: skip
