"""The suite ``env_speed``: steps a second of our environment, Grid2Op's and LightEnv.

All play the same grid and chronics, in turns, in one process. Of everyone only steps count: a
batch of ours goes on where single grids are lost, but its resets are outside the timer like those
of the others. Our face "core" is the functional step; "vector" adds the flat observation, reward
terms, the mask of allowed actions and its resets.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gridrl.arrays import Bools
from gridrl.bench.contender import peer_module
from gridrl.bench.environment import NOTHING, Row, Say, suite
from gridrl.env.choices import all_choices
from gridrl.env.opponent import Opponent
from gridrl.env.state import Orders
from gridrl.env.step import reset, step
from gridrl.env.vector import GridVectorEnv, put
from gridrl.env.world import World

EQUAL_RHO = 1e-5
TOPOLOGIES = "random topologies"
EVERYTHING = "redispatch, opponent, maintenance"
DIFFERENT = 64  # orders that are made before the timer runs, and given in turn


@dataclass(eq=False, kw_only=True)
class _Entry:
    """One way to step an environment, and how fast it was."""

    contender: str
    face: str
    rules: str
    batch: int
    actions: str
    run: Callable[[float], tuple[int, float]]  # steps done in that CPU time, and the time it took
    rate: list[float] = field(default_factory=list)  # steps per second of each turn


def speed(name: str, say: Say) -> list[Row]:
    """Rows of one environment."""
    settings = suite("env_speed")
    world = peer_module("grid2op_world")
    shipped = world.shipped(name, episodes=1, playable=True, **world.no_opponent())
    report = peer_module("grid2op_rollout").rollout(
        shipped, 100, np.random.default_rng(settings["seed"])
    )
    equal = not report.differences and report.max_delta_rho <= EQUAL_RHO
    entries = []
    for actions in (NOTHING, TOPOLOGIES, EVERYTHING):
        played = _eventful(shipped.world, settings) if actions == EVERYTHING else shipped.world
        for batch in settings["batches"]:
            entries += _ours(played, settings, batch, actions)
        entries.append(_grid2op(name, shipped, settings, actions))
    entries.append(_lightenv(shipped))
    for turn in range(settings["repeats"] + 1):
        for entry in entries:
            say(f"{name}: {entry.contender} {entry.face}, {entry.actions}, {entry.batch} at a time")
            steps, spent = entry.run(settings["turn_s"])
            if turn:  # the first compiles and fills caches
                entry.rate.append(steps / spent)
    return _rows(name, entries, equal)


def _rows(name: str, entries: list[_Entry], equal: bool) -> list[Row]:
    ours = [entry for entry in entries if entry.contender == "gridrl"]
    quiet = {(e.face, e.batch): max(e.rate) for e in ours if e.actions == NOTHING}
    return [
        {
            "environment": name, "contender": peer.contender, "actions": entry.actions,
            "face": entry.face, "batch": entry.batch, "steps_per_s": max(entry.rate),
            "peer_steps_per_s": max(peer.rate),
            "ratio": max(entry.rate) / max(peer.rate) if equal else None,
            "median_ratio": float(np.median(entry.rate) / np.median(peer.rate)) if equal else None,
            "of_doing_nothing": max(entry.rate) / quiet[entry.face, entry.batch],
            "equal": equal, "rules": peer.rules, "our_rules": entry.rules,
        }
        for entry in ours
        for peer in entries
        if peer.contender != "gridrl" and peer.actions == entry.actions
    ]  # fmt: skip


def _eventful(world: World, settings: Row) -> World:
    """The same world with an opponent, maintenance, and redispatch that is solved exactly."""
    rng = np.random.default_rng(settings["seed"])
    n_row, n_branch = world.series.p.shape[0], world.case.grid.n_branch
    out: Bools = np.zeros((n_row, n_branch), np.bool_)
    for first in range(0, n_row, 288):
        begin, line = first + int(rng.integers(288)), int(rng.integers(n_branch))
        out[begin : begin + 48, line] = True
    lines = _attacked(world)
    return replace(
        world,
        series=replace(world.series, maintenance=out),
        rules=replace(world.rules, redispatch="nearest"),
        opponent=Opponent(
            lines=lines, weight=np.ones(lines.size), duration=48, cooldown=144, budget_per_step=0.5
        ),
    )


def _attacked(world: World) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Every third line."""
    return np.arange(0, world.case.grid.n_branch, 3)


def _ours(world: World, settings: Row, batch: int, actions: str) -> list[_Entry]:
    """The functional core and the vector environment on the same orders."""
    env = GridVectorEnv(world, batch, random_start=True, steps=200)
    env.reset(seed=settings["seed"])
    rng = np.random.default_rng(settings["seed"])
    configures = np.flatnonzero(env.choices.substation >= 0)
    numbers = [
        rng.choice(configures, batch) if actions == TOPOLOGIES else np.zeros(batch, np.int64)
        for _ in range(DIFFERENT)
    ]
    moves = [
        Orders(redispatch=_one_generator(world, batch, rng)) if actions == EVERYTHING else None
        for _ in range(DIFFERENT)
    ]
    held = [env.state]

    def vector(turn_s: float) -> tuple[int, float]:
        spent, done = 0.0, 0
        while spent < turn_s:
            move = moves[done % DIFFERENT]
            began = time.process_time()
            if move is None:
                env.step(numbers[done % DIFFERENT])
            else:
                env.step_orders(move)
            spent += time.process_time() - began
            done += 1
        return batch * done, spent

    def core(turn_s: float) -> tuple[int, float]:
        spent, done, state = 0.0, 0, held[0]
        while spent < turn_s:
            move = moves[done % DIFFERENT]
            began = time.process_time()
            orders = env.choices.orders(state, numbers[done % DIFFERENT]) if move is None else move
            state, _ = step(world, state, orders)
            spent += time.process_time() - began
            done += 1
            lost = np.flatnonzero(~state.running)
            if lost.size:
                begun = reset(world, rng, batch=lost.size, first=_first(world, rng, lost.size),
                              steps=200)  # fmt: skip
                state = put(state, lost, begun)
        held[0] = state
        return batch * done, spent

    rules = "all; the nearest redispatch" if actions == EVERYTHING else "all"
    return [
        _Entry(contender="gridrl", face=face, rules=rules, batch=batch, actions=actions, run=run)
        for face, run in (("core", core), ("vector", vector))
    ]


def _first(world: World, rng: np.random.Generator, size: int) -> np.ndarray[Any, Any]:
    """Rows of the one episode to skip, so that 200 steps are left."""
    return rng.integers(max(world.series.horizon(0) - 200, 1), size=size)


def _one_generator(world: World, batch: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """[B, n_gen] redispatch of one generator in each state, within half its ramp."""
    fleet = world.fleet
    order = np.zeros((batch, fleet.n_gen))
    able = np.flatnonzero(fleet.redispatchable)
    if able.size:
        chosen = rng.choice(able, batch)
        order[np.arange(batch), chosen] = (
            rng.uniform(-0.5, 0.5, batch) * np.minimum(fleet.ramp_up, fleet.ramp_down)[chosen]
        )
    return order


def _grid2op(name: str, shipped: Any, settings: Row, actions: str) -> _Entry:
    world, env = peer_module("grid2op_world"), shipped.env
    rng = np.random.default_rng(settings["seed"])
    rules, made = "all", [env.action_space()]
    if actions == TOPOLOGIES:
        choices = all_choices(shipped.world, lines=False)
        made = [
            env.action_space({"set_bus": choices.set_busbar[k, shipped.terminal].astype(np.int32)})
            for k in rng.integers(1, len(choices), DIFFERENT)
        ]
    elif actions == EVERYTHING:
        rules = "all; maintenance of its own chronics"
        lines = [str(env.name_line[k]) for k in _attacked(shipped.world)]
        env = world.open_playable(name, **world.line_opponent(lines))
        power = _one_generator(shipped.world, DIFFERENT, rng) * shipped.base
        made = [
            env.action_space({"redispatch": [(int(g), float(row[g])) for g in np.flatnonzero(row)]})
            for row in power
        ]
    world.begin(env, 0)

    def run(turn_s: float) -> tuple[int, float]:
        spent, steps = 0.0, 0
        while spent < turn_s:
            began = time.process_time()
            *_, done, _info = env.step(made[steps % len(made)])
            spent += time.process_time() - began
            steps += 1
            if done:
                world.begin(env, 0)
        return steps, spent

    return _Entry(contender="grid2op", face="", rules=rules, batch=1, actions=actions, run=run)


def _lightenv(shipped: Any) -> _Entry:
    env = peer_module("lightenv").light_env(shipped)
    env.reset()

    def run(turn_s: float) -> tuple[int, float]:
        spent, steps = 0.0, 0
        while spent < turn_s:
            began, over = time.process_time(), False
            for _ in range(100):  # the clock costs as much as a step
                _, _, lost, ended, _ = env.step(0)
                steps += 1
                over = lost or ended
                if over:
                    break
            spent += time.process_time() - began
            if over:
                env.reset()
        return steps, spent

    return _Entry(
        contender="lightenv", face="", rules="no hard overflow, dispatch or maintenance", batch=1,
        actions=NOTHING, run=run,
    )  # fmt: skip
