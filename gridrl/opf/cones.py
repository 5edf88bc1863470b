"""The second-order cone relaxation of a problem as ``A x + s = b``, ``s`` in a product of cones.

Products of voltages get variables of their own (R. A. Jabr, Radial distribution load flow using
conic programming, IEEE Trans. Power Systems 21(3), 2006): ``w = |v|^2`` at nodes, and for each
pair of neighbours ``v_i conj(v_j) = wr + 1j wi`` with ``wr^2 + wi^2 <= w_i w_j``. All else in the
model is linear in them, or a cone.

Across a branch of little impedance, power is the small difference of large terms in ``w`` and
``wr``. For the solver, ``change`` therefore replaces ``wr`` by ``e = (w_i + w_j) / 2 - wr``, which
is small itself; without that, solvers lose their digits on grids of a thousand buses.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from gridrl.errors import GridError
from gridrl.grid import Floats, Ints
from gridrl.opf.problem import OpfProblem

RIGHT_ANGLE = 0.5 * np.pi - 1e-6


@dataclass(frozen=True, eq=False, kw_only=True)
class Cones:
    """Minimise ``q x + x P x / 2 + constant``; columns are w, wr, wi, sources.

    Rows are equations first, then inequalities, then cones of the sizes in ``cone``.
    """

    n_node: int
    n_pair: int
    matrix: scipy.sparse.csc_array  # [n_row, n_column]
    right: Floats  # [n_row]
    n_equal: int
    n_less: int
    cone: Ints  # [n_cone] rows of each second-order cone
    slope: Floats  # [n_column] currency/h
    curve: Floats  # [n_column] diagonal of P
    constant: float
    lower: Floats  # [n_column] what the limits make of every variable
    upper: Floats
    change: scipy.sparse.csc_array  # [n_column, n_column] ours out of the solver's variables
    pair: Ints  # [n_line] pair of each branch
    sense: Floats  # [n_line] 1, or -1 where the branch runs from the pair's second node


class _Rows:
    """Sparse rows as they come, each block with its right-hand side."""

    def __init__(self, width: int) -> None:
        self.width, self.n = width, 0
        self.blocks: list[scipy.sparse.csr_array] = []
        self.right: list[Floats] = []

    def add(self, right: Floats, *entries: tuple[Ints, Ints, Floats]) -> None:
        """Rows with coefficients ``(row, column, value)``."""
        size = right.size
        rows = np.concatenate([row for row, _, _ in entries])
        columns = np.concatenate([column for _, column, _ in entries])
        values = np.concatenate([np.broadcast_to(v, r.shape) for r, _, v in entries])
        self.blocks.append(
            scipy.sparse.csr_array((values, (rows, columns)), shape=(size, self.width))
        )
        self.right.append(right)
        self.n += size


def cone_model(problem: OpfProblem) -> Cones:
    """The relaxation of a problem.

    Raises
    ------
    GridError
        Loads of constant current, or a cost that is not convex and quadratic: neither is conic.
    """
    _refuse(problem)
    n, ns = problem.n_node, problem.sources.n
    first = np.minimum(problem.from_node, problem.to_node)
    second = np.maximum(problem.from_node, problem.to_node)
    key, pair = np.unique(first * n + second, return_inverse=True)
    pair = pair.astype(np.int64)
    i, j = key // n, key % n
    n_pair = key.size
    sense = np.where(problem.from_node == first, 1.0, -1.0)
    width = n + 2 * n_pair + ns
    lower, upper = _box(problem, i, j, pair, sense)
    rows = _Rows(width)
    flow = _flows(problem, pair, sense, n_pair)
    _balances(problem, rows, flow, n + 2 * n_pair)
    n_equal = rows.n
    _bounds(rows, problem.v_min**2, problem.v_max**2, 0)
    _bounds(rows, problem.sources.lower, problem.sources.upper, n + 2 * n_pair)
    _currents(problem, rows, pair, sense, n_pair)
    _angles(problem, rows, pair, sense, n_pair)
    _lifted_cuts(problem, rows, i, j, pair, sense)
    n_less = rows.n - n_equal
    sizes = _cones(problem, rows, flow, i, j)
    coefficient = np.zeros((ns, max(3, problem.sources.coefficient.shape[1])))
    coefficient[:, : problem.sources.coefficient.shape[1]] = problem.sources.coefficient
    slope, curve = np.zeros(width), np.zeros(width)
    slope[n + 2 * n_pair :], curve[n + 2 * n_pair :] = coefficient[:, 1], 2.0 * coefficient[:, 2]
    return Cones(
        n_node=n, n_pair=n_pair, matrix=scipy.sparse.vstack(rows.blocks).tocsc(),
        right=np.concatenate(rows.right), n_equal=n_equal, n_less=n_less, cone=sizes,
        slope=slope, curve=curve, constant=float(coefficient[:, 0].sum()),
        lower=lower, upper=upper, change=_change(width, n, i, j), pair=pair, sense=sense,
    )  # fmt: skip


def _change(width: int, n: int, i: Ints, j: Ints) -> scipy.sparse.csc_array:
    pairs = n + np.arange(i.size)
    kept = np.arange(width)
    half = np.full(i.size, 0.5)
    sign = np.where((kept >= n) & (kept < n + i.size), -1.0, 1.0)
    values = np.concatenate([sign, half, half])
    places = (np.concatenate([kept, pairs, pairs]), np.concatenate([kept, i, j]))
    return scipy.sparse.csc_array((values, places), shape=(width, width))


def _refuse(problem: OpfProblem) -> None:
    grid = problem.case.grid
    drawing = np.flatnonzero((problem.p_current != 0) | (problem.q_current != 0))
    if drawing.size:
        buses = ", ".join(grid.substation_label[k] for k in problem.substation[drawing][:5])
        raise GridError(
            f"The cone relaxation knows no loads of constant current, and {drawing.size} buses "
            f"have some: {buses}. Make them constant power, or do without a lower bound."
        )
    terms = problem.sources.coefficient
    steep = terms[:, 3:].any(axis=1) | (terms[:, 2:3] < 0).any(axis=1)
    if steep.any():
        unit = grid.unit_label[problem.sources.unit[np.flatnonzero(steep)[0]]]
        raise GridError(
            f"The cone relaxation takes linear and convex quadratic costs, and that of {unit} is "
            "none. Do without a lower bound."
        )


def _box(problem: OpfProblem, i: Ints, j: Ints, pair: Ints, sense: Floats) -> tuple[Floats, Floats]:
    """Least and largest value of every variable."""
    v_min, v_max = problem.v_min, problem.v_max
    most = v_max[i] * v_max[j]
    least_wr, least_wi, most_wi = -most, -most, most.copy()
    for k in np.flatnonzero((problem.angle_min > -RIGHT_ANGLE) & (problem.angle_max < RIGHT_ANGLE)):
        p, low, high = pair[k], problem.angle_min[k], problem.angle_max[k]
        if sense[k] < 0:
            low, high = -high, -low
        least = v_min[i[p]] * v_min[j[p]]
        least_wr[p] = max(least_wr[p], least * min(np.cos(low), np.cos(high)))
        top = most[p]
        most_wi[p] = min(most_wi[p], np.sin(high) * (top if high > 0 else least))
        least_wi[p] = max(least_wi[p], np.sin(low) * (top if low < 0 else least))
    low, high = _source_box(problem)
    return (
        np.concatenate([v_min**2, least_wr, least_wi, low]),
        np.concatenate([v_max**2, most, most_wi, high]),
    )


def _source_box(problem: OpfProblem) -> tuple[Floats, Floats]:
    """Limits of sources; of unlimited ones, what everything else at their node can take."""
    n, sources = problem.n_node, problem.sources
    v = problem.v_max
    room = np.hypot(problem.p_fixed, problem.q_fixed)
    room = room + _drawn(np.hypot(problem.g_shunt, problem.b_shunt), v**2)
    here, there = problem.from_node, problem.to_node
    for side, (at, other) in enumerate(((here, there), (there, here))):
        own, far = np.abs(problem.y[:, 3 * side]), np.abs(problem.y[:, 1 + side])
        passes = _drawn(own, v[at] ** 2) + _drawn(far, v[at] * v[other])
        room += np.bincount(at, np.minimum(passes, problem.s_max[:, side]), n)
    largest = np.maximum(np.abs(sources.lower), np.abs(sources.upper))
    unlimited = ~np.isfinite(largest)
    low, high = sources.lower.copy(), sources.upper.copy()
    kind = 2 * sources.node + sources.reactive
    alone = np.bincount(kind, unlimited, 2 * n)[kind] == 1
    others = np.bincount(kind, np.where(unlimited, 0.0, largest), 2 * n)[kind]
    most = room[sources.node] + others
    k = np.flatnonzero(unlimited & alone)
    low[k], high[k] = np.maximum(low[k], -most[k]), np.minimum(high[k], most[k])
    return low, high


def _drawn(admittance: Floats, square: Floats) -> Floats:
    """Their product; nothing without admittance, even where voltages have no limit."""
    return admittance * np.where(admittance > 0, square, 0.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Flows:
    """P and Q entering branches at both ends: coefficients of w there, wr and wi."""

    at: tuple[Ints, Ints]  # node of each end
    wr: Ints  # [n_line] column
    wi: Ints
    p: tuple[tuple[Floats, Floats, Floats], ...]
    q: tuple[tuple[Floats, Floats, Floats], ...]

    def terms(
        self, side: int, reactive: bool, row: Ints, line: Ints, factor: float
    ) -> list[tuple[Ints, Ints, Floats]]:
        own, real, imag = (self.q if reactive else self.p)[side]
        return [
            (row, self.at[side][line], factor * own[line]),
            (row, self.wr[line], factor * real[line]),
            (row, self.wi[line], factor * imag[line]),
        ]


def _flows(problem: OpfProblem, pair: Ints, sense: Floats, n_pair: int) -> _Flows:
    n = problem.n_node
    ff, ft, tf, tt = problem.y.T
    return _Flows(
        at=(problem.from_node, problem.to_node), wr=n + pair, wi=n + n_pair + pair,
        p=((ff.real, ft.real, sense * ft.imag), (tt.real, tf.real, -sense * tf.imag)),
        q=((-ff.imag, -ft.imag, sense * ft.real), (-tt.imag, -tf.imag, -sense * tf.real)),
    )  # fmt: skip


def _balances(problem: OpfProblem, rows: _Rows, flow: _Flows, column: int) -> None:
    n, every = problem.n_node, np.arange(problem.n_line)
    node = np.arange(n)
    for reactive, shunt, fixed in (
        (False, problem.g_shunt, problem.p_fixed),
        (True, -problem.b_shunt, problem.q_fixed),
    ):
        entries = [(node, node, shunt)]
        for side in range(2):
            entries += flow.terms(side, reactive, flow.at[side], every, 1.0)
        mine = np.flatnonzero(problem.sources.reactive == reactive)
        entries.append((problem.sources.node[mine], column + mine, np.full(mine.size, -1.0)))
        rows.add(fixed, *entries)


def _bounds(rows: _Rows, lower: Floats, upper: Floats, column: int) -> None:
    for limit, sign in ((upper, 1.0), (lower, -1.0)):
        k = np.flatnonzero(np.isfinite(limit))
        rows.add(sign * limit[k], (np.arange(k.size), column + k, np.full(k.size, sign)))


def _currents(problem: OpfProblem, rows: _Rows, pair: Ints, sense: Floats, n_pair: int) -> None:
    """The square of a current is linear: ``|y v + y' v'|^2``."""
    n = problem.n_node
    ends = ((0, 0, 1), (1, 2, 3))
    for side, left, right in ends:
        k = np.flatnonzero(np.isfinite(problem.i_max[:, side]))
        a, b = problem.y[k, left], problem.y[k, right]
        cross = 2.0 * a * b.conj()
        row = np.arange(k.size)
        rows.add(
            problem.i_max[k, side] ** 2,
            (row, problem.from_node[k], np.abs(a) ** 2),
            (row, problem.to_node[k], np.abs(b) ** 2),
            (row, n + pair[k], cross.real),
            (row, n + n_pair + pair[k], -sense[k] * cross.imag),
        )


def _angles(problem: OpfProblem, rows: _Rows, pair: Ints, sense: Floats, n_pair: int) -> None:
    """``tan(low) wr <= wi <= tan(high) wr``, which holds between right angles."""
    n = problem.n_node
    narrow = (problem.angle_min > -RIGHT_ANGLE) & (problem.angle_max < RIGHT_ANGLE)
    k = np.flatnonzero(narrow)
    row, zero = np.arange(k.size), np.zeros(k.size)
    for limit, sign in ((problem.angle_max, 1.0), (problem.angle_min, -1.0)):
        rows.add(
            zero,
            (row, n + n_pair + pair[k], sign * sense[k]),
            (row, n + pair[k], -sign * np.tan(limit[k])),
        )
    rows.add(zero, (row, n + pair[k], np.full(k.size, -1.0)))


def _lifted_cuts(
    problem: OpfProblem, rows: _Rows, i: Ints, j: Ints, pair: Ints, sense: Floats
) -> None:
    """Lifted nonlinear cuts, two for each pair whose angle difference and voltages are limited.

    With ``phi`` the middle of the angle difference and ``delta`` half of its range,
    ``wr cos(phi) + wi sin(phi) >= |v_i| |v_j| cos(delta)``; the right-hand side is bounded from
    below by planes in ``w`` that touch it where both voltages are at an end of their range.
    Source: C. Coffrin, H. Hijazi, P. Van Hentenryck, Strengthening the SDP relaxation of AC power
    flows with convex envelopes, bound tightening and valid inequalities, IEEE Trans. Power
    Systems 32(5), 2017.
    """
    n, n_pair = problem.n_node, i.size
    low, high = np.full(n_pair, -np.inf), np.full(n_pair, np.inf)
    np.maximum.at(low, pair, np.where(sense > 0, problem.angle_min, -problem.angle_max))
    np.minimum.at(high, pair, np.where(sense > 0, problem.angle_max, -problem.angle_min))
    limited = (low > -RIGHT_ANGLE) & (high < RIGHT_ANGLE) & (low <= high)
    k = np.flatnonzero(limited & np.isfinite(problem.v_max[i] + problem.v_max[j]))
    i, j, low, high = i[k], j[k], low[k], high[k]
    middle, shrink = 0.5 * (low + high), np.cos(0.5 * (high - low))
    least, most = problem.v_min, problem.v_max
    sum_i, sum_j = least[i] + most[i], least[j] + most[j]
    span = shrink * (most[i] * most[j] - least[i] * least[j]) / (sum_i * sum_j)
    row = np.arange(k.size)
    for v, sign in ((most, 1.0), (least, -1.0)):
        rows.add(
            sign * span * v[i] * v[j],
            (row, i, shrink * v[j] / sum_i),
            (row, j, shrink * v[i] / sum_j),
            (row, n + k, -np.cos(middle)),
            (row, n + n_pair + k, -np.sin(middle)),
        )


def _cones(problem: OpfProblem, rows: _Rows, flow: _Flows, i: Ints, j: Ints) -> Ints:
    """Apparent powers within their ratings, and the cone of every pair."""
    n, n_pair = problem.n_node, i.size
    sizes = []
    for side in range(2):
        line = np.flatnonzero(np.isfinite(problem.s_max[:, side]))
        row = 3 * np.arange(line.size)
        right = np.zeros(3 * line.size)
        right[::3] = problem.s_max[line, side]
        rows.add(
            right,
            *flow.terms(side, False, row + 1, line, -1.0),
            *flow.terms(side, True, row + 2, line, -1.0),
        )
        sizes.append(np.full(line.size, 3))
    row, p = 4 * np.arange(n_pair), np.arange(n_pair)
    one = np.ones(n_pair)
    rows.add(
        np.zeros(4 * n_pair),
        (row, i, -one), (row, j, -one), (row + 1, i, -one), (row + 1, j, one),
        (row + 2, n + p, -2.0 * one), (row + 3, n + n_pair + p, -2.0 * one),
    )  # fmt: skip
    sizes.append(np.full(n_pair, 4))
    return np.concatenate(sizes).astype(np.int64)
