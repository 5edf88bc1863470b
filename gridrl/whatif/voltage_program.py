"""The mixed-integer program that proposes set points, taps, shunt steps and powers for voltages.

Voltages, loadings and reactive powers near their limits, in the intact state and in the states
after some contingencies, are rows of first derivatives (`gridrl.powerflow.linear`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from gridrl.grid import Floats, Ints
from gridrl.powerflow.linear import Linear
from gridrl.powerflow.result import FlowResult
from gridrl.whatif.dispatch_program import reference_room
from gridrl.whatif.levers import Levers, rounded
from gridrl.whatif.voltages import INTACT, limits_of_nodes

NEAR_VOLTAGE, NEAR_LOADING = 0.02, 0.9  # from where a voltage (p.u.) or loading is a constraint
MOST_VOLTAGES, MOST_LOADINGS = 40, 20  # constraints of each state
MOST_INTACT = 300  # voltages of the intact state: what is not watched there may be moved back
MOST_CONTROLS = 60  # set points of one program, and as many of everything else
AIM_VOLTAGE, AIM_LOADING = 5e-4, 0.997  # what the program keeps free for what is not linear
VOLTAGE_PRICE, LOADING_PRICE = 1e5, 1e4  # of what is beyond a limit, per p.u., against moves
SET_POINT_REACH, TAP_REACH = 0.05, 5.0  # p.u. and positions that one program may move
GAP, NODES = 1e-3, 500  # where the search for whole steps ends
TOGETHER = 20_000  # nodes of the states that are linearised at once

Rows = tuple[Floats, Floats, Floats]  # matrix [m, n_control], left [m], price [m]


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """Rows ``matrix @ (change - now) <= left`` at a price per unit beyond; inf: not beyond."""

    matrix: Floats  # [m, n_control]
    left: Floats  # [m]
    price: Floats  # [m]
    room: tuple[float, float]  # p.u. that the sum of all powers may change
    chosen: Ints  # controls that may move: the most effective ones
    contingency: Ints  # those whose states are in the rows


def program_of(levers: Levers, now: Floats, result: FlowResult, contingency: Ints) -> Program:
    """Around a change ``now`` of the controls.

    Parameters
    ----------
    result
        The states at that change: the intact one, then one for each contingency.
    """
    parts = list(_rows(levers, result))
    matrix, left, price = (np.concatenate([part[k] for part in parts]) for k in range(3))
    powers = levers.controls.unit.size
    return Program(
        matrix=matrix, left=left, price=price, contingency=contingency,
        chosen=_most_effective(levers, now, matrix, left),
        room=reference_room(levers.case, result.unit_power(0).real) if powers else (0.0, 0.0),
    )  # fmt: skip


def _rows(levers: Levers, result: FlowResult) -> Iterator[Rows]:
    """The rows of all states that have a solution, the intact state apart: it has more of them."""
    solved = np.flatnonzero(result.solved())
    low, high = limits_of_nodes(result)
    size = np.abs(result.v)
    beyond = np.where(np.isfinite(size), np.maximum(low - size, size - high), -np.inf)
    loading = np.nan_to_num(result.loadings(), nan=0.0)
    together = max(1, TOGETHER // size.shape[1])
    others = solved[solved > 0]
    chunks = [others[k : k + together] for k in range(0, others.size, together)]
    for states in ([np.zeros(1, np.int64)] if solved.size and solved[0] == 0 else []) + chunks:
        intact = states[0] == 0
        linear = Linear(result, states, levers.controls)
        at, node = _highest(beyond[states], -NEAR_VOLTAGE, MOST_INTACT if intact else MOST_VOLTAGES)
        limits = low[node], high[node], size[states[at], node]
        price = VOLTAGE_PRICE * (INTACT if intact else 1.0)
        yield _voltage_rows(linear, at * linear.n_node + node, *limits, price)
        yield _loading_rows(linear, *_highest(loading[states], NEAR_LOADING, MOST_LOADINGS))
        if intact:
            yield _reactive_rows(linear)


def _voltage_rows(
    linear: Linear, node: Ints, low: Floats, high: Floats, v: Floats, price: float
) -> Rows:
    """Voltages near their limits or beyond them."""
    matrix = linear.rows(linear.voltages(node))
    aim = np.minimum(AIM_VOLTAGE, np.nan_to_num(high - low, posinf=1.0) / 4.0)
    over, under = np.isfinite(high), low > 0.0
    return (
        np.concatenate([matrix[over], -matrix[under]]),
        np.concatenate([(high - aim - v)[over], (v - low - aim)[under]]),
        np.full(int(over.sum() + under.sum()), price),
    )


def _loading_rows(linear: Linear, state: Ints, branch: Ints) -> Rows:
    """Loadings near the rating: what is beyond it already must not grow."""
    watched = linear.loadings(state, branch)
    left = np.maximum(AIM_LOADING - watched.value, 0.0)
    return linear.rows(watched), left, np.full(branch.size, LOADING_PRICE)


def _reactive_rows(linear: Linear) -> Rows:
    """Reactive power of machines that hold a voltage: within its range, or not further out."""
    node = linear.holding_nodes(0)
    watched = linear.reactive(node)
    low, high = linear.reactive_range(node)
    over, under = np.isfinite(high), np.isfinite(low)
    matrix, q = linear.rows(watched), watched.value
    left = np.concatenate([(high - q)[over], (q - low)[under]])
    return (
        np.concatenate([matrix[over], -matrix[under]]),
        np.maximum(left, 0.0),
        np.full(left.size, np.inf),
    )


def _highest(value: Floats, least: float, most: int) -> tuple[Ints, Ints]:
    """Rows and columns of the highest values above ``least``, at most so many of each row."""
    most = min(most, value.shape[1])
    order = np.sort(np.argsort(-value, axis=1, kind="stable")[:, :most], axis=1)
    row, place = np.nonzero(np.take_along_axis(value, order, axis=1) > least)
    return row, order[row, place]


def _most_effective(levers: Levers, now: Floats, matrix: Floats, left: Floats) -> Ints:
    """The controls that can do most about what is beyond a limit, and those moved already.

    Few are asked for then, and the program is small on a grid with a thousand of them.
    """
    first = len(levers.controls.held)
    room = np.maximum(levers.high, -levers.low)
    room[:first] = np.minimum(room[:first], SET_POINT_REACH)
    power = room[levers.controls.cuts[2] :]
    power[:] = np.minimum(power, np.median(power)) if power.size else power
    wrong = np.flatnonzero(left < 0.0)
    gain = np.abs(matrix[wrong]) * room
    share = gain / np.maximum(gain.max(axis=1, keepdims=True), 1e-12)
    effect = share.sum(axis=0)
    effect[now != 0.0] = np.inf
    order = np.argsort(-effect, kind="stable")
    parts = order[order < first], order[order >= first]  # powers crowd no set point out
    return np.sort(np.concatenate([part[:MOST_CONTROLS] for part in parts]))


def solved(levers: Levers, program: Program, now: Floats, reach: Floats) -> Floats | None:
    """[n_control] the cheapest change that keeps the rows, as far as they can be kept."""
    some = program.chosen
    low = np.maximum(levers.low, now - reach)[some]
    high = np.minimum(levers.high, now + reach)[some]
    most_moved = np.abs(program.matrix[:, some]) @ np.maximum(high - now[some], now[some] - low)
    rows_kept = np.flatnonzero(most_moved > program.left)  # the others cannot be broken
    dense, left, price = (
        program.matrix[np.ix_(rows_kept, some)], program.left[rows_kept], program.price[rows_kept],
    )  # fmt: skip
    n, m = some.size, left.size
    soft = np.isfinite(price)
    cost = np.concatenate([levers.price[some], levers.price[some], np.where(soft, price, 0.0)])
    power = (some >= levers.controls.cuts[2]).astype(np.float64)
    total = float(power @ now[some])
    # the last row: the sum of all powers
    row, column = np.nonzero(np.concatenate([dense, power[None]]))
    value, own = np.concatenate([dense, power[None]])[row, column], np.arange(m)
    rows = scipy.sparse.csc_array(
        (np.concatenate([value, -value, -np.ones(m)]),
         (np.concatenate([row, row, own]), np.concatenate([column, n + column, 2 * n + own]))),
        shape=(m + 1, 2 * n + m),
    )  # fmt: skip
    room = program.room
    most = np.concatenate([left + dense @ now[some], [total + room[1]]])
    least = np.concatenate([np.full(m, -np.inf), [total + room[0]]])
    # up and down apart, each with its price, then what is beyond each row
    bounds = Bounds(
        np.concatenate([np.maximum(low, 0.0), np.maximum(-high, 0.0), np.zeros(m)]),
        np.concatenate([np.maximum(high, 0.0), np.maximum(-low, 0.0), np.where(soft, np.inf, 0.0)]),
    )
    # a lever that stands between two steps moves to one of them: the program may ignore that
    whole = np.concatenate([levers.whole[some], levers.whole[some], np.zeros(m, np.bool_)])
    found = milp(
        cost, constraints=LinearConstraint(rows, least, most), bounds=bounds,
        integrality=whole.astype(np.int64), options={"mip_rel_gap": GAP, "node_limit": NODES},
    )  # fmt: skip
    if found.x is None:
        return None
    change = np.zeros(now.size)
    change[some] = found.x[:n] - found.x[n : 2 * n]
    return rounded(levers, change)
