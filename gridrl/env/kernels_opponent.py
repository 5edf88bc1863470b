"""When the opponent attacks, and which line: one decision for every state of a batch."""

import numpy as np

from gridrl.jit import inlined, kernel


@inlined
def _uniform(seed, step):
    """A number in [0, 1) that follows from an episode's seed and a step (splitmix64)."""
    z = seed + np.uint64(step + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def attack(
    active, seed, step, rho, closed, lines, weight, settings, budget, attacked, left, pause, wait
):
    """Let every active state's opponent go on, pause, wait, or take out another line.

    Parameters
    ----------
    seed : uint64[B]; step : int64[B]
    rho, closed : float64[B, n_branch], bool[B, n_branch], as the opponent sees them
    lines, weight : int64[n], float64[n]
    settings : (by_loading, duration, cooldown, budget_per_step, period)
    budget, attacked, left, pause, wait : float64[B], int32[B] each, see `gridrl.env.state.State`
    """
    by_loading, duration, cooldown, earns, period = settings
    for b in range(active.size):
        if not active[b]:
            continue
        budget[b] += earns
        left[b] = max(left[b] - 1, 0)
        pause[b] = max(pause[b] - 1, 0)
        if left[b] == 0:
            attacked[b] = -1
            if pause[b] > cooldown:
                wait[b] = -1
            else:
                if wait[b] < 0:  # when the next attack comes is drawn as soon as one may
                    wait[b] = 1 + int(period * _uniform(~seed[b], step[b]))
                wait[b] = max(wait[b] - 1, 0)
                if wait[b] == 0 and duration > 0 and duration <= budget[b]:
                    attacked[b] = _choose(
                        _uniform(seed[b], step[b]), rho[b], closed[b], lines, weight, by_loading
                    )
            if attacked[b] >= 0:
                left[b] = duration
                pause[b] += cooldown
        else:
            wait[b] = -1
        if attacked[b] >= 0:
            budget[b] -= 1.0


@inlined
def _choose(draw, rho, closed, lines, weight, by_loading):
    """A line in service, by weight; -1 where there is none."""
    total = 0.0
    for c in range(lines.size):
        if closed[lines[c]]:
            total += weight[c] * (rho[lines[c]] if by_loading else 1.0)
    chosen = -1
    mark = draw * total
    for c in range(lines.size):
        if closed[lines[c]]:
            share = weight[c] * (rho[lines[c]] if by_loading else 1.0)
            if share > 0.0 and mark >= 0.0:
                chosen = lines[c]
            mark -= share
    return chosen
