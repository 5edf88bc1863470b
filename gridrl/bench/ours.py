"""gridrl as a contender, through the same fronts that its users call."""

from collections.abc import Sequence

import numpy as np

from gridrl import __version__
from gridrl.bench.contender import Algorithm, Prepared
from gridrl.bench.problem import Problem, injection_of
from gridrl.grid import Bools, Complexes, Ints
from gridrl.powerflow.engine import Engine, prepare
from gridrl.powerflow.model import Model
from gridrl.powerflow.nearby import solve_nearby
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.solve import (
    Changes,
    Solved,
    States,
    by_row,
    finish,
    in_threads,
    make_states,
    solve,
    starts,
)
from gridrl.security.contingency import Contingencies
from gridrl.security.result import SecurityOptions, SecurityResult
from gridrl.security.sweep import security

DC, WARM = "dc start", "warm start"  # variants of a single flow
MOST_BYTES = 2**30  # voltages that a batch may keep


class Gridrl:
    """Our engine; ``threads`` are those of the options."""

    name = "gridrl"

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def version(self) -> str:
        return __version__

    def algorithms(self, problem: Problem) -> Sequence[Algorithm]:
        if problem.task == "single":
            return [Algorithm(name="engine", variant=WARM), Algorithm(name="solve", variant=DC)]
        if problem.task == "n1":
            offered = ["nearby", "newton lanes", "security"]
            bytes_ = 16 * problem.states * problem.case.grid.n_substation
            return [Algorithm(name=n) for n in offered if bytes_ < MOST_BYTES or n == "security"]
        if problem.task == "sweep":
            return [Algorithm(name=n) for n in ("engine", "engine, in sequence", "newton lanes")]
        return [Algorithm(name="newton lanes")]

    def prepare(self, problem: Problem, algorithm: str) -> Prepared:
        options = FlowOptions(tolerance=problem.tolerance, threads=self._threads)
        if algorithm == "security":
            return _security(problem, options)
        engine = prepare(problem.case, split=problem.split, options=options)
        runs = {
            "single": _Single,
            "n1": _Outages,
            "sweep": _Sweep,
            "topology": _Topologies,
        }
        run = runs[problem.task](problem, engine, algorithm)
        return Prepared(run=run, voltages=run.voltages, threads=self._threads)


class _Run:
    """Calls the engine once for all states and keeps what it found."""

    def __init__(self, problem: Problem, engine: Engine, algorithm: str) -> None:
        self.problem, self.engine, self.algorithm = problem, engine, algorithm
        self.v: Complexes = np.empty((0, 0), np.complex128)

    def __call__(self) -> None:
        raise NotImplementedError

    def voltages(self) -> Complexes:
        return self.problem.columns(self.v)


class _Single(_Run):
    """One state after the other."""

    def __init__(self, problem: Problem, engine: Engine, algorithm: str) -> None:
        super().__init__(problem, engine, algorithm)
        self._each = [injection_of(problem.injection, np.array([k])) for k in range(problem.states)]
        self._start = starts(engine.model, problem.case.injection)
        self._states = [
            make_states(engine.model, nothing(1), i, np.zeros(1, np.int64)) for i in self._each
        ]

    def __call__(self) -> None:
        if self.algorithm == "engine":
            found = [self.engine.solve(injection=i)[1].v for i in self._each]
        else:
            model, options = self.engine.model, self.engine.options
            pairs = zip(self._states, self._each, strict=True)
            found = [solve(model, s, i, self._start, options).v for s, i in pairs]
        self.v = np.concatenate(found)


class _Sweep(_Run):
    """Many injections, one topology."""

    def __call__(self) -> None:
        injection = self.problem.injection
        if self.algorithm == "newton lanes":
            model, batch = self.engine.model, injection.batch
            states = make_states(
                model, nothing(batch), injection, np.arange(batch), np.zeros(batch, np.bool_)
            )
            start = starts(model, injection, by_row(model, self.engine.base.v[0]))
            self.v = solve(model, states, injection, start, self.engine.options).v
            return
        sequence = self.algorithm == "engine, in sequence"
        self.v = self.engine.solve(injection=injection, sequence=sequence)[1].v


class _Topologies(_Run):
    """Any mix of busbar splits and outages, one per lane."""

    def __call__(self) -> None:
        self.v = self.engine.solve(self.problem.topology)[1].v


class _Outages(_Run):
    """Single outages, from the solved base state."""

    def __init__(self, problem: Problem, engine: Engine, algorithm: str) -> None:
        super().__init__(problem, engine, algorithm)
        self._openings = openings(engine.model, problem.outage)

    def __call__(self) -> None:
        model, outage = self.engine.model, self.problem.outage
        batch = outage.size
        injection = self.problem.case.injection
        states = make_states(
            model, self._openings, injection, np.zeros(batch, np.int64),
            np.zeros(batch, np.bool_),
        )  # fmt: skip
        near = self.engine.nearby
        assert near is not None
        order = np.argsort(-near.outage_step[outage], kind="stable")
        if self.algorithm == "newton lanes":
            self.v = solve(model, states, injection, near.v, self.engine.options, order).v
            return
        self.v = self._near(states, order).v

    def _near(self, states: States, order: Ints) -> Solved:
        """The base factors first, Newton's method for what they do not solve."""
        engine, outage = self.engine, self.problem.outage
        model, injection, near = engine.model, self.problem.case.injection, engine.nearby
        assert near is not None
        out = (
            np.empty((outage.size, model.n_node), np.complex128),
            np.full(outage.size, -1, np.int32),
            np.full(outage.size, np.inf),
        )

        def run(part: Ints) -> None:
            solve_nearby(
                near, states, injection, outage, near.v, part, engine.options.tolerance, keep=out
            )

        in_threads(run, order, engine.options.threads)
        left = np.flatnonzero(out[1] < 0)
        if left.size:
            solve(model, states, injection, near.v, engine.options, left, out=out)
        return finish(model, states, out)


def nothing(batch: int) -> Changes:
    """The base topology, ``batch`` times."""
    return openings(None, np.full(batch, -1))


def openings(model: Model | None, outage: Ints) -> Changes:
    """The changes that open one branch in each state (-1: none)."""
    works: Bools = outage >= 0
    of = np.concatenate([[0], np.cumsum(works)]).astype(np.int64)
    branch = outage[works]
    none = np.zeros(outage.size + 1, np.int64)
    busbar = np.ones((2, branch.size), np.int8)
    if model is not None:
        n_branch = model.grid.n_branch
        ends = model.topology.busbar[0, : 2 * n_branch].reshape(2, n_branch)
        busbar = ends[:, branch]
    return (
        of, branch.astype(np.int64), busbar[0].copy(), busbar[1].copy(),
        np.zeros(branch.size, np.bool_), none, np.empty(0, np.int64), np.empty(0, np.int8),
    )  # fmt: skip


def contingencies_of(problem: Problem) -> Contingencies:
    """The outages of a problem as `gridrl.security` takes them."""
    grid = problem.case.grid
    element = grid.branch_element[problem.outage]
    return Contingencies(
        name=tuple(grid.element_label[int(e)] for e in element),
        elements=tuple((int(e),) for e in element),
    )


def _security(problem: Problem, options: FlowOptions) -> Prepared:
    """The public sweep, from a case to checked limits; it keeps no voltages."""
    found: list[SecurityResult] = []
    outages = contingencies_of(problem)

    def run() -> None:
        found[:] = [
            security(problem.case, contingencies=outages, options=SecurityOptions(flow=options))
        ]

    def difference(reference: Complexes) -> float:
        """Of the voltage that it reports for each outage."""
        node = found[0].voltage_node
        known = (node >= 0) & np.isfinite(reference).any(axis=1) & (found[0].iterations >= 0)
        if not known.any():
            return float("nan")
        want = np.abs(reference[np.flatnonzero(known), node[known]])
        return float(np.abs(found[0].voltage[known] - want).max())

    return Prepared(
        run=run,
        difference=difference,
        threads=options.threads,
        note="from a loaded case to checked limits: base flow, set-up and limits in the time",
    )
