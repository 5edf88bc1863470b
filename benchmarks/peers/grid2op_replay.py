"""Policies played in our environment, and their orders and attacks carried out in Grid2Op.

``python -m benchmarks.peers.grid2op_replay rte_case14_realistic greedy n1_greedy`` copies an
environment that ships in Grid2Op's wheel, with its opponent where ours knows its kind, plays each
policy on its chronics, and says how long each lived in either program. ``gridrl bench policy`` does
so for a whole suite.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.peers.grid2op_opponent import recorded, remember
from benchmarks.peers.grid2op_policy import action_of, opponent
from benchmarks.peers.grid2op_world import Shipped, begin, no_opponent, open_env, shipped
from gridrl.env.choices import all_choices
from gridrl.env.state import Orders
from gridrl.evaluation.episodes import Pair, play
from gridrl.evaluation.ledger import Row, read_orders
from gridrl.policies import Policy, parse

BATCH = 16  # episodes side by side


def replayable(name: str, *, episodes: int | None = None, **settings: Any) -> Shipped:
    """An environment with its world of ours, ready to take orders and attacks from records.

    ``settings`` may state another opponent. All kinds of orders are allowed.
    """
    copy = shipped(name, episodes=episodes, playable=True, **settings)
    foe = copy.world.opponent
    again = settings | (recorded(foe) if foe.exists else no_opponent())
    again["action_class"] = type(copy.env.action_space()).__bases__[0]
    return replace(copy, env=open_env(name, **again))


def played(
    copy: Shipped, policy: Policy, *, seeds: Sequence[int] = (0,), steps: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[Pair, Row]:  # fmt: skip
    """Rows of all episodes of a copied environment, by episode and seed."""
    rows: dict[Pair, Row] = {}
    pairs = [(e, seed) for e in range(copy.world.series.n_episode) for seed in seeds]
    choices = all_choices(copy.world)
    for first in range(0, len(pairs), BATCH):
        play(
            copy.world, choices, policy, pairs[first : first + BATCH], steps=steps, n1_every=0,
            finished=rows.__setitem__, progress=progress,
        )  # fmt: skip
    return dict(sorted(rows.items()))


def replayed(copy: Shipped, episode: int, row: Row) -> Row:
    """What comes of an episode's orders and attacks in Grid2Op.

    Its steps, the orders that it refuses, and the attacks that its rules for opponents forbid.
    """
    env = copy.env
    if copy.world.opponent.exists:
        remember(env, row["attacks"])
    begin(env, episode)
    at = {entry["step"]: entry for entry in row["trace"]}
    due = {step: line for step, line, _ in row["attacks"]}
    refused = missed = 0
    for k in range(row["horizon"]):
        orders = read_orders(at[k], copy.world) if k in at else Orders()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, _, done, info = env.step(action_of(copy, orders))
        refused += bool(info["is_illegal"] or info["is_ambiguous"])
        if k in due:
            held = np.flatnonzero(info["opponent_attack_line"])
            missed += held.tolist() != [due[k]]
        if done:
            lost = bool(info["exception"])
            steps = int(env.nb_time_step) if lost else row["horizon"]
            return {"steps": steps, "refused": refused, "missed": missed}
    return {"steps": row["horizon"], "refused": refused, "missed": missed}


def scored(
    copy: Shipped, policy: Policy, *, seeds: Sequence[int] = (0,), steps: int | None = None
) -> Row:
    """Mean share of its episode that each grid lives for, in per cent, in both programs."""
    rows = played(copy, policy, seeds=seeds, steps=steps)
    theirs = [replayed(copy, episode, row) for (episode, _), row in rows.items()]
    ours = list(rows.values())
    share = [100.0 * t["steps"] / row["horizon"] for t, row in zip(theirs, ours, strict=True)]
    decisions = sum(row["decisions"] for row in ours)
    return {
        "policy": policy.name, "episodes": len(rows),
        "steps_pct": float(np.mean([row["steps_pct"] for row in ours])),
        "replayed_in_grid2op": float(np.mean(share)),
        "refused": sum(t["refused"] for t in theirs), "missed": sum(t["missed"] for t in theirs),
        "attacks": sum(len(row["attacks"]) for row in ours),
        "steps": [row["steps"] for row in ours], "steps_in_grid2op": [t["steps"] for t in theirs],
        "simulations_per_decision": sum(row["candidates"] for row in ours) / decisions
        if decisions else None,
    }  # fmt: skip


def main() -> None:
    """Print a line of JSON for each policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment", help="as grid2op.make knows it")
    parser.add_argument("policy", nargs="+", help="as gridrl evaluate takes it")
    parser.add_argument("--episodes", type=int, help="the first so many chronics")
    parser.add_argument("--seeds", type=int, default=1, help="times that each is played")
    parser.add_argument("--steps", type=int, help="longest episode")
    parser.add_argument("--opponent", action="store_true", help="the one of the published study")
    asked = parser.parse_args()
    settings = opponent() if asked.opponent else {}
    copy = replayable(asked.environment, episodes=asked.episodes, **settings)
    for text in asked.policy:
        made = scored(copy, parse(text), seeds=range(asked.seeds), steps=asked.steps)
        print(json.dumps({"environment": asked.environment, **made}), flush=True)


if __name__ == "__main__":
    main()
