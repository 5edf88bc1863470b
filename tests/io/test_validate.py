"""Malformed networks must be refused, or flagged, before anything is solved, in plain words.

The list is that of hazards on which pandapower converges silently or fails with an opaque error.
"""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandapower as pp
import pytest

from gridrl.case import Case, Fate
from gridrl.errors import CaseError, GridError, GridrlError
from gridrl.io.pandapower import build_named, load_pandapower
from gridrl.io.validate import validate
from tests.cases import zoo


@pytest.fixture(scope="module")
def case14():
    return load_pandapower(build_named("case14"), name="case14")


@pytest.fixture(scope="module")
def pristine():
    return build_named("case14")


@pytest.fixture
def net(pristine):
    return deepcopy(pristine)


def put(table, row, field, value):
    def break_it(net):
        if isinstance(value, str):
            net[table][field] = net[table][field].astype(object)
        net[table].loc[row, field] = value

    return break_it


def no_reference(net):
    net.ext_grid["in_service"] = False


def duplicate_index(net):
    net.load.index = [0, *net.load.index[:-1]]


def huge_index(net):
    net.bus.index = [*net.bus.index[:-1], 10**12]


def no_column(net):
    del net.line["x_ohm_per_km"]


def base(value):
    def break_it(net):
        net.sn_mva = value

    return break_it


def set_points(net):
    pp.create_gen(net, net.gen.bus[0], 1.0, vm_pu=0.97)


def angles(net):
    pp.create_ext_grid(net, net.ext_grid.bus[0], vm_pu=net.ext_grid.vm_pu[0], va_degree=5.0)


def lost_switch(net):
    pp.create_switch(net, 0, 1, "l")
    net.switch.loc[0, "element"] = 77


REFUSED = {
    "dangling line": (put("line", 3, "to_bus", 99), r"to_bus names no bus.*line:3"),
    "load at no bus": (put("load", 2, "bus", 99), r"bus names no bus.*load:2"),
    "NaN load": (put("load", 2, "p_mw", np.nan), r"p_mw must be a finite number \(MW\): load:2"),
    "infinite load": (put("load", 2, "q_mvar", np.inf), r"q_mvar.*\(Mvar\): load:2.*inf"),
    "text load": (put("load", 2, "p_mw", "21 MW"), r"p_mw is no number \(MW\): load:2.*'21 MW'"),
    "NaN x": (put("line", 3, "x_ohm_per_km", np.nan), r"x_ohm_per_km.*\(ohm/km\): line:3"),
    "negative length": (put("line", 3, "length_km", -1.0), r"length_km.*positive \(km\): line:3"),
    "0 kV bus": (put("bus", 5, "vn_kv", 0.0), r"vn_kv must be positive \(kV\): bus:5"),
    "self-loop": (put("line", 3, "to_bus", 1), r"from_bus and to_bus are the same bus: line:3"),
    "zero vk": (put("trafo", 0, "vk_percent", 0.0), r"vk_percent.*zero \(%\): trafo:0"),
    "vkr over vk": (put("trafo", 0, "vkr_percent", 9e3), r"trafo.*no finite impedance.*trafo:0"),
    "zero set point": (put("gen", 1, "vm_pu", 0.0), r"vm_pu must be positive \(p.u.\): gen:1"),
    "no reference": (no_reference, r"no external grid and no slack generator.*create_ext_grid"),
    "duplicate index": (duplicate_index, r"load has 1 duplicate ind.*: 0\. Give"),
    "huge index": (huge_index, r"bus has indices.*create_continuous_bus_index"),
    "no column": (no_column, r"line has no column x_ohm_per_km.*convert_format"),
    "no base": (base(0.0), r"sn_mva of the network is 0.0.*MVA"),
    "text base": (base("100"), r"sn_mva of the network is '100'"),
    "different set points": (set_points, r"Different voltage set points.*gen:0.*gen:4"),
    "different angles": (angles, r"Different reference angles.*ext_grid:0, ext_grid:1"),
    "lost switch": (lost_switch, r"element names no line.*switch:0"),
    "not a flag": (put("line", 0, "in_service", "yes"), r"in_service must be true.*line:0"),
    "percent": (put("load", 0, "const_z_p_percent", 150.0), r"const_z_p_percent.*load:0"),
}


@pytest.mark.parametrize(("break_it", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_no_power_flow_can_use_is_refused_by_name_field_and_unit(net, break_it, message):
    break_it(net)
    with pytest.raises(GridrlError, match=f"(?s){message}"):
        load_pandapower(net, name="x")


def test_zero_impedance_is_named(net):
    net.line.loc[3, ["r_ohm_per_km", "x_ohm_per_km"]] = 0.0
    with pytest.raises(GridError, match=r"1 line have zero series impedance: line:3.*switch"):
        load_pandapower(net, name="x")


def test_all_problems_come_in_one_message(net):
    put("load", 2, "p_mw", np.nan)(net)
    put("line", 3, "length_km", -1.0)(net)
    with pytest.raises(GridError) as caught:
        load_pandapower(net, name="x")
    assert len(str(caught.value).splitlines()) == 2


def test_something_else_than_a_net_is_no_case():
    with pytest.raises(CaseError, match="no pandapower network"):
        load_pandapower(object(), name="x")


def kilowatt(net):
    net.load["p_mw"] *= 1000


def volt(net):
    net.bus.loc[3, "vn_kv"] *= 1000


def island(net):
    net.line.loc[(net.line.from_bus == 12) | (net.line.to_bus == 12), "in_service"] = False


def names(net):
    net.line["name"] = "L1"


SUSPECT = {
    "load in kW": (kilowatt, "unit", "kW"),
    "vn_kv in V": (volt, "bus", "meant in V"),
    "vn_kv of one end": (put("bus", 3, "vn_kv", 400.0), "line", "differ by more than 15 %"),
    "absurd base": (base(1e6), "sn_mva", "1e+06 MVA"),
    "no rating": (put("line", 3, "max_i_ka", np.nan), "line", "max_i_ka"),
    "zero rating": (put("line", 3, "max_i_ka", 0.0), "line", "max_i_ka"),
    "island": (island, "bus", "no path to an external grid"),
    "names": (names, "line", "more than once"),
    "R over X": (put("line", 3, "r_ohm_per_km", 5e3), "branch", "resistance over 30 times"),
    "negative x": (put("line", 3, "x_ohm_per_km", -9.0), "branch", "negative reactance"),
    "set point in kV": (put("gen", 1, "vm_pu", 135.0), "unit", "voltage set point outside"),
    "limits": (put("gen", 1, "min_q_mvar", 9e3), "unit", "q_min is above q_max"),
}


@pytest.mark.parametrize(("break_it", "kind", "note"), SUSPECT.values(), ids=SUSPECT.keys())
def test_what_is_hard_to_believe_is_reported(net, break_it, kind, note):
    def rows():
        report = load_pandapower(net, name="x").report
        return {r for r in report if r.fate is Fate.SUSPECT and r.kind == kind and note in r.note}

    before = {row.elements for row in rows()}
    break_it(net)
    after = rows()
    assert after
    assert {row.elements for row in after} != before or kind == "sn_mva"


def test_broken_elements_out_of_service_are_left_out_with_their_switches(net):
    pp.create_switch(net, net.line.from_bus[3], 3, "l", closed=False)
    net.line.loc[3, ["x_ohm_per_km", "in_service"]] = [np.nan, False]
    case = load_pandapower(net, name="x")
    assert case.grid.n_branch == 19
    (row,) = [row for row in case.report if "left out" in row.note]
    assert row.fate is Fate.REFUSED
    assert row.elements == ("line:3",)


def test_a_switch_at_the_wrong_bus_is_reported():
    net = zoo.open_ends()
    net.switch.loc[0, "bus"] = 5
    rows = load_pandapower(net, name="x").report
    assert any(r.fate is Fate.SUSPECT and "no end of the switched" in r.note for r in rows)


def with_grid(case: Case, **changes):
    return replace(case, grid=replace(case.grid, **changes))


def test_infinite_admittance_in_any_case_is_refused(case14):
    y_ff = case14.grid.y_ff.copy()
    y_ff[4] = np.inf
    with pytest.raises(GridError, match=r"no finite admittance \(p\.u\.\): line:4"):
        validate(with_grid(case14, y_ff=y_ff))


def test_missing_set_point_in_any_case_is_refused(case14):
    injection = replace(case14.injection, v_set=np.full_like(case14.injection.v_set, np.nan))
    with pytest.raises(GridError, match=r"without a positive set point v_set.*ext_grid:0"):
        validate(replace(case14, injection=injection))


def test_lost_reference_in_any_case_is_refused(case14):
    grid = case14.grid
    busbar = case14.topology.busbar.copy()
    busbar[0, 2 * grid.n_branch :][grid.is_reference] = 0
    with pytest.raises(GridError, match="No external grid or slack generator"):
        validate(replace(case14, topology=replace(case14.topology, busbar=busbar)))


def test_set_points_on_different_busbars_may_differ(case14):
    grid = case14.grid
    pair = np.flatnonzero(grid.controls_voltage)[:2]
    at = grid.unit_substation.copy()
    at[pair] = at[pair[0]]
    case = with_grid(case14, unit_substation=at)
    with pytest.raises(GridError, match="Different voltage set points"):
        validate(case)
    busbar = case.topology.busbar.copy()
    busbar[0, 2 * grid.n_branch + pair[1]] = 2
    validate(replace(case, topology=replace(case.topology, busbar=busbar)))


def test_a_sound_case_has_no_suspects():
    case = load_pandapower(build_named("case118"), name="case118")
    assert [row for row in case.report if row.fate is Fate.SUSPECT] == []
