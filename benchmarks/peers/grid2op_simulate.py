"""Grid2Op with LightSimBackend: ``obs.simulate`` over unitary actions, and the same grid for us."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.env.simulate import simulate
from gridrl.env.state import Outcome, State
from gridrl.env.step import reset, step
from gridrl.grid import Injection, Topology
from gridrl.io import load

from .grid2op_rollout import Report, draw
from .grid2op_world import Shipped, begin


@dataclass(eq=False, kw_only=True)
class Simulated:
    """An environment with actions, as Grid2Op sees them and as we do."""

    case: Case
    topology: Topology  # [n] the state after each action
    observation: Any
    actions: list[Any]
    terminal: np.ndarray  # [dim_topo] our terminal of each of its elements
    environment: Any  # kept alive: its observation is no good without it

    def simulate(self, which: np.ndarray) -> tuple[float, list[np.ndarray | None]]:
        """CPU seconds for these actions, and the line loadings of each (None: game over)."""
        loadings = []
        began = time.process_time()
        for k in which:
            after, _, done, _ = self.observation.simulate(self.actions[int(k)], time_step=0)
            loadings.append(None if done else after.rho.copy())
        return time.process_time() - began, loadings


def simulated(environment: str, most: int, rng: np.random.Generator) -> Simulated:
    """The first observation of an environment with its unitary actions, at most ``most``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import grid2op
        from grid2op.Parameters import Parameters
        from lightsim2grid import LightSimBackend

        rules = Parameters()
        rules.NO_OVERFLOW_DISCONNECTION = True
        rules.NB_TIMESTEP_COOLDOWN_SUB = rules.NB_TIMESTEP_COOLDOWN_LINE = 0
        rules.ENV_DOES_REDISPATCHING = False
        env = grid2op.make(environment, test=True, backend=LightSimBackend(), param=rules)
        env.seed(0)
        observation = env.reset()
        actions = _actions(env, most, rng)
        case = load(Path(env.get_path_env()) / "grid.json")
    return _translated(env, observation, actions, case)


def _actions(env: Any, most: int, rng: np.random.Generator) -> list[Any]:
    space = env.action_space
    if env.n_sub < 50:
        return list(space.get_all_unitary_topologies_set(space))[:most]
    out: list[Any] = []
    for sub in rng.permutation(env.n_sub):
        if env.sub_info[sub] <= 8:  # more of them take Grid2Op minutes to list
            out += space.get_all_unitary_topologies_set(space, sub_id=int(sub))
        if len(out) >= most:
            break
    return out[:most]


def _translated(env: Any, observation: Any, actions: list[Any], case: Case) -> Simulated:
    grid = case.grid
    n, m = grid.n_branch, env.n_line
    kinds = np.array(grid.unit_kind)
    load_unit, gen_unit = np.flatnonzero(kinds == "load"), np.flatnonzero(kinds == "gen")
    same = (
        m == n
        and (env.line_or_to_subid == grid.from_substation).all()
        and (env.line_ex_to_subid == grid.to_substation).all()
        and (env.load_to_subid == grid.unit_substation[load_unit]).all()
        and (env.gen_to_subid == grid.unit_substation[gen_unit]).all()
    )
    if not same:
        raise RuntimeError(f"{env.name} lists its elements in another order than its grid file")
    terminal = np.full(env.dim_topo, -1, np.int64)
    terminal[env.line_or_pos_topo_vect] = np.arange(n)
    terminal[env.line_ex_pos_topo_vect] = n + np.arange(n)
    terminal[env.load_pos_topo_vect] = 2 * n + load_unit
    terminal[env.gen_pos_topo_vect] = 2 * n + gen_unit
    base = grid.s_base_mva
    p, q = case.injection.p.copy(), case.injection.q.copy()
    v_set = case.injection.v_set.copy()
    p[0, load_unit], q[0, load_unit] = -observation.load_p / base, -observation.load_q / base
    p[0, gen_unit] = observation.gen_p / base
    v_set[0, gen_unit] = observation.gen_v / grid.vn_kv[grid.unit_substation[gen_unit]]
    amps = base * 1e3 / (np.sqrt(3.0) * grid.vn_kv[grid.from_substation])
    rating = env.get_thermal_limit() / amps
    unlimited = np.full(n, np.inf)
    case = replace(
        case, injection=Injection(p=p, q=q, v_set=v_set),
        grid=replace(grid, i_max_from=rating, i_max_to=unlimited, s_max=unlimited),
    )  # fmt: skip
    busbar = np.repeat(case.topology.busbar, len(actions), axis=0)
    for row, action in enumerate(actions):
        set_to = action._set_topo_vect  # noqa: SLF001 - there is no public array of it
        moved = np.flatnonzero(set_to > 0)
        busbar[row, terminal[moved]] = set_to[moved]
    closed = np.repeat(case.topology.closed, len(actions), axis=0)
    return Simulated(
        case=case, topology=Topology(busbar=busbar, closed=closed), observation=observation,
        actions=actions, terminal=terminal, environment=env,
    )  # fmt: skip


def simulated_beside(
    shipped: Shipped,
    steps: int,
    rng: np.random.Generator,
    *,
    kinds: tuple[str, ...] = ("busbar", "line"),
    aheads: tuple[int, ...] = (0, 1),
    tries: int = 2,
) -> Report:
    """Random orders simulated by both along random rollouts; ``steps`` of the report counts them.

    Each state gets ``tries`` orders for every entry of ``aheads``.
    """
    report = Report()
    env, world = shipped.env, shipped.world
    obs, state = begin(env, 0), reset(world, rng, episode=np.zeros(1, np.int64))
    for at in range(steps):
        for ahead in np.repeat(aheads, tries).tolist():
            action, orders = draw(shipped, rng, kinds, 0.9)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs, _, done, info = obs.simulate(action, time_step=ahead)
            after, outcome = simulate(world, state, orders, ahead=ahead)
            _note(report, f"step {at}, {ahead} ahead", (theirs, done, info), (after, outcome))
        action, orders = draw(shipped, rng, kinds, 0.4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            obs, _, done, _ = env.step(action)
        state, _ = step(world, state, orders)
        if done or not state.running[0]:
            obs, state = begin(env, 0), reset(world, rng, episode=np.zeros(1, np.int64))
    return report


def _note(
    report: Report,
    where: str,
    theirs: tuple[Any, bool, dict[str, Any]],
    ours: tuple[State, Outcome],
) -> None:
    """Compare one simulated step."""
    (obs, done, info), (state, outcome) = theirs, ours
    report.steps += 1
    verdict = 1 if info["is_ambiguous"] else 2 if info["is_illegal"] else 0
    if verdict != outcome.verdict[0] or done == state.running[0]:
        report.differences.append(f"{where}: verdict {verdict}, over {done}")
    if done or not state.running[0]:
        return
    delta = float(np.abs(np.asarray(obs.rho, float) - state.rho[0]).max())
    report.max_delta_rho = max(report.max_delta_rho, delta)
    pairs = {
        "line_status": (obs.line_status, state.closed[0]),
        "timestep_overflow": (obs.timestep_overflow, state.overflow[0]),
        "line cooldown": (obs.time_before_cooldown_line, state.line_cooldown[0]),
        "substation cooldown": (obs.time_before_cooldown_sub, state.substation_cooldown[0]),
    }
    report.differences.extend(
        f"{where}: {name}" for name, (a, b) in pairs.items() if (a != b).any()
    )
