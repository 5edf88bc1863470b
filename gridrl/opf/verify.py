"""The judge: what a dispatch costs and which limits it breaks, recomputed from nothing but it.

Takes dispatch, voltages and topology, and the grid's own data. Shares no code with any solver,
nor with the model that they solve, so that a wrong model shows. Every published cost and
violation comes from here.
"""

from dataclasses import dataclass

import numpy as np

from gridrl.case import Case
from gridrl.costs import Costs
from gridrl.errors import GridError
from gridrl.grid import Bools, Complexes, Floats, Grid, Ints


@dataclass(frozen=True, kw_only=True)
class Violation:
    """The worst breach of one kind of limit; 0 and no element where all hold."""

    kind: str
    amount_pu: float  # p.u. (radians for angles)
    element: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Cost and violations of one solution."""

    cost: float  # currency/h
    violations: tuple[Violation, ...]  # one for each kind, in a fixed order

    @property
    def max_violation_pu(self) -> float:
        return max(v.amount_pu for v in self.violations)

    @property
    def worst(self) -> Violation:
        return max(self.violations, key=lambda v: v.amount_pu)

    def __getitem__(self, kind: str) -> Violation:
        return next(v for v in self.violations if v.kind == kind)


def verify(case: Case, p: Floats, q: Floats, v: Complexes) -> Verdict:
    """Judge a dispatch.

    Parameters
    ----------
    case
        Grid, topology and injection that it claims to be for.
    p, q : [n_unit] p.u.
        Power of every unit, positive into the busbar.
    v : [n_substation, 2] p.u.
        Voltage of busbar 1 and 2, NaN where nothing supplies it.

    Returns
    -------
    Verdict
        Violations of ``p_balance`` and ``q_balance`` at nodes (p.u.), ``flow`` above a branch's
        rating (p.u. of power or current), ``voltage`` outside its limits or, where a unit holds
        it that may not be dispatched or has no such limits, off its set point (p.u.), ``angle``
        difference (rad), ``p`` and ``q`` of units outside their limits, ``fixed`` power of units
        that may not be moved, and ``unserved`` power of connected loads without a voltage (p.u.).
        A number that is missing counts as infinitely wrong.

    Raises
    ------
    GridError
        An array has the wrong shape.
    """
    grid = case.grid
    for name, array, shape in (
        ("p", p, (grid.n_unit,)),
        ("q", q, (grid.n_unit,)),
        ("v", v, (grid.n_substation, 2)),
    ):
        if np.shape(array) != shape:
            raise GridError(f"{name} has shape {np.shape(array)}; expected {shape}.")
    place = _places(case)
    at_from, at_to, at_unit = np.split(place, [grid.n_branch, 2 * grid.n_branch])
    node_v = np.append(np.asarray(v, dtype=np.complex128).ravel(), 0.0)  # the last: nowhere
    s_from, s_to = _branch_powers(grid, at_from, at_to, node_v)
    s_unit = np.asarray(p) + 1j * np.asarray(q)
    balance = _balance(node_v.size - 1, at_unit, s_unit, at_from, s_from, at_to, s_to)
    live = np.isfinite(node_v[:-1])
    connected = at_unit >= 0
    fixed_p, fixed_q = _fixed_powers(case, at_unit, node_v, np.asarray(p), np.asarray(q))
    node_label = [f"bus {text}" for text in grid.substation_label for _ in range(2)]
    units, branches = grid.unit_label, grid.branch_label
    free = connected & grid.dispatchable
    free_q = connected & (grid.dispatchable | grid.controls_voltage | grid.is_reference)
    return Verdict(
        cost=_cost(grid.costs, np.where(connected, p, 0.0), np.where(connected, q, 0.0), connected),
        violations=(
            _worst("p_balance", np.abs(balance.real), node_label),
            _worst("q_balance", np.abs(balance.imag), node_label),
            _worst("flow", _overloads(grid, s_from, s_to, at_from, at_to, node_v), branches),
            _worst("voltage", _voltage_breach(case, at_unit, node_v[:-1], live), node_label),
            _worst("angle", _angle_breach(grid, at_from, at_to, node_v), branches),
            _worst("p", np.where(free, _outside(p, grid.p_min, grid.p_max), 0.0), units),
            _worst("q", np.where(free_q, _outside(q, grid.q_min, grid.q_max), 0.0), units),
            _worst("fixed", np.maximum(fixed_p, fixed_q), units),
            _worst("unserved", _unserved(case, at_unit, node_v), units),
        ),
    )


def _places(case: Case) -> Ints:
    """[n_terminal] flat place 2 substation + busbar of every terminal in use, else -1."""
    grid = case.grid
    busbar = case.topology.busbar[0].astype(np.int64)
    on = busbar > 0
    on[: grid.n_branch] &= case.topology.closed[0]
    on[grid.n_branch : 2 * grid.n_branch] &= case.topology.closed[0]
    substation = np.concatenate([grid.from_substation, grid.to_substation, grid.unit_substation])
    return np.where(on, 2 * substation + busbar - 1, -1)


def _branch_powers(
    grid: Grid, at_from: Ints, at_to: Ints, node_v: Complexes
) -> tuple[Complexes, Complexes]:
    """Power entering both ends; a closed branch with one open end is charged from the other."""
    v_from, v_to = node_v[at_from], node_v[at_to]
    with np.errstate(all="ignore"):
        v_from = np.where((at_from < 0) & (at_to >= 0), -grid.y_ft * v_to / grid.y_ff, v_from)
        v_to = np.where((at_to < 0) & (at_from >= 0), -grid.y_tf * v_from / grid.y_tt, v_to)
    s_from = v_from * np.conj(grid.y_ff * v_from + grid.y_ft * v_to)
    s_to = v_to * np.conj(grid.y_tf * v_from + grid.y_tt * v_to)
    dead_from, dead_to = np.isnan(node_v[at_from]), np.isnan(node_v[at_to])
    both_dead = (dead_from | (at_from < 0)) & (dead_to | (at_to < 0))
    zero = np.zeros(grid.n_branch, dtype=np.complex128)
    return (
        np.where((at_from < 0) | both_dead, zero, s_from),
        np.where((at_to < 0) | both_dead, zero, s_to),
    )


def _balance(
    n_place: int,
    at_unit: Ints,
    s_unit: Complexes,
    at_from: Ints,
    s_from: Complexes,
    at_to: Ints,
    s_to: Complexes,
) -> Complexes:
    """What units bring to each place, less what branches take from it."""
    total = np.zeros(n_place, dtype=np.complex128)
    for at, power in ((at_unit, s_unit), (at_from, -s_from), (at_to, -s_to)):
        np.add.at(total, at[at >= 0], power[at >= 0])
    return total


def _worst(kind: str, amount: Floats, names: list[str] | tuple[str, ...]) -> Violation:
    if not amount.size:
        return Violation(kind=kind, amount_pu=0.0)
    amount = np.where(np.isnan(amount), np.inf, amount)
    k = int(np.argmax(amount))
    if amount[k] <= 0.0:
        return Violation(kind=kind, amount_pu=0.0)
    return Violation(kind=kind, amount_pu=float(amount[k]), element=names[k])


def _outside(value: Floats, low: Floats, high: Floats) -> Floats:
    """How far outside its range; NaN stays NaN."""
    return np.asarray(np.maximum(np.maximum(low - value, value - high), 0.0))


def _overloads(
    grid: Grid, s_from: Complexes, s_to: Complexes, at_from: Ints, at_to: Ints, node_v: Complexes
) -> Floats:
    over = np.maximum(np.maximum(np.abs(s_from), np.abs(s_to)) - grid.s_max, 0.0)
    for power, at, limit in ((s_from, at_from, grid.i_max_from), (s_to, at_to, grid.i_max_to)):
        magnitude = np.abs(node_v[at])
        live = (at >= 0) & (power != 0)
        current = np.divide(np.abs(power), magnitude, out=np.zeros(at.size), where=live)
        over = np.maximum(over, np.where(live, np.maximum(current - limit, 0.0), 0.0))
    return over


def _voltage_breach(case: Case, at_unit: Ints, node_v: Complexes, live: Bools) -> Floats:
    grid = case.grid
    magnitude = np.abs(node_v)
    breach = _outside(magnitude, np.repeat(grid.v_min, 2), np.repeat(grid.v_max, 2))
    boundless = ~((grid.v_min > 0) | np.isfinite(grid.v_max))[grid.unit_substation]
    held = (grid.controls_voltage | grid.is_reference) & (at_unit >= 0)
    held &= boundless | ~grid.dispatchable
    for unit in np.flatnonzero(held):
        place = at_unit[unit]
        breach[place] = abs(magnitude[place] - case.injection.v_set[0, unit])
    return np.where(live, breach, 0.0)


def _angle_breach(grid: Grid, at_from: Ints, at_to: Ints, node_v: Complexes) -> Floats:
    limited = np.isfinite(grid.angle_min) | np.isfinite(grid.angle_max)
    both = (at_from >= 0) & (at_to >= 0) & limited
    both &= ~(np.isnan(node_v[at_from]) & np.isnan(node_v[at_to]))
    difference = np.angle(node_v[at_from] * np.conj(node_v[at_to]))
    return np.where(both, _outside(difference, grid.angle_min, grid.angle_max), 0.0)


def _fixed_powers(
    case: Case, at_unit: Ints, node_v: Complexes, p: Floats, q: Floats
) -> tuple[Floats, Floats]:
    """How far units that may not be dispatched are from what they draw at their voltage."""
    grid, injection = case.grid, case.injection
    m = np.abs(node_v[at_unit])
    live = (at_unit >= 0) & np.isfinite(m)
    out = []
    for power, given, i, z, exempt in (
        (p, injection.p[0], grid.i_share_p, grid.z_share_p, grid.is_reference),
        (
            q,
            injection.q[0],
            grid.i_share_q,
            grid.z_share_q,
            grid.controls_voltage | grid.is_reference,
        ),
    ):
        due = np.where(live, given * ((1 - i - z) + i * m + z * m**2), 0.0)
        judged = ~live | ~(grid.dispatchable | exempt)
        out.append(np.where(judged, np.abs(power - due), 0.0))
    return out[0], out[1]


def _unserved(case: Case, at_unit: Ints, node_v: Complexes) -> Floats:
    """Apparent power of units that may not be dispatched, where there is no voltage."""
    dark = (at_unit >= 0) & np.isnan(node_v[at_unit]) & ~case.grid.dispatchable
    return np.where(dark, np.hypot(case.injection.p[0], case.injection.q[0]), 0.0)


def _cost(costs: Costs, p: Floats, q: Floats, connected: Bools) -> float:
    """Sum of the cost functions of connected units; straight on beyond a function's points."""
    total = 0.0
    for k in range(costs.n_cost):
        unit = costs.unit[k]
        if not connected[unit]:
            continue
        power = float((q if costs.of_reactive[k] else p)[unit])
        first, last = costs.point_start[k], costs.point_start[k + 1]
        if first == last:
            total += float(np.polyval(costs.coefficient[k][::-1], power))
            continue
        x, y = costs.point_power[first:last], costs.point_cost[first:last]
        j = int(np.clip(np.searchsorted(x, power) - 1, 0, x.size - 2))
        total += float(y[j] + (y[j + 1] - y[j]) / (x[j + 1] - x[j]) * (power - x[j]))
    return total
