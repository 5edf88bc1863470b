"""What is expected of generated series, any number of steps ahead, and how sure that is.

Loads, wind and sun follow Gaussian processes through monotone functions. What the present says
of a process so many steps ahead is Gaussian, with a known mean and deviation, and a quantile of
power is the power at a quantile of the process: intervals have the coverage that they state, and
widen with the horizon as the memory of the process fades. The forecaster sees the present through
an error of its own, which makes even the next step uncertain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.special import ndtri

from gridrl.arrays import Floats, Ints
from scenarios.process import Noise, foresight
from scenarios.shapes import cloud_factor, load_factor, wind_share


@dataclass(frozen=True, eq=False, kw_only=True)
class Driven:
    """Units of one kind with the process behind them."""

    kind: Literal["load", "wind", "sun"]
    unit: Ints  # [n]
    noise: Noise
    blur: float  # deviation of the forecaster's error about the present, of the process
    p: Floats  # [n_row, n] p.u. that chance multiplies
    q: Floats  # [n_row, n] p.u.
    wind: Floats  # [n_row] scale of the wind speed, m/s
    z: Floats  # [n_row, n] process, deviation 1
    first: Floats  # [n_row, n] its first stage
    seen: Floats  # [n_row, n] the forecaster's error, deviation 1

    def factor(self, then: Ints, z: Floats) -> Floats:
        """[n, n_unit] what the process makes of the power of a row."""
        if self.kind == "load":
            return load_factor(z)
        return wind_share(z, self.wind[then]) if self.kind == "wind" else cloud_factor(z)

    def rows(self, which: Ints) -> "Driven":
        """The same with some rows only."""
        names = ("p", "q", "wind", "z", "first", "seen")
        return replace(self, **{name: getattr(self, name)[which] for name in names})


@dataclass(frozen=True, eq=False, kw_only=True)
class Outlook:
    """Forecasts of all units that chance drives; see `gridrl.env.series.Outlook`."""

    step_s: float
    n_ahead: int
    parts: tuple[Driven, ...]

    def fill(self, row: Ints, then: Ints, level: float, p: Floats, q: Floats) -> None:
        """Put what row ``row`` expects of row ``then`` into p and q [n, n_unit], p.u.

        With probability ``level`` consumption and production are below it.
        """
        ahead = then - row
        for part in self.parts:
            own, first, deviation = foresight(part.noise, self.step_s, self.n_ahead)
            mean = own[ahead, None] * part.z[row] + first[ahead, None] * part.first[row]
            mean += part.blur * part.seen[row]
            wide = np.hypot(deviation[ahead], part.blur)[:, None]
            sign = -1.0 if part.kind == "sun" else 1.0  # more clouds, less sun
            factor = part.factor(then, mean + wide * ndtri(level) * sign)
            p[:, part.unit] = part.p[then] * factor
            q[:, part.unit] = part.q[then] * factor

    def rows(self, which: Ints) -> "Outlook":
        """The same with some rows only."""
        return replace(self, parts=tuple(part.rows(which) for part in self.parts))


def joined_outlook(several: Sequence[Outlook]) -> Outlook:
    """The rows of several outlooks on the same units behind each other."""
    parts = []
    for k, part in enumerate(several[0].parts):
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(one.parts[k], name) for one in several])
            for name in ("p", "q", "wind", "z", "first", "seen")
        }
        parts.append(replace(part, **columns))
    return replace(several[0], parts=tuple(parts))
