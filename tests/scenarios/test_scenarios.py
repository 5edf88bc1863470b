"""Scenario files: what comes along, what a user writes, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gridrl
import scenarios
from gridrl.env.fleet import fleet_of
from gridrl.env.state import Ending
from gridrl.env.step import reset, step
from gridrl.errors import ElementError, ScenarioError
from scenarios.generator import Recipe, generate

MINIMAL = '[grid]\ncase = "case5"\n[series]\ndays = 0.1\nepisodes = 3\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_pack_holds_its_episodes() -> None:
    scenario = scenarios.load("ieee14")
    test = scenario.episodes("test")
    world = scenario.world(pack="test")
    first = int(scenario.series.start[test[0]])
    np.testing.assert_array_equal(world.series.p[0], scenario.series.p[first])


def test_families_are_listed() -> None:
    assert {"ieee5", "ieee14", "ieee30", "ieee57", "ieee118"} <= set(scenarios.names("ieee"))
    with pytest.raises(ScenarioError, match=r"No scenario family 'x'\. There are .*ieee"):
        scenarios.names("x")


@pytest.mark.parametrize("name", scenarios.names())
def test_every_scenario_that_comes_along_is_read(name: str) -> None:
    scenario = scenarios.load(name)
    assert scenario.title != name
    case = scenario.case
    recipe = scenario.recipe
    if recipe is None:
        assert scenario.windows is not None
        return
    for element in (*recipe.wind, *recipe.solar, *(scenario.foe.elements if scenario.foe else ())):
        case.grid.find_element(element)


def test_a_file_of_ones_own_is_played(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        MINIMAL
        + '[[maintenance]]\nelement = "line:1"\nfirst_step = 2\nsteps = 3\n'
        + '[[hazard]]\nelement = "line:4"\nfirst_step = 1\nsteps = 1\nepisode = 0\n'
        + "[rules]\nsoft_steps = 7\noverflow_trips = false\n",
    )
    world = scenarios.load(path).world()
    assert world.rules.soft_steps == 7
    state = reset(world, np.random.default_rng(0), episode=np.array([0, 1]))
    out = []
    for _ in range(6):
        state, _ = step(world, state)
        out.append(~state.closed[:, [1, 4]])
    assert np.array(out).astype(int).tolist() == [
        [[0, 1], [0, 0]],
        [[1, 1], [1, 0]],  # what breaks or is taken out stays open until somebody closes it
        [[1, 1], [1, 0]],
        [[1, 1], [1, 0]],
        [[1, 1], [1, 0]],
        [[1, 1], [1, 0]],
    ]
    assert (state.ending == Ending.RUNNING).all()


@pytest.mark.parametrize(
    ("text", "says"),
    (
        ("[grid\n", "is no TOML"),
        ("[series]\n", "case must be a text; add it"),
        (MINIMAL + "[colour]\n", "the file has no entry 'colour'"),
        (MINIMAL + "[fleet]\nramp = 2\n", "ramp is 2; give 0 to 1"),
        (MINIMAL + "[fleet]\nramp = true\n", "ramp must be a number"),
        (MINIMAL + "[rules]\nprofile = 'chaos'\n", "profile is 'chaos'"),
        (MINIMAL + "[rules]\nhard_limit = -1\n", "Rule hard_limit is -1"),
        (MINIMAL + "[rules]\nsoft_limit = 'high'\n", "Rule soft_limit is 'high'"),
        (MINIMAL + "[rules]\nspeed = 1\n", "No rule is called speed"),
        (MINIMAL + "[opponent]\nelements = []\n", "needs elements"),
        (MINIMAL + "[[hazard]]\nelement = 'line:0'\n", "steps must be a whole number of 1"),
        (MINIMAL.replace("0.1", "0.011") + "step_minutes = 1000\n", "shorter than step_minutes"),
        (MINIMAL + "test_episodes = 4\n", "test_episodes is 4, but there are 3"),
        ("grid = 3\n", "grid must be a table"),
    ),
)
def test_what_makes_no_sense_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        scenarios.load(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "error", "says"),
    (
        ("[areas]\nhere = ['0', '9']\n", ScenarioError, "names bus 9, which case5 does not have"),
        ("[areas]\nhere = ['0', '1']\n", ScenarioError, "3 buses are in no area: 2, 3, 4"),
        ("[areas]\na = ['0']\nb = ['0']\n", ScenarioError, "Bus 0 is in two areas"),
        ("[opponent]\nelements = ['gen:0']\n", ScenarioError, "is no line or transformer"),
        ("[opponent]\nelements = ['line:99']\n", ElementError, "No element 'line:99'"),
        (
            "[[hazard]]\nelement = 'line:0'\nsteps = 1\nepisode = 7\n",
            ScenarioError,
            "is in episode 7, but there are 3",
        ),
    ),
)
def test_what_does_not_fit_the_grid_is_named(
    tmp_path: Path, text: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        scenarios.load(written(tmp_path, MINIMAL + text)).world()


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(ScenarioError, match="Did you mean ieee14"):
        scenarios.load("ieee41")
    with pytest.raises(ScenarioError, match="There is no scenario file"):
        scenarios.load("nowhere/at_all.toml")


# --- the generator --------------------------------------------------------------------------
RECIPE = Recipe(
    seed=1, episodes=2, days=7, step_s=900.0, load_peak=1.0, wind=("gen:2",), solar=("gen:3",)
)


def test_more_episodes_leave_the_first_as_they_are() -> None:
    case = gridrl.load("case14")
    two = generate(case, RECIPE, fleet_of(case))
    three = generate(case, replace(RECIPE, episodes=3), fleet_of(case))
    np.testing.assert_array_equal(two.p, three.p[: two.p.shape[0]])
    assert not np.array_equal(two.p[: RECIPE.rows], two.p[RECIPE.rows :])


def test_series_look_like_load_wind_and_sun() -> None:
    case = gridrl.load("case14")
    fleet = fleet_of(case)
    series = generate(case, replace(RECIPE, episodes=24), fleet)
    grid = case.grid
    load = np.array(grid.unit_kind) == "load"
    demand = -series.p[:, load].sum(axis=1).reshape(24, -1)
    nominal = -case.injection.p[0, load].sum()
    assert 0.85 < demand.max() / nominal < 1.15  # a winter peak at the load of the case
    hours = np.arange(RECIPE.rows) * RECIPE.step_s / 3600
    night, evening = (hours % 24 < 4), (abs(hours % 24 - 19) < 1)
    assert demand[:, night].mean() < 0.75 * demand[:, evening].mean()
    sunday = hours // 24 == 6
    assert demand[:, sunday].mean() < 0.95 * demand[:, hours // 24 == 2].mean()
    unit = {int(grid.unit_element[m]): int(m) for m in range(grid.n_unit)}
    wind, sun = (unit[grid.find_element(name)] for name in ("gen:2", "gen:3"))
    size = dict(zip(fleet.gen_unit.tolist(), fleet.p_max, strict=True))
    share = series.p[:, wind] / size[wind]
    assert (share >= 0).all()
    assert (share <= 1).all()
    assert 0.15 < share.mean() < 0.5  # onshore capacity factors
    bright = (series.p[:, sun] / size[sun]).reshape(24, -1)
    assert not bright[:, night].any()
    assert 0.05 < bright.mean() < 0.25


def test_forecast_errors_have_their_size() -> None:
    case = gridrl.load("case14")
    series = generate(case, replace(RECIPE, step_s=300.0, episodes=4), fleet_of(case))
    load = np.array(case.grid.unit_kind) == "load"
    error = series.p_forecast[:, load] / series.p[:, load] - 1.0
    assert error.std() == pytest.approx(0.0150, rel=0.05)  # Grid2Op's chronics have 0.016
    assert abs(error.mean()) < 3e-4


def test_dispatch_keeps_ramps_and_balance() -> None:
    scenario = scenarios.load("ieee30")
    fleet, series = scenario.fleet, scenario.series
    rows = series.start[1]
    moved = np.abs(np.diff(series.p[:rows, fleet.gen_unit], axis=0))
    steers = fleet.redispatchable
    assert steers.any()
    assert (moved[:, steers] <= fleet.ramp_up[steers] + 1e-9).all()
    total = series.p[:rows].sum(axis=1)
    load = np.array(scenario.case.grid.unit_kind) == "load"
    assert np.median(np.abs(total) / -series.p[:rows, load].sum(axis=1)) < 0.05  # the losses


# --- tables ---------------------------------------------------------------------------------
def test_tables_of_ones_own_become_series(tmp_path: Path) -> None:
    (tmp_path / "p_mw.csv").write_text(
        "seconds,episode,load:0,gen:0\n0,0,300,40\n900,0,310,41\n0,1,200,20\n900,1,210,21\n"
    )
    (tmp_path / "vm_pu.csv").write_text("gen:0\n1.01\n1.02\n1.0\n1.0\n")
    text = '[grid]\ncase = "case5"\n[series]\ntables = "."\n'
    series = scenarios.load(written(tmp_path, text)).series
    case = gridrl.load("case5")
    at = {label: m for m, label in enumerate(case.grid.unit_label)}
    load, gen = (
        next(m for label, m in at.items() if label.startswith(k)) for k in ("load:0", "gen:0")
    )
    np.testing.assert_allclose(series.p[:, load] * 100, [-300, -310, -200, -210])
    np.testing.assert_allclose(series.p[:, gen] * 100, [40, 41, 20, 21])
    np.testing.assert_allclose(series.v_set[:, gen], [1.01, 1.02, 1.0, 1.0])
    assert series.start.tolist() == [0, 2, 4]
    assert series.step_s == 900


@pytest.mark.parametrize(
    ("text", "error", "says"),
    (
        ("load:0\n1\n", ScenarioError, "needs a header and two steps"),
        ("load:0\n1\nx\n", ScenarioError, "no number"),
        ("load:0\n1\nnan\n", ScenarioError, "Line 3 of p_mw.csv holds a value that is not finite"),
        ("load:0,gen:0\n1\n2\n", ScenarioError, "Line 2 of p_mw.csv has not the 2 columns"),
        ("load:0,load:0\n1,1\n2,2\n", ScenarioError, "two columns of one name"),
        ("load:77\n1\n2\n", ElementError, "No element 'load:77'"),
        ("seconds,load:0\n0,1\n0,2\n", ScenarioError, "must grow by equal steps"),
        ("line:0\n1\n2\n", ScenarioError, "is no single load or generator"),
    ),
)
def test_tables_that_make_no_sense_are_named(
    tmp_path: Path, text: str, error: type[Exception], says: str
) -> None:
    (tmp_path / "p_mw.csv").write_text(text)
    scenario = scenarios.load(written(tmp_path, '[grid]\ncase = "case5"\n[series]\ntables = "."\n'))
    with pytest.raises(error, match=says):
        _ = scenario.series
