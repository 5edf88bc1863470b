"""An environment of Grid2Op, with LightSim as its backend, as a `World` of ours.

Grid and limits are read from the backend itself, so that both programs have the same two-ports
whatever convention the backend has for transformers. The series are those of its chronics.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridrl.arrays import Complexes, Floats, Ints
from gridrl.case import Case
from gridrl.env.fleet import Fleet
from gridrl.env.rules import Rules
from gridrl.env.series import Series, joined
from gridrl.env.world import World, build_world
from gridrl.grid import Grid
from gridrl.io.assemble import Branches, Buses, Units, assemble, stack

BASE_MVA = 100.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Shipped:
    """An environment of Grid2Op beside ours."""

    env: Any  # grid2op.Environment
    world: World
    terminal: Ints  # [dim_topo] our terminal of each of its elements

    @property
    def base(self) -> float:
        return float(self.world.case.grid.s_base_mva)


def open_env(name: str, **settings: Any) -> Any:
    """An environment that ships in Grid2Op's wheel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        grid2op = importlib.import_module("grid2op")
        backend = importlib.import_module("lightsim2grid").LightSimBackend
        return grid2op.make(name, test=True, backend=backend(), **settings)


def no_opponent() -> dict[str, Any]:
    """Settings that keep an environment's opponent from attacking."""
    opponent = importlib.import_module("grid2op.Opponent")
    return {
        "opponent_class": opponent.BaseOpponent,
        "opponent_budget_class": opponent.NeverAttackBudget,
        "opponent_action_class": importlib.import_module("grid2op.Action").DontAct,
        "opponent_init_budget": 0.0,
        "opponent_budget_per_ts": 0.0,
    }


def line_opponent(lines: list[str]) -> dict[str, Any]:
    """Settings of an opponent that takes out one of these lines now and then."""
    opponent = importlib.import_module("grid2op.Opponent")
    return {
        "opponent_class": opponent.RandomLineOpponent,
        "opponent_budget_class": opponent.BaseActionBudget,
        "opponent_action_class": importlib.import_module("grid2op.Action").PowerlineSetAction,
        "opponent_attack_duration": 48,
        "opponent_attack_cooldown": 144,
        "opponent_init_budget": 0.0,
        "opponent_budget_per_ts": 0.5,
        "kwargs_opponent": {"lines_attacked": lines},
    }


def open_playable(name: str, **settings: Any) -> Any:
    """A shipped environment that allows all kinds of orders."""
    action = importlib.import_module("grid2op.Action").PlayableAction
    return open_env(name, action_class=action, **settings)


def shipped(
    name: str, *, episodes: int | None = None, playable: bool = False, **settings: Any
) -> Shipped:
    """A shipped environment and the same of ours, with the first ``episodes`` of its chronics.

    ``playable`` allows all kinds of orders, where the environment allows only some.
    """
    from .grid2op_opponent import opponent_of

    env = (open_playable if playable else open_env)(name, **settings)
    begin(env, 0)  # which takes the shunts of some grids out of service
    case = case_of(env)
    parts = []
    n_chronics = len(env.chronics_handler.subpaths)
    for episode in range(n_chronics if episodes is None else min(episodes, n_chronics)):
        begin(env, episode)
        parts.append(series_of(env, case.grid))
    every = np.arange(case.grid.n_substation)
    world = build_world(
        case, joined(parts), rules_of(env.parameters), fleet=fleet_of(env, case.grid),
        opponent=opponent_of(env), area=area_of(env), split=every,
    )  # fmt: skip
    return Shipped(env=env, world=world, terminal=terminals_of(env, case.grid))


def begin(env: Any, episode: int) -> Any:
    """Reset to an episode; maintenance that is drawn at random is the same every time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env.seed(episode)
        env.set_id(episode)
        return env.reset()


def rules_of(parameters: Any) -> Rules:
    """The rules that Grid2Op's ``Parameters`` state."""
    return Rules(
        max_lines=int(parameters.MAX_LINE_STATUS_CHANGED),
        max_substations=int(parameters.MAX_SUB_CHANGED),
        line_cooldown=int(parameters.NB_TIMESTEP_COOLDOWN_LINE),
        substation_cooldown=int(parameters.NB_TIMESTEP_COOLDOWN_SUB),
        overflow_trips=not parameters.NO_OVERFLOW_DISCONNECTION,
        soft_limit=float(parameters.SOFT_OVERFLOW_THRESHOLD),
        soft_steps=int(parameters.NB_TIMESTEP_OVERFLOW_ALLOWED),
        hard_limit=float(parameters.HARD_OVERFLOW_THRESHOLD),
        reconnection=int(parameters.NB_TIMESTEP_RECONNECTION),
        storage_start=float(parameters.INIT_STORAGE_CAPACITY),
        storage_losses=bool(parameters.ACTIVATE_STORAGE_LOSS),
        redispatch="slsqp",
    )


def case_of(env: Any) -> Case:
    """Grid, limits and present state of the backend."""
    backend = model(env)
    vn = np.array(backend.get_bus_vn_kv())[: env.n_sub]
    n = env.n_sub
    names = tuple(str(name) for name in env.name_sub)
    buses = Buses(
        id=tuple(str(k) for k in range(n)), name=names, node=np.arange(n), vn_kv=vn,
        v_min=np.zeros(n), v_max=np.full(n, np.inf),
    )  # fmt: skip
    return assemble(
        name=str(env.name), s_base_mva=BASE_MVA, buses=buses, branches=_branches(env, vn),
        units=_units(env), report=(), source=str(env.name), origin="Grid2Op with LightSim",
    )  # fmt: skip


def _private(owner: Any, name: str) -> Any:
    """What has no public name: LightSim's model behind the backend, the rules of the game."""
    return getattr(owner, name)


def model(env: Any) -> Any:
    return _private(env.backend, "_grid")


def _branches(env: Any, vn: Floats) -> Branches:
    backend = model(env)
    infos = [*backend.get_lines(), *backend.get_trafos()]
    scale = float(backend.get_sn_mva()) / BASE_MVA
    y: list[Complexes] = [
        np.array([complex(getattr(info, f"yac_{end}")) for info in infos]) * scale
        for end in ("11", "12", "21", "22")
    ]
    n = len(infos)
    f = np.array(env.line_or_to_subid, np.int64)
    t = np.array(env.line_ex_to_subid, np.int64)
    base_ka = BASE_MVA / np.sqrt(3.0) / vn
    limit = np.array(env.get_thermal_limit(), float) / 1000.0
    x = np.array([complex(info.x_pu).real for info in infos])
    trafo = np.arange(n) >= len(list(backend.get_lines()))
    return Branches(
        kind=tuple("trafo" if is_trafo else "line" for is_trafo in trafo),
        id=tuple(str(name) for name in env.name_line),
        name=("",) * n, from_bus=f, to_bus=t, y_ff=y[0], y_ft=y[1], y_tf=y[2], y_tt=y[3],
        b_dc=1.0 / np.where(np.abs(x) > 0, x, 1e-6) * scale, shift_dc=np.zeros(n),
        angle_min=np.full(n, -np.inf), angle_max=np.full(n, np.inf),
        i_max_from=limit / base_ka[f], i_max_to=np.full(n, np.inf), s_max=np.full(n, np.inf),
        closed=np.ones(n, np.bool_), from_busbar=np.ones(n, np.int8), to_busbar=np.ones(n, np.int8),
    )  # fmt: skip


def _units(env: Any) -> Units:
    backend = model(env)
    zero = np.zeros(env.n_load)
    parts = [
        Units.plain(
            "load", [str(k) for k in env.name_load], np.array(env.load_to_subid, np.int64), zero,
            zero,
        )
    ]  # fmt: skip
    parts.append(_generators(env))
    if env.n_storage:
        zero = np.zeros(env.n_storage)
        parts.append(
            Units.plain(
                "storage", [str(k) for k in env.name_storage],
                np.array(env.storage_to_subid, np.int64), zero, zero,
            )
        )  # fmt: skip
    shunts = list(backend.get_shunts())
    if shunts:
        power = np.array([complex(s.target_p_mw, s.target_q_mvar) for s in shunts]) / BASE_MVA
        parts.append(
            Units.plain(
                "shunt", [str(k) for k in range(len(shunts))],
                np.array([s.sub_id for s in shunts], np.int64), -power.real, -power.imag,
                in_service=np.array([s.connected for s in shunts]), impedance=True,
            )
        )  # fmt: skip
    return stack(parts)


def _generators(env: Any) -> Units:
    infos = list(model(env).get_generators())
    n = len(infos)
    slack = np.array([info.is_slack for info in infos])
    inf = np.full(n, np.inf)
    return Units(
        kind=("gen",) * n, id=tuple(str(name) for name in env.name_gen), name=("",) * n,
        bus=np.array(env.gen_to_subid, np.int64), busbar=np.ones(n, np.int8),
        p=np.array([info.target_p_mw for info in infos]) / BASE_MVA, q=np.zeros(n),
        v_set=np.array([info.target_vm_pu for info in infos]), is_reference=slack,
        va_reference=np.zeros(n), slack_weight=slack.astype(float),
        dispatchable=np.zeros(n, np.bool_), p_min=-inf, p_max=inf, q_min=-inf, q_max=inf,
        i_share_p=np.zeros(n), i_share_q=np.zeros(n), z_share_p=np.zeros(n), z_share_q=np.zeros(n),
    )  # fmt: skip


def _places(env: Any) -> dict[str, slice]:
    """Units of each kind, in the order of `_units`."""
    out, at = {}, 0
    for kind in ("load", "gen", "storage"):
        out[kind] = slice(at, at + getattr(env, f"n_{kind}"))
        at = out[kind].stop
    return out


def series_of(env: Any, grid: Grid) -> Series:
    """The chronics that the environment has open, as one episode."""
    data = env.chronics_handler.real_data.data
    rows = int(env.chronics_handler.max_episode_duration()) + 1
    place = _places(env)
    p, q = np.zeros((rows, grid.n_unit)), np.zeros((rows, grid.n_unit))
    v_set = np.full((rows, grid.n_unit), np.nan)
    p[:, place["load"]] = -np.asarray(data.load_p[:rows], np.float32)
    q[:, place["load"]] = -np.asarray(data.load_q[:rows], np.float32)
    p[:, place["gen"]] = np.asarray(data.prod_p[:rows], np.float32)
    p, q = p / BASE_MVA, q / BASE_MVA
    if data.prod_v is None:
        v_set[:, place["gen"]] = [g.target_vm_pu for g in model(env).get_generators()]
    else:
        kv = np.asarray(data.prod_v[:rows], np.float32)
        v_set[:, place["gen"]] = kv / np.asarray(env.backend.prod_pu_to_kv, np.float32)
    shunt = np.array(grid.unit_kind) == "shunt"
    shunts = list(model(env).get_shunts())
    p[:, shunt] = -np.array([s.target_p_mw for s in shunts]) / BASE_MVA
    q[:, shunt] = -np.array([s.target_q_mvar for s in shunts]) / BASE_MVA
    p_forecast, q_forecast = _forecasts(data, place, p, q)
    none = np.empty((0, grid.n_branch), np.bool_)
    outages = {}
    for ours, theirs in (("maintenance", "maintenance"), ("hazard", "hazards")):
        value = getattr(data, theirs, None)
        outages[ours] = none if value is None else np.asarray(value[:rows], np.bool_)
    return Series(
        start=np.array([0, rows]), p=p, q=q, v_set=v_set, p_forecast=p_forecast,
        q_forecast=q_forecast, step_s=float(env.delta_time_seconds),
        names=(str(env.chronics_handler.get_id()).rpartition("/")[2],), **outages,
    )  # fmt: skip


def _forecasts(data: Any, place: dict[str, slice], p: Floats, q: Floats) -> tuple[Floats, Floats]:
    """[n_ahead, n_row, n_unit] what each row was expected to be 1, 2, ... steps before."""
    made = getattr(data, "load_p_forecast", None)
    if made is None:
        return np.empty((0, p.shape[1])), np.empty((0, p.shape[1]))
    n_ahead = int(_private(data, "_nb_forecast"))
    out = np.repeat(p[None], n_ahead, axis=0), np.repeat(q[None], n_ahead, axis=0)
    for name, kind, sign, into in (
        ("load_p", "load", -1.0, out[0]), ("prod_p", "gen", 1.0, out[0]),
        ("load_q", "load", -1.0, out[1]),
    ):  # fmt: skip
        table = getattr(data, f"{name}_forecast", None)
        if table is None:
            continue
        for k in range(n_ahead):  # made at row r for row r + k + 1
            values = sign * np.asarray(table[k::n_ahead], np.float32) / BASE_MVA
            rows = min(len(values), p.shape[0] - k - 1)
            into[k, k + 1 : k + 1 + rows, place[kind]] = values[:rows]
    return out


def fleet_of(env: Any, grid: Grid) -> Fleet:
    """Ramps, limits and storage as the environment's tables state them."""
    place = _places(env)
    n = env.n_gen

    def power(name: str) -> Floats:
        return np.array(getattr(env, name), float) / BASE_MVA

    known = bool(env.redispatching_unit_commitment_availble)
    none = np.zeros(n, np.bool_)
    limits = {
        "p_min": power("gen_pmin") if known else np.full(n, -np.inf),
        "p_max": power("gen_pmax") if known else np.full(n, np.inf),
        "ramp_up": power("gen_max_ramp_up") if known else np.zeros(n),
        "ramp_down": power("gen_max_ramp_down") if known else np.zeros(n),
    }
    unit = np.arange(grid.n_unit)
    return Fleet(
        gen_unit=unit[place["gen"]],
        redispatchable=np.array(env.gen_redispatchable, np.bool_) if known else none,
        renewable=np.array(env.gen_renewable, np.bool_) if known else none,
        **limits,
        storage_unit=unit[place["storage"]],
        energy_min=power("storage_Emin"), energy_max=power("storage_Emax"),
        absorb_max=power("storage_max_p_absorb"), produce_max=power("storage_max_p_prod"),
        charge_efficiency=np.array(env.storage_charging_efficiency, float),
        discharge_efficiency=np.array(env.storage_discharging_efficiency, float),
        loss=power("storage_loss"),
    )  # fmt: skip


def area_of(env: Any) -> Ints:
    """Area of each substation where the rules count by area, else one for all."""
    area = np.zeros(env.n_sub, np.int64)
    by_area = getattr(_private(env, "_game_rules").legal_action, "substations_id_by_area", None)
    for number, members in enumerate((by_area or {}).values()):
        area[np.asarray(members, int)] = number
    return area


def terminals_of(env: Any, grid: Grid) -> Ints:
    """Our terminal of each element in the order of Grid2Op's topology vector."""
    out = np.empty(env.dim_topo, np.int64)
    out[env.line_or_pos_topo_vect] = np.arange(grid.n_branch)
    out[env.line_ex_pos_topo_vect] = grid.n_branch + np.arange(grid.n_branch)
    unit = 2 * grid.n_branch + np.arange(grid.n_unit)
    for kind, where in _places(env).items():
        out[getattr(env, f"{kind}_pos_topo_vect")] = unit[where]
    return out
