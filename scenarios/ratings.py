"""Ratings for grids whose file has none that bind: from the flows of a typical week.

Several published test grids carry placeholder ratings. A scenario then rates each branch for the
current that it carries in one week with everything in service: rating = margin times the 99 %
quantile, and at least ``floor`` times the median rating, so that quiet branches can take over.
"""

from dataclasses import dataclass, replace

import numpy as np

from gridrl.case import Case
from gridrl.env.series import Series
from gridrl.errors import ScenarioError
from gridrl.grid import Injection
from gridrl.powerflow.engine import prepare

EVERY = 12  # rows of the week that are looked at
QUANTILE = 0.99


@dataclass(frozen=True, kw_only=True)
class Rating:
    """How much more than usual a branch can carry."""

    margin: float  # times the usual peak
    floor: float  # times the median rating


def rated(case: Case, rating: Rating, sample: Series | None) -> Case:
    """The case with ratings in place of its own.

    Parameters
    ----------
    sample
        A week of the scenario; None looks at the case as it is loaded.

    Raises
    ------
    ScenarioError
        The power flow has no solution.
    """
    engine = prepare(case)
    injection = case.injection
    if sample is not None:
        injection = Injection(p=sample.p[::EVERY], q=sample.q[::EVERY], v_set=sample.v_set[::EVERY])
    found = engine.flow(injection=injection)
    solved = found.solved()
    if not solved.any():
        raise ScenarioError(
            f"{case.grid.name} has no power flow at the load of this scenario, so its branches "
            "cannot be rated. Lower load_peak."
        )
    currents = [found.current(int(k)) for k in np.flatnonzero(solved)]
    worst = np.maximum(
        np.quantile([f for f, _ in currents], QUANTILE, axis=0),
        np.quantile([t for _, t in currents], QUANTILE, axis=0),
    )
    limit = rating.margin * worst
    live = limit > 1e-9
    if live.any():
        limit = np.maximum(limit, rating.floor * float(np.median(limit[live])))
    nothing = np.full(limit.size, np.inf)
    grid = replace(
        case.grid, i_max_from=np.where(limit > 0, limit, np.inf),
        i_max_to=np.where(limit > 0, limit, np.inf), s_max=nothing,
    )  # fmt: skip
    return replace(case, grid=grid)
