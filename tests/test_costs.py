"""What a cost function must be, whichever door it comes through."""

from dataclasses import replace

import numpy as np
import pytest

from gridrl import io
from gridrl.costs import CostRow, Costs, join
from gridrl.errors import GridError


def test_rows_become_arrays_of_one_width():
    costs = join(
        [
            CostRow(unit=4, coefficient=(1.0, 2.0)),
            CostRow(unit=2, points=((0.0, 0.0), (1.0, 5.0), (2.0, 20.0))),
            CostRow(unit=4, of_reactive=True, coefficient=(0.0, 0.0, 7.0)),
        ]
    )
    np.testing.assert_array_equal(costs.coefficient, [[1, 2, 0], [0, 0, 0], [0, 0, 7]])
    np.testing.assert_array_equal(costs.point_start, [0, 0, 3, 3])
    np.testing.assert_array_equal(costs.point_cost, [0, 5, 20])
    assert not costs.coefficient.flags.writeable


@pytest.mark.parametrize(
    ("row", "message"),
    (
        (CostRow(unit=1, points=((0.0, 1.0),)), "unit 1 needs two points"),
        (CostRow(unit=1, points=((0.0, 1.0), (0.0, 2.0))), "powers increasing"),
        (CostRow(unit=1, coefficient=(np.inf,)), "not finite"),
        (CostRow(unit=1, coefficient=(np.nan,)), "coefficient is NaN"),
        (CostRow(unit=0, coefficient=(1.0,)), "1 units have two cost functions"),
    ),
)
def test_what_is_no_cost_function_is_refused(row, message):
    with pytest.raises(GridError, match=message):
        join([CostRow(unit=0, coefficient=(3.0,)), row])


def test_a_cost_of_no_unit_is_refused():
    grid = io.load("case9").grid
    with pytest.raises(GridError, match=f"valid: 0..{grid.n_unit - 1}"):
        replace(grid, costs=join([CostRow(unit=grid.n_unit, coefficient=(1.0,))]))


def test_a_grid_without_costs_is_another_grid():
    case = io.load("case9")
    assert case.grid.costs.n_cost == 3
    free = replace(case, grid=replace(case.grid, costs=Costs.none()))
    dearer = join([CostRow(unit=0, coefficient=(2.0,))])
    digests = {
        case.digest,
        free.digest,
        replace(case, grid=replace(case.grid, costs=dearer)).digest,
    }
    assert len(digests) == 3
