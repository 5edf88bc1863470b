"""A plain sparse Newton power flow on `Case` arrays, written for the tests alone.

It shares no code with `gridrl.powerflow` and with no door: nodes are (substation, busbar),
admittances are summed entry by entry, and the Jacobian is the complex-valued textbook one
(MATPOWER Technical Note 2, eq. 44-48).
"""

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl


def network(case):
    """Y_bus, node of every unit, units in service; node = 2 * substation + busbar - 1."""
    grid, busbar = case.grid, case.topology.busbar[0].astype(int)
    n_branch, n = grid.n_branch, 2 * grid.n_substation
    start, end, unit = busbar[:n_branch], busbar[n_branch : 2 * n_branch], busbar[2 * n_branch :]
    node_f = 2 * grid.from_substation + start - 1
    node_t = 2 * grid.to_substation + end - 1
    live = case.topology.closed[0]
    two = live & (start > 0) & (end > 0)
    rows = [node_f[two], node_f[two], node_t[two], node_t[two]]
    cols = [node_f[two], node_t[two], node_f[two], node_t[two]]
    vals = [grid.y_ff[two], grid.y_ft[two], grid.y_tf[two], grid.y_tt[two]]
    for one, node, y in (
        (live & (start > 0) & (end == 0), node_f, grid.y_ff - grid.y_ft * grid.y_tf / grid.y_tt),
        (live & (start == 0) & (end > 0), node_t, grid.y_tt - grid.y_ft * grid.y_tf / grid.y_ff),
    ):
        rows.append(node[one])
        cols.append(node[one])
        vals.append(y[one])
    ybus = sp.csr_matrix(
        (np.concatenate(vals), (np.concatenate(rows), np.concatenate(cols))), shape=(n, n)
    )
    on = unit > 0
    node_u = 2 * grid.unit_substation + unit - 1
    return ybus, node_u, on


def unit_power(case, vm_unit):
    """Complex power that each unit injects at voltage magnitude ``vm_unit`` [n_unit]."""
    grid, inj = case.grid, case.injection
    p, q = inj.p[0], inj.q[0]
    return p * (
        1 - grid.i_share_p - grid.z_share_p + grid.i_share_p * vm_unit + grid.z_share_p * vm_unit**2
    ) + 1j * q * (
        1 - grid.i_share_q - grid.z_share_q + grid.i_share_q * vm_unit + grid.z_share_q * vm_unit**2
    )


def solve(case, *, tol=1e-9, max_iter=30, v0=None):
    """Node voltages (NaN where dead), branch flows and losses in MW; raises if it diverges."""
    grid, inj = case.grid, case.injection
    ybus, node_u, on = network(case)
    n = ybus.shape[0]
    ref_units = np.flatnonzero(on & grid.is_reference)
    ref = np.unique(node_u[ref_units])
    _, comp = sp.csgraph.connected_components(abs(ybus), directed=False)
    alive = np.isin(comp, comp[ref])
    pv_units = on & grid.controls_voltage & alive[np.where(on, node_u, 0)]
    pv = np.setdiff1d(np.unique(node_u[pv_units]), ref)
    pq = np.setdiff1d(np.flatnonzero(alive), np.concatenate([ref, pv]))
    pvpq = np.concatenate([pv, pq])
    v = np.ones(n, dtype=complex) if v0 is None else v0.copy()
    va_ref = grid.va_reference[ref_units[0]]
    if v0 is None:
        v *= np.exp(1j * va_ref)
    for k in np.flatnonzero(pv_units):
        v[node_u[k]] = inj.v_set[0, k] * np.exp(1j * np.angle(v[node_u[k]]))
    for k in ref_units:
        v[node_u[k]] = inj.v_set[0, k] * np.exp(1j * grid.va_reference[k])
    use = on & alive[np.where(on, node_u, 0)]
    for _ in range(max_iter):
        vm = np.abs(v)
        s_unit = unit_power(case, vm[np.where(use, node_u, 0)])
        s_node = np.zeros(n, dtype=complex)
        np.add.at(s_node, node_u[use], s_unit[use])
        current = ybus @ v
        mis = v * current.conj() - s_node
        f = np.concatenate([mis[pvpq].real, mis[pq].imag])
        if np.abs(f).max(initial=0) < tol:
            break
        d_v, d_i = sp.diags(v), sp.diags(current)
        d_n = sp.diags(v / vm)
        ds_a = 1j * d_v @ (d_i - ybus @ d_v).conj()
        ds_m = d_v @ (ybus @ d_n).conj() + d_i.conj() @ d_n
        p, q = inj.p[0], inj.q[0]
        slope = p * (
            grid.i_share_p + 2 * grid.z_share_p * vm[np.where(use, node_u, 0)]
        ) + 1j * q * (grid.i_share_q + 2 * grid.z_share_q * vm[np.where(use, node_u, 0)])
        d_unit = np.zeros(n, dtype=complex)
        np.add.at(d_unit, node_u[use], slope[use])
        ds_m = ds_m - sp.diags(d_unit)
        jac = sp.bmat(
            [
                [ds_a.tocsr()[pvpq][:, pvpq].real, ds_m.tocsr()[pvpq][:, pq].real],
                [ds_a.tocsr()[pq][:, pvpq].imag, ds_m.tocsr()[pq][:, pq].imag],
            ],
            format="csc",
        )
        step = spl.spsolve(jac, -f)
        angle, size = np.angle(v), vm
        angle[pvpq] += step[: pvpq.size]
        size[pq] += step[pvpq.size :]
        v = size * np.exp(1j * angle)
    else:
        raise ArithmeticError(f"no convergence, mismatch {np.abs(f).max():.2e} p.u.")
    v[~alive] = np.nan
    return v


def losses_mw(case, v):
    """Sum of branch losses in MW of the alive part."""
    s_from, s_to = flows_mva(case, v)
    return float(np.nansum((s_from + s_to).real))


def flows_mva(case, v):
    """Complex branch flow in MVA at both ends, 0 where open."""
    grid, busbar = case.grid, case.topology.busbar[0].astype(int)
    m = grid.n_branch
    start, end = busbar[:m], busbar[m : 2 * m]
    closed = case.topology.closed[0]
    v_f = np.where(start > 0, v[2 * grid.from_substation + np.maximum(start, 1) - 1], np.nan)
    v_t = np.where(end > 0, v[2 * grid.to_substation + np.maximum(end, 1) - 1], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        v_f = np.where((start == 0) & (end > 0), -grid.y_ft * v_t / grid.y_ff, v_f)
        v_t = np.where((end == 0) & (start > 0), -grid.y_tf * v_f / grid.y_tt, v_t)
        s_from = v_f * (grid.y_ff * v_f + grid.y_ft * v_t).conj() * grid.s_base_mva
        s_to = v_t * (grid.y_tf * v_f + grid.y_tt * v_t).conj() * grid.s_base_mva
    dead = ~closed | ((start == 0) & (end == 0))
    return np.where(dead, 0, s_from), np.where(dead, 0, s_to)
