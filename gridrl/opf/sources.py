"""What the optimiser may choose: the active and reactive power of units, with costs and limits.

A convex piecewise-linear cost becomes one source for each segment: their costs rise from one to
the next, so an optimum fills them in order and their sum costs what the function says.
"""

from dataclasses import dataclass

import numpy as np

from gridrl.case import Case
from gridrl.costs import Costs
from gridrl.errors import GridError
from gridrl.grid import Bools, Complexes, Floats, Ints

# A range narrower than this (p.u.) is no choice: the power is a constant.
NARROW = 1e-9
# Slopes may fall by this much (relative) from one segment to the next, as printed data do.
CONVEX = 1e-6


@dataclass(frozen=True, eq=False, kw_only=True)
class Sources:
    """Chosen powers, p.u. into the node: the sum of a unit's sources is its P or its Q."""

    unit: Ints  # [n_source]
    node: Ints  # [n_source]
    reactive: Bools  # [n_source] Q instead of P
    lower: Floats  # [n_source] -np.inf where unlimited
    upper: Floats  # [n_source] np.inf where unlimited
    coefficient: Floats  # [n_source, n_term] currency/h per p.u.**n, n = 0, 1, ...
    constant_p: Floats  # [n_unit] what a unit's P has besides its sources
    constant_q: Floats  # [n_unit]
    chosen_p: Bools  # [n_unit] P is constant_p plus sources, not what the injection says
    chosen_q: Bools  # [n_unit]
    constant_node: Ints  # [n_unit]

    @property
    def n(self) -> int:
        return int(self.unit.size)

    def fill(self, p: Floats, q: Floats, value: Floats) -> tuple[Floats, Floats]:
        """Powers of all units, with the chosen ones replaced by what the sources give."""
        n_unit = self.constant_p.size
        out = []
        for given, chosen, constant, mine in (
            (p, self.chosen_p, self.constant_p, ~self.reactive),
            (q, self.chosen_q, self.constant_q, self.reactive),
        ):
            total = constant + np.bincount(self.unit[mine], value[mine], n_unit)
            out.append(np.where(chosen, total, given))
        return out[0], out[1]

    def constant_injection(self, n_node: int) -> Complexes:
        """[n_node] what chosen units inject besides their sources."""
        on = self.constant_node >= 0
        total = np.zeros(n_node, dtype=np.complex128)
        np.add.at(total, self.constant_node[on], (self.constant_p + 1j * self.constant_q)[on])
        return total


def build_sources(case: Case, unit_node: Ints) -> tuple[Sources, Bools]:
    """Sources of the units on nodes, and [n_unit] which of them hold their voltage set point.

    Raises
    ------
    GridError
        A piecewise-linear cost is not convex, so that no local optimiser may be trusted with it.
    """
    grid = case.grid
    live = unit_node >= 0
    dispatched = grid.dispatchable & live
    # Without limits nothing else would decide on a voltage.
    unlimited = (grid.v_min == 0) & np.isposinf(grid.v_max)
    kept = ~grid.dispatchable | unlimited[grid.unit_substation]
    holds = (grid.controls_voltage | grid.is_reference) & kept & live
    priced = {
        (int(unit), bool(of_q)): k
        for k, (unit, of_q) in enumerate(zip(grid.costs.unit, grid.costs.of_reactive, strict=True))
    }
    constant = np.zeros((2, grid.n_unit))
    chosen = np.stack([dispatched | (grid.is_reference & live), dispatched | holds])
    units: list[int] = []
    reactive: list[bool] = []
    ranges: list[tuple[float, float]] = []
    functions: list[Floats] = []
    for of_q, low, high in ((False, grid.p_min, grid.p_max), (True, grid.q_min, grid.q_max)):
        for unit in np.flatnonzero(chosen[int(of_q)]):
            k = priced.get((int(unit), of_q))
            segments = _segments(
                grid.costs, k, float(low[unit]), float(high[unit]), grid.unit_label[unit]
            )
            constant[int(of_q), unit] = segments.base
            for span, terms in zip(segments.spans, segments.terms, strict=True):
                units.append(int(unit))
                reactive.append(of_q)
                ranges.append(span)
                functions.append(terms)
    width = max((terms.size for terms in functions), default=1)
    coefficient = np.zeros((len(functions), width))
    for row, terms in zip(coefficient, functions, strict=True):
        row[: terms.size] = terms
    unit_index = np.array(units, dtype=np.int64)
    span_of = np.array(ranges, dtype=np.float64).reshape(-1, 2)
    return (
        Sources(
            unit=unit_index,
            node=unit_node[unit_index],
            reactive=np.array(reactive, dtype=bool),
            lower=span_of[:, 0],
            upper=span_of[:, 1],
            coefficient=coefficient,
            constant_p=constant[0],
            constant_q=constant[1],
            chosen_p=chosen[0],
            chosen_q=chosen[1],
            constant_node=np.where(chosen.any(axis=0), unit_node, -1),
        ),
        holds,
    )


@dataclass(frozen=True, kw_only=True)
class _Segments:
    base: float  # power below the first source
    spans: list[tuple[float, float]]  # range of each source
    terms: list[Floats]  # its polynomial


def _segments(costs: Costs, k: int | None, low: float, high: float, label: str) -> _Segments:
    """One source for a polynomial, one for each segment of a piecewise-linear function."""
    if high - low < NARROW:
        return _Segments(base=0.5 * (low + high), spans=[], terms=[])
    if k is None:
        return _Segments(base=0.0, spans=[(low, high)], terms=[np.zeros(1)])
    here = slice(costs.point_start[k], costs.point_start[k + 1])
    x, y = costs.point_power[here], costs.point_cost[here]
    if not x.size:
        return _Segments(base=0.0, spans=[(low, high)], terms=[costs.coefficient[k]])
    slope = np.diff(y) / np.diff(x)
    if (np.diff(slope) < -CONVEX * np.abs(slope).max()).any():
        raise GridError(
            f"The piecewise-linear cost of {label} is not convex: its slope falls. Give a convex "
            "cost (slopes that rise with power)."
        )
    edges = np.concatenate([[-np.inf], x[1:-1], [np.inf]])
    edges = np.clip(edges, low, high)
    used = np.flatnonzero(np.diff(edges) >= NARROW)
    left, right, slope = edges[used], edges[used + 1], slope[used]
    # All but the first source count from the lower edge of their segment.
    spans = [(float(left[0]), float(right[0]))]
    spans += [(0.0, float(b - a)) for a, b in zip(left[1:], right[1:], strict=True)]
    return _Segments(base=0.0, spans=spans, terms=[np.array([0.0, s]) for s in slope])
