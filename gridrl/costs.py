"""What the power of units costs: polynomials and piecewise-linear functions.

Only what a file states. Who evaluates costs (`gridrl.opf.verify`) or optimises them (the solvers
in `gridrl.opf`) does so with code of its own.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from gridrl.arrays import Bools, Floats, Ints, freeze
from gridrl.errors import GridError


@dataclass(frozen=True, eq=False, kw_only=True)
class Costs:
    """Cost functions in the file's currency per hour; a unit without one costs nothing.

    Function ``k`` prices the active power of ``unit[k]`` (its reactive power where
    ``of_reactive[k]``), counted positive into the busbar: the cost of a load falls with ``p``.
    It is the polynomial ``sum(coefficient[k, n] * p**n)``, or the line through its points if it
    has any, continued straight beyond the first and the last.

    Raises
    ------
    GridError
        Lengths differ, a number is not finite, points do not increase, or two functions price
        the same power.
    """

    unit: Ints  # [n_cost] index of a unit in the Grid
    of_reactive: Bools  # [n_cost] prices q instead of p
    coefficient: Floats  # [n_cost, n_term] currency/h per p.u.**n, n = 0, 1, ...
    point_start: Ints  # [n_cost + 1] points of function k: point_start[k] .. point_start[k + 1]
    point_power: Floats  # [n_point] p.u., increasing within a function
    point_cost: Floats  # [n_point] currency/h

    def __post_init__(self) -> None:
        freeze(self)
        n = self.unit.size
        start = self.point_start
        if (
            self.of_reactive.shape != (n,)
            or self.coefficient.ndim != 2
            or len(self.coefficient) != n
            or start.shape != (n + 1,)
            or self.point_cost.shape != self.point_power.shape
            or start[0] != 0
            or start[-1] != self.point_power.size
            or (np.diff(start) < 0).any()
        ):
            raise GridError(
                f"The columns of the cost functions disagree in length: {n} units, "
                f"{self.of_reactive.shape}, {self.coefficient.shape}, {start.shape}, "
                f"{self.point_power.shape}, {self.point_cost.shape}."
            )
        for values in (self.coefficient, self.point_power, self.point_cost):
            if not np.isfinite(values).all():
                raise GridError("A coefficient or point of a cost function is not finite.")
        count = np.diff(start)
        inner = np.diff(self.point_power) > 0
        for k in np.flatnonzero(count):
            if count[k] < 2 or not inner[start[k] : start[k + 1] - 1].all():
                raise GridError(
                    f"The cost function of unit {self.unit[k]} needs two points or more, their "
                    "powers increasing. Correct or remove it."
                )
        pairs = np.stack([self.unit, self.of_reactive], axis=1)
        twice = n - len(np.unique(pairs, axis=0))
        if twice:
            raise GridError(
                f"{twice} units have two cost functions for the same power. Keep one of each."
            )

    @property
    def n_cost(self) -> int:
        return int(self.unit.size)

    @classmethod
    def none(cls) -> Self:
        """No costs at all."""
        return cls(
            unit=np.zeros(0, dtype=np.int64),
            of_reactive=np.zeros(0, dtype=bool),
            coefficient=np.zeros((0, 1)),
            point_start=np.zeros(1, dtype=np.int64),
            point_power=np.zeros(0),
            point_cost=np.zeros(0),
        )


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One cost function as a door reads it; ``join`` makes the arrays."""

    unit: int
    of_reactive: bool = False
    coefficient: tuple[float, ...] = ()  # currency/h per p.u.**n, lowest power first
    points: tuple[tuple[float, float], ...] = ()  # (p.u., currency/h)


def join(rows: list[CostRow]) -> Costs:
    """The cost functions of a grid, one row each."""
    coefficient = np.zeros((len(rows), max((len(row.coefficient) for row in rows), default=1) or 1))
    for k, row in enumerate(rows):
        coefficient[k, : len(row.coefficient)] = row.coefficient
    points = [point for row in rows for point in row.points]
    return Costs(
        unit=np.array([row.unit for row in rows], dtype=np.int64),
        of_reactive=np.array([row.of_reactive for row in rows], dtype=bool),
        coefficient=coefficient,
        point_start=np.cumsum([0, *(len(row.points) for row in rows)], dtype=np.int64),
        point_power=np.array([x for x, _ in points], dtype=np.float64),
        point_cost=np.array([y for _, y in points], dtype=np.float64),
    )
