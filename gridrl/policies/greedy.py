"""Greedy policies: simulate every order that is allowed, carry out the best.

The plain one looks at loadings alone, as the greedy agent of Grid2Op does. The secure one looks at
each candidate with every single outage after it, which is what operators are held to.
"""

from dataclasses import dataclass, replace

import numpy as np

from gridrl.arrays import Bools
from gridrl.env.choices import Choices
from gridrl.env.simulate import compare, taken
from gridrl.env.state import State
from gridrl.env.world import World
from gridrl.policies.careful import Care, reasons
from gridrl.policies.policy import Decision, nothing, numbered, taken_in, worst_loading
from gridrl.policies.rules import Reconnect, count, positive

LEAST_GAIN = 1e-4  # loading that an order must bring to be worth it


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Where a loading passes the threshold: the order with the lowest worst loading after.

    Raises
    ------
    ValueError
        ``threshold`` is no positive loading.
    """

    name = "greedy"
    threshold: float = 0.95  # worst loading above which it acts
    lines: bool = True  # whether lines may be opened
    reconnect: bool = True  # close lines first

    def __post_init__(self) -> None:
        positive("threshold", self.threshold)

    def decide(
        self, world: World, choices: Choices, state: State, rng: np.random.Generator
    ) -> Decision:
        """Close a line, or else the best order where there is an overload to come."""
        first = (Reconnect() if self.reconnect else _Nothing()).decide(world, choices, state, rng)
        where = np.flatnonzero((first.number == 0) & (worst_loading(state) > self.threshold))
        if not where.size:
            return first
        some = taken(state, where)
        may = choices.allowed(world, some) & candidates(choices, self.lines)
        found = compare(world, some, choices, only=may)
        worst = np.where(found.verdict == 0, found.worst, np.inf)
        number = worst.argmin(axis=1)
        before, after = worst[:, 0], worst.min(axis=1)
        number = np.where(after < before - LEAST_GAIN, number, 0)
        tried = may.sum(axis=1)
        part = replace(
            nothing(some), reason=reasons(choices, some, number, before, after),
            active=np.ones(where.size, np.bool_), candidates=tried, solves=tried.copy(),
            before=before, after=np.where(number > 0, after, before),
        )  # fmt: skip
        return taken_in(world, state, [(where, numbered(choices, some, part, number))], first)


class _Nothing:
    """Instead of closing lines first."""

    def decide(
        self,
        world: World,  # noqa: ARG002
        choices: Choices,  # noqa: ARG002
        state: State,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Decision:
        return nothing(state)


@dataclass(frozen=True, kw_only=True)
class SecureGreedy:
    """Every candidate with every single outage after it; the lowest worst loading of all.

    No order counts as good that leaves a loading above the threshold while another does not; then
    the one after which fewest outages lose the grid; then the lowest worst loading after an outage.

    Raises
    ------
    ValueError
        A loading is not positive, or ``most`` is below 1.
    """

    name = "n1_greedy"
    threshold: float = 0.95  # worst loading above which it acts
    preventive: bool = True  # act also where an outage would overload something
    secure: float = 1.0  # loading after an outage above which it acts
    gain: float = 0.01  # loading after an outage that a preventive order must bring
    credible: bool = False  # only outages that the scenario's opponent can cause
    lines: bool = True  # whether lines may be opened
    by: str = "worst"  # what counts of outages: the "worst" loading, or the "risk" of all
    most: int = 300  # candidates judged with outages, those with the lowest loadings before any

    def __post_init__(self) -> None:
        count("most", self.most)
        self._care  # noqa: B018 - refuses what makes no sense

    @property
    def _care(self) -> Care:
        return Care(
            threshold=self.threshold, preventive=self.preventive, secure=self.secure,
            gain=self.gain, credible=self.credible, by=self.by,
        )  # fmt: skip

    def decide(
        self, world: World, choices: Choices, state: State, rng: np.random.Generator
    ) -> Decision:
        """Close a line, or else the most secure order where something is or may be overloaded."""

        def best(some: State) -> Decision:
            may = choices.allowed(world, some) & candidates(choices, self.lines)
            return self._care.choose(world, choices, some, may, self.most)

        return self._care.where_needed(world, choices, state, rng, best)


def candidates(choices: Choices, lines: bool) -> Bools:
    """[n_choice] doing nothing, configurations and, where asked for, opening lines."""
    kept = np.ones(len(choices), np.bool_)
    if not lines:
        kept = ~(choices.set_line == -1).any(axis=1)
    return np.asarray(kept)
