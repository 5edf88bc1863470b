"""Policies played in our environment, and the orders that they gave carried out in Grid2Op.

``python -m benchmarks.peers.grid2op_replay rte_case14_realistic greedy n1_greedy`` copies an
environment that ships in Grid2Op's wheel, without its opponent, plays each policy on its chronics,
and says how long each lived in either program.
"""

import argparse
import json
import warnings

import numpy as np

from benchmarks.peers.grid2op_policy import action_of
from benchmarks.peers.grid2op_world import Shipped, begin, no_opponent, shipped
from gridrl.env.choices import all_choices
from gridrl.env.state import Orders
from gridrl.evaluation.episodes import Pair, play
from gridrl.evaluation.ledger import Row, read_orders
from gridrl.policies import Policy, parse


def played(copy: Shipped, policy: Policy, *, steps: int | None = None) -> dict[int, Row]:
    """Rows of all episodes of a copied environment, by episode."""
    rows: dict[int, Row] = {}

    def finished(pair: Pair, row: Row) -> None:
        rows[pair[0]] = row

    pairs = [(episode, 0) for episode in range(copy.world.series.n_episode)]
    choices = all_choices(copy.world)
    play(copy.world, choices, policy, pairs, steps=steps, n1_every=0, finished=finished)
    return dict(sorted(rows.items()))


def replayed(copy: Shipped, episode: int, row: Row) -> tuple[int, int]:
    """Steps that an episode lives for in Grid2Op under the same orders, and orders it refuses."""
    env = copy.env
    begin(env, episode)
    at = {entry["step"]: entry for entry in row["trace"]}
    refused = 0
    for k in range(row["horizon"]):
        orders = read_orders(at[k], copy.world) if k in at else Orders()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, _, done, info = env.step(action_of(copy, orders))
        refused += bool(info["is_illegal"] or info["is_ambiguous"])
        if done:
            lost = bool(info["exception"])
            return int(env.nb_time_step) if lost else row["horizon"], refused
    return row["horizon"], refused


def scored(copy: Shipped, policy: Policy, *, steps: int | None = None) -> Row:
    """Mean share of its episode that each grid lives for, in per cent, in both programs."""
    rows = played(copy, policy, steps=steps)
    theirs = {episode: replayed(copy, episode, row) for episode, row in rows.items()}
    share = {k: 100.0 * lived / rows[k]["horizon"] for k, (lived, _) in theirs.items()}
    decisions = sum(row["decisions"] for row in rows.values())
    return {
        "policy": policy.name, "episodes": len(rows),
        "steps_pct": float(np.mean([row["steps_pct"] for row in rows.values()])),
        "replayed_in_grid2op": float(np.mean(list(share.values()))),
        "refused": sum(refused for _, refused in theirs.values()),
        "steps": [row["steps"] for row in rows.values()],
        "steps_in_grid2op": [lived for lived, _ in theirs.values()],
        "simulations_per_decision": sum(row["candidates"] for row in rows.values()) / decisions
        if decisions else None,
    }  # fmt: skip


def main() -> None:
    """Print a line of JSON for each policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment", help="as grid2op.make knows it")
    parser.add_argument("policy", nargs="+", help="as gridrl evaluate takes it")
    parser.add_argument("--episodes", type=int, help="the first so many chronics")
    parser.add_argument("--steps", type=int, help="longest episode")
    asked = parser.parse_args()
    copy = shipped(asked.environment, episodes=asked.episodes, **no_opponent())
    for text in asked.policy:
        made = scored(copy, parse(text), steps=asked.steps)
        print(json.dumps({"environment": asked.environment, **made}), flush=True)


if __name__ == "__main__":
    main()
