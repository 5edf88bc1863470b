"""What switching actions promise to save, from the prices and flows of one optimum.

A branch that carries power from dear to cheap destroys value; opening it saves that, to first
order, and more the less of the grid is left between its ends. A split moves ends to a second
busbar: the power that flowed between the two groups stops, and the ends that move take the place
of the branch.
"""

import numpy as np

from gridrl.actions import CONFIGURE, OPEN, Actions
from gridrl.grid import Floats, Ints
from gridrl.opf.solution import OpfSolution
from gridrl.opf.tables import as_flow
from gridrl.powerflow.sensitivity import sensitivities

# Actions that cut the grid, or nearly, have next to no pivot.
LEAST_PIVOT = 1e-6
# So little of the grid left is as bad as any less.
LEAST_SHARE = 0.02


def profits(solution: OpfSolution, actions: Actions) -> Floats:
    """[n] currency/h that each action promises; NaN where it cuts something off or is unknown.

    Openings are valued by AC flows and prices of P and Q at both ends, splits by active power.
    """
    case = solution.case
    grid = case.grid
    n = grid.n_branch
    flow = as_flow(solution)
    s = np.concatenate([flow.s_from[0], flow.s_to[0]])
    at = case.topology.busbar[0].astype(np.int64) - 1
    place = (grid.terminal_substation, np.maximum(at, 0))
    price_p, price_q = solution.price_p[place], solution.price_q[place]
    ends = 2 * n
    worth = price_p[:ends] * s.real + price_q[:ends] * s.imag
    found = sensitivities(case, np.arange(n), s_from=flow.s_from[0], s_to=flow.s_to[0])
    matrix = np.full((n, n), np.nan)
    matrix[found.column_branch] = found.column[:, :n]
    pull = grid.b_dc * (price_p[:n] - price_p[n:ends])  # of the from end; the to end's is minus it
    out = np.full(len(actions), np.nan)
    share = np.diag(matrix) / grid.b_dc
    line_worth = (worth[:n] + worth[n:]) / np.maximum(share, LEAST_SHARE)
    line_worth[~(np.abs(share) > LEAST_PIVOT)] = np.nan
    by_element = {int(e): k for k, e in enumerate(grid.branch_element)}
    legs = np.bincount(grid.branch_element, minlength=grid.n_element)
    for k in range(len(actions)):
        if actions.kind[k] == OPEN and legs[actions.element[k]] == 1:
            out[k] = line_worth[by_element[int(actions.element[k])]]
        elif actions.kind[k] == CONFIGURE:
            out[k] = _split(actions.on_busbar2(k), n, s.real, solution.p, matrix, pull, grid.b_dc)
    return out


def _split(
    moved: Ints, n: int, p_end: Floats, p_unit: Floats, matrix: Floats, pull: Floats,
    b: Floats,
) -> float:  # fmt: skip
    """Promise of moving these terminals to a busbar of their own."""
    ends, units = moved[moved < 2 * n], moved[moved >= 2 * n] - 2 * n
    if not ends.size:
        return np.nan
    branch, sign = ends % n, np.where(ends < n, 1.0, -1.0)
    through = p_end[ends].sum() - p_unit[units].sum()
    pivot = sign @ matrix[np.ix_(branch, branch)] @ sign
    if not pivot > LEAST_PIVOT * b[branch].sum():
        return np.nan
    share = max(pivot / np.abs(b[branch]).sum(), LEAST_SHARE)
    return float(through * (sign @ pull[branch]) / np.abs(b[branch]).sum() / share)
