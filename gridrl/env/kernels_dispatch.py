"""Storage, curtailment and redispatch of one step, as Grid2Op's environment works them out.

Operators order; ramps, limits and the balance decide what happens. The generators that may be
redispatched make up for what storage absorbs and curtailment removes, each within its ramp and
limits, as close to the dispatch that was ordered as they can. All powers are p.u., all arrays
[B, ...] and changed in place.
"""

import numpy as np

from gridrl.env.kernels_orders import AMBIGUOUS, LEGAL
from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import borrowed

MOST_PIECES = 100  # steps; a few are enough
EXACT = 1e-14  # p.u. that may be missing from a balance


@kernel
def judge_dispatch(active, redispatch, curtail, storage, gens, stores, tiny, verdict):
    """Raise ``verdict`` to AMBIGUOUS where an order asks a unit for what it cannot do.

    Parameters
    ----------
    redispatch : float64[B or 0, n_gen], p.u. more than before; 0 asks for nothing
    curtail : float64[B or 0, n_gen], largest share of p_max; NaN asks for nothing
    storage : float64[B or 0, n_storage], p.u. to absorb (produce, where negative)
    gens : (redispatchable, renewable, p_min, p_max, ramp_up, ramp_down), [n_gen] each
    stores : (energy_min, energy_max, absorb_max, produce_max, charge_efficiency,
              discharge_efficiency, loss), [n_storage] each
    tiny : float64, p.u. below which a power counts as none
    """
    redispatchable, renewable, _, _, ramp_up, ramp_down = gens
    for b in range(active.size):
        if not active[b] or verdict[b] != LEGAL:
            continue
        bad = False
        if redispatch.shape[0] > 0:
            for g in range(redispatchable.size):
                x = redispatch[b, g]
                bad = bad or np.isnan(x) or (abs(x) > tiny and not redispatchable[g])
                bad = bad or x > ramp_up[g] + tiny or x < -ramp_down[g] - tiny
        if curtail.shape[0] > 0:
            for g in range(renewable.size):
                x = curtail[b, g]
                bad = bad or (not np.isnan(x) and (x < 0.0 or x > 1.0 or not renewable[g]))
        if storage.shape[0] > 0:
            for k in range(stores[0].size):
                x = storage[b, k]
                bad = bad or np.isnan(x) or x > stores[2][k] + tiny or x < -stores[3][k] - tiny
        if bad:
            verdict[b] = AMBIGUOUS


@kernel
def take_orders(
    active, first, verdict, orders, gens, stores, units, settings, state, hits, p, failed, owed,
    moves,
):  # fmt: skip
    """Storage, curtailment and the targets of redispatch; what the generators must make up for.

    Parameters
    ----------
    first : bool
        The step of a reset: set points start from the series.
    orders : (redispatch, curtail, storage), see `judge_dispatch`; taken where ``verdict`` is LEGAL
    units : (unit of every generator int64[n_gen], unit of every storage int64[n_storage])
    settings : (hours of a step, tolerance p.u., tiny p.u., whether storage loses energy)
    state : (target, actual, set_point, limit float64[B, n_gen], modified bool[B, n_gen],
             charge, absorbed float64[B, n_storage], totals float64[B, 2])
        ``totals`` are what storage absorbed and curtailment removed (negative) one step before.
    hits : see `gridrl.env.kernels_orders`; cleared where a redispatch is refused
    p : float64[B, n_unit]
        Injections of the series; changed to curtailed power and storage.
    failed : bool[B]
        Set where a redispatch is refused because it leads beyond every limit.
    owed : float64[B]
        Filled with what the generators must bring more than one step before.
    moves : bool[B]
        Filled: whether the redispatch has to be found anew.
    """
    n_gen, n_storage = units[0].size, units[1].size
    scratch = (np.empty(n_gen), np.empty(n_storage), np.zeros(n_storage))
    _take(active, first, verdict, orders, gens, stores, units, settings, state, hits, p, failed,
          owed, moves, scratch)  # fmt: skip


@kernel
def _take(
    active, first, verdict, orders, gens, stores, units, settings, state, hits, p, failed, owed,
    moves, scratch,
):  # fmt: skip
    """The loop of `take_orders`, in which no array counts references."""
    active, verdict, orders, gens, stores = borrowed((active, verdict, orders, gens, stores))
    units, state, hits, p = borrowed((units, state, hits, p))
    failed, owed, moves, scratch = borrowed((failed, owed, moves, scratch))
    redispatch, curtail, storage = orders
    target, actual, set_point, limit, modified, charge, absorbed, totals = state
    gen_unit, storage_unit = units
    n_gen, n_storage = gen_unit.size, storage_unit.size
    new_p, previous, nothing = scratch
    for b in range(active.size):
        moves[b] = False
        if not active[b]:
            continue
        legal = verdict[b] == LEGAL
        for g in range(n_gen):
            new_p[g] = p[b, gen_unit[g]]
        ordered = storage[b] if legal and storage.shape[0] > 0 else nothing
        previous[:] = charge[b]
        stored = _store(ordered, stores, settings, charge[b], absorbed[b])
        more = stored - totals[b, 0]
        totals[b, 0] = stored
        if legal and curtail.shape[0] > 0:
            for g in range(n_gen):
                if not np.isnan(curtail[b, g]):
                    limit[b, g] = curtail[b, g]
        removed = _curtail(limit[b], gens[3], new_p)
        less = removed - totals[b, 1]
        totals[b, 1] = removed
        if legal and redispatch.shape[0] > 0:
            refused = _retarget(redispatch[b], gens, settings[2], actual[b], modified[b], target[b])
            if refused:
                failed[b] = True
                hits[0][b] = False
                hits[1][b] = False
                charge[b] = previous
                _lose(stores, settings, charge[b])
                more -= stored  # what Grid2Op does: the power flows, but nothing makes up for it
        if first:
            set_point[b] = new_p
        owed[b] = more - less
        moves[b] = _must_move(actual[b], target[b], more, less, settings[1])
        for g in range(n_gen):
            p[b, gen_unit[g]] = new_p[g]
        for k in range(n_storage):
            p[b, storage_unit[k]] = -absorbed[b, k]


@kernel
def redispatch_nearest(moves, owed, gens, gen_unit, settings, state, p, over):
    """Find the redispatch of the states in ``moves``; see `take_orders`.

    ``over`` (bool[B]) is set where ramps and limits cannot bring what is ``owed``.
    """
    target, actual, set_point, _, modified, _, _, _ = state
    n_gen = gen_unit.size
    new_p, work, part = np.empty(n_gen), np.empty((4, n_gen)), np.empty(n_gen, np.bool_)
    for b in range(moves.size):
        if moves[b]:
            for g in range(n_gen):
                new_p[g] = p[b, gen_unit[g]]
            over[b] = not _balance(
                owed[b], new_p, gens, settings, target[b], actual[b], set_point[b], modified[b],
                part, work,
            )  # fmt: skip


@kernel
def participants(owed, new_p, gens, tiny, target, actual, set_point, part):
    """Which generators of one state move; False where no choice of them reaches ``owed``."""
    for g in range(new_p.size):
        part[g] = gens[0][g] and (
            new_p[g] > 0.0 or abs(actual[g]) >= tiny or target[g] != actual[g]
        )
    if _reaches(owed, new_p, gens, actual, set_point, part):
        return True
    part[:] = gens[0]
    return _reaches(owed, new_p, gens, actual, set_point, part)


@kernel
def apply_dispatch(active, gen_unit, actual, set_point, p):
    """Add the redispatch to the power of the generators."""
    for b in range(active.size):
        if active[b]:
            for g in range(gen_unit.size):
                p[b, gen_unit[g]] += actual[b, g]
                set_point[b, g] = p[b, gen_unit[g]]


@inlined
def _lose(stores, settings, charge):
    if settings[3]:
        for k in range(charge.size):
            charge[k] = max(charge[k] - stores[6][k] * settings[0], 0.0)


@kernel
def _store(ordered, stores, settings, charge, absorbed):
    """Charge the storage units as ordered, within their capacity; returns what they absorb."""
    ordered, stores, charge, absorbed = borrowed((ordered, stores, charge, absorbed))
    low, high, _, _, inward, outward, _ = stores
    hours, _, tiny, losing = settings
    total = 0.0
    for k in range(charge.size):
        x = ordered[k] if abs(ordered[k]) >= tiny else 0.0
        gain = 1.0
        if losing and x != 0.0:
            gain = inward[k] if x > 0.0 else 1.0 / outward[k]
        charge[k] += x * hours * gain
        if charge[k] > high[k]:
            x -= (charge[k] - high[k]) / hours / (inward[k] if losing else 1.0)
            charge[k] = high[k]
        elif charge[k] < low[k]:
            x -= (charge[k] - low[k]) / hours * (outward[k] if losing else 1.0)
            charge[k] = low[k]
        absorbed[k] = x
        total += x
    _lose(stores, settings, charge)
    return total


@inlined
def _curtail(limit, p_max, new_p):
    """Cap the generators with a limit; returns by how much their power changed (0 or less)."""
    removed = 0.0
    for g in range(new_p.size):
        if abs(limit[g] - 1.0) >= 1e-7:
            capped = min(p_max[g] * limit[g], new_p[g])
            removed += capped - new_p[g]
            new_p[g] = capped
    return removed


@inlined
def _retarget(order, gens, tiny, actual, modified, target):
    """Add the ordered redispatch to the targets; True where that is refused."""
    asked = False
    for g in range(order.size):
        if modified[g]:
            target[g] += order[g]
        elif abs(order[g]) > tiny:
            target[g] = actual[g] + order[g]
        if abs(order[g]) > tiny:
            modified[g] = True
            asked = True
    refused = False
    if asked:
        for g in range(order.size):
            refused = refused or abs(target[g]) > gens[3][g] - gens[2][g]
    if refused:
        for g in range(order.size):
            target[g] -= order[g]
    return refused


@inlined
def _must_move(actual, target, more, less, tolerance):
    total, far = 0.0, max(abs(more), abs(less))
    for g in range(actual.size):
        total += actual[g]
        far = max(far, abs(actual[g] - target[g]))
    return abs(total) >= tolerance or far >= tolerance


@kernel
def _balance(owed, new_p, gens, settings, target, actual, set_point, modified, part, work):
    """Move the redispatchable generators so that together they bring ``owed`` more.

    Returns False where ramps and limits do not allow it. Generators with an order come as close
    to it as they can, weighted by their ramps; the others make up the balance first.
    """
    _, _, p_min, p_max, ramp_up, ramp_down = gens
    tolerance, tiny = settings[1], settings[2]
    low, high, wish, weight = work
    some = False
    if not participants(owed, new_p, gens, tiny, target, actual, set_point, part):
        return False
    for g in range(new_p.size):
        some = some or (part[g] and modified[g])
    for g in range(new_p.size):
        if not part[g]:
            continue
        drift = new_p[g] - (set_point[g] - actual[g])
        low[g] = max(p_min[g] - new_p[g] - actual[g], -ramp_down[g] - drift)
        high[g] = min(p_max[g] - new_p[g] - actual[g], ramp_up[g] - drift)
        high[g] = max(high[g], low[g])
        wish[g] = target[g] - actual[g] if modified[g] or not some else 0.0
        weight[g] = 1.0 / (ramp_up[g] + ramp_down[g] + 0.01 * tolerance)
    _share(owed, part, modified, some, low, high, wish, weight)
    for g in range(new_p.size):
        if part[g]:
            actual[g] += wish[g]
    return True


@inlined
def _reaches(owed, new_p, gens, actual, set_point, part):
    """Whether the generators of ``part`` can follow the series and bring ``owed`` as well."""
    _, _, p_min, p_max, ramp_up, ramp_down = gens
    move, up, down = owed, 0.0, 0.0
    for g in range(new_p.size):
        if part[g]:
            move += new_p[g] - (set_point[g] - actual[g])
            down += max(p_min[g] - set_point[g], -ramp_down[g])
            up += min(p_max[g] - set_point[g], ramp_up[g])
    return down <= move <= up


@kernel
def _share(owed, part, modified, some, low, high, wish, weight):
    """Replace ``wish`` by the nearest moves within bounds that sum up to ``owed``.

    The sum is clip(wish + multiplier / weight), increasing and piecewise linear in the multiplier.
    Where some generators have an order, the others move first.
    """
    part, modified, low, high = borrowed((part, modified, low, high))
    wish, weight = borrowed((wish, weight))
    for stage in range(2):
        free_low, free_high, fixed = 0.0, 0.0, 0.0
        for g in range(wish.size):
            if not part[g]:
                continue
            if _moves(stage, some, modified[g]):
                free_low += low[g]
                free_high += high[g]
            else:
                fixed += min(max(wish[g], low[g]), high[g])
        rest = owed - fixed
        # beyond reach all are at their bounds exactly: a generator that is back where it was must
        # not seem to be moved
        by = -np.inf if rest <= free_low else np.inf
        if free_low < rest < free_high:
            by = _multiplier(rest, stage, some, part, modified, low, high, wish, weight)
        for g in range(wish.size):
            if part[g] and _moves(stage, some, modified[g]):
                wish[g] = min(max(wish[g] + by / weight[g], low[g]), high[g])
        if free_low <= rest <= free_high:
            break
    for g in range(wish.size):
        if part[g]:
            wish[g] = min(max(wish[g], low[g]), high[g])


@kernel
def _multiplier(rest, stage, some, part, modified, low, high, wish, weight):
    """The multiplier at which the moves sum up to ``rest``, which is within their bounds.

    Newton's method, which ends after as many pieces as it crosses, within a bracket.
    """
    part, modified, low, high = borrowed((part, modified, low, high))
    wish, weight = borrowed((wish, weight))
    a, b = 0.0, 0.0  # all at their lower, upper bounds
    for g in range(wish.size):
        if part[g] and _moves(stage, some, modified[g]):
            a = min(a, (low[g] - wish[g]) * weight[g])
            b = max(b, (high[g] - wish[g]) * weight[g])
    by = 0.0
    for _ in range(MOST_PIECES):
        total, slope = 0.0, 0.0
        for g in range(wish.size):
            if part[g] and _moves(stage, some, modified[g]):
                x = wish[g] + by / weight[g]
                total += min(max(x, low[g]), high[g])
                slope += 1.0 / weight[g] if low[g] < x < high[g] else 0.0
        if abs(rest - total) <= EXACT:
            break
        if total < rest:
            a = by
        else:
            b = by
        step = by + (rest - total) / slope if slope > 0.0 else b if total < rest else a
        by = step if a < step < b else 0.5 * (a + b)
    return by


@inlined
def _moves(stage, some, has_order):
    """Whether a generator takes part in a stage: those without an order first, where some have."""
    return not some or (has_order if stage == 1 else not has_order)
