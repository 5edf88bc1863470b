"""What careful policies share: when they look for something to do, and how they choose.

They differ in which orders they judge; see `gridrl.policies.greedy` and `gridrl.policies.learned`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.choices import Choices
from gridrl.env.simulate import taken
from gridrl.env.state import State
from gridrl.env.world import World
from gridrl.policies.judge import judge
from gridrl.policies.outages import after_outages, credible_lines
from gridrl.policies.policy import Decision, nothing, numbered, taken_in, worst_loading
from gridrl.policies.rules import Reconnect, positive

COUNTS = ("worst", "risk")


@dataclass(frozen=True, kw_only=True)
class Care:
    """When to act, and what counts.

    Raises
    ------
    ValueError
        A loading is not positive, or ``by`` is not one of `COUNTS`.
    """

    threshold: float  # worst loading above which it acts
    preventive: bool  # act also where an outage would overload something
    secure: float  # loading after an outage above which it acts
    gain: float  # loading after an outage that a preventive order must bring
    credible: bool  # only outages that the scenario's opponent can cause
    by: str = "worst"  # what counts of outages: the "worst" loading, or the "risk" of all

    def __post_init__(self) -> None:
        positive("threshold", self.threshold)
        positive("secure", self.secure)
        if self.by not in COUNTS:
            raise ValueError(f"by is {self.by!r}; give {' or '.join(COUNTS)}.")

    def lines(self, world: World) -> Bools | None:
        """Outages that count, None: all."""
        return credible_lines(world) if self.credible else None

    def where_needed(
        self, world: World, choices: Choices, state: State, rng: np.random.Generator,
        best: Callable[[State], Decision],
    ) -> Decision:  # fmt: skip
        """Close a line, or else what is ``best`` where something is or may be overloaded."""
        first = Reconnect().decide(world, choices, state, rng)
        rest = np.flatnonzero(first.number == 0)
        if not rest.size:
            return first
        some = taken(state, rest)
        cause = worst_loading(some) > self.threshold
        looked = nothing(some)
        if self.preventive:
            lines = self.lines(world)
            now = after_outages(world, some, lines=lines)
            cause |= now.worst > self.secure
            solves = (some.closed if lines is None else some.closed & lines).sum(axis=1)
            looked = replace(looked, solves=solves, after_outage=now.worst)
        parts = [(rest, looked)]
        acting = np.flatnonzero(cause)
        if acting.size:
            parts.append((rest[acting], best(taken(some, acting))))
        return taken_in(world, state, parts, first)

    def choose(
        self, world: World, choices: Choices, state: State, may: Bools, most: int
    ) -> Decision:
        """The best of the orders in ``may`` [B, K], the ``most`` best of them with every outage."""
        found = judge(world, choices, state, may, most=most, lines=self.lines(world))
        cost = found.cost(self.threshold, self.by)
        best, rows = cost.argmin(axis=1), np.arange(state.batch)
        best = np.where(cost[rows, best] < cost[:, 0] - self.gain, best, 0)
        before, after = found.worst[:, 0], found.worst[rows, best]
        decision = replace(
            nothing(state), active=np.ones(state.batch, np.bool_), candidates=may.sum(axis=1),
            reason=reasons(choices, state, best, before, after), solves=found.solves,
            before=before, after=after, after_outage=found.outage[rows, best],
        )  # fmt: skip
        return numbered(choices, state, decision, best)


def reasons(
    choices: Choices, state: State, number: Ints, before: Floats, after: Floats
) -> tuple[str, ...]:
    """[B] what is ordered and what it does to the worst loading."""
    said = []
    for b in range(state.batch):
        k = int(number[b])
        if not k:
            said.append("")
            continue
        was = f"{100 * before[b]:.1f} %" if np.isfinite(before[b]) else "grid lost"
        said.append(f"{choices.words[k]}: worst loading {was} to {100 * after[b]:.1f} %")
    return tuple(said)
