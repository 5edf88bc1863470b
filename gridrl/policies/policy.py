"""What a policy is: it sees a batch of grids and says what is to be done in each, and why.

A policy keeps nothing from one step to the next. What it needs of the grid it gets with every
call, so that one policy serves any grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.choices import Choices
from gridrl.env.state import Orders, State
from gridrl.env.world import World

OTHER = -1  # number of orders that are none of `Choices`
PARTS = ("set_busbar", "set_line", "redispatch", "curtail", "storage")


@dataclass(frozen=True, eq=False, kw_only=True)
class Decision:
    """Orders to a batch of grids, and how they came about."""

    orders: Orders  # [B]
    number: Ints  # [B] of `Choices`: 0 does nothing, -1 orders that have no number
    reason: tuple[str, ...]  # [B] in an operator's words; empty where nothing is done
    active: Bools  # [B] whether there was cause to look for something to do
    candidates: Ints  # [B] orders that were simulated
    solves: Ints  # [B] AC power flows and optimisations that it took
    before: Floats  # [B] worst loading that is expected if nothing is done; NaN: not looked at
    after: Floats  # [B] worst loading that is expected with the orders; NaN: not looked at
    after_outage: Floats  # [B] the same after the worst single outage; NaN: not looked at


@runtime_checkable
class Policy(Protocol):
    """Anything that decides."""

    @property
    def name(self) -> str:
        """As `gridrl.policies.load` knows it."""
        ...

    def decide(
        self, world: World, choices: Choices, state: State, rng: np.random.Generator
    ) -> Decision:
        """Orders to every state of the batch.

        Parameters
        ----------
        choices
            Orders by number; a policy may also order what has no number.
        state
            Running episodes, as operators see them.
        rng
            Draws once for each call, whatever the batch: what is decided for a state does not
            depend on what shares its batch.
        """
        ...


def nothing(state: State) -> Decision:
    """Do nothing anywhere, without having looked."""
    size = state.batch
    unknown = np.full(size, np.nan)
    return Decision(
        orders=Orders(), number=np.zeros(size, np.int64), reason=("",) * size,
        active=np.zeros(size, np.bool_), candidates=np.zeros(size, np.int64),
        solves=np.zeros(size, np.int64), before=unknown, after=unknown.copy(),
        after_outage=unknown.copy(),
    )  # fmt: skip


def numbered(choices: Choices, state: State, decision: Decision, number: Ints) -> Decision:
    """The decision with orders by number."""
    return replace(decision, orders=choices.orders(state, number), number=number)


def taken_in(
    world: World, state: State, parts: Sequence[tuple[Ints, Decision]], rest: Decision
) -> Decision:
    """Decisions for some states each, in their places; ``rest`` for the others.

    What a later part decides replaces the orders of an earlier one; the work of all is summed up.
    """
    orders = full_orders(world, state.batch)
    put_orders(orders, np.arange(state.batch), rest.orders)
    reason = list(rest.reason)
    out = replace(
        rest, number=rest.number.copy(), active=rest.active.copy(),
        candidates=rest.candidates.copy(), solves=rest.solves.copy(), before=rest.before.copy(),
        after=rest.after.copy(), after_outage=rest.after_outage.copy(),
    )  # fmt: skip
    for which, part in parts:
        blank = full_orders(world, which.size)
        put_orders(blank, np.arange(which.size), part.orders)
        put_orders(orders, which, blank)
        for name in ("number", "before", "after", "after_outage"):
            getattr(out, name)[which] = getattr(part, name)
        out.active[which] |= part.active
        out.candidates[which] += part.candidates
        out.solves[which] += part.solves
        for b, why in zip(which.tolist(), part.reason, strict=True):
            reason[b] = why
    return replace(out, orders=_trimmed(orders), reason=tuple(reason))


def full_orders(world: World, batch: int) -> Orders:
    """Orders that ask for nothing, with all arrays there to be filled."""
    grid, fleet = world.case.grid, world.fleet
    return Orders(
        set_busbar=np.zeros((batch, grid.n_terminal), np.int8),
        set_line=np.zeros((batch, grid.n_branch), np.int8),
        redispatch=np.zeros((batch, fleet.n_gen)), curtail=np.full((batch, fleet.n_gen), np.nan),
        storage=np.zeros((batch, fleet.n_storage)),
    )  # fmt: skip


def put_orders(orders: Orders, which: Ints, some: Orders) -> None:
    """Write ``some`` into the rows ``which`` of full orders."""
    for name in PARTS:
        value = getattr(some, name)
        if value is not None:
            getattr(orders, name)[which] = value


def _trimmed(orders: Orders) -> Orders:
    """Without the parts that ask for nothing: they cost time in a step."""
    kept = {}
    for name in PARTS:
        value = getattr(orders, name)
        asks = ~np.isnan(value) if name == "curtail" else value != 0
        kept[name] = value if asks.any() else None
    return Orders(**kept)


def worst_loading(state: State) -> Floats:
    """[B] highest loading of each state, inf where there is no power flow."""
    worst = np.nan_to_num(state.rho, nan=np.inf).max(axis=1, initial=0.0)
    return np.asarray(worst)
