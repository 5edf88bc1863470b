"""How a power flow is to be solved, and how a state can end."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray


class FlowStatus(IntEnum):
    """How the solution of one state ended."""

    OK = 0  # solved, everything connected is supplied
    ISLANDED = 1  # solved; some busbars have no path to a reference and are dead
    DIVERGED = 2  # no solution found
    BLACKOUT = 3  # no reference left: nothing is supplied


def has_voltages(status: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Whether states with these `FlowStatus` have a solution."""
    return np.asarray(status <= FlowStatus.ISLANDED)


@dataclass(frozen=True, kw_only=True)
class FlowOptions:
    """Settings of the AC power flow.

    Raises
    ------
    ValueError
        A setting is outside its range.
    """

    tolerance: float = 1e-8  # p.u., largest power mismatch of a solved state
    max_iteration: int = 20  # of each attempt; a stubborn state gets several
    enforce_q_limits: bool = False  # a generator at its limit gives up its voltage
    restore_voltage: bool = False  # ... and takes it back where that no longer binds
    distributed_slack: bool = False  # share the imbalance of P by slack weight
    # An island without a reference is "dead" (pandapower's convention), or its largest "generator"
    # that controls voltage takes over angle and balance, where there is one.
    island_rule: Literal["dead", "generator"] = "dead"
    threads: int = 1

    def __post_init__(self) -> None:
        if not 1e-13 <= self.tolerance <= 1e-2:
            raise ValueError(f"tolerance is {self.tolerance} p.u.; give 1e-13 to 1e-2.")
        if not 1 <= self.max_iteration <= 200:
            raise ValueError(f"max_iteration is {self.max_iteration}; give 1 to 200.")
        if self.island_rule not in ("dead", "generator"):
            raise ValueError(f"island_rule is '{self.island_rule}'; give 'dead' or 'generator'.")
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}; give 1 or more.")
