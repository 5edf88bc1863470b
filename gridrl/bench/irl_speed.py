"""Soft value iteration and occupancy beside the plain dense NumPy recurrences.

The plain version is what a tabular maximum-causal-entropy implementation in NumPy does (the
library `imitation` has these recurrences): transitions as one dense array
``[n_state, n_action, n_state]``; backwards ``Q[t] = r + discount * (P @ V[t + 1])`` and
``V[t] = logsumexp(Q[t])``; forwards one dense product for each step and action. It is a fair
picture of common practice, not the fastest that NumPy can do: `tight` is that, the same dense
table as one matrix, two matrix-vector products a step.
"""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from scipy.special import logsumexp

from gridrl.arrays import Floats

REPEATS = 7
EQUAL = 1e-10


def plain(table: Floats, reward: Floats, discount: float, horizon: int, first: Floats) -> Floats:
    """Discounted visits [n_state]; ``table`` [n_state, n_action, n_state], ``reward`` [n_state]."""
    n_state, n_action, _ = table.shape
    value = np.zeros((horizon + 1, n_state))
    q = np.zeros((horizon, n_state, n_action))
    for t in reversed(range(horizon)):
        q[t] = reward[:, None] + discount * (table @ value[t + 1])
        value[t] = logsumexp(q[t], axis=1)
    policy = np.exp(q - value[:-1, :, None])
    there = np.zeros((horizon + 1, n_state))
    there[0] = first
    for t in range(horizon):
        for a in range(n_action):
            there[t + 1] += (there[t] * policy[t, :, a]) @ table[:, a, :]
    return np.asarray(discount ** np.arange(horizon) @ there[:-1])


def tight(table: Floats, reward: Floats, discount: float, horizon: int, first: Floats) -> Floats:
    """The same with as few calls as dense NumPy allows."""
    n_state, n_action, _ = table.shape
    flat = table.reshape(-1, n_state)
    value = np.zeros(n_state)
    policy = np.empty((horizon, n_state, n_action))
    for t in reversed(range(horizon)):
        q = reward[:, None] + discount * (flat @ value).reshape(n_state, n_action)
        highest = q.max(axis=1, keepdims=True)
        np.exp(q - highest, out=policy[t])
        total = policy[t].sum(axis=1, keepdims=True)
        policy[t] /= total
        value = (highest + np.log(total))[:, 0]
    there, visits = first.copy(), np.zeros(n_state)
    for t in range(horizon):
        visits += discount**t * there
        there = (there[:, None] * policy[t]).ravel() @ flat
    return visits


def speed(side: int) -> dict[str, Any]:
    """CPU time of one backward and one forward pass, least of some turns, results compared."""
    world: Any = import_module("irl.gridworld")
    soft: Any = import_module("irl.soft_vi")
    mdp = world.gridworld(side)
    reward = np.random.default_rng(0).normal(size=mdp.n_state)
    table = soft.transition_matrix(mdp).toarray().reshape(mdp.n_state, mdp.n_action, mdp.n_state)

    def ours() -> Floats:
        policy = soft.soft_value_iteration(mdp, reward).policy
        return np.asarray(soft.occupancy(mdp, policy).sum(axis=1))

    given = (table, reward, mdp.discount, mdp.horizon, mdp.initial)
    runs: dict[str, Callable[[], Floats]] = {
        "ours": ours, "plain": lambda: plain(*given), "tight": lambda: tight(*given),
    }  # fmt: skip
    results = {name: run() for name, run in runs.items()}  # compiles
    apart = max(float(np.abs(found - results["ours"]).max()) for found in results.values())
    least = dict.fromkeys(runs, np.inf)
    for _ in range(REPEATS):
        for name, one in runs.items():
            least[name] = min(least[name], _cpu_s(one))
    equal = apart <= EQUAL
    return {
        "states": mdp.n_state, "horizon": mdp.horizon, "max_difference": apart, "equal": equal,
        "ours_ms": 1e3 * least["ours"], "plain_ms": 1e3 * least["plain"],
        "tight_ms": 1e3 * least["tight"],
        "ratio_plain": least["plain"] / least["ours"] if equal else None,
        "ratio_tight": least["tight"] / least["ours"] if equal else None,
    }  # fmt: skip


def _cpu_s(one: Callable[[], Floats]) -> float:
    """Seconds of one call, over enough calls to fill 20 ms."""
    began = time.process_time()
    one()
    turns = max(1, int(0.02 / max(time.process_time() - began, 1e-6)))
    began = time.process_time()
    for _ in range(turns):
        one()
    return (time.process_time() - began) / turns
