"""A problem in the order of elimination, as kernels take it, and the way back to the case.

Shared by the solvers that use `gridrl.opf.kernels_model`; it solves nothing.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Bools, Floats, Ints
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus, PrimalDual
from gridrl.sparse.kernels_ldl import update_targets
from gridrl.sparse.kernels_order import minimum_degree

FAR = 1e30  # stands for no limit
SAME = 1e-8  # p.u.: voltage limits this close hold the voltage


def model_of(problem: OpfProblem) -> str:
    """Tag of the model: AC-S limits apparent power alone, AC-I some currents too."""
    return "AC-I" if np.isfinite(problem.i_max).any() else "AC-S"


@dataclass(frozen=True, eq=False, kw_only=True)
class Arranged:
    """A problem as the kernels take it: nodes in elimination order, costs scaled."""

    node: Ints  # [n_node] node of every row
    row: Ints  # [n_node] row of every node
    net: tuple[NDArray[Any], ...]
    symbolic: tuple[NDArray[Any], ...]
    block_of: Ints  # [n_line]
    active: Bools  # [n_inequality]
    held: Bools  # [n_node, 2] angle, voltage

    def by_row(self, state: PrimalDual, scale: float) -> tuple[Floats, ...]:
        """A state in elimination order, its multipliers for costs times ``scale``."""
        node, limit = self.node, self._limit(self.node)
        return (
            state.va[..., node],
            state.v[..., node],
            np.array(state.s),
            state.balance_price[..., node, :] * scale,
            state.slack[..., limit],
            state.limit_price[..., limit] * scale,
        )

    def by_node(self, point: tuple[Floats, ...], scale: float) -> PrimalDual:
        """The way back."""
        row, limit = self.row, self._limit(self.row)
        va, v, s, lam, t, y = point
        return PrimalDual(
            va=va[..., row],
            v=v[..., row],
            s=s,
            balance_price=lam[..., row, :] / scale,
            slack=t[..., limit],
            limit_price=y[..., limit] / scale,
        )

    def _limit(self, node: Ints) -> Ints:
        n = node.size
        return np.concatenate([node, n + node, np.arange(2 * n, self.active.size)])


@dataclass(frozen=True, eq=False, kw_only=True)
class _Order:
    node: Ints
    row: Ints
    symbolic: tuple[NDArray[Any], ...]
    block_of: Ints


@lru_cache(maxsize=8)
def _order(n: int, from_node: bytes, to_node: bytes) -> _Order:
    """Order and fill of a graph; kept, because scenarios of one grid share them."""
    left, right = np.frombuffer(from_node, np.int64), np.frombuffer(to_node, np.int64)
    node, row, u_ptr, u_idx, block_of = minimum_degree(n, left, right)
    return _Order(
        node=node,
        row=row,
        symbolic=(u_ptr, u_idx, *update_targets(u_ptr, u_idx)),
        block_of=block_of,
    )


def arrange(problem: OpfProblem, relax: float = 0.0) -> Arranged:
    """Order the nodes for little fill, and lay out everything in that order.

    Limits are widened by ``relax``: relative to them, but by ten times that, p.u., at most.
    """
    n = problem.n_node
    order = _order(n, problem.from_node.tobytes(), problem.to_node.tobytes())
    node, row = order.node, order.row
    start, stop = row[problem.from_node], row[problem.to_node]
    sources = problem.sources
    low = np.concatenate([problem.v_min[node], sources.lower, problem.angle_min])
    high = np.concatenate([problem.v_max[node], sources.upper, problem.angle_max])
    fixed_v = problem.v_max[node] - problem.v_min[node] <= SAME
    held = np.zeros((n, 2), dtype=bool)
    held[row[problem.reference], 0] = True
    held[:, 1] = fixed_v
    bounded_low, bounded_high = np.isfinite(low), np.isfinite(high)
    bounded_low[:n] &= ~fixed_v
    bounded_high[:n] &= ~fixed_v
    limit, rated = _flow_limits(problem, relax)
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
    low = np.where(np.isfinite(low), low - _room(low, relax), -FAR)
    high = np.where(np.isfinite(high), high + _room(high, relax), FAR)
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
        symbolic=order.symbolic,
        block_of=order.block_of,
        active=active,
        held=held,
    )


def _flow_limits(problem: OpfProblem, relax: float) -> tuple[Floats, Bools]:
    """Coefficients of the flow limits, [n_line, 6], and where there is one, [2, n_line].

    Of either end: what a squared flow is multiplied by, the constant, and that of squared voltage.
    """
    limit = np.zeros((problem.n_line, 6))
    rated = np.zeros((2, problem.n_line), dtype=bool)
    for side in range(2):
        power, current = problem.s_max[:, side], problem.i_max[:, side]
        by_power, by_current = np.isfinite(power), np.isfinite(current)
        rated[side] = by_power | by_current
        size = np.where(by_power, power, np.where(by_current, current, 1.0))
        limit[:, 3 * side] = np.where(rated[side], 1.0 / size, 0.0)
        square = (size + _room(size, relax)) ** 2 / size
        limit[:, 3 * side + 1] = np.where(by_power, square, 0.0)
        limit[:, 3 * side + 2] = np.where(by_current, square, 0.0)
    return limit, rated


def _room(limit: Floats, relax: float) -> Floats:
    return np.asarray(relax * np.clip(np.abs(limit), 1.0, 10.0))


def solution(
    problem: OpfProblem,
    arranged: Arranged,
    *,
    solver: str,
    status: OpfStatus,
    va: Floats,
    v: Floats,
    s: Floats,
    prices: Floats,
    iterations: int,
    start: str,
    build_s: float,
    solve_s: float,
    message: str,
    state: PrimalDual | None = None,
) -> OpfSolution:
    """What a solver found, in elimination order, as a solution of the case.

    ``prices`` are the multipliers of the balances, [n_node, 2], currency/h per p.u.
    """
    grid, row = problem.case.grid, arranged.row
    voltage = np.full((grid.n_substation, 2), np.nan + 0j)
    price = np.full((2, grid.n_substation, 2), np.nan)
    at = (problem.substation, problem.busbar)
    voltage[at] = (v * np.exp(1j * va))[row]
    for q in range(2):
        price[q][at] = prices[row, q]
    p, q_ = problem.unit_powers(v[row], s)
    if status is OpfStatus.OPTIMAL and problem.lost_demand.any():
        status = OpfStatus.ISLANDED
    return OpfSolution(
        case=problem.case,
        solver=solver,
        model=model_of(problem),
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
        state=state,
    )


def forget_orders() -> None:
    """Forget the orders of elimination that are kept, so that the next solve works its own out."""
    _order.cache_clear()
