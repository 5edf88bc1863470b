"""LightEnv, the environment in C++ that lightsim2grid ships, on the series of a Grid2Op one."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .grid2op_world import Shipped, model


def light_env(shipped: Shipped) -> Any:
    """A LightEnv with the environment's grid, first episode, limits and overflow steps."""
    cpp = importlib.import_module("lightsim2grid.lightEnv")
    env = shipped.env
    made = cpp.LightEnv(model(env))
    data = env.chronics_handler.real_data.data
    rows = shipped.world.series.horizon(0) + 1
    shunts = len(list(model(env).get_shunts()))

    def table(values: Any) -> Any:
        return np.asarray(values[:rows], float)

    empty = np.full((rows, 0), np.nan)
    if data.prod_v is None:
        v_set = np.array([g.target_vm_pu for g in model(env).get_generators()])
        volts = np.repeat(v_set[None], rows, axis=0)
    else:
        volts = table(data.prod_v / env.backend.prod_pu_to_kv)
    made.assign_time_series(
        table(data.load_p), table(data.load_q), table(data.prod_p), volts,
        np.full((rows, env.n_storage), np.nan), np.full((rows, shunts), np.nan),
        np.full((rows, shunts), np.nan), empty, empty,
    )  # fmt: skip
    limits = np.asarray(env.get_thermal_limit(), float) / 1000.0
    other = limits * env.backend.lines_or_pu_to_kv / env.backend.lines_ex_pu_to_kv
    protections = cpp.Protections()
    protections.set_thermal_limit_or(limits)
    protections.set_thermal_limit_ex(np.asarray(other, float))
    allowed = int(env.parameters.NB_TIMESTEP_OVERFLOW_ALLOWED)
    protections.set_max_line_time_step_overflow(np.full(env.n_line, allowed, np.int32))
    made.protections = protections
    return made
