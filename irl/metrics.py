"""How close a recovered reward is to the true one, and a policy to the best.

No single figure will do: correlation and expected value difference can rank methods in opposite
order. Rewards are [n_state, n_action] or vectors; a value difference of 0 is perfect, 1 is as bad
as acting at random.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import splu
from scipy.stats import rankdata

from irl.errors import IrlError
from irl.likelihood import Likelihood
from irl.mdp import MDP, Demonstrations
from irl.soft_vi import closed_loop, occupancy, soft_value_iteration, transition_matrix


def pearson(found: ArrayLike, true: ArrayLike) -> float:
    """Correlation of two rewards; 0 where one of them is constant."""
    a, b = np.ravel(np.asarray(found, float)), np.ravel(np.asarray(true, float))
    if a.shape != b.shape or not a.size:
        raise IrlError(f"Rewards of {a.size} and {b.size} entries cannot be compared.")
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def spearman(found: ArrayLike, true: ArrayLike) -> float:
    """Correlation of ranks; ties share their mean rank."""
    one, other = (rankdata(np.ravel(np.asarray(r, float))) for r in (found, true))
    return pearson(one, other)


def standardised_mse(found: ArrayLike, true: ArrayLike) -> float:
    """Mean squared difference after both have mean 0 and variance 1: ``2 (1 - correlation)``."""
    return 2.0 * (1.0 - pearson(found, true))


def epic(mdp: MDP, found: ArrayLike, true: ArrayLike) -> float:
    """EPIC distance in 0..1 (Gleave et al. 2021), with uniform state and action coverage.

    Rewards of state and action are canonicalised with their mean over uniform actions, which
    removes potential shaping and constants; triples (s, a, s') are uniform.
    """
    one, other = (_canonical(mdp, reward) for reward in (found, true))
    return float(np.sqrt(max(0.0, 1.0 - pearson(one, other)) / 2.0))


def _canonical(mdp: MDP, reward: ArrayLike) -> NDArray[np.float64]:
    """C(R)(s, a, s') of EPIC for a reward of triples, [n_state, n_action, n_state]."""
    table = np.asarray(reward, float)
    if table.ndim != 3:
        table = np.repeat(by_action(mdp, table)[:, :, None], mdp.n_state, axis=2)
    mean = table.mean(axis=(1, 2))
    return np.asarray(
        table + mdp.discount * mean[None, None] - mean[:, None, None] - mdp.discount * mean.mean()
    )


def starc(mdp: MDP, found: ArrayLike, true: ArrayLike) -> float:
    """STARC distance in 0..1 (Skalse et al., ICLR 2024): value-adjusted levelling, L2 norm.

    ``c = Q - V`` of the uniform policy does not change under shaping; half the distance of both
    after scaling to length one is 0 for rewards that order all policies alike.
    """
    one, other = (_levelled(mdp, reward) for reward in (found, true))
    sizes = [float(np.linalg.norm(c)) for c in (one, other)]
    one, other = (c / s if s > 1e-12 else c for c, s in zip((one, other), sizes, strict=True))
    return float(np.linalg.norm(one - other)) / 2.0


def _levelled(mdp: MDP, reward: ArrayLike) -> NDArray[np.float64]:
    """Advantage of each available action over the uniform policy, endless horizon."""
    table = by_action(mdp, reward)
    if mdp.discount >= 1.0:
        raise IrlError("STARC needs a discount below 1.")
    uniform = mdp.available / mdp.available.sum(axis=1, keepdims=True)
    value = splu(closed_loop(mdp, uniform)).solve((uniform * table).sum(axis=1))
    ahead = (transition_matrix(mdp) @ value).reshape(table.shape)
    advantage = table + mdp.discount * ahead - value[:, None]
    return np.asarray(advantage[mdp.available])


def value_difference(mdp: MDP, found: ArrayLike, true: ArrayLike, *, soft: bool = False) -> float:
    """Loss of acting on ``found`` where ``true`` counts, as a share of what can be won.

    The best policy for ``found`` (hard), or its soft policy, is valued under ``true``; the loss
    is divided by that of the uniform policy. Ties of the hard policy are shared alike. Without
    anything to win the difference is 0.
    """
    table = by_action(mdp, found)
    policy = soft_value_iteration(mdp, table).policy if soft else best_policy(mdp, table)
    return policy_difference(mdp, policy, true, soft=soft)


def policy_difference(
    mdp: MDP, policy: NDArray[np.float64], true: ArrayLike, *, soft: bool = False
) -> float:
    """`value_difference` of a policy [T, n_state, n_action], however it came about."""
    reward = by_action(mdp, true)

    def worth(of: NDArray[np.float64]) -> float:
        return float((occupancy(mdp, of) * reward).sum())

    uniform = mdp.available / mdp.available.sum(axis=1, keepdims=True)
    ideal = soft_value_iteration(mdp, reward).policy if soft else best_policy(mdp, reward)
    best = worth(ideal)
    to_win = best - worth(np.repeat(uniform[None], mdp.n_step, axis=0))
    if abs(to_win) < 1e-12 * (1.0 + abs(best)):
        return 0.0
    return (best - worth(policy)) / to_win


def policy_loss(policy: NDArray[np.float64], data: Demonstrations) -> float:
    """Negative log-probability of logged actions under a policy, nats per action."""
    chance = policy[data.time % len(policy), data.state, data.action]
    return float(-np.log(np.maximum(chance, 1e-300)).mean())


def best_policy(mdp: MDP, reward: ArrayLike) -> NDArray[np.float64]:
    """Optimal policy [T, n_state, n_action]; equally good actions share their probability."""
    table = by_action(mdp, reward)
    moves = transition_matrix(mdp)
    value = np.zeros(mdp.n_state)
    size = np.abs(table).max() + 1e-300
    policy = np.zeros((mdp.n_step, mdp.n_state, mdp.n_action))
    rounds = mdp.horizon or 1 + int(np.ceil(np.log(1e-13) / np.log(mdp.discount)))
    for t in range(rounds - 1, -1, -1):
        q = table + mdp.discount * (moves @ value).reshape(table.shape)
        q[~mdp.available] = -np.inf
        value = q.max(axis=1)
        if t < mdp.n_step:
            ties = q >= value[:, None] - 1e-9 * size
            policy[t] = ties / ties.sum(axis=1, keepdims=True)
    return policy


def held_out_loss(likelihood: Likelihood, theta: NDArray[np.float64]) -> float:
    """Negative log-likelihood of data that no fit has seen, nats per observation."""
    return likelihood.value(theta)[0] / likelihood.n_observation


def coverage(intervals: ArrayLike, true: ArrayLike) -> float:
    """Share of ``true`` [n] that lies within its interval, ``intervals`` [n, 2]."""
    ends, value = np.asarray(intervals, float), np.asarray(true, float)
    if ends.shape != (*value.shape, 2) or not value.size:
        raise IrlError(f"Intervals of shape {ends.shape} do not fit {value.shape} values.")
    return float(((ends[..., 0] <= value) & (value <= ends[..., 1])).mean())


def by_action(mdp: MDP, reward: ArrayLike) -> NDArray[np.float64]:
    """A reward by state as one by state and action; others pass, checked."""
    table = np.asarray(reward, float)
    if table.shape == (mdp.n_state,):
        table = np.repeat(table[:, None], mdp.n_action, axis=1)
    if table.shape != (mdp.n_state, mdp.n_action) or not np.isfinite(table).all():
        raise IrlError(
            f"The reward has shape {table.shape}; it must be finite and [{mdp.n_state}] or "
            f"[{mdp.n_state}, {mdp.n_action}]."
        )
    return table
