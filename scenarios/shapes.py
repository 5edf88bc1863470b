"""From time and chance to power: the shape of loads, the power curve of wind, the sun.

All parameters were set by hand from a year of SimBench and from chronics of Grid2Op; see
docs/calibration.md.
"""

import numpy as np
from scipy.special import ndtr

from gridrl.arrays import Floats
from scenarios.process import DAY, HOUR

LOAD_NOISE = 0.045
WIND_MEAN, WIND_CUT_IN, WIND_FULL, WIND_SEASON = 7.6, 3.0, 13.0, 0.14
CLOUD_DEPTH, LATITUDE, TILT = 0.9, np.radians(48.0), np.radians(12.0)


def load_shape(rng: np.random.Generator, time_s: Floats, day: Floats, n: int) -> Floats:
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


def load_factor(z: Floats) -> Floats:
    """What chance makes of a load."""
    return np.asarray(1.0 + LOAD_NOISE * z)


def wind_season(day: Floats) -> Floats:
    """[n_row] scale of the wind speed, m/s: its mean is a Weibull's of shape 2."""
    season = 1.0 + WIND_SEASON * np.cos(2 * np.pi * (day - 15.0) / 365.0)
    return np.asarray(WIND_MEAN * season / 0.8862269)  # Gamma(1.5)


def wind_share(z: Floats, scale: Floats) -> Floats:
    """[n_row, n] share of installed power; rises with ``z``."""
    speed = scale[:, None] * np.sqrt(-np.log1p(-np.clip(ndtr(z), 0.0, 1 - 1e-12)))
    cubed = (speed**3 - WIND_CUT_IN**3) / (WIND_FULL**3 - WIND_CUT_IN**3)
    return np.asarray(np.clip(cubed, 0.0, 1.0))


def clear_sky(time_s: Floats, day: Floats) -> Floats:
    """[n_row] share of installed power without clouds."""
    declination = np.radians(23.44) * np.sin(2 * np.pi * (day - 80.0) / 365.0)
    angle = 2 * np.pi * (time_s / DAY - 0.5)
    height = np.sin(LATITUDE) * np.sin(declination)
    height = height + np.cos(LATITUDE) * np.cos(declination) * np.cos(angle)
    onto = np.sin(LATITUDE - TILT) * np.sin(declination)  # the panel, facing south
    onto = onto + np.cos(LATITUDE - TILT) * np.cos(declination) * np.cos(angle)
    return np.asarray(np.maximum(onto, 0.0) * np.maximum(height, 0.0) ** 0.25)  # through the air


def cloud_factor(z: Floats) -> Floats:
    """[n_row, n] what clouds leave of the sun; falls with ``z``."""
    return np.asarray(1.0 - CLOUD_DEPTH * ndtr(z) ** 1.2)
