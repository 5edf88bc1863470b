"""What a security sweep found, in per unit; one row per contingency, never an exception."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Bools, Floats, Ints
from gridrl.powerflow.options import FlowOptions, FlowStatus
from gridrl.powerflow.result import FlowResult
from gridrl.security.contingency import Contingencies

SHED = 1e-9  # p.u.: less is rounding


@dataclass(frozen=True, kw_only=True)
class SecurityOptions:
    """Settings of a security sweep."""

    flow: FlowOptions = field(default_factory=FlowOptions)
    threshold: float = 1.0  # loading from which a branch is listed, 1 is the rating

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold <= 100.0:
            raise ValueError(f"threshold is {self.threshold}; give a loading above 0, like 0.9.")


@dataclass(frozen=True, eq=False, kw_only=True)
class SecurityResult:
    """Status, worst loading and voltage of every contingency, and a list of all violations.

    A violation is what the contingency causes: a branch above its rating (or the threshold asked
    for) or a voltage outside its limits, that was not so before or is now clearly worse (by 1 % of
    the rating, by 0.001 p.u.). What the case itself violates is in ``base``.
    """

    contingencies: Contingencies
    base: FlowResult  # the case before any contingency, batch of one
    status: NDArray[np.int8]  # [n] FlowStatus; ISLANDED where the contingency cuts something off
    iterations: NDArray[np.int32]  # [n] -1 where diverged
    loading: Floats  # [n] highest loading, 1 is the rating; NaN without solution
    branch: Ints  # [n] its branch, -1 where nothing is rated
    overloads: Ints  # [n] branches that it overloads
    voltage: Floats  # [n] p.u. voltage furthest outside its limits, or nearest to them
    voltage_node: Ints  # [n] its node, -1 where no node has limits
    voltage_violations: Ints  # [n] nodes that it drives outside their limits
    lost_load: Floats  # [n] p.u. demand that the contingency cuts off
    lost_generation: Floats  # [n] p.u. scheduled infeed that it cuts off
    # every violation, sorted by contingency
    violation_of: Ints  # [m] contingency
    violation_branch: Ints  # [m] branch, -1 for a voltage
    violation_node: Ints  # [m] node, -1 for a branch
    violation_value: Floats  # [m] loading, or voltage in p.u.

    def insecure(self) -> Bools:
        """[n] whether it overloads, breaks a voltage limit, cuts load off or collapses."""
        unsolved = np.isin(self.status, (FlowStatus.DIVERGED, FlowStatus.BLACKOUT))
        found = (self.overloads > 0) | (self.voltage_violations > 0)
        return np.asarray(unsolved | found | (self.lost_load > SHED))
