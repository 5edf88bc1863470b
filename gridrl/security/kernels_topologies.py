"""Outages of one branch or machine after each of many switching states, on that state's factors.

Every state gets its own equations and factors in the common pattern; its outages then run in lanes
as in `gridrl.powerflow.kernels_chord`. One compiled call serves all states: on a small grid the way
from Python to a kernel costs more than all outages of a state.
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.powerflow.kernels_chord import chord
from gridrl.powerflow.kernels_newton import factor_base
from gridrl.powerflow.kernels_states import _branch_entries, _end
from gridrl.security.kernels_bridges import bridges

# a pair: solved here; left to Newton; the outage changes nothing; solved, and something is cut off
SOLVED, LEFT, NOTHING, CUT = 0, 1, 2, 3


@kernel
def secure_states(
    lanes, pattern, tree, node, network, base, base_topology, units, states, v_state, s_node,
    s_current, loads, which, pairs, settings, reactive, limits, out,
):  # fmt: skip
    """Check outages after each state in ``which``.

    Parameters
    ----------
    network, base_topology, units : see `gridrl.powerflow.kernels_states`
    states : (changes, lists, dead_of, dead_row)
        Of the switching states, as `gridrl.powerflow.kernels_states.state_lists` makes them.
    v_state : complex128[B, n_node]
        Solved voltages of the states.
    s_node, s_current : float64[1, n_node, 2]
        Injection that all states share.
    loads : (p, q, v_set) float64[n_unit]
        The same by unit.
    pairs : (pair_of, pair_branch, pair_unit)
        Outages pair_of[k]:pair_of[k + 1] follow state k; -1: not the outage of one branch (unit).
    out : (how, loading, branch, outside, volt, volt_row, lost)
        Per pair: SOLVED, LEFT, NOTHING or CUT; highest loading, its branch, voltages outside
        limits, the furthest of them, its row, demand that is cut off.
    """
    n, n_branch = node.size, base_topology[2].size
    pair_of = pairs[0]
    changes, lists, dead_of, dead_row = states
    from_busbar, to_busbar = base_topology[0].copy(), base_topology[1].copy()
    closed, unit_busbar = base_topology[2].copy(), base_topology[3].copy()
    end_f, end_t = np.empty(n_branch, np.int64), np.empty(n_branch, np.int64)
    alive = np.ones(n, np.bool_)
    most = 0
    for k in which:
        most = max(most, pair_of[k + 1] - pair_of[k])
    room = _room(most)
    v_rows = np.empty((1, n, 2))
    sources = np.empty(units[0].shape[0], np.int64)
    for state in which:
        n_source = _switch(
            state, changes, from_busbar, to_busbar, closed, unit_busbar, network, end_f, end_t,
            units, sources,
        )  # fmt: skip
        own = _equations(state, lists, base, network[4])
        power, current = _injections(state, lists, s_node, s_current)
        for e in range(dead_of[state], dead_of[state + 1]):
            alive[dead_row[e]] = False
        for i in range(n):
            v = v_state[state, node[i]]
            v_rows[0, i, 0] = v.real if alive[i] else 1.0
            v_rows[0, i, 1] = v.imag if alive[i] else 0.0
        islands = bridges(n, end_f, end_t, sources[:n_source])
        first = pair_of[state]
        used = _outages(
            first, pair_of[state + 1], pairs, end_f, end_t, islands, alive, own[4], network,
            (from_busbar, to_busbar, unit_busbar), units, loads, room, out[0],
        )  # fmt: skip
        for k in range(n_branch):  # what is dead carries nothing
            if end_f[k] >= 0 and not alive[end_f[k]]:
                end_f[k] = -1
            if end_t[k] >= 0 and not alive[end_t[k]]:
                end_t[k] = -1
        if used > 0:
            factors = factor_base(pattern, own, v_rows[0])
            outage, at, changed, none, iterations, worst, found = room
            chord(
                lanes, pattern, tree, node, own, factors, v_rows[0], power, current,
                (*changed, none, none), outage, (end_f, end_t), network[3], islands, v_rows,
                np.arange(used), settings, reactive, limits,
                (np.empty((0, 0), np.complex128), iterations, worst, *found),
            )  # fmt: skip
            _hand_out(first, used, room, islands, (end_f, end_t), units, unit_busbar, loads[0], out)
        for e in range(dead_of[state], dead_of[state + 1]):
            alive[dead_row[e]] = True
        _switch_back(state, changes, from_busbar, to_busbar, closed, unit_busbar, base_topology)


@kernel
def _hand_out(first, used, room, islands, ends, units, unit_busbar, p, out):
    """What was found of the outages of one state, to their pairs."""
    outage, at, _, _, iterations, _, found = room
    how, loading, branch, outside, volt, volt_row, lost = out
    _, order, begin, end = islands
    demand, things = np.empty(0), np.empty(0, np.int64)
    for e in range(used):
        pair = first + at[e]
        if iterations[e] < 0:
            how[pair] = LEFT
            continue
        loading[pair], branch[pair], outside[pair] = found[0][e], found[1][e], found[5][e]
        volt_row[pair], volt[pair] = found[3][e], found[4][e] if found[3][e] >= 0 else np.nan
        if how[pair] != CUT:
            continue
        if things.size == 0:
            demand, things = _what_is_where(order.size, ends, units, unit_busbar, p)
        k, count = outage[e], 0
        for row in range(begin[k], end[k]):
            lost[pair] += demand[order[row]]
            count += things[order[row]]
        if count == 0 and end[k] - begin[k] == 1:
            how[pair] = SOLVED  # a bare busbar


@kernel
def _what_is_where(n, ends, units, unit_busbar, p):
    """Demand on every row, p.u.; and how many units and branches open at their far end."""
    demand, things = np.zeros(n), np.zeros(n, np.int64)
    unit_row, is_demand = units[0], units[11]
    for m in range(p.size):
        if unit_busbar[m] > 0:
            row = unit_row[m, unit_busbar[m] - 1]
            things[row] += 1
            if is_demand[m] and p[m] < 0.0:
                demand[row] -= p[m]
    for k in range(ends[0].size):
        f, t = ends[0][k], ends[1][k]
        if (f < 0) != (t < 0):
            things[max(f, t)] += 1
    return demand, things


@kernel
def _room(most):
    """Arrays for the outages of one state: branches, pairs, lists, and what the solver finds."""
    found = (
        np.empty(most), np.empty(most, np.int64), np.empty(most, np.int64),
        np.empty(most, np.int64), np.empty(most), np.empty(most, np.int64),
        np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0),
    )  # fmt: skip
    changed = (  # see `gridrl.powerflow.kernels_states.state_lists`
        np.zeros(most + 1, np.int64), np.empty(4 * most, np.int64), np.empty(4 * most),
        np.empty(4 * most),
        np.zeros(most + 1, np.int64), np.empty(most, np.int64), np.empty(most, np.int8),
        np.empty(most), np.empty(most),
        np.zeros(most + 1, np.int64), np.empty(most, np.int64), np.empty(most), np.empty(most),
        np.empty(most), np.empty(most),
    )  # fmt: skip
    return (
        np.empty(most, np.int64), np.empty(most, np.int64), changed, np.zeros(most + 1, np.int64),
        np.empty(most, np.int32), np.empty(most), found,
    )  # fmt: skip


@kernel
def _switch(state, changes, from_busbar, to_busbar, closed, unit_busbar, network, end_f, end_t,
            units, sources):  # fmt: skip
    """Put the topology arrays into a state; returns how many ``sources`` (reference rows)."""
    b_of, b_branch, b_from, b_to, b_closed, u_of, u_unit, u_busbar = changes
    for c in range(b_of[state], b_of[state + 1]):
        k = b_branch[c]
        from_busbar[k], to_busbar[k], closed[k] = b_from[c], b_to[c], b_closed[c]
    for c in range(u_of[state], u_of[state + 1]):
        unit_busbar[u_unit[c]] = u_busbar[c]
    for k in range(closed.size):
        end_f[k] = _end(network[1], k, from_busbar[k], closed[k])
        end_t[k] = _end(network[2], k, to_busbar[k], closed[k])
    unit_row, reference = units[0], units[5]
    used = 0
    for m in range(reference.size):
        if reference[m] and unit_busbar[m] > 0:
            sources[used] = unit_row[m, unit_busbar[m] - 1]
            used += 1
    return used


@kernel
def _switch_back(state, changes, from_busbar, to_busbar, closed, unit_busbar, base_topology):
    b_of, b_branch, u_of, u_unit = changes[0], changes[1], changes[5], changes[6]
    for c in range(b_of[state], b_of[state + 1]):
        k = b_branch[c]
        from_busbar[k], to_busbar[k] = base_topology[0][k], base_topology[1][k]
        closed[k] = base_topology[2][k]
    for c in range(u_of[state], u_of[state + 1]):
        unit_busbar[u_unit[c]] = base_topology[3][u_unit[c]]


@kernel
def _equations(state, lists, base, n_entry):
    """The base equations with a state's changes made."""
    y_of, y_pos, y_g, y_b, k_of, k_row, k_kind = lists[:7]
    yg, yb, dg, db = base[0].copy(), base[1].copy(), base[2].copy(), base[3].copy()
    kind = base[4].copy()
    for c in range(y_of[state], y_of[state + 1]):
        at = y_pos[c]
        if at < n_entry:
            yg[at] += y_g[c]
            yb[at] += y_b[c]
        else:
            dg[at - n_entry] += y_g[c]
            db[at - n_entry] += y_b[c]
    for c in range(k_of[state], k_of[state + 1]):
        kind[k_row[c]] = k_kind[c]
    return yg, yb, dg, db, kind


@kernel
def _injections(state, lists, s_node, s_current):
    s_of, s_row, s_p, s_q, s_ip, s_iq = lists[9:15]
    power, current = s_node.copy(), s_current.copy()
    for c in range(s_of[state], s_of[state + 1]):
        i = s_row[c]
        power[0, i, 0] += s_p[c]
        power[0, i, 1] += s_q[c]
        if current.shape[0] > 0:
            current[0, i, 0] += s_ip[c]
            current[0, i, 1] += s_iq[c]
    return power, current


@kernel
def _outages(first, last, pairs, end_f, end_t, islands, alive, kind, network, busbars, units, loads,
             room, how):  # fmt: skip
    """List the outages that the state's factors carry; returns how many."""
    outage, at, changed = room[:3]
    y_of, y_pos, y_g, y_b, k_of = changed[:5]
    s_of = changed[9]
    side, takes_over = islands[0], units[12].size > 0
    used, ny, nk, ns = 0, 0, 0, 0
    for p in range(first, last):
        k, m = pairs[1][p], pairs[2][p]
        how[p] = LEFT
        if k >= 0:
            f, t = end_f[k], end_t[k]
            if f < 0 and t < 0:
                how[p] = NOTHING
            if f < 0 or t < 0 or not alive[f] or (side[k] > 0 and takes_over):
                continue
            how[p] = CUT if side[k] > 0 else SOLVED
            _branch_entries(k, f, t, -1.0, network, busbars[0][k], busbars[1][k],
                            (y_pos, y_g, y_b), ny)  # fmt: skip
            if side[k] > 0:  # the far end's equations stay
                gone = ny + (2 if side[k] == 1 else 0)
                y_g[gone] = y_b[gone] = y_g[gone + 1] = y_b[gone + 1] = 0.0
            ny += 4
        elif m >= 0:
            if busbars[2][m] == 0:
                how[p] = NOTHING
                continue
            let = _fail(m, alive, kind, network[4], busbars[2], units, loads, changed, ny, nk, ns)
            if let < 0:
                continue
            how[p] = SOLVED
            ny, nk, ns = ny + 1, nk + let, ns + 1
        else:
            continue
        outage[used], at[used] = k, p - first
        used += 1
        y_of[used], k_of[used], s_of[used] = ny, nk, ns
    return used


@kernel
def _fail(m, alive, kind, n_entry, unit_busbar, units, loads, changed, ny, nk, ns):
    """Append what the failure of unit ``m`` changes; returns kinds appended, -1: not for factors.

    Another unit that holds the same voltage goes on, at its own set point.
    """
    (
        unit_row,
        substation,
        first_of,
        members,
        controls,
        reference,
        _,
        z_p,
        z_q,
        i_p,
        i_q,
        demand,
        _,
    ) = units
    p, q, v_set = loads
    at = unit_busbar[m]
    i = unit_row[m, at - 1]
    if reference[m] or demand[m] or not alive[i]:
        return -1
    _, y_pos, y_g, y_b, _, k_row, k_kind, k_v, k_angle, _, s_row, s_p, s_q, s_ip, s_iq = changed
    y_pos[ny], y_g[ny], y_b[ny] = n_entry + i, z_p[m] * p[m], -z_q[m] * q[m]
    s_row[ns] = i
    s_p[ns], s_ip[ns] = -(1.0 - z_p[m] - i_p[m]) * p[m], -i_p[m] * p[m]
    s_q[ns], s_iq[ns] = -(1.0 - z_q[m] - i_q[m]) * q[m], -i_q[m] * q[m]
    if not controls[m] or kind[i] != 1:
        return 0
    k_row[nk], k_kind[nk], k_v[nk], k_angle[nk] = i, 0, np.nan, np.nan
    for e in range(first_of[substation[m]], first_of[substation[m] + 1]):
        other = members[e]
        if other != m and controls[other] and unit_busbar[other] == at:
            k_kind[nk], k_v[nk] = 1, v_set[other]
            break
    return 1
