"""Our solver against published optima, finite differences, and problems without a solution."""

from dataclasses import replace

import numpy as np
import pytest

import gridrl
from gridrl.costs import CostRow, join
from gridrl.errors import GridError
from gridrl.opf import OpfStatus, solve, solve_many, verify
from gridrl.opf.arrange import arrange
from gridrl.opf.interior_point import Options
from gridrl.opf.kernels_model import derivatives, evaluate
from gridrl.opf.multistart import random_start
from gridrl.opf.problem import build_problem
from tests.cases import pglib_files

LIMITS = 1e-6  # p.u.


def judged(case, solution):
    return verify(case, solution.p, solution.q, solution.v)


@pytest.fixture(scope="module")
def case30():
    return gridrl.load(pglib_files.path_of("30_ieee"))


@pytest.mark.parametrize("name", pglib_files.NAMES)
def test_objectives_are_the_published_ones(name):
    case = gridrl.load(pglib_files.path_of(name))
    solution = solve(case)
    assert solution.status is OpfStatus.OPTIMAL
    verdict = judged(case, solution)
    assert verdict.max_violation_pu < LIMITS
    # Five digits are printed.
    assert verdict.cost == pytest.approx(pglib_files.published(name), rel=5e-5)


@pytest.mark.parametrize("start", ("flat", "dc", "flow"))
def test_every_start_leads_to_the_same_optimum(case30, start):
    solution = solve(case30, start=start)
    assert solution.start == start
    assert judged(case30, solution).cost == pytest.approx(8208.515, rel=1e-6)


def test_a_warm_start_from_the_solution_stays_there(case30):
    first = solve(case30)
    again = solve(case30, warm=first)
    assert again.start == "warm"
    assert judged(case30, again).cost == pytest.approx(judged(case30, first).cost, rel=1e-7)


@pytest.mark.parametrize("name", ("14_ieee", "24_ieee_rts", "30_ieee", "57_ieee", "118_ieee"))
def test_a_full_state_restarts_in_a_few_iterations(name):
    """At the same point, and with every load moved by up to 1 %."""
    case = gridrl.load(pglib_files.path_of(name))
    first = solve(case)
    again = solve(case, warm=first)
    assert again.iterations <= 4
    assert judged(case, again).cost == pytest.approx(judged(case, first).cost, rel=1e-7)
    factor = np.random.default_rng(2).uniform(0.99, 1.01, case.grid.n_unit)
    moved = replace(
        case,
        injection=replace(case.injection, p=case.injection.p * factor, q=case.injection.q * factor),
    )
    cold, warm = solve(moved), solve(moved, warm=first)
    assert warm.iterations <= 4
    assert judged(moved, warm).cost == pytest.approx(judged(moved, cold).cost, rel=1e-7)
    assert judged(moved, warm).max_violation_pu < LIMITS


def test_the_full_state_satisfies_the_conditions_of_optimality(case30):
    """Complementarity, and stationarity of every generator: cost slope = price + its limits'."""
    solution = solve(case30)
    state, problem = solution.state, build_problem(case30)
    assert (state.slack >= 0).all()
    assert (state.limit_price >= 0).all()
    assert (state.slack * state.limit_price).max() < 1e-3  # currency/h
    n, ns, sources = problem.n_node, problem.sources.n, problem.sources
    slope = (sources.coefficient * np.arange(sources.coefficient.shape[1]))[:, 1:]
    slope = (slope * state.s[:, None] ** np.arange(slope.shape[1])).sum(axis=1)
    price = state.balance_price[sources.node, sources.reactive.astype(int)]
    low, high = np.split(state.limit_price[2 * n : 2 * n + 2 * ns], 2)
    np.testing.assert_allclose(slope - low + high, price, atol=1e-4)


def test_a_state_of_another_problem_is_refused_and_a_solution_of_one_used(case30):
    other = solve(gridrl.load(pglib_files.path_of("14_ieee")))
    with pytest.raises(GridError, match="other nodes, branches or sources"):
        solve(case30, warm=other.state)
    opened = gridrl.open_elements(case30, [case30.grid.element_label[0].split(" ")[0]])
    base, alone = solve(case30), solve(opened)
    warm = solve(opened, warm=base)  # fewer branches: only dispatch and voltages fit
    assert judged(opened, warm).cost == pytest.approx(judged(opened, alone).cost, rel=1e-7)


def test_prices_are_the_marginal_cost_of_a_load(case30):
    """A load of 0.01 MW more costs what the price at its bus says."""
    base = solve(case30)
    load = case30.grid.unit_kind.index("load")
    p = case30.injection.p.copy()
    extra = 1e-4
    p[0, load] -= extra
    more = replace(case30, injection=replace(case30.injection, p=p))
    rise = judged(more, solve(more)).cost - judged(case30, base).cost
    price = base.price_p[case30.grid.unit_substation[load], 0]
    assert rise == pytest.approx(price * extra, rel=1e-3)


def test_derivatives_are_those_of_finite_differences(case30):
    """On a grid with taps, shunts, a phase shift, and limits of power and of current."""
    grid = case30.grid
    turned = np.exp(0.1j * (np.arange(grid.n_branch) % 3))
    i_max = np.where(np.arange(grid.n_branch) % 2, 0.4, np.inf)
    s_max = np.where(np.arange(grid.n_branch) % 2, np.inf, 0.3)
    grid = replace(
        grid, y_ft=grid.y_ft * turned, y_tf=grid.y_tf / turned, i_max_from=i_max,
        i_max_to=i_max * 0.9, s_max=s_max,
    )  # fmt: skip
    problem = build_problem(replace(case30, grid=grid))
    net = arrange(problem).net
    rng = np.random.default_rng(5)
    n, m, ns = problem.n_node, problem.n_line, problem.sources.n
    x = np.concatenate([rng.normal(0, 0.2, n), rng.uniform(0.9, 1.1, n), rng.normal(size=ns)])
    lam = rng.normal(size=(n, 2))
    price = rng.uniform(size=2 * n + 2 * ns + 4 * m)
    price[2 * n + 2 * ns :][: 2 * m] = 0.0

    def lagrangian(x):
        g, h, flow = np.zeros((n, 2)), np.zeros(price.size), np.zeros((m, 8))
        evaluate(net, x[:n], x[n : 2 * n], x[2 * n :], g, h, flow)
        limits = h[2 * n + 2 * ns + 2 * m :] @ price[2 * n + 2 * ns + 2 * m :]
        return (g * lam).sum() + limits, flow

    def parts(x):
        _, flow = lagrangian(x)
        out = (np.zeros((m, 12)), np.zeros((m, 6)), np.zeros((m, 6)), np.zeros(n))
        derivatives(net, x[n : 2 * n], flow, lam, price, *out)
        return out

    jacobian, limit_jacobian, hessian, bend_v = parts(x)
    start, stop = net[0], net[1]
    gradient = np.zeros(2 * n)
    o = 2 * n + 2 * ns + 2 * m
    for k in range(m):
        i, j = start[k], stop[k]
        weight = np.array([lam[i, 0], lam[i, 1], lam[j, 0], lam[j, 1]])
        by = weight @ jacobian[k].reshape(4, 3)
        by += price[o + k] * limit_jacobian[k, :3] + price[o + m + k] * limit_jacobian[k, 3:]
        np.add.at(gradient, [i, j, n + i, n + j], [by[0], -by[0], by[1], by[2]])
    v = x[n : 2 * n]
    node = net[4]
    gradient[n:] += lam[:, 0] * (2 * v * node[:, 0] - node[:, 4])
    gradient[n:] += lam[:, 1] * (-2 * v * node[:, 1] - node[:, 5])
    step = 1e-6
    direction = rng.normal(size=x.size)
    direction[2 * n :] = 0.0
    up, down = x + step * direction, x - step * direction
    slope = (lagrangian(up)[0] - lagrangian(down)[0]) / (2 * step)
    assert slope == pytest.approx(gradient @ direction[: 2 * n], rel=1e-7)
    d = np.stack(
        [direction[start] - direction[stop], direction[n + start], direction[n + stop]], axis=1
    )
    h00, h01, h02, h11, h12, h22 = hessian.T
    curvature = (bend_v * direction[n : 2 * n] ** 2).sum() + (
        h00 * d[:, 0] ** 2 + h11 * d[:, 1] ** 2 + h22 * d[:, 2] ** 2
        + 2 * (h01 * d[:, 0] * d[:, 1] + h02 * d[:, 0] * d[:, 2] + h12 * d[:, 1] * d[:, 2])
    ).sum()  # fmt: skip
    wide = 1e-4
    second = (
        lagrangian(x + wide * direction)[0]
        - 2 * lagrangian(x)[0]
        + lagrangian(x - wide * direction)[0]
    ) / wide**2
    assert second == pytest.approx(curvature, rel=1e-5)


def test_a_piecewise_cost_on_a_polynomial_costs_the_same(case30):
    """Points on the line of a linear cost give the same optimum as the line."""
    costs = case30.grid.costs
    rows = []
    for k in range(costs.n_cost):
        a, b = costs.coefficient[k, :2]
        points = tuple((x, a + b * x) for x in (0.0, 0.3, 1.0, 3.0))
        rows.append(CostRow(unit=int(costs.unit[k]), points=points))
    assert not costs.coefficient[:, 2:].any()
    case = replace(case30, grid=replace(case30.grid, costs=join(rows)))
    assert judged(case, solve(case)).cost == pytest.approx(
        judged(case30, solve(case30)).cost, rel=1e-6
    )


def test_a_convex_piecewise_cost_is_filled_in_order(case30):
    """Against the best of many fixed dispatches: two generators, slopes that rise."""
    costs = case30.grid.costs
    units = [int(u) for u in costs.unit]
    rows = [
        CostRow(unit=units[0], points=((0.0, 0.0), (1.0, 1000.0), (1.5, 2500.0), (3.0, 9000.0)))
    ]
    rows += [CostRow(unit=u, coefficient=(0.0, 2000.0)) for u in units[1:]]
    case = replace(case30, grid=replace(case30.grid, costs=join(rows)))
    best = judged(case, solve(case)).cost
    for p in (0.8, 0.95, 1.0, 1.1, 1.3):
        p_max, p_min = case.grid.p_max.copy(), case.grid.p_min.copy()
        p_max[units[0]] = p_min[units[0]] = p
        fixed = replace(case, grid=replace(case.grid, p_max=p_max, p_min=p_min))
        solution = solve(fixed)
        if solution.ok:
            assert judged(fixed, solution).cost >= best - 1e-3


def test_a_cost_that_is_not_convex_is_refused(case30):
    unit = int(case30.grid.costs.unit[0])
    costs = join([CostRow(unit=unit, points=((0.0, 0.0), (0.5, 9.0), (1.0, 10.0)))])
    with pytest.raises(GridError, match="gen:1 is not convex"):
        solve(replace(case30, grid=replace(case30.grid, costs=costs)))


@pytest.mark.parametrize("factor", (1.3, 4.0))  # Ipopt says infeasible too
def test_too_much_load_is_infeasible_not_a_crash(case30, factor):
    case = gridrl.scale_load(case30, factor)
    solution = solve(case)
    assert solution.status is OpfStatus.INFEASIBLE
    assert judged(case, solution).max_violation_pu > 1e-3


def test_load_that_is_cut_off_is_said_to_be(case30):
    # Bus 26 hangs on one line.
    case = gridrl.open_elements(case30, ["25-26"])
    solution = solve(case)
    assert solution.status is OpfStatus.ISLANDED
    verdict = judged(case, solution)
    assert verdict["unserved"].amount_pu > 0.01
    assert verdict["p_balance"].amount_pu < LIMITS


def test_a_branch_with_one_open_end_cuts_off_as_an_open_one_does(case30):
    """Bus 26 again, and a generator's power there instead of a load."""
    grid = case30.grid
    branch = case30.grid.branch_label.index("line:34 (25-26)")
    busbar = case30.topology.busbar.copy()
    busbar[0, branch] = 0
    case = replace(case30, topology=replace(case30.topology, busbar=busbar))
    solution = solve(case)
    assert solution.status is OpfStatus.ISLANDED
    verdict = judged(case, solution)
    assert {v.kind for v in verdict.violations if v.amount_pu > LIMITS} == {"unserved"}
    turned = replace(case, injection=replace(case.injection, p=np.abs(case.injection.p)))
    assert grid.substation_name[grid.to_substation[branch]] == "26"
    assert solve(turned).status is not OpfStatus.OPTIMAL


def test_a_split_substation_has_two_voltages(case30):
    grid = case30.grid
    busbar = case30.topology.busbar.copy()
    split = grid.from_substation[12]
    at = np.flatnonzero(grid.terminal_substation == split)
    busbar[0, at[::2]] = 2
    case = replace(case30, topology=replace(case30.topology, busbar=busbar))
    solution = solve(case)
    assert solution.status is OpfStatus.OPTIMAL
    verdict = judged(case, solution)
    assert verdict.max_violation_pu < LIMITS
    assert verdict.cost == pytest.approx(8198.75359, rel=1e-7)  # Ipopt 3.14 on the same state
    assert abs(solution.v[split, 0] - solution.v[split, 1]) > 1e-4


def test_currents_are_limited_where_currents_are_rated(case30):
    grid = case30.grid
    rated = replace(
        grid, i_max_from=grid.s_max.copy(), i_max_to=grid.s_max.copy(),
        s_max=np.full(grid.n_branch, np.inf),
    )  # fmt: skip
    case = replace(case30, grid=rated)
    solution = solve(case)
    assert solution.model == "AC-I"
    assert judged(case, solution).max_violation_pu < LIMITS
    ipopt = pytest.importorskip("ipyopt")
    assert ipopt
    other = solve(case, solver="ipopt")
    assert judged(case, solution).cost == pytest.approx(judged(case, other).cost, rel=1e-6)


def test_crossed_limits_name_their_element(case30):
    p_min = case30.grid.p_min.copy()
    p_min[case30.grid.dispatchable] = 1e3
    with pytest.raises(GridError, match=r"p_min above p_max \(MW\): gen:1"):
        solve(replace(case30, grid=replace(case30.grid, p_min=p_min)))


def test_the_same_problem_gives_the_same_bits(case30):
    a, b = solve(case30), solve(case30)
    np.testing.assert_array_equal(a.v, b.v)
    np.testing.assert_array_equal(a.p, b.p)


def test_unknown_names_are_refused(case30):
    with pytest.raises(GridError, match="no OPF solver 'simplex'"):
        solve(case30, solver="simplex")
    with pytest.raises(GridError, match="no start 'hot'"):
        solve(case30, start="hot")


@pytest.mark.parametrize("name", ("14_ieee", "30_as__api", "57_ieee__sad", "118_ieee"))
def test_ipopt_agrees(name):
    pytest.importorskip("ipyopt")
    case = gridrl.load(pglib_files.path_of(name))
    ours, theirs = solve(case), solve(case, solver="ipopt")
    assert theirs.status is OpfStatus.OPTIMAL
    assert judged(case, ours).cost == pytest.approx(judged(case, theirs).cost, rel=1e-6)


def test_several_starts_keep_the_best_of_them(case30):
    one = solve(case30)
    many = solve(case30, starts=5, seed=3)
    assert judged(case30, many).cost == pytest.approx(judged(case30, one).cost, rel=1e-6)
    assert "5 starts" in many.message
    assert many.iterations > one.iterations
    again = solve(case30, starts=5, seed=3)
    assert np.array_equal(many.p, again.p)
    with pytest.raises(GridError, match="Give 1 or more"):
        solve(case30, starts=0)


def test_random_starts_are_within_the_limits_and_follow_the_seed(case30):
    problem = build_problem(case30)
    first, same, other = (random_start(problem, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.s, same.s)
    assert not np.array_equal(first.s, other.s)
    assert ((first.v >= problem.v_min) & (first.v <= problem.v_max)).all()
    assert ((first.s >= problem.sources.lower) & (first.s <= problem.sources.upper)).all()


def test_a_time_limit_ends_a_solve_and_is_no_failure_to_rescue(case30):
    stuck = replace(
        case30, injection=replace(case30.injection, p=3 * case30.injection.p)
    )  # no dispatch: takes hundreds of iterations
    solution = solve(stuck, options=Options(time_limit_s=1e-9))
    assert solution.status is OpfStatus.TIME_LIMIT
    assert solution.iterations < 50
    assert solution.fallback == ""
    late = solve_many(stuck, options=Options(time_limit_s=1e-9))
    assert late.status[0] == OpfStatus.TIME_LIMIT
    with pytest.raises(GridError, match="leaves no time"):
        solve(case30, options=Options(time_limit_s=0.0))
