"""Hold a `Case` against the net that pandapower solved: an evaluation, not a power flow.

pandapower's voltages go into our two-ports and units; flows, balances, loadings and the set of
supplied nodes must come out as pandapower reports them. Plain numpy and scipy, none of our code
but the arrays of `Case`.
"""

import numpy as np
import pandapower as pp
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gridrl.case import Case

ENDS = {"line": ("from", "to"), "trafo": ("hv", "lv"), "impedance": ("from", "to")}


def solve(net, **options):
    """Run pandapower to a mismatch far below our tolerances; False where it does not converge."""
    # numba would spend seconds on compiling; lightsim2grid, where it is installed, does not
    settings = {"numba": False, "max_iteration": 60}
    try:
        pp.runpp(net, tolerance_mva=1e-9 * max(1.0, net.sn_mva), **settings, **options)
    except pp.LoadflowNotConverged:
        return False
    return True


def solved_voltage(net, case: Case):
    """[n_substation] p.u. phasors that pandapower found, NaN where it left a node dead."""
    lookup = net._pd2ppc_lookups
    grid = case.grid
    v_row = net._ppc["bus"][:, 7] * np.exp(1j * np.deg2rad(net._ppc["bus"][:, 8]))
    v_row[net._ppc["bus"][:, 1] == 4] = np.nan
    v = np.full(grid.n_substation, np.nan, dtype=complex)
    rows = np.asarray(lookup["bus"])[[int(k) for k in grid.bus_id]]
    v[grid.bus_substation] = v_row[rows]
    stars = [lookup["aux"][t] for t in ("xward", "trafo3w") if t in lookup["aux"]]
    if stars:
        v[grid.is_star] = v_row[np.asarray(lookup["bus"])[np.concatenate(stars)]]
    return v


def branch_flows(case: Case, v):
    """[n_branch] complex p.u. power and current magnitude at both ends; open ends eliminated."""
    grid, busbar, closed = case.grid, case.topology.busbar[0], case.topology.closed[0]
    n = grid.n_branch
    on_from, on_to = (busbar[:n] > 0) & closed, (busbar[n : 2 * n] > 0) & closed
    v_from, v_to = v[grid.from_substation], v[grid.to_substation]
    with np.errstate(all="ignore"):
        v_to = np.where(on_to, v_to, -grid.y_tf / grid.y_tt * v_from)
        v_from = np.where(on_from, v_from, -grid.y_ft / grid.y_ff * v_to)
    i_from = np.where(on_from, grid.y_ff * v_from + grid.y_ft * v_to, 0)
    i_to = np.where(on_to, grid.y_tf * v_from + grid.y_tt * v_to, 0)
    s_from = np.where(on_from, v_from * i_from.conj(), 0)
    s_to = np.where(on_to, v_to * i_to.conj(), 0)
    return s_from, s_to, np.abs(i_from), np.abs(i_to)


def unit_powers(case: Case, v):
    """[n_unit] complex p.u. power into the node, by the ZIP model; 0 where disconnected."""
    grid, injection = case.grid, case.injection
    vm = np.abs(v[grid.unit_substation])
    on = case.topology.busbar[0, 2 * grid.n_branch :] > 0

    def zip_factor(i, z):
        return 1 - i - z + i * vm + z * vm**2

    p = injection.p[0] * zip_factor(grid.i_share_p, grid.z_share_p)
    q = injection.q[0] * zip_factor(grid.i_share_q, grid.z_share_q)
    return np.where(on, p + 1j * q, 0), on


def supplied(case: Case):
    """[n_substation] nodes with a path of closed branches to a reference unit in service."""
    grid, busbar, closed = case.grid, case.topology.busbar[0], case.topology.closed[0]
    n = grid.n_branch
    both = closed & (busbar[:n] > 0) & (busbar[n : 2 * n] > 0)
    f, t = grid.from_substation[both], grid.to_substation[both]
    graph = coo_array((np.ones(f.size), (f, t)), shape=(grid.n_substation,) * 2)
    _, label = connected_components(graph, directed=False)
    on = busbar[2 * n :] > 0
    fed = np.unique(label[grid.unit_substation[grid.is_reference & on]])
    return np.isin(label, fed)


def assert_equals_pandapower(net, case: Case, *, atol_mva, atol_pu):
    """Every check at once; ``net`` must have been solved."""
    v = solved_voltage(net, case)
    alive = ~np.isnan(v)
    _assert_supply(case, alive)
    s_from, s_to, i_from, i_to = branch_flows(case, v)
    _assert_flows(net, case, s_from, s_to, atol_mva)
    _assert_loadings(net, case, s_from, s_to, i_from, i_to)
    _assert_balance(case, v, alive, s_from, s_to, atol_pu)
    _assert_set_points(case, v, alive)


def _assert_supply(case, alive):
    # a dead node in pandapower is one that no reference supplies or that is out of service
    ours = supplied(case)
    assert not (alive & ~ours).any(), np.flatnonzero(alive & ~ours)
    extra = ours & ~alive
    assert not extra.any(), [case.grid.substation_name[k] for k in np.flatnonzero(extra)]


def _assert_flows(net, case, s_from, s_to, atol_mva):
    grid, base = case.grid, case.grid.s_base_mva
    kind = np.array([grid.element_kind[e] for e in grid.branch_element])
    ident = np.array([int(grid.element_id[e]) for e in grid.branch_element])

    def compare(got, want, what):
        # what pandapower reports as NaN is dead: nothing may flow there
        np.testing.assert_allclose(
            np.nan_to_num(got) * base, np.nan_to_num(want), rtol=0, atol=atol_mva, err_msg=what
        )

    for table, ends in ENDS.items():
        mine = kind == table
        for end, got in zip(ends, (s_from[mine], s_to[mine]), strict=True):
            result = net[f"res_{table}"].loc[ident[mine]]
            compare(got.real, result[f"p_{end}_mw"], f"{table} p {end}")
            compare(got.imag, result[f"q_{end}_mvar"], f"{table} q {end}")
    legs = np.flatnonzero(kind == "trafo3w")
    if legs.size:
        for side, leg in zip(("hv", "mv", "lv"), np.split(legs, 3), strict=True):
            got = (s_from if side == "hv" else s_to)[leg]
            result = net.res_trafo3w.loc[ident[leg]]
            compare(got.real, result[f"p_{side}_mw"], f"trafo3w p {side}")
            compare(got.imag, result[f"q_{side}_mvar"], f"trafo3w q {side}")


def _assert_loadings(net, case, s_from, s_to, i_from, i_to):
    grid = case.grid
    loading = np.maximum(i_from / grid.i_max_from, i_to / grid.i_max_to)
    loading = np.maximum(loading, np.maximum(np.abs(s_from), np.abs(s_to)) / grid.s_max)
    of_element = np.zeros(grid.n_element)
    np.maximum.at(of_element, grid.branch_element, 100 * np.nan_to_num(loading))
    for table in ("line", "trafo", "trafo3w"):
        mine = [e for e in np.unique(grid.branch_element) if grid.element_kind[e] == table]
        want = net[f"res_{table}"].loading_percent.loc[[int(grid.element_id[e]) for e in mine]]
        want = want.to_numpy()
        known = np.isfinite(want) & (of_element[mine] > 0)
        np.testing.assert_allclose(of_element[mine][known], want[known], rtol=1e-7, atol=1e-7)


def _assert_balance(case, v, alive, s_from, s_to, atol_pu):
    grid = case.grid
    power, on = unit_powers(case, v)
    mismatch = np.zeros(grid.n_substation, dtype=complex)
    np.add.at(mismatch, grid.unit_substation, power)
    np.add.at(mismatch, grid.from_substation, -s_from)
    np.add.at(mismatch, grid.to_substation, -s_to)
    controlled = np.zeros(grid.n_substation, dtype=bool)
    controlled[grid.unit_substation[grid.controls_voltage & on]] = True
    reference = np.zeros(grid.n_substation, dtype=bool)
    reference[grid.unit_substation[grid.is_reference & on]] = True
    assert np.abs(mismatch.real[alive & ~reference]).max(initial=0) < atol_pu
    assert np.abs(mismatch.imag[alive & ~controlled]).max(initial=0) < atol_pu


def _assert_set_points(case, v, alive):
    grid = case.grid
    on = case.topology.busbar[0, 2 * grid.n_branch :] > 0
    holds = on & grid.controls_voltage & alive[grid.unit_substation]
    at = grid.unit_substation[holds]
    np.testing.assert_allclose(np.abs(v[at]), case.injection.v_set[0, holds], rtol=0, atol=1e-9)
    ref = on & grid.is_reference
    angle = np.angle(v[grid.unit_substation[ref]] * np.exp(-1j * grid.va_reference[ref]))
    np.testing.assert_allclose(angle, 0, atol=1e-9)
