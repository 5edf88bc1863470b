"""A scenario of ours as an environment that Grid2Op runs: a folder for ``grid2op.make``.

    python -m benchmarks.peers.grid2op_export ieee14 exported/ieee14 --episodes 2

Grid (for pandapower and LightSim), chronics with forecasts of the next step, planned and unplanned
outages, limits, ramps, storage, rules and the opponent. Powers are in single precision there.

What Grid2Op cannot say is refused by name: static generators, branches that are neither a line nor
a plain transformer, three-winding transformers. It holds the origin of a line alone against its
limit, so that a scenario with ``rho_side = "both"`` may live a little longer there. Machines that
take no orders are of type "wind" there, which no order of ours concerns.
"""

from __future__ import annotations

import argparse
import bz2
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandapower

import scenarios
from gridrl.arrays import Floats
from gridrl.env.world import World
from gridrl.errors import CaseError

HERTZ = 50.0
SAME = 1e-9  # p.u., relative: two-ports closer than that are the same
MACHINES = ("gen", "ext_grid")
WIDE = 1e6  # A, where a branch has no limit
NEVER = 1e6  # MW


def export(world: World, folder: Path, *, episodes: int | None = None) -> None:
    """Write the environment.

    Raises
    ------
    CaseError
        The grid has something that Grid2Op cannot say.
    """
    names = _names(world)
    folder.mkdir(parents=True, exist_ok=True)
    pandapower.to_json(network(world, names), str(folder / "grid.json"))
    _config(world, names, folder)
    _fleet(world, names, folder)
    n = world.series.n_episode
    for episode in range(n if episodes is None else min(n, episodes)):
        _chronics(world, names, folder / "chronics" / f"{episode:04d}", episode)


def _names(world: World) -> dict[str, Any]:
    """Names of branches and units there, and the order of branches: lines come first."""
    grid, base = world.case.grid, world.case.grid.s_base_mva
    strange = sorted(set(grid.unit_kind) - {"load", "storage", "shunt", *MACHINES})
    if strange or grid.is_star.any():
        what = strange or ["three-winding transformers"]
        raise CaseError(f"Grid2Op has no counterpart of {', '.join(what)} in {grid.name}.")
    like = [_line(grid, k) for k in range(grid.n_branch)]
    order = [k for k, line in enumerate(like) if line] + [k for k, x in enumerate(like) if not x]
    kept = [m for m, kind in enumerate(grid.unit_kind) if kind != "shunt"]
    plain = [f"{grid.element_kind[e]}_{grid.element_id[e]}" for e in grid.branch_element]
    unit = [f"{grid.element_kind[e]}_{grid.element_id[e]}" for e in grid.unit_element]
    return {
        "branch": plain, "order": order, "line": like, "unit": unit, "base": base,
        "load": [m for m in kept if grid.unit_kind[m] == "load"],
        "gen": [m for m in kept if grid.unit_kind[m] in MACHINES],
        "storage": [m for m in kept if grid.unit_kind[m] == "storage"],
    }  # fmt: skip


def _line(grid: Any, k: int) -> bool:
    """Whether a branch is a symmetric one between equal voltages."""
    f, t = int(grid.from_substation[k]), int(grid.to_substation[k])
    close = SAME * abs(grid.y_ff[k])
    return bool(
        abs(grid.vn_kv[f] - grid.vn_kv[t]) < 1e-9
        and abs(grid.y_ff[k] - grid.y_tt[k]) < close and abs(grid.y_ft[k] - grid.y_tf[k]) < close
    )  # fmt: skip


def network(world: World, names: dict[str, Any]) -> Any:
    """The grid as pandapower has it, one bus for each substation."""
    grid, case = world.case.grid, world.case
    net = pandapower.create_empty_network(sn_mva=grid.s_base_mva, f_hz=HERTZ)
    for s in range(grid.n_substation):
        pandapower.create_bus(net, vn_kv=float(grid.vn_kv[s]), name=grid.substation_name[s])
    for k in names["order"]:
        (_add_line if names["line"][k] else _add_trafo)(net, grid, k, names["branch"][k])
        table = net.line if names["line"][k] else net.trafo
        table.loc[table.index[-1], "in_service"] = bool(case.topology.closed[0, k])
    p, q = case.injection.p[0] * grid.s_base_mva, case.injection.q[0] * grid.s_base_mva
    for m, kind in enumerate(grid.unit_kind):
        bus, name = int(grid.unit_substation[m]), names["unit"][m]
        if kind == "load":
            pandapower.create_load(net, bus, p_mw=-p[m], q_mvar=-q[m], name=name)
        elif kind == "storage":
            pandapower.create_storage(
                net, bus, p_mw=0.0, q_mvar=0.0, max_e_mwh=1.0, name=name
            )  # fmt: skip
        elif kind == "shunt":
            pandapower.create_shunt(net, bus, p_mw=-p[m], q_mvar=-q[m], name=name)
        else:
            pandapower.create_gen(
                net, bus, p_mw=p[m], vm_pu=float(case.injection.v_set[0, m]), name=name,
                slack=bool(grid.is_reference[m]), slack_weight=1.0,
            )  # fmt: skip
    return net


def _add_line(net: Any, grid: Any, k: int, name: str) -> None:
    f, t = int(grid.from_substation[k]), int(grid.to_substation[k])
    z_base = grid.vn_kv[f] ** 2 / grid.s_base_mva
    z = -z_base / grid.y_ft[k]
    shunt = 2.0 * (grid.y_ff[k] + grid.y_ft[k]) / z_base
    pandapower.create_line_from_parameters(
        net, f, t, length_km=1.0, r_ohm_per_km=z.real, x_ohm_per_km=z.imag,
        c_nf_per_km=shunt.imag / (2e-9 * np.pi * HERTZ), g_us_per_km=shunt.real * 1e6,
        max_i_ka=_limit(grid, k) / 1e3, name=name,
    )  # fmt: skip


def _add_trafo(net: Any, grid: Any, k: int, name: str) -> None:
    """The ratio becomes a tap: LightSim looks at no other."""
    f, t = int(grid.from_substation[k]), int(grid.to_substation[k])
    ratio = float(np.sqrt((grid.y_tt[k] / grid.y_ff[k]).real))
    shift = float(np.angle(grid.y_tf[k] / grid.y_ft[k])) / 2.0
    y = grid.y_tt[k]
    turned = -y / (ratio * np.exp(-1j * shift))
    if abs(turned - grid.y_ft[k]) > 1e-6 * abs(y) or abs(grid.y_ff[k] * ratio**2 - y) > 1e-6 * abs(
        y
    ):
        raise CaseError(
            f"{grid.branch_label[k]} of {grid.name} is neither a symmetric line nor a transformer "
            "without magnetising current: Grid2Op cannot say what it is."
        )
    z = 1.0 / y
    pandapower.create_transformer_from_parameters(
        net, hv_bus=f, lv_bus=t, sn_mva=grid.s_base_mva, vn_hv_kv=grid.vn_kv[f],
        vn_lv_kv=grid.vn_kv[t], vk_percent=100.0 * abs(z) * np.sign(z.imag),
        vkr_percent=100.0 * z.real, pfe_kw=0.0, i0_percent=0.0, shift_degree=np.degrees(shift),
        tap_side="hv", tap_neutral=0, tap_min=-1, tap_max=1, tap_pos=1,
        tap_step_percent=100.0 * (ratio - 1.0), tap_step_degree=0.0, tap_changer_type="Ratio",
        name=name,
    )  # fmt: skip


def _limit(grid: Any, k: int) -> float:
    """Amperes at the origin."""
    f = int(grid.from_substation[k])
    pu = min(float(grid.i_max_from[k]), float(grid.s_max[k]))
    amperes = pu * grid.s_base_mva / (np.sqrt(3.0) * grid.vn_kv[f]) * 1e3
    return min(float(amperes), WIDE)


def _config(world: World, names: dict[str, Any], folder: Path) -> None:
    grid, foe, rules = world.case.grid, world.opponent, world.rules
    limits = {names["branch"][k]: _limit(grid, k) for k in names["order"]}
    lines = [
        "from grid2op.Action import PlayableAction, PowerlineSetAction",
        "from grid2op.Backend import PandaPowerBackend",
        "from grid2op.Chronics import GridStateFromFileWithForecasts, Multifolder",
        "from grid2op.Opponent import BaseActionBudget, RandomLineOpponent, WeightedRandomOpponent",
        "from grid2op.Reward import RedispReward", "from grid2op.Rules import DefaultRules", "",
        "config = {",
        '    "backend": PandaPowerBackend, "action_class": PlayableAction,',
        '    "observation_class": None, "reward_class": RedispReward,',
        '    "gamerules_class": DefaultRules, "chronics_class": Multifolder,',
        '    "grid_value_class": GridStateFromFileWithForecasts, "volagecontroler_class": None,',
        '    "names_chronics_to_grid": None,',
        f'    "thermal_limits": {json.dumps(limits)},',
    ]  # fmt: skip
    if foe.exists:
        asked: dict[str, Any] = {"lines_attacked": [names["branch"][k] for k in foe.lines]}
        if foe.by_loading:
            asked |= {"rho_normalization": (1.0 / foe.weight).tolist(), "attack_period": foe.period}
        kind = "WeightedRandomOpponent" if foe.by_loading else "RandomLineOpponent"
        lines += [
            f'    "opponent_class": {kind}, "opponent_budget_class": BaseActionBudget,',
            '    "opponent_action_class": PowerlineSetAction,',
            f'    "opponent_attack_cooldown": {foe.cooldown},',
            f'    "opponent_attack_duration": {foe.duration},',
            f'    "opponent_budget_per_ts": {foe.budget_per_step},',
            f'    "opponent_init_budget": {foe.budget},',
            f'    "kwargs_opponent": {json.dumps(asked)},',
        ]
    (folder / "config.py").write_text("\n".join([*lines, "}", ""]), encoding="utf-8")
    level = {
        "NO_OVERFLOW_DISCONNECTION": not rules.overflow_trips,
        "NB_TIMESTEP_OVERFLOW_ALLOWED": rules.soft_steps,
        "NB_TIMESTEP_RECONNECTION": rules.reconnection,
        "HARD_OVERFLOW_THRESHOLD": rules.hard_limit, "SOFT_OVERFLOW_THRESHOLD": rules.soft_limit,
        "NB_TIMESTEP_COOLDOWN_LINE": rules.line_cooldown,
        "NB_TIMESTEP_COOLDOWN_SUB": rules.substation_cooldown,
        "MAX_LINE_STATUS_CHANGED": rules.max_lines, "MAX_SUB_CHANGED": rules.max_substations,
        "INIT_STORAGE_CAPACITY": rules.storage_start, "ACTIVATE_STORAGE_LOSS": rules.storage_losses,
        "ALLOW_DISPATCH_GEN_SWITCH_OFF": True, "IGNORE_MIN_UP_DOWN_TIME": True,
    }  # fmt: skip
    (folder / "difficulty_levels.json").write_text(json.dumps({"0": level}, indent=1))


def _fleet(world: World, names: dict[str, Any], folder: Path) -> None:
    fleet, base = world.fleet, names["base"]
    place = {int(m): g for g, m in enumerate(fleet.gen_unit)}
    head = ("Pmax,Pmin,name,type,bus,max_ramp_up,max_ramp_down,min_up_time,min_down_time,"
            "marginal_cost,shut_down_cost,start_cost,x,y,V")  # fmt: skip
    rows = [head]
    for m in names["gen"]:
        g = place.get(m)
        if g is None:
            low, high, up, down, takes_orders = 0.0, NEVER, 0.0, 0.0, False
        else:
            low, high, up, down = (
                float(getattr(fleet, name)[g] * base)
                for name in ("p_min", "p_max", "ramp_up", "ramp_down")
            )
            takes_orders = bool(fleet.redispatchable[g])
        # what is thermal would be redispatched, and held at its ramp: the rest is wind there
        kind = "thermal" if takes_orders else "wind"
        rows.append(
            f"{high!r},{low!r},{names['unit'][m]},{kind},"
            f"{int(world.case.grid.unit_substation[m])},{up!r},{down!r},0,0,50,0,0,0,0,1"
        )
    (folder / "prods_charac.csv").write_text("\n".join(rows) + "\n")
    if fleet.n_storage:
        head = ("Emax,Emin,name,type,max_p_prod,max_p_absorb,marginal_cost,power_loss,"
                "charging_efficiency,discharging_efficiency")  # fmt: skip
        stores = [head]
        stores += [
            f"{float(fleet.energy_max[k] * base)!r},{float(fleet.energy_min[k] * base)!r},"
            f"{names['unit'][int(m)]},battery,{float(fleet.produce_max[k] * base)!r},"
            f"{float(fleet.absorb_max[k] * base)!r},0,{float(fleet.loss[k] * base)!r},"
            f"{float(fleet.charge_efficiency[k])!r},{float(fleet.discharge_efficiency[k])!r}"
            for k, m in enumerate(fleet.storage_unit)
        ]
        (folder / "storage_units_charac.csv").write_text("\n".join(stores) + "\n")


def _chronics(world: World, names: dict[str, Any], folder: Path, episode: int) -> None:
    """The tables of one episode."""
    folder.mkdir(parents=True, exist_ok=True)
    series, base, grid = world.series, names["base"], world.case.grid
    rows = np.arange(series.start[episode], series.start[episode + 1])
    load, gen = names["load"], names["gen"]
    kv = grid.vn_kv[grid.unit_substation[gen]]
    tables = {
        "load_p": (load, -series.p[rows][:, load] * base),
        "load_q": (load, -series.q[rows][:, load] * base),
        "prod_p": (gen, series.p[rows][:, gen] * base),
        "prod_v": (gen, series.v_set[rows][:, gen] * kv),
    }
    ahead_p, ahead_q = series.expected(rows, 1)
    tables |= {
        "load_p_forecasted": (load, -ahead_p[:, load] * base),
        "load_q_forecasted": (load, -ahead_q[:, load] * base),
        "prod_p_forecasted": (gen, ahead_p[:, gen] * base),
        "prod_v_forecasted": (gen, series.v_set[rows][:, gen] * kv),
    }
    for name, (units, values) in tables.items():
        _table(folder / f"{name}.csv.bz2", [names["unit"][m] for m in units], values)
    order = names["order"]
    for name, out in (("maintenance", series.maintenance), ("hazards", series.hazard)):
        if out.any():
            heads = [names["branch"][k] for k in order]
            _table(folder / f"{name}.csv.bz2", heads, out[rows][:, order].astype(float))
    minutes = round(series.step_s / 60.0)
    (folder / "time_interval.info").write_text(f"{minutes // 60:02d}:{minutes % 60:02d}\n")
    (folder / "start_datetime.info").write_text("2024-01-01 00:00\n")  # a Monday


def _table(path: Path, heads: list[str], values: Floats) -> None:
    single = np.asarray(values, np.float32)
    text = [";".join(heads), *(";".join(map(str, row)) for row in single.tolist())]
    path.write_bytes(bz2.compress(("\n".join(text) + "\n").encode()))


def main() -> None:
    """Write the environment of a scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", help="name or path, as scenarios.load takes it")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pack", default="all", choices=("all", "train", "test"))
    parser.add_argument("--episodes", type=int, help="the first so many of the pack")
    asked = parser.parse_args()
    export(scenarios.load(asked.scenario).world(pack=asked.pack), asked.folder,
           episodes=asked.episodes)  # fmt: skip
    print(f"grid2op.make({str(asked.folder)!r}, backend=LightSimBackend())")


if __name__ == "__main__":
    main()
