"""Other programs behind the same call: against published tables, each other, and planted errors."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gridrl
from gridrl.edit import scale_load
from gridrl.errors import GridError, MissingExtra
from gridrl.opf import OpfStatus, solve, verify
from gridrl.opf.cones import cone_model
from gridrl.opf.ppc import tables
from gridrl.opf.problem import build_problem
from gridrl.opf.soc import certified_bound, proves_infeasible
from tests.cases import pglib_files

with (Path(gridrl.__file__).parent / "bench" / "pglib.csv").open() as _file:
    TABLE = {row["case"].removeprefix("pglib_opf_case"): row for row in csv.DictReader(_file)}
DIGITS = 5e-5  # relative: the tables are printed with five digits
FEATURES = Path(__file__).parent.parent / "cases" / "features.m"
EXACT = ("pypower", "ipopt", "interior_point")


def case_of(name):
    return gridrl.load(pglib_files.path_of(name))


def judged(case, solution):
    return verify(case, solution.p, solution.q, solution.v)


# --- published values --------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ("5_pjm", "24_ieee_rts__sad", "30_as__api", "118_ieee", "118_ieee__api")
)
def test_pypower_finds_the_published_optimum(name):
    case = case_of(name)
    solution = solve(case, "pypower")
    assert solution.status is OpfStatus.OPTIMAL
    assert solution.model == "AC-S"
    verdict = judged(case, solution)
    assert verdict.max_violation_pu < 1e-6
    assert verdict.cost == pytest.approx(float(TABLE[name]["ac_objective"]), rel=DIGITS)


@pytest.mark.parametrize(
    "name", ("5_pjm", "30_as", "30_ieee", "57_ieee", "24_ieee_rts__sad", "118_ieee")
)
def test_highs_finds_the_published_dc_optimum(name):
    case = case_of(name)
    solution = solve(case, "highs_dc")
    assert solution.status is OpfStatus.OPTIMAL
    assert solution.model == "DC"
    cost = judged(case, solution).cost
    assert cost == pytest.approx(float(TABLE[name]["dc_objective"]), rel=DIGITS)


def test_where_the_table_has_no_dc_dispatch_highs_has_none():
    assert TABLE["57_ieee__sad"]["dc_objective"] == "inf."
    assert solve(case_of("57_ieee__sad"), "highs_dc").status is OpfStatus.INFEASIBLE


@pytest.mark.parametrize(
    "name", ("5_pjm", "30_as__api", "57_ieee__sad", "118_ieee", "118_ieee__api")
)
def test_the_bound_is_the_published_one_and_below_the_optimum(name):
    solution = solve(case_of(name), "soc")
    row = TABLE[name]
    best = float(row["ac_objective"])
    gap = 100.0 * (1.0 - solution.lower_bound / best)
    # five digits of the objective and two decimals of the gap; ours ends a little tighter, because
    # PowerModels stops at 1e-6
    assert gap == pytest.approx(float(row["soc_gap_pct"]), abs=0.02)
    assert solution.lower_bound < best * (1.0 + DIGITS)


def test_pandapower_solves_another_problem_and_is_labelled_so():
    case = case_of("5_pjm")
    solution = solve(case, "pandapower")
    assert (solution.status, solution.model) == (OpfStatus.OPTIMAL, "AC-I")
    verdict = judged(case, solution)
    assert verdict.cost < 0.95 * float(TABLE["5_pjm"]["ac_objective"])
    assert verdict["flow"].amount_pu > 0.1  # what the cheapness is paid with
    assert verdict["p_balance"].amount_pu < 1e-5


@pytest.mark.parametrize("name", ("14_ieee", "57_ieee", "24_ieee_rts"))
def test_where_no_flow_or_angle_binds_pandapower_agrees(name):
    case = case_of(name)
    verdict = judged(case, solve(case, "pandapower"))
    # taps, charging of transformers and shunts all went across
    assert verdict.max_violation_pu < 1e-6
    assert verdict.cost == pytest.approx(float(TABLE[name]["ac_objective"]), rel=DIGITS)


# --- each other --------------------------------------------------------------------------------
def test_all_exact_solvers_agree_on_shifters_taps_and_unequal_ends():
    case = gridrl.load(FEATURES)
    cost = {name: judged(case, solve(case, name)).cost for name in EXACT}
    for name in EXACT:
        assert cost[name] == pytest.approx(cost["ipopt"], rel=1e-6)


def test_no_load_losses_of_transformers_are_not_lost():
    case = gridrl.load("case118")  # four of pandapower's transformers have some
    ours, theirs = judged(case, solve(case)), judged(case, solve(case, "pypower"))
    assert theirs["p_balance"].amount_pu < 1e-6
    assert theirs.cost == pytest.approx(ours.cost, rel=1e-6)


def test_current_ratings_go_to_pypower_as_such():
    case = gridrl.load("case14")
    tight = case.grid.i_max_from.copy()
    tight[:] = np.where(np.isfinite(tight), 0.35, tight)
    case = replace(case, grid=replace(case.grid, i_max_from=tight, i_max_to=tight.copy()))
    ours, theirs = solve(case), solve(case, "pypower")
    assert theirs.model == ours.model == "AC-I"
    assert judged(case, theirs).cost == pytest.approx(judged(case, ours).cost, rel=1e-6)
    full = abs(judged(case, theirs)["flow"].amount_pu)
    assert full < 1e-6


def test_both_dc_programs_agree_where_their_models_do():
    case = case_of("57_ieee")
    ours, theirs = solve(case, "highs_dc"), solve(case, "pandapower_dc")
    assert theirs.model == "DC"
    assert judged(case, theirs).cost == pytest.approx(judged(case, ours).cost, rel=1e-6)


def test_prices_are_the_same_whoever_finds_them():
    case = case_of("30_ieee")
    ours = solve(case)
    for name in ("pypower", "ipopt"):
        theirs = solve(case, name, tolerance=1e-8)
        np.testing.assert_allclose(theirs.price_p, ours.price_p, rtol=1e-3)
        np.testing.assert_allclose(theirs.price_q, ours.price_q, rtol=1e-3, atol=0.5)


# --- planted errors ----------------------------------------------------------------------------
@pytest.mark.parametrize("name", ("pypower", "ipopt", "interior_point", "pandapower"))
def test_a_planted_error_in_what_a_solver_returns_is_found(name):
    case = case_of("14_ieee")
    solution = solve(case, name)
    assert judged(case, solution).max_violation_pu < 1e-5
    unit = int(np.argmax(solution.p))
    p, q, v = solution.p.copy(), solution.q.copy(), solution.v.copy()
    p[unit] += 1e-3
    assert verify(case, p, q, v)["p_balance"].amount_pu == pytest.approx(1e-3, rel=0.05)
    q[unit] += 1e-3
    assert verify(case, solution.p, q, v)["q_balance"].amount_pu == pytest.approx(1e-3, rel=0.05)
    v[3, 0] *= np.exp(0.01j)
    assert verify(case, solution.p, solution.q, v).max_violation_pu > 1e-2
    slack = replace(case, grid=replace(case.grid, v_max=np.full(case.grid.n_substation, 1.0)))
    assert judged(slack, solution)["voltage"].amount_pu == pytest.approx(0.06, abs=1e-3)


@pytest.mark.parametrize("name", ("highs_dc", "pandapower_dc", "soc"))
def test_what_is_no_ac_dispatch_is_not_passed_as_one(name):
    case = case_of("118_ieee")
    assert judged(case, solve(case, name)).max_violation_pu > 0.1


@pytest.mark.parametrize("end", ("anywhere", "least", "most"))
def test_states_within_the_limits_are_in_the_relaxation_and_its_cuts_touch_them(end):
    case = case_of("24_ieee_rts__sad")  # with parallel branches; here of unlike limits, too
    rng = np.random.default_rng(7)
    m = case.grid.n_branch
    middle, half = rng.uniform(-0.3, 0.3, m), rng.uniform(0.31, 0.6, m)
    case = replace(case, grid=replace(
        case.grid, angle_min=middle - half, angle_max=middle + half, s_max=np.full(m, np.inf)
    ))  # fmt: skip
    problem = build_problem(case)
    model = cone_model(problem)
    first = np.minimum(problem.from_node, problem.to_node)
    second = np.maximum(problem.from_node, problem.to_node)
    low = np.full(model.n_pair, -np.inf)
    high = np.full(model.n_pair, np.inf)
    for k, p in enumerate(model.pair):
        limits = model.sense[k] * np.array([problem.angle_min[k], problem.angle_max[k]])
        low[p], high[p] = max(low[p], limits.min()), min(high[p], limits.max())
    for _ in range(50):
        share = {"anywhere": rng.uniform(size=problem.n_node), "least": 0.0, "most": 1.0}[end]
        v = problem.v_min + share * (problem.v_max - problem.v_min)
        angle = (
            rng.uniform(low, high) if end == "anywhere" else np.where(rng.integers(2), low, high)
        )
        product = np.zeros(model.n_pair, dtype=complex)
        product[model.pair] = (v[first] * v[second]) * np.exp(1j * angle[model.pair])
        s = 0.5 * (problem.sources.lower + problem.sources.upper)
        x = np.concatenate([v**2, product.real, product.imag, s])
        slack = (model.right - model.matrix @ x)[model.n_equal : model.n_equal + model.n_less]
        assert slack.min() > -1e-12
        if end != "anywhere":
            cuts = slack[-2 * model.n_pair :].reshape(2, -1)
            np.testing.assert_allclose(cuts[0 if end == "most" else 1], 0.0, atol=1e-12)


# --- the bound is a bound ----------------------------------------------------------------------
@pytest.mark.parametrize("seed", (1, 2, 3))
def test_no_multipliers_give_more_than_the_optimum(seed):
    case = case_of("24_ieee_rts")
    problem = build_problem(case)
    model = cone_model(problem)
    optimum = judged(case, solve(case)).cost
    rng = np.random.default_rng(seed)
    for size in (1e-3, 1.0, 1e3, 1e6):
        z = size * rng.standard_normal(model.right.size)
        x = rng.standard_normal(model.slope.size)
        assert certified_bound(model, x, z) < optimum
        assert not proves_infeasible(model, z)
    # multipliers that would make anything of the right-hand sides, if their residual were free
    z = np.where(np.arange(model.right.size) < model.n_equal, -1e4 * np.sign(model.right), 0.0)
    assert -model.right @ z > optimum
    assert certified_bound(model, np.zeros(model.slope.size), z) < optimum
    assert not proves_infeasible(model, z)


def test_the_optimum_is_a_point_of_the_relaxation():
    case = gridrl.load(FEATURES)  # taps, shifts, shunts, parallel branches in both directions
    problem = build_problem(case)
    model, found = cone_model(problem), solve(case)
    v = found.v[problem.substation, problem.busbar]
    product = v[problem.from_node] * v[problem.to_node].conj()
    x = np.zeros(model.slope.size)
    n, pairs = model.n_node, model.n_pair
    x[:n] = np.abs(v) ** 2
    x[n + model.pair] = product.real
    x[n + pairs + model.pair] = model.sense * product.imag
    sources = problem.sources
    for k in range(sources.n):  # no piecewise costs here: one source for each power
        x[n + 2 * pairs + k] = (found.q if sources.reactive[k] else found.p)[sources.unit[k]]
    assert (x > model.lower - 1e-7).all()
    assert (x < model.upper + 1e-7).all()
    slack = model.right - model.matrix @ x
    assert np.abs(slack[: model.n_equal]).max() < 1e-7
    assert slack[model.n_equal : model.n_equal + model.n_less].min() > -1e-7
    start = model.n_equal + model.n_less
    for size in model.cone:
        block = slack[start : start + size]
        assert block[0] > np.linalg.norm(block[1:]) - 1e-7
        start += size


def test_a_grid_that_cannot_be_supplied_is_proved_so():
    case = scale_load(case_of("118_ieee"), 3.0)
    for solver in ("soc", "interior_point"):
        solution = solve(case, solver)
        assert solution.status is OpfStatus.INFEASIBLE
        assert solution.proved
    assert "no dispatch exists" in solution.message


# --- switching ---------------------------------------------------------------------------------
def test_switching_saves_what_is_published_of_five_buses():
    case = case_of("5_pjm")
    solution = solve(case, "highs_switching", time_limit_s=20.0)
    switched = replace(case, topology=solution.case.topology)
    verdict = judged(switched, solution)
    assert solution.status is OpfStatus.OPTIMAL
    assert verdict.max_violation_pu < 1e-6
    # 15 174.0: every line tried by Ipopt, one at a time
    assert verdict.cost == pytest.approx(15174.0, abs=0.1)
    assert (~solution.case.topology.closed).sum() == 1
    none = solve(case, "highs_switching", max_open=0)
    assert none.case.topology.closed.all()


def test_a_switching_state_without_ac_dispatch_is_reported():
    solution = solve(case_of("30_ieee"), "highs_switching", time_limit_s=20.0)
    assert not solution.ok
    assert "AC found no dispatch there" in solution.message


def test_quadratic_costs_are_cut_into_pieces():
    case = case_of("30_as")
    solution = solve(case, "highs_switching", time_limit_s=20.0)
    # nothing to gain: the AC optimum of the grid as it is
    assert solution.case.topology.closed.all()
    assert judged(case, solution).cost == pytest.approx(pglib_files.published("30_as"), rel=DIGITS)


# --- wrong use ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("solver", "package", "extra"),
    (
        ("pypower", "pypower.api", "opf"),
        ("highs_dc", "highspy", "opf"),
        ("highs_switching", "highspy", "opf"),
        ("soc", "clarabel", "opf"),
        ("ipopt", "ipyopt", "ipopt"),
    ),
)
def test_a_missing_package_is_one_sentence(monkeypatch, solver, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"'{solver}' needs .*gridrl\[{extra}\]"):
        solve(case_of("5_pjm"), solver)


def test_an_unknown_setting_is_refused():
    with pytest.raises(GridError, match=r"'pypower' has no setting 'start'\. It has: tolerance"):
        solve(case_of("5_pjm"), "pypower", start="dc")


def test_what_pypower_cannot_express_is_named():
    case = case_of("14_ieee")
    grid = case.grid
    y = grid.y_tt.copy()
    y[2] += 0.01
    with pytest.raises(GridError, match=r"PYPOWER knows only symmetric .* 1 are not: line:3"):
        solve(replace(case, grid=replace(grid, y_tt=y)), "pypower")
    share = np.zeros(grid.n_unit)
    share[[kind == "load" for kind in grid.unit_kind]] = 0.5
    zip_case = replace(case, grid=replace(grid, i_share_p=share))
    for solver in ("pypower", "soc"):
        with pytest.raises(GridError, match="constant current"):
            solve(zip_case, solver)
    uneven = np.full(grid.n_branch, 2.0)
    with pytest.raises(GridError, match=r"one rating for both ends|rated in both ways"):
        solve(replace(case, grid=replace(grid, i_max_from=uneven)), "pypower")


def test_a_shift_of_half_a_turn_is_kept():
    case = case_of("14_ieee")
    grid = case.grid
    turned = replace(grid, y_ft=-grid.y_ft, y_tf=-grid.y_tf)
    made = tables(build_problem(replace(case, grid=turned)), "PYPOWER")
    same = tables(build_problem(case), "PYPOWER")
    np.testing.assert_allclose(np.abs(made.branch[:, 9]), 180.0)
    np.testing.assert_allclose(made.branch[:, 2:5], same.branch[:, 2:5], atol=1e-12)


def test_the_bound_holds_where_a_unit_has_no_limits():
    case = case_of("24_ieee_rts")
    grid = case.grid
    free = np.flatnonzero(grid.is_reference)
    unlimited = {
        name: np.where(np.isin(np.arange(grid.n_unit), free), sign * np.inf, getattr(grid, name))
        for name, sign in (("p_min", -1), ("p_max", 1), ("q_min", -1), ("q_max", 1))
    }
    loose = replace(case, grid=replace(grid, **unlimited))
    bound = solve(loose, "soc").lower_bound
    optimum = judged(loose, solve(loose)).cost
    assert bound < optimum * (1 + 1e-7)
    assert bound == pytest.approx(optimum, rel=2e-3)


@pytest.mark.parametrize("solver", ("soc", "highs_dc", "highs_switching"))
def test_costs_that_are_not_convex_are_refused(solver):
    case = case_of("30_as")
    costs = case.grid.costs
    for term, value in ((2, -1.0), (3, 1.0)):
        terms = np.pad(costs.coefficient, ((0, 0), (0, 4 - costs.coefficient.shape[1])))
        terms[2, term] = value
        bad = replace(case, grid=replace(case.grid, costs=replace(costs, coefficient=terms)))
        with pytest.raises(GridError, match=case.grid.unit_label[costs.unit[2]]):
            solve(bad, solver)


ONE_BUS = """function mpc = one
mpc.version = '2';
mpc.baseMVA = 100;
mpc.bus = [1 3 50 10 0 0 1 1 0 220 1 1.1 0.9];
mpc.gen = [1 0 0 100 -100 1 100 1 200 0];
mpc.branch = [];
mpc.gencost = [2 0 0 3 0.01 10 5];
"""


@pytest.mark.parametrize("solver", ("highs_dc", "highs_switching", "soc", "pandapower"))
def test_a_single_bus_is_a_grid_too(solver, tmp_path):
    file = tmp_path / "one.m"
    file.write_text(ONE_BUS)
    case = gridrl.load(file)
    # 0.01 50^2 + 10 50 + 5
    assert judged(case, solve(case, solver)).cost == pytest.approx(530.0, abs=1e-3)


@pytest.mark.parametrize("solver", ("pandapower", "highs_dc", "soc"))
def test_islands_are_each_solved(solver):
    case = gridrl.open_elements(case_of("14_ieee"), ["line:14"])  # cuts off bus 8 and its unit
    ours, theirs = solve(case), solve(case, solver)
    assert theirs.status is OpfStatus.OPTIMAL
    with pytest.raises(GridError, match="PYPOWER solves one island, and this state has 2"):
        solve(case, "pypower")
    if solver == "soc":
        assert theirs.lower_bound == pytest.approx(judged(case, ours).cost, rel=0.01)
    elif solver != "highs_dc":
        assert judged(case, theirs).cost == pytest.approx(judged(case, ours).cost, rel=1e-5)
        assert judged(case, theirs).max_violation_pu < 1e-5


def test_without_voltage_limits_there_is_no_bound():
    case = case_of("14_ieee")
    grid = case.grid
    limitless = np.full(grid.n_substation, np.inf)
    solution = solve(replace(case, grid=replace(grid, v_max=limitless)), "soc")
    assert not np.isfinite(solution.lower_bound) or solution.lower_bound < 2178.1
