"""Policies that solve an optimal power flow: redispatch by DC or AC, switching by a MILP.

Each finds the smallest change that brings all loadings below the aim, orders as much of it as one
step allows, and carries it out only if a simulated AC step is better than doing nothing.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from gridrl.arrays import Floats, Ints
from gridrl.case import Case
from gridrl.env.choices import Choices
from gridrl.env.simulate import simulate, taken
from gridrl.env.state import Orders, State
from gridrl.env.world import World
from gridrl.opf.registry import solve
from gridrl.opf.solution import OpfSolution
from gridrl.policies.dispatch_case import as_case, as_orders, as_words, movable
from gridrl.policies.greedy import LEAST_GAIN
from gridrl.policies.policy import (
    OTHER,
    Decision,
    full_orders,
    nothing,
    put_orders,
    taken_in,
    worst_loading,
)
from gridrl.policies.rules import Reconnect, count, positive

# Where the aim cannot be met, the next higher: an overload made smaller is worth something.
RELAXED = (1.0, 1.1, 1.3, 1.7)


@dataclass(frozen=True, kw_only=True)
class _Dispatcher:
    """What the three share; each says how it solves the problem of one state."""

    name: ClassVar[str]
    solver: ClassVar[str]
    lossless: ClassVar[bool] = False  # whether the problem is posed without losses
    threshold: float = 0.95  # worst loading above which it acts
    aim: float = 0.93  # loading that the optimum keeps
    steps: int = 6  # steps of ramp that the optimum may plan with
    restore: float = 0.8  # worst loading below which dispatch goes back to schedule

    def __post_init__(self) -> None:
        for option in ("threshold", "aim", "restore"):
            positive(option, getattr(self, option))
        count("steps", self.steps)

    def decide(
        self, world: World, choices: Choices, state: State, rng: np.random.Generator
    ) -> Decision:
        """Close a line, or else redispatch where there is an overload to come."""
        first = Reconnect().decide(world, choices, state, rng)
        worst = worst_loading(state)
        rest = first.number == 0
        idle, _ = simulate(world, state)
        expected = np.where(idle.running, worst_loading(idle), np.inf)
        acting = np.flatnonzero(rest & (np.fmax(worst, expected) > self.threshold) & idle.running)
        easy = np.flatnonzero(rest & (worst < self.restore) & _dispatched(state))
        parts: list[tuple[Ints, Decision]] = []
        for where, orders_of in ((acting, self._relieve), (easy, self._restore)):
            if where.size:
                some = taken(idle, where)
                made = [orders_of(world, some, k) for k in range(where.size)]
                parts.append(
                    (where, self._checked(world, taken(state, where), made, expected[where]))
                )
        return taken_in(world, state, parts, first)

    def _checked(
        self, world: World, state: State, made: list[tuple[Orders, str, int]], before: Floats
    ) -> Decision:
        """Orders that a simulated step shows to be legal and better, or safe when going back."""
        full = full_orders(world, state.batch)
        for k, (orders, _, _) in enumerate(made):
            put_orders(full, np.array([k]), orders)
        asked = np.array([bool(words) for _, words, _ in made])
        after, outcome = simulate(world, state, full)
        worst = np.where(after.running & (outcome.verdict == 0), worst_loading(after), np.inf)
        good = asked & ~outcome.failed
        good &= (worst < before - LEAST_GAIN) | (worst <= self.restore)
        idle = full_orders(world, int((~good).sum()))
        put_orders(full, np.flatnonzero(~good), idle)
        solves = np.array([count for _, _, count in made]) + 2
        ones = np.ones(state.batch, np.int64)
        return replace(
            nothing(state), orders=full, number=np.where(good, OTHER, 0),
            reason=tuple(
                f"{words}: worst loading {100 * before[k]:.1f} % to {100 * worst[k]:.1f} %"
                if good[k] else "" for k, (_, words, _) in enumerate(made)
            ),
            active=ones.astype(np.bool_), candidates=ones, solves=solves, before=before,
            after=np.where(good, worst, before),
        )  # fmt: skip

    def _relieve(self, world: World, state: State, b: int) -> tuple[Orders, str, int]:
        """The optimum of one state as orders, in words, and the optimisations that it took."""
        move = movable(world, state, b, self._reach, lossless=self.lossless)
        tried = 0
        for factor in RELAXED:
            case = as_case(world, state, b, move, aim=self.aim * factor, lossless=self.lossless)
            found = self._solve(case)
            tried += 1
            if found.ok and np.isfinite(found.p).all():
                orders = as_orders(world, move, found.p)
                opened = case.topology.closed[0] & ~found.case.topology.closed[0]
                said = [as_words(world, orders)]
                if opened.any():
                    orders = replace(orders, set_line=np.where(opened, -1, 0).astype(np.int8)[None])
                    label = world.case.grid.branch_label
                    said.insert(0, "open " + ", ".join(label[k] for k in np.flatnonzero(opened)))
                return orders, ", ".join(filter(None, said)), tried
        return Orders(), "", tried

    @property
    def _reach(self) -> int:
        return self.steps

    def _solve(self, case: Case) -> OpfSolution:
        return solve(case, self.solver, fallback=False)

    def _restore(self, world: World, state: State, b: int) -> tuple[Orders, str, int]:
        """Back towards the schedule, as far as one step goes."""
        fleet = world.fleet
        turn = fleet.redispatchable & ~fleet.renewable
        back = np.clip(-state.target[b], -fleet.ramp_down, fleet.ramp_up)
        redispatch = np.where(turn, back, 0.0)
        curtail = np.where(state.limit[b] < 1.0, 1.0, np.nan)
        orders = Orders(
            redispatch=redispatch[None] if redispatch.any() else None,
            curtail=curtail[None] if not np.isnan(curtail).all() else None,
        )
        words = as_words(world, orders)
        return orders, f"back to schedule: {words}" if words else "", 0


def _dispatched(state: State) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """[B] whether anything is away from its schedule."""
    moved = (np.abs(state.target) > 1e-6).any(axis=1) | (state.limit < 1.0).any(axis=1)
    return np.asarray(moved)


@dataclass(frozen=True, kw_only=True)
class DcRedispatch(_Dispatcher):
    """The smallest redispatch and curtailment by the linear model, solved by HiGHS.

    Raises
    ------
    ValueError
        An option is out of range.
    """

    name = "dc_redispatch"
    solver = "highs_dc"
    lossless = True


@dataclass(frozen=True, kw_only=True)
class AcRedispatch(_Dispatcher):
    """The smallest redispatch and curtailment by AC optimal power flow.

    Raises
    ------
    ValueError
        An option is out of range.
    """

    name = "ac_redispatch"
    solver = "interior_point"


@dataclass(frozen=True, kw_only=True)
class DcSwitching(_Dispatcher):
    """One line to open, with redispatch, by a mixed-integer program of the linear model.

    Raises
    ------
    ValueError
        An option is out of range.
    """

    name = "dc_switching"
    solver = "highs_switching"
    time_limit_s: float = 5.0  # of one program

    def _solve(self, case: Case) -> OpfSolution:
        return solve(case, self.solver, fallback=False, time_limit_s=self.time_limit_s, max_open=1)
