"""Many copies of an environment, stepped by one engine call: the Gymnasium vector interface."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.action_sets import choices_of
from gridrl.env.choices import Choices
from gridrl.env.observe import facts_of
from gridrl.env.sensors import Sensor
from gridrl.env.spaces import action_space, orders_of
from gridrl.env.state import Ending, Orders, Outcome, State
from gridrl.env.step import reset, step
from gridrl.env.view import View, put_rows, row_of
from gridrl.env.world import World
from gridrl.graphs import GraphView
from gridrl.observation import USUAL
from gridrl.rewards import PHYSICAL, RewardFn, weights


class GridVectorEnv(VectorEnv[Any, Any, Any]):
    """``num_envs`` grids in operation, each in an episode of its own.

    Parameters
    ----------
    world
        Grid, series and rules; see `gridrl.env.build_world`, or `gridrl.env.make_vector` for a
        scenario by name.
    num_envs
        Grids side by side.
    actions
        "switching": a number, 0 does nothing, see ``choices``; "dispatch": numbers in [-1, 1] for
        redispatch, curtailment and storage; "both": a dict of the two.
    action_set
        Switching orders to choose from, see `gridrl.env.action_sets`.
    observe_as
        "flat": one float32 vector; "dict": one array for each name in ``observe_fields``; "graph":
        the arrays of a graph.
    graph
        Which graph, see `gridrl.graphs`; ``graph_view`` tells names of features.
    mask_in_observation
        Put ``action_mask`` into the observation, which is then a dict, for learners that look for
        it there. It is in the infos in any case.
    sensors
        What goes wrong between grid and agent, see `gridrl.env.sensors`.
    model
        The world that the agent believes in, see `gridrl.env.model_error.wrong_model`.
    reward
        Profile of weights or a mapping from terms to weights; see `gridrl.rewards`.
    steps
        Longest episode; by default the whole series.
    random_start
        Begin at a random row, where ``steps`` leaves room for it.
    episodes
        Episodes of the series to draw from; all by default.

    An episode that ends is reset in the same step: the observation is the first of the next one,
    and ``infos["final_obs"]`` holds the last. Lost grids end ``terminated``, series that run out
    ``truncated``.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - Gymnasium's

    def __init__(
        self,
        world: World,
        num_envs: int = 1,
        *,
        actions: str = "switching",
        action_set: str = "all",
        observe_as: str = "flat",
        observe_fields: Iterable[str] = USUAL,
        graph: str = "candidate",
        mask_in_observation: bool = False,
        sensors: Iterable[Sensor] = (),
        model: World | None = None,
        reward: str | Mapping[str, float] = "security",
        reward_fn: RewardFn = PHYSICAL,
        steps: int | None = None,
        random_start: bool = False,
        episodes: Ints | None = None,
    ) -> None:
        self.world, self.model = world, world if model is None else model
        self.num_envs = int(num_envs)
        self.autoreset_mode = AutoresetMode.SAME_STEP  # where Gymnasium's own and TorchRL look
        self.reward_fn = reward_fn
        self.reward_weights = weights(reward, reward_fn)
        self.choices: Choices = choices_of(world, action_set)
        self.action_kind = actions
        self._steps, self._random_start = steps, random_start
        self._episodes = np.arange(world.series.n_episode) if episodes is None else episodes
        self._rng = np.random.default_rng()
        self.single_action_space = action_space(world, self.choices, actions)
        self.state: State = self._begin(np.random.default_rng(0), self.num_envs)
        self._seen: Any = None
        self.view = View(
            world, self.model, members(self.state, np.arange(1)), self.num_envs,
            observe_as=observe_as, fields=observe_fields, graph=graph, sensors=sensors,
            n_choice=len(self.choices) if mask_in_observation else 0,
        )  # fmt: skip
        self.single_observation_space = self.view.space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def graph_view(self) -> GraphView:
        """Names of the features of a graph, and how it is made from an `Observation`."""
        return self.view.graph

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes.

        ``options`` may name ``episode`` (one, or one for each grid) and ``reset_mask``
        (bool [num_envs]): the grids to reset.
        """
        if isinstance(seed, list):
            seed = next((one for one in seed if one is not None), None)
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        options = options or {}
        everyone = np.ones(self.num_envs, np.bool_)
        which = np.flatnonzero(
            everyone if self._seen is None else options.get("reset_mask", everyone)
        )
        episode = options.get("episode")
        if episode is not None:
            episode = np.broadcast_to(np.asarray(episode, np.int64), (self.num_envs,))[which]
        self._restart(which, episode)
        return self._handed_out(), self.info(self.state)

    def step(self, actions: Any) -> tuple[Any, Floats, Bools, Bools, dict[str, Any]]:
        """Carry out one order for each grid; see the class for episodes that end."""
        orders = orders_of(self.world, self.choices, self.state, actions, self.action_kind)
        return self.step_orders(orders)

    def step_orders(self, orders: Orders) -> tuple[Any, Floats, Bools, Bools, dict[str, Any]]:
        """The same with `Orders`, several parts of which may be combined."""
        seen, reward, terminated, truncated, infos = self.advance(orders)
        over = np.flatnonzero(terminated | truncated)
        if over.size:
            self._keep_final(infos, over)
            self._restart(over)
            seen = self._handed_out()
            infos |= self.info(self.state)
        return seen, reward, terminated, truncated, infos

    def advance(self, orders: Orders) -> tuple[Any, Floats, Bools, Bools, dict[str, Any]]:
        """One step that leaves episodes that end as they are."""
        before = self.state
        after, outcome = step(self.world, before, orders)
        terms = self.reward_fn(facts_of(self.world, before, after, outcome))
        truncated = after.ending == Ending.SURVIVED
        terminated = ~after.running & ~truncated
        infos = self.info(after) | told(outcome)
        infos["reward_terms"] = terms
        infos["ending"] = after.ending.copy()
        self._seen = self.view.of(
            after, before.rho, infos["action_mask"], np.arange(self.num_envs), fresh=False
        )
        self.state = after
        return self._handed_out(), terms @ self.reward_weights, terminated, truncated, infos

    def action_masks(self) -> Bools:
        """[num_envs, n_choice] orders that the rules allow now."""
        return self.choices.allowed(self.world, self.state)

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close."""

    def _begin(
        self, rng: np.random.Generator, batch: int, episode: NDArray[np.int64] | None = None
    ) -> State:
        if episode is None:
            episode = self._episodes[rng.integers(self._episodes.size, size=batch)]
        first: Ints | int = 0
        if self._random_start:
            start = self.world.series.start
            room = np.diff(start)[episode] - 1 - (self._steps or 1)
            first = rng.integers(np.maximum(room, 0) + 1)
        return reset(self.world, rng, episode=episode, first=first, steps=self._steps)

    def _restart(self, which: Ints, episode: NDArray[np.int64] | None = None) -> None:
        """New episodes in some places, and what is seen of them."""
        begun = self._begin(self._rng, which.size, episode)
        self.state = put(self.state, which, begun)
        mask = self.choices.allowed(self.world, begun)
        part = self.view.of(begun, None, mask, which, fresh=True)
        if which.size == self.num_envs:
            self._seen = part
        else:
            put_rows(self._seen, which, part)

    def _handed_out(self) -> Any:
        """What is seen, in arrays that later steps leave alone."""
        if isinstance(self._seen, dict):
            return {key: value.copy() for key, value in self._seen.items()}
        return self._seen.copy()

    def seen(self, state: State) -> Any:
        """Observations of a batch of states, without trends and whatever the sensors do."""
        mask = self.choices.allowed(self.world, state)
        return self.view.formed(self.view.observation(state), mask)

    def info(self, state: State) -> dict[str, Any]:
        """What every step tells about the present state."""
        return {
            "action_mask": self.choices.allowed(self.world, state),
            "episode_id": state.episode.copy(),
            "steps": state.steps,
        }

    def _keep_final(self, infos: dict[str, Any], over: Ints) -> None:
        """Last observations of the episodes that ended, as Gymnasium wants them."""
        state = self.state
        mask = np.zeros(self.num_envs, np.bool_)
        mask[over] = True
        final = np.full(self.num_envs, None, object)
        for b in over:
            final[b] = row_of(self._seen, b)
        infos["final_obs"], infos["_final_obs"] = final, mask
        infos["final_info"] = {
            "ending": state.ending.copy(), "steps": state.steps, "_steps": mask, "_ending": mask,
        }  # fmt: skip
        infos["_final_info"] = mask


def members(state: State, which: Ints) -> State:
    """Some members of a batch of states."""
    return State(**{f.name: getattr(state, f.name)[which] for f in fields(state)})


def put(state: State, which: Ints, other: State) -> State:
    """``state`` with its members ``which`` replaced by those of ``other``, in new arrays."""
    out = {}
    for field in fields(state):
        value = getattr(state, field.name).copy()
        value[which] = getattr(other, field.name)
        out[field.name] = value
    return State(**out)


def told(outcome: Outcome) -> dict[str, Any]:
    """What a step tells about its orders and what happened."""
    return {
        "is_illegal": outcome.verdict == 2,
        "is_ambiguous": outcome.verdict == 1,
        "failed_redispatching": outcome.failed,
        "tripped": outcome.tripped,
        "attacked_line": outcome.attacked,
    }
