"""Voltages brought within their limits; pandapower solves what is recommended, before and after."""

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks
import pytest

import gridrl
from gridrl.case import Case
from gridrl.edit import scale_load
from gridrl.io.pandapower import load_pandapower
from gridrl.security import n_minus_1, security
from gridrl.security.topologies import secure_topologies
from gridrl.whatif import Study, apply_edits, parse_edit
from gridrl.whatif.outlook import outside
from gridrl.whatif.remedial import RemedialOptions, recommend
from gridrl.whatif.voltages import voltage_standing
from tests.whatif.test_edits import storage_ring

ATOL = 1e-6  # p.u.: both programs are converged to 1e-8 p.u. of power


def medium_voltage() -> Any:
    """A distribution grid on a winter evening, without thermal limits; transformers know taps."""
    net = pandapower.networks.mv_oberrhein()
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.96, 1.05
    net.load[["p_mw", "q_mvar"]] *= 1.1
    net.sgen["in_service"] = False
    net.trafo["tap_pos"] = 3
    net.line["max_i_ka"], net.trafo["df"] = 10.0, 10.0
    return net


def long_feeder() -> Any:
    """A feeder whose end is low: a tap changer with few positions, a switched shunt at the end."""
    net = storage_ring()
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.97, 1.06
    at = int(net.trafo.lv_bus.iloc[0])
    end = pp.create_bus(net, float(net.bus.vn_kv[at]), min_vm_pu=0.97, max_vm_pu=1.06)
    pp.create_line_from_parameters(net, at, end, 8.0, 0.3, 0.35, 10.0, 0.4)
    pp.create_load(net, end, 3.0, 1.2)
    pp.create_shunt(net, end, q_mvar=-0.5, p_mw=0.0, step=0, max_step=4)
    return net


def photovoltaics() -> Any:
    """Much sun on a feeder whose source is not steered: only the infeed can bring it down."""
    net = pp.create_empty_network(sn_mva=1.0)
    bus = [pp.create_bus(net, 0.4, min_vm_pu=0.9, max_vm_pu=1.04) for _ in range(6)]
    net.bus.loc[bus[0], ["min_vm_pu", "max_vm_pu"]] = 1.02
    pp.create_ext_grid(net, bus[0], 1.02)
    for a, b in itertools.pairwise(bus):
        pp.create_line_from_parameters(net, a, b, 0.1, 0.208, 0.08, 261.0, 0.27)
        pp.create_load(net, b, 0.002, 0.0005)
        pp.create_sgen(net, b, 0.02, max_p_mw=0.02, min_p_mw=0.0, controllable=False)
    return net


def done(net: Any, edits: list[dict[str, Any]]) -> Any:
    """The edits made in pandapower's own tables."""
    net = copy.deepcopy(net)
    for edit in edits:
        verb = next(iter(edit))
        table, _, row = edit[verb].partition(":")
        column, value = {
            "voltage": ("vm_pu", edit.get("vm_pu")), "tap": ("tap_pos", edit.get("position")),
            "shunt": ("step", edit.get("step")), "redispatch": ("p_mw", edit.get("p_mw")),
            "curtail": ("p_mw", edit.get("p_mw")), "shed": ("p_mw", edit.get("p_mw")),
        }[verb]  # fmt: skip
        if verb == "shed":
            net[table].loc[int(row), "q_mvar"] *= value / net[table].loc[int(row), "p_mw"]
        net[table].loc[int(row), column] = value
    return net


def broken(net: Any, outage: str = "") -> int:
    """Buses outside their limits by pandapower's own power flow."""
    net = copy.deepcopy(net)
    if outage:
        table, _, row = outage.partition(":")
        net[table].loc[int(row), "in_service"] = False
    pp.runpp(net, numba=False, tolerance_mva=1e-8, calculate_voltage_angles=True)
    v = net.res_bus.vm_pu.dropna()
    low, high = net.bus.min_vm_pu.loc[v.index], net.bus.max_vm_pu.loc[v.index]
    return int(((v < low - ATOL) | (v > high + ATOL)).sum())


def _scaled(name: str, factor: float) -> Any:
    net = getattr(pandapower.networks, name)()
    net.load[["p_mw", "q_mvar"]] *= factor
    return net


GRIDS = {
    "medium voltage": (medium_voltage, "voltage"),
    "long feeder": (long_feeder, "voltage"),
    "photovoltaics": (photovoltaics, "curtailment"),
    "case14": (lambda: _scaled("case14", 1.0), "voltage"),
    "case33bw": (lambda: _scaled("case33bw", 1.3), "shedding"),
}


@pytest.mark.parametrize("name", GRIDS)
def test_pandapower_finds_every_voltage_within_its_limits_afterwards(name: str) -> None:
    make, kind = GRIDS[name]
    net = make()
    case = load_pandapower(net, name=name)
    assert broken(net) > 0
    best = recommend(case).to_dict()["recommendations"][0]
    assert best["kind"] == kind
    assert best["after"]["voltage_violations"] == 0
    after = done(net, best["edits"])
    assert broken(after) == 0
    for worst in best["voltages"]:
        if worst["outage"] or name == "case33bw":
            continue
        bus = net.bus.index[int(worst["bus"].partition(" ")[0])]
        pp.runpp(after, numba=False, tolerance_mva=1e-8, calculate_voltage_angles=True)
        assert worst["after_pu"] == pytest.approx(after.res_bus.vm_pu[bus], abs=ATOL)


def test_outages_keep_their_voltages_after_the_action_in_pandapower_too() -> None:
    net = _scaled("case118", 1.1)
    case = load_pandapower(net, name="case118")
    found = security(case)
    bad = [found.contingencies.name[k] for k in np.flatnonzero(found.voltage_violations)]
    assert len(bad) > 5
    best = recommend(case).to_dict()["recommendations"][0]
    assert best["kind"] == "voltage"
    assert best["after"]["n1_voltage_outages"] == 0
    after = done(net, best["edits"])
    lines = [name for name in bad if name.startswith(("line", "trafo"))]
    assert lines
    assert all(broken(net, name) > 0 for name in lines)
    assert all(broken(after, name) == 0 for name in lines)


@pytest.fixture(scope="module")
def stressed() -> Case:
    return scale_load(gridrl.load("case39"), 1.05)  # overloads and voltages, before and after N-1


def test_relieving_loadings_is_combined_with_mending_voltages(stressed: Case) -> None:
    result = recommend(stressed, options=RemedialOptions(shedding=False))
    without = recommend(stressed, options=RemedialOptions(shedding=False, voltage=False))
    assert result.best.kind == "mixed"
    assert result.best.value <= without.best.value + 0.005
    assert result.best.outside < 0.2 * without.best.outside
    made = apply_edits(stressed, [parse_edit(edit) for edit in result.best.edits])
    np.testing.assert_allclose(made.injection.p, result.best.case.injection.p, atol=1e-9)
    np.testing.assert_allclose(made.injection.v_set, result.best.case.injection.v_set, atol=1e-9)
    assert "voltage is outside" in result.verdict()
    alone = without.to_dict()["recommendations"][0]
    assert any("voltage" in left for left in alone["unsolved"])


def test_with_equal_loadings_the_list_is_sorted_by_voltages(stressed: Case) -> None:
    rows = [r for r in recommend(stressed).recommendations if r.found.loading[0] <= 1.0]
    for first, second in itertools.pairwise(rows):
        same = round(first.value * 200) == round(second.value * 200)
        if same and bool(first.found.voltage[0]) == bool(second.found.voltage[0]):
            assert first.outside <= second.outside


def test_voltages_alone_are_something_to_be_done() -> None:
    case = gridrl.load("case14")
    for options in (RemedialOptions(), RemedialOptions(voltage=False)):
        result = recommend(case, options=options)
        assert "Nothing needs to be done" not in result.verdict()
    assert "mends the voltages" in result.verdict()
    study = Study(case=case).run()
    assert study.base.advice is not None
    assert study.base.advice["recommendations"][0]["kind"] == "voltage"


def test_what_is_locked_keeps_its_set_point() -> None:
    case = gridrl.load("case14")
    options = RemedialOptions(locked=("gen:3",), shedding=False, redispatch=False)
    result = recommend(case, options=options)
    for r in result.recommendations:
        assert "gen:3" not in {str(value) for edit in r.edits for value in edit.values()}


def test_set_points_stay_within_voltage_and_reactive_limits() -> None:
    net = _scaled("case118", 1.1)
    case = load_pandapower(net, name="case118")
    best = recommend(case).best
    at = case.grid.unit_substation[case.grid.holding_unit]
    v = best.case.injection.v_set[0, case.grid.holding_unit]
    moved = v != case.injection.v_set[0, case.grid.holding_unit]
    assert moved.any()
    assert (v[moved] <= case.grid.v_max[at][moved] + 1e-9).all()
    assert (v[moved] >= case.grid.v_min[at][moved] - 1e-9).all()
    before, after = (gridrl.flow(c).unit_power(0).imag for c in (case, best.case))
    units = np.flatnonzero(case.grid.controls_voltage & ~case.grid.is_reference)
    beyond = after[units] - case.grid.q_max[units]
    worse = after[units] - np.maximum(before[units], case.grid.q_max[units])
    # the program is linear in steps of up to 0.05 p.u.: a few percent of a machine's range
    assert (worse[beyond > 0] < 0.1).all()


def test_what_mends_the_intact_grid_is_not_paid_for_by_outages() -> None:
    case = gridrl.load("case14")
    contingencies = n_minus_1(case)
    base = secure_topologies(case, case.topology, contingencies)
    before = voltage_standing(case, base, RemedialOptions().flow)
    for r in recommend(case, contingencies=contingencies).recommendations:
        after = voltage_standing(r.case, r.found, RemedialOptions().flow)
        assert after.badness <= before.badness
        assert r.outside <= int(outside(base)[0])
        swept = security(r.case, contingencies=contingencies)
        if after.clean:
            assert not swept.voltage_violations.any()


def test_a_grid_without_voltage_limits_is_left_alone() -> None:
    case = gridrl.load("case14")
    free = replace(
        case.grid, v_min=np.zeros(case.grid.n_substation),
        v_max=np.full(case.grid.n_substation, np.inf),
    )  # fmt: skip
    result = recommend(replace(case, grid=free))
    assert [r.kind for r in result.recommendations] == ["nothing"]
    assert "Nothing needs to be done" in result.verdict()
