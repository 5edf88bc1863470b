"""Solve batches of states of one model: boldly first, then with ever more care.

A state that is not solved from where it is started is started from scratch with short steps, and
both again with factors in float64. A solution with voltages that no grid is operated at counts
only where nothing better is found. What remains is reported as diverged, never an exception.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Bools, Complexes, Floats, Injection, Ints, Topology
from gridrl.jit import announced, lane_count
from gridrl.powerflow.kernels_loads import shunt_differences
from gridrl.powerflow.kernels_newton import newton
from gridrl.powerflow.kernels_states import state_lists, topology_changes
from gridrl.powerflow.model import Model, load_rows, start_voltage
from gridrl.powerflow.options import FlowOptions, FlowStatus

Changes = tuple[NDArray[np.generic], ...]  # see gridrl.powerflow.kernels_states
Lists = tuple[NDArray[np.generic], ...]

LANES = (0,) * lane_count()
ONE_LANE = (0,)
FEW = 2  # states up to which lanes cost more than one after the other
Like = NDArray[np.float32] | NDArray[np.float64]
SINGLE = np.empty(0, np.float32)
DOUBLE = np.empty(0, np.float64)
# A solution with a lower voltage is hardly one that a grid is operated at: others are tried first.
LOWEST = 0.5  # p.u.


class Pace(NamedTuple):
    """How boldly Newton's method steps, and how soon it gives up."""

    turn_max: float  # rad: a longer step is cut
    stretch_max: float  # ln p.u.
    patience: int  # iterations without progress


BOLD, CAREFUL = Pace(1.5, 0.5, 4), Pace(0.2, 0.05, 8)
CAREFUL_ITERATIONS = 80
NEAR = 1e-2  # p.u. mismatch: float32 factors that end below it may have been in the way


@dataclass(frozen=True, eq=False, kw_only=True)
class States:
    """A batch of states of one model, as changes against its base state."""

    changes: Changes
    lists: Lists  # what the changes do to the equations
    load_of: Ints  # [B] row of the injection that loads each state
    dead_of: Ints  # [B + 1]
    dead_row: Ints  # rows without supply, by state, where islands were looked for
    check: Bools  # [B] whether they were
    lost: Floats  # [B] p.u. demand without supply, where looked for
    cut: Bools  # [B] whether anything connected is dead, where looked for

    @property
    def batch(self) -> int:
        return int(self.load_of.size)

    @cached_property
    def all_one(self) -> Ints:
        """[B] zeros: every state starts from the one start there is."""
        return np.zeros(self.batch, np.int64)


@dataclass(frozen=True, eq=False, kw_only=True)
class Solved:
    """Voltages of a batch and how each state ended."""

    v: Complexes  # [B, n_node] p.u., NaN at dead nodes and in diverged states
    status: NDArray[np.int8]  # [B] FlowStatus
    iterations: NDArray[np.int32]  # [B] -1 where diverged
    mismatch: Floats  # [B] p.u., the largest of each state
    # [B, n_held] 1 (-1) where units stand at their upper (lower) reactive limit, by the rows of
    # `Model.held_places`; None: not enforced
    pins: NDArray[np.int8] | None = None


def no_changes(batch: int) -> Changes:
    """The base topology, ``batch`` times."""
    none = np.zeros(batch + 1, np.int64)
    return (
        none, np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, np.int8),
        np.empty(0, np.bool_), none, np.empty(0, np.int64), np.empty(0, np.int8),
    )  # fmt: skip


def changes_of(model: Model, topology: Topology) -> Changes:
    """How each state of ``topology`` differs from the base state of the model."""
    found: Changes = topology_changes(
        np.array(topology.busbar), np.array(topology.closed),
        np.array(model.topology.busbar[0]), np.array(model.topology.closed[0]),
    )  # fmt: skip
    return found


def make_states(
    model: Model, changes: Changes, injection: Injection, load_of: Ints, check: Bools | None = None
) -> States:
    """Work out what the changes of each state do to its equations.

    ``check`` may be False for states of which it is known that they cut nothing off.
    """
    batch = load_of.size
    check = np.ones(batch, np.bool_) if check is None else check
    lists, dead_of, dead_row, lost, cut = state_lists(
        changes, check, load_of, model.network_arrays, model.base_topology, model.unit_arrays,
        injection.p, injection.q, injection.v_set,
        _shunt_differences(model, injection),
    )  # fmt: skip
    return States(
        changes=changes, lists=lists, load_of=load_of, dead_of=dead_of, dead_row=dead_row,
        check=check, lost=lost, cut=cut,
    )  # fmt: skip


def _shunt_differences(model: Model, injection: Injection) -> tuple[NDArray[np.generic], ...]:
    """Constant-impedance parts by which each load row differs from the base injection."""
    units = model.shunt_units
    if injection is model.injection or units.size == 0:
        return np.zeros(injection.batch + 1, np.int64), np.empty(0, np.int64), DOUBLE, DOUBLE
    of, unit, g, b = shunt_differences(
        units, injection.p, injection.q, model.injection.p[0], model.injection.q[0],
        model.unit_arrays[7], model.unit_arrays[8],
    )  # fmt: skip
    return of, model.unit_at[unit], g, b


def starts(model: Model, injection: Injection, near: Floats | None = None) -> Floats:
    """[n_load or 1, n_node, 2] start voltages by row, with the magnitudes that ``injection`` holds.

    From scratch by default; ``near`` (float64[1, n_node, 2], by row) is a solved state to start
    from: one start serves all loads that hold the same voltages.
    """
    if near is None and injection is model.injection:
        return model.own_start
    if near is None:
        v = start_voltage(model, injection)
        return np.stack([v.real, v.imag], axis=-1)
    held = model.held_rows
    wanted = injection.v_set[:, model.holder[held]]
    now = np.hypot(near[0, held, 0], near[0, held, 1])
    if (np.abs(wanted - now) <= 1e-12).all():
        return near
    start = np.repeat(near, injection.batch, axis=0)
    start[:, held] *= (wanted / now)[:, :, None]
    return start


def by_row(model: Model, v: Complexes) -> Floats:
    """[1, n_node, 2] solved voltages [n_node] by row: the start for states near that one.

    An empty second busbar gets the voltage of its sibling: DC angles there, beside AC angles
    everywhere else, led Newton's method astray on case300. Other dead nodes get start values.
    """
    split = np.flatnonzero(model.second_node >= 0)
    second = model.second_node[split]
    near = v.copy()
    near[second] = np.where(np.isnan(v[second]), v[split], v[second])
    rows = near[model.pattern.node]
    if np.isnan(rows).any():
        scratch = model.own_start[0]
        rows = np.where(np.isnan(rows), scratch[:, 0] + 1j * scratch[:, 1], rows)
    return np.stack([rows.real, rows.imag], axis=-1)[None]


def solve(
    model: Model,
    states: States,
    injection: Injection,
    start: Floats,
    options: FlowOptions,
    order: Ints | None = None,
    start_of: Ints | None = None,
    out: tuple[Complexes, NDArray[np.int32], Floats] | None = None,
) -> Solved:
    """Solve every state by Newton's method.

    Parameters
    ----------
    start : [n_start, n_node, 2]
        Start voltages by row; one for all, or one for each row of ``injection``.
    order : [m]
        States to solve, all by default, in the order in which they share lanes: put alike next
        to alike.
    start_of : [B]
        Row of ``start`` for each state, where it is not as said above.
    out
        (voltages, iterations, mismatch) [B, ...] to fill, new ones by default.
    """
    batch = states.batch
    if out is None:
        out = (
            np.empty((batch, model.n_node), np.complex128),
            np.full(batch, -1, np.int32),
            np.full(batch, np.inf),
        )
    power, current = load_rows(model, injection)

    def attempt(which: Ints, begin: Floats, like: Like, pace: Pace, iterations: int,
                lowest: float = LOWEST) -> Ints:  # fmt: skip
        """Try some states; returns those that remain."""
        lanes, like = (LANES, like) if which.size > FEW else (ONE_LANE, DOUBLE)
        settings = (options.tolerance, iterations, *pace, lowest)
        chosen = states.load_of if begin.shape[0] > 1 else states.all_one
        if begin is start and start_of is not None:
            chosen = start_of
        lists = (*states.lists, states.load_of, chosen)

        def run(part: Ints) -> None:
            newton(
                lanes, like, model.pattern_arrays, model.pattern.node, model.base_arrays, power,
                current, lists, begin, part, settings, -1, out,
            )  # fmt: skip

        with announced(f"newton-{len(lanes)}{'' if like is SINGLE else '-double'}"):
            in_threads(run, which, options.threads, n_lane=len(lanes))
        return which[out[1][which] < 0]

    left = np.arange(batch) if order is None else order
    low = np.empty(0, np.int64)
    for like in (SINGLE, DOUBLE)[batch == 1 :]:
        if like is DOUBLE and batch > 1:  # where the factors broke, or were not good enough
            left = left[~(out[2][left] > NEAR)]
        left = attempt(left, start, like, BOLD, options.max_iteration)
        if not left.size:
            break
        low = np.union1d(low, left[out[1][left] == -2])
        scratch = _from_scratch(model, states, injection, left)
        left = attempt(left, scratch, like, CAREFUL, CAREFUL_ITERATIONS)
    if left.size and low.size:
        attempt(np.intersect1d(low, left), start, DOUBLE, BOLD, options.max_iteration, 0.0)
    return finish(model, states, out)


def _from_scratch(model: Model, states: States, injection: Injection, which: Ints) -> Floats:
    """Start voltages of the loads of some states (one row per load, only theirs filled)."""
    if injection is model.injection:
        return model.own_start
    loads = np.unique(states.load_of[which])
    part = Injection(p=injection.p[loads], q=injection.q[loads], v_set=injection.v_set[loads])
    start = np.zeros((injection.batch, model.n_node, 2))
    start[loads] = starts(model, part)
    return start


def in_threads(
    run: Callable[[Ints], object],
    which: Ints,
    threads: int,
    *,
    n_lane: int = len(LANES),
    in_order: bool = False,
) -> None:
    """Call ``run`` on parts of ``which``, whole groups of lanes, side by side in threads.

    Groups are dealt out in turn, because neighbours cost alike; ``in_order`` keeps them together.
    """
    groups = -(-which.size // n_lane)
    threads = min(threads, groups)
    if threads < 2:
        run(which)
        return
    # more parts than threads even out what groups cost, but each costs a call
    n_part = max(threads, min(4 * threads, groups // 8))
    group = np.arange(which.size) // n_lane
    part = group * n_part // groups if in_order else group % n_part
    list(pool(threads).map(run, [which[part == k] for k in range(n_part)]))


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """The threads that all batches share: starting them anew costs more than a small batch."""
    return ThreadPoolExecutor(threads, thread_name_prefix="gridrl")


if hasattr(os, "register_at_fork"):  # a forked child has no threads but the one that forked
    os.register_at_fork(after_in_child=pool.cache_clear)


def finish(
    model: Model, states: States, out: tuple[Complexes, NDArray[np.int32], Floats]
) -> Solved:
    """Mark dead nodes and how each state ended."""
    v, iterations, worst = out
    status = np.zeros(states.batch, np.int8)
    status[states.cut] = FlowStatus.ISLANDED
    if states.dead_row.size:
        dead_nodes = np.diff(states.dead_of)
        node = model.pattern.node[states.dead_row]
        v[np.repeat(np.arange(states.batch), dead_nodes), node] = np.nan
    if not model.all_alive:
        unchecked = np.flatnonzero(~states.check)
        v[unchecked[:, None], model.pattern.node[~model.alive][None, :]] = np.nan
    diverged = iterations < 0
    if diverged.any():
        iterations[diverged] = -1
        v[diverged] = np.nan
        status[diverged] = FlowStatus.DIVERGED
    if states.dead_row.size:
        status[dead_nodes == model.n_node] = FlowStatus.BLACKOUT
    return Solved(v=v, status=status, iterations=iterations, mismatch=worst)
