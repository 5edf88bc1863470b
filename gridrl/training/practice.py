"""What a policy runs into when it operates grids itself (DAgger, Ross, Gordon and Bagnell 2011).

States drawn at random are not those that a policy's own orders lead to. The expert's marks of the
latter are further lessons.
"""

import numpy as np

from gridrl.env.choices import Choices
from gridrl.env.simulate import taken
from gridrl.env.state import State
from gridrl.env.step import reset, step
from gridrl.env.vector import put
from gridrl.env.world import World
from gridrl.policies.policy import Policy

SIDE_BY_SIDE = 16  # grids that are operated
PAUSE = 6  # steps between two states of one grid that are kept
LONGEST = 2000  # steps that are played at most


def visited(
    world: World, choices: Choices, policy: Policy, size: int, rng: np.random.Generator
) -> State | None:
    """Up to ``size`` states in which the policy looked for something to do; None: there was none.

    Episodes begin at random rows, and begin anew where one is over.
    """
    state = _begun(world, SIDE_BY_SIDE, rng)
    kept: list[State] = []
    got = 0
    last = np.full(SIDE_BY_SIDE, -PAUSE)
    for now in range(LONGEST):
        decision = policy.decide(world, choices, state, rng)
        new = np.flatnonzero(decision.active & (now - last >= PAUSE))[: size - got]
        if new.size:
            kept.append(taken(state, new))
            got += new.size
            last[new] = now
        if got >= size:
            break
        state, _ = step(world, state, decision.orders)
        over = np.flatnonzero(~state.running)
        if over.size:
            state = put(state, over, _begun(world, over.size, rng))
            last[over] = now - PAUSE
    if not kept:
        return None
    names = State.__dataclass_fields__
    return State(**{name: np.concatenate([getattr(part, name) for part in kept]) for name in names})


def _begun(world: World, size: int, rng: np.random.Generator) -> State:
    """Grids that run, at random rows of random episodes."""
    series = world.series
    while True:
        episode = rng.integers(series.n_episode, size=size)
        first = rng.integers(np.maximum(np.diff(series.start)[episode] - 2, 1))
        state = reset(world, rng, episode=episode, first=first)
        if state.running.all():
            return state
