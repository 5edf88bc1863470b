"""Wrong parameters: the model that an operator has of a grid, beside the grid itself."""

from dataclasses import replace

import numpy as np

from gridrl.env.world import World, build_world
from gridrl.errors import RulesError
from gridrl.graphs.parts import Branches


def wrong_model(
    world: World, rng: np.random.Generator, *, r: float = 0.0, x: float = 0.0, rating: float = 0.0
) -> World:
    """A world whose branches have other parameters, to see with and to simulate in.

    Hand it to an environment as ``model``: the graph then shows its impedances, and loadings are
    told against its ratings, while the grid itself stays what it is.

    Parameters
    ----------
    rng
        Draws one error for each branch and parameter.
    r, x, rating
        Deviation of the logarithm of resistance, reactance and rating: 0.1 is about 10 %.

    Raises
    ------
    RulesError
        A deviation is negative or not finite.
    """
    for name, value in (("r", r), ("x", x), ("rating", rating)):
        if not 0 <= value < np.inf:
            raise RulesError(f"{name} is {value!r}; give a deviation of 0 or more.")
    case, grid = world.case, world.case.grid
    branches = Branches.of(grid)
    n = grid.n_branch
    z = branches.r + 1j * branches.x
    wrong = branches.r * np.exp(r * rng.standard_normal(n))
    wrong = wrong + 1j * branches.x * np.exp(x * rng.standard_normal(n))
    factor = np.exp(rating * rng.standard_normal(n))
    more = 1.0 / wrong - 1.0 / z
    changed = replace(
        grid,
        y_ff=grid.y_ff + more * np.exp(-2.0 * branches.log_ratio), y_tt=grid.y_tt + more,
        y_ft=grid.y_ft * z / wrong, y_tf=grid.y_tf * z / wrong,
        b_dc=grid.b_dc * branches.x / wrong.imag,
        i_max_from=grid.i_max_from * factor, i_max_to=grid.i_max_to * factor,
        s_max=grid.s_max * factor,
    )  # fmt: skip
    return build_world(
        replace(case, grid=changed), world.series, world.rules, fleet=world.fleet,
        opponent=world.opponent, area=world.area, split=np.flatnonzero(world.splits),
        threads=world.engine.options.threads,
    )  # fmt: skip
