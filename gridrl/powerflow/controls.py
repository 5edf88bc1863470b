"""Reactive limits and the distributed slack: outer loops around the solution of a batch.

A generator whose reactive power would leave its range is held at the limit and gives up its
voltage; where the limit no longer binds (its voltage passed the set point on the far side) it
takes it back. The distributed slack shares the imbalance of active power by slack weight.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gridrl.errors import GridError
from gridrl.grid import Complexes, Floats, Injection, Ints
from gridrl.powerflow.kernels_controls import held_power
from gridrl.powerflow.kernels_flow import branch_flows
from gridrl.powerflow.kernels_states import FIXED
from gridrl.powerflow.model import Model
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.solve import Solved, States, solve

ROUNDS = 40
HOLDS, REFERENCE, TOOK_OVER = 1, 2, 3  # who holds a node: `Held.mode`
GIVE_UP_RESTORING = 10  # rounds after which a limit, once reached, stays binding: no cycling


@dataclass(frozen=True, eq=False, kw_only=True)
class Held:
    """What the holding units of each node owe and can, [B, n_node] each; see `held_power`."""

    power: Complexes
    q_low: Floats
    q_high: Floats
    v_held: Floats
    q_given: Floats
    mode: NDArray[np.int8]


def solve_with_controls(
    model: Model, states: States, injection: Injection, start: Floats, options: FlowOptions
) -> Solved:
    """Solve every state, then again where limits or the shared slack ask for it.

    Raises
    ------
    GridError
        The slack is to be distributed, but several nodes fix the angle or no unit has a weight.
    """
    solved = solve(model, states, injection, start, options)
    if not (options.enforce_q_limits or options.distributed_slack):
        return solved
    if options.distributed_slack:
        _check_slack(model)
    pins = np.zeros(solved.v.shape, np.int8)
    shared = np.zeros(states.batch)
    for turn in range(ROUNDS):
        held = held_nodes(model, states, injection, solved)
        moved = np.zeros(states.batch, np.bool_)
        if options.enforce_q_limits:
            restoring = options.restore_voltage and turn < GIVE_UP_RESTORING
            new = _pin(held, pins, np.abs(solved.v), options.tolerance, restoring)
            pins, moved = new, (new != pins).any(axis=1)
        if options.distributed_slack:
            further = _imbalance(model, states, injection, solved, held, shared)
            moved |= np.abs(further) > options.tolerance
            shared = shared + np.where(np.isfinite(further), further, 0.0)
        again = np.flatnonzero(moved & (solved.iterations >= 0))
        if again.size == 0:
            break
        changed = _with_controls(model, states, held, pins, shared)
        wanted = np.where((held.mode == HOLDS) & (pins == 0), held.v_held, np.nan)
        solved = _solve_again(model, changed, injection, solved, wanted, again, options)
    return replace(solved, pins=pins)


def _check_slack(model: Model) -> None:
    grid = model.grid
    at = model.unit_at
    nodes = np.unique(at[grid.is_reference & (at >= 0)])
    if nodes.size > 1:
        raise GridError(
            f"{grid.name} has {nodes.size} nodes that fix the voltage angle, so its slack cannot "
            "be distributed. Keep one external grid or slack generator, or solve without "
            "distributed slack."
        )
    if not (grid.slack_weight[at >= 0] > 0).any():
        raise GridError(
            f"No connected unit of {grid.name} has a slack weight. Set slack_weight, or solve "
            "without distributed slack."
        )


def held_nodes(model: Model, states: States, injection: Injection, solved: Solved) -> Held:
    batch, n_node = solved.v.shape
    shape = (batch, model.grid.n_branch)
    drawn = np.zeros((batch, n_node), np.complex128)
    branch_flows(
        solved.v, states.changes, model.network_arrays, model.base_topology, model.pattern.node,
        np.empty(shape, np.complex128), np.empty(shape, np.complex128), drawn,
    )  # fmt: skip
    held = Held(
        power=np.empty_like(drawn), q_low=np.empty((batch, n_node)),
        q_high=np.empty((batch, n_node)), v_held=np.empty((batch, n_node)),
        q_given=np.empty((batch, n_node)), mode=np.empty((batch, n_node), np.int8),
    )  # fmt: skip
    node = model.pattern.node
    unit_node = np.where(model.unit_row >= 0, node[np.maximum(model.unit_row, 0)], -1)
    grid = model.grid
    held_power(
        solved.v, drawn, states.changes, states.load_of, model.base_topology[3], unit_node,
        model.unit_arrays, injection.p, injection.q,
        (np.array(grid.q_min), np.array(grid.q_max), injection.v_set),
        (held.power, held.q_low, held.q_high, held.v_held, held.q_given, held.mode),
    )  # fmt: skip
    k_of, k_row, k_kind = (np.asarray(column, np.int64) for column in states.lists[4:7])
    fixed = k_kind[: k_of[-1]] == FIXED
    owner = np.repeat(np.arange(batch), np.diff(k_of))
    took_over = (owner[fixed], node[k_row[: k_of[-1]][fixed]])
    held.mode[took_over] = np.where(held.mode[took_over] == HOLDS, TOOK_OVER, held.mode[took_over])
    return held


def _pin(
    held: Held, pins: NDArray[np.int8], v: Floats, tolerance: float, restoring: bool
) -> NDArray[np.int8]:
    """Nodes at a reactive limit after this round: 1 upper, -1 lower."""
    slack = 10 * tolerance
    free = (held.mode == HOLDS) & (pins == 0)
    new = pins.copy()
    new[free & (held.power.imag > held.q_high + slack)] = 1
    new[free & (held.power.imag < held.q_low - slack)] = -1
    if restoring:
        new[(pins == 1) & (v > held.v_held + slack)] = 0
        new[(pins == -1) & (v < held.v_held - slack)] = 0
    return new


def _imbalance(
    model: Model, states: States, injection: Injection, solved: Solved, held: Held, shared: Floats
) -> Floats:
    """[B] p.u. active power that the reference brings beyond its share of ``shared``."""
    grid = model.grid
    weight, total = _slack_shares(model, states)
    reference = grid.is_reference
    scheduled = injection.p[states.load_of][:, reference].sum(axis=1)
    own = weight[:, reference].sum(axis=1) / total
    brought = np.where(held.mode == REFERENCE, held.power.real, 0.0).sum(axis=1)
    owed = brought - scheduled - own * shared
    return np.where(solved.iterations >= 0, owed, 0.0)


def _slack_shares(model: Model, states: States) -> tuple[Floats, Floats]:
    """[B, n_unit] slack weight of the connected units of each state, and its sum [B]."""
    connected = np.repeat((model.unit_at >= 0)[None], states.batch, axis=0)
    u_of, u_unit, u_busbar = (np.asarray(column, np.int64) for column in states.changes[5:8])
    state = np.repeat(np.arange(states.batch), np.diff(u_of))
    connected[state, u_unit] = u_busbar > 0
    weight = np.where(connected, np.maximum(model.grid.slack_weight, 0.0), 0.0)
    total = weight.sum(axis=1)
    return weight, np.where(total > 0, total, 1.0)


def _with_controls(
    model: Model, states: States, held: Held, pins: NDArray[np.int8], shared: Floats
) -> States:
    """The states with limited nodes turned PQ and the shared slack put on its units."""
    row = model.pattern.row
    state, node = np.nonzero(pins)
    limit = np.where(pins > 0, held.q_high, held.q_low)[state, node]
    owed_q = limit - held.q_given[state, node]
    lists = _append(states.lists, (4, 5, 6, 7, 8), state, (row[node], 0, np.nan, np.nan))
    zero = np.zeros(state.size)
    lists = _append(lists, (9, 10, 11, 12, 13, 14), state, (row[node], zero, owed_q, zero, zero))
    if shared.any():
        weight, total = _slack_shares(model, states)
        state, unit = np.nonzero((weight > 0) & ~model.grid.is_reference)
        extra = (weight / total[:, None])[state, unit] * shared[state]
        where = _unit_rows(model, states, state, unit)
        zero = np.zeros(state.size)
        lists = _append(lists, (9, 10, 11, 12, 13, 14), state, (where, extra, zero, zero, zero))
    return replace(states, lists=lists)


def _unit_rows(model: Model, states: States, state: Ints, unit: Ints) -> Ints:
    """Row of each (state, unit) pair."""
    u_of, u_unit, u_busbar = (np.asarray(column, np.int64) for column in states.changes[5:8])
    rows = model.unit_at[unit].copy()
    changed = np.repeat(np.arange(states.batch), np.diff(u_of))
    for s, m, at in zip(changed, u_unit, u_busbar, strict=True):
        hit = (state == s) & (unit == m)
        rows[hit] = model.unit_row[m, max(int(at) - 1, 0)]
    return np.asarray(rows)


def _append(
    lists: tuple[NDArray[np.generic], ...], places: tuple[int, ...], state: Ints,
    values: tuple[object, ...],
) -> tuple[NDArray[np.generic], ...]:  # fmt: skip
    """Add entries at the end of each state's list; ``places`` are the pointer and the columns."""
    of = lists[places[0]].astype(np.int64)
    owner = np.concatenate([np.repeat(np.arange(of.size - 1), np.diff(of)), state])
    order = np.argsort(owner, kind="stable")
    new = list(lists)
    counts = np.bincount(owner, minlength=of.size - 1)
    new[places[0]] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    for place, value in zip(places[1:], values, strict=True):
        column = lists[place][: of[-1]]
        tail = np.broadcast_to(np.asarray(value), state.shape).astype(column.dtype)
        new[place] = np.concatenate([column, tail])[order]
    return tuple(new)


def _solve_again(
    model: Model, states: States, injection: Injection, before: Solved, wanted: Floats,
    again: Ints, options: FlowOptions,
) -> Solved:  # fmt: skip
    """Solve the states in ``again`` from where they stand; keep the others.

    ``wanted`` [B, n_node] are the voltages to hold, NaN where none: a node that takes its voltage
    back stands at another one.
    """
    size = np.abs(before.v)
    v = before.v * np.where(np.isnan(wanted) | (size == 0), 1.0, wanted / size)
    v = v[:, model.pattern.node]
    v = np.where(np.isnan(v), 1.0, v)
    start = np.stack([v.real, v.imag], axis=-1)
    after = solve(model, states, injection, start, options, again, np.arange(states.batch))
    keep = np.ones(states.batch, np.bool_)
    keep[again] = False
    for old, new in (
        (before.v, after.v), (before.status, after.status),
        (before.iterations, after.iterations), (before.mismatch, after.mismatch),
    ):  # fmt: skip
        new[keep] = old[keep]
    return after
