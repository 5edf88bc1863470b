"""How well a reward explains what was done: three likelihoods with one interface.

Each is a negative log-likelihood in nats, summed over the data, of parameters ``theta`` [d]:

- `FeatureMatching`: the dual of maximum-entropy IRL. Needs states alone, is convex, and treats
  chance in the transitions as if it were wanted.
- `ActionLikelihood`: of the actions, given the states. Prefer it wherever actions are logged.
- `CandidateChoice`: conditional logit over listed candidates (McFadden 1974); convex.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irl.errors import IrlError
from irl.mdp import MDP, Demonstrations
from irl.soft_vi import choice_covariance, flow, soft_value_iteration, transition_matrix


class Likelihood(Protocol):
    """What a fit asks of the data."""

    @property
    def n_parameter(self) -> int: ...

    @property
    def n_observation(self) -> int: ...

    def value(self, theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Negative log-likelihood in nats, and its gradient [d]."""
        ...

    def curvature(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positive semidefinite Hessian, or Fisher information where that differs, [d, d]."""
        ...


def state_features(mdp: MDP, features: ArrayLike | None = None) -> NDArray[np.float64]:
    """Features [n_state, n_action, d] from features by state [n_state, d]; one-hot by default."""
    table = np.eye(mdp.n_state) if features is None else np.asarray(features, dtype=np.float64)
    if table.ndim == 2:
        table = np.repeat(table[:, None, :], mdp.n_action, axis=1)
    if table.shape[:2] != (mdp.n_state, mdp.n_action) or not np.isfinite(table).all():
        raise IrlError(
            f"features have shape {table.shape}; they must be finite and [{mdp.n_state}, d] or "
            f"[{mdp.n_state}, {mdp.n_action}, d]."
        )
    return np.ascontiguousarray(table)


class FeatureMatching:
    """Dual of maximum-entropy IRL: expected soft value minus the reward that was collected.

    Episodes must be complete: up to a terminal state, or to the horizon.
    """

    def __init__(self, mdp: MDP, data: Demonstrations, features: ArrayLike | None = None) -> None:
        last = data.start[1:] - 1
        whole = mdp.terminal[data.state[last]]
        if mdp.horizon is not None:
            whole = whole | (np.diff(data.start) == mdp.horizon)
        if not whole.all():
            raise IrlError(
                f"{(~whole).sum()} of {data.n_episode} episodes end early, so their features "
                "cannot be matched with expected ones. Use ActionLikelihood, or whole episodes."
            )
        self.mdp = mdp
        self.features = state_features(mdp, features)
        share = mdp.discount ** data.time.astype(np.float64)
        self._collected = share @ self.features[data.state, data.action]
        self._first = np.zeros((mdp.n_step, mdp.n_state))
        self._first[0] = np.bincount(data.state[data.start[:-1]], minlength=mdp.n_state)
        self.n_observation = data.n_episode

    @property
    def n_parameter(self) -> int:
        return int(self.features.shape[2])

    def value(self, theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        soft = soft_value_iteration(self.mdp, self.features @ theta)
        visits = flow(self.mdp, soft.policy, self._first)
        expected = np.tensordot(visits, self.features, axes=2)
        value = float(self._first[0] @ soft.value[0] - theta @ self._collected)
        return value, expected - self._collected

    def curvature(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Exact Hessian: discounted visits times the covariance of the choices made there."""
        policy = soft_value_iteration(self.mdp, self.features @ theta).policy
        weight = self._visits(policy)
        return choice_covariance(self.mdp, policy, self.features, weight)

    def _visits(self, policy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Discounted visits by step, [T, n_state]."""
        if self.mdp.horizon is None:
            return np.asarray(flow(self.mdp, policy, self._first).sum(axis=1)[None])
        ahead = transition_matrix(self.mdp).T
        weight = self._first.copy()
        for t in range(len(policy) - 1):
            moved = (weight[t][:, None] * policy[t]).ravel()
            weight[t + 1] += self.mdp.discount * (ahead @ moved)
        return weight


class ActionLikelihood:
    """Negative log-probability of the actions taken, given the states that they were taken in.

    Its gradient needs one backward and one forward pass, however many features there are. The
    curvature is the Fisher information of the choices; the function need not be convex.
    """

    def __init__(self, mdp: MDP, data: Demonstrations, features: ArrayLike | None = None) -> None:
        self.mdp = mdp
        self.data = data
        self.features = state_features(mdp, features)
        step = data.time if mdp.horizon is not None else np.zeros_like(data.time)
        self._count = np.zeros((mdp.n_step, mdp.n_state, mdp.n_action))
        np.add.at(self._count, (step, data.state, data.action), 1.0)
        self._seen = self._count.sum(axis=2)
        self.n_observation = data.state.size

    @property
    def n_parameter(self) -> int:
        return int(self.features.shape[2])

    def value(self, theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        soft = soft_value_iteration(self.mdp, self.features @ theta)
        taken = self._count > 0
        loss = -float(self._count[taken] @ soft.log_policy[taken])
        surplus = self._count - self._seen[:, :, None] * soft.policy
        pull = flow(self.mdp, soft.policy, np.zeros_like(self._seen), surplus)
        return loss, -np.tensordot(pull, self.features, axes=2)

    def curvature(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        policy = soft_value_iteration(self.mdp, self.features @ theta).policy
        return choice_covariance(self.mdp, policy, self.features, self._seen)


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateChoice:
    """Conditional logit: one candidate chosen from each decision's own list.

    Where only a sample of all candidates is listed, ``log_sampling`` holds the logarithm of the
    probability that each was listed (McFadden 1978); zero otherwise.
    """

    features: NDArray[np.float64]  # [n_candidate, d], all decisions one behind the other
    start: NDArray[np.int64]  # [n_decision + 1] first candidate of each decision
    chosen: NDArray[np.int64]  # [n_decision] index into all candidates
    log_sampling: NDArray[np.float64] | None = None  # [n_candidate]

    def __post_init__(self) -> None:
        start, chosen = np.array(self.start, np.int64), np.array(self.chosen, np.int64)
        features = np.array(self.features, np.float64)
        if features.ndim != 2 or start.ndim != 1 or start.size < 2 or start[0] != 0:
            raise IrlError("features must be [n_candidate, d]; start must begin at 0.")
        if start[-1] != len(features) or (np.diff(start) < 1).any():
            raise IrlError("Every decision needs a candidate, and start must end at n_candidate.")
        if chosen.shape != (start.size - 1,):
            raise IrlError(f"{chosen.size} choices for {start.size - 1} decisions.")
        outside = (chosen < start[:-1]) | (chosen >= start[1:])
        if outside.any():
            raise IrlError(
                f"{outside.sum()} decisions chose what was not among their candidates; the first "
                f"is decision {int(np.flatnonzero(outside)[0])}."
            )
        offset = np.zeros(len(features)) if self.log_sampling is None else self.log_sampling
        offset = np.array(offset, np.float64)
        if offset.shape != (len(features),) or not np.isfinite(offset).all():
            raise IrlError("log_sampling must be finite, one number for each candidate.")
        if not np.isfinite(features).all():
            raise IrlError("features must be finite.")
        for name, own in (
            ("features", features),
            ("start", start),
            ("chosen", chosen),
            ("log_sampling", offset),
        ):
            own.setflags(write=False)
            object.__setattr__(self, name, own)

    @property
    def n_parameter(self) -> int:
        return int(self.features.shape[1])

    @property
    def n_observation(self) -> int:
        return int(self.chosen.size)

    def log_probability(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each candidate within its decision, [n_candidate]."""
        utility = self.features @ theta
        if self.log_sampling is not None:
            utility = utility - self.log_sampling
        size = np.diff(self.start)
        centred = utility - np.repeat(np.maximum.reduceat(utility, self.start[:-1]), size)
        total = np.add.reduceat(np.exp(centred), self.start[:-1])
        return np.asarray(centred - np.repeat(np.log(total), size))

    def value(self, theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_p = self.log_probability(theta)
        gradient = np.exp(log_p) @ self.features - self.features[self.chosen].sum(axis=0)
        return -float(log_p[self.chosen].sum()), gradient

    def curvature(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        p = np.exp(self.log_probability(theta))[:, None]
        mean = np.add.reduceat(p * self.features, self.start[:-1], axis=0)
        spread = self.features - np.repeat(mean, np.diff(self.start), axis=0)
        return np.asarray((p * spread).T @ spread)
