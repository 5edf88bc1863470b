"""Gymnasium's registry, and learners that know nothing of grids."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gridrl.env
import scenarios
from gridrl.env.gym import GridEnv
from gridrl.env.vector import GridVectorEnv
from gridrl.env.world import World
from gridrl.errors import ScenarioError


@pytest.mark.parametrize("name", scenarios.names())
def test_gymnasium_knows_every_scenario(name: str) -> None:
    spec = gym.spec(f"gridrl/{name}-v0")
    assert spec.vector_entry_point == "gridrl.env:make_vector"


def test_gymnasium_makes_one_and_many() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = gym.make("gridrl/ieee14-v0", steps=3, pack="train")
        assert isinstance(one.unwrapped, GridEnv)
        one.reset(seed=0)
        one.step(one.action_space.sample())
        many = gym.make_vec("gridrl/ieee14-v0", num_envs=3, steps=3)
    assert isinstance(many.unwrapped, GridVectorEnv)
    seen, _ = many.reset(seed=0)
    assert many.observation_space.contains(seen)


def test_a_learner_opens_a_scenario_once() -> None:
    assert gridrl.env.world_of("ieee5") is gridrl.env.world_of("ieee5")
    train = gridrl.env.world_of("ieee5", pack="train")
    assert train.series.n_episode == scenarios.load("ieee5").episodes("train").size


def test_a_pack_of_a_world_is_refused(world: World) -> None:
    with pytest.raises(ScenarioError, match="Pack 'train' is asked of a world"):
        gridrl.env.make(world, pack="train")


@pytest.mark.slow
@pytest.mark.parametrize("name", scenarios.names())
def test_gymnasium_has_nothing_to_say_about_any_scenario(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(f"gridrl/{name}-v0", steps=20, random_start=True)
        check_env(env.unwrapped, skip_render_check=True)


# --- Stable-Baselines3 ------------------------------------------------------------------------
# Both learners report deprecations of torch and of each other that are no concern of ours.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("policy", "settings"),
    (
        ("MlpPolicy", {}),
        ("MlpPolicy", {"actions": "dispatch"}),
        ("MultiInputPolicy", {"observe_as": "dict"}),
        ("MultiInputPolicy", {"observe_as": "graph", "graph": "busbar"}),
    ),
)
def test_stable_baselines_trains(policy: str, settings: dict[str, Any]) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_checker import check_env as check

    env = gym.make("gridrl/ieee5-v0", steps=48, random_start=True, **settings)
    check(env, warn=False)
    model = PPO(policy, env, n_steps=128, batch_size=64, seed=0, device="cpu")
    before = [p.detach().clone() for p in model.policy.parameters()]
    model.learn(1024)
    after = list(model.policy.parameters())
    assert any(not np.allclose(a.detach(), b) for a, b in zip(after, before, strict=True))
    assert all(np.isfinite(p.detach().numpy()).all() for p in after)
    seen, _ = env.reset(seed=1)
    action, _ = model.predict(seen, deterministic=True)
    assert env.action_space.contains(action if action.shape else np.int64(action))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_stable_baselines_learns_not_to_gamble(world: World) -> None:
    """From random switching, which soon loses the grid, to what keeps it: paired, 5 % level."""
    from scipy.stats import mannwhitneyu
    from stable_baselines3 import PPO

    from gridrl.env.stable_baselines import GridVecEnv

    def steps(policy: Any, seed: int) -> list[int]:
        env = GridVecEnv(
            gridrl.env.make_vector("ieee14", 32, steps=96, random_start=True, action_set="n1")
        )
        env.seed(seed)
        seen, lasted = env.reset(), []
        while len(lasted) < 64:
            seen, _, _, rows = env.step(policy(seen))
            lasted += [row["steps"] for row in rows if row]
        return lasted

    env = GridVecEnv(
        gridrl.env.make_vector("ieee14", 32, steps=96, random_start=True, action_set="n1")
    )
    model = PPO(
        "MlpPolicy", env, n_steps=64, batch_size=256, learning_rate=1e-3, seed=0, device="cpu"
    )
    untrained = steps(lambda seen: model.predict(seen)[0], 9)
    model.learn(15 * 32 * 64)
    trained = steps(lambda seen: model.predict(seen)[0], 9)
    assert mannwhitneyu(trained, untrained, alternative="greater").pvalue < 0.05


@pytest.mark.filterwarnings("ignore")
def test_the_batch_of_stable_baselines_is_ours(world: World) -> None:
    pytest.importorskip("stable_baselines3")
    from gridrl.env.stable_baselines import GridVecEnv

    ours = gridrl.env.make_vector(world, 3, steps=2)
    theirs = GridVecEnv(gridrl.env.make_vector(world, 3, steps=2))
    theirs.seed(4)
    first, _ = ours.reset(seed=4)
    np.testing.assert_array_equal(theirs.reset(), first)
    for _ in range(2):
        seen, reward, terminated, truncated, infos = ours.step(np.zeros(3, np.int64))
        got, value, done, rows = theirs.step(np.zeros(3, np.int64))
        np.testing.assert_array_equal(got, seen)
        np.testing.assert_allclose(value, reward, rtol=1e-6)
        np.testing.assert_array_equal(done, terminated | truncated)
    assert done.all()
    np.testing.assert_array_equal(rows[2]["terminal_observation"], infos["final_obs"][2])
    masks = theirs.env_method("action_masks")
    np.testing.assert_array_equal(masks, ours.action_masks())


# --- TorchRL ----------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torchrl_trains_with_masks() -> None:
    """Its own loss, collector and mask over a plain Gymnasium id."""
    import torch
    from tensordict.nn import ProbabilisticTensorDictModule as Draw
    from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
    from torchrl.envs import GymEnv
    from torchrl.envs.utils import check_env_specs
    from torchrl.modules import MaskedCategorical, ValueOperator
    from torchrl.objectives import A2CLoss

    torch.manual_seed(0)
    env = GymEnv(
        "gridrl/ieee5-v0", steps=48, random_start=True, mask_in_observation=True,
        categorical_action_encoding=True,
    )  # fmt: skip
    check_env_specs(env)
    width = env.observation_spec["observation"].shape[-1]
    n = env.action_spec.n
    net = torch.nn.Sequential(torch.nn.Linear(width, 32), torch.nn.Tanh(), torch.nn.Linear(32, n))

    def logits(observation: torch.Tensor, action_mask: torch.Tensor) -> Any:
        return net(observation), action_mask.bool()

    actor = ProbabilisticTensorDictSequential(
        TensorDictModule(logits, ["observation", "action_mask"], ["logits", "mask"]),
        Draw(
            ["logits", "mask"],
            ["action"],
            distribution_class=MaskedCategorical,
            return_log_prob=True,
        ),
    )
    critic = ValueOperator(torch.nn.Linear(width, 1), in_keys=["observation"])
    loss = A2CLoss(actor, critic)
    parameters = [*net.parameters(), *critic.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=1e-3)
    start = [p.detach().clone() for p in parameters]
    for _ in range(8):
        batch = env.rollout(128, actor, break_when_any_done=False)
        taken = batch["action_mask"].gather(-1, batch["action"].unsqueeze(-1))
        assert taken.all()  # nothing forbidden was ordered
        loss.value_estimator(batch)
        values = loss(batch)
        total = values["loss_objective"] + values["loss_critic"]
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        assert torch.isfinite(total)
    assert any(not torch.equal(a, b) for a, b in zip(parameters, start, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torchrl_steps_a_batch_at_once() -> None:
    from torchrl.envs import GymWrapper

    env = GymWrapper(gym.make_vec("gridrl/ieee5-v0", num_envs=4, steps=8))
    batch = env.rollout(20, break_when_any_done=False)
    assert tuple(batch.shape) == (4, 20)
    assert batch["next", "done"].sum() >= 8
