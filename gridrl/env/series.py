"""Time series of one or more episodes, and what is scheduled to be out of service in them.

Rows of all episodes lie behind each other, so that a batch of states in different episodes is
read by one index each. It knows no grid but the number of its units and branches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from gridrl.arrays import Bools, Floats, Ints, freeze
from gridrl.errors import ScenarioError


class Outlook(Protocol):
    """Forecasts with intervals, row by row of a series."""

    @property
    def n_ahead(self) -> int:
        """Steps that it reaches ahead."""
        ...

    def fill(self, row: Ints, then: Ints, level: float, p: Floats, q: Floats) -> None:
        """Put what each of ``row`` expects of ``then`` into p and q [n, n_unit], p.u.

        Only where anything is uncertain. Consumption and production are below it with probability
        ``level``.
        """
        ...

    def rows(self, which: Ints) -> Any:
        """The same for some rows of the series."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Series:
    """Injections of every step, row by row; row ``start[e]`` is what episode ``e`` begins with.

    Raises
    ------
    ScenarioError
        Shapes disagree, or an episode is shorter than two rows.
    """

    start: Ints  # [n_episode + 1] first row of each episode, and the number of rows
    p: Floats  # [n_row, n_unit] p.u., positive into the busbar
    q: Floats  # [n_row, n_unit] p.u.
    v_set: Floats  # [n_row, n_unit] p.u., NaN where the unit does not control voltage
    maintenance: Bools  # [n_row, n_branch] or [0, n_branch]: planned, known ahead
    hazard: Bools  # [n_row, n_branch] or [0, n_branch]: happens
    # [n_row, n_unit] or [0, n_unit]: what a row is expected to be one step ago; or
    # [n_ahead, n_row, n_unit]: 1, 2, ... steps ago
    p_forecast: Floats
    q_forecast: Floats
    outlook: Outlook | None = None  # reaches further than p_forecast, with intervals
    step_s: float = 300.0  # seconds between rows
    names: tuple[str, ...] = ()  # [n_episode]
    # [n_episode] seconds since Monday 0:00 of each first row; empty: all begin then
    clock_s: Floats = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        freeze(self, frozenset({"v_set"}))
        n_row = self.p.shape[0]
        for name in ("q", "v_set", "p_forecast", "q_forecast", "maintenance", "hazard"):
            value = getattr(self, name)
            optional = name not in ("q", "v_set")
            deep = value.ndim == 3 and name.endswith("forecast")
            fits = value.ndim >= 2 and value.shape[-2] == n_row
            if not (value.ndim == 2 or deep) or not (fits or (optional and not len(value))):
                raise ScenarioError(
                    f"{name} has shape {value.shape}, but p has {n_row} rows. Give equally many."
                )
        ahead = {value.shape[0] for value in (self.p_forecast, self.q_forecast) if value.ndim == 3}
        if len(ahead) > 1:
            raise ScenarioError("p_forecast and q_forecast reach differently far ahead.")
        if self.start.ndim != 1 or self.start.size < 2 or self.start[-1] != n_row:
            raise ScenarioError(
                f"The episodes end at row {self.start[-1:].tolist()}, but there are {n_row} rows."
            )
        short = np.diff(self.start) < 2
        if short.any() or self.start[0] != 0:
            raise ScenarioError(
                f"Episodes {np.flatnonzero(short)[:5].tolist()} have fewer than two rows, so that "
                "nothing can happen in them. Give longer series."
            )
        if self.clock_s.size not in (0, self.n_episode):
            raise ScenarioError(
                f"clock_s has {self.clock_s.size} entries for {self.n_episode} episodes."
            )
        if not self.step_s > 0:
            raise ScenarioError(f"step_s is {self.step_s}; give the seconds between rows.")

    @property
    def n_ahead(self) -> int:
        """Steps that forecasts reach ahead; 0 where there are none."""
        p = self.p_forecast
        known = len(p) if p.ndim == 3 else min(len(p), 1)
        return known if self.outlook is None else max(known, self.outlook.n_ahead)

    def expected(self, row: Ints, ahead: int) -> tuple[Floats, Floats]:
        """Injections that are expected ``ahead`` steps after each row, p and q [n, n_unit] p.u.

        They are those of the row itself where the series have no forecasts (or ``ahead`` is 0), and
        those of the last row where an episode ends before.

        Raises
        ------
        ScenarioError
            There are forecasts, but they do not reach that far.
        """
        then = self._then(row, ahead)
        if self.outlook is not None and ahead > 1:
            return self._outlook(row, then, 0.5)
        found = []
        for now, forecast in ((self.p, self.p_forecast), (self.q, self.q_forecast)):
            if ahead == 0 or not len(forecast):
                found.append(now[row])
            else:
                deep = forecast if forecast.ndim == 3 else forecast[None]
                found.append(np.where((then > row)[:, None], deep[ahead - 1, then], now[row]))
        return found[0], found[1]

    def quantile(self, row: Ints, ahead: int, level: float) -> tuple[Floats, Floats]:
        """Injections ``ahead`` steps after each row, p and q [n, n_unit] p.u., at a quantile.

        Consumption and production of each unit are below it with probability ``level``. Units
        with a schedule have no other quantiles than that.

        Raises
        ------
        ScenarioError
            The forecasts have no intervals, do not reach that far, or ``level`` is no probability.
        """
        if not 0.0 < level < 1.0:
            raise ScenarioError(f"level is {level}; give a probability between 0 and 1.")
        if self.outlook is None:
            raise ScenarioError(
                "The forecasts of these series have no intervals; those of the generator do. Give "
                "injections of your own."
            )
        return self._outlook(row, self._then(row, ahead), level)

    def _then(self, row: Ints, ahead: int) -> Ints:
        """Rows so many steps ahead, the last of their episodes at most."""
        if ahead < 0 or ahead > self.n_ahead > 0:
            raise ScenarioError(
                f"Forecasts reach {self.n_ahead} steps ahead, not {ahead}. Ask for one of those, "
                "or hand in injections of your own."
            )
        episode = np.searchsorted(self.start, row, side="right") - 1
        return np.asarray(np.minimum(row + ahead, self.start[episode + 1] - 1))

    def _outlook(self, row: Ints, then: Ints, level: float) -> tuple[Floats, Floats]:
        p, q = self.p[then], self.q[then]
        later = np.flatnonzero(then > row)
        if later.size and self.outlook is not None:
            some_p, some_q = p[later], q[later]
            self.outlook.fill(row[later], then[later], level, some_p, some_q)
            p[later], q[later] = some_p, some_q
        return p, q

    @property
    def n_episode(self) -> int:
        return int(self.start.size - 1)

    def horizon(self, episode: int) -> int:
        """Steps of an episode: its rows but the first."""
        return int(self.start[episode + 1] - self.start[episode] - 1)

    @cached_property
    def maintenance_next(self) -> tuple[Ints, Ints]:
        """[n_row, n_branch] steps until the next maintenance, and steps for which it lasts.

        0 steps while it lasts, which then counts what is left of it; (-1, 0) where there is none.
        """
        return _next_of(self.maintenance, self.start)

    @cached_property
    def hazard_left(self) -> Ints:
        """[n_row, n_branch] steps for which a hazard goes on, 0 where there is none."""
        ahead, left = _next_of(self.hazard, self.start)
        return np.where(ahead == 0, left, 0)


def _next_of(out: Bools, start: Ints) -> tuple[Ints, Ints]:
    ahead = np.full(out.shape, -1, np.int64)
    left = np.zeros(out.shape, np.int64)
    if not out.any():
        return ahead, left
    first = set(start[1:].tolist())
    for row in range(out.shape[0] - 1, -1, -1):
        last = row + 1 in first
        later_ahead = np.full(out.shape[1], -1) if last else ahead[row + 1]
        later_left = np.zeros(out.shape[1], np.int64) if last else left[row + 1]
        goes_on = out[row] & (later_ahead == 0)
        ahead[row] = np.where(out[row], 0, np.where(later_ahead >= 0, later_ahead + 1, -1))
        left[row] = np.where(out[row], 1 + np.where(goes_on, later_left, 0), later_left)
    return ahead, left


def joined(parts: Sequence[Series]) -> Series:
    """The episodes of several series behind each other, without their outlooks.

    Raises
    ------
    ScenarioError
        Their steps differ in length.
    """
    if len({part.step_s for part in parts}) != 1:
        raise ScenarioError("Series with steps of different length cannot be joined.")
    starts = [np.zeros(1, np.int64)]
    for part in parts:
        starts.append(part.start[1:] + starts[-1][-1])
    columns: dict[str, Any] = {}
    for name in ("p", "q", "v_set", "maintenance", "hazard", "p_forecast", "q_forecast"):
        values = [getattr(part, name) for part in parts]
        if name in ("maintenance", "hazard") and any(len(value) for value in values):
            values = [
                value if len(value) else np.zeros((part.p.shape[0], value.shape[1]), np.bool_)
                for value, part in zip(values, parts, strict=True)
            ]
        elif name.endswith("forecast") and any(not len(value) for value in values):
            values = [value[:0] for value in values]
        columns[name] = np.concatenate(values, axis=-2)
    return Series(
        start=np.concatenate(starts),
        step_s=parts[0].step_s,
        names=tuple(name for part in parts for name in part.names),
        clock_s=np.concatenate(
            [p.clock_s if p.clock_s.size else np.zeros(p.n_episode) for p in parts]
        ),
        **columns,
    )
