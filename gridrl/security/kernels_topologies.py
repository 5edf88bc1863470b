"""Single branch outages after each of many switching states, on the factors of each state.

Every state gets its own equations and factors in the common pattern; its outages then run in lanes
as in `gridrl.powerflow.kernels_chord`. One compiled call serves all states: on a small grid the way
from Python to a kernel costs more than all outages of a state.
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.powerflow.kernels_chord import chord
from gridrl.powerflow.kernels_newton import factor_base
from gridrl.powerflow.kernels_states import _branch_entries, _end
from gridrl.security.kernels_bridges import cutting_branches

SOLVED, LEFT, NOTHING = 0, 1, 2  # a pair: solved here; left to Newton; the outage changes nothing


@kernel
def secure_states(
    lanes, pattern, tree, node, network, base, base_topology, units, states, v_state, s_node,
    s_current, which, pairs, settings, reactive, limits, out,
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
    pairs : (pair_of, pair_branch)
        Outages pair_of[k]:pair_of[k + 1] follow state k; -1: not the outage of one branch.
    out : (how, loading, branch, outside)
        Per pair: SOLVED, LEFT or NOTHING; highest loading, its branch, voltages outside limits.
    """
    n, n_branch = node.size, base_topology[2].size
    pair_of, pair_branch = pairs
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
        cutting = cutting_branches(n, end_f, end_t, sources[:n_source])
        first = pair_of[state]
        used = _outages(
            first, pair_of[state + 1], pair_branch, end_f, end_t, cutting, alive, network,
            from_busbar, to_busbar, room, out[0],
        )  # fmt: skip
        for k in range(n_branch):  # what is dead carries nothing
            if end_f[k] >= 0 and not alive[end_f[k]]:
                end_f[k] = -1
            if end_t[k] >= 0 and not alive[end_t[k]]:
                end_t[k] = -1
        if used > 0:
            factors = factor_base(pattern, own, v_rows[0])
            outage, at, y_lists, y_of, none, iterations, worst, found = room
            whole, tiny, real = np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0)
            chord(
                lanes, pattern, tree, node, own, factors, v_rows[0], power, current,
                (y_of, *y_lists, none, whole, tiny, real, real, none, whole, real, real, real,
                 real, none, none),
                outage, (end_f, end_t), network[3], v_rows, np.arange(used), settings, reactive,
                limits, (np.empty((0, 0), np.complex128), iterations, worst, *found),
            )  # fmt: skip
            for e in range(used):
                p = first + at[e]
                if iterations[e] < 0:
                    out[0][p] = LEFT
                else:
                    out[1][p], out[2][p], out[3][p] = found[0][e], found[1][e], found[5][e]
        for e in range(dead_of[state], dead_of[state + 1]):
            alive[dead_row[e]] = True
        _switch_back(state, changes, from_busbar, to_busbar, closed, unit_busbar, base_topology)


@kernel
def _room(most):
    """Arrays for the outages of one state: branches, pairs, lists, and what the solver finds."""
    whole = np.empty(most, np.int64)
    found = (
        np.empty(most), np.empty(most, np.int64), np.empty(most, np.int64),
        np.empty(most, np.int64), np.empty(most), np.empty(most, np.int64),
        np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0),
    )  # fmt: skip
    y_lists = (np.empty(4 * most, np.int64), np.empty(4 * most), np.empty(4 * most))
    none = np.zeros(most + 1, np.int64)
    return (
        whole, np.empty(most, np.int64), y_lists, np.arange(0, 4 * most + 4, 4), none,
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
def _outages(first, last, pair_branch, end_f, end_t, cutting, alive, network, from_busbar,
             to_busbar, room, how):  # fmt: skip
    """List the outages that the state's factors carry; returns how many."""
    outage, at, y_lists = room[:3]
    used = 0
    for p in range(first, last):
        k = pair_branch[p]
        if k < 0:
            how[p] = LEFT
            continue
        f, t = end_f[k], end_t[k]
        if f < 0 and t < 0:
            how[p] = NOTHING
            continue
        if f < 0 or t < 0 or cutting[k] or not alive[f]:
            how[p] = LEFT
            continue
        how[p] = SOLVED
        outage[used], at[used] = k, p - first
        _branch_entries(k, f, t, -1.0, network, from_busbar[k], to_busbar[k], y_lists, 4 * used)
        used += 1
    return used
