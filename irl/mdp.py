"""Tabular decision processes without a reward, and demonstrations in them.

An `MDP` says what may happen, not what is wanted; `irl.soft_vi` adds a reward, and
`irl.likelihood` compares with what was done. Shape names::

    n_state, n_action, d    states, actions per state, reward features
    T                       steps of a finite horizon, 1 where the horizon is infinite
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irl.errors import IrlError

# A row of probabilities may miss one by rounding of the file that it came from.
_SUM_TOLERANCE = 1e-8


@dataclass(frozen=True, eq=False, kw_only=True)
class MDP:
    """A decision process with sparse transitions.

    An action without successors is not available in its state. A terminal state has no
    successors at all; its reward is collected once, by action 0, which ends the episode.

    Raises
    ------
    IrlError
        For probabilities that do not sum to one, states that do not exist, a state without
        actions that is not terminal, or an infinite horizon without discount.
    """

    row_start: NDArray[np.int64]  # [n_state * n_action + 1] start of each row of transitions
    successor: NDArray[np.int64]  # [n_transition] state
    probability: NDArray[np.float64]  # [n_transition]
    initial: NDArray[np.float64]  # [n_state] distribution of the first state
    terminal: NDArray[np.bool_]  # [n_state]
    discount: float
    horizon: int | None = None  # steps; None: infinite
    available: NDArray[np.bool_] = field(init=False)  # [n_state, n_action]

    def __post_init__(self) -> None:
        kinds = {
            "row_start": np.int64,
            "successor": np.int64,
            "probability": np.float64,
            "initial": np.float64,
            "terminal": np.bool_,
        }
        for name, kind in kinds.items():
            own: NDArray[Any] = np.array(getattr(self, name), dtype=kind)
            own.setflags(write=False)
            object.__setattr__(self, name, own)
        self._check_shapes()
        self._check_probabilities()
        available = np.diff(self.row_start).reshape(self.n_state, -1) > 0
        stuck = ~available.any(axis=1) & ~self.terminal
        if stuck.any():
            raise IrlError(
                f"{stuck.sum()} states have no action and are not terminal: {_some(stuck)}. "
                "Give them transitions, or mark them as terminal."
            )
        moving = available.any(axis=1) & self.terminal
        if moving.any():
            raise IrlError(
                f"{moving.sum()} terminal states have transitions: {_some(moving)}. "
                "Drop the transitions, or do not mark them as terminal."
            )
        available[self.terminal, 0] = True
        available.setflags(write=False)
        object.__setattr__(self, "available", available)

    @property
    def n_state(self) -> int:
        return self.initial.size

    @property
    def n_action(self) -> int:
        return (self.row_start.size - 1) // self.n_state

    @property
    def n_step(self) -> int:
        """Steps that have a policy of their own: the horizon, or one where it is infinite."""
        return self.horizon or 1

    def _check_shapes(self) -> None:
        rows = self.row_start.size - 1
        if self.initial.ndim != 1 or not self.initial.size or rows % max(self.initial.size, 1):
            raise IrlError(
                f"{rows} rows of transitions do not divide among {self.initial.size} states; "
                "there must be one row for each state and action."
            )
        if self.terminal.shape != self.initial.shape:
            raise IrlError("terminal and initial must have one entry for each state.")
        increasing = bool((np.diff(self.row_start) >= 0).all()) and self.row_start[0] == 0
        if rows < 1 or not increasing or self.row_start[-1] != self.successor.size:
            raise IrlError("row_start must begin at 0, never fall, and end at len(successor).")
        if self.probability.shape != self.successor.shape:
            raise IrlError("successor and probability must have the same length.")
        wrong = (self.successor < 0) | (self.successor >= self.n_state)
        if wrong.any():
            raise IrlError(
                f"{wrong.sum()} transitions lead to states that do not exist "
                f"(valid: 0..{self.n_state - 1}): {_some(wrong, self.successor)}."
            )
        if self.horizon is not None and self.horizon < 1:
            raise IrlError(f"horizon is {self.horizon}; it must be at least 1, or None.")
        if not 0.0 < self.discount <= 1.0 or (self.horizon is None and self.discount == 1.0):
            raise IrlError(
                f"discount is {self.discount}; it must be above 0 and below 1 "
                "(exactly 1 only with a finite horizon)."
            )

    def _check_probabilities(self) -> None:
        for name in ("probability", "initial"):
            value = getattr(self, name)
            if not np.isfinite(value).all() or (value < 0).any():
                raise IrlError(f"{name} must be finite and not negative.")
        if abs(self.initial.sum() - 1.0) > _SUM_TOLERANCE:
            raise IrlError(f"initial sums to {self.initial.sum():.9g}, not to one.")
        filled = np.diff(self.row_start) > 0
        total = np.ones(filled.size)
        if filled.any():
            total[filled] = np.add.reduceat(self.probability, self.row_start[:-1][filled])
        wrong = np.abs(total - 1.0) > _SUM_TOLERANCE
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise IrlError(
                f"{wrong.sum()} rows of transitions do not sum to one; the first is state "
                f"{row // self.n_action}, action {row % self.n_action}: {total[row]:.9g}."
            )


def from_dense(
    transition: ArrayLike,
    discount: float,
    *,
    initial: ArrayLike | None = None,
    terminal: ArrayLike | None = None,
    horizon: int | None = None,
) -> MDP:
    """An MDP from probabilities ``transition`` [n_state, n_action, n_state].

    A row of zeros is an action that is not available. Without ``initial`` every state is equally
    likely to be the first; rows of ``terminal`` states are dropped.
    """
    table = np.array(transition, dtype=np.float64)
    if table.ndim != 3 or table.shape[0] != table.shape[2] or not table.size:
        raise IrlError(
            f"transition has shape {table.shape}; it must be [n_state, n_action, n_state]."
        )
    n_state = table.shape[0]
    ends = np.zeros(n_state, bool) if terminal is None else np.array(terminal, dtype=np.bool_)
    if ends.shape != (n_state,):
        raise IrlError(f"terminal has shape {ends.shape}; it must be [{n_state}].")
    table[ends] = 0.0
    rows = table.reshape(-1, n_state)
    row, successor = np.nonzero(rows)
    return MDP(
        row_start=np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(rows)))]),
        successor=successor,
        probability=rows[row, successor],
        initial=np.full(n_state, 1 / n_state) if initial is None else np.asarray(initial),
        terminal=ends,
        discount=discount,
        horizon=horizon,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Demonstrations:
    """Episodes of any length, one behind the other.

    An episode that ends in a terminal state has that state as its last step, with action 0.
    """

    start: NDArray[np.int64]  # [n_episode + 1] first step of each episode
    state: NDArray[np.int64]  # [n_step_total]
    action: NDArray[np.int64]  # [n_step_total]

    @property
    def n_episode(self) -> int:
        return self.start.size - 1

    @property
    def time(self) -> NDArray[np.int64]:
        """Step within its episode, [n_step_total]."""
        lengths = np.diff(self.start)
        return np.arange(self.state.size) - np.repeat(self.start[:-1], lengths)


def demonstrations(
    mdp: MDP, episodes: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> Demonstrations:
    """Check episodes of (states, actions) against ``mdp`` and join them.

    There may be one state more than actions: the state where the episode ended. If that is
    terminal, its reward counts; otherwise it is dropped, because nothing was decided there.
    """
    states: list[NDArray[np.int64]] = []
    actions: list[NDArray[np.int64]] = []
    for number, (visited, taken) in enumerate(episodes):
        state, action = np.array(visited, dtype=np.int64), np.array(taken, dtype=np.int64)
        if state.size - action.size not in (0, 1) or not state.size:
            raise IrlError(
                f"Episode {number} has {state.size} states and {action.size} actions; there must "
                "be as many states as actions, or one more."
            )
        if ((state < 0) | (state >= mdp.n_state)).any():
            raise IrlError(f"Episode {number} visits a state outside 0..{mdp.n_state - 1}.")
        if state.size > action.size:
            if mdp.terminal[state[-1]]:
                action = np.append(action, 0)
            else:
                state = state[:-1]
        _check_episode(mdp, number, state, action)
        states.append(state)
        actions.append(action)
    if not states or not sum(map(len, states)):
        raise IrlError("There are no demonstrations; give at least one episode with one action.")
    return Demonstrations(
        start=np.concatenate([[0], np.cumsum([len(s) for s in states])]).astype(np.int64),
        state=np.concatenate(states),
        action=np.concatenate(actions),
    )


def _check_episode(
    mdp: MDP, number: int, state: NDArray[np.int64], action: NDArray[np.int64]
) -> None:
    if ((action < 0) | (action >= mdp.n_action)).any():
        raise IrlError(f"Episode {number} takes an action outside 0..{mdp.n_action - 1}.")
    if mdp.horizon is not None and state.size > mdp.horizon:
        raise IrlError(
            f"Episode {number} has {state.size} steps; the horizon is {mdp.horizon}. "
            "Cut the episode, or raise the horizon."
        )
    missing = ~mdp.available[state, action]
    if missing.any():
        step = int(np.flatnonzero(missing)[0])
        raise IrlError(
            f"Episode {number}, step {step}: action {action[step]} is not available in state "
            f"{state[step]}."
        )
    for step in range(state.size - 1):
        row = state[step] * mdp.n_action + action[step]
        reached = slice(mdp.row_start[row], mdp.row_start[row + 1])
        if not mdp.probability[reached][mdp.successor[reached] == state[step + 1]].sum() > 0:
            raise IrlError(
                f"Episode {number}, step {step}: action {action[step]} in state {state[step]} "
                f"cannot lead to state {state[step + 1]}."
            )


def sample(
    mdp: MDP,
    policy: NDArray[np.float64],
    n_episode: int,
    rng: np.random.Generator,
    *,
    max_length: int | None = None,
) -> Demonstrations:
    """Episodes of ``policy`` [T, n_state, n_action], until a terminal state or the horizon.

    With an infinite horizon, ``max_length`` cuts what goes on for ever.
    """
    limit = mdp.horizon or max_length
    if limit is None:
        raise IrlError("An infinite horizon needs max_length to sample episodes.")
    episodes = []
    for _ in range(n_episode):
        state = int(rng.choice(mdp.n_state, p=mdp.initial))
        states, actions = [], []
        for step in range(limit):
            action = int(rng.choice(mdp.n_action, p=policy[step % len(policy), state]))
            states.append(state)
            actions.append(action)
            row = state * mdp.n_action + action
            reached = slice(mdp.row_start[row], mdp.row_start[row + 1])
            if mdp.terminal[state]:
                break
            state = int(rng.choice(mdp.successor[reached], p=mdp.probability[reached]))
        episodes.append((states, actions))
    return demonstrations(mdp, episodes)


def _some(mask: NDArray[np.bool_], value: NDArray[np.int64] | None = None) -> str:
    picked = np.flatnonzero(mask)[:5] if value is None else value[mask][:5]
    return ", ".join(map(str, picked)) + (", ..." if mask.sum() > 5 else "")
