"""A case prepared once and solved many times: the engine behind every batch of power flows.

`prepare` orders and analyses the grid, solves the base state and keeps its factors. After that
any mix of injections, outages and busbar splits is solved side by side, without new analysis.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gridrl.case import Case
from gridrl.errors import GridError, offending
from gridrl.grid import Complexes, Floats, Injection, Ints, Topology
from gridrl.powerflow.controls import solve_with_controls
from gridrl.powerflow.kernels_flow import branch_flows
from gridrl.powerflow.limited import Reactive, limited_base
from gridrl.powerflow.model import Model, build_model
from gridrl.powerflow.nearby import SolvedBase, solve_nearby, solved_base
from gridrl.powerflow.once import Once, packed
from gridrl.powerflow.options import FlowOptions, has_voltages
from gridrl.powerflow.result import FlowResult
from gridrl.powerflow.solve import (
    Solved,
    States,
    by_row,
    changes_of,
    finish,
    in_threads,
    make_states,
    no_changes,
    solve,
    starts,
)

DEFAULT = FlowOptions()
NEARBY_FROM = 8  # states: below that a batch does not pay for the base factors


@dataclass(frozen=True, eq=False, kw_only=True)
class Engine:
    """Equations, base solution and factors of one case; make it with `prepare`."""

    case: Case
    model: Model
    options: FlowOptions
    base_states: States  # the case's own state, batch of one
    base: Solved
    nearby: SolvedBase | None  # None where the case itself has no solution
    reactive: Reactive | None  # what `nearby` holds for, where reactive limits are enforced

    def solve(
        self,
        topology: Topology | None = None,
        injection: Injection | None = None,
        *,
        sequence: bool = False,
    ) -> tuple[States, Solved]:
        """Voltages of a batch of states; see `flow`."""
        if topology is None and injection is not None and injection.batch == 1:
            found = self._once(injection)
            if found is not None:
                return found
        topology = self.case.topology if topology is None else topology
        injection = self.case.injection if injection is None else injection
        batch = batch_size(self.case, topology, injection)
        load_of = np.arange(batch) if injection.batch > 1 else np.zeros(batch, np.int64)
        if topology is not self.case.topology:
            states = self._switched(topology, injection, load_of)
        elif injection is self.case.injection:
            return self.base_states, self.base
        else:
            states = make_states(
                self.model, no_changes(batch), injection, load_of,
                np.full(batch, not self.model.steady),
            )  # fmt: skip
            if self.model.steady:
                states.cut[:] = self.base_states.cut[0]
                states.lost[:] = self._lost(injection)[load_of]
            fits = self.reactive is None or self.reactive.fits(injection)
            if batch >= NEARBY_FROM and self.nearby is not None and fits:
                return states, self._near(states, injection, sequence)
        start = self.start(injection)
        return states, solve_with_controls(self.model, states, injection, start, self.options)

    def flow(
        self,
        topology: Topology | None = None,
        injection: Injection | None = None,
        *,
        sequence: bool = False,
    ) -> FlowResult:
        """Power flow of a batch of states.

        Parameters
        ----------
        topology, injection
            By default those of the case. One of them may hold a single state that all share.
        sequence
            Neighbouring states are alike (a time series): start each from the one before.

        Raises
        ------
        GridError
            Shapes do not fit, or a state splits a substation that `prepare` was not told of.
        """
        states, solved = self.solve(topology, injection, sequence=sequence)
        return flow_result(
            self.model,
            self.case.topology if topology is None else topology,
            self.case.injection if injection is None else injection,
            states,
            solved,
        )

    @cached_property
    def _packed(self) -> Once | None:
        """The base as single injections take it, where they can be solved on its factors."""
        if self.nearby is None or self.reactive is not None:
            return None
        return packed(self.nearby, self.options)

    def _once(self, injection: Injection) -> tuple[States, Solved] | None:
        """One injection on the base topology; None where that takes the front of a batch."""
        found = self._packed.solve(injection) if self._packed is not None else None
        if found is None:
            return None
        v, iterations, mismatch = found
        states, model = self.base_states, self.model
        if not model.all_alive:
            v[0, model.pattern.node[~model.alive]] = np.nan
            states = replace(states, lost=self._lost(injection))
        return states, Solved(
            v=v, status=self.base.status, iterations=iterations, mismatch=mismatch
        )

    def start(self, injection: Injection) -> Floats:
        """Start voltages near the base solution, with the magnitudes that ``injection`` holds."""
        return starts(self.model, injection, self._near_base)

    @cached_property
    def _near_base(self) -> Floats | None:
        """Solved base voltages by row, None where the base has no solution."""
        return by_row(self.model, self.base.v[0]) if self.base.iterations[0] >= 0 else None

    def _switched(self, topology: Topology, injection: Injection, load_of: Ints) -> States:
        grid, batch = self.case.grid, load_of.size
        used = np.unique(grid.terminal_substation[(topology.busbar == 2).any(axis=0)])
        missing = self.model.second_node[used] < 0
        if missing.any():
            names = offending(missing, [grid.substation_name[int(s)] for s in used])
            raise GridError(
                f"{missing.sum()} substations are split that the engine was not prepared for: "
                f"{names}. Name them in prepare(case, split=...)."
            )
        if topology.batch < batch:
            topology = repeated(topology, batch)
        return make_states(self.model, changes_of(self.model, topology), injection, load_of)

    def _lost(self, injection: Injection) -> Floats:
        """[n_load] p.u. demand that the case's own switching leaves without supply."""
        at = self.model.unit_at
        dark = self.model.demand & ((at < 0) | ~self.model.alive[np.maximum(at, 0)])
        return np.asarray(np.maximum(-injection.p[:, dark], 0.0).sum(axis=1))

    def _near(self, states: States, injection: Injection, sequence: bool) -> Solved:
        """Solve on the base factors, then what is left by Newton's method."""
        assert self.nearby is not None
        batch, model, near = states.batch, self.model, self.nearby
        out = (
            np.empty((batch, model.n_node), np.complex128),
            np.full(batch, -1, np.int32),
            np.full(batch, np.inf),
        )
        outage = np.full(batch, -1, np.int64)
        given = injection if self.reactive is None else self.reactive.given(injection)
        start = starts(near.model, injection, near.v)

        def run(part: Ints) -> None:
            solve_nearby(
                near, states, given, outage, start, part, self.options.tolerance, keep=out,
                carry=sequence,
            )  # fmt: skip

        in_threads(run, np.arange(batch), self.options.threads, in_order=sequence)
        left = np.flatnonzero(out[1] < 0)
        if left.size and self.reactive is None:
            solve(model, states, injection, start, self.options, left, out=out)
        elif left.size:
            self._with_controls(injection, left, out)
        return finish(model, states, out)

    def _with_controls(
        self, injection: Injection, which: Ints, out: tuple[Complexes, NDArray[np.int32], Floats]
    ) -> None:
        """Solve some injections in full rounds, into their rows of ``out``."""
        part = Injection(p=injection.p[which], q=injection.q[which], v_set=injection.v_set[which])
        states = make_states(self.model, no_changes(which.size), part, np.arange(which.size))
        start = self.start(part)
        solved = solve_with_controls(self.model, states, part, start, self.options)
        out[0][which], out[1][which], out[2][which] = (
            solved.v, solved.iterations, solved.mismatch,
        )  # fmt: skip


def prepare(case: Case, *, split: Ints | None = None, options: FlowOptions = DEFAULT) -> Engine:
    """Build the equations of a case and solve its base state.

    Parameters
    ----------
    split
        Substations that states may split, besides those that the case splits. Each costs time in
        every solve: name only those that some state will split.
    """
    model = build_model(case.grid, case.topology, case.injection, split, options.island_rule)
    states = make_states(model, no_changes(1), case.injection, np.zeros(1, np.int64))
    begin = starts(model, case.injection, _near(case, model, options))
    base = solve_with_controls(model, states, case.injection, begin, options)
    nearby, reactive = None, None
    if base.iterations[0] >= 0 and model.steady and not options.distributed_slack:
        if not options.enforce_q_limits:
            nearby = solved_base(model, base.v[0])
        elif options.restore_voltage or base.pins is None or not base.pins.any():
            # Without restoring, the way to a solution decides which one it is: no short cut.
            nearby, reactive = limited_base(model, states, base, options.tolerance)
    return Engine(
        case=case, model=model, options=options, base_states=states, base=base, nearby=nearby,
        reactive=reactive,
    )  # fmt: skip


def _near(case: Case, model: Model, options: FlowOptions) -> Floats | None:
    """Start voltages by row that the case brings along, if it does and they may be used.

    With reactive limits the way to a solution decides which one it is.
    """
    if case.start is None or options.enforce_q_limits:
        return None
    v = np.full(model.n_node, np.nan + 0j)
    v[: case.grid.n_substation] = case.start
    return by_row(model, v)


def repeated(topology: Topology, batch: int) -> Topology:
    """One switching state, ``batch`` times."""
    return Topology(
        busbar=np.repeat(topology.busbar, batch, axis=0),
        closed=np.repeat(topology.closed, batch, axis=0),
    )


def batch_size(case: Case, topology: Topology, injection: Injection) -> int:
    """Number of states that a topology and an injection describe together.

    Raises
    ------
    GridError
        They do not fit the grid or each other.
    """
    grid = case.grid
    if topology.busbar.shape[1] != grid.n_terminal or topology.closed.shape[1] != grid.n_branch:
        raise GridError(
            f"The topology has {topology.busbar.shape[1]} terminals and {topology.closed.shape[1]} "
            f"branches; {grid.name} has {grid.n_terminal} and {grid.n_branch}."
        )
    if injection.p.shape[1] != grid.n_unit:
        raise GridError(
            f"The injection is for {injection.p.shape[1]} units; {grid.name} has {grid.n_unit}."
        )
    held = injection.v_set[:, grid.holding_unit]
    if not ((held > 0) & (held < np.inf)).all():
        raise GridError(
            "v_set must be a positive number of p.u. for every unit that controls voltage."
        )
    sizes = {topology.batch, injection.batch} - {1}
    if len(sizes) > 1:
        raise GridError(
            f"The topology holds {topology.batch} states and the injection {injection.batch}; "
            "give equally many, or one for all."
        )
    return sizes.pop() if sizes else 1


def flow_result(
    model: Model, topology: Topology, injection: Injection, states: States, solved: Solved
) -> FlowResult:
    """Branch flows of solved states, and everything in one result."""
    shape = (states.batch, model.grid.n_branch)
    s_from, s_to = np.empty(shape, np.complex128), np.empty(shape, np.complex128)
    branch_flows(
        solved.v, states.changes, model.network_arrays, model.base_topology, model.pattern.node,
        s_from, s_to,
    )  # fmt: skip
    diverged = ~has_voltages(solved.status)
    s_from[diverged] = np.nan
    s_to[diverged] = np.nan
    return FlowResult(
        grid=model.grid, topology=topology, injection=injection, second_node=model.second_node,
        v=solved.v, s_from=s_from, s_to=s_to, status=solved.status, iterations=solved.iterations,
        mismatch=solved.mismatch, lost_demand=states.lost,
    )  # fmt: skip
