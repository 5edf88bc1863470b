"""Grid operation over time: pure functions over batches of grids, and Gymnasium interfaces.

>>> import gridrl.env
>>> env = gridrl.env.make("ieee14")
>>> observation, info = env.reset(seed=0)
>>> observation, reward, terminated, truncated, info = env.step(0)  # do nothing
>>> terminated
False
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gridrl.env.gym import GridEnv
    from gridrl.env.vector import GridVectorEnv
    from gridrl.env.world import World


def make(scenario: "str | World", **settings: Any) -> "GridEnv":
    """One grid in operation, as a `gymnasium.Env`.

    Parameters
    ----------
    scenario
        A scenario by name or path (`scenarios.names` lists them), or a `World` of your own.
    settings
        See `gridrl.env.vector.GridVectorEnv`.
    """
    from gridrl.env.gym import GridEnv

    return GridEnv(world_of(scenario), **settings)


def make_vector(scenario: "str | World", num_envs: int, **settings: Any) -> "GridVectorEnv":
    """``num_envs`` grids stepped by one engine call, as a `gymnasium.vector.VectorEnv`."""
    from gridrl.env.vector import GridVectorEnv

    return GridVectorEnv(world_of(scenario), num_envs, **settings)


def world_of(scenario: "str | World") -> "World":
    """The world of a scenario by name or path; a `World` is handed back."""
    if not isinstance(scenario, str):
        return scenario
    # The package of scenarios stands on this one; only its name is known here.
    world: World = import_module("scenarios").load(scenario).world()
    return world
