"""A step of a batch of states in two compiled calls, before and after what Python has to say.

What happens in which order says `gridrl.env.step`; what each part does, the kernels called here.
"""

import numpy as np

from gridrl.env.kernels_dispatch import (
    apply_dispatch,
    judge_dispatch,
    redispatch_nearest,
    take_orders,
)
from gridrl.env.kernels_grid import gather
from gridrl.env.kernels_orders import apply_topology, end_step, force_out, judge_topology
from gridrl.env.kernels_settle import RUNNING, settle
from gridrl.jit import kernel
from gridrl.sparse.lanes import borrowed

SURVIVED, UNBALANCED = 1, 4  # as `gridrl.env.state.Ending`


@kernel
def begin_step(active, orders, fleet, places, state, course, limits, settings, found):
    """Judge orders, move the series on, and change the injections by what was ordered.

    Parameters
    ----------
    orders : (set_busbar, set_line, redispatch, curtail, storage)
    fleet : (generators, storage units, units of both), see `gridrl.env.kernels_dispatch`
    places : see `gridrl.env.kernels_orders.judge_topology`
    state : (closed, line_cooldown, substation_cooldown, p, q, ending, dispatch), where the last is
        what `gridrl.env.kernels_dispatch.take_orders` calls state
    course : (row int64[B], p, q float64[n_row, n_unit])
    limits : (most lines, most substations) of an order
    settings : (beginning, dispatches, nearest, what `take_orders` calls settings)
    found : (verdict, failed, line hit, substation hit, owed, moves), filled
        ``moves`` are the states whose redispatch is left to do.
    """
    active, orders, fleet, places, state = borrowed((active, orders, fleet, places, state))
    course, found = borrowed((course, found))
    closed, line_cooldown, sub_cooldown, p, q, ending, dispatch = state
    verdict, failed, line_hit, sub_hit, owed, moves = found
    beginning, dispatches, nearest, numbers = settings
    gens, stores, units = fleet
    if orders[2].shape[0] > 0 or orders[3].shape[0] > 0 or orders[4].shape[0] > 0:
        judge_dispatch(active, orders[2], orders[3], orders[4], gens, stores, numbers[2], verdict)
    if orders[0].shape[0] > 0 or orders[1].shape[0] > 0:
        judge_topology(
            active, orders[0], orders[1], closed, (line_cooldown, sub_cooldown), places, limits,
            (line_hit, sub_hit), verdict,
        )  # fmt: skip
    gather(active, course[0], course[1], p)
    gather(active, course[0], course[2], q)
    if not dispatches:
        return
    take_orders(
        active, beginning, verdict, (orders[2], orders[3], orders[4]), gens, stores, units,
        numbers, dispatch, (line_hit, sub_hit), p, failed, owed, moves,
    )  # fmt: skip
    if nearest:
        over = np.zeros(active.size, np.bool_)
        redispatch_nearest(moves, owed, gens, units[0], numbers, dispatch, p, over)
        for b in range(active.size):
            moves[b] = False
            if over[b]:
                ending[b] = UNBALANCED
    apply_dispatch(active & ~moves, units[0], dispatch[1], dispatch[2], p)


@kernel
def finish_step(lanes, types, which, orders, flow, state, counts, outages, course, settings, found):
    """Switch, solve the power flow with the trips that follow, move counters and cooldowns on.

    Parameters
    ----------
    which : int64[m]
        States that take part.
    orders : (set_busbar, set_line, verdict)
    flow : (models, world, settings), see `gridrl.env.kernels_settle`
    state : see there
    counts : (row, last int64[B], attacked, attack_left int32[B], overflow, protection,
              line_cooldown int32[B, n_branch], substation_cooldown int32[B, n_substation],
              ending int8[B], busbar int8[B, n_terminal] before the step)
    outages : (maintenance, hazard, maintenance ahead, left, hazard left, any) of every row
    course : see there
    settings : (beginning, real, what `settle` calls limits,
                what `gridrl.env.kernels_orders.end_step` calls settings)
    found : (line hit, substation hit, tripped)

    Returns
    -------
    int
        Power flows that it took.
    """
    which, orders, flow, state, counts = borrowed((which, orders, flow, state, counts))
    outages, course, found = borrowed((outages, course, found))
    busbar, closed, rho = state[0], state[1], state[7]
    (
        row,
        last,
        attacked,
        attack_left,
        overflow,
        protection,
        line_cooldown,
        sub_cooldown,
        ending,
        before,
    ) = counts
    beginning, real, limits, numbers = settings
    active = np.zeros(closed.shape[0], np.bool_)
    active[which] = True
    if orders[0].shape[0] > 0 or orders[1].shape[0] > 0:
        apply_topology(active, orders[0], orders[1], orders[2], busbar, closed)
    force_out(active, row, outages, attacked, closed)
    solves = settle(
        lanes, types, which, flow[0], flow[1], state, course, flow[2], (protection, limits), ending,
        found[2],
    )  # fmt: skip
    alive = which[ending[which] == RUNNING]
    end_step(
        alive, row, rho, closed, before, busbar, found[2], (overflow, protection),
        (line_cooldown, sub_cooldown), (found[0], found[1]), outages[2:], (attacked, attack_left),
        numbers,
    )  # fmt: skip
    if beginning:
        for b in which:
            overflow[b], protection[b], line_cooldown[b], sub_cooldown[b] = 0, 0, 0, 0
    if real:
        for b in alive:
            if row[b] >= last[b]:
                ending[b] = SURVIVED
    return solves
