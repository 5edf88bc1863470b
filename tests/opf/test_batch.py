"""Many states at once against each of them alone, and what leaves the common pattern."""

from dataclasses import replace

import numpy as np
import pytest

import gridrl
from gridrl.errors import GridError
from gridrl.grid import Injection, Topology
from gridrl.opf import OpfStatus, solve, solve_many, verify
from tests.cases import pglib_files

# Both ends of every comparison are solved to 1e-8, scaled.
COST = 1e-7


@pytest.fixture(scope="module")
def case30():
    return gridrl.load(pglib_files.path_of("30_ieee"))


def loads(case, size, width=0.1, seed=1):
    rng = np.random.default_rng(seed)
    factor = rng.uniform(1 - width, 1 + width, (size, case.grid.n_unit))
    own = case.injection
    return Injection(p=own.p * factor, q=own.q * factor, v_set=np.repeat(own.v_set, size, 0))


def outages(case, branches):
    size = len(branches)
    closed = np.repeat(case.topology.closed, size, 0)
    closed[np.arange(size), branches] = False
    return Topology(busbar=np.repeat(case.topology.busbar, size, 0), closed=closed)


def cost(case, found):
    verdict = verify(case, found.p, found.q, found.v)
    served = [v.amount_pu for v in verdict.violations if v.kind != "unserved"]
    assert max(served) < 1e-6
    return verdict.cost


def agree(batch):
    """Every state as a problem of its own has the same optimum, or none either."""
    for k in range(len(batch)):
        alone = solve(batch.case_of(k))
        assert batch.status[k] == alone.status
        if alone.ok:
            found = batch.solution(k)
            assert cost(found.case, found) == pytest.approx(cost(alone.case, alone), rel=COST)
            np.testing.assert_allclose(batch.price_p[k], alone.price_p, rtol=1e-3, atol=1e-2)
            np.testing.assert_allclose(batch.v[k], alone.v, atol=1e-3)


@pytest.mark.parametrize("threads", (1, 2))
def test_loads_are_solved_as_alone(case30, threads):
    agree(solve_many(case30, loads(case30, 20), threads=threads))


def test_outages_share_the_pattern_and_are_solved_as_alone(case30):
    """All of them: bridges cut something off and are solved on their own."""
    batch = solve_many(case30, topology=outages(case30, range(case30.grid.n_branch)))
    agree(batch)
    assert (batch.status == OpfStatus.ISLANDED).any()
    assert 30 < batch.shared.sum() < len(batch)


def test_loads_that_depend_on_voltage_and_fixed_units_are_kept(case30):
    """Constant-current and constant-impedance shares, another load in every state."""
    grid = case30.grid
    load = np.array([kind == "load" for kind in grid.unit_kind])
    grid = replace(
        grid,
        i_share_p=np.where(load, 0.3, grid.i_share_p),
        z_share_q=np.where(load, 0.4, grid.z_share_q),
    )
    case = replace(case30, grid=grid)
    agree(solve_many(case, loads(case, 6), outages(case, [0, 3, 5, 8, 20, 30])))


def test_a_warm_start_saves_iterations_and_changes_nothing(case30):
    base = solve(case30)
    injection = loads(case30, 20, 0.05)
    cold = solve_many(case30, injection)
    warm = solve_many(case30, injection, warm=base)
    assert warm.iterations.mean() < 0.4 * cold.iterations.mean()
    for k in range(20):
        a, b = cold.solution(k), warm.solution(k)
        assert cost(a.case, a) == pytest.approx(cost(b.case, b), rel=COST)


def test_kept_states_are_where_each_state_ended(case30):
    injection = loads(case30, 5)
    first = solve_many(case30, injection, keep_state=True)
    again = solve_many(case30, injection, warm=first.state)
    assert again.iterations.max() <= 4
    one = solve(first.case_of(3), warm=first.solution(3))
    assert one.iterations <= 4
    assert one.start == "warm"


def test_infeasible_states_are_rows(case30):
    own = case30.injection
    factor = np.array([[1.0], [3.0]])
    injection = Injection(p=own.p * factor, q=own.q * factor, v_set=np.repeat(own.v_set, 2, 0))
    batch = solve_many(case30, injection)
    assert batch.ok.tolist() == [True, False]
    assert batch.status[1] == OpfStatus.INFEASIBLE


def test_another_set_point_or_split_is_solved_on_its_own(case30):
    busbar = case30.topology.busbar.copy()
    at = np.flatnonzero(case30.grid.terminal_substation == case30.grid.from_substation[12])
    busbar[0, at[::2]] = 2
    split = Topology(
        busbar=np.concatenate([case30.topology.busbar, busbar]),
        closed=np.repeat(case30.topology.closed, 2, 0),
    )
    batch = solve_many(case30, topology=split)
    assert batch.shared.tolist() == [True, False]
    # Ipopt 3.14 on the same state
    assert cost(batch.case_of(1), batch.solution(1)) == pytest.approx(8198.75359, rel=1e-7)


def test_progress_counts_to_the_end(case30):
    seen = []
    solve_many(case30, loads(case30, 40), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (40, 40)
    assert len(seen) > 1


def test_lengths_that_do_not_fit_are_refused(case30):
    with pytest.raises(GridError, match="3 injections but 2 topologies"):
        solve_many(case30, loads(case30, 3), outages(case30, [1, 2]))
    with pytest.raises(GridError, match="another grid"):
        solve_many(gridrl.load("case14"), loads(case30, 3))
