"""Batches of switching states with their outages, against one sweep for each state."""

from dataclasses import replace

import numpy as np
import pytest

import gridrl
from gridrl.actions import apply_actions, unitary_actions
from gridrl.errors import GridError
from gridrl.grid import Topology
from gridrl.powerflow.engine import prepare
from gridrl.powerflow.options import FlowOptions, FlowStatus
from gridrl.security import SecurityOptions, n_minus_1, security
from gridrl.security.contingency import Contingencies
from gridrl.security.topologies import PART, secure_topologies
from gridrl.security.topology_result import taken_together

# Both stop at a mismatch of 1e-8 p.u.; seen: 2e-10.
ATOL = 1e-6


def some_states(case, n, seed=1):
    actions = unitary_actions(case, most=64)
    chosen = np.random.default_rng(seed).permutation(len(actions))[:n]
    return apply_actions(case, actions, [(int(k),) for k in chosen])


@pytest.mark.parametrize(("name", "n"), (("case14", 40), ("case39", 30), ("case118", 12)))
def test_each_state_has_the_n_minus_1_of_its_own_sweep(name, n):
    case = gridrl.load(name)
    topology = some_states(case, n)
    contingencies = n_minus_1(case)
    found = secure_topologies(case, topology, contingencies)
    compared = 0
    for k in range(n):
        alone = replace(
            case,
            topology=Topology(busbar=topology.busbar[k : k + 1], closed=topology.closed[k : k + 1]),
        )
        want = security(alone, contingencies=contingencies)
        got = found.state(k)
        assert got.status[0] == want.base.status[0]
        if not want.base.solved()[0]:
            assert np.isnan(got.pair_loading).all()
            continue
        np.testing.assert_array_equal(np.isnan(got.pair_loading), np.isnan(want.loading))
        np.testing.assert_allclose(got.pair_loading, want.loading, atol=ATOL)
        np.testing.assert_allclose(got.loading[0], np.nanmax(want.base.loading(0)), atol=ATOL)
        lost = want.lost_load + want.base.lost_demand[0]
        np.testing.assert_allclose(got.pair_lost, lost, atol=ATOL)
        worst = int(np.nanargmax(want.loading))
        assert got.pair_branch[worst] == want.branch[worst]
        compared += 1
    assert compared > n // 2


def test_some_contingencies_of_each_state_are_those_of_all(case14):
    topology, contingencies = some_states(case14, 9), n_minus_1(case14)
    whole = secure_topologies(case14, topology, contingencies)
    rng = np.random.default_rng(0)
    picked = [np.sort(rng.permutation(len(contingencies))[: 1 + k % 4]) for k in range(9)]
    of = np.concatenate([[0], np.cumsum([p.size for p in picked])])
    part = secure_topologies(case14, topology, contingencies, only=(of, np.concatenate(picked)))
    assert part.solves == 9 + of[-1]
    for k in range(9):
        np.testing.assert_allclose(
            part.state(k).pair_loading, whole.state(k).pair_loading[picked[k]], atol=1e-9
        )
    both = taken_together([whole.state(2), whole.state(5)])
    np.testing.assert_array_equal(both.state(1).pair_loading, whole.state(5).pair_loading)


def test_one_engine_for_all_gives_the_same(case14):
    topology, contingencies = some_states(case14, 30), n_minus_1(case14)
    used = (topology.busbar == 2).any(axis=0)
    engine = prepare(case14, split=np.unique(case14.grid.terminal_substation[used]))
    one = secure_topologies(case14, topology, contingencies, engine=engine)
    many = secure_topologies(case14, topology, contingencies)
    np.testing.assert_allclose(one.pair_loading, many.pair_loading, atol=ATOL)
    with pytest.raises(GridError, match="not prepared for"):
        secure_topologies(case14, topology, contingencies, engine=prepare(case14))


def test_reactive_limits_are_those_of_the_sweep(case14):
    options = FlowOptions(enforce_q_limits=True)
    topology, contingencies = some_states(case14, 3), n_minus_1(case14)
    found = secure_topologies(case14, topology, contingencies, options=options)
    free = secure_topologies(case14, topology, contingencies)
    alone = replace(
        case14, topology=Topology(busbar=topology.busbar[:1], closed=topology.closed[:1])
    )
    want = security(alone, contingencies=contingencies, options=SecurityOptions(flow=options))
    np.testing.assert_array_equal(found.state(0).pair_loading, want.loading)
    assert np.nanmax(np.abs(found.pair_loading - free.pair_loading)) > 1e-4


def test_a_state_that_cuts_demand_off_says_how_much(case14):
    # Bus 14 hangs on two lines; with both open its 14.9 MW are lost.
    grid = case14.grid
    ends = (grid.from_substation == 13) | (grid.to_substation == 13)
    closed = case14.topology.closed.copy()
    closed[0, ends] = False
    topology = replace(case14.topology, closed=closed)
    found = secure_topologies(case14, topology, Contingencies(name=(), elements=()))
    assert found.status[0] == FlowStatus.ISLANDED
    assert found.lost[0] * grid.s_base_mva == pytest.approx(14.9)


def test_an_outage_of_what_is_open_already_changes_nothing(case14):
    closed = case14.topology.closed.copy()
    closed[0, 3] = False
    topology = replace(case14.topology, closed=closed)
    contingencies = n_minus_1(case14)
    at = contingencies.elements.index((int(case14.grid.branch_element[3]),))
    found = secure_topologies(case14, topology, contingencies)
    assert found.pair_loading[at] == found.loading[0]


def test_threads_do_not_change_what_is_found():
    """More outages than one thread takes."""
    case = gridrl.load("case_illinois200")
    topology, contingencies = some_states(case, 12), n_minus_1(case)
    one, two = (
        secure_topologies(case, topology, contingencies, options=FlowOptions(threads=threads))
        for threads in (1, 2)
    )
    assert one.contingency.size > 2 * PART
    np.testing.assert_array_equal(one.pair_status, two.pair_status)
    np.testing.assert_allclose(one.pair_loading, two.pair_loading, atol=ATOL)
    np.testing.assert_allclose(one.pair_lost, two.pair_lost, atol=1e-12)
