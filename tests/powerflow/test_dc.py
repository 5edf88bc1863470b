"""The DC power flow against pandapower's, and against the AC one where it must agree."""

import numpy as np
import pandapower as pp
import pytest

from gridrl.grid import Injection, Topology
from gridrl.io.pandapower import build_named, load_pandapower
from gridrl.powerflow import FlowStatus
from gridrl.powerflow.dc import dc_flow
from tests.cases import zoo

ENDS = {"line": "from", "trafo": "hv"}


@pytest.mark.parametrize("name", ("case14", "case118", "case300", "case89pegase", "iceland"))
def test_flows_equal_rundcpp(name):
    assert_equals_rundcpp(build_named(name), name)


@pytest.mark.parametrize("build", (zoo.unequal_lines, zoo.several_references, zoo.islands,
                                   zoo.shunts), ids=lambda b: b.__name__)  # fmt: skip
def test_odd_elements_equal_rundcpp(build):
    assert_equals_rundcpp(build(), build.__name__)


def assert_equals_rundcpp(net, name):
    case = load_pandapower(net, name=name)
    result = dc_flow(case)
    pp.rundcpp(net, calculate_voltage_angles=True)
    for k in range(case.grid.n_branch):
        element = int(case.grid.branch_element[k])
        kind = case.grid.element_kind[element]
        if kind in ENDS:
            row = net[f"res_{kind}"].loc[int(case.grid.element_id[element])]
            want = np.nan_to_num(row[f"p_{ENDS[kind]}_mw"]) / case.grid.s_base_mva
            assert result.p_from[0, k] == pytest.approx(want, abs=1e-8)
    angle = np.rad2deg(result.theta[0][case.grid.bus_substation])
    np.testing.assert_allclose(angle, net.res_bus.va_degree, rtol=0, atol=1e-6)


def test_a_batch_of_injections_is_linear():
    case = load_pandapower(build_named("case118"), name="case118")
    twice = Injection(
        p=np.concatenate([case.injection.p, 2 * case.injection.p]),
        q=np.repeat(case.injection.q, 2, axis=0), v_set=np.repeat(case.injection.v_set, 2, axis=0),
    )  # fmt: skip
    one, two = dc_flow(case, injection=twice).p_from
    np.testing.assert_allclose(two, 2 * one, atol=1e-9)


def test_splits_and_islands():
    case = load_pandapower(build_named("case14"), name="case14")
    busbar = np.repeat(case.topology.busbar, 2, axis=0)
    closed = np.repeat(case.topology.closed, 2, axis=0)
    terminals = np.flatnonzero(case.grid.terminal_substation == 3)
    busbar[0, terminals[:2]] = 2
    closed[1, case.grid.find_element("line:0")] = False
    closed[1, case.grid.find_element("line:1")] = False
    result = dc_flow(case, topology=Topology(busbar=busbar, closed=closed))
    assert result.status[1] == FlowStatus.ISLANDED
    node = np.where(busbar[0] == 2, result.second_node[3], case.grid.terminal_substation)
    net = np.zeros(result.theta.shape[1])
    n = case.grid.n_branch
    np.add.at(net, node[:n], -result.p_from[0])
    np.add.at(net, node[n : 2 * n], result.p_from[0])
    np.add.at(net, node[2 * n :], case.injection.p[0])
    slack = case.grid.unit_substation[case.grid.is_reference]
    net[slack] = 0.0
    np.testing.assert_allclose(net[~np.isnan(result.theta[0])], 0.0, atol=1e-9)
