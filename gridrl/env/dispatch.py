"""Redispatch as Grid2Op's default solver finds it, where the rules ask for that."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.kernels_dispatch import apply_dispatch, participants
from gridrl.env.kernels_orders import LEGAL
from gridrl.env.state import Bytes, Ending, State
from gridrl.env.world import World

EPSILON_MW = np.float32(
    1e-4
)  # Grid2Op's slack of bounds, and the size of a step that it takes for none
TOLERANCE_MW = 1e-2  # what its solver may miss a bound by
UNLIMITED = 1e-7  # share of p_max that a curtailment limit of 1 may be off


def carry_out(world: World, state: State, moves: Bools, owed: Floats) -> None:
    """Move the generators of the states in ``moves`` as Grid2Op's default solver does.

    They bring ``owed`` [B] p.u. more than one step before; a state where they cannot ends.
    """
    for b in np.flatnonzero(moves).tolist():
        if not _by_slsqp(world, state, b, float(owed[b])):
            state.ending[b] = Ending.UNBALANCED
    apply_dispatch(moves, np.array(world.fleet.gen_unit), state.actual, state.set_point, state.p)


# Grid2Op keeps powers in MW and single precision, and where its solver stops depends on the last
# digits of what it is given: rounded otherwise, a dispatch is up to 0.4 MW away now and then.


class Before(NamedTuple):
    """A state before its orders; p.u."""

    p: Floats  # [m, n_unit] of the series
    row: Ints  # [B] of ``p``
    target: Floats  # [B, n_gen]
    modified: Bools  # [B, n_gen]
    totals: Floats  # [B, 2]


def before_orders(state: State, p: Floats, row: Ints) -> Before:
    """What `in_single` needs of states before their orders; rows of the series load them."""
    return Before(p, row, state.target.copy(), state.modified.copy(), state.totals.copy())


def in_single(
    world: World, state: State, before: Before, active: Bools, order: Floats, verdict: Bytes,
    failed: Bools, owed: Floats,
) -> None:  # fmt: skip
    """Round targets and what generators owe as Grid2Op does; ``order`` is 0 long without orders.

    Most states have no dispatch in force, and nothing of theirs is rounded.
    """
    if len(order):
        ordered = active & (verdict == LEGAL) & (order != 0.0).any(axis=1)
        for b in np.flatnonzero(ordered).tolist():
            _target_in_single(world, state, before, b, order[b], bool(failed[b]))
    capped = (np.abs(state.limit - 1.0) >= UNLIMITED).any(axis=1)
    changes = (owed != 0.0) | (state.totals[:, 1] != 0.0) | (before.totals[:, 1] != 0.0)
    for b in np.flatnonzero(active & (capped | changes)).tolist():
        owed[b] = _owed_in_single(world, state, before, b, float(owed[b]))


def _target_in_single(
    world: World, state: State, before: Before, b: int, order: Floats, refused: bool
) -> None:
    """Add an order to the targets of one state as Grid2Op rounds it."""
    base = world.case.grid.s_base_mva
    had = before.modified[b]
    more = np.asarray(order * base, np.float32)
    new = np.asarray(np.where(had, before.target[b], state.actual[b]) * base, np.float32) + more
    if refused:
        new = new - more
    touched = had | (np.abs(order) > world.dispatch_settings[2])
    state.target[b, touched] = new[touched].astype(float) / base


def _owed_in_single(world: World, state: State, before: Before, b: int, owed: float) -> float:
    """What the generators must bring more, p.u., with sums over units as Grid2Op rounds them."""
    base = world.case.grid.s_base_mva
    more = np.float32((owed + state.totals[b, 1] - before.totals[b, 1]) * base)
    capped = np.abs(state.limit[b] - 1.0) >= UNLIMITED
    unit = world.fleet.gen_unit[capped]
    power, full = (
        np.asarray(values[unit] * base, np.float32).sum()
        for values in (state.p[b], before.p[before.row[b]])
    )
    removed = power - full
    state.totals[b, 1] = float(removed) / base
    return (float(more) - float(removed - np.float32(before.totals[b, 1] * base))) / base


def _by_slsqp(world: World, state: State, b: int, owed: float) -> bool:
    """Move the generators of one state as Grid2Op's default solver does; False: it cannot.

    It minimises the weighted squares of the distances to the ordered targets by sequential
    quadratic programming, from a start, in a scaling and up to a tolerance that decide where it
    stops (Grid2Op 1.12, ``DefaultRedispatchSolver``).
    """
    from scipy.optimize import LinearConstraint, minimize

    fleet, base = world.fleet, world.case.grid.s_base_mva
    new_p = state.p[b, fleet.gen_unit]
    part = np.empty(fleet.n_gen, np.bool_)
    if not participants(
        owed, new_p, fleet.gen_arrays, world.dispatch_settings[2], state.target[b],
        state.actual[b], state.set_point[b], part,
    ):  # fmt: skip
        return False

    def mw(values: Floats) -> NDArray[np.float32]:  # what Grid2Op keeps, to the last digit
        return np.asarray(values * base, np.float32)

    actual, target, power = mw(state.actual[b]), mw(state.target[b]), mw(new_p)
    drift = power - (mw(state.set_point[b]) - actual)
    weight = (1.0 / (mw(fleet.ramp_up) + mw(fleet.ramp_down) + EPSILON_MW))[part].astype(float)
    weight = weight / weight.sum()
    scale = max(float(np.abs(actual).max()), 1.0)
    wanted = state.modified[b, part]
    if not wanted.any():
        wanted = np.ones(wanted.size, np.bool_)
    goal = ((target - actual)[part] / scale).astype(float)[wanted]
    size = round(max(0.5 * float(np.abs(goal).sum()) ** 2, 1.0), 4)
    at = power + actual
    low = np.maximum(mw(fleet.p_min) - at, -mw(fleet.ramp_down) - drift)[part].astype(float)
    high = np.minimum(mw(fleet.p_max) - at, mw(fleet.ramp_up) - drift)[part].astype(float)
    low, high = (low - 0.5 * EPSILON_MW) / scale, (high + 0.5 * EPSILON_MW) / scale
    total = owed * base / scale

    def cost(x: Floats) -> float:
        return float((weight[wanted] * (x[wanted] - goal) ** 2).sum() / size)

    def slope(x: Floats) -> Floats:
        out = np.zeros(x.size)
        out[wanted] = 2.0 * weight[wanted] * (x[wanted] - goal) / size
        return out

    stop = max(float(EPSILON_MW / scale), 1e-6)
    found = minimize(
        cost, _slsqp_start(state, b, part, weight, target, actual, scale), method="SLSQP",
        jac=slope, options={"eps": stop, "ftol": stop, "disp": False},
        constraints=[
            LinearConstraint(np.ones((1, weight.size)), total, total),
            LinearConstraint(np.eye(weight.size), low, high),
        ],
    )  # fmt: skip
    x = np.asarray(found.x)
    inside = (x - low >= -TOLERANCE_MW).all() and (high - x >= -TOLERANCE_MW).all()
    if not found.success and not (inside and abs(x.sum() - total) <= TOLERANCE_MW):
        return False
    actual[part] += x * scale
    state.actual[b] = actual.astype(float) / base
    return True


def _slsqp_start(
    state: State, b: int, part: Bools, weight: Floats, target: NDArray[np.float32],
    actual: NDArray[np.float32], scale: float,
) -> Floats:  # fmt: skip
    """Ordered moves, with those that stand still making up for their sum."""
    if not (np.abs(target) >= 1e-7).any() and not state.modified[b].any():
        return np.asarray(-actual[part] / scale, np.float64)
    start = np.zeros(weight.size)
    ordered = (np.abs(target[part]) >= 1e-7) | state.modified[b, part]
    start[ordered] = (target - actual)[part][ordered] / scale
    still = np.abs(start) <= 1e-7
    if still.any():
        room = float((1.0 / weight[still]).sum())
        start[still] = -start.sum() / (weight[still] * (room if room > 1e-2 else 1.0))
    return start
