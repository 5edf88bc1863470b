"""What moves voltages: set points, tap changers, switched shunts, and active powers behind them.

Which there are in a case, how far each may go, and what a change of them is: a case, edits of a
study file, an operator's words.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.grid import Bools, Floats
from gridrl.powerflow.linear import HELD, Controls
from gridrl.powerflow.model import DEMAND_KINDS
from gridrl.whatif.draft import with_ratio
from gridrl.whatif.explain import dispatch_edits, dispatch_words
from gridrl.whatif.redispatch import Means, bounds, grain_of, with_change

Row = dict[str, Any]
LOWEST, HIGHEST = 0.9, 1.1  # p.u. that a set point may get, where the file has no closer limit
GRAIN = 1e-3  # p.u. of voltage: set points are multiples of it
SET_POINT_PRICE, STEP_PRICE = 1.0, 0.02  # per p.u. of voltage, per tap position or shunt step
SOURCE_PRICE = 3.0  # of an external grid's set point: another company's
POWER_PRICE = 10.0  # per share of the whole load, times that of the means
_TWO_ENDED = ("dcline", "hvdc")


@dataclass(frozen=True, eq=False, kw_only=True)
class Levers:
    """The controls of a case with their bounds; a change is one number for each."""

    case: Case
    controls: Controls
    low: Floats  # [n_control] least change: p.u., positions, steps, p.u. of power
    high: Floats  # [n_control]
    price: Floats  # [n_control] of one unit of change, relative
    whole: Bools  # [n_control] in whole steps
    grain: Floats  # [n_control] changes are multiples of this


def levers_of(case: Case, means: Means | None, locked: Collection[int] = ()) -> Levers:
    """What may be moved: voltages only, or (with ``means``) active powers as well.

    ``locked`` are elements that keep their set points and steps.
    """
    grid, steps = case.grid, case.grid.steps
    on = case.topology.busbar[0, 2 * grid.n_branch :] > 0
    held = _held(case, set(locked))
    v = case.injection.v_set[0]
    now = np.array([v[units[0]] for units in held])
    at = grid.unit_substation[[int(units[0]) for units in held]].astype(np.int64)
    floor = np.where(grid.v_min[at] > 0.0, grid.v_min[at], LOWEST)
    roof = np.where(np.isfinite(grid.v_max[at]), grid.v_max[at], HIGHEST)
    closed = case.topology.closed[0, steps.tap_branch]
    tap = np.flatnonzero(closed & ~np.isin(grid.branch_element[steps.tap_branch], list(locked)))
    usable = on[steps.shunt_unit] & ~np.isin(grid.unit_element[steps.shunt_unit], list(locked))
    shunt = np.flatnonzero(usable)
    position = steps.tap_position[tap]
    unit, unit_q, power = _powers(case, means)
    parts = [
        (np.minimum(floor - now, 0.0), np.maximum(roof - now, 0.0), _set_point_price(case, held)),
        (np.minimum(steps.tap_low[tap] - position, 0.0),
         np.maximum(steps.tap_high[tap] - position, 0.0), np.full(tap.size, STEP_PRICE)),
        (-steps.shunt_step[shunt].astype(np.float64),
         (steps.shunt_most - steps.shunt_step)[shunt].astype(np.float64),
         np.full(shunt.size, STEP_PRICE)),
        power[:3],
    ]  # fmt: skip
    low, high, price = (np.concatenate([part[k] for part in parts]) for k in range(3))
    sizes = [len(held), tap.size, shunt.size, unit.size]
    grain = np.repeat([GRAIN, 1.0, 1.0, power[3]], sizes)
    controls = Controls(held=held, tap=tap, shunt=shunt, unit=unit, unit_q=unit_q)
    return Levers(
        case=case, controls=controls, low=low, high=high, price=price,
        whole=np.repeat([False, True, True, False], sizes), grain=grain,
    )  # fmt: skip


def _held(case: Case, locked: set[int]) -> tuple[Any, ...]:
    """Units that hold one node together, with one set point; locked ones lock their node."""
    grid = case.grid
    busbar = case.topology.busbar[0, 2 * grid.n_branch :]
    nodes: dict[tuple[int, int], list[int]] = {}
    for m in grid.holding_unit.tolist():
        if busbar[m] > 0:
            nodes.setdefault((int(grid.unit_substation[m]), int(busbar[m])), []).append(m)
    v = case.injection.v_set[0]
    out = []
    for units in nodes.values():
        fixed = any(
            grid.unit_kind[m] in _TWO_ENDED or int(grid.unit_element[m]) in locked for m in units
        )
        if not fixed and float(np.ptp(v[units])) < HELD:
            out.append(np.array(units, np.int64))
    return tuple(out)


def _set_point_price(case: Case, held: tuple[Any, ...]) -> Floats:
    kind = case.grid.unit_kind
    foreign = [any(kind[m] == "ext_grid" for m in units) for units in held]
    return SET_POINT_PRICE * np.where(foreign, SOURCE_PRICE, 1.0)


def _powers(case: Case, means: Means | None) -> tuple[Any, Floats, tuple[Any, ...]]:
    """Units whose power may move, what Q goes along, and their bounds, prices and grain."""
    none = np.zeros(0)
    if means is None:
        return np.zeros(0, np.int64), none, (none, none, none, 1.0)
    (low, high, price), grain = bounds(case, means), grain_of(case)
    unit = np.flatnonzero(high - low > grain)
    p, q = case.injection.p[0, unit], case.injection.q[0, unit]
    load = np.isin(np.array(case.grid.unit_kind)[unit], list(DEMAND_KINDS)) & (p < 0)
    along = np.divide(q, p, out=np.zeros(unit.size), where=load)
    whole = float(np.abs(case.injection.p[0]).sum()) / 2.0
    scaled = price[unit] * POWER_PRICE / max(whole, 1e-9)
    return unit, along, (low[unit], high[unit], scaled, grain)


def rounded(levers: Levers, change: Floats) -> Floats:
    """The change in multiples of what can be set, within its bounds; less than that is nothing."""
    controls = levers.controls
    first, second, third = controls.cuts
    now = np.zeros(controls.size)
    now[:first] = [levers.case.injection.v_set[0, units[0]] for units in controls.held]
    now[first:second] = levers.case.grid.steps.tap_position[controls.tap]
    now[third:] = levers.case.injection.p[0, controls.unit]
    moved = np.abs(change) >= levers.grain / 2.0
    target = np.round((now + change) / levers.grain) * levers.grain
    # a bound need not be a multiple; a position has to be one
    inside = np.clip(target - now, levers.low, levers.high)
    return np.asarray(np.where(moved, np.where(levers.whole, target - now, inside), 0.0))


def moved_case(levers: Levers, change: Floats) -> Case:
    """The case with its controls moved."""
    case, controls = levers.case, levers.controls
    first, second, third = controls.cuts
    power = np.zeros(case.grid.n_unit)
    power[controls.unit] = change[third:]
    case = with_change(case, power)
    v, p, q = (getattr(case.injection, name).copy() for name in ("v_set", "p", "q"))
    for units, by in zip(controls.held, change[:first], strict=True):
        if by:
            v[0, units] += by
    grid = case.grid
    for k, by in zip(controls.tap.tolist(), change[first:second].tolist(), strict=True):
        if by:
            steps = grid.steps
            terminal = int(steps.tap_branch[k] + grid.n_branch * steps.tap_at_to[k])
            now = float(steps.tap_ratio[k])
            grid = with_ratio(grid, terminal, (now + by * float(steps.tap_size[k])) / now)
    steps = grid.steps
    on = steps.shunt_step.copy()
    on[controls.shunt] += np.round(change[second:third]).astype(np.int64)
    for k in controls.shunt[change[second:third] != 0].tolist():
        m = int(steps.shunt_unit[k])
        p[0, m], q[0, m] = on[k] * steps.shunt_p[k], on[k] * steps.shunt_q[k]
    grid = replace(grid, steps=replace(steps, shunt_step=on)) if controls.shunt.size else grid
    return replace(case, grid=grid, injection=replace(case.injection, v_set=v, p=p, q=q))


def power_change(levers: Levers, change: Floats) -> Floats:
    """[n_unit] p.u. change of active powers."""
    out = np.zeros(levers.case.grid.n_unit)
    out[levers.controls.unit] = change[levers.controls.cuts[2] :]
    return out


def operations(levers: Levers, change: Floats) -> int:
    """Tap positions and shunt steps that are moved."""
    first, _, third = levers.controls.cuts
    return int(np.round(np.abs(change[first:third])).sum())


def moved_elements(levers: Levers, change: Floats) -> tuple[str, ...]:
    """Labels of what is moved."""
    grid, controls = levers.case.grid, levers.controls
    first, second, third = controls.cuts
    tap, shunt = grid.steps.tap_branch[controls.tap], grid.steps.shunt_unit[controls.shunt]
    units = [int(m) for c in np.flatnonzero(change[:first]) for m in controls.held[c]]
    units += [int(m) for m in shunt[change[second:third] != 0]]
    units += [int(m) for m in controls.unit[change[third:] != 0]]
    branches = [int(k) for k in tap[change[first:second] != 0]]
    return (*(grid.branch_label[k] for k in branches), *(grid.unit_label[m] for m in units))


def lever_edits(levers: Levers, change: Floats) -> tuple[Row, ...]:
    """The change as edits of a study file, see `gridrl.whatif.edits`."""
    edits = [edit for edit, _ in _set_points(levers, change)]
    return (*edits, *dispatch_edits(levers.case, power_change(levers, change)))


def lever_words(levers: Levers, change: Floats) -> str:
    """The change in an operator's words."""
    said = [words for _, words in _set_points(levers, change)]
    power = dispatch_words(levers.case, power_change(levers, change))
    return ", ".join([*said, *([power] if power else [])])


def _set_points(levers: Levers, change: Floats) -> list[tuple[Row, str]]:
    """Edits and words of set points, taps and shunts, the largest moves of each first."""
    grid, controls = levers.case.grid, levers.controls
    steps, v = grid.steps, levers.case.injection.v_set[0]
    first, second, third = controls.cuts
    out: list[tuple[Row, str]] = []
    for c in _largest(change[:first]):
        for m in controls.held[c].tolist():
            to = round(float(v[m] + change[c]), 9)
            out.append(
                ({"voltage": _name(levers.case, int(grid.unit_element[m])), "vm_pu": to},
                 f"set {grid.unit_label[m]} from {v[m]:.4g} to {to:.4g} p.u.")
            )  # fmt: skip
    for c in _largest(change[first:second]):
        k = int(controls.tap[c])
        element = int(grid.branch_element[steps.tap_branch[k]])
        now = float(steps.tap_position[k])
        to_position = round(now + float(change[first + c]))
        out.append(
            ({"tap": _name(levers.case, element), "position": to_position},
             f"move the tap of {grid.element_label[element]} from {now:.4g} to {to_position}")
        )  # fmt: skip
    for c in _largest(change[second:third]):
        k = int(controls.shunt[c])
        element = int(grid.unit_element[steps.shunt_unit[k]])
        now_on = int(steps.shunt_step[k])
        to_on = now_on + round(float(change[second + c]))
        out.append(
            ({"shunt": _name(levers.case, element), "step": to_on},
             f"switch {grid.element_label[element]} from step {now_on} to {to_on}")
        )  # fmt: skip
    return out


def _largest(change: Floats) -> list[int]:
    order = np.argsort(-np.abs(change), kind="stable").tolist()
    return [c for c in order if change[c]]


def _name(case: Case, element: int) -> str:
    return f"{case.grid.element_kind[element]}:{case.grid.element_id[element]}"
