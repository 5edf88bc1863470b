"""One grid in operation: the Gymnasium interface. A batch of one of `gridrl.env.vector`."""

from typing import Any

import gymnasium
import numpy as np

from gridrl.arrays import Bools
from gridrl.env.spaces import orders_of
from gridrl.env.state import Ending, Orders, State
from gridrl.env.vector import GridVectorEnv
from gridrl.env.world import World
from gridrl.graphs import GraphView


class GridEnv(gymnasium.Env[Any, Any]):
    """One grid. Parameters are those of `gridrl.env.vector.GridVectorEnv`.

    ``reset(options={"episode": 3})`` chooses the episode. ``info["action_mask"]`` says which
    numbers of a switching action the rules allow now.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's

    def __init__(self, world: World, **settings: Any) -> None:
        self._vector = GridVectorEnv(world, 1, **settings)
        self.world = world
        self.choices = self._vector.choices
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    @property
    def graph_view(self) -> GraphView:
        """Names of the features of a graph, and how it is made from an `Observation`."""
        return self._vector.graph_view

    @property
    def state(self) -> State:
        """The state of the grid, a batch of one."""
        return self._vector.state

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        seen, info = self._vector.reset(seed=seed, options=options)
        return _only(seen), _only(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Carry out an order, see ``action_space``."""
        v = self._vector
        batched = (
            {key: np.asarray(value)[None] for key, value in action.items()}
            if isinstance(action, dict)
            else np.asarray(action)[None]
        )
        return self.step_orders(orders_of(v.world, v.choices, v.state, batched, v.action_kind))

    def step_orders(self, orders: Orders) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The same with `Orders` of a batch of one."""
        v = self._vector
        seen, reward, terminated, truncated, info = v.advance(orders)
        info = _only(info)
        info["ending"] = Ending(info["ending"]).name
        info["reward_terms"] = dict(
            zip(v.reward_fn.names, info["reward_terms"].tolist(), strict=True)
        )
        return _only(seen), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def action_masks(self) -> Bools:
        """[n_choice] orders that the rules allow now, where sb3-contrib looks for them."""
        mask: Bools = self._vector.action_masks()[0]
        return mask


def _only(batch: Any) -> Any:
    """The only member of a batch."""
    if isinstance(batch, dict):
        return {key: value[0] for key, value in batch.items()}
    return batch[0]
