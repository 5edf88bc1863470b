"""States near one solved base state: single outages and injections, on the base's factors.

The front of `gridrl.powerflow.kernels_chord`. What does not converge here is left to
`gridrl.powerflow.solve`; both solve the same equations to the same mismatch.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Complexes, Floats, Injection, Ints
from gridrl.jit import announced
from gridrl.powerflow.kernels_chord import chord
from gridrl.powerflow.kernels_newton import factor_base
from gridrl.powerflow.kernels_outage import first_steps
from gridrl.powerflow.limits import Findings, Limits
from gridrl.powerflow.model import Model, load_rows
from gridrl.powerflow.solve import LANES, LOWEST, States, by_row
from gridrl.sparse.kernels_inverse import selected_inverse

ITERATIONS, PATIENCE = 25, 4
NO_LIMITS = (*(np.empty(0, np.int64), np.empty(0), np.empty(0)) * 2,)
NO_ISLANDS = (np.empty(0, np.int8), *(np.empty(0, np.int64),) * 3)


@dataclass(frozen=True, eq=False, kw_only=True)
class SolvedBase:
    """A model with its solved base state and the factors of the Jacobian there."""

    model: Model
    v: Floats  # [1, n_node, 2] by row
    factors: tuple[NDArray[np.float32], ...]
    ends: tuple[Ints, Ints]  # rows of both ends of every branch
    reactive: tuple[object, ...] = NO_LIMITS  # see `gridrl.powerflow.limited.Reactive`

    @cached_property
    def outage_step(self) -> Floats:
        """[n_branch] how far the outage of each branch moves its ends in the first iteration.

        States that need equally many iterations share lanes well: sort by this.
        """
        model = self.model
        with announced("severity"):
            inverse = selected_inverse(model.pattern_arrays, model.pattern.l_of_u, self.factors)
            step: Floats = first_steps(
                self.ends, model.y, self.v[0], model.base_arrays[4], model.pattern_arrays, inverse
            )
        return step


def solved_base(model: Model, v: Complexes) -> SolvedBase:
    """Factorise around the solved voltages ``v`` [n_node] of the base state."""
    near = by_row(model, v)
    with announced("factor"):
        factors = factor_base(model.pattern_arrays, model.base_arrays, near[0])
    return SolvedBase(model=model, v=near, factors=factors, ends=model.live_ends)


def solve_nearby(
    base: SolvedBase,
    states: States,
    injection: Injection,
    outage: Ints,
    start: Floats,
    order: Ints,
    tolerance: float,
    *,
    keep: tuple[Complexes, NDArray[np.int32], Floats],
    limits: Limits | None = None,
    findings: Findings | None = None,
    carry: bool = False,
    islands: tuple[NDArray[np.generic], ...] = NO_ISLANDS,
) -> None:
    """Solve the states in ``order``; each opens branch ``outage[state]`` (-1: none) at most.

    One unit may fail besides, unless it is a reference.

    Parameters
    ----------
    keep : (v, iterations, mismatch)
        Filled: v complex128[B, n_node] (or [0, 0] to keep no voltages), iterations int32[B] (-1
        where not solved), mismatch float64[B].
    limits, findings
        What to check each solved state against, and where to put what was found.
    carry
        Let each state start from its neighbour's solution: for time series.
    islands
        What `gridrl.security.kernels_bridges.bridges` returns, where outages may cut something
        off: by their lists such a state changes the equations of the supplied end only. Voltages
        that are kept mean nothing there.
    """
    model = base.model
    power, current = load_rows(model, injection)
    start_of = states.load_of if start.shape[0] > 1 else states.all_one
    lists = (*states.lists, states.load_of, start_of)
    limit_arrays = limits.arrays if limits else Limits.none()
    finding_arrays = findings.arrays if findings else Findings.none()
    with announced(f"chord-{len(LANES)}"):
        chord(
            LANES, model.pattern_arrays, (model.pattern.parent, model.pattern.l_of_u),
            model.pattern.node, model.base_arrays, base.factors, base.v[0], power, current, lists,
            outage, base.ends, model.y, islands, start, order,
            (tolerance, ITERATIONS, carry, PATIENCE, LOWEST), base.reactive,
            limit_arrays, (*keep, *finding_arrays),
        )  # fmt: skip
