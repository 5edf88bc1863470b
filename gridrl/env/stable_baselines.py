"""A batch of grids as Stable-Baselines3 wants it: its `VecEnv` over one engine call.

>>> from stable_baselines3 import PPO
>>> import gridrl.env
>>> from gridrl.env.stable_baselines import GridVecEnv
>>> env = GridVecEnv(gridrl.env.make_vector("ieee14", 16, pack="train"))
>>> model = PPO("MlpPolicy", env, n_steps=64).learn(1024)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridrl.env.state import Ending
from gridrl.env.vector import GridVectorEnv
from gridrl.errors import MissingExtra

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as missing:
    raise MissingExtra("This needs Stable-Baselines3: pip install 'gridrl[rl]'") from missing


class GridVecEnv(VecEnv):
    """``env.num_envs`` grids for Stable-Baselines3 and sb3-contrib's maskable learners.

    Plain `stable_baselines3` learners also take `gridrl.env.make` as it is; this is the faster way.
    """

    def __init__(self, env: GridVectorEnv) -> None:
        self.env = env
        self._seed: int | None = None
        self._actions: Any = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """First observations of new episodes."""
        seen, _ = self.env.reset(seed=self._seed)
        self._seed = None
        return seen

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the orders for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Carry out the orders."""
        seen, reward, terminated, truncated, infos = self.env.step(self._actions)
        done = terminated | truncated
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for b in np.flatnonzero(done):
            rows[b] = {
                "terminal_observation": infos["final_obs"][b],
                "TimeLimit.truncated": bool(truncated[b]),
                "ending": Ending(infos["final_info"]["ending"][b]).name,
                "steps": int(infos["final_info"]["steps"][b]),
            }
        return seen, reward.astype(np.float32), done, rows

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the next `reset`."""
        self._seed = seed
        return [seed] * self.num_envs

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute, once for each grid asked for."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, _indices: Any = None) -> None:
        """Set an attribute of all grids, which share one."""
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method that answers for all grids, and hand out its rows."""
        found = getattr(self.env, method_name)(*args, **kwargs)
        return [found[k] for k in self._get_indices(indices)]

    def env_is_wrapped(self, _wrapper_class: Any, indices: Any = None) -> list[bool]:
        """None is."""
        return [False for _ in self._get_indices(indices)]
