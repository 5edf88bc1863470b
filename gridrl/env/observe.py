"""From a state to what operators see and what the step is worth."""

import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Floats
from gridrl.env.kernels_units import unit_powers
from gridrl.env.kernels_view import write_field
from gridrl.env.state import Ending, Outcome, State
from gridrl.env.world import World
from gridrl.observation import USUAL, Observation, bounds
from gridrl.rewards import Facts

DAY_S, WEEK_S = 86400.0, 7 * 86400.0


def observe(
    world: World,
    state: State,
    *,
    forecasts: bool = False,
    ends: bool = False,
    before: Floats | None = None,
) -> Observation:
    """What operators see of every state of a batch; NaN where a grid has no power flow.

    Parameters
    ----------
    forecasts
        Fill in the expected injections of the next step; they are 0 wide otherwise.
    ends
        Fill in voltages and angles at the ends of branches; they are 0 wide otherwise.
    before
        [B, n_branch] loadings one step ago, NaN where there are none: what trends count from.
    """
    grid = world.case.grid
    n = grid.n_branch
    power = _powers(world, state)
    busbar = state.busbar.copy()
    open_ = ~np.concatenate([state.closed, state.closed], axis=1)
    busbar[:, : 2 * n][open_] = -1
    busbar[busbar == 0] = -1
    _, _, ahead, left, _ = world.outages
    planned = bool(ahead.size)
    none = np.zeros((state.batch, n), np.int64)
    return Observation(
        time=_time(world, state), rho=state.rho, line_status=state.closed,
        busbar=busbar, p_from=state.s_from.real, q_from=state.s_from.imag, p_to=state.s_to.real,
        q_to=state.s_to.imag, unit_p=power[0], unit_q=power[1], unit_v=_unit_v(world, state),
        overflow=state.overflow, line_cooldown=state.line_cooldown,
        substation_cooldown=state.substation_cooldown,
        maintenance_ahead=ahead[state.row] if planned else none - 1,
        maintenance_left=left[state.row] if planned else none,
        target_dispatch=state.target, actual_dispatch=state.actual, curtailment=state.limit,
        storage_charge=state.charge, storage_power=state.absorbed,
        rho_trend=np.nan_to_num(state.rho - (state.rho if before is None else before)),
        **_forecast(world, state, forecasts), **_ends(world, state, ends),
    )  # fmt: skip


def flat(observation: Observation, names: tuple[str, ...] = USUAL) -> NDArray[np.float32]:
    """The fields side by side, [B, sum of widths]; what has no value (NaN) is 0."""
    width = sum(getattr(observation, name).shape[1] for name in names)
    out = np.empty((observation.batch, width), np.float32)
    at = 0
    for name in names:
        values = getattr(observation, name)
        write_field(values, *bounds(name), at, out)
        at += values.shape[1]
    return out


def facts_of(world: World, before: State, after: State, outcome: Outcome) -> Facts:
    """What the step from ``before`` to ``after`` did, for `gridrl.rewards`."""
    hours, _, _, _ = world.dispatch_settings
    alive = (after.ending == Ending.RUNNING) | (after.ending == Ending.SURVIVED)
    return Facts(
        hours=hours, s_base_mva=world.case.grid.s_base_mva,
        horizon=(after.last - after.first).astype(float), rho=after.rho,
        losses=(after.s_from + after.s_to).real.sum(axis=1), redispatched=after.actual,
        curtailed=-after.totals[:, 1], stored=after.absorbed,
        switched=(outcome.line_hit.sum(axis=1) + outcome.substation_hit.sum(axis=1)).astype(float),
        tripped=outcome.tripped.sum(axis=1).astype(float),
        refused=(outcome.verdict > 0) | outcome.failed, alive=alive, ran=before.running,
        voltage_excess=_voltage_excess(world, after),
    )  # fmt: skip


def _voltage_excess(world: World, state: State) -> Floats:
    """[B] p.u. that busbars in use are outside their limits, summed over them."""
    grid, at = world.case.grid, world.engine.model.node_substation
    v = np.abs(state.v)
    outside = np.maximum(v - grid.v_max[at], grid.v_min[at] - v)
    return np.asarray(np.nan_to_num(np.maximum(outside, 0.0)).sum(axis=1))


def _powers(world: World, state: State) -> tuple[Floats, Floats]:
    shape = state.p.shape
    out = np.empty(shape), np.empty(shape)
    unit_powers(
        state.p, state.q, state.v, state.s_from, state.s_to, state.busbar, state.closed,
        world.branches[1:3],
        world.unit_arrays, world.engine.model.second_node, *out,
    )  # fmt: skip
    return out


def _unit_v(world: World, state: State) -> Floats:
    grid = world.case.grid
    busbar = state.busbar[:, 2 * grid.n_branch :]
    second = world.engine.model.second_node[grid.unit_substation]
    node = np.where(busbar == 2, second, grid.unit_substation)
    magnitude = np.abs(np.take_along_axis(state.v, node, axis=1))
    return np.where((busbar > 0) & np.isfinite(magnitude), magnitude, 0.0)


def _time(world: World, state: State) -> Floats:
    clock = world.series.clock_s
    began = clock[state.episode] if clock.size else 0.0
    second = began + (state.row - world.series.start[state.episode]) * world.series.step_s
    day, week = 2 * np.pi * second / DAY_S, 2 * np.pi * second / WEEK_S
    share = state.steps / np.maximum(state.last - state.first, 1)
    return np.stack([share, np.sin(day), np.cos(day), np.sin(week), np.cos(week)], axis=1)


def _forecast(world: World, state: State, wanted: bool) -> dict[str, Floats]:
    """Injections that are expected in the next step."""
    if not wanted:
        none = np.zeros((state.batch, 0))
        return {"p_forecast": none, "q_forecast": none}
    p, q = world.series.expected(state.row, 1)
    return {"p_forecast": p, "q_forecast": q}


def _ends(world: World, state: State, wanted: bool) -> dict[str, Floats]:
    """Voltages at the busbars of both ends of each branch, 0 where there is none."""
    if not wanted:
        return dict.fromkeys(("v_from", "v_to", "angle"), np.zeros((state.batch, 0)))
    grid, second = world.case.grid, world.engine.model.second_node
    n = grid.n_branch
    v = []
    for at, end in ((grid.from_substation, slice(0, n)), (grid.to_substation, slice(n, 2 * n))):
        busbar = state.busbar[:, end]
        node = np.where(busbar == 2, second[at], at)
        found = np.take_along_axis(state.v, node, axis=1)
        v.append(np.where((busbar > 0) & np.isfinite(found), found, 0.0))
    return {
        "v_from": np.abs(v[0]), "v_to": np.abs(v[1]), "angle": np.angle(v[0] * np.conj(v[1])),
    }  # fmt: skip
