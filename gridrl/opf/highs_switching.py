"""DC optimal transmission switching: HiGHS opens lines by the linear model, AC has the last word.

The mixed-integer program of E. B. Fisher, R. P. O'Neill and M. C. Ferris, Optimal transmission
switching, IEEE Trans. Power Systems 23(3), 2008, with big constants. Its cost is that of the linear
model and worth little; what is returned is the AC optimum on the switching state that it found.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse

from gridrl.case import Case
from gridrl.errors import GridError
from gridrl.grid import Floats, Ints
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
from gridrl.opf.registry import solve as solve_ac
from gridrl.opf.solution import OpfSolution, OpfStatus

PIECES = 8  # straight ones that stand for a quadratic cost: HiGHS has no mixed-integer quadratics
APART = np.pi  # rad: ends of an open line may differ by this at most
GAP = 1e-4
# Share of the cost that opening a branch must save: the linear model is full of ties, and what is
# opened for nothing costs AC its feasibility.
WORTH = 1e-5


@dataclass(frozen=True, eq=False, kw_only=True)
class _Pieces:
    """Quadratic costs cut into straight pieces, each a column."""

    source: Ints  # [n_curved] among the sources of active power
    of: Ints  # [n_piece] row of ``source``
    low: Floats  # [n_curved] p.u. power below the first piece
    span: Floats  # [n_piece] p.u.
    slope: Floats  # [n_piece] currency/h per p.u.


def solve(
    problem: OpfProblem, *, time_limit_s: float = 60.0, max_open: int | None = None
) -> OpfSolution:
    """Open branches by the linear model, then solve AC with what is left.

    Parameters
    ----------
    problem
        What `gridrl.opf.problem.build_problem` makes of a case.
    time_limit_s
        For the mixed-integer program; the best switching state found until then counts.
    max_open
        Open at most so many branches.

    Returns
    -------
    OpfSolution
        With the switching state in its ``case``. ``INFEASIBLE`` says that the linear model chose
        a switching state in which AC has no dispatch, or has none itself.

    Raises
    ------
    MissingExtra
        ``highspy`` is not installed.
    GridError
        A cost is a polynomial of third degree or higher, or concave, or quadratic without limits.
    """
    began = time.perf_counter()
    highs = solver_of("highs_switching", time_limit_s)
    model = linear_model(problem)
    closed = _pass(highs, problem, model, max_open)
    built = time.perf_counter()
    # All closed first: a start, and the measure of what opening a branch is worth.
    _bound_closed(highs, closed, 1.0)
    highs.run()
    status = status_of(highs)
    if status is OpfStatus.OPTIMAL:
        _open(highs, closed)
        status = status_of(highs)
    found, info = highs.getSolution(), highs.getInfo()
    said = f"HiGHS: {highs.modelStatusToString(highs.getModelStatus())}"
    if not found.value_valid or not np.isfinite(info.objective_function_value):
        n = problem.n_node
        nothing = np.full(n + model.source.size + problem.n_line, np.nan)
        return dc_solution(
            problem, model, x=nothing, prices=nothing[:n], status=status,
            solver="highs_switching", iterations=-1, build_s=built - began,
            solve_s=time.perf_counter() - built, message=f"{said}; no switching state found",
        )  # fmt: skip
    opened = problem.branch[np.array(found.col_value)[closed] < 0.5]
    ac = solve_ac(_without(problem.case, opened))
    end = {True: "", False: ", AC found no dispatch there"}[ac.ok]
    return replace(
        ac, solver="highs_switching", build_s=built - began, solve_s=time.perf_counter() - built,
        message=f"{said}, gap {info.mip_gap:.2%}, {opened.size} branches opened{end}; then "
        f"{ac.message}",
    )  # fmt: skip


def _bound_closed(highs: Any, closed: Ints, least: float) -> None:
    m = closed.size
    highs.changeColsBounds(m, closed.astype(np.int32), np.full(m, least), np.ones(m))


def _open(highs: Any, closed: Ints) -> None:
    """Let HiGHS choose, from all closed on."""
    m = closed.size
    start, cost = highs.getSolution(), highs.getInfo().objective_function_value
    _bound_closed(highs, closed, 0.0)
    reward = np.full(m, -WORTH * abs(cost))
    highs.changeColsCost(m, closed.astype(np.int32), reward)
    highs.setSolution(start)
    highs.run()


def _without(case: Case, branches: Ints) -> Case:
    closed = case.topology.closed.copy()
    closed[0, branches] = False
    return replace(case, topology=replace(case.topology, closed=closed))


def _pass(highs: Any, problem: OpfProblem, model: Linear, max_open: int | None) -> Ints:
    """Give HiGHS the program; returns the columns that are 1 where a branch is closed."""
    import highspy

    n, m = problem.n_node, problem.n_line
    pieces = _pieces(problem, model)
    closed = model.cost.size + np.arange(m)
    matrix, low, high = _rows(problem, model, pieces, max_open)
    cost = np.concatenate([model.cost, np.zeros(m), pieces.slope])
    cost[n + pieces.source] = 0.0  # the pieces have it
    pass_model(
        highs, matrix, low, high,
        np.concatenate([model.lower, np.zeros(m + pieces.of.size)]),
        np.concatenate([model.upper, np.ones(m), pieces.span]),
        cost,
    )  # fmt: skip
    kinds = np.full(m, highspy.HighsVarType.kInteger)
    highs.changeColsIntegrality(m, closed.astype(np.int32), kinds)
    highs.setOptionValue("mip_rel_gap", GAP)
    return closed


def _pieces(problem: OpfProblem, model: Linear) -> _Pieces:
    source = np.flatnonzero(model.curve)
    width = (problem.sources.upper - problem.sources.lower)[model.source[source]]
    if not np.isfinite(width).all():
        unit = problem.sources.unit[model.source[source[~np.isfinite(width)][0]]]
        raise GridError(
            f"{problem.case.grid.unit_label[unit]} has a quadratic cost and no limits, and cannot "
            "be cut into pieces. Give it p_min and p_max."
        )
    low = problem.sources.lower[model.source[source]]
    span = width / PIECES
    middle = low[:, None] + span[:, None] * (np.arange(PIECES) + 0.5)
    linear = model.cost[problem.n_node + source]
    return _Pieces(
        source=source, of=np.repeat(np.arange(source.size), PIECES), low=low,
        span=np.repeat(span, PIECES),
        slope=(linear[:, None] + 2.0 * model.curve[source][:, None] * middle).ravel(),
    )  # fmt: skip


def _rows(
    problem: OpfProblem, model: Linear, pieces: _Pieces, max_open: int | None
) -> tuple[Any, Floats, Floats]:
    """Rows over the columns of the linear model, then one for each branch, one for each piece."""
    m = problem.n_line
    extra = m + pieces.of.size
    every = np.arange(m)
    width = model.cost.size + extra
    closed = model.cost.size + every
    large = np.abs(model.b) * APART
    rating = np.minimum(model.rating, large)
    limited = limited_angles(problem)
    angle_low, angle_high = problem.angle_min[limited], problem.angle_max[limited]
    slack_low = np.where(np.isfinite(angle_low), APART + np.abs(angle_low), 0.0)
    slack_high = np.where(np.isfinite(angle_high), APART + np.abs(angle_high), 0.0)
    flow = flow_rows(problem, model, extra)
    carried = _entries(every, closed - m, np.ones(m), width)
    angle = angle_rows(problem, limited, width)
    no_end, none = np.full(m, np.inf), np.full(limited.size, np.inf)

    def open_by(lines: Ints, values: Floats) -> Any:
        return _entries(np.arange(lines.size), closed[lines], values, width)

    blocks = [
        (balance_rows(problem, model, extra), model.demand, model.demand),
        (flow + open_by(every, large), -no_end, large),
        (flow - open_by(every, large), -large, no_end),
        (carried - open_by(every, rating), -no_end, np.zeros(m)),
        (carried + open_by(every, rating), np.zeros(m), no_end),
        (angle + open_by(limited, slack_high), -none, angle_high + slack_high),
        (angle - open_by(limited, slack_low), angle_low - slack_low, none),
    ]
    if pieces.source.size:
        k = np.arange(pieces.source.size)
        own = _entries(k, problem.n_node + pieces.source, np.ones(k.size), width)
        columns = model.cost.size + m + np.arange(pieces.of.size)
        parts = _entries(pieces.of, columns, np.ones(columns.size), width, k.size)
        blocks.append((own - parts, pieces.low, pieces.low))
    if max_open is not None:
        count = _entries(np.zeros(m, dtype=np.int64), closed, np.ones(m), width, 1)
        blocks.append((count, np.array([float(m - max_open)]), np.array([np.inf])))
    return (
        scipy.sparse.vstack([block for block, _, _ in blocks], format="csr"),
        np.concatenate([low for _, low, _ in blocks]),
        np.concatenate([high for _, _, high in blocks]),
    )


def _entries(rows: Ints, columns: Ints, values: Floats, width: int, height: int = -1) -> Any:
    height = rows.size if height < 0 else height
    return scipy.sparse.coo_array((values, (rows, columns)), shape=(height, width))
