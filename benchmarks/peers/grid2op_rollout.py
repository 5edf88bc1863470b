"""Random orders to an environment of Grid2Op and to ours, step by step, compared after each."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gridrl.arrays import Ints
from gridrl.env.state import Orders, State
from gridrl.env.step import reset, step

from .grid2op_world import Shipped, begin


@dataclass(eq=False, kw_only=True)
class Report:
    """What a comparison found; ``differences`` is empty where both did the same."""

    steps: int = 0
    episodes: int = 0
    orders: int = 0
    illegal: int = 0
    max_delta_rho: float = 0.0
    max_delta_dispatch_mw: float = 0.0
    deaths: list[tuple[int, int, int]] = field(default_factory=list)  # episode, theirs, ours
    differences: list[str] = field(default_factory=list)

    @property
    def same_death_step(self) -> bool:
        return all(theirs == ours for _, theirs, ours in self.deaths)


def rollout(
    shipped: Shipped,
    steps: int,
    rng: np.random.Generator,
    *,
    kinds: tuple[str, ...] = ("busbar", "line"),
    chance: float = 0.5,
    only: Ints | None = None,
    once: bool = False,
) -> Report:
    """Play both environments side by side for ``steps`` steps, never copying a state.

    Parameters
    ----------
    kinds
        What is ordered, drawn for every order; none for doing nothing.
    chance
        Of an order in a step.
    only
        Episodes to play in turn; all by default.
    once
        Stop when each was played.
    """
    report = Report()
    env, world = shipped.env, shipped.world
    episodes = np.arange(world.series.n_episode) if only is None else only
    while report.steps < steps and not (once and report.episodes == episodes.size):
        episode = int(episodes[report.episodes % episodes.size])
        obs = begin(env, episode)
        state = reset(world, rng, episode=np.array([episode]))
        _compare(shipped, obs, state, report, "reset")
        report.episodes += 1
        while report.steps < steps:
            action, orders = draw(shipped, rng, kinds, chance)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                obs, _, done, info = env.step(action)
            state, outcome = step(world, state, orders)
            report.steps += 1
            report.orders += any(value is not None for value in vars(orders).values())
            verdict = 1 if info["is_ambiguous"] else 2 if info["is_illegal"] else 0
            report.illegal += verdict > 0
            where = f"episode {episode}, step {int(state.steps[0])}"
            if verdict != outcome.verdict[0]:
                report.differences.append(f"{where}: verdict {verdict} and {outcome.verdict[0]}")
            over = not state.running[0]
            if done or over:
                theirs = int(env.nb_time_step) if done else -1
                ours = int(state.steps[0]) if over else -1
                report.deaths.append((episode, theirs, ours))
                if theirs != ours:
                    report.differences.append(f"{where}: ends at {theirs} and {ours}")
                break
            _compare(shipped, obs, state, report, where)
    return report


def draw(
    shipped: Shipped, rng: np.random.Generator, kinds: tuple[str, ...], chance: float
) -> tuple[Any, Orders]:
    """A random order as Grid2Op's action and as ours."""
    env, world = shipped.env, shipped.world
    grid = world.case.grid
    space = env.action_space
    if not kinds or rng.random() >= chance:
        return space(), Orders()
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind == "busbar":
        here = np.array([], np.int64)
        while here.size < 2:
            s = int(rng.integers(grid.n_substation))
            here = np.flatnonzero(grid.terminal_substation == s)
            here = np.intersect1d(here, shipped.terminal)
        set_busbar = np.zeros((1, grid.n_terminal), np.int8)
        set_busbar[0, here] = rng.integers(1, 3, here.size) if rng.random() < 0.6 else 1
        vector = set_busbar[0, shipped.terminal].astype(np.int32)
        return space({"set_bus": vector}), Orders(set_busbar=set_busbar)
    if kind == "line":
        set_line = np.zeros((1, grid.n_branch), np.int8)
        k = int(rng.integers(grid.n_branch))
        out = np.flatnonzero(~np.asarray(env.get_current_line_status()))
        closing = out.size and rng.random() < 0.8
        set_line[0, int(rng.choice(out)) if closing else k] = 1 if closing else -1
        vector = set_line[0].astype(np.int32)
        return space({"set_line_status": vector}), Orders(set_line=set_line)
    return _draw_power(shipped, rng, kind)


def _draw_power(shipped: Shipped, rng: np.random.Generator, kind: str) -> tuple[Any, Orders]:
    """A random order to generators or storage, in steps that float32 holds exactly."""
    fleet, base = shipped.world.fleet, shipped.base
    space = shipped.env.action_space
    if kind == "redispatch":
        g = int(rng.choice(np.flatnonzero(fleet.redispatchable)))
        share = rng.uniform(-1, 1)
        mw = np.zeros(fleet.n_gen, np.float32)
        mw[g] = share * base * (fleet.ramp_up if share > 0 else fleet.ramp_down)[g]
        return space({"redispatch": mw}), Orders(redispatch=mw[None].astype(float) / base)
    if kind == "curtail":
        g = int(rng.choice(np.flatnonzero(fleet.renewable)))
        ours = np.full((1, fleet.n_gen), np.nan)
        ours[0, g] = np.float32(rng.choice([1.0, rng.uniform(0.3, 1.0)]))
        theirs = np.where(np.isnan(ours[0]), -1.0, ours[0]).astype(np.float32)
        return space({"curtail": theirs}), Orders(curtail=ours)
    k = int(rng.integers(fleet.n_storage))
    mw = np.zeros(fleet.n_storage, np.float32)
    share = rng.uniform(-1, 1)
    mw[k] = share * base * (fleet.absorb_max if share > 0 else fleet.produce_max)[k]
    return space({"set_storage": mw}), Orders(storage=mw[None].astype(float) / base)


def _compare(shipped: Shipped, obs: Any, state: State, report: Report, where: str) -> None:
    """Note every quantity that both have and that differs."""
    base = shipped.base
    delta = float(np.abs(np.asarray(obs.rho, float) - state.rho[0]).max())
    report.max_delta_rho = max(report.max_delta_rho, delta)
    grid = shipped.world.case.grid
    n = grid.n_branch
    busbar = state.busbar[0].astype(int)
    busbar[:n][~state.closed[0]] = -1
    busbar[n : 2 * n][~state.closed[0]] = -1
    pairs = {
        "line_status": (obs.line_status, state.closed[0]),
        "topo_vect": (obs.topo_vect, busbar[shipped.terminal]),
        "timestep_overflow": (obs.timestep_overflow, state.overflow[0]),
        "line cooldown": (obs.time_before_cooldown_line, state.line_cooldown[0]),
        "substation cooldown": (obs.time_before_cooldown_sub, state.substation_cooldown[0]),
    }
    report.differences.extend(
        f"{where}: {name}" for name, (theirs, ours) in pairs.items() if (theirs != ours).any()
    )
    powers = {
        "target_dispatch": (obs.target_dispatch, state.target[0]),
        "actual_dispatch": (obs.actual_dispatch, state.actual[0]),
        "storage_charge": (obs.storage_charge, state.charge[0]),
        "storage_power": (obs.storage_power, state.absorbed[0]),
    }
    for name, (theirs, ours) in powers.items():
        worst = float(np.abs(np.asarray(theirs, float) - ours * base).max(initial=0.0))
        report.max_delta_dispatch_mw = max(report.max_delta_dispatch_mw, worst)
        if worst > DISPATCH_MW:
            report.differences.append(f"{where}: {name} by {worst:.3g} MW")


# Grid2Op's solver stops at 1e-6 of its scaled cost and keeps float32.
DISPATCH_MW = 0.05
