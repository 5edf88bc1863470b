"""Worlds on disk: what is read back plays the same, to the last digit."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import gridrl
import scenarios
from gridrl.env.choices import all_choices
from gridrl.env.state import State
from gridrl.env.step import reset, step
from gridrl.env.world import World
from gridrl.errors import CaseError, ScenarioError
from scenarios.write import write_world


def play(world: World, steps: int, episode: int = 0) -> State:
    """One grid under random allowed orders, into the attacks of its opponent."""
    choices, rng = all_choices(world), np.random.default_rng(7)
    state = reset(world, np.random.default_rng(1), episode=np.array([episode] * 4))
    for _ in range(steps):
        may = choices.allowed(world, state)
        number = [int(rng.choice(np.flatnonzero(row))) for row in may]
        quiet = rng.random(4) < 0.7
        state, _ = step(world, state, choices.orders(state, np.where(quiet, 0, number)))
    return state


def same(a: State, b: State) -> None:
    for field in fields(State):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), field.name)


def test_a_scenario_comes_back_from_disk(tmp_path: Path) -> None:
    world = scenarios.load("ieee14").world(pack="test")
    path = write_world(world, tmp_path / "copy", title='a "copy"', test_episodes=2)
    again = scenarios.load(path)
    assert again.title == 'a "copy"'
    assert again.episodes("test").tolist() == [6, 7]
    made = again.world()
    assert made.case.digest == world.case.digest
    np.testing.assert_array_equal(made.area, world.area)
    for name in ("p", "q", "v_set", "p_forecast", "q_forecast"):  # MW and back: the last digit
        np.testing.assert_allclose(
            getattr(made.series, name), getattr(world.series, name), rtol=4e-16, atol=0
        )
    a, b = play(world, 12), play(made, 12)
    np.testing.assert_allclose(a.rho, b.rho, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(a.attacked, b.attacked)
    assert (a.attacked >= 0).any()


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    (
        "rte_case14_opponent",
        "educ_case14_storage",
        pytest.param("l2rpn_neurips_2020_track1", marks=pytest.mark.slow),
        pytest.param("l2rpn_wcci_2022_dev", marks=pytest.mark.slow),
    ),
)
def test_an_environment_of_grid2op_comes_back_from_disk(name: str, tmp_path: Path) -> None:
    pytest.importorskip("lightsim2grid")
    from benchmarks.peers.grid2op_copy import copy
    from benchmarks.peers.grid2op_world import shipped

    world = shipped(name, episodes=1).world
    made = scenarios.load(copy(name, tmp_path / name, episodes=1)).world()
    for of in ("series", "fleet", "opponent", "rules"):
        a, b = getattr(world, of), getattr(made, of)
        for field in fields(type(a)):
            x, y = getattr(a, field.name), getattr(b, field.name)
            if field.name == "names" or (isinstance(x, np.ndarray) and not x.any()):
                assert field.name == "names" or not np.any(y), field.name
                continue
            np.testing.assert_array_equal(x, y, err_msg=f"{of}.{field.name}")
    same(play(world, 30), play(made, 30))


def test_a_case_that_was_changed_or_is_none_is_refused(tmp_path: Path) -> None:
    from gridrl.io.native import save

    path = tmp_path / "grid.npz"
    save(gridrl.load("case14"), path)
    assert gridrl.load(path).digest == gridrl.load("case14").digest
    with np.load(path) as stored:
        found = dict(stored)
    found["grid.y_ff"] = found["grid.y_ff"] * 1.01
    np.savez(path, **found)
    with pytest.raises(CaseError, match=r"grid\.npz was changed after gridrl wrote it"):
        gridrl.load(path)
    np.savez(path, a=np.array([1, "x"], object))
    with pytest.raises(CaseError, match=r"is no case that gridrl wrote, or is damaged"):
        gridrl.load(path)
    path.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(CaseError, match="is damaged"):
        gridrl.load(path)
    with pytest.raises(CaseError, match=r"end in \.npz"):
        save(gridrl.load("case14"), tmp_path / "grid.json")


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    (
        ("generators.csv", "p_max", "pmax", "must have the columns element, p_min, p_max"),
        ("generators.csv", "gen:0", "gen:99", "No element 'gen:99'"),
        ("generators.csv", ",1.0,", ",2.0,", "must hold 0 or 1"),
        ("scenario.toml", 'split = "usual"', 'split = "some"', "split is 'some'"),
        ("scenario.toml", "[fleet]", "[fleet]\nramp = 0.1", "drop the others"),
        ("scenario.toml", "weights = [", "weights = [3.0, ", "for each of its 5 elements"),
        ("scenario.toml", "period = 1", "period = 0", "period must be a whole number of 1"),
    ),
)
def test_tables_that_make_no_sense_are_named(
    file: str, old: str, new: str, says: str, written: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(written, tmp_path / "copy")
    path = tmp_path / "copy" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises((ScenarioError, gridrl.errors.ElementError), match=says):
        _ = scenarios.load(tmp_path / "copy" / "scenario.toml").fleet


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from scenarios.scenario import picked

    scenario = scenarios.load("ieee14")
    world = scenario.world()
    from dataclasses import replace

    short = replace(world, series=picked(world.series, np.array([0])))
    return write_world(short, tmp_path_factory.mktemp("w"), title="short").parent
