"""Outages that the base's own factors carry, against single power flows by Newton's method."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gridrl
from gridrl.case import Case
from gridrl.io.pandapower import load_pandapower
from gridrl.powerflow import FlowOptions, FlowStatus
from gridrl.powerflow.engine import prepare
from gridrl.security import SecurityOptions, n_minus_1, security
from gridrl.security.carried import carried
from gridrl.security.kernels_bridges import bridges
from gridrl.security.sweep import _changes
from gridrl.security.topologies import secure_topologies
from tests.whatif.test_edits import storage_ring

ATOL = 1e-7  # both stop at a mismatch of 1e-8 p.u.


def _crowded() -> Case:
    """Machines that share a bus with different set points, part of their power by impedance."""
    import pandapower as pp

    net = storage_ring()
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.9, 1.1
    bus = int(net.gen.bus.iloc[0])
    pp.create_gen(net, bus, p_mw=7.0, vm_pu=float(net.gen.vm_pu.iloc[0]))
    far = pp.create_bus(net, vn_kv=float(net.bus.vn_kv.loc[bus]), min_vm_pu=0.9, max_vm_pu=1.1)
    pp.create_line_from_parameters(net, bus, far, 5.0, 0.1, 0.4, 10.0, 0.4)
    pp.create_gen(net, far, p_mw=3.0, vm_pu=1.01)
    pp.create_load(net, far, p_mw=8.0, q_mvar=2.0, const_z_p_percent=40.0, const_i_q_percent=30.0)
    pp.create_sgen(net, far, p_mw=4.0, q_mvar=-1.0)
    return load_pandapower(net, name="crowded")


CASES = {
    "crowded": _crowded,
    "case39": lambda: gridrl.load("case39"),
    "case118": lambda: gridrl.load("case118"),
    "illinois": lambda: gridrl.load("case_illinois200"),
    "GBreduced": lambda: gridrl.load("GBreducednetwork"),
}


def _kinds(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Which contingencies of N-1 are carried and cut nothing off, and which cut something off."""
    model = prepare(case).model
    found = carried(model, *_changes(model, n_minus_1(case)), limited=False)
    return found.which & ~found.cuts, found.cuts


@pytest.mark.parametrize("name", CASES)
def test_a_carried_outage_is_what_a_single_flow_finds(name: str) -> None:
    case = CASES[name]()
    result, grid = security(case), case.grid
    plain, cuts = _kinds(case)
    machine = np.array(
        [grid.element_kind[e[0]] in ("gen", "sgen") for e in result.contingencies.elements]
    )
    assert (machine & plain).any()
    some = [np.flatnonzero(part) for part in (plain & machine, cuts, plain & ~machine)]
    for k in np.concatenate([part[:: max(1, part.size // 15)] for part in some]).tolist():
        element = result.contingencies.elements[k][0]
        out = f"{grid.element_kind[element]}:{grid.element_id[element]}"
        single = gridrl.flow(gridrl.open_elements(case, [out]))
        assert single.status[0] == result.status[k], out
        if not single.solved()[0]:
            continue
        assert np.nanmax(single.loading()) == pytest.approx(result.loading[k], abs=ATOL), out
        lost = single.lost_demand[0] - result.base.lost_demand[0]
        assert result.lost_load[k] == pytest.approx(lost, abs=1e-9), out
        v, node = np.abs(single.v[0]), int(result.voltage_node[k])
        assert (node < 0) == np.isnan(result.voltage[k]), out
        if node < 0:  # no bus has limits
            continue
        assert v[node] == pytest.approx(result.voltage[k], abs=ATOL), out
        beyond = np.maximum(v - grid.v_max[: v.size], grid.v_min[: v.size] - v)
        beyond[grid.is_star[: v.size]] = -np.inf
        if np.nanmax(beyond) > 1e-6:  # within the limits, "nearest" is by squares
            assert np.nanmax(beyond) == pytest.approx(beyond[node], abs=1e-6), out
        dark = np.isnan(single.v[0]) & ~np.isnan(result.base.v[0])
        gone = dark[grid.unit_substation] & (case.topology.busbar[0, 2 * grid.n_branch :] > 0)
        gone |= grid.unit_element == element
        infeed = np.array([kind in ("gen", "sgen", "ext_grid") for kind in grid.unit_kind])
        want = np.maximum(case.injection.p[0][gone & infeed], 0.0).sum()
        assert result.lost_generation[k] == pytest.approx(want, abs=1e-9), out


@pytest.mark.parametrize("name", CASES)
def test_states_carry_the_same_outages(name: str) -> None:
    case = CASES[name]()
    contingencies = n_minus_1(case)
    want = security(case, contingencies=contingencies)
    found = secure_topologies(case, case.topology, contingencies)
    np.testing.assert_array_equal(found.pair_status, want.status)
    np.testing.assert_allclose(found.pair_loading, want.loading, atol=ATOL)
    np.testing.assert_allclose(found.pair_volt, want.voltage, atol=ATOL)
    np.testing.assert_allclose(found.pair_lost - found.lost[0], want.lost_load, atol=1e-9)


def test_a_generator_that_takes_over_an_island_keeps_it_alive() -> None:
    case = _crowded()
    options = FlowOptions(island_rule="generator")
    dead = security(case)
    kept = security(case, contingencies=dead.contingencies, options=SecurityOptions(flow=options))
    feeder = [k for k in np.flatnonzero(dead.lost_load > 0) if kept.lost_load[k] == 0]
    assert feeder, "the bus at the end of its line has a machine of its own"
    found = secure_topologies(case, case.topology, dead.contingencies, options=options)
    np.testing.assert_allclose(found.pair_lost, kept.lost_load, atol=1e-9)
    np.testing.assert_array_equal(found.pair_status, kept.status)


def test_what_is_dark_is_outside_no_limit() -> None:
    """A bus far outside its limits counts until an outage cuts it off."""
    case = _crowded()
    low = case.grid.v_min.copy()
    low[-1] = 1.5
    case = replace(case, grid=replace(case.grid, v_min=low))
    found = secure_topologies(case, case.topology, n_minus_1(case))
    cut = found.pair_status == FlowStatus.ISLANDED
    assert cut.any()
    assert (found.pair_voltage[cut] == 0).any()
    assert (found.pair_voltage[found.pair_status == FlowStatus.OK] == 1).all()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 30), m=st.integers(1, 45), seed=st.integers(0, 999))
def test_a_bridge_cuts_off_what_networkx_says(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    f, t = rng.integers(n, size=(2, m))
    f, t = np.where(f == t, -1, f), np.where(f == t, -1, t)
    sources = rng.integers(n, size=2)
    side, order, first, last = bridges(n, f, t, sources)
    graph = nx.MultiGraph()
    graph.add_nodes_from(range(n + 1))
    graph.add_edges_from((a, b, k) for k, (a, b) in enumerate(zip(f, t, strict=True)) if a >= 0)
    graph.add_edges_from((n, s, m + k) for k, s in enumerate(sources))
    supplied = nx.node_connected_component(graph, n)
    for k in np.flatnonzero(side):
        if f[k] not in supplied:
            continue
        graph.remove_edge(f[k], t[k], k)
        left = nx.node_connected_component(graph, n)
        graph.add_edge(f[k], t[k], k)
        assert set(order[first[k] : last[k]].tolist()) == supplied - left
        assert (f if side[k] == 1 else t)[k] in left
