"""Kernels of soft value iteration on sparse tabular decision processes.

The transition rows of state ``s`` and action ``a`` are the entries ``row_start[s * n_action + a]``
to the next start of ``successor`` and ``probability``. ``available`` says which actions a state
has; the others take no part. All floats are float64.
"""

import numpy as np

from gridrl.jit import kernel


@kernel
def soft_backup(
    row_start,
    successor,
    probability,
    available,
    reward,
    discount,
    value_next,
    value,
    log_policy,
    policy,
):
    """One backup: log-sum-exp over actions of reward plus discounted next value.

    Parameters
    ----------
    reward : [n_state, n_action]
    value_next : [n_state]
    value : [n_state]
        Filled with the soft values V.
    log_policy, policy : [n_state, n_action]
        Filled with Q - V and its exponential; minus infinity and 0 where not available.
    """
    n_state, n_action = reward.shape
    for s in range(n_state):
        highest = -np.inf
        for a in range(n_action):
            if not available[s, a]:
                log_policy[s, a] = -np.inf
                continue
            ahead = 0.0
            row = s * n_action + a
            for k in range(row_start[row], row_start[row + 1]):
                ahead += probability[k] * value_next[successor[k]]
            log_policy[s, a] = reward[s, a] + discount * ahead
            highest = max(highest, log_policy[s, a])
        total = 0.0
        for a in range(n_action):
            policy[s, a] = np.exp(log_policy[s, a] - highest)
            total += policy[s, a]
        value[s] = highest + np.log(total)
        for a in range(n_action):
            log_policy[s, a] -= value[s]
            policy[s, a] /= total


@kernel
def soft_backward(
    row_start,
    successor,
    probability,
    available,
    reward,
    discount,
    value,
    log_policy,
    policy,
    tolerance,
    limit,
):
    """Passes over all steps, from the last to the first, until the values settle.

    After each pass the first step's values become those behind the last. Of a finite horizon one
    pass is all there is (``limit`` 1); an endless one has a single step, passed again and again
    until no value changes by more than ``tolerance``.

    ``value`` [T + 1, n_state] has its last row set; ``log_policy`` and ``policy`` are
    [T, n_state, n_action].
    """
    n_step = log_policy.shape[0]
    for _ in range(limit):
        for t in range(n_step - 1, -1, -1):
            soft_backup(
                row_start,
                successor,
                probability,
                available,
                reward,
                discount,
                value[t + 1],
                value[t],
                log_policy[t],
                policy[t],
            )
        if limit == 1 or np.abs(value[0] - value[n_step]).max() <= tolerance:
            break
        value[n_step] = value[0]


@kernel
def forward(row_start, successor, probability, policy, discount, by_state, by_action, out):
    """Discounted flow through state-action pairs that starts from given inflows.

    Parameters
    ----------
    policy : [T, n_state, n_action]
    by_state : [T, n_state]
        Inflow that follows the policy from its own step on; overwritten by the flow by state.
    by_action : [T, n_state, n_action]
        Inflow that takes the given action first. It may be negative.
    out : [n_state, n_action]
        Filled with the flow summed over time; inflow counts fully, what it causes is discounted.
    """
    n_step, n_state, n_action = policy.shape
    out[:] = 0.0
    for t in range(n_step):
        for s in range(n_state):
            for a in range(n_action):
                flow = by_action[t, s, a] + by_state[t, s] * policy[t, s, a]
                if flow == 0.0:
                    continue
                out[s, a] += flow
                if t + 1 < n_step:
                    row = s * n_action + a
                    for k in range(row_start[row], row_start[row + 1]):
                        by_state[t + 1, successor[k]] += discount * probability[k] * flow


@kernel
def counts_ahead(
    row_start, successor, probability, policy, features, discount, ahead, by_action, by_state
):
    """Expected discounted features from each state-action pair on, one step further back.

    Parameters
    ----------
    policy : [n_state, n_action]
    features : [n_state, n_action, d]
    ahead : [n_state, d]
        The counts from the next step on.
    by_action, by_state : [n_state, n_action, d], [n_state, d]
        Filled with the counts from this step on.
    """
    n_state, n_action, n_feature = features.shape
    for s in range(n_state):
        for j in range(n_feature):
            by_state[s, j] = 0.0
        for a in range(n_action):
            for j in range(n_feature):
                by_action[s, a, j] = features[s, a, j]
            row = s * n_action + a
            for k in range(row_start[row], row_start[row + 1]):
                weight = discount * probability[k]
                for j in range(n_feature):
                    by_action[s, a, j] += weight * ahead[successor[k], j]
            for j in range(n_feature):
                by_state[s, j] += policy[s, a] * by_action[s, a, j]
