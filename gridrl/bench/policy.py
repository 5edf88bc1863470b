"""The suite ``policy``: how long grids live under our policies, in our environment and Grid2Op's.

Policies play environments that ship in Grid2Op's wheel in ours, with opponents; then their orders
and the attacks that they met are carried out by Grid2Op with LightSim. What is worth publishing is
what Grid2Op says; both are in each row.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gridrl.bench.contender import peer_module
from gridrl.bench.environment import BACKEND, Row, Say, suite
from gridrl.errors import CaseError
from gridrl.evaluation.summary import summarise
from gridrl.policies import Policy, parse
from gridrl.policies.registry import described

KEPT = (
    "survived_pct", "steps_pct", "steps_pct_low", "steps_pct_high", "overload_pct",
    "orders_per_day", "redispatch_mwh", "simulations_per_decision", "solves_per_decision",
    "decision_ms_p50", "decision_ms_p99",
)  # fmt: skip


def policies(chosen: Sequence[str] = ()) -> list[str]:
    """Policies of the suite, or those that are asked for, as ``gridrl evaluate`` takes them."""
    return list(chosen or suite("policy")["policies"])


def policy(
    pack: str, say: Say, *, chosen: Sequence[str] = (), keep: Callable[[list[Row]], object]
) -> list[Row]:
    """Rows of one pack, one for each policy.

    Parameters
    ----------
    chosen
        Policies; by default those of the suite.
    keep
        Gets the rows so far after each policy.

    Raises
    ------
    PolicyError
        There is no such policy.
    """
    made = [parse(text) for text in policies(chosen)]
    settings = suite("policy")["packs"][pack]
    name = settings.get("environment", pack)
    say(f"{pack}: reading {name}")
    opponent: dict[str, Any] = {}
    if settings.get("opponent") == "van_der_sar":
        opponent = peer_module("grid2op_policy").opponent()
    elif "opponent" in settings:
        raise CaseError(f"Suite policy: {pack} has an unknown opponent {settings['opponent']!r}.")
    copy = peer_module("grid2op_replay").replayable(
        name, episodes=settings.get("episodes"), **opponent
    )
    rows: list[Row] = []
    for one in made:
        rows.append(_row(pack, name, settings, copy, one, say))
        keep(rows)
    return rows


def _row(pack: str, name: str, settings: Row, copy: Any, one: Policy, say: Say) -> Row:
    replay, label = peer_module("grid2op_replay"), described(one)
    seeds, foe = settings["seeds"], copy.world.opponent.exists
    say(f"{pack}: {label}")
    played = replay.played(copy, one, seeds=range(seeds), steps=settings.get("steps"))
    theirs = []
    for (episode, seed), row in played.items():
        say(f"{pack}: {label}, episode {episode}, seed {seed} in Grid2Op")
        theirs.append(replay.replayed(copy, episode, row))
    ours = list(played.values())
    hours = copy.world.series.step_s / 3600.0
    keyed = [
        {"scenario": pack, "policy": label, "episode": episode, "seed": seed, **row}
        for (episode, seed), row in played.items()
    ]
    line = summarise(keyed, hours={pack: hours})[0]
    horizon = np.array([row["horizon"] for row in ours])
    steps = np.array([one["steps"] for one in theirs])
    return {
        "pack": pack, "environment": name, "policy": label,
        "episodes": copy.world.series.n_episode, "seeds": seeds,
        **{key: line[key] for key in KEPT},
        "replayed_in_grid2op": float(np.mean(100.0 * steps / horizon)),
        "same_end_pct": 100.0 * float(np.mean(steps == [row["steps"] for row in ours])),
        "refused_in_grid2op": sum(one["refused"] for one in theirs),
        "attacks": sum(len(row["attacks"]) for row in ours),
        "attacks_missed_in_grid2op": sum(one["missed"] for one in theirs),
        "opponent": "on" if foe else "off", "backend": BACKEND,
    }  # fmt: skip
