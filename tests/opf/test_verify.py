"""The judge: published objectives on one side, planted wrong answers on the other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gridrl
from gridrl.errors import GridError
from gridrl.opf import solve, verify
from tests.cases import pglib_files

LIMITS = 1e-6  # p.u., what a solution may break


@pytest.fixture(scope="module")
def solved():
    case = gridrl.load(pglib_files.path_of("118_ieee"))
    solution = solve(case)
    return case, solution


def judge(case, solution, **changes):
    values = {"p": solution.p, "q": solution.q, "v": solution.v} | changes
    return verify(case, **values)


def test_a_solution_passes_and_costs_what_is_published(solved):
    verdict = judge(*solved)
    assert verdict.max_violation_pu < LIMITS
    assert f"{verdict.cost:.4e}" == "9.7214e+04"


# features.m: taps, phase shifts, an isolated bus, shunts
@pytest.mark.parametrize("name", ("case14", Path(__file__).parent.parent / "cases" / "features.m"))
def test_a_power_flow_balances(name):
    case = gridrl.load(name)
    result = gridrl.flow(case)
    v = np.full((case.grid.n_substation, 2), np.nan + 0j)
    v[:, 0] = result.v[0]
    power = result.unit_power()
    verdict = verify(case, power.real, power.imag, v)
    for kind in ("p_balance", "q_balance", "fixed", "unserved"):
        assert verdict[kind].amount_pu < 1e-7


def test_the_angle_difference_is_from_less_to(solved):
    case, solution = solved
    grid = case.grid
    angle = np.angle(solution.v[:, 0])
    difference = angle[grid.from_substation[7]] - angle[grid.to_substation[7]]
    assert abs(difference) > 0.01
    for field, sign in (("angle_max", -1.0), ("angle_min", 1.0)):
        limit = getattr(grid, field).copy()
        limit[7] = difference + sign * 0.004
        verdict = judge(replace(case, grid=replace(grid, **{field: limit})), solution)
        assert verdict["angle"].amount_pu == pytest.approx(0.004)
        assert verdict["angle"].element == grid.branch_label[7]


def dispatched(case):
    grid = case.grid
    on = case.topology.busbar[0, 2 * grid.n_branch :] > 0
    return np.flatnonzero(grid.dispatchable & on & (grid.p_max - grid.p_min > 0.1))


def test_a_moved_generator_unbalances_its_bus(solved):
    case, solution = solved
    unit = dispatched(case)[3]
    for field, kind in (("p", "p_balance"), ("q", "q_balance")):
        moved = getattr(solution, field).copy()
        moved[unit] += 0.01
        found = judge(case, solution, **{field: moved})[kind]
        assert found.amount_pu == pytest.approx(0.01, rel=1e-4)
        assert case.grid.substation_label[case.grid.unit_substation[unit]] in found.element


def test_a_moved_load_is_caught_although_the_bus_balances(solved):
    case, solution = solved
    loads = {
        int(s): u
        for u, (kind, s) in enumerate(
            zip(case.grid.unit_kind, case.grid.unit_substation, strict=True)
        )
        if kind == "load"
    }
    unit = next(u for u in dispatched(case) if int(case.grid.unit_substation[u]) in loads)
    load = loads[int(case.grid.unit_substation[unit])]
    p = solution.p.copy()
    p[load] += 0.05
    p[unit] -= 0.05
    verdict = judge(case, solution, p=p)
    assert verdict["fixed"].amount_pu == pytest.approx(0.05)
    assert verdict["p_balance"].amount_pu < LIMITS


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    (
        ("s_max", 0.5, "flow"),
        ("i_max_from", 0.5, "flow"),
        ("i_max_to", 0.5, "flow"),
        ("angle_max", -0.001, "angle"),
        ("angle_min", 0.001, "angle"),
    ),
)
def test_limits_of_branches_are_read(solved, field, value, kind):
    case, solution = solved
    limits = getattr(case.grid, field).copy()
    limits[:] = value
    verdict = judge(replace(case, grid=replace(case.grid, **{field: limits})), solution)
    assert verdict[kind].amount_pu > 1e-3
    assert verdict[kind].element in case.grid.branch_label


def test_the_amount_above_a_rating_is_exact(solved):
    case, solution = solved
    grid = case.grid
    v_from = solution.v[grid.from_substation[5], 0]
    v_to = solution.v[grid.to_substation[5], 0]
    i_from = grid.y_ff[5] * v_from + grid.y_ft[5] * v_to
    i_to = grid.y_tf[5] * v_from + grid.y_tt[5] * v_to
    largest = max(abs(v_from * i_from.conj()), abs(v_to * i_to.conj()))
    s_max = np.full(grid.n_branch, np.inf)
    s_max[5] = largest - 0.02
    verdict = judge(replace(case, grid=replace(grid, s_max=s_max)), solution)
    assert verdict["flow"].amount_pu == pytest.approx(0.02)
    assert verdict["flow"].element == grid.branch_label[5]


@pytest.mark.parametrize(
    ("field", "shift", "kind"),
    (
        ("p_max", -0.3, "p"),
        ("p_min", 0.3, "p"),
        ("q_max", -0.3, "q"),
        ("q_min", 0.3, "q"),
    ),
)
def test_limits_of_units_are_read(solved, field, shift, kind):
    case, solution = solved
    unit = dispatched(case)[0]
    limit = getattr(case.grid, field).copy()
    limit[unit] = (solution.p if kind == "p" else solution.q)[unit] + shift
    verdict = judge(replace(case, grid=replace(case.grid, **{field: limit})), solution)
    assert verdict[kind].amount_pu == pytest.approx(0.3)
    assert verdict[kind].element == case.grid.unit_label[unit]


def test_voltage_limits_are_read(solved):
    case, solution = solved
    v_max = case.grid.v_max.copy()
    v_max[7] = abs(solution.v[7, 0]) - 0.03
    verdict = judge(replace(case, grid=replace(case.grid, v_max=v_max)), solution)
    assert verdict["voltage"].amount_pu == pytest.approx(0.03)
    v_min = case.grid.v_min.copy()
    v_min[9] = abs(solution.v[9, 0]) + 0.04
    verdict = judge(replace(case, grid=replace(case.grid, v_min=v_min)), solution)
    assert verdict["voltage"].amount_pu == pytest.approx(0.04)


def test_a_blackout_is_no_cheap_dispatch(solved):
    case, solution = solved
    v = np.full_like(solution.v, np.nan)
    nothing = np.zeros_like(solution.p)
    verdict = judge(case, solution, p=nothing, q=nothing, v=v)
    demand = np.hypot(case.injection.p[0], case.injection.q[0])[~case.grid.dispatchable]
    assert verdict["unserved"].amount_pu == pytest.approx(demand.max())
    v = solution.v.copy()
    v[3, 0] = np.nan  # one dark bus among live ones
    assert judge(case, solution, v=v).max_violation_pu == np.inf


def test_an_open_branch_carries_nothing(solved):
    case, solution = solved
    opened = gridrl.open_elements(case, [case.grid.branch_label[5].split(" ")[0]])
    assert judge(opened, solution)["p_balance"].amount_pu > 1e-3


def test_prices_of_points_go_straight_on_beyond_them(solved):
    from gridrl.costs import CostRow, join

    case, solution = solved
    unit = int(dispatched(case)[0])
    p = float(solution.p[unit])
    for points, want in (
        (((p - 2, 5.0), (p - 1, 7.0), (p + 1, 13.0)), 10.0),
        (((p + 1, 5.0), (p + 2, 7.0), (p + 3, 13.0)), 3.0),
        (((p - 3, 5.0), (p - 2, 7.0), (p - 1, 13.0)), 19.0),
    ):
        costs = join([CostRow(unit=unit, points=points)])
        verdict = judge(replace(case, grid=replace(case.grid, costs=costs)), solution)
        assert verdict.cost == pytest.approx(want)


def test_a_unit_out_of_service_costs_nothing(solved):
    case, solution = solved
    busbar = case.topology.busbar.copy()
    busbar[:, 2 * case.grid.n_branch :] = 0
    off = replace(case, topology=replace(case.topology, busbar=busbar))
    assert judge(off, solution).cost == 0.0


def test_wrong_shapes_are_refused(solved):
    case, solution = solved
    with pytest.raises(GridError, match=r"p has shape \(3,\)"):
        judge(case, solution, p=np.zeros(3))
