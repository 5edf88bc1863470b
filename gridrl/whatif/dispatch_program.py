"""The linear program of a redispatch: loadings by sensitivities, solved by HiGHS.

The loading of every branch near its limit, in every state near a limit, is what the AC power flow
says plus what PTDF and LODF say of the changes. Only the constraints that bind are given to the
solver: the others are looked at afterwards, and added where they are broken.
"""

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from gridrl.case import Case
from gridrl.grid import Bools, Floats, Ints, Topology
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.sensitivity import sensitivities
from gridrl.security.contingency import Contingencies
from gridrl.security.topology_result import TopologySecurity

NEAR = 0.85  # loading from which a branch is a constraint
AIM = 0.997  # loading that the linear program keeps: the rest is for what is not linear
MOST_STATES = 60  # contingencies of one program, the worst first
MOST_ROWS = 800  # constraints of one program, the highest loadings first
MOST_UNITS = 250  # that one program moves, those that change the loadings most
FIRST_ROWS = 40  # constraints that the solver is given at once
LINEAR_ROUNDS = 8  # of adding what is broken
OVERLOAD_PRICE, WORST_PRICE, INTACT_PRICE = 1e4, 1e7, 1e8  # per loading of 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Linearised:
    """Loadings near their limits as linear functions of what units feed in."""

    free: Ints  # [n] units
    rows: Floats  # [m, n] change of loading per p.u. of each unit
    left: Floats  # [m] loading up to `AIM`
    intact: Bools  # [m] before any contingency
    room: tuple[float, float]  # p.u. that all changes may sum up to: the reference takes it back


class Answers:
    """How branch flows answer to injections and outages: the same for every dispatch of a case.

    Rows are worked out when they are first asked for.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.factors = sensitivities(case, np.empty(0, np.int64))
        self.place = np.full(case.grid.n_branch, -1, np.int64)
        self.rows = np.empty((0, self.factors.n_node))

    def _fill(self, branches: Ints) -> None:
        """Transfer rows of branches that have none yet."""
        new = np.unique(branches[self.place[branches] < 0])
        if new.size:
            self.place[new] = self.rows.shape[0] + np.arange(new.size)
            self.rows = np.concatenate([self.rows, self.factors.transfer_rows(new)])

    def rows_of(self, branch: Ints, lost: Ints, free: Ints) -> Floats:
        """[m, n_free] flow on each branch for 1 p.u. from each free unit, after a loss (-1: none).

        A loss that cuts the grid in two changes nothing else in this.
        """
        self._fill(np.concatenate([branch, lost[lost >= 0]]))
        grid = self.case.grid
        node = self.factors.node
        at = node[2 * grid.n_branch + free]
        place = self.place[branch]
        out = self.rows[np.ix_(place, np.maximum(at, 0))]
        after = np.flatnonzero(lost >= 0)
        gone, place = self.place[lost[after]], place[after]
        f, t = node[lost[after]], node[grid.n_branch + lost[after]]
        own = self.rows[gone, f] - self.rows[gone, t]
        through = self.rows[place, f] - self.rows[place, t]  # of a flow around the lost branch
        whole = (f >= 0) & (t >= 0) & (np.abs(1.0 - own) > 1e-7)
        factor = np.where(whole, through / np.where(whole, 1.0 - own, 1.0), 0.0)
        out[after] += factor[:, None] * self.rows[np.ix_(gone, np.maximum(at, 0))]
        return np.asarray(np.where(at >= 0, out, 0.0))


def linearise(
    answers: Answers, case: Case, found: TopologySecurity, contingencies: Contingencies,
    free: Ints, options: FlowOptions,
) -> Linearised:  # fmt: skip
    """Linearise around ``case``, which ``found`` is the result of, in what ``free`` units do."""
    grid = case.grid
    after = np.nan_to_num(found.pair_loading, nan=0.0)
    near = np.argsort(-after, kind="stable")[:MOST_STATES]
    near = np.sort(near[after[near] > NEAR])
    b_of, branch, u_of, unit = contingencies.members(grid)
    near = found.contingency[near]
    near = near[np.diff(b_of)[near] <= 1]  # of several branches there is no factor
    lost = np.full(1 + near.size, -1, np.int64)
    lost[1:][np.diff(b_of)[near] == 1] = branch[b_of[near[np.diff(b_of)[near] == 1]]]
    busbar = np.repeat(case.topology.busbar, 1 + near.size, axis=0)
    closed = np.repeat(case.topology.closed, 1 + near.size, axis=0)
    closed[np.flatnonzero(lost >= 0), lost[lost >= 0]] = False
    gone = np.zeros((1 + near.size, grid.n_unit), np.bool_)
    for row, k in enumerate(near, 1):
        gone[row, unit[u_of[k] : u_of[k + 1]]] = True
    busbar[:, 2 * grid.n_branch :][gone] = 0
    result = prepare(case, options=options).flow(Topology(busbar=busbar, closed=closed))
    loading = np.nan_to_num(result.loadings(), nan=0.0)
    state, at = np.nonzero(loading > NEAR)
    worst = np.argsort(-loading[state, at], kind="stable")[:MOST_ROWS]
    state, at = state[worst], at[worst]
    flow = (result.s_from[state, at] - result.s_to[state, at]) / 2.0
    size = np.maximum(np.abs(flow), 1e-9)
    # d|S| / rating = P dP / |S| / rating, with the reactive flow as it is
    gain = loading[state, at] / size * (flow.real / size)
    rows = answers.rows_of(at, lost[state], free) * gain[:, None]
    rows[gone[state][:, free]] = 0.0
    some = _most_effective(rows)
    return Linearised(
        free=free[some], rows=rows[:, some], left=AIM - loading[state, at], intact=state == 0,
        room=reference_room(case, result.unit_power(0).real),
    )  # fmt: skip


def _most_effective(rows: Floats) -> Ints:
    """Units that change some loading most, up or down, beside what most units do to it."""
    if rows.shape[1] <= MOST_UNITS or not rows.shape[0]:
        return np.arange(min(rows.shape[1], MOST_UNITS))
    effect = np.abs(rows - np.median(rows, axis=1)[:, None]).max(axis=0)
    return np.sort(np.argsort(-effect, kind="stable")[:MOST_UNITS])


def reference_room(case: Case, power: Floats) -> tuple[float, float]:
    """What the sum of all changes may be, p.u.: the reference takes up the opposite."""
    grid = case.grid
    at = grid.is_reference & (case.topology.busbar[0, 2 * grid.n_branch :] > 0)
    top = np.where(np.isfinite(grid.p_max), grid.p_max, np.inf)[at]
    bottom = np.where(np.isfinite(grid.p_min), grid.p_min, -np.inf)[at]
    up = float(np.maximum(top - power[at], 0.0).sum())
    down = float(np.maximum(power[at] - bottom, 0.0).sum())
    return -min(up, 1e6), min(down, 1e6)


def cheapest_change(
    linear: Linearised, change: Floats, low: Floats, high: Floats, price: Floats
) -> Floats | None:
    """[n_unit] the cheapest change that keeps all loadings; units not free keep theirs.

    Where not all can be kept: the one with the lowest worst loading, then the least overload.

    Parameters
    ----------
    change : [n_unit]
        What was changed where the loadings were linearised.
    low, high, price : [n_unit]
        Bounds of the change, p.u., and its price per p.u.
    """
    if not linear.left.size:
        return None
    free = linear.free
    right = linear.left + linear.rows @ change[free]
    program = _Program(linear, change[free], low[free], high[free], price[free])
    more = np.argsort(linear.left, kind="stable")[:FIRST_ROWS]
    used = np.zeros(right.size, np.bool_)
    for _ in range(LINEAR_ROUNDS):
        used[more] = True
        program.add(more, right[more])
        found = program.solve()
        if found is None:
            return None
        broken = np.where(used, 0.0, linear.rows @ found - right)
        more = np.argsort(-broken, kind="stable")[:FIRST_ROWS]
        more = more[broken[more] > 1e-6]
        if not more.size:
            break
    out = change.copy()
    out[free] = found
    return out


class _Program:
    """The linear program, which grows by rows and is solved on from where it was.

    Columns: what each unit goes up, what it goes down (from its schedule), what is too much of
    each loading, and the worst of those.
    """

    def __init__(
        self, linear: Linearised, change: Floats, low: Floats, high: Floats, price: Floats
    ) -> None:
        self.linear = linear
        n, m = linear.free.size, linear.left.size
        nothing = np.zeros(n)
        least = [np.maximum(nothing, low), np.maximum(nothing, -high), np.zeros(m + 1)]
        most = [np.maximum(nothing, high), np.maximum(nothing, -low), np.full(m + 1, np.inf)]
        over = np.where(linear.intact, INTACT_PRICE, OVERLOAD_PRICE)
        self.highs = highspy.Highs()  # type: ignore[no-untyped-call]
        for name, value in (("output_flag", False), ("threads", 1), ("presolve", "off")):
            self.highs.setOptionValue(name, value)
        empty = np.empty(0, np.int32)
        cost = np.concatenate([price, price, over, [WORST_PRICE]])
        self.highs.addCols(
            cost.size, cost, np.concatenate(least), np.concatenate(most), 0, empty, empty,
            np.empty(0),
        )  # fmt: skip
        total = float(change.sum())
        self._add(
            np.concatenate([np.ones(n), -np.ones(n)])[None], np.arange(2 * n, dtype=np.int32)[None],
            np.array([total + linear.room[0]]), np.array([total + linear.room[1]]),
        )  # fmt: skip

    def _add(self, value: Floats, column: NDArray[np.int32], low: Floats, high: Floats) -> None:
        """Append rows with equally many entries each, ``value`` and ``column`` [k, width]."""
        k, width = value.shape
        start = (width * np.arange(k)).astype(np.int32)
        self.highs.addRows(k, low, high, value.size, start, column.ravel(), value.ravel())

    def add(self, which: Ints, right: Floats) -> None:
        """Keep some loadings: rows @ change - too much <= right, and too much <= worst."""
        n, m, k = self.linear.free.size, self.linear.left.size, which.size
        units = np.repeat(np.arange(2 * n)[None], k, axis=0)
        over = (2 * n + which)[:, None]
        rows = self.linear.rows[which]
        none = np.full(k, -np.inf)
        self._add(
            np.concatenate([rows, -rows, -np.ones((k, 1))], axis=1),
            np.concatenate([units, over], axis=1).astype(np.int32), none, right,
        )  # fmt: skip
        worst = np.full((k, 1), 2 * n + m)
        self._add(
            np.concatenate([np.ones((k, 1)), -np.ones((k, 1))], axis=1),
            np.concatenate([over, worst], axis=1).astype(np.int32), none, np.zeros(k),
        )  # fmt: skip

    def solve(self) -> Floats | None:
        """[n] the change of the free units, None where there is no answer."""
        self.highs.run()
        if self.highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        x, n = np.array(self.highs.getSolution().col_value), self.linear.free.size
        return np.asarray(x[:n] - x[n : 2 * n])
