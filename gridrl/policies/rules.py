"""The plainest policies: do nothing, close what is open, go back to the reference, draw lots."""

from dataclasses import dataclass, replace

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.choices import Choices
from gridrl.env.simulate import compare, simulate, taken
from gridrl.env.state import Orders, State
from gridrl.env.world import World
from gridrl.policies.policy import (
    OTHER,
    Decision,
    full_orders,
    nothing,
    numbered,
    put_orders,
    taken_in,
    worst_loading,
)

_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True)
class DoNothing:
    """Orders nothing."""

    name = "do_nothing"

    def decide(
        self,
        world: World,  # noqa: ARG002 - a policy's interface
        choices: Choices,  # noqa: ARG002
        state: State,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Decision:
        """Nothing."""
        return nothing(state)


@dataclass(frozen=True, kw_only=True)
class Reconnect:
    """Closes a line that is open and may be closed; of several, that with the lowest loading after.

    It does not close what would lose a grid that is not lost otherwise.
    """

    name = "reconnect"

    def decide(
        self,
        world: World,
        choices: Choices,
        state: State,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Decision:
        """Close a line, where one can be closed."""
        closing = (choices.set_line == 1).any(axis=1)
        may = choices.allowed(world, state) & closing
        out = nothing(state)
        where = np.flatnonzero(may.any(axis=1))
        if not where.size:
            return out
        some = taken(state, where)
        may = may[where]
        may[:, 0] = True
        found = compare(world, some, choices, only=may)
        worst = found.worst.copy()
        before = worst[:, 0].copy()
        worst[:, 0] = np.inf
        number = worst.argmin(axis=1)
        after = np.take_along_axis(worst, number[:, None], axis=1)[:, 0]
        number[np.isinf(after)] = 0
        why = tuple(choices.words[int(k)] if k else "" for k in number)
        tried = may.sum(axis=1)
        part = replace(
            nothing(some), reason=why, active=np.ones(where.size, np.bool_), candidates=tried,
            solves=tried.copy(), before=before, after=np.where(number > 0, after, before),
        )  # fmt: skip
        return taken_in(world, state, [(where, numbered(choices, some, part, number))], out)


@dataclass(frozen=True, kw_only=True)
class Revert:
    """Goes back to the reference switching, a line or a substation at a time, where that is safe.

    Closes lines first, then puts substations back as the scenario's grid has them.

    Raises
    ------
    ValueError
        ``ceiling`` is no positive loading.
    """

    name = "revert"
    ceiling: float = 0.95  # loading that a step back may lead to, or what there is without it

    def __post_init__(self) -> None:
        positive("ceiling", self.ceiling)

    def decide(
        self, world: World, choices: Choices, state: State, rng: np.random.Generator
    ) -> Decision:
        """A step back, where one is safe."""
        closing = Reconnect().decide(world, choices, state, rng)
        rest = np.flatnonzero(closing.number == 0)
        some = taken(state, rest)
        away = away_from_reference(world, some) & (some.substation_cooldown == 0)
        of, substation = np.nonzero(away)
        if not of.size or not world.rules.max_substations:
            return closing
        orders = _put_back(world, some, of, substation)
        after, outcome = simulate(world, some, orders, of=of)
        idle, _ = simulate(world, some)
        before = np.where(idle.running, worst_loading(idle), np.inf)
        worst = np.where(after.running & (outcome.verdict == 0), worst_loading(after), np.inf)
        good = worst <= np.maximum(self.ceiling, before[of])
        best = _lowest(of, np.where(good, worst, np.inf), some.batch)
        chosen = best[best >= 0]
        full = full_orders(world, some.batch)
        assert orders.set_busbar is not None
        put_orders(full, of[chosen], Orders(set_busbar=orders.set_busbar[chosen]))
        number = np.where(best >= 0, OTHER, 0)
        label = world.case.grid.substation_label
        why = tuple(
            f"put bus {label[int(substation[k])]} back to the reference" if k >= 0 else ""
            for k in best
        )
        part = replace(
            nothing(some), orders=Orders(set_busbar=full.set_busbar), number=number, reason=why,
            active=away.any(axis=1), candidates=away.sum(axis=1), solves=away.sum(axis=1) + 1,
            before=before, after=np.where(best >= 0, worst[best], before),
        )  # fmt: skip
        return taken_in(world, state, [(rest, part)], closing)


def away_from_reference(world: World, state: State) -> Bools:
    """[B, n_substation] whether a substation's terminals sit on other busbars than in the case."""
    grid = world.case.grid
    differ = (state.busbar != world.case.topology.busbar) & world.places[1]
    n = grid.n_branch
    for ends in (slice(0, n), slice(n, 2 * n)):
        differ[:, ends] &= state.closed
    out = np.zeros((state.batch, grid.n_substation), np.bool_)
    b, terminal = np.nonzero(differ)
    out[b, grid.terminal_substation[terminal]] = True
    return out


def _put_back(world: World, state: State, of: Ints, substation: Ints) -> Orders:
    """[n] orders that put one substation each back; open lines stay open."""
    grid, reference = world.case.grid, world.case.topology.busbar[0]
    here = (grid.terminal_substation[None] == substation[:, None]) & world.places[1]
    set_busbar = np.where(here, reference, 0).astype(np.int8)
    n = grid.n_branch
    for ends in (slice(0, n), slice(n, 2 * n)):
        set_busbar[:, ends][~state.closed[of]] = 0
    return Orders(set_busbar=set_busbar)


def _lowest(of: Ints, value: Floats, batch: int) -> Ints:
    """[B] row of the lowest finite value of each state, -1 where there is none."""
    out = np.full(batch, -1, np.int64)
    order = np.lexsort((value, of))
    order = order[np.isfinite(value[order])]
    state, first = np.unique(of[order], return_index=True)
    out[state] = order[first]
    return out


@dataclass(frozen=True, kw_only=True)
class Random:
    """Orders anything that the rules allow, all alike likely, nothing included.

    Raises
    ------
    ValueError
        ``threshold`` is no loading.
    """

    name = "random"
    threshold: float = 0.0  # loading from which it acts

    def __post_init__(self) -> None:
        if self.threshold != 0:
            positive("threshold", self.threshold)

    def decide(
        self, world: World, choices: Choices, state: State, rng: np.random.Generator
    ) -> Decision:
        """Draw for each state from a stream of its own."""
        may = choices.allowed(world, state)
        acts = worst_loading(state) >= self.threshold
        draw = drawn(state.seed, rng)
        rank = (draw * may.sum(axis=1)).astype(np.int64)
        number = (may.cumsum(axis=1) > rank[:, None]).argmax(axis=1)
        number = np.where(acts, number, 0)
        why = tuple(f"drawn: {choices.words[int(k)]}" if k else "" for k in number)
        return numbered(choices, state, replace(nothing(state), reason=why, active=acts), number)


def drawn(seed: np.ndarray[tuple[int], np.dtype[np.uint64]], rng: np.random.Generator) -> Floats:
    """[B] numbers in [0, 1) from the seed of each episode and one draw for all (splitmix64)."""
    with np.errstate(over="ignore"):
        z = seed + rng.integers(2**64, dtype=np.uint64) * _SPREAD
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return np.asarray((z >> np.uint64(11)) / 9007199254740992.0)


def positive(name: str, value: object) -> None:
    """Refuse a loading that is not above 0.

    Raises
    ------
    ValueError
        Naming the option.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{name} is {value!r}; give a loading above 0, 1 = rating.")


def count(name: str, value: object) -> None:
    """Refuse what is no number of things, 1 or more.

    Raises
    ------
    ValueError
        Naming the option.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; give a whole number, 1 or more.")
