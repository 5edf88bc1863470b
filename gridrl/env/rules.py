"""The rules of an episode: what an operator may order, and what protection does by itself.

A `Rules` holds numbers only; `gridrl.env.step` carries them out. The profiles have the values of
Grid2Op's ``Parameters`` and of its competitions, so that results can be compared.
"""

from dataclasses import dataclass, replace
from typing import Literal

from gridrl.errors import RulesError


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Numbers that govern an episode; counts are in steps.

    Raises
    ------
    RulesError
        A number is outside its range.
    """

    # What may be ordered in one step (in each operator area, where areas are given)
    max_lines: int = 1  # lines whose status is ordered
    max_substations: int = 1  # substations that are configured
    line_cooldown: int = 0  # steps until an ordered line may be ordered again
    substation_cooldown: int = 0
    # What protection does
    overflow_trips: bool = True  # False: lines never trip
    soft_limit: float = 1.0  # loading above which a line's counter runs
    soft_steps: int = 2  # a line trips when its counter passes this
    hard_limit: float = 2.0  # loading above which a line trips at once
    reconnection: int = 10  # steps for which a tripped line stays out
    rho_side: Literal["from", "both"] = "from"  # ends whose current is held against the limit
    # Storage and dispatch
    storage_start: float = 0.5  # share of its capacity
    storage_losses: bool = True  # self-discharge and efficiencies
    # How generators are moved: to the "nearest" dispatch, exactly; or by the iterations of
    # "slsqp", whose stopping points are Grid2Op's (a hundred times slower).
    redispatch: Literal["nearest", "slsqp"] = "nearest"

    def __post_init__(self) -> None:
        for name in (
            "max_lines", "max_substations", "line_cooldown", "substation_cooldown", "soft_steps",
            "reconnection",
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise RulesError(f"Rule {name} is {value!r}; give a whole number of 0 or more.")
        for name in ("overflow_trips", "storage_losses"):
            if not isinstance(getattr(self, name), bool):
                raise RulesError(f"Rule {name} is {getattr(self, name)!r}; give true or false.")
        for name in ("soft_limit", "hard_limit", "storage_start"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RulesError(f"Rule {name} is {value!r}; give a number.")
            if name == "storage_start" and not 0 <= value <= 1:
                raise RulesError(f"Rule {name} is {value!r}; give a share from 0 to 1.")
            if name != "storage_start" and not value > 0:
                raise RulesError(f"Rule {name} is {value!r}; give a loading above 0, 1 = rating.")
        if self.redispatch not in ("nearest", "slsqp"):
            raise RulesError(f"Rule redispatch is {self.redispatch!r}; give 'nearest' or 'slsqp'.")
        if self.rho_side not in ("from", "both"):
            raise RulesError(f"Rule rho_side is {self.rho_side!r}; give 'from' or 'both'.")


PROFILES: dict[str, Rules] = {
    "default": Rules(),
    "competition": Rules(
        soft_steps=3, line_cooldown=3, substation_cooldown=3, reconnection=12, hard_limit=2.0
    ),
    "wcci2020": Rules(
        soft_steps=3, line_cooldown=3, substation_cooldown=3, reconnection=12, hard_limit=200.0
    ),
}


def profile(name: str, **changes: object) -> Rules:
    """A named profile, with some rules changed.

    Raises
    ------
    RulesError
        No profile or no rule has that name, or a value is outside its range.
    """
    if name not in PROFILES:
        raise RulesError(f"No rules profile '{name}'. Choose one of {', '.join(PROFILES)}.")
    known = Rules.__dataclass_fields__
    strange = sorted(set(changes) - set(known))
    if strange:
        raise RulesError(f"No rule is called {', '.join(strange)}. There are {', '.join(known)}.")
    return replace(PROFILES[name], **changes)  # type: ignore[arg-type]
