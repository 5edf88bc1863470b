"""From what is switched in each state to what changes in its equations.

Input are change lists against the base topology: per state, the branches and units that sit
elsewhere. Output are the lists that `gridrl.powerflow.kernels_newton` reads (changes of
admittance entries, kinds of rows, injections), and what each state leaves without supply.

Tuples passed between these kernels::

    changes  (b_of, b_branch, b_from, b_to, b_closed, u_of, u_unit, u_busbar): entries
             b_of[k]:b_of[k + 1] are the branches that state k switches, with the busbars of
             their ends and whether they are closed; u_of alike for units
    network  (off, row_from, row_to, y, n_entry): entry positions int64[n_branch, 2, 2, 2], rows of
             the branch ends int64[n_branch, 2] by busbar, admittances, off-diagonal entries
    base     (from_busbar, to_busbar, closed, unit_busbar, kind, alive): the base topology, the kind
             that its units give each row, and whether the row is supplied
    units    (row, substation, first_of, members, controls, reference, va, z_p, z_q, i_p, i_q,
             demand, promotion): members[first_of[s]:first_of[s + 1]] are the units of
             substation s; promotion ranks who takes over an island (empty: nobody does)
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.powerflow.kernels_islands import (
    FIXED,
    NOBODY,
    PQ,
    PV,
    UNTOUCHED,
    supply,
    what_is_lost,
)
from gridrl.sparse.lanes import borrowed


@kernel
def topology_changes(busbar, closed, base_busbar, base_closed):
    """Branches and units of each state that are not switched as in the base state (``changes``)."""
    busbar, closed, base_busbar, base_closed = borrowed((busbar, closed, base_busbar, base_closed))
    batch, n_branch = closed.shape
    n_unit = busbar.shape[1] - 2 * n_branch
    b_of = np.zeros(batch + 1, np.int64)
    u_of = np.zeros(batch + 1, np.int64)
    for fill in range(2):
        b_branch = np.empty(b_of[batch] if fill else 0, np.int64)
        b_from = np.empty(b_branch.size, np.int8)
        b_to = np.empty(b_branch.size, np.int8)
        b_closed = np.empty(b_branch.size, np.bool_)
        u_unit = np.empty(u_of[batch] if fill else 0, np.int64)
        u_busbar = np.empty(u_unit.size, np.int8)
        nb = 0
        nu = 0
        for state in range(batch):
            if fill and b_of[state] == b_of[state + 1] and u_of[state] == u_of[state + 1]:
                continue
            for k in range(n_branch):
                f = busbar[state, k]
                t = busbar[state, n_branch + k]
                c = closed[state, k]
                if f != base_busbar[k] or t != base_busbar[n_branch + k] or c != base_closed[k]:
                    if fill:
                        b_branch[nb], b_from[nb], b_to[nb], b_closed[nb] = k, f, t, c
                    nb += 1
            for k in range(n_unit):
                at = busbar[state, 2 * n_branch + k]
                if at != base_busbar[2 * n_branch + k]:
                    if fill:
                        u_unit[nu], u_busbar[nu] = k, at
                    nu += 1
            b_of[state + 1] = nb
            u_of[state + 1] = nu
    return b_of, b_branch, b_from, b_to, b_closed, u_of, u_unit, u_busbar


@kernel
def _grown(array, needed):
    """The array, or a larger copy where it has fewer than ``needed`` places."""
    if needed <= array.size:
        return array
    wider = np.empty(2 * needed + 16, array.dtype)
    wider[: array.size] = array
    return wider


@inlined
def _end(rows, k, busbar, closed):
    """Row of a branch end, -1 where it is open."""
    return rows[k, busbar - 1] if closed and busbar > 0 else np.int64(-1)


@inlined
def _branch_entries(k, f, t, sign, network, from_busbar, to_busbar, y_lists, used):
    """Append ``sign`` times the admittances of branch ``k`` between rows f and t (-1: open end)."""
    off, _, _, y, n_entry = network
    pos, g, b = y_lists
    if f >= 0 and t >= 0:
        forth = off[k, from_busbar - 1, to_busbar - 1, 0]
        back = off[k, from_busbar - 1, to_busbar - 1, 1]
        for part, at in ((0, n_entry + f), (1, forth), (2, back), (3, n_entry + t)):
            pos[used] = at
            g[used] = sign * y[part, k].real
            b[used] = sign * y[part, k].imag
            used += 1
    elif f >= 0 or t >= 0:
        part = 4 if f >= 0 else 5
        pos[used] = n_entry + max(f, t)
        g[used] = sign * y[part, k].real
        b[used] = sign * y[part, k].imag
        used += 1
    return used


@inlined
def _switch_branch(c, changes, network, base, y_lists, used):
    """Take a branch out of where the base has it and put it where entry ``c`` has it.

    Returns the rows of both ends there, and the admittance entries used so far.
    """
    _, b_branch, b_from, b_to, b_closed = changes[:5]
    from_busbar, to_busbar, closed = base[0], base[1], base[2]
    k = b_branch[c]
    f = _end(network[1], k, from_busbar[k], closed[k])
    t = _end(network[2], k, to_busbar[k], closed[k])
    used = _branch_entries(k, f, t, -1.0, network, from_busbar[k], to_busbar[k], y_lists, used)
    f = _end(network[1], k, b_from[c], b_closed[c])
    t = _end(network[2], k, b_to[c], b_closed[c])
    return f, t, _branch_entries(k, f, t, 1.0, network, b_from[c], b_to[c], y_lists, used)


@kernel
def _move_units(state, changes, base, units, p, q, busbar_now, y_lists, used, n_entry, s_lists, ns):
    """Take the power and shunt part of each moved unit from its old row to its new one."""
    changes, base, units, p, q, busbar_now, y_lists, s_lists = borrowed(
        (changes, base, units, p, q, busbar_now, y_lists, s_lists)
    )
    u_of, u_unit, u_busbar = changes[5:8]
    unit_row, z_p, z_q, i_p, i_q = units[0], units[7], units[8], units[9], units[10]
    s_row, s_p, s_q, s_ip, s_iq = s_lists
    for c in range(u_of[state], u_of[state + 1]):
        m = u_unit[c]
        for now in range(2):
            at = u_busbar[c] if now else base[3][m]
            if at == 0:
                continue
            sign = 1.0 if now else -1.0
            i = unit_row[m, at - 1]
            y_lists[0][used] = n_entry + i
            y_lists[1][used] = -sign * z_p[m] * p[m]
            y_lists[2][used] = sign * z_q[m] * q[m]
            used += 1
            s_row[ns] = i
            s_p[ns] = sign * (1.0 - z_p[m] - i_p[m]) * p[m]
            s_q[ns] = sign * (1.0 - z_q[m] - i_q[m]) * q[m]
            s_ip[ns] = sign * i_p[m] * p[m]
            s_iq[ns] = sign * i_q[m] * q[m]
            ns += 1
        busbar_now[m] = u_busbar[c]
    return used, ns


@kernel
def _choose_holders(state, changes, units, busbar_now, kind_now, hold, touched):
    """Where a voltage-holding unit moved, both busbars of its substation choose a holder again."""
    changes, units, busbar_now, kind_now, hold, touched = borrowed(
        (changes, units, busbar_now, kind_now, hold, touched)
    )
    u_of, u_unit = changes[5], changes[6]
    unit_row, substation, first_of, members, controls, reference = units[:6]
    n_touched = 0
    for c in range(u_of[state], u_of[state + 1]):
        m = u_unit[c]
        if not controls[m]:
            continue
        for bus in range(2):
            i = unit_row[m, bus]
            if i >= 0 and hold[i] == UNTOUCHED:
                hold[i] = NOBODY
                kind_now[i] = PQ
                touched[n_touched] = i
                n_touched += 1
        for e in range(first_of[substation[m]], first_of[substation[m] + 1]):
            other = members[e]
            at = busbar_now[other]
            if at == 0 or not controls[other]:
                continue
            i = unit_row[other, at - 1]
            if reference[other]:
                kind_now[i] = FIXED
                hold[i] = other
            elif kind_now[i] == PQ:
                kind_now[i] = PV
                hold[i] = other
    return n_touched


@kernel
def state_lists(changes, check, load_of, network, base, units, p, q, v_set, shunts):
    """Admittance, kind and injection changes of every state, and what it leaves without supply.

    Parameters
    ----------
    check : bool[B]
        Whether islands must be looked for. It may be False only where no unit moves and no
        branch change can cut anything off.
    load_of : int64[B]
        Row of ``p, q, v_set`` (float64[n_load, n_unit]) that loads the state.
    changes, network, base, units : tuples, see the module
    shunts : (z_of, z_row, z_g, z_b)
        Constant-impedance parts by which each load row differs from the base state.

    Returns
    -------
    lists : (y_of, y_pos, y_g, y_b, k_of, k_row, k_kind, k_v, k_angle, s_of, s_row, s_p, s_q,
             s_ip, s_iq)
    dead_of, dead_row : rows without supply in each state that was checked
    lost : float64[B], p.u. demand that is disconnected or without supply, where checked
    cut : bool[B], whether something connected is without supply, where checked
    """
    changes, check, load_of = borrowed((changes, check, load_of))
    network, base, units, shunts = borrowed((network, base, units, shunts))
    p, q, v_set = borrowed((p, q, v_set))
    b_of, u_of = changes[0], changes[5]
    kind, base_alive = base[4], base[5]
    batch, n = b_of.size - 1, kind.size
    z_of, z_row, z_g, z_b = shunts
    room = 8 * b_of[batch] + 2 * u_of[batch] + 1
    for state in range(batch):
        room += z_of[load_of[state] + 1] - z_of[load_of[state]]
    y_lists = (np.empty(room, np.int64), np.empty(room), np.empty(room))
    room = 2 * u_of[batch] + 1
    s_lists = (
        np.empty(room, np.int64), np.empty(room), np.empty(room), np.empty(room), np.empty(room),
    )  # fmt: skip
    k_lists = (np.empty(16, np.int64), np.empty(16, np.int8), np.empty(16), np.empty(16))
    dead_row = np.empty(16, np.int64)
    y_of, k_of = np.zeros(batch + 1, np.int64), np.zeros(batch + 1, np.int64)
    s_of, dead_of = np.zeros(batch + 1, np.int64), np.zeros(batch + 1, np.int64)
    lost, cut = np.zeros(batch), np.zeros(batch, np.bool_)
    busbar_now, kind_now = base[3].copy(), kind.copy()
    hold, touched = np.full(n, UNTOUCHED, np.int64), np.empty(n, np.int64)
    leader, best, alive = np.empty(n, np.int64), np.empty(n, np.int64), base_alive.copy()
    end_f, end_t = np.empty(base[2].size, np.int64), np.empty(base[2].size, np.int64)
    for k in range(end_f.size):
        end_f[k] = _end(network[1], k, base[0][k], base[2][k])
        end_t[k] = _end(network[2], k, base[1][k], base[2][k])
    ny, nk, ns, nd = 0, 0, 0, 0
    for state in range(batch):
        load = load_of[state]
        for c in range(b_of[state], b_of[state + 1]):
            f, t, ny = _switch_branch(c, changes, network, base, y_lists, ny)
            end_f[changes[1][c]], end_t[changes[1][c]] = f, t
        for c in range(z_of[load], z_of[load + 1]):
            y_lists[0][ny], y_lists[1][ny], y_lists[2][ny] = network[4] + z_row[c], z_g[c], z_b[c]
            ny += 1
        if not check[state] and u_of[state] == u_of[state + 1]:
            y_of[state + 1], k_of[state + 1], s_of[state + 1], dead_of[state + 1] = ny, nk, ns, nd
            _back_to_base(state, changes, network, base, end_f, end_t, busbar_now)
            continue
        ny, ns = _move_units(
            state, changes, base, units, p[load], q[load], busbar_now, y_lists, ny, network[4],
            s_lists, ns,
        )  # fmt: skip
        n_touched = _choose_holders(state, changes, units, busbar_now, kind_now, hold, touched)
        if check[state]:
            n_touched = supply(
                end_f, end_t, units, busbar_now, leader, best, alive, base_alive, kind_now, hold,
                touched, n_touched,
            )  # fmt: skip
            lost[state], cut[state] = what_is_lost(
                end_f, end_t, units[0], units[11], busbar_now, alive, p[load]
            )
            dead_row = _grown(dead_row, nd + n)
            for i in range(n):
                if not alive[i]:
                    dead_row[nd] = i
                    nd += 1
        k_lists = (
            _grown(k_lists[0], nk + n_touched), _grown(k_lists[1], nk + n_touched),
            _grown(k_lists[2], nk + n_touched), _grown(k_lists[3], nk + n_touched),
        )  # fmt: skip
        nk = _note_kinds(
            v_set[load], units, kind, kind_now, alive, hold, touched, n_touched, k_lists, nk
        )
        _back_to_base(state, changes, network, base, end_f, end_t, busbar_now)
        alive[:] = base_alive
        y_of[state + 1], k_of[state + 1], s_of[state + 1], dead_of[state + 1] = ny, nk, ns, nd
    lists = (y_of, *y_lists, k_of, *k_lists, s_of, *s_lists)
    return lists, dead_of, dead_row[:nd].copy(), lost, cut


@kernel
def _note_kinds(v_set, units, kind, kind_now, alive, hold, touched, n_touched, k_lists, used):
    """Append the kinds of the touched rows and what holds them; then forget the touching."""
    v_set, units, kind, kind_now, alive, hold, touched, k_lists = borrowed(
        (v_set, units, kind, kind_now, alive, hold, touched, k_lists)
    )
    reference, va = units[5], units[6]
    k_row, k_kind, k_v, k_angle = k_lists
    for e in range(n_touched):
        i = touched[e]
        holder = hold[i]
        k_row[used] = i
        k_kind[used] = kind_now[i] if alive[i] else FIXED
        k_v[used] = v_set[holder] if holder >= 0 else np.nan
        k_angle[used] = va[holder] if holder >= 0 and reference[holder] else np.nan
        used += 1
        kind_now[i] = kind[i]
        hold[i] = UNTOUCHED
    return used


@inlined
def _back_to_base(state, changes, network, base, end_f, end_t, busbar_now):
    """Put the branches and units of a state back to where the base has them."""
    b_of, b_branch = changes[0], changes[1]
    u_of, u_unit = changes[5], changes[6]
    for c in range(b_of[state], b_of[state + 1]):
        k = b_branch[c]
        end_f[k] = _end(network[1], k, base[0][k], base[2][k])
        end_t[k] = _end(network[2], k, base[1][k], base[2][k])
    for c in range(u_of[state], u_of[state + 1]):
        busbar_now[u_unit[c]] = base[3][u_unit[c]]
