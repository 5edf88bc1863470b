"""The suites ``env_parity`` and ``env_speed``: our environment beside Grid2Op's and LightEnv.

Both play environments that ship in Grid2Op's wheel, with LightSim as its backend. Parity compares
every step of rollouts that never copy a state; speed is measured only where parity holds.
"""

import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gridrl.bench.contender import checkout, peer_module
from gridrl.env.choices import all_choices
from gridrl.env.step import reset, step
from gridrl.env.vector import GridVectorEnv, put
from gridrl.errors import CaseError

Row = dict[str, Any]
Say = Callable[[str], None]
BACKEND = "LightSim"
EQUAL_RHO = 1e-5
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


@dataclass(eq=False, kw_only=True)
class _Entry:
    """One way to step an environment, and how fast it was."""

    contender: str
    face: str
    rules: str
    batch: int
    actions: str
    run: Callable[[], tuple[int, float]]  # returns steps done, and the CPU time they took
    rate: list[float] = field(default_factory=list)  # steps per second of each turn


def speed(name: str, say: Say) -> list[Row]:
    """Steps a second of one environment: ours in batches, Grid2Op and LightEnv one by one.

    CPU time, in turns. Of the others only steps count; of ours resets count too, because a batch
    goes on where single grids are lost. Our face "core" is the functional step, "vector" adds the
    flat observation, reward terms and the mask of allowed actions.
    """
    settings = suite("env_speed")
    world = peer_module("grid2op_world")
    shipped = world.shipped(name, episodes=1, playable=True, **world.no_opponent())
    report = peer_module("grid2op_rollout").rollout(
        shipped, 100, np.random.default_rng(settings["seed"])
    )
    equal = not report.differences and report.max_delta_rho <= EQUAL_RHO
    entries = []
    for actions in (NOTHING, "random topologies"):
        for batch in settings["batches"]:
            entries += _ours(shipped, settings, batch, actions)
        entries.append(_grid2op(shipped, settings, actions))
    entries.append(_lightenv(shipped, settings))
    for turn in range(settings["repeats"] + 1):
        for entry in entries:
            say(f"{name}: {entry.contender} {entry.face}, {entry.actions}, {entry.batch} at a time")
            steps, spent = entry.run()
            if turn:  # the first compiles and fills caches
                entry.rate.append(steps / spent)
    return [
        _row(name, ours, peer, equal)
        for ours in entries
        if ours.contender == "gridrl"
        for peer in entries
        if peer.contender != "gridrl" and peer.actions == ours.actions
    ]


def _row(name: str, ours: _Entry, peer: _Entry, equal: bool) -> Row:
    mine, theirs = max(ours.rate), max(peer.rate)
    median = float(np.median(ours.rate) / np.median(peer.rate))
    return {
        "environment": name, "contender": peer.contender, "actions": ours.actions,
        "face": ours.face, "batch": ours.batch, "steps_per_s": mine, "peer_steps_per_s": theirs,
        "ratio": mine / theirs if equal else None, "median_ratio": median if equal else None,
        "equal": equal, "rules": peer.rules, "opponent": "off",
    }  # fmt: skip


def _ours(shipped: Any, settings: Row, batch: int, actions: str) -> list[_Entry]:
    """The functional core and the vector environment on the same orders."""
    env = GridVectorEnv(shipped.world, batch, random_start=True, steps=200)
    env.reset(seed=settings["seed"])
    rng = np.random.default_rng(settings["seed"])
    numbers = np.flatnonzero(env.choices.substation >= 0)
    turns = settings["our_steps"] * (10 if batch == 1 else 1)
    orders = [
        rng.choice(numbers, batch) if actions != NOTHING else np.zeros(batch, np.int64)
        for _ in range(turns)
    ]

    def vector() -> tuple[int, float]:
        began = time.process_time()
        for number in orders:
            env.step(number)
        return batch * turns, time.process_time() - began

    def core() -> tuple[int, float]:
        world, state = shipped.world, env.state
        began = time.process_time()
        for number in orders:
            state, _ = step(world, state, env.choices.orders(state, number))
            lost = np.flatnonzero(~state.running)
            if lost.size:
                state = put(state, lost, reset(world, rng, batch=lost.size))
        return batch * turns, time.process_time() - began

    return [
        _Entry(contender="gridrl", face=face, rules="all", batch=batch, actions=actions, run=run)
        for face, run in (("core", core), ("vector", vector))
    ]


def _grid2op(shipped: Any, settings: Row, actions: str) -> _Entry:
    env, choices = shipped.env, all_choices(shipped.world, lines=False)
    made = [env.action_space()]
    if actions != NOTHING:
        rng = np.random.default_rng(settings["seed"])
        made = [
            env.action_space({"set_bus": choices.set_busbar[k, shipped.terminal].astype(np.int32)})
            for k in rng.integers(1, len(choices), 64)
        ]
    begin = peer_module("grid2op_world").begin
    begin(env, 0)

    def run() -> tuple[int, float]:
        spent = 0.0
        for k in range(settings["peer_steps"]):
            began = time.process_time()
            *_, done, _info = env.step(made[k % len(made)])
            spent += time.process_time() - began
            if done:
                begin(env, 0)
        return int(settings["peer_steps"]), spent

    return _Entry(contender="grid2op", face="", rules="all", batch=1, actions=actions, run=run)


def _lightenv(shipped: Any, settings: Row) -> _Entry:
    env = peer_module("lightenv").light_env(shipped)
    env.reset()

    def run() -> tuple[int, float]:
        steps = 20 * settings["peer_steps"]
        spent, done = 0.0, 0
        while done < steps:
            began = time.process_time()
            over = False
            while done < steps and not over:
                _, _, lost, ended, _ = env.step(0)
                over = lost or ended
                done += 1
            spent += time.process_time() - began
            env.reset()
        return done, spent

    return _Entry(
        contender="lightenv", face="", rules="no hard overflow, dispatch or maintenance", batch=1,
        actions=NOTHING, run=run,
    )  # fmt: skip
