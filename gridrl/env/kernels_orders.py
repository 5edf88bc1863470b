"""What operators may order, what is forced on them, and what protection trips.

All loops run over a batch of states; arrays are [B, ...] and changed in place. A line here is a
branch: ``closed`` says whether it is in service, ``busbar`` where its ends are or were last.
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import borrowed

LEGAL, AMBIGUOUS, ILLEGAL = 0, 1, 2


@kernel
def judge_topology(active, set_busbar, set_line, closed, cooldowns, places, limits, hits, verdict):
    """Which lines and substations each order concerns, and whether it is allowed.

    Parameters
    ----------
    active : bool[B]
        States that take part; the others are left as they are.
    set_busbar : int8[B or 0, n_terminal]
        0 leaves the terminal, 1 and 2 are busbars, -1 opens the line of a line end.
    set_line : int8[B or 0, n_branch]
        0 leaves the line, 1 closes it at the busbars its ends were on last, -1 opens it.
    closed : bool[B, n_branch]
    cooldowns : (line int32[B, n_branch], substation int32[B, n_substation])
    places : (substation int64[n_terminal], movable bool[n_terminal], splits bool[n_substation],
              area int64[n_substation])
    limits : (most lines, most substations) of an order in each area
    hits : (line bool[B, n_branch], substation bool[B, n_substation])
        Filled with what the order concerns.
    verdict : int8[B]
        Raised to AMBIGUOUS or ILLEGAL; what is raised already stays.
    """
    active, set_busbar, set_line, closed = borrowed((active, set_busbar, set_line, closed))
    cooldowns, places, hits, verdict = borrowed((cooldowns, places, hits, verdict))
    substation, _, _, area = places
    n_branch = closed.shape[1]
    line_hit, sub_hit = hits
    counts = np.zeros((area.max() + 1, 2), np.int64)
    for b in range(active.size):
        line_hit[b] = False
        sub_hit[b] = False
        if not active[b] or verdict[b] != LEGAL:
            continue
        if _is_ambiguous(b, set_busbar, set_line, n_branch, places):
            verdict[b] = AMBIGUOUS
            continue
        _what_is_hit(b, set_busbar, set_line, closed, substation, line_hit[b], sub_hit[b])
        counts[:] = 0
        cold = True
        for k in range(n_branch):
            if line_hit[b, k]:
                counts[area[substation[k]], 0] += 1
                cold = cold and cooldowns[0][b, k] == 0
        for s in range(area.size):
            if sub_hit[b, s]:
                counts[area[s], 1] += 1
                cold = cold and cooldowns[1][b, s] == 0
        few = True
        for a in range(counts.shape[0]):
            few = few and counts[a, 0] <= limits[0] and counts[a, 1] <= limits[1]
        if not (cold and few):
            verdict[b] = ILLEGAL
            line_hit[b] = False
            sub_hit[b] = False


@inlined
def _is_ambiguous(b, set_busbar, set_line, n_branch, places):
    """Whether an order contradicts itself or asks for what is not there."""
    substation, movable, splits, _ = places
    bad = False
    if set_busbar.shape[0] > 0:
        for t in range(substation.size):
            to = set_busbar[b, t]
            if to == 0:
                continue
            bad = bad or to < -1 or to > 2 or not movable[t]
            bad = bad or (to == 2 and not splits[substation[t]])
            bad = bad or (to == -1 and t >= 2 * n_branch)
    if set_line.shape[0] > 0:
        for k in range(n_branch):
            to = set_line[b, k]
            bad = bad or to < -1 or to > 1
            if to == -1 and set_busbar.shape[0] > 0:
                bad = bad or set_busbar[b, k] > 0 or set_busbar[b, n_branch + k] > 0
    return bad


@inlined
def _what_is_hit(b, set_busbar, set_line, closed, substation, line_hit, sub_hit):
    """Lines and substations that an order concerns, as Grid2Op counts them.

    Moving the end of an open line closes it and counts as an order on the line alone.
    """
    n_branch = closed.shape[1]
    for k in range(n_branch):
        hit = set_line.shape[0] > 0 and set_line[b, k] != 0
        line_hit[k] = hit
        if set_busbar.shape[0] == 0:
            continue
        f, t = set_busbar[b, k], set_busbar[b, n_branch + k]
        switches = (f < 0 or t < 0) if closed[b, k] else (hit or f > 0 or t > 0)
        if switches and (f != 0 or t != 0):
            line_hit[k] = True
        elif not switches:
            if f != 0:
                sub_hit[substation[k]] = True
            if t != 0:
                sub_hit[substation[n_branch + k]] = True
    if set_busbar.shape[0] > 0:
        for t in range(2 * n_branch, substation.size):
            if set_busbar[b, t] != 0:
                sub_hit[substation[t]] = True


@kernel
def apply_topology(active, set_busbar, set_line, verdict, busbar, closed):
    """Carry out the legal orders in ``busbar`` int8[B, n_terminal] and ``closed``."""
    n_branch = closed.shape[1]
    for b in range(active.size):
        if not active[b] or verdict[b] != LEGAL:
            continue
        if set_line.shape[0] > 0:
            for k in range(n_branch):
                if set_line[b, k] != 0:
                    closed[b, k] = set_line[b, k] > 0
        if set_busbar.shape[0] > 0:
            for t in range(busbar.shape[1]):
                to = set_busbar[b, t]
                if to > 0:
                    busbar[b, t] = to
                if to != 0 and t < 2 * n_branch:
                    closed[b, t % n_branch] = to > 0
            for k in range(n_branch):
                if set_busbar[b, k] < 0 or set_busbar[b, n_branch + k] < 0:
                    closed[b, k] = False


@kernel
def force_out(active, row, outages, attacked, closed):
    """Open what is under maintenance, broken or attacked, whatever was ordered.

    ``outages`` begins with (maintenance, hazard) bool[n_row or 0, n_branch] and ends with whether
    anything is out in a row, bool[n_row]; ``attacked`` int32[B], -1: none.
    """
    active, row, outages, attacked, closed = borrowed((active, row, outages, attacked, closed))
    maintenance, hazard, eventful = outages[0], outages[1], outages[5]
    for b in range(active.size):
        if not active[b]:
            continue
        r = row[b]
        if eventful[r]:
            for k in range(closed.shape[1] if maintenance.shape[0] > 0 else 0):
                closed[b, k] = closed[b, k] and not maintenance[r, k]
            for k in range(closed.shape[1] if hazard.shape[0] > 0 else 0):
                closed[b, k] = closed[b, k] and not hazard[r, k]
        if attacked[b] >= 0:
            closed[b, attacked[b]] = False


@kernel
def trip(rho, closed, counter, counted, settings, tripped):
    """Open overloaded lines of one state; returns whether there was any.

    At once above the hard limit, above the soft one when time is up.

    Parameters
    ----------
    rho : float64[n_branch]
    counter : int32[n_branch]
        Steps in a row above the soft limit, before this one.
    counted : bool[n_branch]
        Whether this step has been counted; set here.
    settings : (soft limit, soft steps, hard limit, whether the soft counter runs, any)
    tripped : bool[n_branch]
        Set where a line opens.
    """
    rho, closed, counter, counted, tripped = borrowed((rho, closed, counter, counted, tripped))
    soft, allowed, hard, counts, _ = settings
    suspects = 0
    for k in range(closed.size):  # a plain sum, which the compiler makes SIMD of
        suspects += (rho[k] > soft) | (rho[k] > hard) | (counter[k] > allowed)
    again = False
    for k in range(closed.size if suspects > 0 else 0):
        if not closed[k]:
            continue
        if counts and rho[k] > soft:
            counted[k] = True
        if rho[k] > hard or counter[k] + counted[k] > allowed:
            closed[k] = False
            tripped[k] = True
            again = True
    return again


@kernel
def end_step(which, row, rho, closed, before, busbar, tripped, counters, cooldowns, hits, outages,
             attack, settings):  # fmt: skip
    """Counters and cooldowns after a step that was solved.

    Parameters
    ----------
    which : int64[m]
        States whose step was solved.
    before, busbar : int8[B, n_terminal]
        Busbars before and after the step: the ends of a line that ends up open go back.
    counters : (overflow int32[B, n_branch], protection int32[B, n_branch])
    cooldowns, hits : see `judge_topology`
    outages : (maintenance_ahead, maintenance_left, hazard_left) int64[n_row or 0, n_branch], and
        whether anything is out in a row, bool[n_row]
    attack : (line int32[B], left int32[B])
    settings : (soft limit, reconnection, line cooldown, substation cooldown)
    """
    which, row, rho, closed, before, busbar, tripped = borrowed(
        (which, row, rho, closed, before, busbar, tripped)
    )
    counters, cooldowns, hits = borrowed((counters, cooldowns, hits))
    outages, attack = borrowed((outages, attack))
    overflow, protection = counters
    line_cooldown, sub_cooldown = cooldowns
    ahead, maintenance_left, hazard_left, eventful = outages
    soft, reconnection, line_rest, sub_rest = settings
    n_branch = closed.shape[1]
    for b in which:
        if attack[0][b] >= 0:
            k = attack[0][b]
            line_cooldown[b, k] = max(line_cooldown[b, k], attack[1][b])
        for k in range(n_branch):  # several plain loops, which the compiler makes SIMD of
            left = max(line_cooldown[b, k] - 1, 0)
            left = reconnection if tripped[b, k] else left
            line_cooldown[b, k] = max(left, line_rest if hits[0][b, k] else 0)
        for k in range(n_branch):
            overflow[b, k] = overflow[b, k] + 1 if rho[b, k] > 1.0 else 0
        for k in range(n_branch):
            protection[b, k] = protection[b, k] + 1 if rho[b, k] > soft else 0
        if eventful[row[b]] and ahead.shape[0] > 0:
            for k in range(n_branch):
                if ahead[row[b], k] == 0:
                    line_cooldown[b, k] = max(line_cooldown[b, k], maintenance_left[row[b], k])
        if eventful[row[b]] and hazard_left.shape[0] > 0:
            for k in range(n_branch):
                line_cooldown[b, k] = max(line_cooldown[b, k], hazard_left[row[b], k])
        for k in range(n_branch):
            if not closed[b, k]:
                busbar[b, k] = before[b, k]
                busbar[b, n_branch + k] = before[b, n_branch + k]
        if sub_rest > 0:
            for s in range(sub_cooldown.shape[1]):
                left = max(sub_cooldown[b, s] - 1, 0)
                sub_cooldown[b, s] = sub_rest if hits[1][b, s] else left


@kernel
def allowed_orders(
    closed, line_cooldown, sub_cooldown, substation, line_of, line, way, limits, out
):
    """Whether the rules allow each order of a list in each state, and it would change something.

    Parameters
    ----------
    substation : int64[n_choice], that is configured, -1: none
    line_of, line, way : int64[n_choice + 1], int64[n], int8[n]
        Lines that order k switches: line_of[k]:line_of[k + 1]; way is 1 to close, -1 to open.
    limits : (most lines, most substations) of an order
    out : bool[B, n_choice], filled
    """
    for b in range(closed.shape[0]):
        for k in range(substation.size):
            s = substation[k]
            fine = s < 0 or (limits[1] > 0 and sub_cooldown[b, s] == 0)
            fine = fine and line_of[k + 1] - line_of[k] <= limits[0]
            for c in range(line_of[k], line_of[k + 1]):
                at = line[c]
                fine = fine and line_cooldown[b, at] == 0 and closed[b, at] == (way[c] < 0)
            out[b, k] = fine
