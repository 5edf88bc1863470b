"""Soft value iteration and occupancy beside the plain dense NumPy recurrences.

The plain version is what a tabular maximum-causal-entropy implementation in NumPy does (the
library `imitation` has these recurrences): transitions as one dense array
``[n_state, n_action, n_state]``; backwards ``Q[t] = r + discount * (P @ V[t + 1])`` and
``V[t] = logsumexp(Q[t])``; forwards one dense product for each step and action. Of an endless
horizon the same recurrences run until nothing changes by more than 1e-10. It is a fair picture of
common practice, not the fastest that NumPy can do: `tight` is that for a finite horizon, the same
dense table as one matrix, two matrix-vector products a step.
"""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from scipy.special import logsumexp

from gridrl.arrays import Floats

REPEATS = 7
EQUAL = 1e-7  # of visits, of which there are up to 100
_SETTLED = 1e-10


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


def plain_endless(table: Floats, reward: Floats, discount: float, first: Floats) -> Floats:
    """The same without a horizon."""
    n_state, n_action, _ = table.shape
    value, change = np.zeros(n_state), np.inf
    while change > _SETTLED:
        q = reward[:, None] + discount * (table @ value)
        after = logsumexp(q, axis=1)
        change, value = float(np.abs(after - value).max()), after
    policy = np.exp(q - value[:, None])
    there, visits = first.copy(), np.zeros(n_state)
    while there.max() > _SETTLED:
        visits += there
        ahead = np.zeros(n_state)
        for a in range(n_action):
            ahead += (there * policy[:, a]) @ table[:, a, :]
        there = discount * ahead
    return visits


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


def speed(side: int, horizon: int = 20, discount: float = 0.95) -> dict[str, Any]:
    """CPU time of one backward and one forward pass, least of some turns, results compared.

    ``horizon`` 0 is an endless one.
    """
    world: Any = import_module("irl.gridworld")
    soft: Any = import_module("irl.soft_vi")
    mdp = world.gridworld(side, discount=discount, horizon=horizon or None)
    reward = np.random.default_rng(0).normal(size=mdp.n_state)
    table = soft.transition_matrix(mdp).toarray().reshape(mdp.n_state, mdp.n_action, mdp.n_state)

    def ours() -> Floats:
        policy = soft.soft_value_iteration(mdp, reward).policy
        return np.asarray(soft.occupancy(mdp, policy).sum(axis=1))

    first = mdp.initial
    runs: dict[str, Callable[[], Floats]] = {"ours": ours}
    if not horizon:
        runs["plain"] = lambda: plain_endless(table, reward, discount, first)
    else:
        runs["plain"] = lambda: plain(table, reward, discount, horizon, first)
        runs["tight"] = lambda: tight(table, reward, discount, horizon, first)
    results = {name: run() for name, run in runs.items()}  # compiles
    apart = max(float(np.abs(found - results["ours"]).max()) for found in results.values())
    least = dict.fromkeys(runs, np.inf)
    for _ in range(REPEATS):
        for name, one in runs.items():
            least[name] = min(least[name], _cpu_s(one))
    row: dict[str, Any] = {
        "states": mdp.n_state, "discount": discount, "horizon": horizon,
        "max_difference": apart, "equal": apart <= EQUAL, "ours_ms": 1e3 * least["ours"],
    }  # fmt: skip
    for name in ("plain", "tight"):
        there = name in least
        row[f"{name}_ms"] = 1e3 * least[name] if there else None
        row[f"ratio_{name}"] = least[name] / least["ours"] if there and row["equal"] else None
    return row


def _cpu_s(one: Callable[[], Floats]) -> float:
    """Seconds of one call, over enough calls to fill 20 ms."""
    began = time.process_time()
    one()
    turns = max(1, int(0.02 / max(time.process_time() - began, 1e-6)))
    began = time.process_time()
    for _ in range(turns):
        one()
    return (time.process_time() - began) / turns
