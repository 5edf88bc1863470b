"""Grid2Op with LightSimBackend: ``obs.simulate`` over unitary actions, and the same grid for us."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.grid import Injection, Topology
from gridrl.io import load


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
