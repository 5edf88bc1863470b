"""Series of load, wind, sun and dispatch from a seed, shaped like public ones.

Each episode has a random stream of its own, so that more episodes leave the first ones as they
are. All parameters are stated here. They were set by hand from a year of SimBench and from chronics
of Grid2Op; ``python -m benchmarks.calibration`` writes the comparison of docs/calibration.md.

load     p times ``load_peak`` times season, day and week, times 1 + noise. The day is a mixture of
         a home (evening peak) and an office (working hours), drawn for each load.
wind     a Weibull wind speed (shape 2, mean 7.6 m/s) from a Gaussian process with 30 h of memory,
         smooth within 0.8 h, through the power curve of a park (3 to 13 m/s, cubic).
sun      a panel that is tilted by 12 degrees at 48 degrees north, under clouds with 6 h of memory.
dispatch the other generators that run in the case, and those named as plants, share what is left
         by their size, within their limits and ramps; the reference machine does the rest.

Noise is a Gaussian process, see `scenarios.process`; `scenarios.outlook` forecasts it.
"""

from dataclasses import dataclass, replace

import numpy as np

from gridrl.arrays import Bools, Floats, Ints
from gridrl.case import Case
from gridrl.env.fleet import Fleet
from gridrl.env.series import Series
from scenarios.outlook import Driven, Outlook, joined_outlook
from scenarios.process import DAY, Noise, process, spatial_factor
from scenarios.shapes import (
    clear_sky,
    cloud_factor,
    load_factor,
    load_shape,
    wind_season,
    wind_share,
)

Q_NOISE = 0.01
LOSSES = 0.03  # share of the load that dispatch plans for
# The forecaster's error about the present, of each process: with it the errors one step ahead are
# those of Grid2Op's chronics.
LOAD_BLUR, WIND_BLUR, SUN_BLUR = 0.29, 0.02, 0.1
LOAD_PROCESS = Noise(6.0, 0.0, 0.25)
WIND_PROCESS = Noise(30.0, 0.8, 0.6)
CLOUD_PROCESS = Noise(6.0, 0.5, 0.4)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to generate."""

    seed: int
    episodes: int
    days: float
    step_s: float
    load_peak: float  # largest load of a winter week, as a multiple of the case's
    wind: tuple[str, ...]  # generators that become wind farms
    solar: tuple[str, ...]  # generators that become solar plants
    plants: tuple[str, ...] = ()  # generators that run though the case has them at 0 MW
    first_episode: int = 0

    @property
    def rows(self) -> int:
        """Rows of an episode: its steps and the state that it begins with."""
        return round(self.days * DAY / self.step_s) + 1


def generate(case: Case, recipe: Recipe, fleet: Fleet) -> Series:
    """Series of a case, one episode behind the other, with forecasts of up to a day."""
    near = spatial_factor(case)
    made = [_episode(case, recipe, fleet, near, k) for k in range(recipe.episodes)]
    rows, n_branch = recipe.rows, case.grid.n_branch
    none = np.empty((0, n_branch), np.bool_)
    p, q = (np.concatenate([part[k] for part in made]) for k in (0, 1))
    outlook = joined_outlook([part[2] for part in made])
    row = np.arange(len(p))
    before = row - (row % rows > 0)
    p_forecast, q_forecast = p.copy(), q.copy()
    outlook.fill(before, row, 0.5, p_forecast, q_forecast)
    first = row % rows == 0  # of which nobody knew anything before
    p_forecast[first], q_forecast[first] = p[first], q[first]
    return Series(
        start=np.arange(recipe.episodes + 1) * rows, p=p, q=q,
        v_set=np.repeat(case.injection.v_set, recipe.episodes * rows, axis=0),
        maintenance=none, hazard=none, p_forecast=p_forecast, q_forecast=q_forecast,
        outlook=outlook, step_s=recipe.step_s,
        names=tuple(f"{recipe.seed}-{recipe.first_episode + k}" for k in range(recipe.episodes)),
        clock_s=np.zeros(recipe.episodes),
    )  # fmt: skip


def _episode(
    case: Case, recipe: Recipe, fleet: Fleet, near: Floats, k: int
) -> tuple[Floats, Floats, Outlook]:
    """Powers p and q [n_row, n_unit] p.u., and what was expected of them."""
    rng = np.random.default_rng([recipe.seed, recipe.first_episode + k])
    grid, rows, step_s = case.grid, recipe.rows, recipe.step_s
    time_s: Floats = np.arange(rows) * np.float64(step_s)
    day: Floats = rng.uniform(0, 365) + time_s / DAY
    p = np.repeat(case.injection.p, rows, axis=0)
    q = np.repeat(case.injection.q, rows, axis=0)
    load = np.flatnonzero(np.array(grid.unit_kind) == "load")
    calm = wind_season(day)

    def drawn(unit: Ints, noise: Noise) -> tuple[Floats, Floats]:
        return process(rng, near, grid.unit_substation[unit], rows, step_s, noise)

    shape = load_shape(rng, time_s, day, load.size) * recipe.load_peak
    z, first = drawn(load, LOAD_PROCESS)
    wobble, _ = drawn(load, LOAD_PROCESS)
    p[:, load] *= shape
    q[:, load] *= shape
    parts = [
        Driven(
            kind="load", unit=load, noise=LOAD_PROCESS, blur=LOAD_BLUR, p=p[:, load],
            q=q[:, load], wind=calm, z=z, first=first, seen=np.empty(0),
        )
    ]  # fmt: skip
    p[:, load] *= load_factor(z)
    q[:, load] *= load_factor(z) * (1.0 + Q_NOISE * wobble)
    farm = np.zeros(fleet.n_gen, np.bool_)
    sky = clear_sky(time_s, day)[:, None]
    for names, noise, blur in (
        (recipe.wind, WIND_PROCESS, WIND_BLUR), (recipe.solar, CLOUD_PROCESS, SUN_BLUR),
    ):  # fmt: skip
        which = _generators(case, fleet, names)
        if not which.size:
            continue
        unit = fleet.gen_unit[which]
        z, first = drawn(unit, noise)
        windy = noise is WIND_PROCESS
        most = fleet.p_max[which] * (np.ones_like(sky) if windy else sky)
        p[:, unit] = most * (wind_share(z, calm) if windy else cloud_factor(z))
        q[:, unit] = 0.0
        farm[which] = True
        parts.append(
            Driven(
                kind="wind" if windy else "sun", unit=unit, noise=noise, blur=blur, p=most,
                q=np.zeros_like(most), wind=calm, z=z, first=first, seen=np.empty(0),
            )
        )  # fmt: skip
    plant = np.zeros(fleet.n_gen, np.bool_)
    plant[_generators(case, fleet, recipe.plants)] = True
    _share_out(case, fleet, p, load, farm, plant)
    # drawn last, so that the series do not depend on how they are forecast
    parts = [replace(part, seen=rng.standard_normal(part.z.shape)) for part in parts]
    ahead = min(max(1, round(DAY / step_s)), rows - 1)
    return p, q, Outlook(step_s=step_s, n_ahead=ahead, parts=tuple(parts))


def _generators(case: Case, fleet: Fleet, names: tuple[str, ...]) -> Ints:
    element = case.grid.unit_element[fleet.gen_unit]
    found = [np.flatnonzero(element == case.grid.find_element(name)) for name in names]
    return np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)


def _share_out(case: Case, fleet: Fleet, p: Floats, load: Ints, farm: Bools, plant: Bools) -> None:
    """Fill in the power of the generators that run and are no wind or solar plant."""
    runs = (case.injection.p[0, fleet.gen_unit] != 0) | case.grid.is_reference[fleet.gen_unit]
    runs = (runs | plant) & ~farm & (fleet.p_max > 0)
    which = np.flatnonzero(runs)
    if not which.size:
        return
    unit = fleet.gen_unit[which]
    sizes = fleet.p_max[which]
    low = np.minimum(np.maximum(fleet.p_min[which], 0.0), sizes)
    idle = fleet.gen_unit[~runs & ~farm]
    owed = -p[:, load].sum(axis=1) * (1.0 + LOSSES)
    owed = owed - p[:, fleet.gen_unit[farm]].sum(axis=1) - p[:, idle].sum(axis=1)
    a, b = np.zeros(owed.size), np.ones(owed.size)
    for _ in range(60):  # the share of their size that all bring
        middle = 0.5 * (a + b)
        less = np.clip(middle[:, None] * sizes, low, sizes).sum(axis=1) < owed
        a, b = np.where(less, middle, a), np.where(less, b, middle)
    wanted = np.clip(b[:, None] * sizes, low, sizes)
    ramp = np.where(fleet.ramp_up[which] > 0, fleet.ramp_up[which], np.inf)
    p[:, unit] = wanted
    for row in range(1, p.shape[0]):
        before = p[row - 1, unit]
        p[row, unit] = np.clip(wanted[row], before - ramp, before + ramp)
