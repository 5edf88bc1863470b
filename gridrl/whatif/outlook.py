"""How a switching state stands: what a remedial action is judged by, in one place.

A state is *admissible* if it makes nothing worse that cannot be traded for loading: nothing is cut
off that was supplied, and no demand after any contingency; no contingency loses its power flow; no
voltage leaves its limits and no overload appears or grows before a contingency. Among admissible
states the one with the lowest worst loading is best: before, and after every contingency that had a
power flow without any action.
"""

from dataclasses import dataclass

import numpy as np

from gridrl.grid import Bools, Floats, Ints
from gridrl.powerflow.options import FlowStatus, has_voltages
from gridrl.security.topology_result import TopologySecurity

SHED = 1e-6  # p.u.: less is rounding
GROWN = 1e-3  # loading by which an overload that was there may grow
REFUSED = 1e6  # added to the loading of states that are not admissible


@dataclass(frozen=True, eq=False, kw_only=True)
class Reference:
    """What the state before any action loses and fails: the bar for the others."""

    solved: bool
    whole: bool  # nothing connected is without supply
    lost: float  # p.u. demand without supply before any contingency
    lost_after: Floats  # [n_contingency] p.u. after each
    unsolved: Bools  # [n_contingency]
    voltage: int  # nodes outside their voltage limits
    loading: float  # highest before any contingency that is allowed afterwards


def reference_of(base: TopologySecurity) -> Reference:
    """The bar that the first state of ``base`` sets, contingencies in order."""
    solved = bool(has_voltages(base.status)[0])
    return Reference(
        solved=solved,
        whole=bool(base.status[0] == FlowStatus.OK),
        lost=float(base.lost[0]) if solved else np.inf,
        lost_after=base.pair_lost if solved else np.full(base.pair_lost.size, np.inf),
        unsolved=np.isnan(base.pair_loading),
        voltage=int(base.voltage[0]) if solved else 10**9,
        loading=max(1.0, float(np.nan_to_num(base.loading[0]))) if solved else np.inf,
    )


def values(found: TopologySecurity, reference: Reference) -> Floats:
    """[n] worst loading, 1 is the rating; with `REFUSED` added where a state is not admissible.

    Where only some contingencies of a state were solved, this is what is known so far: solving more
    of them can only raise it.
    """
    solved = has_voltages(found.status)
    worst = np.where(solved, np.nan_to_num(found.loading, nan=0.0), np.inf)
    counts = ~reference.unsolved[found.contingency]
    after = np.where(counts, np.nan_to_num(found.pair_loading, nan=0.0), 0.0)
    np.maximum.at(worst, found.owner, after)
    bad = ~solved | (found.lost > reference.lost + SHED) | (found.voltage > reference.voltage)
    bad |= (found.status == FlowStatus.ISLANDED) & reference.whole
    bad |= np.nan_to_num(found.loading, nan=0.0) > reference.loading + GROWN
    lost = found.pair_lost > reference.lost_after[found.contingency] + SHED
    failed = np.isnan(found.pair_loading) & counts
    bad[found.owner[lost | failed]] = True
    return np.where(bad, np.minimum(worst, REFUSED) + REFUSED, worst)


def excess(found: TopologySecurity) -> Floats:
    """[n] overloads summed over the contingencies: tells states apart whose worst is the same."""
    over = np.maximum(np.nan_to_num(found.pair_loading, nan=1.0) - 1.0, 0.0)
    return np.bincount(found.owner, over, found.status.size).astype(np.float64)


def outside(found: TopologySecurity) -> Ints:
    """[n] voltages outside their limits, summed over the state and all its contingencies.

    Tells states apart whose loading verdict is the same.
    """
    after = np.bincount(found.owner, found.pair_voltage, found.status.size)
    return np.asarray(found.voltage + after, np.int64)


def states_outside(found: TopologySecurity) -> int:
    """How many of one state and its contingencies have a voltage outside its limits."""
    return int(found.voltage[0] > 0) + int((found.pair_voltage > 0).sum())


def order_of(value: Floats, over: Floats) -> Ints:
    """States, best first: by worst loading to half a percent, then by all overloads, then exact."""
    return np.lexsort((value, over, np.round(value * 200.0)))
