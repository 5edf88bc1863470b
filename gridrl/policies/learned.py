"""A graph network proposes, the exact simulator disposes.

The network scores every order that the rules allow. The best ``k`` are simulated with all rules and
every single outage (`gridrl.policies.judge`), and the best of those is carried out, if it is better
than doing nothing. With ``k`` 0 nothing is simulated: what the network likes best is carried out.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.choices import Choices
from gridrl.env.observe import observe
from gridrl.env.simulate import taken
from gridrl.env.state import State
from gridrl.env.view import static_of
from gridrl.env.world import World
from gridrl.graphs.candidate import CandidateView
from gridrl.policies.careful import Care
from gridrl.policies.policy import Decision, nothing, numbered, worst_loading
from gridrl.policies.screen import Screen
from gridrl.policies.tokens import Tokens, tokens_of

SIDE_BY_SIDE = 32  # states that the network sees at a time
SAVED = 1.0  # loading up to which an order has saved the grid


@dataclass(frozen=True, eq=False, kw_only=True)
class Sight:
    """What a network needs of one world, worked out once."""

    view: CandidateView
    screen: Screen
    tokens: Tokens


@lru_cache(maxsize=8)
def sight_of(world: World, choices: Choices) -> Sight:
    """Graph, screen and tokens of the orders of a world."""
    view = CandidateView(static_of(world))
    return Sight(
        view=view, screen=Screen(world, choices),
        tokens=tokens_of(view, choices.set_busbar, choices.set_line),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The network's best orders, proved.

    Raises
    ------
    ValueError
        A loading is not positive, or ``k`` is negative.
    PolicyError
        There are no such weights.
    """

    name = "learned"
    weights: str = "default"  # that come along, or a file of `gridrl train policy`
    k: int = 10  # orders that are simulated for a decision; 0 trusts the network
    threshold: float = 0.95  # worst loading above which it acts
    preventive: bool = True  # act also where an outage would overload something
    secure: float = 1.0  # loading after an outage above which it acts
    gain: float = 0.01  # loading after an outage that a preventive order must bring
    credible: bool = False  # only outages that the scenario's opponent can cause
    propose: str = "both"  # "network" and "screen" in turn, one of them, or "random"
    network: object = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._care  # noqa: B018 - refuses what makes no sense
        k: object = self.k
        if isinstance(k, bool) or not isinstance(k, int) or k < 0:
            raise ValueError(f"k is {self.k!r}; give a whole number, 0 to simulate nothing.")
        if self.propose not in PROPOSERS:
            raise ValueError(f"propose is {self.propose!r}; give {', '.join(PROPOSERS)}.")
        network = None
        if self.propose in ("network", "both"):
            from gridrl.policies.weights import load_weights

            network = load_weights(self.weights)
        object.__setattr__(self, "network", network)

    @property
    def _care(self) -> Care:
        return Care(
            threshold=self.threshold, preventive=self.preventive, secure=self.secure,
            gain=self.gain, credible=self.credible,
        )  # fmt: skip

    def decide(
        self, world: World, choices: Choices, state: State, rng: np.random.Generator
    ) -> Decision:
        """Close a line, or else the best proved order where something is or may be overloaded."""
        if self.k == 0:
            return self._trusting(world, choices, state)

        def best(some: State) -> Decision:
            allowed = choices.allowed(world, some)
            may = best_of(self.scores(world, choices, some), allowed, self.k)
            found = self._care.choose(world, choices, some, may, self.k + 1)
            return replace(found, candidates=found.candidates - 1)  # doing nothing is no proposal

        return self._care.where_needed(world, choices, state, rng, best)

    def _trusting(self, world: World, choices: Choices, state: State) -> Decision:
        allowed = choices.allowed(world, state)
        closes = (allowed & (choices.set_line == 1).any(axis=1)).any(axis=1)
        number = np.zeros(state.batch, np.int64)
        acting = np.flatnonzero((worst_loading(state) > self.threshold) | closes)
        if acting.size:
            scores = self.scores(world, choices, taken(state, acting))
            allowed[:, 0] = True
            number[acting] = np.where(allowed[acting], scores, -np.inf).argmax(axis=1)
        active = np.zeros(state.batch, np.bool_)
        active[acting] = True
        why = tuple(choices.words[int(k)] if k else "" for k in number)
        return numbered(choices, state, replace(nothing(state), reason=why, active=active), number)

    def scores(self, world: World, choices: Choices, state: State) -> Floats:
        """[B, K] the higher, the sooner an order is simulated."""
        return PROPOSERS[self.propose](self.network, world, choices, state)


def best_of(scores: Floats, allowed: Bools, k: int) -> Bools:
    """[B, K] the ``k`` allowed orders with the highest scores, and doing nothing."""
    ranked = np.where(allowed, scores, -np.inf)
    ranked[:, 0] = np.inf
    order: Ints = np.argsort(-ranked, axis=1, kind="stable")[:, : k + 1]
    out = np.zeros(allowed.shape, np.bool_)
    np.put_along_axis(out, order, True, axis=1)
    return np.asarray(out & (allowed | (np.arange(allowed.shape[1]) == 0)))


def by_network(network: object, world: World, choices: Choices, state: State) -> Floats:
    """Scores of the network."""
    from gridrl.policies.weights import score

    sight = sight_of(world, choices)
    parts = []
    for first in range(0, state.batch, SIDE_BY_SIDE):
        some = taken(state, np.arange(first, min(first + SIDE_BY_SIDE, state.batch)))
        seen = sight.view(observe(world, some, forecasts=True, ends=True))
        parts.append(score(network, seen, sight.tokens, sight.screen(some).features()))
    return np.concatenate(parts)


def by_screen(network: object, world: World, choices: Choices, state: State) -> Floats:  # noqa: ARG001
    """The DC screen alone: lowest overload and loading after an outage; unknown orders last."""
    found = sight_of(world, choices).screen(state)
    cost = 10.0 * np.maximum(found.loading - 0.95, 0.0) + found.outage + 0.5 * found.cuts
    return -np.nan_to_num(cost, nan=1e6, posinf=1e5)


def by_lot(network: object, world: World, choices: Choices, state: State) -> Floats:  # noqa: ARG001
    """Drawn: from the seed and the row of each episode."""
    draws = [
        np.random.default_rng([int(seed), int(row)]).random(len(choices))
        for seed, row in zip(state.seed, state.row, strict=True)
    ]
    return np.stack(draws)


def by_both(network: object, world: World, choices: Choices, state: State) -> Floats:
    """The best of the network and of the screen in turn: each covers for what the other misses."""
    rank = [
        (-scores).argsort(axis=1, kind="stable").argsort(axis=1)
        for scores in (
            by_network(network, world, choices, state), by_screen(network, world, choices, state)
        )
    ]  # fmt: skip
    return np.asarray(-np.minimum(rank[0], rank[1] + 0.5), np.float64)


PROPOSERS = {"both": by_both, "network": by_network, "screen": by_screen, "random": by_lot}
