"""Plays episodes side by side under a policy, and hands on the row of each as it ends."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from gridrl.env.choices import Choices
from gridrl.env.simulate import taken
from gridrl.env.state import State
from gridrl.env.step import reset, step
from gridrl.env.vector import put
from gridrl.env.world import World
from gridrl.evaluation.ledger import Ledger, Row
from gridrl.policies.outages import hopeless_outages
from gridrl.policies.policy import Policy

Pair = tuple[int, int]  # episode, seed


def begin(world: World, pairs: Sequence[Pair], steps: int | None) -> State:
    """First states of some episodes; all that is random follows from the episode and its seed."""
    rng = [np.random.default_rng([seed, episode]) for episode, seed in pairs]
    state = reset(
        world, np.random.default_rng(0), episode=np.array([episode for episode, _ in pairs]),
        steps=steps,
    )  # fmt: skip
    seed = np.array([one.integers(2**64, dtype=np.uint64) for one in rng], np.uint64)
    return replace(state, seed=seed)


def play(
    world: World,
    choices: Choices,
    policy: Policy,
    pairs: Sequence[Pair],
    *,
    steps: int | None = None,
    n1_every: int = 1,
    finished: Callable[[Pair, Row], None],
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Play episodes side by side until each is over.

    Parameters
    ----------
    pairs
        Episodes and their seeds.
    steps
        Longest episode; by default to the end of its series.
    n1_every
        Steps between looks at single outages, 0: never. They count for the row alone; the policy
        does not see them.
    finished
        Gets every pair with its row as the episode ends.
    progress
        Gets the number of steps done since the last call, those saved by a loss included.
    """
    state = begin(world, pairs, steps)
    ledger = Ledger.blank(world, len(pairs), hopeless_outages(world), n1_every)
    # Common to all: what differs between episodes follows from the seed that each state carries,
    # so that a row is the same whatever is played beside it.
    rng = np.random.default_rng(0)
    while True:
        which = np.flatnonzero(state.running)
        if not which.size:
            return
        now = taken(state, which)
        began = time.perf_counter()
        decision = policy.decide(world, choices, now, rng)
        seconds = time.perf_counter() - began
        after, outcome = step(world, now, decision.orders)
        ledger.note(which, now, decision, after, outcome, seconds)
        state = after if which.size == state.batch else put(state, which, after)
        saved = 0
        for b in which[~after.running].tolist():
            row = ledger.row(b, state)
            saved += row["horizon"] - row["steps"]
            finished(pairs[b], row)
        progress(which.size + saved)
