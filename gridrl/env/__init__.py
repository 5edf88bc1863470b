"""Grid operation over time: pure functions over batches of grids, and Gymnasium interfaces.

>>> import gridrl.env
>>> env = gridrl.env.make("ieee14")
>>> observation, info = env.reset(seed=0)
>>> observation, reward, terminated, truncated, info = env.step(0)  # do nothing
>>> terminated
False

Every scenario that comes along is also known to Gymnasium, as ``gridrl/NAME-v0``.
"""

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridrl.env.registration import register_envs

if TYPE_CHECKING:
    from gridrl.env.gym import GridEnv
    from gridrl.env.vector import GridVectorEnv
    from gridrl.env.world import World

register_envs()


def make(
    scenario: "str | Path | World", *, pack: str = "all", threads: int = 1, **settings: Any
) -> "GridEnv":
    """One grid in operation, as a `gymnasium.Env`.

    Parameters
    ----------
    scenario
        A scenario by name or path (`scenarios.names` lists them), or a `World` of your own.
    pack
        Episodes of a named scenario: "train", "test" or "all".
    threads
        Threads that the engine uses for a named scenario.
    settings
        See `gridrl.env.vector.GridVectorEnv`.
    """
    from gridrl.env.gym import GridEnv

    return GridEnv(world_of(scenario, pack=pack, threads=threads), **settings)


def make_vector(
    scenario: "str | Path | World",
    num_envs: int = 1,
    *,
    pack: str = "all",
    threads: int = 1,
    **settings: Any,
) -> "GridVectorEnv":
    """``num_envs`` grids stepped by one engine call, as a `gymnasium.vector.VectorEnv`.

    Parameters are those of `make`.
    """
    from gridrl.env.vector import GridVectorEnv

    return GridVectorEnv(world_of(scenario, pack=pack, threads=threads), num_envs, **settings)


def world_of(scenario: "str | Path | World", *, pack: str = "all", threads: int = 1) -> "World":
    """The world of a scenario by name or path; a `World` is handed back.

    Raises
    ------
    ScenarioError
        There is no such scenario or pack, or a pack is asked of a `World`.
    """
    if isinstance(scenario, str | Path):
        return (
            _built(scenario, pack, threads)
            if _comes_along(scenario)
            else (_fresh(scenario, pack, threads))
        )
    if pack != "all":
        from gridrl.errors import ScenarioError

        raise ScenarioError(
            f"Pack '{pack}' is asked of a world that is built already. Name a scenario, or build "
            "its world with that pack."
        )
    return scenario


def _comes_along(scenario: "str | Path") -> bool:
    return isinstance(scenario, str) and scenario in import_module("scenarios").names()


def _fresh(scenario: "str | Path", pack: str, threads: int) -> "World":
    # The package of scenarios stands on this one; only its name is known here.
    world: World = import_module("scenarios").load(scenario).world(pack=pack, threads=threads)
    return world


# A learner opens the same scenario many times; worlds never change.
_built = lru_cache(maxsize=8)(_fresh)
