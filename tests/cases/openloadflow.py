"""PowSyBl OpenLoadFlow as a judge: what it finds for the network that a `Case` was made of.

Only voltages and flows of powsybl are used, never its admittances: the two-ports under test are
ours, the solved state is theirs.
"""

import numpy as np
import pypowsybl as pp
import scipy.sparse.linalg as spl

from tests import reference_newton


def run(network, slack_bus=None):
    """Solve with a slack at ``slack_bus`` (bus-view id), no distribution, no Q limits."""
    provider = {"newtonRaphsonConvEpsPerEq": "1e-10", "maxNewtonRaphsonIterations": "30"}
    if slack_bus is not None:
        provider |= {"slackBusSelectionMode": "NAME", "slackBusesIds": slack_bus}
    parameters = pp.loadflow.Parameters(
        distributed_slack=False,
        use_reactive_limits=False,
        read_slack_bus=slack_bus is None,
        voltage_init_mode=pp.loadflow.VoltageInitMode.DC_VALUES,
        component_mode=pp.loadflow.ComponentMode.ALL_CONNECTED,
        provider_parameters=provider,
    )
    results = pp.loadflow.run_ac(network, parameters)
    assert results[0].status == pp.loadflow.ComponentStatus.CONVERGED, results[0].status_text
    return results


def bus_view_id(network, grid, bus):
    """The bus-view id of bus number ``bus`` of a grid."""
    ident = grid.bus_id[bus]
    view = network.get_buses()
    if ident in view.index:
        return ident
    return network.get_bus_breaker_view_buses(all_attributes=True).loc[ident, "bus_id"]


def voltages(network, case):
    """Powsybl's voltages on our nodes, p.u.; star points from Kirchhoff's law there."""
    grid = case.grid
    view = network.get_buses()
    v = np.full(2 * grid.n_substation, np.nan, dtype=complex)
    for bus in range(grid.n_bus):
        ident = bus_view_id(network, grid, bus)
        if ident:
            place = grid.bus_substation[bus]
            size = view.loc[ident, "v_mag"] / grid.vn_kv[place]
            v[2 * place] = size * np.exp(1j * np.deg2rad(view.loc[ident, "v_angle"]))
    ybus, node_u, on = reference_newton.network(case)
    stars = 2 * np.flatnonzero(grid.is_star)
    drawn = np.zeros(v.size, dtype=complex)
    np.add.at(drawn, node_u[on], (case.injection.p[0] + 1j * case.injection.q[0])[on])
    for _ in range(60 if stars.size else 0):
        known = np.nan_to_num(v)
        known[stars] = 0
        guess = np.where(np.isnan(v[stars]), 1, v[stars])
        rhs = (drawn[stars] / guess).conj() - ybus[stars] @ known
        v[stars] = spl.spsolve(ybus[stars][:, stars].tocsc(), rhs)
    return v


def assert_flows_equal(network, case, v, *, atol_mva):
    """Our two-ports at their voltages give their flows at every end of every branch."""
    grid = case.grid
    s_from, s_to = reference_newton.flows_mva(case, v)
    branches = network.get_branches()
    legs = network.get_3_windings_transformers()
    boundary = network.get_boundary_lines(all_attributes=True)
    seen = {}
    compared = 0
    for k in range(grid.n_branch):
        kind = grid.element_kind[grid.branch_element[k]]
        ident = grid.element_id[grid.branch_element[k]]
        if kind in ("line", "trafo"):
            row = branches.loc[ident]
            got = [s_from[k], s_to[k]]
            want = [complex(row.p1, row.q1), complex(row.p2, row.q2)]
        elif kind == "trafo3w":
            side = seen[ident] = seen.get(ident, 0) + 1
            row = legs.loc[ident]
            got, want = [s_from[k]], [complex(row[f"p{side}"], row[f"q{side}"])]
        else:
            half = ident if kind == "boundary_line" else None
            if half is None:
                halves = boundary.index[boundary.tie_line_id == ident]
                half = halves[seen.get(ident, 0)]
                seen[ident] = seen.get(ident, 0) + 1
            row = boundary.loc[half]
            got, want = [s_from[k]], [complex(row.p, row.q)]
        solved = ~np.isnan(want)
        np.testing.assert_allclose(
            np.array(got)[solved], np.array(want)[solved], rtol=0, atol=atol_mva, err_msg=ident
        )
        compared += int(solved.sum())
    assert compared


def imbalance_mva(network, case, v):
    """What is left at every live node if generators give what powsybl says and all else is ours."""
    grid = case.grid
    _, node_u, on = reference_newton.network(case)
    safe = np.where(on, node_u, 0)
    s = reference_newton.unit_power(case, np.abs(v)[safe]) * grid.s_base_mva
    stations = network.get_vsc_converter_stations()
    lines = network.get_hvdc_lines()
    holders = {"gen": network.get_generators(), "svc": network.get_static_var_compensators()}
    seen = {}
    for k in np.flatnonzero(on):
        kind, ident = grid.unit_kind[k], grid.element_id[grid.unit_element[k]]
        if kind == "gen":
            row = holders["gen"].loc[ident]
            s[k] = -complex(row.p, row.q)
        elif kind == "svc":
            s[k] = -1j * holders["svc"].loc[ident, "q"]
        elif kind == "dcline":
            side = seen[ident] = seen.get(ident, 0) + 1
            station = lines.loc[ident, f"converter_station{side}_id"]
            if grid.controls_voltage[k]:
                s[k] = complex(s[k].real, -stations.loc[station, "q"])
    s_from, s_to = reference_newton.flows_mva(case, v)
    left = np.zeros(v.size, dtype=complex)
    np.add.at(left, node_u[on], s[on])
    np.add.at(left, 2 * grid.from_substation, -np.nan_to_num(s_from))
    np.add.at(left, 2 * grid.to_substation, -np.nan_to_num(s_to))
    return np.where(np.isnan(v), 0, left)
