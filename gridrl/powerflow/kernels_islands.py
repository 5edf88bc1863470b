"""Which rows of a state some reference supplies, who takes over an island, and what is lost.

Switching states are looked at 64 at a time, one bit of a word each: a branch carries the supply of
all of them at once. ``units`` and the other tuples are those of
`gridrl.powerflow.kernels_states`. Words, uint64::

    end_f, end_t  [n_branch, 2] states in which that end of the closed branch is on busbar 1, 2
    at            [n_unit, 2] states in which the unit is on busbar 1, 2
    reach         [n] states in which the row is supplied
    taken         [n_unit or 0] states in which the unit takes over an island
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import borrowed

PQ, PV, FIXED = 0, 1, 2
NOBODY, UNTOUCHED = -2, -1  # who holds the voltage of a row: a unit, nobody, or as in the base
WORD = 64
NONE, ALL = np.uint64(0), np.uint64(0xFFFFFFFFFFFFFFFF)
ONE = np.uint64(1)


@inlined
def _leader_of(leader, i):
    while leader[i] != i:
        leader[i] = leader[leader[i]]
        i = leader[i]
    return i


@kernel
def live_rows(end_f, end_t, unit_row, reference, busbar_now, leader, alive):
    """Mark the rows that some reference unit supplies through closed branches."""
    end_f, end_t, unit_row, reference, busbar_now, leader, alive = borrowed(
        (end_f, end_t, unit_row, reference, busbar_now, leader, alive)
    )
    for i in range(alive.size):
        leader[i] = i
        alive[i] = False
    for k in range(end_f.size):
        if end_f[k] >= 0 and end_t[k] >= 0:
            a = _leader_of(leader, end_f[k])
            c = _leader_of(leader, end_t[k])
            if a != c:
                leader[a] = c
    for m in range(reference.size):
        if reference[m] and busbar_now[m] > 0:
            alive[_leader_of(leader, unit_row[m, busbar_now[m] - 1])] = True
    for i in range(alive.size):
        leader[i] = _leader_of(leader, i)
    for i in range(alive.size):
        if alive[leader[i]]:
            alive[i] = True


@kernel
def place_ends(first, last, changes, base, words):
    """Fill ``end_f, end_t, at`` for the states ``first`` to ``last`` (exclusive, 64 at most)."""
    changes, base, words = borrowed((changes, base, words))
    b_of, b_branch, b_from, b_to, b_closed, u_of, u_unit, u_busbar = changes
    from_busbar, to_busbar, closed, unit_busbar = base[0], base[1], base[2], base[3]
    end_f, end_t, at = words
    for a in range(2):
        for k in range(closed.size):
            end_f[k, a] = ALL if closed[k] and from_busbar[k] == a + 1 else NONE
            end_t[k, a] = ALL if closed[k] and to_busbar[k] == a + 1 else NONE
        for m in range(unit_busbar.size):
            at[m, a] = ALL if unit_busbar[m] == a + 1 else NONE
    for state in range(first, last):
        bit = ONE << np.uint64(state - first)
        for c in range(b_of[state], b_of[state + 1]):
            k = b_branch[c]
            for a in range(2):
                here = bit if b_closed[c] and b_from[c] == a + 1 else NONE
                there = bit if b_closed[c] and b_to[c] == a + 1 else NONE
                end_f[k, a] = (end_f[k, a] & ~bit) | here
                end_t[k, a] = (end_t[k, a] & ~bit) | there
        for c in range(u_of[state], u_of[state + 1]):
            m = u_unit[c]
            for a in range(2):
                here = bit if u_busbar[c] == a + 1 else NONE
                at[m, a] = (at[m, a] & ~bit) | here


@kernel
def _spread(row_from, row_to, words, reach):
    """Carry ``reach`` along closed branches until nothing changes, there and back in turn."""
    row_from, row_to, words, reach = borrowed((row_from, row_to, words, reach))
    end_f, end_t, _ = words
    n = end_f.shape[0]
    again, back = True, False
    while again:
        again = False
        for e in range(n):
            k = n - 1 - e if back else e
            for a in range(2):
                if end_f[k, a] == NONE:
                    continue
                f = row_from[k, a]
                for b in range(2):
                    both = end_f[k, a] & end_t[k, b]
                    if both == NONE:
                        continue
                    t = row_to[k, b]
                    new = (reach[f] ^ reach[t]) & both
                    if new != NONE:
                        reach[f] |= new
                        reach[t] |= new
                        again = True
        back = not back


@kernel
def supply(network, units, words, ranked, reach, taken):
    """Fill ``reach``: the references supply first, then who takes over an island.

    ``ranked`` int64[n_unit or 0] are the units in the order in which they take over; empty where
    none does.
    """
    network, units, words, reach, taken = borrowed((network, units, words, reach, taken))
    unit_row, controls, reference = units[0], units[4], units[5]
    row_from, row_to = network[1], network[2]
    at = words[2]
    reach[:] = NONE
    for m in range(reference.size):
        for a in range(2):
            if reference[m] and at[m, a] != NONE:
                reach[unit_row[m, a]] |= at[m, a]
    _spread(row_from, row_to, words, reach)
    for m in ranked:
        taken[m] = NONE
        for a in range(2):
            i = unit_row[m, a]
            if controls[m] and at[m, a] != NONE:
                new = at[m, a] & ~reach[i]
                if new != NONE:
                    taken[m] |= new
                    reach[i] |= new
                    _spread(row_from, row_to, words, reach)


@kernel
def cut_off(network, units, words, reach):
    """States in which something connected has no supply, and those in which demand has none."""
    network, units, words, reach = borrowed((network, units, words, reach))
    unit_row, demand = units[0], units[11]
    row_from, row_to = network[1], network[2]
    end_f, end_t, at = words
    cut, unserved = NONE, NONE
    for a in range(2):
        for k in range(end_f.shape[0]):
            if end_f[k, a] != NONE:
                cut |= end_f[k, a] & ~reach[row_from[k, a]]
            if end_t[k, a] != NONE:
                cut |= end_t[k, a] & ~reach[row_to[k, a]]
        for m in range(demand.size):
            if at[m, a] != NONE:
                cut |= at[m, a] & ~reach[unit_row[m, a]]
    for m in range(demand.size):
        if demand[m]:
            served = NONE
            for a in range(2):
                if at[m, a] != NONE:
                    served |= at[m, a] & reach[unit_row[m, a]]
            unserved |= ~served
    return cut, unserved


@kernel
def lost_demand(bit, units, at, reach, p):
    """Demand that is disconnected or without supply in the state of ``bit``, p.u."""
    units, at, reach, p = borrowed((units, at, reach, p))
    unit_row, demand = units[0], units[11]
    total = 0.0
    for m in range(demand.size):
        if demand[m] and p[m] < 0.0:
            served = False
            for a in range(2):
                if at[m, a] & bit != NONE:
                    served = reach[unit_row[m, a]] & bit != NONE
            if not served:
                total -= p[m]
    return total
