"""Our solver: a primal-dual interior point with 4x4 blocks on the graph of the grid.

The front of the kernels: arrays in elimination order, a start, the call, and the way back.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from gridrl.errors import GridError
from gridrl.grid import Bools, Floats, Ints
from gridrl.jit import announced
from gridrl.opf.arrange import FAR, Arranged, arrange, solution
from gridrl.opf.kernels_batch import solve_states
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus, PrimalDual
from gridrl.opf.start import Start, choose_start

RELAX = 1e-10  # limits are widened by this much, p.u., so that there is room between equal ones
PUSH = 1e-2  # the start keeps this distance from limits, or this share of the range
STRAIN = 5.0  # a phase shifter this many times over its rating is no place to begin
# Ways to factorise: the most that one limit may add to an entry of the matrix, the damping of the
# balances in the factors (both are made good for by refinement), and what each is put at, in
# solutions with the factors, until it is tried. With little damping refinement is short, with much
# the factors are stable.
CHOICES = np.array([
    [1e14, 1e-8, 7.0], [1e10, 1e-9, 8.0], [1e8, 1e-8, 9.0], [1e10, 1e-6, 10.0],
])  # fmt: skip
MU_SEARCH = 1.0  # the most to begin a line search with
PATIENCE = 20  # iterations, see `gridrl.opf.kernels_ipm.interior_point`; and its ``rough``
ROUGH = (0.3, 3e-2)
ENDS = (OpfStatus.OPTIMAL, OpfStatus.TIME_LIMIT)  # after these nothing else is tried
ONE = np.zeros(1, np.int64)  # the one state
AT_ONCE_S = 1e-4  # a thread does not wake sooner: such a time limit is over before it begins
STEEPEST = 100.0  # the cost is scaled so that its slopes start below this


@dataclass(frozen=True, eq=False, kw_only=True)
class Options:
    """Settings of the interior point; the defaults suit PGLib.

    ``mu_warm`` is what slacks times multipliers of a full state are led to before it is gone on
    from; 0 chooses it by what the state lacks of balances and limits: 1e-7 after small changes,
    1e-2 after large ones.
    """

    tolerance: float = 1e-8  # scaled error, see Wächter and Biegler (2006), equation 5
    acceptable: float = 1e-6
    max_iterations: int = 500
    mu: float = 10.0  # slacks times multipliers of a cold start, costs scaled to slopes of 100
    mu_warm: float = 0.0  # from a full state; 0: chosen
    line_search: bool = False  # from the first iteration on
    retry: bool = True  # begin elsewhere where the first attempt fails
    time_limit_s: float = math.inf  # wall time of a call


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One way to go about a problem."""

    start: str
    line_search: bool
    max_iterations: int


def warm_attempt(options: Options) -> Attempt:
    """The attempt from a given state; where that takes long, another start is the better one."""
    most = min(100, options.max_iterations)
    return Attempt(start="warm", line_search=False, max_iterations=most)


def given_attempts(options: Options) -> list[Attempt]:
    """From a given point, fast and then with more care; nowhere else."""
    most = options.max_iterations
    plan = [
        Attempt(start="given", line_search=line_search, max_iterations=most)
        for line_search in (options.line_search, True)
    ]
    return plan if options.retry else plan[:1]


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
    start: str | Start = "auto",
    warm: OpfSolution | PrimalDual | None = None,
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
        phase shifters speak against it; or a point.
    warm
        Where to begin instead: a solution of the same grid. One that carries its full state, of a
        problem with the same nodes, branches and sources, saves most iterations; of others only
        dispatch and voltages are taken.
    options
        Tolerances and limits.
    log
        float64[k, 8], filled with the first k iterations of the last attempt; see
        `gridrl.opf.kernels_ipm.interior_point`.

    Raises
    ------
    GridError
        No such start; or a state that does not fit the problem.
    """
    options = options or Options()
    began = time.perf_counter()
    with announced("optimal power flow"):
        arranged = arrange(problem, RELAX)
        plan = (
            given_attempts(options)
            if isinstance(start, Start)
            else attempts(problem, start, options)
        )
        if warm is not None:
            plan = [warm_attempt(options), *plan]
        built = time.perf_counter()
        iterations = 0
        codes = []
        with stopping(options.time_limit_s) as stop:
            for attempt in plan:
                given = start if isinstance(start, Start) else attempt.start
                batch, name = _begin(
                    problem, arranged, "warm" if attempt.start == "warm" else given, warm
                )
                batch.run(ONE, attempt, options, np.zeros((0, 8)) if log is None else log, stop)
                iterations += int(batch.iterations[0])
                codes.append(OpfStatus(int(batch.status[0])))
                # The thread that stops kernels may come too late for a short one.
                late = time.perf_counter() - began > options.time_limit_s
                if late and codes[-1] is not OpfStatus.OPTIMAL:
                    codes[-1] = OpfStatus.TIME_LIMIT
                if codes[-1] in ENDS or codes[-2:] == [OpfStatus.INFEASIBLE] * 2:
                    break
    status = codes[-1]
    if status not in ENDS and OpfStatus.INFEASIBLE in codes:
        status = OpfStatus.INFEASIBLE
    manner = "filter line search" if attempt.line_search else "predictor-corrector"
    va, v, s, lam, t, y = (part[0] for part in batch.point)
    return solution(
        problem, arranged, solver="interior_point", status=status, iterations=iterations,
        va=va, v=v, s=s, prices=lam / batch.scale,
        start=name, build_s=built - began, solve_s=time.perf_counter() - built,
        message=f"{manner}, attempt {len(codes)} of {len(plan)}, "
        f"scaled error {batch.error[0]:.1e}",
        state=arranged.by_node((va, v, s, lam, t, y), batch.scale),
    )  # fmt: skip


@contextmanager
def stopping(limit_s: float) -> Iterator[Bools]:
    """bool[1] that becomes true when the time is up; kernels look at it in every iteration."""
    stop = np.zeros(1, dtype=bool)
    if not math.isfinite(limit_s):
        yield stop
        return
    if not limit_s > 0.0:
        raise GridError(f"A time limit of {limit_s:g} s leaves no time. Give more than 0.")
    stop[0] = limit_s < AT_ONCE_S
    timer = threading.Timer(limit_s, stop.fill, (True,))
    timer.daemon = True
    timer.start()
    try:
        yield stop
    finally:
        timer.cancel()


@dataclass(eq=False, kw_only=True)
class Run:
    """States of one pattern on their way through the kernels; results are filled in."""

    base: tuple[object, ...]  # what `solve_states` calls so
    scale: float  # costs are multiplied by this
    loads: Floats  # [B, n_node, 6]
    opened_of: Ints  # [B + 1]
    opened: Ints
    first: tuple[Floats, ...]  # leading axis B or 1
    cold: bool
    mu: float | None  # of a start that is not cold
    point: tuple[Floats, ...]  # leading axis B; slacks and multipliers may be of length 0
    status: Ints  # [B]
    iterations: Ints  # [B]
    error: Floats  # [B]

    def run(
        self, states: Ints, attempt: Attempt, options: Options, log: Floats, stop: Bools
    ) -> None:
        """Solve some of the states; those that are left when ``stop``, bool[1], is set, end so."""
        first = min(options.mu, MU_SEARCH) if attempt.line_search else options.mu
        mu = first if self.cold else (self.mu or options.mu_warm)
        settings = (
            options.tolerance, options.acceptable, float(attempt.max_iterations), first,
            0.0, stop, PATIENCE, ROUGH,
        )  # fmt: skip
        solve_states(
            self.base, self.loads, self.opened_of, self.opened, self.first, self.cold, mu,
            settings, not attempt.line_search, states,
            (*self.point, self.status, self.iterations, self.error), log,
        )  # fmt: skip


def make_run(
    arranged: Arranged,
    first: tuple[Floats, ...],
    scale: float,
    *,
    cold: bool,
    mu: float | None = None,
    loads: Floats | None = None,
    opened_of: Ints | None = None,
    opened: Ints | None = None,
    keep_state: bool = True,
) -> Run:
    """Room for the solutions of states that start from ``first``; one state by default."""
    net = list(arranged.net)
    net[7] = net[7] * scale
    loads = net[4][None] if loads is None else loads
    size = loads.shape[0]
    shapes = [part.shape[1:] for part in first]
    kept = [size] * 4 + [size if keep_state else 0] * 2
    return Run(
        base=(
            tuple(net), arranged.symbolic, arranged.block_of, arranged.active, arranged.held,
            CHOICES,
        ),
        scale=scale,
        loads=loads,
        opened_of=np.zeros(size + 1, np.int64) if opened_of is None else opened_of,
        opened=np.zeros(0, np.int64) if opened is None else opened,
        first=tuple(np.ascontiguousarray(part) for part in first),
        cold=cold,
        mu=mu,
        point=tuple(np.zeros((b, *shape)) for b, shape in zip(kept, shapes, strict=True)),
        status=np.full(size, OpfStatus.FAILED, np.int64),
        iterations=np.zeros(size, np.int64),
        error=np.full(size, np.inf),
    )  # fmt: skip


def _begin(
    problem: OpfProblem,
    arranged: Arranged,
    start: str | Start,
    warm: OpfSolution | PrimalDual | None,
) -> tuple[Run, str]:
    """A run of one state from the given start, and what that start is called."""
    state = warm.state if isinstance(warm, OpfSolution) else warm
    if start == "warm" and state is not None:
        if fits(arranged, state):
            first, scale = warm_point(arranged, state)
            return make_run(arranged, first, scale, cold=False, mu=state.mu), "warm"
        if isinstance(warm, PrimalDual):
            raise GridError(
                "The state to begin from belongs to a problem with other nodes, branches or "
                "sources. Give one of the same grid in the same switching state."
            )
    primal = warm if isinstance(warm, OpfSolution) and start == "warm" else None
    begin = start if isinstance(start, Start) else choose_start(problem, start, primal)
    first, scale = cold_point(problem, arranged, begin)
    return make_run(arranged, first, scale, cold=True), begin.name


def fits(arranged: Arranged, state: PrimalDual) -> bool:
    """Whether a state has the sizes of a problem."""
    sizes = (arranged.node.size, arranged.net[5].size, arranged.active.size)
    return (state.v.shape[-1], state.s.shape[-1], state.slack.shape[-1]) == sizes


def warm_point(arranged: Arranged, state: PrimalDual) -> tuple[tuple[Floats, ...], float]:
    """States in elimination order, with a leading axis; and the scale of costs."""
    s = np.atleast_2d(state.s)
    scale = cost_scale(arranged, s[0])
    first = arranged.by_row(state, scale)
    return (first if state.v.ndim == 2 else tuple(part[None] for part in first)), scale


def cold_point(
    problem: OpfProblem, arranged: Arranged, start: Start
) -> tuple[tuple[Floats, ...], float]:
    """The start moved inside the limits, with a leading axis; and the scale of costs."""
    n, ns = problem.n_node, problem.sources.n
    node, low, high = arranged.node, arranged.net[8], arranged.net[9]
    v = _inside(start.v[node], low[:n], high[:n])
    v = np.where(arranged.held[:, 1], problem.v_min[node], v)
    s = _inside(start.s, low[n : n + ns], high[n : n + ns])
    zero = np.zeros(arranged.active.size)
    first = (start.va[node], v, s, np.zeros((n, 2)), zero, zero)
    return tuple(part[None] for part in first), cost_scale(arranged, s)


def cost_scale(arranged: Arranged, s: Floats) -> float:
    """What costs are multiplied by, so that no slope at ``s`` is above `STEEPEST`."""
    cost = arranged.net[7]
    slopes = np.zeros(s.size)
    for k in range(cost.shape[1] - 1, 0, -1):
        slopes = slopes * s + k * cost[:, k]
    return min(1.0, STEEPEST / max(float(np.abs(slopes).max(initial=0.0)), 1e-12))


def _inside(value: Floats, low: Floats, high: Floats) -> Floats:
    """Values moved off their limits."""
    room = np.where((low > -FAR) & (high < FAR), PUSH * (high - low), np.inf)
    least = low + np.minimum(PUSH * np.maximum(1.0, np.abs(low)), room)
    most = high - np.minimum(PUSH * np.maximum(1.0, np.abs(high)), room)
    value = np.where(low > -FAR, np.maximum(value, least), value)
    return np.where(high < FAR, np.minimum(value, most), value)
