"""Many copies of an environment, stepped by one engine call: the Gymnasium vector interface."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.choices import Choices, all_choices
from gridrl.env.observe import facts_of, flat, observe
from gridrl.env.spaces import action_space, observation_space, orders_of
from gridrl.env.state import Ending, Orders, Outcome, State
from gridrl.env.step import reset, step
from gridrl.env.world import World
from gridrl.observation import USUAL, as_dict, checked
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
    observe_as
        "flat": one float32 vector; "dict": one array for each name in ``observe_fields``.
    reward
        Profile of weights or a mapping from terms to weights; see `gridrl.rewards`.
    steps
        Longest episode; by default the whole series.
    random_start
        Begin at a random row, where ``steps`` leaves room for it.

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
        observe_as: str = "flat",
        observe_fields: Iterable[str] = USUAL,
        reward: str | Mapping[str, float] = "security",
        reward_fn: RewardFn = PHYSICAL,
        steps: int | None = None,
        random_start: bool = False,
        episodes: Ints | None = None,
    ) -> None:
        self.world = world
        self.num_envs = int(num_envs)
        self.reward_fn = reward_fn
        self.reward_weights = weights(reward, reward_fn)
        self.choices: Choices = all_choices(world)
        self._fields = checked(observe_fields)
        self._forecasts = bool({"p_forecast", "q_forecast"} & set(self._fields))
        self._as, self.action_kind = observe_as, actions
        self._steps, self._random_start = steps, random_start
        self._episodes = np.arange(world.series.n_episode) if episodes is None else episodes
        self._rng = np.random.default_rng()
        self.state: State = self._begin(np.random.default_rng(0), self.num_envs)
        sample = observe(world, self._first(self.state), forecasts=self._forecasts)
        self.single_observation_space = observation_space(sample, self._fields, observe_as)
        self.single_action_space = action_space(world, self.choices, actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

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
        which = np.flatnonzero(
            options["reset_mask"] if "reset_mask" in options else np.ones(self.num_envs, np.bool_)
        )
        episode = options.get("episode")
        if episode is not None:
            episode = np.broadcast_to(np.asarray(episode, np.int64), (self.num_envs,))[which]
        self.state = put(self.state, which, self._begin(self._rng, which.size, episode))
        return self.seen(self.state), self.info(self.state)

    def step(self, actions: Any) -> tuple[Any, Floats, Bools, Bools, dict[str, Any]]:
        """Carry out one order for each grid; see the class for episodes that end."""
        orders = orders_of(self.world, self.choices, self.state, actions, self.action_kind)
        return self.step_orders(orders)

    def step_orders(self, orders: Orders) -> tuple[Any, Floats, Bools, Bools, dict[str, Any]]:
        """The same with `Orders`, several parts of which may be combined."""
        before = self.state
        after, outcome = step(self.world, before, orders)
        terms = self.reward_fn(facts_of(self.world, before, after, outcome))
        truncated = after.ending == Ending.SURVIVED
        terminated = ~after.running & ~truncated
        infos = self.info(after) | told(outcome)
        infos["reward_terms"] = terms
        infos["ending"] = after.ending.copy()
        over = np.flatnonzero(terminated | truncated)
        if over.size:
            self._keep_final(infos, after, over)
            after = put(after, over, self._begin(self._rng, over.size))
            infos["action_mask"] = self.choices.allowed(self.world, after)
        self.state = after
        return self.seen(after), terms @ self.reward_weights, terminated, truncated, infos

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

    def seen(self, state: State) -> Any:
        """Observations of a batch of states."""
        seen = observe(self.world, state, forecasts=self._forecasts)
        return flat(seen, self._fields) if self._as == "flat" else as_dict(seen, self._fields)

    def info(self, state: State) -> dict[str, Any]:
        """What every step tells about the present state."""
        return {
            "action_mask": self.choices.allowed(self.world, state),
            "episode": state.episode.copy(),
            "steps": state.steps,
        }

    def _keep_final(self, infos: dict[str, Any], state: State, over: Ints) -> None:
        """Last observations of the episodes that ended, as Gymnasium wants them."""
        seen = self.seen(state)
        mask = np.zeros(self.num_envs, np.bool_)
        mask[over] = True
        final = np.full(self.num_envs, None, object)
        for b in over:
            final[b] = (
                {key: value[b] for key, value in seen.items()}
                if isinstance(seen, dict)
                else seen[b]
            )
        infos["final_obs"], infos["_final_obs"] = final, mask
        infos["final_info"] = {
            "ending": state.ending.copy(), "steps": state.steps, "_steps": mask, "_ending": mask,
        }  # fmt: skip
        infos["_final_info"] = mask

    @staticmethod
    def _first(state: State) -> State:
        return State(**{f.name: getattr(state, f.name)[:1] for f in fields(state)})


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
