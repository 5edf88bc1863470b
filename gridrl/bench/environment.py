"""The suite ``env_parity``: our environment beside Grid2Op's, step by step.

Plays environments that ship in Grid2Op's wheel, with LightSim as its backend, in rollouts that
never copy a state. `gridrl.bench.environment_speed` measures speed where parity holds.
"""

import tomllib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gridrl.bench.contender import checkout, peer_module
from gridrl.errors import CaseError

Row = dict[str, Any]
Say = Callable[[str], None]
BACKEND = "LightSim"
NOTHING = "do nothing"
EVERYTHING = ("busbar", "line", "redispatch", "curtail", "storage")


def suite(name: str) -> dict[str, Any]:
    """The settings in ``benchmarks/suites/<name>.toml``."""
    with (checkout() / "suites" / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)


def environments(name: str, chosen: Sequence[str], *, quick: bool) -> list[str]:
    """Environments of a suite, all or some.

    Raises
    ------
    CaseError
        The suite has no such environment.
    """
    settings = suite(name)
    known = settings["full"]["environments"]
    strange = [one for one in chosen if one not in known]
    if strange:
        raise CaseError(f"No environment '{strange[0]}' in {name}. There are {', '.join(known)}.")
    return list(chosen or settings["quick" if quick else "full"]["environments"])


def parity(name: str, say: Say) -> list[Row]:
    """Rollouts of one environment side by side: doing nothing, then random orders of all kinds."""
    settings = suite("env_parity")
    world = peer_module("grid2op_world")
    shipped = world.shipped(name, playable=True, **world.no_opponent())
    series, fleet = shipped.world.series, shipped.world.fleet
    there = {
        "redispatch": fleet.redispatchable.any(), "curtail": fleet.renewable.any(),
        "storage": fleet.n_storage > 0,
    }  # fmt: skip
    everything = tuple(kind for kind in EVERYTHING if there.get(kind, True))
    rows = []
    for task, kinds in ((NOTHING, ()), ("random orders", everything)):
        say(f"{name}: {task}")
        rng = np.random.default_rng([settings["seed"], *name.encode()])
        steps = sum(series.horizon(e) for e in range(series.n_episode))
        report = peer_module("grid2op_rollout").rollout(
            shipped, steps if not kinds else settings["steps"], rng, kinds=kinds,
            chance=settings["chance"], once=not kinds,
        )  # fmt: skip
        rows.append(
            {
                "environment": name, "task": task, "steps": report.steps,
                "episodes": report.episodes, "orders": report.orders, "refused": report.illegal,
                "kinds": list(kinds), "max_delta_rho": report.max_delta_rho,
                "max_delta_dispatch_mw": report.max_delta_dispatch_mw,
                "same_death_step": report.same_death_step,
                "deaths": [list(death) for death in report.deaths] if not kinds else [],
                "differences": len(report.differences), "first": report.differences[:3],
                "backend": BACKEND, "opponent": "off",
            }
        )  # fmt: skip
    return rows
