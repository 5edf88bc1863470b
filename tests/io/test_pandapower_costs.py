"""Costs of pandapower nets: functions of the element's own power, turned to ours."""

import pandapower as pp
import pytest

from gridrl.case import Fate
from gridrl.errors import CaseError
from gridrl.io.pandapower import load_pandapower
from gridrl.io.pandapower_json import read_pandapower_json
from tests.cases import zoo
from tests.io.test_matpower_costs import cost_of


@pytest.fixture
def net():
    net = zoo.generators()
    net.sn_mva = 20.0
    net.load["controllable"] = True
    return net


def function_of(case, kind, ident, of_reactive=False):
    (k,) = (
        k
        for k, unit in enumerate(case.grid.costs.unit)
        if case.grid.unit_label[unit].startswith(f"{kind}:{ident}")
        and case.grid.costs.of_reactive[k] == of_reactive
    )
    return lambda mw: cost_of(case.grid.costs, k, mw / case.grid.s_base_mva)


def test_costs_are_functions_of_the_elements_own_power(net):
    gen, load = net.gen.index[0], net.load.index[0]
    pp.create_poly_cost(
        net, gen, "gen", 7.0, cp0_eur=2.0, cp2_eur_per_mw2=0.5, cq2_eur_per_mvar2=3.0
    )
    pp.create_poly_cost(net, load, "load", -30.0, cp0_eur=1.0, cp2_eur_per_mw2=0.25)
    pp.create_pwl_cost(net, net.ext_grid.index[0], "ext_grid", [[-10, 5, 2.0], [5, 40, 6.0]])
    case = load_pandapower(net, name="x")
    assert function_of(case, "gen", gen)(8.0) == pytest.approx(2 + 7 * 8 + 0.5 * 64)
    assert function_of(case, "gen", gen, of_reactive=True)(-4.0) == pytest.approx(3 * 16)
    consumed = 6.0
    assert function_of(case, "load", load)(-consumed) == pytest.approx(1 - 30 * 6 + 0.25 * 36)
    line = function_of(case, "ext_grid", net.ext_grid.index[0])
    assert line(20.0) - line(-5.0) == pytest.approx(2.0 * 10 + 6.0 * 15)
    fates = {row.kind: row.fate for row in case.report if row.kind.endswith("cost")}
    assert fates == {"poly_cost": Fate.KEPT, "pwl_cost": Fate.KEPT}


def test_a_piecewise_cost_of_consumption_is_mirrored(net):
    load = net.load.index[0]
    pp.create_pwl_cost(net, load, "load", [[0, 4, -9.0], [4, 8, -3.0]])
    line = function_of(load_pandapower(net, name="x"), "load", load)
    assert line(-3.0) - line(-5.0) == pytest.approx(9.0 + 3.0)
    assert line(-4.0) - line(-8.0) == pytest.approx(12.0)


def test_costs_survive_a_file(net, tmp_path):
    pp.create_poly_cost(net, net.gen.index[0], "gen", 7.0)
    pp.create_pwl_cost(net, net.ext_grid.index[0], "ext_grid", [[-10, 5, 2.0], [5, 40, 6.0]])
    pp.to_json(net, str(tmp_path / "net.json"))
    read, _ = read_pandapower_json(tmp_path / "net.json")
    costs = load_pandapower(read, name="x").grid.costs
    assert costs.n_cost == 2
    assert costs.point_power.size == 3


def test_what_cannot_be_dispatched_has_no_cost(net):
    pp.create_poly_cost(net, 999, "gen", 7.0)
    pp.create_dcline(net, *net.bus.index[:2], 1.0, 0.0, 0.0, 1.0, 1.0, in_service=False)
    pp.create_poly_cost(net, 0, "dcline", 7.0)
    case = load_pandapower(net, name="x")
    assert case.grid.costs.n_cost == 0
    rows = [row for row in case.report if row.kind == "poly_cost"]
    assert [row.fate for row in rows] == [Fate.REFUSED, Fate.REFUSED]
    assert {row.elements for row in rows} == {("0",), ("1",)}


def test_controllable_decides_what_may_be_dispatched(net):
    net.gen["controllable"] = False
    net.load["controllable"] = [True] + [False] * (len(net.load) - 1)
    grid = load_pandapower(net, name="x").grid
    kinds = [k for k, d in zip(grid.unit_kind, grid.dispatchable, strict=True) if d]
    assert kinds == ["ext_grid"] * len(net.ext_grid) + ["load"]


@pytest.mark.parametrize(
    ("points", "message"),
    (
        ([[0, 5, 2.0], [6, 9, 3.0]], "must begin where the one before ends"),
        ([[5, 0, 2.0]], "not empty"),
        ([[0, 5]], "must be a list of"),
        ("0 5 2", "must be a list of"),
        ([[0, 5, float("nan")]], "must be finite"),
    ),
)
def test_broken_points_are_named(net, points, message):
    pp.create_pwl_cost(net, net.gen.index[0], "gen", [[0, 1, 1.0]])
    net.pwl_cost.at[0, "points"] = points
    with pytest.raises(CaseError, match=rf"pwl_cost:0 \(gen:.*{message}"):
        load_pandapower(net, name="x")


def test_two_costs_for_one_power_are_refused(net):
    pp.create_poly_cost(net, net.gen.index[0], "gen", 7.0)
    pp.create_pwl_cost(net, net.gen.index[0], "gen", [[0, 5, 2.0]], check=False)
    with pytest.raises(CaseError, match="two costs for the same power"):
        load_pandapower(net, name="x")
