"""Limits in the form that kernels check, and what they find."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Floats, Ints
from gridrl.powerflow.model import Model
from gridrl.powerflow.result import FlowResult

Arrays = tuple[object, ...]


WORSE_LOADING = 0.01  # a branch overloaded before is a finding again from one point more
WORSE_VOLTAGE = 0.001  # p.u.
ROUNDING = 1e-6  # p.u.: a voltage held at its limit is not outside it


@dataclass(frozen=True, eq=False, kw_only=True)
class Limits:
    """Squared inverse ratings by branch and squared voltage limits by row; 0 and inf: none."""

    inv_from: Floats  # [n_branch]
    inv_to: Floats  # [n_branch]
    inv_s: Floats  # [n_branch]
    bar: Floats  # [n_branch] squared loading above which a branch is a finding
    v_low: Floats  # [n_node]
    v_high: Floats  # [n_node]
    v_low_bar: Floats  # [n_node] squared voltage below which a row is a finding
    v_high_bar: Floats  # [n_node] ... above which

    @property
    def arrays(self) -> Arrays:
        """As `gridrl.powerflow.kernels_limits` takes them."""
        return (
            self.inv_from, self.inv_to, self.inv_s, self.bar, self.v_low, self.v_high,
            self.v_low_bar, self.v_high_bar,
        )  # fmt: skip

    @staticmethod
    def none() -> Arrays:
        """Check nothing."""
        empty = np.empty(0)
        return (empty,) * 8


def limits_of(model: Model, base: FlowResult | None = None, threshold: float = 1.0) -> Limits:
    """The limits of the model's grid; star points of transformers have none.

    What ``base`` violates already is a finding only where a state makes it clearly worse.

    Parameters
    ----------
    threshold
        Loading above which a branch is a finding; 1 is the rating.
    """
    grid = model.grid
    node = model.pattern.node
    substation = model.node_substation[node]
    free = grid.is_star[substation]
    low = np.where(free, 0.0, grid.v_min[substation])
    high = np.where(free, np.inf, grid.v_max[substation])
    bar = np.full(grid.n_branch, threshold)
    low_bar, high_bar = low - ROUNDING, high + ROUNDING
    if base is not None:
        loading = base.loading(0)
        bar = np.where(loading > threshold, loading + WORSE_LOADING, bar)
        v = np.abs(base.v[0][node])
        low_bar = np.where(v < low_bar, v - WORSE_VOLTAGE, low_bar)
        high_bar = np.where(v > high_bar, v + WORSE_VOLTAGE, high_bar)
    return Limits(
        inv_from=1.0 / grid.i_max_from**2,
        inv_to=1.0 / grid.i_max_to**2,
        inv_s=1.0 / grid.s_max**2,
        bar=bar**2,
        v_low=low**2,
        v_high=high**2,
        v_low_bar=np.maximum(low_bar, 0.0) ** 2,
        v_high_bar=high_bar**2,
    )


@dataclass(eq=False, kw_only=True)
class Findings:
    """What checks found, per state, and a list of all findings. Filled by kernels."""

    loading: Floats  # [B] highest loading, 1 is the rating
    branch: Ints  # [B] its branch, -1 where nothing is rated
    over: Ints  # [B] branches that are findings
    volt_row: Ints  # [B] row whose voltage is furthest outside its limits, or nearest to them
    volt: Floats  # [B] its voltage, p.u.
    outside: Ints  # [B] rows that are findings
    listed: Ints  # [1] entries that the list needs; more than it holds means: repeat
    list_state: Ints
    list_what: Ints  # branch, or -1 - row for a voltage
    list_value: Floats  # loading or voltage in p.u.

    @property
    def arrays(self) -> Arrays:
        """As `gridrl.powerflow.kernels_limits` takes them."""
        return (
            self.loading, self.branch, self.over, self.volt_row, self.volt, self.outside,
            self.listed, self.list_state, self.list_what, self.list_value,
        )  # fmt: skip

    @staticmethod
    def none() -> Arrays:
        """Room for nothing."""
        real, whole = np.empty(0), np.empty(0, np.int64)
        return real, whole, whole, whole, real, whole, np.zeros(1, np.int64), whole, whole, real

    @staticmethod
    def room(batch: int, entries: int) -> "Findings":
        """Room for ``batch`` states and a list of ``entries``."""

        def whole() -> NDArray[np.int64]:
            return np.full(batch, -1, np.int64)

        return Findings(
            loading=np.full(batch, np.nan), branch=whole(), over=np.zeros(batch, np.int64),
            volt_row=whole(), volt=np.full(batch, np.nan), outside=np.zeros(batch, np.int64),
            listed=np.zeros(1, np.int64), list_state=np.empty(entries, np.int64),
            list_what=np.empty(entries, np.int64), list_value=np.empty(entries),
        )  # fmt: skip
