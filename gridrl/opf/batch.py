"""Many optimal power flows of one case: other loads, opened branches, other switching.

States that differ from the case by loads and opened branches share one elimination order and run
in compiled code, a chunk of them per call and thread. Whatever else differs (a split substation, an
outage that cuts something off, another voltage set point) is solved on its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from gridrl.case import Case
from gridrl.errors import GridError
from gridrl.grid import Bools, Complexes, Floats, Injection, Ints, Topology
from gridrl.jit import announced
from gridrl.opf.arrange import Arranged, arrange, model_of
from gridrl.opf.interior_point import (
    RELAX,
    Options,
    Run,
    attempts,
    cold_point,
    fits,
    make_run,
    stopping,
    warm_attempt,
    warm_point,
)
from gridrl.opf.interior_point import solve as solve_one
from gridrl.opf.kernels_batch import count_islands
from gridrl.opf.problem import OpfProblem, build_problem
from gridrl.opf.solution import OpfSolution, OpfStatus, PrimalDual
from gridrl.opf.start import choose_start
from gridrl.powerflow.solve import pool

CHUNK = 16  # states of one compiled call: what Ctrl-C has to wait for

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class OpfBatch:
    """Dispatch and voltages of every state, in per unit; see `OpfSolution` for one of them."""

    case: Case  # that the states were derived from
    topology: Topology  # [B]
    injection: Injection  # [B]
    model: str
    status: Ints  # [B] OpfStatus
    iterations: Ints  # [B]
    p: Floats  # [B, n_unit]
    q: Floats  # [B, n_unit]
    v: Complexes  # [B, n_substation, 2]
    price_p: Floats  # [B, n_substation, 2] currency/h per p.u.
    price_q: Floats  # [B, n_substation, 2]
    shared: Bools  # [B] solved on the case's own pattern
    state: PrimalDual | None  # [B] of the shared ones, where asked for

    def __len__(self) -> int:
        return int(self.status.size)

    @property
    def ok(self) -> Bools:
        """[B] whether an optimum was found."""
        return np.isin(self.status, (OpfStatus.OPTIMAL, OpfStatus.ISLANDED))

    def case_of(self, k: int) -> Case:
        """The case in state ``k``."""
        return state_case(self.case, self.topology, self.injection, k)

    def solution(self, k: int) -> OpfSolution:
        """One of the solutions, as `gridrl.opf.solve` would have returned it."""
        return OpfSolution(
            case=self.case_of(k),
            solver="interior_point",
            model=self.model,
            status=OpfStatus(int(self.status[k])),
            p=self.p[k],
            q=self.q[k],
            v=self.v[k],
            price_p=self.price_p[k],
            price_q=self.price_q[k],
            iterations=int(self.iterations[k]),
            start="batch",
            state=self.state[k] if self.state is not None and self.shared[k] else None,
        )


def solve_many(
    case: Case,
    injection: Injection | None = None,
    topology: Topology | None = None,
    *,
    start: str = "auto",
    warm: OpfSolution | PrimalDual | None = None,
    options: Options | None = None,
    threads: int = 1,
    keep_state: bool = False,
    progress: Progress | None = None,
) -> OpfBatch:
    """Optimal power flow of many states of one case by our own solver.

    Parameters
    ----------
    case
        The grid, with the switching that most states share.
    injection, topology
        The states: both of one length B, or one of them of length 1 or left out (the case's own).
    start
        As in `gridrl.opf.solve`; "flat" and "dc" are taken from the case, once for all states.
    warm
        Begin there instead: a solution of the case with its full state, or states, [B] or one,
        of the case's own problem. States that cannot use it begin cold.
    options
        Tolerances and limits of the interior point.
    threads
        Threads that share the states.
    keep_state
        Keep slacks and multipliers of every state (`OpfBatch.state`), to begin from or to learn.
    progress
        Called with (done, total) as chunks are solved.

    Raises
    ------
    GridError
        Lengths do not fit, or limits contradict each other.
    """
    options = options or Options()
    injection, topology = _states(case, injection, topology)
    problem = build_problem(case)
    arranged = arrange(problem, RELAX)
    with announced("optimal power flow"):
        run, which = _prepare(
            problem, arranged, injection, topology, start, warm, options, keep_state
        )
        out = _room(problem, injection, topology)
        done = _Counter(injection.p.shape[0], progress)
        attempt = attempts(problem, start, options)[0] if run.cold else warm_attempt(options)

        def some(part: Ints) -> int:
            run.run(part, attempt, options, np.zeros((0, 8)), stop)
            return int(part.size)

        spread = pool(threads).map if threads > 1 else map
        with stopping(options.time_limit_s) as stop:
            for size in spread(some, [which[k : k + CHUNK] for k in range(0, which.size, CHUNK)]):
                done.add(size)
        solved = which[run.status[which] == OpfStatus.OPTIMAL]
        out.status[which] = run.status[which]
        _take(out, problem, arranged, run, solved)
        late = bool(stop[0])  # nothing else is tried then
        rest = np.setdiff1d(np.arange(len(out)), solved if options.retry and not late else which)
        if late:
            out.status[rest] = OpfStatus.TIME_LIMIT
        else:
            done.take_back(np.intersect1d(rest, which).size)
            _solve_alone(out, rest, start, options, threads, done)
    return replace(out, state=arranged.by_node(run.point, run.scale)) if keep_state else out


def _solve_alone(
    out: OpfBatch, states: Ints, start: str, options: Options, threads: int, done: "_Counter"
) -> None:
    """States that do not share the pattern, or where the first attempt failed, one by one."""

    def alone(k: int) -> tuple[int, OpfSolution]:
        return k, solve_one(build_problem(out.case_of(k)), start=start, options=options)

    spread = pool(threads).map if threads > 1 else map
    for k, found in spread(alone, map(int, states)):
        _put(out, k, found)
        done.add(1)


def _states(
    case: Case, injection: Injection | None, topology: Topology | None
) -> tuple[Injection, Topology]:
    """Both with the same leading axis."""
    grid = case.grid
    injection = injection if injection is not None else case.injection
    topology = topology if topology is not None else case.topology
    sizes = {injection.batch, topology.batch} - {1}
    if len(sizes) > 1:
        raise GridError(
            f"There are {injection.batch} injections but {topology.batch} topologies. Give as "
            "many of both, or one of either."
        )
    if injection.p.shape[1] != grid.n_unit or topology.closed.shape[1] != grid.n_branch:
        raise GridError(
            f"The states are of another grid: {injection.p.shape[1]} units and "
            f"{topology.closed.shape[1]} branches instead of {grid.n_unit} and {grid.n_branch}."
        )
    size = sizes.pop() if sizes else 1
    if injection.batch != size:
        p, q, v_set = (np.repeat(a, size, 0) for a in (injection.p, injection.q, injection.v_set))
        injection = Injection(p=p, q=q, v_set=v_set)
    if topology.batch != size:
        topology = Topology(
            busbar=np.repeat(topology.busbar, size, 0), closed=np.repeat(topology.closed, size, 0)
        )
    return injection, topology


def _prepare(
    problem: OpfProblem,
    arranged: Arranged,
    injection: Injection,
    topology: Topology,
    start: str,
    warm: OpfSolution | PrimalDual | None,
    options: Options,
    keep_state: bool,
) -> tuple[Run, Ints]:
    """The run of the states that share the pattern, and the indices of those."""
    opened_of, opened, shared = opened_lines(problem, injection, topology)
    state = warm.state if isinstance(warm, OpfSolution) else warm
    attempt = attempts(problem, start, options)[0]
    cold = state is None or not fits(arranged, state)
    if state is not None and not cold:
        first, scale = warm_point(arranged, state)
        if first[0].shape[0] not in (1, shared.size):
            raise GridError(f"There are {first[0].shape[0]} states to begin {shared.size} from.")
    else:
        first, scale = cold_point(problem, arranged, choose_start(problem, attempt.start, None))
    run = make_run(
        arranged, first, scale, cold=cold, mu=state.mu if state else None,
        loads=node_loads(problem, injection)[:, arranged.node], opened_of=opened_of,
        opened=opened, keep_state=keep_state,
    )  # fmt: skip
    return run, np.flatnonzero(shared)


def opened_lines(
    problem: OpfProblem, injection: Injection, topology: Topology
) -> tuple[Ints, Ints, Bools]:
    """Lines that each state opens: (opened_of[B + 1], opened), and [B] whether that is all."""
    case = problem.case
    grid, base = case.grid, case.topology
    line_of = np.full(grid.n_branch, -1, np.int64)
    line_of[problem.branch] = np.arange(problem.n_line)
    changed = topology.closed != base.closed
    shared = (topology.busbar == base.busbar).all(axis=1)
    shared &= ~(changed & (topology.closed | (line_of < 0))).any(axis=1)
    holding = np.flatnonzero((grid.controls_voltage | grid.is_reference) & (problem.unit_node >= 0))
    set_, own = injection.v_set[:, holding], case.injection.v_set[:, holding]
    shared &= ((set_ == own) | (np.isnan(set_) & np.isnan(own))).all(axis=1)
    state, branch = np.nonzero(changed & shared[:, None])
    counts = np.bincount(state, minlength=shared.size)
    opened_of = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    opened = line_of[branch]
    islands = np.zeros(shared.size, np.int64)
    count_islands(problem.from_node, problem.to_node, opened_of, opened, problem.n_node, islands)
    shared &= islands == problem.reference.size
    return opened_of, opened, shared


def node_loads(problem: OpfProblem, injection: Injection) -> Floats:
    """[B, n_node, 6] shunt G and B, constant and constant-current P and Q of every node."""
    case, sources = problem.case, problem.sources
    grid = case.grid
    on = np.flatnonzero(problem.unit_node >= 0)
    gather = csr_array(
        (np.ones(on.size), (problem.unit_node[on], on)), shape=(problem.n_node, grid.n_unit)
    )
    own = (
        problem.g_shunt, problem.b_shunt, problem.p_fixed, problem.q_fixed, problem.p_current,
        problem.q_current,
    )  # fmt: skip
    loads = np.empty((injection.batch, problem.n_node, 6))
    for part, chosen, given, base, i_share, z_share in (
        (0, sources.chosen_p, injection.p, case.injection.p, grid.i_share_p, grid.z_share_p),
        (1, sources.chosen_q, injection.q, case.injection.q, grid.i_share_q, grid.z_share_q),
    ):
        more = np.where(chosen, 0.0, given - base)
        sign = -1.0 if part == 0 else 1.0  # drawn as g |v|^2 - 1j b |v|^2
        for column, share in (
            (part, sign * z_share), (2 + part, 1.0 - i_share - z_share), (4 + part, i_share)
        ):  # fmt: skip
            loads[:, :, column] = own[column] + (gather @ (more * share).T).T
    return loads


def _room(problem: OpfProblem, injection: Injection, topology: Topology) -> OpfBatch:
    size, grid = injection.batch, problem.case.grid
    place = (size, grid.n_substation, 2)
    return OpfBatch(
        case=problem.case,
        topology=topology,
        injection=injection,
        model=model_of(problem),
        status=np.full(size, OpfStatus.FAILED, np.int64),
        iterations=np.zeros(size, np.int64),
        p=np.zeros((size, grid.n_unit)),
        q=np.zeros((size, grid.n_unit)),
        v=np.full(place, np.nan + 0j),
        price_p=np.full(place, np.nan),
        price_q=np.full(place, np.nan),
        shared=np.zeros(size, dtype=bool),
        state=None,
    )


def _take(out: OpfBatch, problem: OpfProblem, arranged: Arranged, run: Run, solved: Ints) -> None:
    """Copy what a run has solved."""
    out.shared[solved] = True
    out.iterations[:] = run.iterations
    row, at = arranged.row, (problem.substation, problem.busbar)
    va, v, s, lam = (part[solved] for part in run.point[:4])
    v = v[:, row]
    place = (solved[:, None], *(index[None] for index in at))
    out.v[place] = v * np.exp(1j * va[:, row])
    out.price_p[place] = lam[:, row, 0] / run.scale
    out.price_q[place] = lam[:, row, 1] / run.scale
    out.p[solved], out.q[solved] = _unit_powers(problem, out.injection, solved, v, s)
    grid = out.case.grid
    connected = (out.topology.busbar[0, 2 * grid.n_branch :] > 0) & ~grid.dispatchable
    dead = connected & (problem.unit_node < 0)
    lost = np.abs(out.injection.p[solved][:, dead]) + np.abs(out.injection.q[solved][:, dead])
    out.status[solved] = np.where(lost.any(axis=1), OpfStatus.ISLANDED, OpfStatus.OPTIMAL)


def _unit_powers(
    problem: OpfProblem, injection: Injection, which: Ints, v: Floats, s: Floats
) -> tuple[Floats, Floats]:
    """[k, n_unit] P and Q of every unit, see `OpfProblem.unit_powers`."""
    grid, sources = problem.case.grid, problem.sources
    live = problem.unit_node >= 0
    m = np.where(live, v[:, np.maximum(problem.unit_node, 0)], 0.0)
    out = []
    for given, i_share, z_share, chosen, constant, mine in (
        (injection.p, grid.i_share_p, grid.z_share_p, sources.chosen_p, sources.constant_p,
         ~sources.reactive),
        (injection.q, grid.i_share_q, grid.z_share_q, sources.chosen_q, sources.constant_q,
         sources.reactive),
    ):  # fmt: skip
        drawn = given[which] * (1 - i_share - z_share + m * (i_share + m * z_share))
        unit = sources.unit[mine]
        gather = csr_array(
            (np.ones(unit.size), (unit, np.flatnonzero(mine))), shape=(grid.n_unit, sources.n)
        )
        total = constant + (gather @ s.T).T
        out.append(np.where(chosen, total, np.where(live, drawn, 0.0)))
    return out[0], out[1]


def _put(out: OpfBatch, k: int, found: OpfSolution) -> None:
    """Copy a solution found on its own."""
    out.status[k] = found.status
    out.iterations[k] += found.iterations
    for name in ("p", "q", "v", "price_p", "price_q"):
        getattr(out, name)[k] = getattr(found, name)


def state_case(case: Case, topology: Topology, injection: Injection, k: int) -> Case:
    """The case in state ``k`` of both."""
    one = slice(k, k + 1)
    return replace(
        case,
        topology=Topology(busbar=topology.busbar[one], closed=topology.closed[one]),
        injection=Injection(p=injection.p[one], q=injection.q[one], v_set=injection.v_set[one]),
    )


class _Counter:
    """Reports progress as one growing number."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._progress = progress

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)

    def take_back(self, count: int) -> None:
        self._done -= count
