"""Series of load, wind, sun and dispatch from a seed, shaped like public ones.

Each episode has a random stream of its own, so that more episodes leave the first ones as they
are. All parameters are stated here. They were set by hand from a year of SimBench and from chronics
of Grid2Op; ``python -m benchmarks.calibration`` writes the comparison of docs/calibration.md.

load     p times ``load_peak`` times season, day and week, times 1 + noise. The day is a mixture of
         a home (evening peak) and an office (working hours), drawn for each load.
wind     a Weibull wind speed (shape 2, mean 7.6 m/s) from a Gaussian process with 30 h of memory,
         smooth within 0.8 h, through the power curve of a park (3 to 13 m/s, cubic).
sun      a panel that is tilted by 12 degrees at 48 degrees north, under clouds with 6 h of memory.
dispatch the other generators that run in the case, and those named as plants, share what is left by their size, within their
         limits and ramps; the reference machine does the rest.

Noise is a Gaussian process. In time its memory is exponential (AR(1)), smoothed by a second one
where that is said. In space a part of it is the same everywhere (the weather); the rest has a
correlation of exp(-distance / 3), where distance counts branches between buses.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path
from scipy.special import ndtr

from gridrl.arrays import Bools, Floats, Ints
from gridrl.case import Case
from gridrl.env.fleet import Fleet
from gridrl.env.series import Series

HOUR, DAY = 3600.0, 86400.0
Q_NOISE, LOAD_NOISE = 0.01, 0.045
WIND_MEAN, WIND_CUT_IN, WIND_FULL, WIND_SEASON = 7.6, 3.0, 13.0, 0.14
CLOUD_DEPTH, LATITUDE, TILT = 0.9, np.radians(48.0), np.radians(12.0)
REACH = 3.0  # branches over which the correlation falls to 1/e
LOSSES = 0.03  # share of the load that dispatch plans for
LOAD_ERROR, RENEWABLE_ERROR = 0.015, 0.01  # standard deviation one step ahead, of p and of p_max


@dataclass(frozen=True)
class Noise:
    """A Gaussian process with deviation 1."""

    memory_h: float
    smooth_h: float  # memory of the second stage, 0: none
    shared: float  # share of the variance that is the same everywhere


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
    """Series of a case, one episode behind the other."""
    near = _spatial_factor(case)
    parts = [_episode(case, recipe, fleet, near, k) for k in range(recipe.episodes)]
    rows, n_branch = recipe.rows, case.grid.n_branch
    none = np.empty((0, n_branch), np.bool_)
    return Series(
        start=np.arange(recipe.episodes + 1) * rows,
        p=np.concatenate([part[0] for part in parts]),
        q=np.concatenate([part[1] for part in parts]),
        v_set=np.repeat(case.injection.v_set, recipe.episodes * rows, axis=0),
        maintenance=none, hazard=none,
        p_forecast=np.concatenate([part[2] for part in parts]),
        q_forecast=np.concatenate([part[3] for part in parts]),
        step_s=recipe.step_s,
        names=tuple(f"{recipe.seed}-{recipe.first_episode + k}" for k in range(recipe.episodes)),
        clock_s=np.zeros(recipe.episodes),
    )  # fmt: skip


def _episode(
    case: Case, recipe: Recipe, fleet: Fleet, near: Floats, k: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """p, q and what they are expected to be one step before, [n_row, n_unit] p.u."""
    rng = np.random.default_rng([recipe.seed, recipe.first_episode + k])
    grid = case.grid
    time_s: Floats = np.arange(recipe.rows) * np.float64(recipe.step_s)
    day_of_year: Floats = rng.uniform(0, 365) + time_s / DAY
    p = np.repeat(case.injection.p, recipe.rows, axis=0)
    q = np.repeat(case.injection.q, recipe.rows, axis=0)
    kinds = np.array(grid.unit_kind)
    load = np.flatnonzero(kinds == "load")
    shape = _load_shape(rng, time_s, day_of_year, load.size) * recipe.load_peak
    noise = _process(rng, near, grid.unit_substation[load], recipe, LOAD_PROCESS)
    p[:, load] *= shape * (1.0 + LOAD_NOISE * noise)
    wobble = _process(rng, near, grid.unit_substation[load], recipe, LOAD_PROCESS)
    q[:, load] *= shape * (1.0 + LOAD_NOISE * noise) * (1.0 + Q_NOISE * wobble)
    farm = np.zeros(fleet.n_gen, np.bool_)
    for names, power in ((recipe.wind, _wind), (recipe.solar, _sun)):
        which = _generators(case, fleet, names)
        if which.size:
            unit = fleet.gen_unit[which]
            share = power(rng, near, grid.unit_substation[unit], recipe, time_s, day_of_year)
            p[:, unit] = share * fleet.p_max[which]
            q[:, unit] = 0.0
            farm[which] = True
    plant = np.zeros(fleet.n_gen, np.bool_)
    plant[_generators(case, fleet, recipe.plants)] = True
    _share_out(case, fleet, p, load, farm, plant)
    error = np.zeros(p.shape)
    error[:, load] = LOAD_ERROR * p[:, load]
    error[:, fleet.gen_unit[farm]] = RENEWABLE_ERROR * fleet.p_max[farm]
    drawn = rng.standard_normal(p.shape)
    p_forecast = p + error * drawn
    unit = fleet.gen_unit[farm]
    p_forecast[:, unit] = np.clip(p_forecast[:, unit], 0.0, fleet.p_max[farm])
    q_forecast = q.copy()
    q_forecast[:, load] *= 1.0 + LOAD_ERROR * drawn[:, load]
    return p, q, p_forecast, q_forecast


def _load_shape(rng: np.random.Generator, time_s: Floats, day: Floats, n: int) -> Floats:
    """[n_row, n] multiples of the winter peak."""
    hour = (time_s / HOUR) % 24.0
    weekend = ((time_s // DAY) % 7 >= 5)[:, None]

    def bump(centre: float, width: float) -> Floats:
        far = np.abs(hour - centre)
        far = np.minimum(far, 24.0 - far)
        return np.asarray(np.exp(-((far / width) ** 2))[:, None])

    home = 0.60 + 0.18 * bump(8.0, 2.0) + 0.14 * bump(13.0, 3.0) + 0.40 * bump(19.5, 2.8)
    office = 0.50 + 0.45 * bump(10.5, 3.2) + 0.36 * bump(15.5, 3.2)
    office = np.where(weekend, 0.50 + 0.35 * (office - 0.50), office)
    mix = rng.uniform(0.2, 0.8, n)[None]
    season = 0.92 + 0.08 * np.cos(2 * np.pi * (day - 15.0) / 365.0)[:, None]
    return np.asarray((mix * home + (1.0 - mix) * office) * season)


def _wind(
    rng: np.random.Generator, near: Floats, at: Ints, recipe: Recipe, _time: Floats, day: Floats
) -> Floats:
    """[n_row, n] share of installed power."""
    z = _process(rng, near, at, recipe, WIND_PROCESS)
    season = 1.0 + WIND_SEASON * np.cos(2 * np.pi * (day - 15.0) / 365.0)[:, None]
    scale = WIND_MEAN * season / 0.8862269  # Gamma(1.5): mean of a Weibull of shape 2
    speed = scale * np.sqrt(-np.log1p(-np.clip(ndtr(z), 0.0, 1 - 1e-12)))
    cubed = (speed**3 - WIND_CUT_IN**3) / (WIND_FULL**3 - WIND_CUT_IN**3)
    return np.asarray(np.clip(cubed, 0.0, 1.0))


def _sun(
    rng: np.random.Generator, near: Floats, at: Ints, recipe: Recipe, time_s: Floats, day: Floats
) -> Floats:
    """[n_row, n] share of installed power."""
    declination = np.radians(23.44) * np.sin(2 * np.pi * (day - 80.0) / 365.0)
    angle = 2 * np.pi * (time_s / DAY - 0.5)
    height = np.sin(LATITUDE) * np.sin(declination)
    height = height + np.cos(LATITUDE) * np.cos(declination) * np.cos(angle)
    onto = np.sin(LATITUDE - TILT) * np.sin(declination)  # the panel, facing south
    onto = onto + np.cos(LATITUDE - TILT) * np.cos(declination) * np.cos(angle)
    clear = np.maximum(onto, 0.0) * np.maximum(height, 0.0) ** 0.25  # and the air in between
    cloud = ndtr(_process(rng, near, at, recipe, CLOUD_PROCESS)) ** 1.2
    return np.asarray(clear[:, None] * (1.0 - CLOUD_DEPTH * cloud))


def _process(
    rng: np.random.Generator, near: Floats, at: Ints, recipe: Recipe, noise: Noise
) -> Floats:
    """[n_row, n] Gaussian with mean 0 and deviation 1, correlated in time and between places."""
    a = float(np.exp(-recipe.step_s / (noise.memory_h * HOUR)))
    b = float(np.exp(-recipe.step_s / (noise.smooth_h * HOUR))) if noise.smooth_h else 0.0
    before = int(np.ceil(8.0 * noise.smooth_h * HOUR / recipe.step_s))  # the second stage settles
    rows = before + recipe.rows
    local = rng.standard_normal((rows, near.shape[0])) @ near.T
    fresh = np.sqrt(1.0 - noise.shared) * local
    fresh += np.sqrt(noise.shared) * rng.standard_normal((rows, 1))
    fresh = fresh[:, at]
    first, _ = lfilter([np.sqrt(1.0 - a * a)], [1.0, -a], fresh[1:], axis=0, zi=a * fresh[:1])
    out = np.concatenate([fresh[:1], first])
    if b:
        later, _ = lfilter([1.0 - b], [1.0, -b], out[1:], axis=0, zi=b * out[:1])
        # variance of an AR(1) of variance 1 after exponential smoothing
        size = np.sqrt((1.0 - b) / (1.0 + b) * (1.0 + a * b) / (1.0 - a * b))
        out = np.concatenate([out[:1], later]) / size
    return np.asarray(out[before:], np.float64)


def _spatial_factor(case: Case) -> Floats:
    """[n_substation, n_substation] factor of the correlation between substations."""
    grid = case.grid
    n = grid.n_substation
    ends = (grid.from_substation, grid.to_substation)
    graph = csr_array((np.ones(grid.n_branch), ends), shape=(n, n))
    distance = shortest_path(graph, directed=False, unweighted=True)
    wanted = np.exp(-distance / REACH)  # distances on a graph may make it indefinite
    lift = max(0.0, -float(np.linalg.eigvalsh(wanted)[0])) + 1e-6
    # Cholesky's factor is unique; eigenvectors would depend on the program that finds them
    factor = np.linalg.cholesky(wanted + lift * np.eye(n))
    return np.asarray(factor / np.sqrt((factor**2).sum(axis=1, keepdims=True)))


def _generators(case: Case, fleet: Fleet, names: tuple[str, ...]) -> Ints:
    element = case.grid.unit_element[fleet.gen_unit]
    found = [np.flatnonzero(element == case.grid.find_element(name)) for name in names]
    return np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)


def _share_out(
    case: Case, fleet: Fleet, p: Floats, load: Ints, farm: Bools, plant: Bools
) -> None:
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
