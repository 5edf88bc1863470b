"""Gymnasium spaces of an environment, and orders from what an agent puts into them."""

from typing import Any

import gymnasium as gym
import numpy as np

from gridrl.env.choices import Choices
from gridrl.env.state import Orders, State
from gridrl.env.world import World
from gridrl.errors import ScenarioError
from gridrl.graphs.batch import LARGEST, GraphBatch, as_arrays
from gridrl.observation import Observation, bounds, widths

_ENDS = ("low", "high")
ACTIONS = ("switching", "dispatch", "both")


def observation_space(sample: Observation, names: tuple[str, ...], form: str) -> gym.Space[Any]:
    """One vector ("flat"), or a dict of vectors ("dict")."""
    boxes = {
        name: gym.spaces.Box(*bounds(name), (width,), np.float32)
        for name, width in widths(sample, names).items()
    }
    if form == "dict":
        return gym.spaces.Dict({name: box for name, box in boxes.items() if box.shape[0]})
    low, high = (np.concatenate([getattr(box, end) for box in boxes.values()]) for end in _ENDS)
    return gym.spaces.Box(low, high, dtype=np.float32)


def graph_space(sample: GraphBatch) -> gym.Space[Any]:
    """A dict of the arrays of one graph; see `gridrl.graphs.batch.as_arrays`."""
    boxes: dict[str, gym.Space[Any]] = {}
    for name, value in as_arrays(sample).items():
        shape = value.shape[1:]
        if name.endswith("_index"):
            boxes[name] = gym.spaces.Box(0, 2**31, shape, np.int64)
        elif name.endswith("_mask"):
            boxes[name] = gym.spaces.Box(0, 1, shape, np.int8)
        else:
            boxes[name] = gym.spaces.Box(-LARGEST, LARGEST, shape, np.float32)
    return gym.spaces.Dict(boxes)


def action_space(world: World, choices: Choices, kind: str) -> gym.Space[Any]:
    """Numbers of `Choices`, values in [-1, 1] for what is dispatched, or both.

    Raises
    ------
    ScenarioError
        There is no such kind, or nothing to dispatch.
    """
    if kind not in ACTIONS:
        raise ScenarioError(f"actions is {kind!r}; give {', '.join(ACTIONS)}.")
    switching = gym.spaces.Discrete(len(choices))
    if kind == "switching":
        return switching
    width = sum(part.size for part in _dispatched(world))
    if not width:
        raise ScenarioError(
            f"{world.case.grid.name} has nothing to dispatch: no ramps, renewables or storage. "
            "Use actions='switching', or give the scenario a fleet."
        )
    box = gym.spaces.Box(-1.0, 1.0, (width,), np.float32)
    return box if kind == "dispatch" else gym.spaces.Dict({"dispatch": box, "switching": switching})


def _dispatched(world: World) -> tuple[Any, Any, Any]:
    """Generators that are redispatched, those that are curtailed, and storage.

    The reference machine balances whatever is ordered of others, so that nobody orders it.
    """
    fleet = world.fleet
    balances = world.case.grid.is_reference[fleet.gen_unit]
    return (
        np.flatnonzero(fleet.redispatchable & ~balances), np.flatnonzero(fleet.renewable),
        np.arange(fleet.n_storage),
    )  # fmt: skip


def orders_of(world: World, choices: Choices, state: State, action: Any, kind: str) -> Orders:
    """Orders from a batch of actions.

    -1 and 1 are a full ramp down and up; the largest production and the largest intake of storage;
    for curtailment -1 is a limit of 0 and 1 none.
    """
    if kind == "switching":
        return choices.orders(state, action)
    values = np.asarray(action["dispatch"] if kind == "both" else action, np.float64)
    values = np.clip(values.reshape(state.batch, -1), -1.0, 1.0)
    moved, curtailed, stores = _dispatched(world)
    fleet, batch = world.fleet, state.batch
    redispatch = np.zeros((batch, fleet.n_gen))
    x = values[:, : moved.size]
    redispatch[:, moved] = x * np.where(x > 0, fleet.ramp_up[moved], fleet.ramp_down[moved])
    curtail = np.full((batch, fleet.n_gen), np.nan)
    curtail[:, curtailed] = 0.5 * (1.0 + values[:, moved.size : moved.size + curtailed.size])
    x = values[:, moved.size + curtailed.size :]
    storage = x * np.where(x > 0, fleet.absorb_max, fleet.produce_max)
    switched = choices.orders(state, action["switching"]) if kind == "both" else Orders()
    return Orders(
        set_busbar=switched.set_busbar, set_line=switched.set_line, redispatch=redispatch,
        curtail=curtail if curtailed.size else None, storage=storage if stores.size else None,
    )  # fmt: skip
