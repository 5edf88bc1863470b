"""Kernels of soft value iteration on sparse tabular decision processes.

The transition rows of state ``s`` and action ``a`` are the entries ``row_start[s * n_action + a]``
to the next start of ``successor`` and ``probability``. ``available`` says which actions a state
has; the others take no part. All floats are float64.
"""

import numpy as np

from gridrl.jit import kernel


@kernel
def exponentials(exponent, out, power):
    """``out`` = exp of exponents that are not positive, within a unit in the last place.

    Cody and Waite's reduction and a Taylor polynomial, in two loops that LLVM turns into SIMD
    instructions: four times as fast as calls of the C library. Below -700 it stays at exp(-700).

    Parameters
    ----------
    exponent, out : [n]
    power : int64[n]
        Scratch.
    """
    for i in range(exponent.size):
        x = max(exponent[i], -700.0)
        # Adding 1.5 * 2^52 rounds to the nearest whole number.
        whole = (x * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0
        x = (x - whole * 6.93147180369123816490e-01) - whole * 1.90821492927058770002e-10
        p = 1.6059043836821613e-10
        p = p * x + 2.08767569878681e-09
        p = p * x + 2.505210838544172e-08
        p = p * x + 2.755731922398589e-07
        p = p * x + 2.7557319223985893e-06
        p = p * x + 2.48015873015873e-05
        p = p * x + 0.0001984126984126984
        p = p * x + 0.001388888888888889
        p = p * x + 0.008333333333333333
        p = p * x + 0.041666666666666664
        p = p * x + 0.16666666666666666
        p = p * x + 0.5
        p = p * x + 1.0
        out[i] = p * x + 1.0
        power[i] = np.int64(whole)
    for i in range(exponent.size):
        out[i] *= np.int64((power[i] + 1023) << 52).view(np.float64)


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
    power,
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
    power : int64[n_state * n_action]
        Scratch.
    """
    n_state, n_action = reward.shape
    # Unsigned numbers are no negative indices: that halves the time of this loop.
    begin = np.uint64(0)
    for s in range(n_state):
        highest = -np.inf
        for a in range(n_action):
            end = np.uint64(row_start[s * n_action + a + 1])
            ahead = 0.0
            for k in range(begin, end):
                ahead += probability[k] * value_next[np.uint64(successor[k])]
            begin = end
            log_policy[s, a] = reward[s, a] + discount * ahead if available[s, a] else -np.inf
            highest = max(highest, log_policy[s, a])
        value[s] = highest
        for a in range(n_action):
            log_policy[s, a] -= highest
    exponentials(log_policy.reshape(-1), policy.reshape(-1), power)
    for s in range(n_state):
        total = 0.0
        for a in range(n_action):
            if not available[s, a]:
                policy[s, a] = 0.0
            total += policy[s, a]
        shift, scale = np.log(total), 1.0 / total
        value[s] += shift
        for a in range(n_action):
            log_policy[s, a] -= shift
            policy[s, a] *= scale


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
    [T, n_state, n_action]. Returns the largest change of the last pass.
    """
    n_step = log_policy.shape[0]
    power = np.empty(reward.size, np.int64)
    change = np.inf
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
                power,
            )
        if limit == 1 and n_step > 1:
            break
        change = np.abs(value[0] - value[n_step]).max()
        if change <= tolerance:
            break
        value[n_step] = value[0]
    return change


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
                    flow *= discount
                    for k in range(np.uint64(row_start[row]), np.uint64(row_start[row + 1])):
                        by_state[t + 1, np.uint64(successor[k])] += probability[k] * flow


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
