"""A policy of ours operates an environment of Grid2Op, with Grid2Op's own opponent.

Grid2Op plays; our environment follows in lockstep, told only which line the opponent holds out, so
that the policy sees our state. What counts is when Grid2Op's episode ends; whether ours ends at
the same step is reported beside it.

    python -m benchmarks.peers.grid2op_policy l2rpn_case14_sandbox greedy --opponent
"""

from __future__ import annotations

import argparse
import importlib
import json
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from gridrl.env.choices import all_choices
from gridrl.env.opponent import NOBODY
from gridrl.env.state import Orders
from gridrl.env.step import reset, step
from gridrl.policies import Policy, parse

from .grid2op_world import Shipped, shipped

# The opponent of E. van der Sar et al.'s study of l2rpn_case14_sandbox.
ATTACKED = ("3_4_6", "11_12_13", "3_6_15", "3_8_16", "6_8_19")


def opponent() -> dict[str, Any]:
    """Settings of an opponent that takes out one of five lines for four hours, twice a day."""
    module = importlib.import_module("grid2op.Opponent")
    return {
        "opponent_attack_cooldown": 144, "opponent_attack_duration": 48,
        "opponent_budget_per_ts": 0.333343333333, "opponent_init_budget": 144.0,
        "opponent_action_class": importlib.import_module("grid2op.Action").PowerlineSetAction,
        "opponent_class": module.RandomLineOpponent,
        "opponent_budget_class": module.BaseActionBudget,
        "kwargs_opponent": {"lines_attacked": list(ATTACKED)},
    }  # fmt: skip


def action_of(both: Shipped, orders: Orders) -> Any:
    """Orders to one grid as Grid2Op's action."""
    asked: dict[str, Any] = {}
    if orders.set_busbar is not None:
        asked["set_bus"] = orders.set_busbar[0, both.terminal].astype(np.int32)
    if orders.set_line is not None:
        asked["set_line_status"] = orders.set_line[0].astype(np.int32)
    if orders.redispatch is not None:
        asked["redispatch"] = (orders.redispatch[0] * both.base).astype(np.float32)
    if orders.curtail is not None:
        asked["curtail"] = np.nan_to_num(orders.curtail[0], nan=-1.0).astype(np.float32)
    if orders.storage is not None:
        asked["set_storage"] = (orders.storage[0] * both.base).astype(np.float32)
    return both.env.action_space(asked)


def operate(both: Shipped, policy: Policy, episode: int, seed: int) -> dict[str, Any]:
    """One episode in Grid2Op under a policy, ours beside it."""
    env, world = both.env, replace(both.world, opponent=NOBODY)
    choices = all_choices(world)
    rng = np.random.default_rng([seed, episode])
    env.seed(seed)
    env.set_id(episode)
    env.reset()
    state = reset(world, rng, episode=np.array([episode]))
    horizon = int(state.last[0] - state.first[0])
    delta, simulations, decisions, lost_at, done = 0.0, 0, 0, None, False
    while not done and lost_at is None:
        decision = policy.decide(world, choices, state, rng)
        simulations += int(decision.candidates[0])
        decisions += int(decision.active[0])
        obs, _, done, info = env.step(action_of(both, decision.orders))
        held = np.flatnonzero(info.get("opponent_attack_line", []))
        left = int(info.get("opponent_attack_duration") or 0)
        state = replace(
            state, attacked=np.array([held[0] if held.size else -1], np.int32),
            attack_left=np.array([left if held.size else 0], np.int32),
        )  # fmt: skip
        state, _ = step(world, state, decision.orders)
        if not state.running[0]:
            lost_at = int(state.steps[0])
        elif not done:
            delta = max(delta, float(np.abs(np.asarray(obs.rho, float) - state.rho[0]).max()))
    theirs = int(env.nb_time_step)
    return {
        "episode": episode, "seed": seed, "steps": theirs, "horizon": horizon,
        "steps_pct": 100.0 * theirs / horizon, "same_end": done and lost_at == theirs,
        "max_delta_rho": delta, "decisions": decisions, "simulations": simulations,
    }  # fmt: skip


def main() -> None:
    """Print a row for each episode, and their mean, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment")
    parser.add_argument("policy", help="as gridrl evaluate takes it")
    parser.add_argument("--seeds", type=int, default=6, help="episodes to play; seed k plays k")
    parser.add_argument("--opponent", action="store_true", help="the one of the published study")
    asked = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = shipped(asked.environment, **(opponent() if asked.opponent else {}))
        policy, count = parse(asked.policy), both.world.series.n_episode
        rows = [operate(both, policy, seed % count, seed) for seed in range(asked.seeds)]
    print(
        json.dumps(
            {
                "environment": asked.environment, "policy": asked.policy,
                "steps_pct": float(np.mean([row["steps_pct"] for row in rows])),
                "replayed_in_grid2op": all(row["same_end"] for row in rows), "rows": rows,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
