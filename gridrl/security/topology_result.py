"""AC N-0 and N-1 of many switching states, as arrays."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Bools, Floats, Ints
from gridrl.powerflow.options import FlowStatus


@dataclass(frozen=True, eq=False, kw_only=True)
class TopologySecurity:
    """What was found of each state [n] and of each of its contingencies [m], states in order."""

    status: NDArray[np.int8]  # [n] FlowStatus before any contingency
    loading: Floats  # [n] highest loading, 1 is the rating; NaN without solution
    branch: Ints  # [n] its branch, -1 where nothing is rated
    voltage: Ints  # [n] nodes outside their voltage limits
    lost: Floats  # [n] p.u. demand without supply
    pair_of: Ints  # [n + 1] contingencies pair_of[k]:pair_of[k + 1] follow state k
    contingency: Ints  # [m]
    pair_status: NDArray[np.int8]  # [m]
    pair_loading: Floats  # [m]
    pair_branch: Ints  # [m]
    pair_voltage: Ints  # [m]
    pair_volt: Floats  # [m] p.u. the voltage furthest outside its limits, or nearest to them
    pair_place: Ints  # [m] its substation, with n_substation added on busbar 2; -1: no limits
    pair_lost: Floats  # [m] p.u. demand without supply

    @property
    def solves(self) -> int:
        """AC power flows that this took."""
        return int(self.status.size + self.contingency.size)

    @property
    def owner(self) -> Ints:
        """[m] state of each pair."""
        return np.repeat(np.arange(self.status.size), np.diff(self.pair_of))

    def state(self, k: int) -> "TopologySecurity":
        """One state with its contingencies."""
        pairs = slice(int(self.pair_of[k]), int(self.pair_of[k + 1]))
        named = {
            f.name: getattr(self, f.name)[pairs if f.name in BY_PAIR else slice(k, k + 1)]
            for f in fields(TopologySecurity)
            if f.name != "pair_of"
        }
        return TopologySecurity(**named, pair_of=np.array([0, pairs.stop - pairs.start]))

    def with_only(self, kept: Bools) -> "TopologySecurity":
        """Without the pairs that are not ``kept`` [m]."""
        named = {
            f.name: getattr(self, f.name)[kept] if f.name in BY_PAIR else getattr(self, f.name)
            for f in fields(TopologySecurity)
            if f.name != "pair_of"
        }
        of = np.concatenate([[0], np.cumsum(kept)])[self.pair_of].astype(np.int64)
        return TopologySecurity(**named, pair_of=of)


BY_PAIR = frozenset(
    "contingency pair_status pair_loading pair_branch pair_voltage pair_volt pair_place "
    "pair_lost".split()
)


def empty(n: int, only: tuple[Ints, Ints]) -> TopologySecurity:
    """Nothing known of ``n`` states and the contingencies ``only`` (pair_of, contingency)."""
    m = only[1].size
    return TopologySecurity(
        status=np.zeros(n, np.int8), loading=np.full(n, np.nan), branch=np.full(n, -1, np.int64),
        voltage=np.zeros(n, np.int64), lost=np.zeros(n), pair_of=only[0], contingency=only[1],
        pair_status=np.full(m, FlowStatus.DIVERGED, np.int8), pair_loading=np.full(m, np.nan),
        pair_branch=np.full(m, -1, np.int64), pair_voltage=np.zeros(m, np.int64),
        pair_volt=np.full(m, np.nan), pair_place=np.full(m, -1, np.int64), pair_lost=np.zeros(m),
    )  # fmt: skip


def taken_together(parts: list[TopologySecurity]) -> TopologySecurity:
    """Several results as one."""
    of = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(p.pair_of) for p in parts]))])
    named = {
        f.name: np.concatenate([getattr(p, f.name) for p in parts])
        for f in fields(TopologySecurity)
        if f.name != "pair_of"
    }
    return TopologySecurity(**named, pair_of=of.astype(np.int64))
