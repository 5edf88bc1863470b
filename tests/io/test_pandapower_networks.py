"""Every network that pandapower ships and solves, held against pandapower's own solution."""

import inspect

import numpy as np
import pandapower as pp
import pandapower.networks
import pytest

from gridrl.io import NAMED, names
from gridrl.io.pandapower import build_named, load_pandapower
from tests.cases.pandapower_oracle import assert_equals_pandapower, solve

# Seen over all networks: flows 3e-9 MVA, balances 5e-8 p.u. (both GBnetwork; medians 4e-13, 1e-11).
# The balances are what pandapower's solution itself leaves over.
ATOL_MVA = 1e-6
ATOL_PU = 1e-7

# One or two of each kind are enough for every day; the others are marked slow
EVERY_DAY = set(
    """
    case14 case24_ieee_rts case57 case89pegase case118 case145 case300 case1354pegase iceland
    example_multivoltage mv_oberrhein create_cigre_network_hv create_cigre_network_mv
    create_kerber_landnetz_kabel_1 create_synthetic_voltage_control_lv_network
    ieee_european_lv_asymmetric
    """.split()
)
DIVERGES = {"case11_iwamoto"}  # ill-conditioned by design


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in EVERY_DAY else pytest.mark.slow) for name in NAMED],
)
def test_flows_balances_and_loadings_equal_pandapower(name):
    net = build_named(name)
    case = load_pandapower(net, name=name)
    if name in DIVERGES:
        assert not solve(net)
        return
    assert solve(net)
    assert_equals_pandapower(net, case, atol_mva=ATOL_MVA, atol_pu=ATOL_PU)


@pytest.mark.parametrize("name", ("case14", "case300", "example_multivoltage", "case89pegase"))
def test_every_bus_and_element_is_there(name):
    net = build_named(name)
    grid = load_pandapower(net, name=name).grid
    assert grid.bus_id == tuple(str(k) for k in net.bus.index)
    for table in ("line", "trafo", "trafo3w", "load", "gen", "sgen", "ext_grid", "shunt"):
        ids = [i for k, i in zip(grid.element_kind, grid.element_id, strict=True) if k == table]
        assert ids == [str(k) for k in net[table].index]


def test_names_are_those_that_pandapower_can_build():
    def builds(function):
        required = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        return function.__module__.startswith("pandapower.networks.") and not required

    found = inspect.getmembers(pandapower.networks, inspect.isfunction)
    assert set(names()) == {name for name, function in found if builds(function)}


def test_named_networks_are_the_same_every_time():
    # the Kerber networks draw lengths at random
    name = "create_kerber_landnetz_freileitung_2"
    digests = {load_pandapower(build_named(name), name=name).digest for _ in range(2)}
    assert len(digests) == 1


def test_conversion_leaves_the_net_alone():
    net = build_named("example_multivoltage")
    before = pp.to_json(net)
    load_pandapower(net, name="x")
    assert pp.to_json(net) == before


@pytest.mark.parametrize("name", ("case118", "example_multivoltage"))
def test_dc_model_equals_rundcpp(name):
    net = build_named(name)
    grid = load_pandapower(net, name=name).grid
    pp.rundcpp(net)
    theta = np.full(grid.n_substation, np.nan)
    theta[grid.bus_substation] = np.deg2rad(net.res_bus.va_degree)
    across = theta[grid.from_substation] - theta[grid.to_substation] - grid.shift_dc
    p_from = grid.b_dc * across * grid.s_base_mva
    for table, end in (("line", "from"), ("trafo", "hv")):
        mine = [k for k, e in enumerate(grid.branch_element) if grid.element_kind[e] == table]
        ident = [int(grid.element_id[grid.branch_element[k]]) for k in mine]
        want = net[f"res_{table}"].loc[ident, f"p_{end}_mw"].to_numpy()
        known = ~np.isnan(p_from[mine])
        on = net[table].in_service.loc[ident].to_numpy()
        # an open end carries nothing in the DC model: tested where flows exist
        flows = known & on & (want != 0)
        assert flows.sum() > 1
        np.testing.assert_allclose(p_from[mine][flows], want[flows], rtol=0, atol=1e-8)
