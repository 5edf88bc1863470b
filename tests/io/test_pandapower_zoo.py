"""Hand-built nets full of what the shipped networks avoid, held against pandapower's solution."""

import numpy as np
import pandapower as pp
import pytest

from gridrl.case import Fate
from gridrl.io.pandapower import load_pandapower
from tests.cases import zoo
from tests.cases.pandapower_oracle import assert_equals_pandapower, solve

ATOL_MVA = 1e-6  # see test_pandapower_networks
ATOL_PU = 1e-7


@pytest.mark.parametrize("build", zoo.ZOO, ids=lambda build: build.__name__)
def test_flows_balances_and_loadings_equal_pandapower(build):
    net = build()
    case = load_pandapower(net, name=build.__name__)
    assert solve(net)
    assert_equals_pandapower(net, case, atol_mva=ATOL_MVA, atol_pu=ATOL_PU)
    # the loss report names every table that has rows
    tables = {k for k, v in build().items() if hasattr(v, "columns") and len(v) and k[0] != "_"}
    assert tables <= {row.kind for row in case.report}


ANGLES = [zoo.tap_changers, zoo.transformer_ratings, zoo.three_windings, zoo.several_references]


@pytest.mark.parametrize("build", ANGLES, ids=lambda build: build.__name__)
def test_voltage_angles_can_be_left_out_as_in_runpp(build):
    net = build()
    case = load_pandapower(net, name=build.__name__, voltage_angles=False)
    assert solve(net, calculate_voltage_angles=False)
    assert_equals_pandapower(net, case, atol_mva=ATOL_MVA, atol_pu=ATOL_PU)


@pytest.mark.parametrize(
    ("build", "options"),
    (
        (zoo.transformer_ratings, {"trafo_model": "pi"}),
        (zoo.transformer_ratings, {"trafo_loading": "power"}),
        (zoo.bus_switches, {"switch_rx_ratio": 0.5}),
        (zoo.open_ends, {"neglect_open_switch_branches": True}),
        (zoo.voltage_dependent_loads, {"voltage_depend_loads": False}),
    ),
    ids=str,
)
def test_options_stored_in_the_net_count(build, options):
    net = build()
    pp.set_user_pf_options(net, **options)
    case = load_pandapower(net, name="x")
    assert solve(net)
    assert_equals_pandapower(net, case, atol_mva=ATOL_MVA, atol_pu=ATOL_PU)


def test_switched_off_branches_keep_their_two_ports():
    # an engine that closes them must find what pandapower would have solved
    net = zoo.unequal_lines()
    off = load_pandapower(net, name="x").grid
    net.line["in_service"] = True
    on = load_pandapower(net, name="x").grid
    np.testing.assert_array_equal(off.y_ft, on.y_ft)
    np.testing.assert_array_equal(off.y_tt, on.y_tt)


def test_opening_a_line_switch_only_moves_a_terminal():
    net = zoo.open_ends()
    opened = load_pandapower(net, name="x")
    net.switch["closed"] = True
    closed = load_pandapower(net, name="x")
    assert opened.grid.n_branch == closed.grid.n_branch
    np.testing.assert_array_equal(opened.topology.closed, closed.topology.closed)
    assert (opened.topology.busbar == 0).sum() == 6  # 7 open switches, two of them at one end


def test_fused_buses_share_a_substation_and_open_switches_separate():
    net = zoo.bus_switches()
    grid = load_pandapower(net, name="x").grid
    at = dict(zip(grid.bus_id, grid.bus_substation.tolist(), strict=True))
    assert at["1"] == at["5"]
    assert len({at[k] for k in ("1", "2", "3", "4", "6", "7", "8")}) == 7


def test_limits_signs_and_units():
    net = zoo.generators()
    net.load["min_p_mw"], net.load["max_p_mw"] = 1.0, 20.0
    net.load["max_q_mvar"] = 9.0
    case = load_pandapower(net, name="x")
    grid = case.grid
    gen, load = grid.unit_kind.index("gen"), grid.unit_kind.index("load")
    base = grid.s_base_mva
    assert (grid.p_max[gen] * base, grid.q_min[gen] * base) == (60.0, -20.0)
    # a load of 1..20 MW injects -20..-1 MW
    assert (grid.p_min[load] * base, grid.p_max[load] * base) == (-20.0, -1.0)
    assert (grid.q_min[load] * base, grid.q_max[load] * base) == (-9.0, np.inf)
    assert case.injection.p[0, gen] * base == pytest.approx(20.0 * 0.8)
    assert (grid.v_min[0], grid.v_max[0]) == (0.95, 1.08)


def test_coordinates_are_read():
    net = zoo.generators()
    net.bus["geo"] = None
    net.bus.at[1, "geo"] = '{"type": "Point", "coordinates": [8.5, 51.25]}'
    net.bus.at[2, "geo"] = "no geometry"
    net.bus.at[3, "geo"] = '{"type": "Point", "coordinates": [NaN, 1]}'
    grid = load_pandapower(net, name="x").grid
    assert (grid.bus_x[1], grid.bus_y[1]) == (8.5, 51.25)
    assert np.isnan(grid.bus_x[[0, 2, 3]]).all()


def test_what_cannot_be_represented_is_refused_by_name():
    net = zoo.generators()
    pp.create_svc(net, 1, 1.0, -10.0, 1.0, 90.0)
    net.line["max_loading_percent"] = 80.0
    rows = {row.kind: row for row in load_pandapower(net, name="x").report}
    assert rows["svc"].fate is Fate.REFUSED
    assert "no model" in rows["svc"].note
    assert rows["svc"].elements == ("0",)
    assert rows["line.max_loading_percent"].count == len(net.line)


def test_a_dc_line_is_one_element_with_a_unit_at_each_end():
    net = zoo.dc_lines()
    case = load_pandapower(net, name="x")
    grid = case.grid
    for index, row in net.dcline.iterrows():
        (element,) = (
            e
            for e in range(grid.n_element)
            if (grid.element_kind[e], grid.element_id[e]) == ("dcline", str(index))
        )
        units = np.flatnonzero(grid.unit_element == element)
        at = [
            grid.bus_substation[grid.bus_id.index(str(row[end]))] for end in ("to_bus", "from_bus")
        ]
        assert grid.unit_substation[units].tolist() == at
        np.testing.assert_array_equal(
            case.injection.v_set[0, units], [row.vm_to_pu, row.vm_from_pu]
        )
        # what arrives is what was sent less the losses
        loss = abs(row.p_mw) * row.loss_percent / 100 + row.loss_mw
        assert case.injection.p[0, units].sum() * grid.s_base_mva == pytest.approx(-loss)


def test_every_unit_belongs_to_its_element():
    # the oracle sums over nodes and would not see units of one node swapped
    for build in (zoo.wards, zoo.mixed_injections, zoo.generators):
        net = build()
        grid = load_pandapower(net, name="x").grid
        for u in range(grid.n_unit):
            table, index = grid.element_label[grid.unit_element[u]].split(" ")[0].split(":")
            assert table == grid.unit_kind[u]
            bus = str(net[table].bus[int(index)])
            at = grid.bus_substation[grid.bus_id.index(bus)]
            assert grid.unit_substation[u] == at or grid.is_star[grid.unit_substation[u]]
