"""The gridworld of the benchmark: rewards of several agents that overlap by a known amount."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from irl.errors import IrlError
from irl.mdp import MDP, from_dense

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))


def gridworld(
    side: int = 8, *, slip: float = 0.1, discount: float = 0.95, horizon: int | None = 20
) -> MDP:
    """A square of ``side`` x ``side`` states, four moves and staying.

    With probability ``slip`` the move is drawn afresh, all five alike. Walls hold one in place.
    """
    if side < 1 or not 0.0 <= slip <= 1.0:
        raise IrlError(f"A gridworld needs side >= 1 and slip in 0..1; got {side} and {slip}.")
    n_state = side * side
    table = np.zeros((n_state, len(MOVES), n_state))
    row, column = np.divmod(np.arange(n_state), side)
    for action, (down, right) in enumerate(MOVES):
        to = np.clip(row + down, 0, side - 1) * side + np.clip(column + right, 0, side - 1)
        table[np.arange(n_state), action, to] += 1.0 - slip
        for other in range(len(MOVES)):
            table[np.arange(n_state), other, to] += slip / len(MOVES)
    return from_dense(table, discount, horizon=horizon)


def positions(side: int) -> NDArray[np.float64]:
    """Row and column of each state, [n_state, 2]."""
    return np.stack(np.divmod(np.arange(side * side), side), axis=1).astype(np.float64)


def overlapping_rewards(
    side: int,
    n_agent: int,
    overlap: float,
    rng: np.random.Generator,
    *,
    kind: Literal["smooth", "sparse"] = "smooth",
    scale: float = 2.0,
) -> NDArray[np.float64]:
    """Rewards by state of several agents, [n_agent, n_state].

    Each is ``sqrt(overlap)`` of one shared field and ``sqrt(1 - overlap)`` of a field of its own,
    with mean 0 and standard deviation ``scale``. Smooth fields are sums of bumps, sparse ones are
    six states of value 1 or -1.
    """
    if not 0.0 <= overlap <= 1.0:
        raise IrlError(f"overlap is {overlap}; it must lie in 0..1.")

    def drawn() -> NDArray[np.float64]:
        if kind == "smooth":
            centre = rng.uniform(0, side - 1, (4, 2))
            sign = rng.choice([-1.0, 1.0], 4)
            away = ((positions(side)[:, None] - centre) ** 2).sum(axis=2)
            one = np.exp(-away / (2 * 1.5**2)) @ sign
        else:
            one = np.zeros(side * side)
            picked = rng.choice(side * side, min(6, side * side), replace=False)
            one[picked] = rng.choice([-1.0, 1.0], picked.size)
        return np.asarray((one - one.mean()) / (one.std() or 1.0))

    shared = drawn()
    rewards = np.array(
        [np.sqrt(overlap) * shared + np.sqrt(1 - overlap) * drawn() for _ in range(n_agent)]
    )
    rewards -= rewards.mean(axis=1, keepdims=True)
    return np.asarray(scale * rewards / rewards.std(axis=1, keepdims=True))
