"""Which rows of a state some reference supplies, who takes over an island, and what is lost.

``units`` and the other tuples are those of `gridrl.powerflow.kernels_states`.
"""

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import borrowed

PQ, PV, FIXED = 0, 1, 2
NOBODY, UNTOUCHED = -2, -1  # who holds the voltage of a row: a unit, nobody, or as in the base


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
def _promote(unit_row, controls, promotion, busbar_now, leader, alive, best, kind_now, hold,
             touched, n_touched):  # fmt: skip
    """Let the first-ranked voltage-holding unit of every island without reference take over."""
    unit_row, controls, promotion, busbar_now, leader, alive, best, kind_now, hold, touched = (
        borrowed(
            (
                unit_row,
                controls,
                promotion,
                busbar_now,
                leader,
                alive,
                best,
                kind_now,
                hold,
                touched,
            )
        )
    )
    if promotion.size == 0:
        return n_touched
    best[:] = -1
    for m in range(promotion.size):
        at = busbar_now[m]
        if at == 0 or not controls[m]:
            continue
        i = unit_row[m, at - 1]
        if alive[i]:
            continue
        k = leader[i]
        if best[k] < 0 or promotion[m] > promotion[best[k]]:
            best[k] = m
    for k in range(best.size):
        m = best[k]
        if m < 0:
            continue
        i = unit_row[m, busbar_now[m] - 1]
        if hold[i] == UNTOUCHED:
            touched[n_touched] = i
            n_touched += 1
        hold[i] = m
        kind_now[i] = FIXED
    for i in range(alive.size):
        if not alive[i] and best[leader[i]] >= 0:
            alive[i] = True
    return n_touched


@kernel
def what_is_lost(end_f, end_t, unit_row, demand, busbar_now, alive, p):
    """Demand without supply, and whether anything connected is dead."""
    end_f, end_t, unit_row, demand, busbar_now, alive, p = borrowed(
        (end_f, end_t, unit_row, demand, busbar_now, alive, p)
    )
    total = 0.0
    cut = False
    for m in range(demand.size):
        at = busbar_now[m]
        dead = at > 0 and not alive[unit_row[m, at - 1]]
        cut = cut or dead
        if demand[m] and p[m] < 0.0 and (dead or at == 0):
            total -= p[m]
    for k in range(end_f.size):
        if end_f[k] >= 0 and not alive[end_f[k]]:
            cut = True
        if end_t[k] >= 0 and not alive[end_t[k]]:
            cut = True
    return total, cut


@kernel
def supply(end_f, end_t, units, busbar_now, leader, best, alive, base_alive, kind_now, hold,
            touched, n_touched):  # fmt: skip
    """Find the supplied rows of a state; rows that are not as in the base state are touched."""
    end_f, end_t, units, busbar_now, leader, best, alive, base_alive, kind_now, hold, touched = (
        borrowed(
            (
                end_f,
                end_t,
                units,
                busbar_now,
                leader,
                best,
                alive,
                base_alive,
                kind_now,
                hold,
                touched,
            )
        )
    )
    live_rows(end_f, end_t, units[0], units[5], busbar_now, leader, alive)
    n_touched = _promote(
        units[0], units[4], units[12], busbar_now, leader, alive, best, kind_now, hold, touched,
        n_touched,
    )  # fmt: skip
    for i in range(alive.size):
        if alive[i] != base_alive[i] and hold[i] == UNTOUCHED:
            hold[i] = NOBODY
            touched[n_touched] = i
            n_touched += 1
    return n_touched
