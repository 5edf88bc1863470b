"""Gymnasium's interfaces."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gridrl.env
from gridrl.env.sensors import Delay, Missing, Noise, WrongStatus
from gridrl.env.world import World
from gridrl.errors import RulesError, ScenarioError


@pytest.mark.parametrize(
    "settings",
    (
        {},
        {"actions": "dispatch"},
        {"actions": "both", "observe_as": "dict"},
        {"observe_fields": ["rho", "p_forecast"], "reward": {"overload": 1.0}},
        {"observe_as": "graph"},
        {"observe_as": "graph", "graph": "busbar", "mask_in_observation": True},
        {"observe_as": "graph", "graph": "substation"},
        {"observe_as": "graph", "graph": "line"},
        {"mask_in_observation": True, "action_set": "n1"},
        {"sensors": [Noise(0.02), Missing(0.1), Delay(2), WrongStatus(0.02)]},
    ),
)
def test_gymnasium_has_nothing_to_say(world: World, settings: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gridrl.env.make(world, steps=30, random_start=True, **settings)
        check_env(env, skip_render_check=True)


def test_a_scenario_opens_by_its_name() -> None:
    env = gridrl.env.make("ieee5", steps=3)
    _, info = env.reset(seed=1, options={"episode": 2})
    assert info["episode_id"] == 2
    ends = [env.step(0)[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_many_grids_are_the_same_as_one(world: World) -> None:
    many = gridrl.env.make_vector(world, 5)
    first, _ = many.reset(seed=3, options={"episode": [0, 1, 2, 3, 4]})
    number = np.array([0, 3, 0, 7, 0])
    seen, reward, *_ = many.step(number)
    for k in range(5):
        one = gridrl.env.make(world)
        # the same seed stream: the opponent of each episode follows from it
        one._vector.state = _member(many, k, seen=False, world=world)
        np.testing.assert_allclose(one._vector.seen(one.state)[0], first[k], atol=1e-5)
        got, value, *_ = one.step(number[k])
        np.testing.assert_allclose(got, seen[k], atol=1e-5)
        assert value == pytest.approx(reward[k], abs=1e-6)


def _member(many: Any, k: int, *, seen: bool, world: World) -> Any:
    from dataclasses import fields

    fresh = gridrl.env.make_vector(world, many.num_envs)
    fresh.reset(seed=3, options={"episode": list(range(many.num_envs))})
    state = fresh.state
    return type(state)(**{f.name: getattr(state, f.name)[k : k + 1] for f in fields(state)})


def test_an_episode_that_ends_begins_anew_in_the_same_step(world: World) -> None:
    env = gridrl.env.make_vector(world, 8, steps=4)
    assert env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.SAME_STEP
    env.reset(seed=0)
    for _ in range(4):
        seen, reward, terminated, truncated, infos = env.step(np.zeros(8, np.int64))
        assert env.observation_space.contains(seen)
    over = terminated | truncated
    assert truncated.any()
    assert over.all()
    assert infos["_final_obs"].all()
    assert all(final.shape == seen[0].shape for final in infos["final_obs"])
    assert (env.state.steps == 0).all()
    assert reward.shape == (8,)


def test_the_same_seed_gives_the_same_episodes(world: World) -> None:
    runs = []
    for _ in range(2):
        env = gridrl.env.make_vector(world, 6, steps=20, random_start=True)
        env.reset(seed=11)
        runs.append(np.array([env.step(np.zeros(6, np.int64))[0] for _ in range(25)]))
    np.testing.assert_array_equal(*runs)


def test_reward_terms_are_told_by_name(world: World) -> None:
    env = gridrl.env.make(world, reward={"losses": 2.0, "survival": 1.0})
    env.reset(seed=0)
    _, reward, _, _, info = env.step(0)
    terms = info["reward_terms"]
    assert terms["losses"] < 0 < terms["survival"]
    assert reward == pytest.approx(2 * terms["losses"] + terms["survival"])
    # losses in MWh: what the branches take in, for five minutes
    lost = (env.state.s_from + env.state.s_to).real.sum() * 100 / 12
    assert terms["losses"] == pytest.approx(-lost)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    (
        ({"actions": "magic"}, ScenarioError, "actions is 'magic'; give switching"),
        (
            {"observe_as": "film"},
            ScenarioError,
            "observe_as is 'film'; give 'flat', 'dict', 'graph'",
        ),
        ({"observe_as": "graph", "graph": "tree"}, ScenarioError, "No graph is called 'tree'"),
        ({"action_set": "n2"}, ScenarioError, "No action set is called 'n2'"),
        ({"sensors": [3]}, RulesError, "3 is no sensor"),
        ({"observe_fields": ["rho", "smell"]}, ScenarioError, "Nothing is observed as smell"),
        ({"reward": "fame"}, RulesError, "No reward profile 'fame'"),
        ({"reward": {"fame": 1.0}}, RulesError, "No reward term is called fame"),
        ({"reward": {"losses": float("nan")}}, RulesError, "not a finite number"),
        ({"steps": 10**9, "episodes": np.array([99])}, ScenarioError, "There is no episode 99"),
    ),
)
def test_wrong_use_is_answered_in_one_sentence(
    world: World, settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        gridrl.env.make(world, **settings)


def test_a_number_that_means_nothing_is_refused(world: World) -> None:
    env = gridrl.env.make(world)
    env.reset(seed=0)
    with pytest.raises(ScenarioError, match=r"numbers from 0 to \d+"):
        env.step(10**6)
