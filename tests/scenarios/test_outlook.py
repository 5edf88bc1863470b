"""Forecasts of generated series: they cover what they say, and know less the further they look."""

from dataclasses import replace

import numpy as np
import pytest

import gridrl
import scenarios
from gridrl.env.fleet import fleet_of
from gridrl.env.series import Series
from gridrl.errors import ScenarioError
from scenarios.generator import CLOUD_PROCESS, LOAD_PROCESS, WIND_PROCESS, Recipe, generate
from scenarios.process import Noise, foresight, process


@pytest.fixture(scope="module")
def made() -> tuple[Series, dict[str, np.ndarray], np.ndarray]:
    """Many short episodes in steps of half an hour, units by kind, and what generators can."""
    case = gridrl.load("case14")
    recipe = Recipe(
        seed=90210, episodes=250, days=2.5, step_s=1800.0, load_peak=1.0, wind=("gen:2", "gen:1"),
        solar=("gen:3",),
    )  # fmt: skip
    fleet = fleet_of(case)
    kinds = np.array(case.grid.unit_kind)
    gen = {case.grid.unit_label[m]: m for m in np.flatnonzero(kinds == "gen")}
    unit = {
        "load": np.flatnonzero((kinds == "load") & (case.injection.p[0] != 0)),
        "wind": np.array([gen["gen:2"], gen["gen:1"]]), "sun": np.array([gen["gen:3"]]),
    }  # fmt: skip
    most = np.full(case.grid.n_unit, np.inf)
    most[fleet.gen_unit] = fleet.p_max
    return generate(case, recipe, fleet), unit, most


@pytest.mark.parametrize("kind", ("load", "wind", "sun"))
@pytest.mark.parametrize("ahead", (1, 4, 12, 48))
def test_intervals_of_90_per_cent_cover_90_per_cent(
    made: tuple[Series, dict[str, np.ndarray], np.ndarray], kind: str, ahead: int
) -> None:
    series, unit, most = made
    row = (series.start[:-1, None] + np.arange(6, series.horizon(0) - ahead, 6)).ravel()
    truth = np.abs(series.p[row + ahead][:, unit[kind]])
    low, high = (
        np.abs(series.quantile(row, ahead, level)[0][:, unit[kind]]) for level in (0.05, 0.95)
    )
    # An end that is cut off at 0 or at full power has nothing beyond it, nor has the night.
    floor, ceiling = low > 1e-9, (high < most[unit[kind]] * (1 - 1e-9)) & (high > low)
    tails = [(truth < low)[floor], (truth > high)[ceiling]]
    assert max(tail.size for tail in tails) > 200
    for tail in tails:  # 250 independent episodes and their kin: deviation below 0.7 %
        if tail.size > 200:
            assert tail.mean() == pytest.approx(0.05, abs=0.015)
    both = floor & ceiling
    if both.sum() > 200:
        covered = ((low <= truth) & (truth <= high))[both].mean()
        assert covered == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("kind", ("load", "wind", "sun"))
def test_errors_grow_with_the_horizon(
    made: tuple[Series, dict[str, np.ndarray], np.ndarray], kind: str
) -> None:
    series, unit, _ = made
    size = []
    for ahead in (1, 2, 6, 12, 24):
        row = (series.start[:-1, None] + np.arange(0, series.horizon(0) - 23, 48)).ravel()
        now = row + 24 - ahead  # the same rows are forecast, noons
        found, _ = series.expected(now, ahead)
        size.append(float(np.std((found - series.p[now + ahead])[:, unit[kind]])))
    assert (np.diff(size) > 0).all()
    assert size[-1] > 1.5 * size[0]


@pytest.mark.parametrize("noise", (LOAD_PROCESS, WIND_PROCESS, CLOUD_PROCESS))
@pytest.mark.parametrize("ahead", (1, 8, 40))
def test_what_foresight_leaves_has_its_size_and_cannot_be_foreseen(
    noise: Noise, ahead: int
) -> None:
    rng, alone, n = np.random.default_rng(3), replace(noise, shared=0.0), 3000
    z, first = process(rng, np.eye(n), np.arange(n), 60, 900.0, alone)
    own, before, deviation = (values[ahead] for values in foresight(alone, 900.0, 40))
    left = z[15 + ahead] - own * z[15] - before * first[15]
    assert left.std() == pytest.approx(deviation, rel=0.06)  # of 3,000: to 1.3 %
    for known in (z[15], first[15], z[10]):
        assert abs(np.corrcoef(left, known)[0, 1]) < 0.06


def test_a_quantile_has_the_schedule_where_nothing_is_uncertain() -> None:
    series = scenarios.load("ieee14").series
    row = np.array([10, series.start[1] - 2])  # the second is the last but one of its episode
    p, q = series.quantile(row, 6, 0.9)
    case = scenarios.load("ieee14").case
    kinds = np.array(case.grid.unit_kind)
    np.testing.assert_array_equal(p[0, kinds == "ext_grid"], series.p[16, kinds == "ext_grid"])
    loads = kinds == "load"
    more, _ = series.quantile(row, 6, 0.99)
    uses = case.injection.p[0, loads] != 0
    assert (more[:, loads][:, uses] < p[:, loads][:, uses]).all()  # more consumption
    assert (q[:, loads] != 0).any()
    middle, _ = series.quantile(row, 1, 0.5)
    np.testing.assert_allclose(middle, series.expected(row, 1)[0], rtol=1e-12)
    np.testing.assert_allclose(  # the end of the episode is the furthest that is foreseen
        series.expected(row, 6)[0][1], series.expected(row, 1)[0][1], rtol=1e-12
    )


def test_a_pack_has_the_forecasts_of_its_episodes() -> None:
    scenario = scenarios.load("ieee5")
    episode = scenario.episodes("test")[0]
    whole, part = scenario.series, scenario.world(pack="test").series
    a = whole.quantile(whole.start[[episode]] + 7, 20, 0.8)[0]
    np.testing.assert_array_equal(a, part.quantile(np.array([7]), 20, 0.8)[0])


def test_what_cannot_be_foreseen_is_refused() -> None:
    series = scenarios.load("ieee5").series
    row = np.array([0])
    with pytest.raises(ScenarioError, match=r"level is 1\.5; give a probability"):
        series.quantile(row, 1, 1.5)
    with pytest.raises(ScenarioError, match="reach 288 steps ahead, not 289"):
        series.quantile(row, 289, 0.5)
    with pytest.raises(ScenarioError, match="have no intervals"):
        replace(series, outlook=None).quantile(row, 1, 0.5)
