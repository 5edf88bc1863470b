"""What operators see of a grid, as named arrays in fixed order and size.

The names, units and widths are in `FIELDS`; `flat` puts chosen ones side by side as float32. It
knows no environment: `gridrl.env.observe` fills an `Observation` from a state.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridrl.errors import ScenarioError

Values = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Observation:
    """A batch of observations; every array is [B, width], of numbers or bools."""

    time: Values  # [B, 5] share of the episode, sine and cosine of the day and of the week
    rho: Values  # [B, n_branch] loading, 1 = rating
    line_status: Values  # [B, n_branch] 1 in service
    busbar: Values  # [B, n_terminal] 1, 2; -1 where not connected
    p_from: Values  # [B, n_branch] p.u.
    q_from: Values  # [B, n_branch] p.u.
    p_to: Values  # [B, n_branch] p.u.
    q_to: Values  # [B, n_branch] p.u.
    unit_p: Values  # [B, n_unit] p.u., positive into the busbar
    unit_q: Values  # [B, n_unit] p.u.
    unit_v: Values  # [B, n_unit] p.u. magnitude at the unit, 0 where dead
    overflow: Values  # [B, n_branch] steps in a row above the rating
    line_cooldown: Values  # [B, n_branch] steps
    substation_cooldown: Values  # [B, n_substation] steps
    maintenance_ahead: Values  # [B, n_branch] steps until the next, -1 none planned
    maintenance_left: Values  # [B, n_branch] steps that it lasts
    target_dispatch: Values  # [B, n_gen] p.u. ordered
    actual_dispatch: Values  # [B, n_gen] p.u. in effect
    curtailment: Values  # [B, n_gen] limit, share of p_max
    storage_charge: Values  # [B, n_storage] p.u. h
    storage_power: Values  # [B, n_storage] p.u. absorbed
    p_forecast: Values  # [B, n_unit] p.u. expected in the next step
    q_forecast: Values  # [B, n_unit] p.u.
    rho_trend: Values  # [B, n_branch] change of the loading in the last step
    v_from: Values  # [B, n_branch] p.u. magnitude at the busbar of the end, 0 where dead
    v_to: Values  # [B, n_branch] p.u.
    angle: Values  # [B, n_branch] rad from the from end to the to end

    @property
    def batch(self) -> int:
        return int(self.rho.shape[0])


FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Observation))
FORECASTS, ENDS = frozenset({"p_forecast", "q_forecast"}), frozenset({"v_from", "v_to", "angle"})
# What a policy needs at least; forecasts and the like on request.
USUAL: tuple[str, ...] = (
    "time", "rho", "line_status", "busbar", "p_from", "q_from", "p_to", "q_to", "unit_p", "unit_q",
    "unit_v", "overflow", "line_cooldown", "substation_cooldown", "maintenance_ahead",
    "maintenance_left", "target_dispatch", "actual_dispatch", "curtailment", "storage_charge",
    "storage_power",
)  # fmt: skip


# What a value may be: spaces need an end, and what a diverging grid reports is cut there.
POWER, STEPS = (-1e4, 1e4), (-1.0, 1e6)
BOUNDS: dict[str, tuple[float, float]] = {
    "time": (-1.0, 1.0), "rho": (0.0, 1e3), "line_status": (0.0, 1.0), "busbar": (-1.0, 2.0),
    "unit_v": (0.0, 10.0), "overflow": STEPS, "line_cooldown": STEPS,
    "substation_cooldown": STEPS, "maintenance_ahead": STEPS, "maintenance_left": STEPS,
    "curtailment": (0.0, 1.0), "storage_charge": (0.0, 1e6), "rho_trend": (-1e3, 1e3),
    "v_from": (0.0, 10.0), "v_to": (0.0, 10.0), "angle": (-10.0, 10.0),
}  # fmt: skip


def bounds(name: str) -> tuple[float, float]:
    """Smallest and largest value of a field; powers where it is not named in `BOUNDS`."""
    return BOUNDS.get(name, POWER)


def checked(names: Iterable[str]) -> tuple[str, ...]:
    """Names of fields, in the order given.

    Raises
    ------
    ScenarioError
        Nothing is observed under a name.
    """
    chosen = tuple(names)
    strange = [name for name in chosen if name not in FIELDS]
    if strange or not chosen:
        raise ScenarioError(
            f"Nothing is observed as {', '.join(map(str, strange)) or 'nothing'}. "
            f"There are {', '.join(FIELDS)}."
        )
    return chosen


def widths(observation: Observation, names: tuple[str, ...] = USUAL) -> dict[str, int]:
    """Width of each field."""
    return {name: int(getattr(observation, name).shape[1]) for name in names}


def as_dict(
    observation: Observation, names: tuple[str, ...] = USUAL
) -> dict[str, NDArray[np.float32]]:
    """The fields by name, without empty ones; what has no value (NaN) is 0."""
    found = {name: _values(observation, name) for name in names}
    return {name: value for name, value in found.items() if value.shape[1]}


def _values(observation: Observation, name: str) -> NDArray[np.float32]:
    value = np.nan_to_num(getattr(observation, name), nan=0.0)
    return np.asarray(np.clip(value, *bounds(name)), np.float32)
