"""What an island without a reference does, under either rule; truth is pandapower on the pieces."""

import numpy as np
import pandapower as pp
import pytest

import gridrl
from gridrl.io.pandapower import build_named, load_pandapower
from gridrl.powerflow import FlowOptions, FlowStatus, flow
from gridrl.powerflow.engine import prepare
from gridrl.security import SecurityOptions, security
from tests.cases.pandapower_oracle import solve

FOLLOW = FlowOptions(island_rule="generator")


def cut_in_two():
    """case39 without trafo 1 and its like: the external grid's machine stands alone."""
    net = build_named("case39")
    case = load_pandapower(net, name="case39")
    alone = int(net.ext_grid.bus.iloc[0])
    names = [
        f"line:{k}"
        for k in net.line.index[(net.line.from_bus == alone) | (net.line.to_bus == alone)]
    ]
    names += [
        f"trafo:{k}"
        for k in net.trafo.index[(net.trafo.hv_bus == alone) | (net.trafo.lv_bus == alone)]
    ]
    for name in names:
        kind, ident = name.split(":")
        net[kind].loc[int(ident), "in_service"] = False
    return net, case, gridrl.open_elements(case, names)


def test_by_default_the_island_is_dead():
    _, _, cut = cut_in_two()
    result = flow(cut)
    assert result.status[0] == FlowStatus.ISLANDED
    assert result.lost_demand[0] > 50


def test_the_largest_generator_takes_over():
    net, case, cut = cut_in_two()
    largest = net.gen.max_p_mw.idxmax()
    result = flow(cut, options=FOLLOW)
    assert result.status[0] == FlowStatus.OK
    assert result.lost_demand[0] == pytest.approx(0, abs=1e-9)
    net.gen.loc[largest, "slack"] = True
    assert solve(net)
    vm = np.abs(result.v[0][case.grid.bus_substation])
    np.testing.assert_allclose(vm, net.res_bus.vm_pu, rtol=0, atol=1e-7)
    lines = [
        k
        for k in range(case.grid.n_branch)
        if case.grid.element_kind[case.grid.branch_element[k]] == "line"
    ]
    np.testing.assert_allclose(
        result.s_from[0][lines].real * case.grid.s_base_mva, net.res_line.p_from_mw, atol=1e-4
    )


def test_a_batch_and_a_sweep_follow_the_same_rule():
    _, case, cut = cut_in_two()
    alone = flow(cut, options=FOLLOW)
    batch = prepare(case, options=FOLLOW).flow(topology=cut.topology)
    np.testing.assert_allclose(batch.s_from, alone.s_from, rtol=0, atol=1e-6)
    injected = prepare(cut, options=FOLLOW).flow(
        injection=gridrl.Injection(
            p=np.repeat(cut.injection.p, 9, axis=0), q=np.repeat(cut.injection.q, 9, axis=0),
            v_set=np.repeat(cut.injection.v_set, 9, axis=0),
        )
    )  # fmt: skip
    np.testing.assert_allclose(injected.v, np.repeat(alone.v, 9, axis=0), rtol=0, atol=1e-7)
    sweep = security(case, options=SecurityOptions(flow=FOLLOW))
    assert "ext_grid" not in {case.grid.element_kind[e[0]] for e in sweep.contingencies.elements}
    dead = security(case)
    assert sweep.lost_load.max() < dead.lost_load.max()


def test_losing_the_reference_generator_is_a_contingency_under_that_rule():
    net = build_named("case118")
    pp.create_gen(net, int(net.ext_grid.bus.iloc[0]), p_mw=500.0, vm_pu=net.ext_grid.vm_pu.iloc[0],
                  slack=True, max_p_mw=800.0)  # fmt: skip
    net.ext_grid = net.ext_grid.iloc[:0]
    case = load_pandapower(net, name="no external grid")
    result = security(case, options=SecurityOptions(flow=FOLLOW))
    slack = next(k for k, e in enumerate(result.contingencies.elements)
                 if case.grid.is_reference[case.grid.unit_element == e[0]].any())  # fmt: skip
    assert result.status[slack] == FlowStatus.OK
    assert slack is not None
    assert len(security(case).contingencies) == len(result.contingencies) - 1


def test_nothing_left_is_a_blackout():
    _, case, _ = cut_in_two()
    units = [f"{k}:{i}" for k, i in zip(case.grid.element_kind, case.grid.element_id, strict=True)
             if k == "ext_grid"]  # fmt: skip
    with pytest.raises(gridrl.GridError, match="external grid"):
        flow(gridrl.open_elements(case, units))
    assert flow(gridrl.open_elements(case, units), options=FOLLOW).status[0] == FlowStatus.OK


def test_a_generator_that_took_over_keeps_its_voltage_under_reactive_limits():
    _, _, cut = cut_in_two()
    options = FlowOptions(island_rule="generator", enforce_q_limits=True)
    result = flow(cut, options=options)
    assert result.status[0] == FlowStatus.OK
    free = flow(cut, options=FOLLOW)
    leader = int(np.nanargmax(np.where(cut.grid.controls_voltage, cut.grid.p_max, np.nan)))
    node = int(cut.grid.unit_substation[leader])
    assert abs(result.v[0, node]) == pytest.approx(abs(free.v[0, node]), abs=1e-12)
