"""States near a base state whose generators respect their reactive limits.

The base decides which generators stand at a limit; they become PQ, and states near it are solved
on the factors of that. A state in which the same generators stand at the same limits, and all
others stay within theirs, is a solution with reactive limits; every other state is left to the
rounds of `gridrl.powerflow.controls`.
"""

from dataclasses import dataclass, replace

import numpy as np

from gridrl.grid import Bools, Floats, Injection, Ints
from gridrl.powerflow.controls import HOLDS, held_rows
from gridrl.powerflow.model import Model, build_model
from gridrl.powerflow.nearby import SolvedBase, solved_base
from gridrl.powerflow.solve import Solved, States


@dataclass(frozen=True, eq=False, kw_only=True)
class Reactive:
    """What a solved state must respect to keep the base's generators at limits and in range."""

    unit: Ints  # [k] units whose reactive power the solution decides, or a limit
    q: Floats  # [k] p.u. what they are given: their node's limit, or nothing
    v_set: Floats  # [n_unit] p.u. the set points that this holds for
    row: Ints  # [m] rows that units hold
    q_low: Floats  # [m] p.u. their limits
    q_high: Floats  # [m]
    limited_row: Ints  # [l] rows of units at a limit
    v2_low: Floats  # [l] p.u. squared voltages beyond which the limit no longer binds
    v2_high: Floats  # [l]

    @property
    def arrays(self) -> tuple[object, ...]:
        """As `gridrl.powerflow.kernels_chord.chord` takes them."""
        return self.row, self.q_low, self.q_high, self.limited_row, self.v2_low, self.v2_high

    def fits(self, injection: Injection) -> bool:
        """Whether all voltages are held as in the base state."""
        same = injection.v_set == self.v_set
        return bool((same | np.isnan(self.v_set)).all())

    def given(self, injection: Injection) -> Injection:
        """The injection with the reactive power of the units concerned as the base has it."""
        q = injection.q.copy()
        q[:, self.unit] = self.q
        return Injection(p=injection.p, q=q, v_set=injection.v_set)


def limited_base(
    model: Model, states: States, base: Solved, tolerance: float
) -> tuple[SolvedBase, Reactive]:
    """Factors around a base state solved with reactive limits, and what they hold for."""
    assert base.pins is not None
    grid, pins = model.grid, base.pins[0]
    held = held_rows(model, states, model.injection, base, np.zeros(1, np.int64))
    holds = held.mode[0] == HOLDS
    unit = np.flatnonzero(grid.controls_voltage & ~grid.is_reference & (model.unit_at >= 0))
    at = np.searchsorted(held.row, model.unit_at[unit])
    unit, at = unit[holds[at]], at[holds[at]]
    limit = np.where(pins > 0, held.q_high[0], held.q_low[0])
    q = np.where(_first_of_each(at) & (pins[at] != 0), limit[at], 0.0)
    free = np.flatnonzero(holds & (pins == 0))
    limited = np.flatnonzero(holds & (pins != 0))
    slack = 10 * tolerance
    v_held = held.v_held[0, limited]
    upper = pins[limited] > 0
    reactive = Reactive(
        unit=unit, q=q, v_set=np.array(model.injection.v_set[0]), row=held.row[free],
        q_low=held.q_low[0, free] - slack, q_high=held.q_high[0, free] + slack,
        limited_row=held.row[limited],
        v2_low=np.where(upper, 0.0, v_held - slack) ** 2,
        v2_high=np.where(upper, v_held + slack, np.inf) ** 2,
    )  # fmt: skip
    controls = np.array(grid.controls_voltage)
    controls[unit[pins[at] != 0]] = False
    around = build_model(
        replace(grid, controls_voltage=controls), model.topology, reactive.given(model.injection),
        np.flatnonzero(model.second_node >= 0), model.island_rule,
    )  # fmt: skip
    return replace(solved_base(around, base.v[0]), reactive=reactive.arrays), reactive


def _first_of_each(node: Ints) -> Bools:
    """Whether no earlier unit sits on the same node."""
    first = np.zeros(node.size, np.bool_)
    first[np.unique(node, return_index=True)[1]] = True
    return first
