"""The linear program against DC flows solved anew, and against SciPy's solution of all its rows."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

import gridrl
from gridrl.powerflow.dc import dc_flow
from gridrl.powerflow.options import FlowOptions
from gridrl.security import n_minus_1
from gridrl.security.topologies import secure_topologies, state_of
from gridrl.whatif.dispatch_program import (
    AIM,
    INTACT_PRICE,
    OVERLOAD_PRICE,
    WORST_PRICE,
    Answers,
    Linearised,
    cheapest_change,
    linearise,
)
from gridrl.whatif.stress import Stress, stressed_case


@pytest.mark.parametrize("name", ("case39", "case118", "case300"))
def test_rows_are_what_the_dc_flow_does_after_a_loss(name):
    case = gridrl.load(name)
    grid = case.grid
    rng = np.random.default_rng(7)
    units = np.flatnonzero(~grid.is_reference & (case.topology.busbar[0, 2 * grid.n_branch :] > 0))
    free = rng.choice(units, 6, replace=False)
    branch = rng.choice(grid.n_branch, 20, replace=False)
    answers = Answers(case)
    checked = 0
    for lost in (-1, *rng.choice(grid.n_branch, 8, replace=False)):
        rows = answers.rows_of(branch, np.full(branch.size, lost), free)
        closed = case.topology.closed.copy()
        closed[0, lost] &= lost < 0
        topology = replace(case.topology, closed=closed)
        base = dc_flow(case, topology=topology)
        if np.isnan(base.theta).sum() > np.isnan(dc_flow(case).theta).sum():
            continue  # it cuts the grid
        for k, unit in enumerate(free):
            p = case.injection.p.copy()
            p[0, unit] += 1.0
            moved = dc_flow(case, topology=topology, injection=replace(case.injection, p=p))
            want = (moved.p_from - base.p_from)[0, branch]
            kept = branch != lost
            np.testing.assert_allclose(rows[kept, k], want[kept], atol=1e-8)
            checked += 1
    assert checked > 20


def random_program(seed: int) -> tuple[Linearised, tuple[np.ndarray, ...]]:
    """More rows than are given to the solver at once, some that cannot be kept."""
    rng = np.random.default_rng(seed)
    n, m = 12, 150
    linear = Linearised(
        free=np.arange(n), rows=rng.normal(size=(m, n)), left=rng.uniform(-0.8, 1.5, m),
        intact=rng.random(m) < 0.2, room=(-0.7, 0.9),
    )  # fmt: skip
    low, high = -rng.uniform(0.0, 2.0, n), rng.uniform(0.0, 2.0, n)
    return linear, (low, high, rng.uniform(1.0, 5.0, n))


@pytest.mark.parametrize("seed", range(8))
def test_rows_added_as_they_break_give_the_optimum_of_all_rows(seed):
    linear, (low, high, price) = random_program(seed)
    n, m = linear.free.size, linear.left.size
    change = np.random.default_rng(seed + 100).uniform(low, high) * 0.3
    found = cheapest_change(linear, change, low, high, price)
    right = linear.left + linear.rows @ change
    over = np.where(linear.intact, INTACT_PRICE, OVERLOAD_PRICE)
    cost = np.concatenate([price, price, over, [WORST_PRICE]])
    one, none = np.ones((m, 1)), np.zeros((m, 2 * n))
    balance = np.concatenate([np.ones(n), -np.ones(n), np.zeros(m + 1)])
    want = linprog(
        cost,
        A_ub=np.concatenate([
            np.concatenate([linear.rows, -linear.rows, -np.eye(m), 0 * one], axis=1),
            np.concatenate([none, np.eye(m), -one], axis=1), balance[None], -balance[None],
        ]),
        b_ub=np.concatenate(
            [right, np.zeros(m), [change.sum() + 0.9, -(change.sum() - 0.7)]]
        ),
        bounds=[(0, x) for x in high] + [(0, -x) for x in low] + [(0, None)] * (m + 1),
    )  # fmt: skip
    excess = np.maximum(linear.rows @ found - right, 0.0)
    value = price @ np.abs(found) + over @ excess + WORST_PRICE * excess.max()
    np.testing.assert_allclose(value, want.fun, rtol=1e-6)
    assert (found <= high + 1e-9).all()
    assert (found >= low - 1e-9).all()


def test_the_linearisation_is_that_of_the_ac_power_flow():
    case = stressed_case(Stress(case="case118", outage=("line:13",), seed=7))
    grid, contingencies = case.grid, n_minus_1(case)
    found = secure_topologies(case, case.topology, contingencies)
    free = np.flatnonzero((np.array(grid.unit_kind) == "gen") & ~grid.is_reference)
    linear = linearise(Answers(case), case, found, contingencies, free, FlowOptions())
    rng = np.random.default_rng(3)
    predicted, real = [], []
    for _ in range(12):
        step = np.zeros(grid.n_unit)
        step[free] = rng.uniform(-0.05, 0.05, free.size)
        moved = replace(case, injection=replace(case.injection, p=case.injection.p + step))
        after = secure_topologies(moved, moved.topology, contingencies)
        worst = max(float(after.loading[0]), float(np.nanmax(after.pair_loading)))
        predicted.append((linear.rows @ step[linear.free] - linear.left).max())
        real.append(worst - AIM)
    np.testing.assert_allclose(predicted, real, atol=0.1 * np.ptp(real))  # Q follows, too


def test_a_sweep_is_a_state_with_its_contingencies():
    case = gridrl.load("case118")
    contingencies = n_minus_1(case)
    swept = state_of(gridrl.security(case, contingencies=contingencies))
    solved = secure_topologies(case, case.topology, contingencies)
    np.testing.assert_array_equal(swept.pair_status, solved.pair_status)
    np.testing.assert_allclose(swept.pair_loading, solved.pair_loading, atol=1e-6)
    np.testing.assert_allclose(swept.pair_lost, solved.pair_lost, atol=1e-9)
    np.testing.assert_allclose(swept.loading, solved.loading, atol=1e-6)
    np.testing.assert_array_equal(swept.voltage, solved.voltage)
