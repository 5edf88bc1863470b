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
    ALL,
    FIXED,
    NOBODY,
    NONE,
    ONE,
    PQ,
    PV,
    UNTOUCHED,
    WORD,
    cut_off,
    lost_demand,
    place_ends,
    supply,
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
    for state in range(batch):  # plain sums, which the compiler makes SIMD of
        nb, nu = 0, 0
        for k in range(n_branch):
            f = busbar[state, k] != base_busbar[k]
            t = busbar[state, n_branch + k] != base_busbar[n_branch + k]
            nb += f | t | (closed[state, k] != base_closed[k])
        for k in range(2 * n_branch, 2 * n_branch + n_unit):
            nu += busbar[state, k] != base_busbar[k]
        b_of[state + 1] = b_of[state] + nb
        u_of[state + 1] = u_of[state] + nu
    b_branch = np.empty(b_of[batch], np.int64)
    b_from, b_to = np.empty(b_branch.size, np.int8), np.empty(b_branch.size, np.int8)
    b_closed = np.empty(b_branch.size, np.bool_)
    u_unit, u_busbar = np.empty(u_of[batch], np.int64), np.empty(u_of[batch], np.int8)
    for state in range(batch):
        at = b_of[state]
        for k in range(n_branch if at < b_of[state + 1] else 0):
            f, t, c = busbar[state, k], busbar[state, n_branch + k], closed[state, k]
            if f != base_busbar[k] or t != base_busbar[n_branch + k] or c != base_closed[k]:
                b_branch[at], b_from[at], b_to[at], b_closed[at] = k, f, t, c
                at += 1
        at = u_of[state]
        for k in range(n_unit if at < u_of[state + 1] else 0):
            if busbar[state, 2 * n_branch + k] != base_busbar[2 * n_branch + k]:
                u_unit[at], u_busbar[at] = k, busbar[state, 2 * n_branch + k]
                at += 1
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

    Returns the admittance entries used so far.
    """
    _, b_branch, b_from, b_to, b_closed = changes[:5]
    from_busbar, to_busbar, closed = base[0], base[1], base[2]
    k = b_branch[c]
    f = _end(network[1], k, from_busbar[k], closed[k])
    t = _end(network[2], k, to_busbar[k], closed[k])
    used = _branch_entries(k, f, t, -1.0, network, from_busbar[k], to_busbar[k], y_lists, used)
    f = _end(network[1], k, b_from[c], b_closed[c])
    t = _end(network[2], k, b_to[c], b_closed[c])
    return _branch_entries(k, f, t, 1.0, network, b_from[c], b_to[c], y_lists, used)


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
    u_of, kind = changes[5], base[4]
    batch, n = u_of.size - 1, kind.size
    y_lists, s_lists = _room(changes, load_of, shunts[0])
    k_lists = (np.empty(16, np.int64), np.empty(16, np.int8), np.empty(16), np.empty(16))
    dead_row = np.empty(16, np.int64)
    y_of, k_of = np.zeros(batch + 1, np.int64), np.zeros(batch + 1, np.int64)
    s_of, dead_of = np.zeros(batch + 1, np.int64), np.zeros(batch + 1, np.int64)
    lost, cut = np.zeros(batch), np.zeros(batch, np.bool_)
    busbar_now, kind_now, alive = base[3].copy(), kind.copy(), base[5].copy()
    hold, touched = np.full(n, UNTOUCHED, np.int64), np.empty(n, np.int64)
    words, reach, taken, ranked, odd = _words(base, units)
    n_odd, adrift, unserved = 0, NONE, NONE
    ny, nk, ns, nd = 0, 0, 0, 0
    for state in range(batch):
        if state % WORD == 0:
            last = min(state + WORD, batch)
            if check[state:last].any():
                place_ends(state, last, changes, base, words)
                supply(network, units, words, ranked, reach, taken)
                adrift, unserved = cut_off(network, units, words, reach)
                n_odd = _odd_rows(last - state, reach, base[5], odd)
        bit = ONE << np.uint64(state % WORD)
        load = load_of[state]
        ny = _switch_branches(state, load, changes, network, base, shunts, y_lists, ny)
        if check[state] or u_of[state] < u_of[state + 1]:
            ny, ns = _move_units(
                state, changes, base, units, p[load], q[load], busbar_now, y_lists, ny, network[4],
                s_lists, ns,
            )  # fmt: skip
            n_touched = _choose_holders(state, changes, units, busbar_now, kind_now, hold, touched)
            if check[state]:
                n_touched = _take_over(
                    bit, units, words[2], taken, kind_now, hold, touched, n_touched
                )
                n_touched = _wake(bit, reach, odd[:n_odd], alive, hold, touched, n_touched)
                cut[state] = adrift & bit != NONE
                if unserved & bit != NONE:
                    lost[state] = lost_demand(bit, units, words[2], reach, p[load])
                dead_row = _grown(dead_row, nd + n)
                nd = _note_dead(alive, dead_row, nd)
            k_lists = (
                _grown(k_lists[0], nk + n_touched), _grown(k_lists[1], nk + n_touched),
                _grown(k_lists[2], nk + n_touched), _grown(k_lists[3], nk + n_touched),
            )  # fmt: skip
            nk = _note_kinds(
                v_set[load], units, kind, kind_now, alive, hold, touched, n_touched, k_lists, nk
            )
            for e in range(n_odd):
                alive[odd[e]] = base[5][odd[e]]
            for c in range(u_of[state], u_of[state + 1]):
                busbar_now[changes[6][c]] = base[3][changes[6][c]]
        y_of[state + 1], k_of[state + 1], s_of[state + 1], dead_of[state + 1] = ny, nk, ns, nd
    lists = (y_of, *y_lists, k_of, *k_lists, s_of, *s_lists)
    return lists, dead_of, dead_row[:nd].copy(), lost, cut


@kernel
def _room(changes, load_of, z_of):
    """Lists of admittance and injection changes with room for all states."""
    changes, load_of, z_of = borrowed((changes, load_of, z_of))
    b_of, u_of = changes[0], changes[5]
    units = u_of[u_of.size - 1]
    room = 8 * b_of[b_of.size - 1] + 2 * units + 1
    for load in load_of:
        room += z_of[load + 1] - z_of[load]
    y_lists = (np.empty(room, np.int64), np.empty(room), np.empty(room))
    room = 2 * units + 1
    return y_lists, (
        np.empty(room, np.int64), np.empty(room), np.empty(room), np.empty(room), np.empty(room),
    )  # fmt: skip


@kernel
def _words(base, units):
    """Room for what `gridrl.powerflow.kernels_islands` finds of 64 states, and its ranking."""
    n_branch, n_unit, n = base[2].size, base[3].size, base[4].size
    promotion = units[12]
    words = (
        np.empty((n_branch, 2), np.uint64), np.empty((n_branch, 2), np.uint64),
        np.empty((n_unit, 2), np.uint64),
    )  # fmt: skip
    ranked = np.argsort(-promotion, kind="mergesort")
    return (
        words, np.zeros(n, np.uint64), np.zeros(promotion.size, np.uint64), ranked,
        np.empty(n, np.int64),
    )  # fmt: skip


@kernel
def _odd_rows(count, reach, base_alive, odd):
    """List the rows whose supply is not that of the base in one of ``count`` states."""
    some = ALL >> np.uint64(WORD - count)
    used = 0
    for i in range(reach.size):
        if (reach[i] ^ (ALL if base_alive[i] else NONE)) & some != NONE:
            odd[used] = i
            used += 1
    return used


@kernel
def _switch_branches(state, load, changes, network, base, shunts, y_lists, used):
    """Append what switched branches and other constant-impedance parts change."""
    changes, network, base, shunts, y_lists = borrowed((changes, network, base, shunts, y_lists))
    z_of, z_row, z_g, z_b = shunts
    for c in range(changes[0][state], changes[0][state + 1]):
        used = _switch_branch(c, changes, network, base, y_lists, used)
    for c in range(z_of[load], z_of[load + 1]):
        y_lists[0][used] = network[4] + z_row[c]
        y_lists[1][used], y_lists[2][used] = z_g[c], z_b[c]
        used += 1
    return used


@kernel
def _take_over(bit, units, at, taken, kind_now, hold, touched, n_touched):
    """Units that take over an island of the state fix its voltage."""
    units, at, taken, kind_now, hold, touched = borrowed(
        (units, at, taken, kind_now, hold, touched)
    )
    for m in range(taken.size):
        if taken[m] & bit != NONE:
            i = units[0][m, 0 if at[m, 0] & bit != NONE else 1]
            if hold[i] == UNTOUCHED:
                touched[n_touched] = i
                n_touched += 1
            hold[i] = m
            kind_now[i] = FIXED
    return n_touched


@kernel
def _wake(bit, reach, odd, alive, hold, touched, n_touched):
    """Note what the state supplies; rows that are not as in the base state are touched."""
    reach, odd, alive, hold, touched = borrowed((reach, odd, alive, hold, touched))
    for i in odd:
        supplied = reach[i] & bit != NONE
        if supplied != alive[i]:
            alive[i] = supplied
            if hold[i] == UNTOUCHED:
                hold[i] = NOBODY
                touched[n_touched] = i
                n_touched += 1
    return n_touched


@kernel
def _note_dead(alive, dead_row, used):
    """Append the rows without supply."""
    alive, dead_row = borrowed((alive, dead_row))
    for i in range(alive.size):
        dead_row[used] = i
        used += not alive[i]
    return used


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
