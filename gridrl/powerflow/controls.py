"""Reactive limits and the distributed slack: outer loops around the solution of a batch.

A generator whose reactive power would leave its range is held at the limit and gives up its
voltage; where the limit no longer binds (its voltage passed the set point on the far side) it
takes it back. The distributed slack shares the imbalance of active power by slack weight.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gridrl.errors import GridError
from gridrl.grid import Bools, Complexes, Floats, Injection, Ints
from gridrl.powerflow.kernels_controls import held_power
from gridrl.powerflow.kernels_islands import FIXED
from gridrl.powerflow.model import Model
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.solve import Solved, States, solve

ROUNDS = 40
HOLDS, REFERENCE, TOOK_OVER = 1, 2, 3  # who holds a node: `Held.mode`
GIVE_UP_RESTORING = 10  # rounds after which a limit, once reached, stays binding: no cycling


@dataclass(frozen=True, eq=False, kw_only=True)
class Held:
    """What the units that hold rows owe and can, [m, n_held] each; see `held_power`."""

    row: Ints  # [n_held] rows that units may hold
    power: Complexes
    q_low: Floats
    q_high: Floats
    v_held: Floats
    q_given: Floats
    mode: NDArray[np.int8]

    def only(self, keep: Bools) -> "Held":
        """Some of the states."""
        return replace(
            self, power=self.power[keep], q_low=self.q_low[keep], q_high=self.q_high[keep],
            v_held=self.v_held[keep], q_given=self.q_given[keep], mode=self.mode[keep],
        )  # fmt: skip


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
    rows = model.held_places[0]
    pins = np.zeros((states.batch, rows.size), np.int8)
    shared = np.zeros(states.batch)
    active = np.flatnonzero(solved.iterations >= 0)  # states that may have to be solved again
    for turn in range(ROUNDS):
        held = held_rows(model, states, injection, solved, active)
        moved = np.zeros(active.size, np.bool_)
        if options.enforce_q_limits:
            restoring = options.restore_voltage and turn < GIVE_UP_RESTORING
            v = np.abs(solved.v[np.ix_(active, model.pattern.node[rows])])
            new = _pin(held, pins[active], v, options.tolerance, restoring)
            moved = (new != pins[active]).any(axis=1)
            pins[active] = new
        if options.distributed_slack:
            further = _imbalance(model, states, injection, held, shared, active)
            moved |= np.abs(further) > options.tolerance
            shared[active] += further
        active, held = active[moved], held.only(moved)
        if active.size == 0:
            break
        changed = _with_controls(model, states, held, pins, shared, active)
        solved = _solve_again(model, changed, injection, solved, held, pins, active, options)
        active = active[solved.iterations[active] >= 0]
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


def held_rows(
    model: Model, states: States, injection: Injection, solved: Solved, which: Ints
) -> Held:
    """What the units that hold rows owe in some solved states."""
    rows = model.held_places[0]
    shape = (which.size, rows.size)
    held = Held(
        row=rows, power=np.empty(shape, np.complex128), q_low=np.empty(shape),
        q_high=np.empty(shape), v_held=np.empty(shape), q_given=np.empty(shape),
        mode=np.empty(shape, np.int8),
    )  # fmt: skip
    pattern, grid = model.pattern, model.grid
    held_power(
        solved.v, which, states.changes, states.lists, states.load_of,
        (*model.pattern_arrays[:3], pattern.node, *model.base_arrays[:4]), model.held_places,
        model.base_topology[3], model.unit_arrays, injection.p, injection.q,
        (np.array(grid.q_min), np.array(grid.q_max), injection.v_set),
        (held.power, held.q_low, held.q_high, held.v_held, held.q_given, held.mode),
    )  # fmt: skip
    k_of, k_row, k_kind = (np.asarray(column, np.int64) for column in states.lists[4:7])
    entry, owner = entries_of(k_of, which)
    fixed = (k_kind[entry] == FIXED) & np.isin(k_row[entry], rows)
    took_over = (owner[fixed], np.searchsorted(rows, k_row[entry][fixed]))
    held.mode[took_over] = np.where(held.mode[took_over] == HOLDS, TOOK_OVER, held.mode[took_over])
    return held


def entries_of(of: Ints, which: Ints) -> tuple[Ints, Ints]:
    """Entries of some states in lists whose state ``k`` has ``of[k]:of[k + 1]``; their owners.

    Owners are positions in ``which``.
    """
    counts = of[which + 1] - of[which]
    owner = np.repeat(np.arange(which.size), counts)
    first = np.cumsum(counts) - counts
    return np.arange(owner.size) - first[owner] + of[which][owner], owner


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
    model: Model, states: States, injection: Injection, held: Held, shared: Floats, active: Ints
) -> Floats:
    """[m] p.u. active power that the reference brings beyond its share of ``shared``."""
    grid = model.grid
    weight, total = _slack_shares(model, states)
    reference = grid.is_reference
    scheduled = injection.p[states.load_of[active]][:, reference].sum(axis=1)
    own = (weight[:, reference].sum(axis=1) / total)[active]
    brought = np.where(held.mode == REFERENCE, held.power.real, 0.0).sum(axis=1)
    return np.asarray(brought - scheduled - own * shared[active])


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
    model: Model, states: States, held: Held, pins: NDArray[np.int8], shared: Floats, active: Ints
) -> States:
    """The states with limited rows turned PQ and the shared slack put on its units.

    Only those in ``active`` are changed; ``held`` is what they hold.
    """
    at, column = np.nonzero(pins[active])
    state, row = active[at], held.row[column]
    limit = np.where(pins[state, column] > 0, held.q_high[at, column], held.q_low[at, column])
    lists = _append(states.lists, (4, 5, 6, 7, 8), state, (row, 0, np.nan, np.nan))
    zero = np.zeros(state.size)
    owed_q = limit - held.q_given[at, column]
    lists = _append(lists, (9, 10, 11, 12, 13, 14), state, (row, zero, owed_q, zero, zero))
    if shared[active].any():
        weight, total = _slack_shares(model, states)
        at, unit = np.nonzero((weight[active] > 0) & ~model.grid.is_reference)
        state = active[at]
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
    model: Model, states: States, injection: Injection, before: Solved, held: Held,
    pins: NDArray[np.int8], active: Ints, options: FlowOptions,
) -> Solved:  # fmt: skip
    """Solve the states in ``active`` from where they stand, into the arrays of ``before``.

    A row that takes its voltage back stands at another one: it starts from what it is to hold.
    """
    node = model.pattern.node
    v = before.v[np.ix_(active, node)]
    v[np.isnan(v)] = 1.0
    holding = (held.mode == HOLDS) & (pins[active] == 0)
    now = v[:, held.row]
    v[:, held.row] = np.where(holding, now * (held.v_held / np.abs(now)), now)
    start = np.stack([v.real, v.imag], axis=-1)
    start_of = np.zeros(states.batch, np.int64)
    start_of[active] = np.arange(active.size)
    out = (before.v, before.iterations, before.mismatch)
    return solve(model, states, injection, start, options, active, start_of, out)
