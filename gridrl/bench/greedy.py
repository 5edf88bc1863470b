"""The suite ``env_greedy``: the best of all configurations, found by simulating every one.

Grid2Op tries its own list of unitary configurations one by one with ``obs.simulate`` of the next
step's forecast; ours tries the same list in one batch. Both play the same rollouts under all
rules. The choice is the action with the lowest largest loading; among equals, the first.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from gridrl.arrays import Floats
from gridrl.bench.contender import peer_module
from gridrl.bench.environment import suite
from gridrl.env.choices import Choices
from gridrl.env.simulate import compare
from gridrl.env.state import State
from gridrl.env.step import reset, step

Row = dict[str, Any]
Say = Callable[[str], None]
EQUAL = 1e-5  # loadings that count as equal: Grid2Op's are float32, and solved to 1e-8 p.u.


@dataclass(eq=False, kw_only=True)
class _Tally:
    """What the decisions took, seconds of CPU each, and how they compare."""

    theirs: list[float] = field(default_factory=list)  # of each state
    alone: list[float] = field(default_factory=list)  # of each state, ours
    together: list[float] = field(default_factory=list)  # of each block of states
    worst: list[Floats] = field(default_factory=list)  # [n_action] Grid2Op's, of each state
    ours: list[Floats] = field(default_factory=list)


def greedy(name: str, say: Say) -> list[Row]:
    """Decisions of one environment: Grid2Op's beside ours, one state or many at a time."""
    settings = suite("env_greedy")
    world = peer_module("grid2op_world")
    shipped = world.shipped(name, playable=True, **world.no_opponent())
    choices = _choices(shipped)
    rng = np.random.default_rng([settings["seed"], *name.encode()])
    tally = _Tally()
    states = _states(shipped, settings, rng)
    for block in range(settings["blocks"]):
        say(f"{name}: {len(choices)} actions, block {block + 1} of {settings['blocks']}")
        kept: list[State] = []
        for _ in range(settings["states"] // settings["blocks"]):
            obs, state = next(states)
            _theirs(obs, _actions(shipped, choices, state), tally)
            tally.alone.append(_timed(shipped.world, state, choices, settings["repeats"])[0])
            kept.append(state)
        batch = State(
            **{f.name: np.concatenate([getattr(s, f.name) for s in kept]) for f in fields(State)}
        )
        spent, worst = _timed(shipped.world, batch, choices, settings["repeats"])
        tally.together.append(spent / len(kept))
        tally.ours.extend(worst)
    size = settings["states"] // settings["blocks"]
    return [
        _row(name, len(choices), tally, batch, spent, settings["blocks"])
        for batch, spent in ((1, tally.alone), (size, tally.together))
    ]


def _choices(shipped: Any) -> Choices:
    """Doing nothing and Grid2Op's list of configurations, as ours."""
    space, grid = shipped.env.action_space, shipped.world.case.grid
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        actions = [space(), *space.get_all_unitary_topologies_set(space)]
    set_busbar = np.zeros((len(actions), grid.n_terminal), np.int8)
    set_busbar[:, shipped.terminal] = [action.set_bus for action in actions]
    moved = set_busbar.argmax(axis=1)
    return Choices(
        set_busbar=set_busbar, set_line=np.zeros((len(actions), grid.n_branch), np.int8),
        substation=np.where(set_busbar.any(axis=1), grid.terminal_substation[moved], -1),
        words=tuple(str(k) for k in range(len(actions))),
    )  # fmt: skip


def _actions(shipped: Any, choices: Choices, state: State) -> list[Any]:
    """What each choice is in a state, for Grid2Op: open lines stay open."""
    number = np.arange(len(choices))
    set_busbar = choices.orders(state, number, of=np.zeros_like(number)).set_busbar
    assert set_busbar is not None
    vectors = set_busbar[:, shipped.terminal].astype(np.int32)
    return [shipped.env.action_space({"set_bus": vector}) for vector in vectors]


def _states(shipped: Any, settings: Row, rng: np.random.Generator) -> Any:
    """States of rollouts under random orders, as Grid2Op observes them and as ours."""
    draw = peer_module("grid2op_rollout").draw
    begin = peer_module("grid2op_world").begin
    episode, over = -1, True
    obs, state = None, None
    while True:
        for _ in range(settings["steps_between"]):
            if over:
                episode = (episode + 1) % shipped.world.series.n_episode
                obs = begin(shipped.env, episode)
                state = reset(shipped.world, rng, episode=np.array([episode]))
            action, orders = draw(shipped, rng, ("busbar", "line"), settings["chance"])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                obs, _, over, _ = shipped.env.step(action)
            assert state is not None
            state, _ = step(shipped.world, state, orders)
            over = over or not bool(state.running[0])
        if not over:
            yield obs, state


def _theirs(obs: Any, actions: list[Any], tally: _Tally) -> None:
    worst = np.full(len(actions), np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.process_time()
        for k, action in enumerate(actions):
            after, _, done, _ = obs.simulate(action)
            if not done:
                worst[k] = after.rho.max()
        tally.theirs.append(time.process_time() - began)
    tally.worst.append(worst)


def _timed(world: Any, state: State, choices: Choices, repeats: int) -> tuple[float, Floats]:
    """Least CPU seconds of some turns, and the largest loadings [B, n_action]."""
    spent, found = np.inf, None
    for _ in range(repeats):
        began = time.process_time()
        found = compare(world, state, choices)
        spent = min(spent, time.process_time() - began)
    assert found is not None
    return spent, found.worst


def _chosen(worst: Floats) -> int:
    return int(np.argmax(worst <= worst.min() + EQUAL))


def _row(
    name: str, n_action: int, tally: _Tally, batch: int, spent: list[float], blocks: int
) -> Row:
    pairs = list(zip(tally.worst, tally.ours, strict=True))
    same = [_chosen(theirs) == _chosen(ours) for theirs, ours in pairs]
    end = [np.isinf(theirs) == np.isinf(ours) for theirs, ours in pairs]
    both = [np.isfinite(theirs) & np.isfinite(ours) for theirs, ours in pairs]
    apart = [
        np.abs(theirs[where] - ours[where]).max(initial=0.0)
        for where, (theirs, ours) in zip(both, pairs, strict=True)
    ]
    theirs = min(np.mean(part) for part in np.array_split(tally.theirs, blocks))
    ours = min(np.mean(part) for part in np.array_split(spent, blocks))
    return {
        "environment": name, "contender": "grid2op", "actions": n_action, "batch": batch,
        "decision_ms": 1e3 * float(ours), "peer_decision_ms": 1e3 * float(theirs),
        "ratio": float(theirs / ours), "states": len(pairs), "same_choice": float(np.mean(same)),
        "same_end": float(np.mean(end)), "max_delta_rho": float(max(apart)), "opponent": "off",
    }  # fmt: skip
