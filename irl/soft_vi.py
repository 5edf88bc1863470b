"""Soft value iteration: the policy of an agent that maximises reward plus entropy.

``Q(s, a) = r(s, a) + discount E V(s')``, ``V = log sum exp Q``, ``policy = exp(Q - V)``
(Ziebart, Bagnell and Dey, ICML 2010). Rewards are in units of the policy's temperature.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import splu

from gridrl.jit import announced
from irl import kernels_soft as kernels
from irl.errors import IrlError
from irl.mdp import MDP

# Of the values, relative to their size: what gradients to 1e-8 need.
_TOLERANCE = 1e-13
# Newton steps that are tried before backups alone go on, and backups before each.
_NEWTON_STEPS, _BACKUPS_BETWEEN = 30, 40


@dataclass(frozen=True, eq=False, kw_only=True)
class SoftSolution:
    """Values and policy under one reward; one step where the horizon is infinite."""

    value: NDArray[np.float64]  # [T, n_state]
    log_policy: NDArray[np.float64]  # [T, n_state, n_action], -inf where not available
    policy: NDArray[np.float64]  # [T, n_state, n_action] probabilities


def soft_value_iteration(mdp: MDP, reward: ArrayLike) -> SoftSolution:
    """Soft values and policy under ``reward`` [n_state, n_action] or [n_state]."""
    table = np.asarray(reward, dtype=np.float64)
    if table.shape == (mdp.n_state,):
        table = np.repeat(table[:, None], mdp.n_action, axis=1)
    if table.shape != (mdp.n_state, mdp.n_action) or not np.isfinite(table).all():
        raise IrlError(
            f"reward has shape {table.shape}; it must be finite and of shape [{mdp.n_state}, "
            f"{mdp.n_action}] or [{mdp.n_state}]."
        )
    table = np.ascontiguousarray(table)
    shape = (mdp.n_step, mdp.n_state, mdp.n_action)
    log_policy, policy = np.empty(shape), np.empty(shape)
    value = np.zeros((mdp.n_step + 1, mdp.n_state))

    def backups(limit: int, tolerance: float) -> float:
        with announced("inverse reinforcement learning"):
            change: float = kernels.soft_backward(
                mdp.row_start, mdp.successor, mdp.probability, mdp.available, table, mdp.discount,
                value, log_policy, policy, tolerance, limit,
            )  # fmt: skip
        return change

    if mdp.horizon is not None:
        backups(1, 0.0)
    else:
        _settle(mdp, table, backups, value, log_policy, policy)
    return SoftSolution(value=value[:-1], log_policy=log_policy, policy=policy)


def _settle(
    mdp: MDP,
    table: NDArray[np.float64],
    backups: Callable[[int, float], float],
    value: NDArray[np.float64],
    log_policy: NDArray[np.float64],
    policy: NDArray[np.float64],
) -> None:
    """Soft values of an endless horizon: backups, with the value of each policy in between.

    The value of the soft policy of V is a Newton step from V, so that a handful takes the place of
    hundreds of backups (Puterman and Brumelle 1979, for the entropy-regularised operator).
    """
    size = (np.abs(table).max() + np.log(mdp.n_action) + 1.0) / (1.0 - mdp.discount)
    tolerance = _TOLERANCE * size
    # Each backup shrinks the error by the discount: this limit is never what stops it.
    limit = int(np.ceil(np.log(_TOLERANCE) / np.log(mdp.discount))) + 10
    for _ in range(_NEWTON_STEPS):
        if backups(_BACKUPS_BETWEEN, tolerance) <= tolerance:
            return
        surprise = table - np.where(policy[0] > 0, log_policy[0], 0.0)
        gained = (policy[0] * surprise).sum(axis=1)
        value[-1] = splu(closed_loop(mdp, policy[0])).solve(gained)
    backups(limit, tolerance)


def transition_matrix(mdp: MDP) -> sp.csr_array:
    """Probabilities as a sparse matrix [n_state * n_action, n_state]."""
    shape = (mdp.n_state * mdp.n_action, mdp.n_state)
    return sp.csr_array((mdp.probability, mdp.successor, mdp.row_start), shape=shape)


def closed_loop(mdp: MDP, policy: NDArray[np.float64]) -> sp.csc_array:
    """I minus the discounted transitions between states under one policy."""
    steps = np.repeat(np.arange(mdp.n_state), mdp.n_action)
    chosen = sp.csr_array(
        (policy.ravel(), (steps, np.arange(policy.size))), shape=(mdp.n_state, policy.size)
    )
    return sp.csc_array(
        sp.eye_array(mdp.n_state) - mdp.discount * (chosen @ transition_matrix(mdp))
    )


def flow(
    mdp: MDP,
    policy: NDArray[np.float64],
    by_state: NDArray[np.float64],
    by_action: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Discounted expected visits of state-action pairs that given inflows cause.

    Parameters
    ----------
    policy : [T, n_state, n_action]
    by_state : [T, n_state]
        Inflow that follows the policy at once.
    by_action : [T, n_state, n_action]
        Inflow that takes the given action first; it may be negative.

    Returns
    -------
    [n_state, n_action], summed over time.
    """
    actions = np.zeros_like(policy) if by_action is None else by_action
    if mdp.horizon is not None:
        out = np.empty(policy.shape[1:])
        kernels.forward(
            mdp.row_start,
            mdp.successor,
            mdp.probability,
            policy,
            mdp.discount,
            by_state.copy(),
            actions,
            out,
        )
        return out
    inflow = by_state[0] + mdp.discount * (transition_matrix(mdp).T @ actions[0].ravel())
    visits = splu(closed_loop(mdp, policy[0]).T.tocsc()).solve(inflow)
    return np.asarray(actions[0] + visits[:, None] * policy[0])


def occupancy(mdp: MDP, policy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Discounted expected visits of state-action pairs from the first state on.

    ``policy`` is [T, n_state, n_action], the result [n_state, n_action].
    """
    start = np.zeros(policy.shape[:2])
    start[0] = mdp.initial
    return flow(mdp, policy, start)


def choice_covariance(
    mdp: MDP,
    policy: NDArray[np.float64],
    features: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sum over steps and states of ``weight`` times the covariance of features ahead.

    The covariance is over the policy's choice of action, of the expected discounted features
    from that choice on (G of the mathematics page). It is positive semidefinite.

    Parameters
    ----------
    policy : [T, n_state, n_action]
    features : [n_state, n_action, d]
    weight : [T, n_state]

    Returns
    -------
    [d, d]
    """
    d = features.shape[2]
    total = np.zeros((d, d))
    ahead = np.zeros((mdp.n_state, d))
    if mdp.horizon is None:
        here = np.einsum("sa,sad->sd", policy[0], features)
        ahead = np.ascontiguousarray(splu(closed_loop(mdp, policy[0])).solve(here))
    by_action, by_state = np.empty_like(features), np.empty_like(ahead)
    for t in range(len(policy) - 1, -1, -1):
        kernels.counts_ahead(
            mdp.row_start,
            mdp.successor,
            mdp.probability,
            policy[t],
            features,
            mdp.discount,
            ahead,
            by_action,
            by_state,
        )
        seen = weight[t] > 0
        if seen.any():
            spread = by_action[seen] - by_state[seen][:, None]
            root = np.sqrt(weight[t][seen][:, None] * policy[t][seen])
            rows = (root[:, :, None] * spread).reshape(-1, d)
            total += rows.T @ rows
        ahead, by_state = by_state, ahead
    return total
