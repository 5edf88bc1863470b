"""Series from the profiles of SimBench: windows of its year, drawn over all seasons."""

from dataclasses import dataclass

import numpy as np

from gridrl.arrays import Floats, Ints
from gridrl.case import Case
from gridrl.env.series import Series
from gridrl.errors import ScenarioError
from gridrl.io.simbench import STEP_S, Profiles, profiles

PREFIX = "simbench:"
DAY_ROWS = round(86400 / STEP_S)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Which parts of the year become episodes."""

    seed: int  # shuffles them, so that training and testing both meet every season
    episodes: int
    days: float

    @property
    def rows(self) -> int:
        """Rows of an episode: its steps and the state that it begins with."""
        return round(self.days * DAY_ROWS) + 1


def windows_of(case: Case, grid: str, windows: Windows) -> Series:
    """The year of a SimBench grid, cut into episodes that share no row.

    Raises
    ------
    ScenarioError
        The grid is not SimBench's, or the year is too short for so many episodes.
    """
    if not grid.startswith(PREFIX):
        raise ScenarioError(
            f"Profiles of SimBench fit its own grids; case is {grid!r}, give '{PREFIX}CODE'."
        )
    year = profiles(grid.removeprefix(PREFIX))
    length = len(year.p)
    room = length // windows.episodes
    if windows.rows > room:
        raise ScenarioError(
            f"{windows.episodes} episodes of {windows.days:g} days do not fit into the year. Give "
            "fewer or shorter ones."
        )
    first = np.random.default_rng(windows.seed).permutation(windows.episodes) * room
    first = first // DAY_ROWS * DAY_ROWS  # midnight
    rows = np.concatenate([np.arange(f, f + windows.rows) for f in first])
    p, q = _filled(case, year, rows)
    none = np.empty((0, case.grid.n_branch), np.bool_)
    return Series(
        start=np.arange(windows.episodes + 1) * windows.rows, p=p, q=q,
        v_set=np.repeat(case.injection.v_set, rows.size, axis=0), maintenance=none, hazard=none,
        p_forecast=np.empty((0, p.shape[1])), q_forecast=np.empty((0, p.shape[1])),
        step_s=STEP_S, names=tuple(f"day-{f // DAY_ROWS}" for f in first),
        clock_s=np.asarray(first * STEP_S + FIRST_DAY * 86400.0, np.float64) % (7 * 86400.0),
    )  # fmt: skip


FIRST_DAY = 4  # SimBench's year begins on a Friday, 1 January 2016


def _filled(case: Case, year: Profiles, rows: Ints) -> tuple[Floats, Floats]:
    """[n_row, n_unit] p.u.: profiles where there are any, else what the case has."""
    grid = case.grid
    p = np.repeat(case.injection.p, rows.size, axis=0)
    q = np.repeat(case.injection.q, rows.size, axis=0)
    at = {}
    for m in range(grid.n_unit):
        e = int(grid.unit_element[m])
        at[f"{grid.element_kind[e]}:{grid.element_id[e]}"] = m
    column = np.array([k for k, label in enumerate(year.label) if label in at], np.int64)
    unit = np.array([at[year.label[k]] for k in column], np.int64)
    p[:, unit] = year.p[np.ix_(rows, column)] / grid.s_base_mva
    known = year.q[np.ix_(rows, column)] / grid.s_base_mva
    q[:, unit] = np.where(np.isfinite(known), known, q[:, unit])
    return p, q
