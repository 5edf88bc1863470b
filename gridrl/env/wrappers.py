"""Sensors around an environment that is made already: Gymnasium wrappers."""

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv, VectorWrapper

from gridrl.env.gym import GridEnv
from gridrl.env.sensors import Sensor
from gridrl.env.vector import GridVectorEnv
from gridrl.errors import RulesError


class ReadBy(gym.Wrapper[Any, Any, Any, Any]):
    """One grid that is read by sensors, on top of those that it has.

    The sensors act where measurements enter, below every wrapper around the environment.

    Raises
    ------
    RulesError
        The environment is no grid, or one of the sensors is none.
    """

    def __init__(self, env: gym.Env[Any, Any], sensors: Iterable[Sensor]) -> None:
        super().__init__(env)
        inner = env.unwrapped
        if not isinstance(inner, GridEnv):
            raise RulesError(
                f"{type(inner).__name__} is no environment of gridrl: nothing to read."
            )
        inner.add_sensors(sensors)


class VectorReadBy(VectorWrapper):
    """The same for many grids side by side."""

    def __init__(self, env: VectorEnv[Any, Any, Any], sensors: Iterable[Sensor]) -> None:
        super().__init__(env)
        inner = env.unwrapped
        if not isinstance(inner, GridVectorEnv):
            raise RulesError(
                f"{type(inner).__name__} is no environment of gridrl: nothing to read."
            )
        inner.add_sensors(sensors)
