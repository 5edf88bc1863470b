"""First derivatives of an AC state against differences of power flows."""

from dataclasses import replace

import numpy as np
import pytest

import gridrl
from gridrl.case import Case
from gridrl.grid import Topology
from gridrl.io.pandapower import load_pandapower
from gridrl.powerflow.linear import Controls, Linear
from gridrl.whatif import apply_edits, parse_edit
from tests.whatif.test_edits import storage_ring

STEP = 1e-5
# Central differences: an error of STEP^2 times the third derivative, and 1e-9 / STEP of rounding.
RTOL, ATOL = 1e-5, 1e-5


def _case() -> Case:
    """Taps, a phase shift, a switched shunt, loads of all three kinds, ratings of both kinds."""
    net = storage_ring()
    net.load["const_z_p_percent"], net.load["const_i_q_percent"] = 30.0, 40.0
    case = load_pandapower(net, name="ring")
    s_max = np.where(np.arange(case.grid.n_branch) % 2 == 0, 0.4, np.inf)
    rated = np.full(case.grid.n_branch, 0.5)
    return replace(
        case, grid=replace(case.grid, i_max_from=rated, i_max_to=1.3 * rated, s_max=s_max)
    )


def _without(case: Case, *, branch: int = -1, end: int = -1, split: bool = False) -> Case:
    closed, busbar = case.topology.closed.copy(), case.topology.busbar.copy()
    if branch >= 0:
        closed[0, branch] = False
    if end >= 0:
        busbar[0, end] = 0
    case = replace(case, topology=Topology(busbar=busbar, closed=closed))
    if split:
        edit = {"split": "b2", "busbar2": ["line:2", "gen:0"]}
        case = apply_edits(case, [parse_edit(edit)])
    return case


def _controls(case: Case) -> Controls:
    grid = case.grid
    held = tuple(np.array([m]) for m in grid.holding_unit.tolist())
    kinds = ("load", "sgen", "gen", "storage")
    unit = np.array([m for m in range(grid.n_unit) if grid.unit_kind[m] in kinds])
    return Controls(
        held=held, tap=np.arange(1), shunt=np.arange(1), unit=unit,
        unit_q=np.full(unit.size, 0.3),
    )  # fmt: skip


def _moved(case: Case, controls: Controls, c: int, by: float) -> Case:
    """The case with one control moved, by other means than the code under test."""
    grid, steps, injection = case.grid, case.grid.steps, case.injection
    p, q, v = (getattr(injection, name).copy() for name in ("p", "q", "v_set"))
    first, second, third = controls.cuts
    if c < first:
        v[0, controls.held[c]] += by
    elif c < second:
        percent = 100.0 * by * float(steps.tap_size[0] / steps.tap_ratio[0])
        return apply_edits(case, [parse_edit({"tap": "trafo:0", "ratio_percent": percent})])
    elif c < third:
        p[0, steps.shunt_unit] += by * steps.shunt_p
        q[0, steps.shunt_unit] += by * steps.shunt_q
    else:
        p[0, controls.unit[c - third]] += by
        q[0, controls.unit[c - third]] += 0.3 * by
    return replace(case, grid=grid, injection=replace(injection, p=p, q=q, v_set=v))


@pytest.mark.parametrize(
    "change", ({}, {"branch": 1}, {"end": 0}, {"split": True}),
    ids=["intact", "line out", "open end", "split"],
)  # fmt: skip
@pytest.mark.parametrize("side", ("hv", "lv"))
def test_derivatives_are_those_of_differences(change: dict[str, int], side: str) -> None:
    case = _without(_case(), **change)
    if side == "lv":
        steps = replace(case.grid.steps, tap_at_to=np.array([True]))
        case = replace(case, grid=replace(case.grid, steps=steps))
    controls = _controls(case)

    def seen(case: Case) -> tuple[Linear, np.ndarray]:
        result = gridrl.flow(case)
        linear = Linear(result, np.zeros(1, np.int64), controls)
        live = np.flatnonzero(np.nan_to_num(result.loading(0)) > 1e-3)
        asked = (
            linear.voltages(np.flatnonzero(linear.alive)),
            linear.loadings(np.zeros_like(live), live), linear.reactive(linear.holding_nodes(0)),
        )  # fmt: skip
        values = (
            np.abs(result.v[0][linear.alive]), result.loading(0)[live],
            result.unit_power(0).imag[case.grid.holding_unit],
        )  # fmt: skip
        np.testing.assert_allclose(asked[1].value, values[1], atol=1e-12)
        rows = np.concatenate([linear.rows(watched) for watched in asked])
        order = np.argsort(linear.holding_nodes(0))
        assert order.size == len(controls.held)
        return rows, np.concatenate([values[0], values[1], asked[2].value])

    rows, _ = seen(case)
    for c in range(controls.size):
        up, down = (seen(_moved(case, controls, c, by))[1] for by in (STEP, -STEP))
        if side == "lv" and c == len(controls.held):
            continue  # the edit moves the other end: compared below
        difference = (up - down) / (2 * STEP)
        scale = max(1.0, float(np.abs(difference).max()))
        np.testing.assert_allclose(rows[:, c], difference, rtol=RTOL, atol=ATOL * scale)
    if side == "lv":
        from gridrl.whatif.draft import with_ratio

        steps, n_branch = case.grid.steps, case.grid.n_branch
        each = float(steps.tap_size[0] / steps.tap_ratio[0])
        terminal = int(steps.tap_branch[0]) + n_branch
        up, down = (
            seen(replace(case, grid=with_ratio(case.grid, terminal, 1.0 + by * each)))[1]
            for by in (STEP, -STEP)
        )
        difference = (up - down) / (2 * STEP)
        np.testing.assert_allclose(rows[:, len(controls.held)], difference, rtol=1e-4, atol=1e-6)


def test_reactive_power_of_machines_is_that_of_the_flow() -> None:
    case = gridrl.load("case39")
    result = gridrl.flow(case)
    held = tuple(np.array([m]) for m in case.grid.holding_unit.tolist())
    none = np.zeros(0, np.int64)
    controls = Controls(held=held, tap=none, shunt=none, unit=none, unit_q=np.zeros(0))
    linear = Linear(result, np.zeros(1, np.int64), controls)
    node = linear.holding_nodes(0)
    want = np.zeros(case.grid.n_substation)
    holders = case.grid.holding_unit
    np.add.at(want, case.grid.unit_substation[holders], result.unit_power(0).imag[holders])
    np.testing.assert_allclose(linear.reactive(node).value, want[node], atol=1e-8)


def test_states_together_answer_as_each_does_alone() -> None:
    """Among them one with an open line, one that splits a substation, one with a dead node."""
    case = _case()
    one = [_without(case, branch=1), _without(case, split=True), _without(case, end=0), case]
    dark = case.topology.closed.copy()
    dark[0, [0, 2]] = False
    one.append(replace(case, topology=Topology(busbar=case.topology.busbar, closed=dark)))
    topology = Topology(
        busbar=np.concatenate([c.topology.busbar for c in one]),
        closed=np.concatenate([c.topology.closed for c in one]),
    )
    result = gridrl.flow(case, topology=topology)
    assert result.solved().all()
    assert np.isnan(result.v).any()
    controls = _controls(case)
    every = np.arange(len(one))
    together = Linear(result, every, controls)
    branch = np.tile(np.arange(case.grid.n_branch), every.size)
    of = np.repeat(every, case.grid.n_branch)
    rows = together.rows(together.loadings(of, branch))
    volts = together.rows(together.voltages(np.flatnonzero(together.alive)))
    q = together.rows(together.reactive(np.concatenate([together.holding_nodes(s) for s in every])))
    for state in every:
        alone = Linear(result, every[state : state + 1], controls)
        mine = branch[of == state]
        want = alone.rows(alone.loadings(np.zeros_like(mine), mine))
        np.testing.assert_allclose(rows[of == state], want, atol=1e-10)
        held = alone.holding_nodes(0)
        np.testing.assert_allclose(q[: held.size], alone.rows(alone.reactive(held)), atol=1e-9)
        live = np.flatnonzero(alone.alive)
        np.testing.assert_allclose(volts[: live.size], alone.rows(alone.voltages(live)), atol=1e-10)
        q, volts = q[held.size :], volts[live.size :]
