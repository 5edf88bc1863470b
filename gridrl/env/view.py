"""From states to what an agent gets: observed, disturbed by sensors, as vector, dict or graph."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gridrl.arrays import Bools, Floats, Ints
from gridrl.env.observe import flat, observe
from gridrl.env.sensors import Sensor, Sensors
from gridrl.env.spaces import graph_space, observation_space
from gridrl.env.state import State
from gridrl.env.world import World
from gridrl.errors import ScenarioError
from gridrl.graphs import GraphView, Static, view
from gridrl.graphs.batch import as_arrays
from gridrl.graphs.parts import Branches
from gridrl.observation import ENDS, FORECASTS, Observation, as_dict, checked

DAY_S = 86400.0
FORMS = ("flat", "dict", "graph")
MASK = "action_mask"


class View:
    """What agents of ``total`` grids see, and the Gymnasium space of one of them."""

    def __init__(
        self,
        world: World,
        model: World,
        sample: State,
        total: int,
        *,
        observe_as: str,
        fields: Iterable[str],
        graph: str,
        sensors: Iterable[Sensor],
        n_choice: int,
    ) -> None:
        if observe_as not in FORMS:
            raise ScenarioError(
                f"observe_as is {observe_as!r}; give " + ", ".join(map(repr, FORMS)) + "."
            )
        self.world, self.form = world, observe_as
        self.fields = checked(fields)
        self.sensors = Sensors(sensors, total)
        self.graph: GraphView = view(graph, static_of(model))
        self._scale = _rating_ratio(world, model)
        drawn = observe_as == "graph"
        self._forecasts = drawn or bool(FORECASTS & set(self.fields))
        self._ends = drawn or bool(ENDS & set(self.fields))
        self._masked = n_choice > 0
        first = self.observation(sample)
        space: gym.Space[Any] = (
            graph_space(self.graph(first))
            if drawn
            else observation_space(first, self.fields, observe_as)
        )
        if self._masked:
            mask = gym.spaces.Box(0, 1, (n_choice,), np.int8)
            inner = dict(space.spaces) if isinstance(space, gym.spaces.Dict) else None
            space = gym.spaces.Dict({**(inner or {"observation": space}), MASK: mask})
        self.space = space

    def observation(self, state: State, before: Floats | None = None) -> Observation:
        """What there is to see, before any sensor fails; ``before`` see `observe`."""
        seen = observe(self.world, state, forecasts=self._forecasts, ends=self._ends, before=before)
        if self._scale is None:
            return seen
        return replace(seen, rho=seen.rho * self._scale, rho_trend=seen.rho_trend * self._scale)

    def of(
        self, state: State, before: Floats | None, mask: Bools, where: Ints, *, fresh: bool
    ) -> Any:
        """What arrives of the states at the places ``where`` of the batch; see `Sensors.read`."""
        seen = self.observation(state, before)
        return self.formed(self.sensors.read(seen, state, where=where, fresh=fresh), mask)

    def formed(self, seen: Observation, mask: Bools) -> Any:
        """The observation as the space has it."""
        found: Any
        if self.form == "graph":
            found = as_arrays(self.graph(seen))
        elif self.form == "dict":
            found = as_dict(seen, self.fields)
        else:
            found = flat(seen, self.fields)
        if not self._masked:
            return found
        inner = found if isinstance(found, dict) else {"observation": found}
        return {**inner, MASK: mask.astype(np.int8)}


def put_rows(whole: Any, where: Ints, part: Any) -> None:
    """Write the members ``part`` of a batch into its places; what is shared by all is left."""
    if isinstance(whole, Mapping):
        for key, value in whole.items():
            put_rows(value, where, part[key])
    elif whole.flags.writeable:
        whole[where] = part


def row_of(batch: Any, b: int) -> Any:
    """One member of a batch, with arrays of its own."""
    if isinstance(batch, Mapping):
        return {key: row_of(value, b) for key, value in batch.items()}
    value: NDArray[Any] = np.array(batch[b])
    return value


def static_of(world: World) -> Static:
    """What graphs show of a world that no step changes."""
    fleet, rules = world.fleet, world.rules
    return Static(
        grid=world.case.grid, second_node=world.engine.model.second_node,
        gen_unit=fleet.gen_unit,
        gen_limits=np.stack([fleet.p_min, fleet.p_max, fleet.ramp_up, fleet.ramp_down]),
        redispatchable=fleet.redispatchable, renewable=fleet.renewable,
        storage_unit=fleet.storage_unit,
        storage_limits=np.stack([fleet.energy_max, fleet.absorb_max, fleet.produce_max]),
        soft_steps=rules.soft_steps, line_cooldown=rules.line_cooldown,
        substation_cooldown=rules.substation_cooldown, reconnection=rules.reconnection,
        day_steps=max(1, round(DAY_S / world.series.step_s)),
    )  # fmt: skip


def _rating_ratio(world: World, model: World) -> Floats | None:
    """[n_branch] loading in the model's eyes over the true one; None where they agree."""
    if model is world:
        return None
    true, seen = (Branches.of(w.case.grid).inverse_rating for w in (world, model))
    return np.where(true > 0, seen / np.where(true > 0, true, 1.0), 1.0)
