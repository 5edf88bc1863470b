"""Generator costs and angle limits of MATPOWER tables, after the manual's table B-4 and B-3."""

from dataclasses import replace

import numpy as np
import pytest

from gridrl.case import Fate
from gridrl.errors import CaseError, GridError
from gridrl.io.matpower import from_tables
from gridrl.io.matpower_tables import MatpowerTables
from gridrl.io.powerio import load_powerio
from tests.cases import matpower_files

BASE = 50.0


@pytest.fixture
def tables():
    bus = np.zeros((2, 13))
    bus[:, [0, 1]] = [[1, 3], [2, 1]]
    bus[:, [7, 9, 11, 12]] = [1.0, 110.0, 1.1, 0.9]
    bus[1, [2, 3]] = 40.0, 10.0
    gen = np.zeros((2, 10))
    gen[:, 0] = 1, 2
    gen[:, [3, 4, 5, 6, 7, 8]] = [50.0, -50.0, 1.0, 100.0, 1.0, 90.0]
    branch = np.zeros((3, 13))
    branch[:, [0, 1, 2, 3, 10]] = [1, 2, 0.01, 0.1, 1]
    branch[:, [11, 12]] = [[-30, 20], [0, 0], [-360, 15]]
    return MatpowerTables(base_mva=BASE, bus=bus, gen=gen, branch=branch)


def with_costs(tables, rows):
    return replace(tables, gencost=np.array(rows, dtype=float))


def cost_of(costs, k, power):
    """MATPOWER's ``totcost``, written anew: p.u. in, currency/h out."""
    x, y = (
        values[costs.point_start[k] : costs.point_start[k + 1]]
        for values in (costs.point_power, costs.point_cost)
    )
    if x.size:
        return np.interp(power, x, y)
    return sum(c * power**n for n, c in enumerate(costs.coefficient[k]))


def test_polynomials_and_points_are_functions_of_per_unit_power(tables):
    case = from_tables(
        with_costs(tables, [[2, 0, 0, 3, 0.1, 20, 5, 99], [1, 0, 0, 2, 10, 100, 60, 1100]]),
        name="x",
    )
    costs, grid = case.grid.costs, case.grid
    assert [grid.unit_label[u] for u in costs.unit] == ["gen:1", "gen:2"]
    for mw in (10.0, 35.0, 60.0):
        assert cost_of(costs, 0, mw / BASE) == pytest.approx(0.1 * mw**2 + 20 * mw + 5)
        assert cost_of(costs, 1, mw / BASE) == pytest.approx(100 + 20 * (mw - 10))
    assert not costs.of_reactive.any()
    assert {row.fate for row in case.report if row.kind == "gencost"} == {Fate.KEPT}


def test_a_second_half_prices_reactive_power(tables):
    free = [2, 0, 0, 1, 0, 0, 0]
    rows = [[2, 0, 0, 2, 3, 0, 0], free, free, [2, 0, 0, 3, 2, 0, 1]]
    costs = from_tables(with_costs(tables, rows), name="x").grid.costs
    assert costs.of_reactive.tolist() == [False, False, True]
    assert costs.unit[2] == costs.unit[1]
    assert cost_of(costs, 2, 30.0 / BASE) == pytest.approx(2 * 30.0**2 + 1)


def test_startup_costs_are_reported_as_unused(tables):
    case = from_tables(with_costs(tables, [[2, 0, 0, 1, 1], [2, 70, 0, 1, 1]]), name="x")
    (row,) = [row for row in case.report if row.kind == "gencost startup"]
    assert (row.fate, row.elements) == (Fate.REFUSED, ("2",))


def test_angle_limits_are_radians_and_zeros_mean_none(tables):
    grid = from_tables(tables, name="x").grid
    np.testing.assert_allclose(grid.angle_min, [-np.pi / 6, -np.inf, -np.inf])
    np.testing.assert_allclose(grid.angle_max, [np.pi / 9, np.inf, np.pi / 12])


def test_generators_are_dispatchable_and_loads_are_not(tables):
    grid = from_tables(tables, name="x").grid
    assert [k for k, d in zip(grid.unit_kind, grid.dispatchable, strict=True) if d] == ["gen"] * 2


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    (
        ([[2, 0, 0, 1, 1]], CaseError, r"shape \(1, 5\) for 2 generators"),
        ([[3, 0, 0, 1, 1], [2, 0, 0, 1, 1]], GridError, "gen 1: gencost MODEL"),
        ([[2, 0, 0, 1, 1], [2, 0, 0, 9, 1]], GridError, "gen 2: gencost NCOST"),
        ([[2, 0, 0, 1, 1], [2, 0, 0, np.inf, 1]], GridError, "gen 2: gencost NCOST"),
        ([[2, 0, 0, 0, 1], [2, 0, 0, 1, 1]], GridError, "gen 1: gencost NCOST"),
        ([[2, 0, 0, 1, np.nan], [2, 0, 0, 1, 1]], GridError, "gen 1: gencost is not a finite"),
        (
            [[2, 0, 0, 1, 1, 0, 0, 0], [1, 0, 0, 2, 5, 1, 5, 2]],
            GridError,
            "gen 2: gencost points do not increase",
        ),
    ),
)
def test_broken_costs_name_their_generator(tables, rows, error, message):
    with pytest.raises(error, match=message):
        from_tables(with_costs(tables, rows), name="x")


def test_reactive_costs_of_a_file_are_read(tmp_path):
    # The parser drops the second half of such a table.
    text = matpower_files.path_of("case9").read_text()
    head, tail = text.split("mpc.gencost = [", 1)
    body, rest = tail.split("];", 1)
    path = tmp_path / "c.m"
    path.write_text(f"{head}mpc.gencost = [{body}{body}];{rest}")
    costs = load_powerio(path).grid.costs
    assert costs.of_reactive.tolist() == [False] * 3 + [True] * 3
    path.write_text(f"{head}mpc.gencost = [{body}\n1 2];{rest}")
    with pytest.raises(CaseError, match="gencost has rows of different length"):
        load_powerio(path)
