"""Where our solver finds no optimum: proof or Ipopt, and a message that says which."""

import pytest

import gridrl
from gridrl.edit import scale_load
from gridrl.opf import OpfStatus, fallback, solve, verify
from gridrl.opf.interior_point import Options
from tests.cases import pglib_files

HOPELESS = Options(max_iterations=2, retry=False)


@pytest.fixture(scope="module")
def case():
    return gridrl.load(pglib_files.path_of("30_ieee"))


def without(monkeypatch, *missing):
    there = fallback.find_spec
    monkeypatch.setattr(
        fallback, "find_spec", lambda name: None if name in missing else there(name)
    )


def test_ipopt_takes_over_and_is_named(case):
    solution = solve(case, options=HOPELESS)
    assert solution.status is OpfStatus.OPTIMAL
    assert (solution.solver, solution.fallback) == ("interior_point", "ipopt")
    assert "interior_point ended iteration_limit" in solution.message
    cost = verify(case, solution.p, solution.q, solution.v).cost
    assert cost == pytest.approx(pglib_files.published("30_ieee"), rel=5e-5)


def test_it_can_be_left_out(case):
    solution = solve(case, options=HOPELESS, fallback=False)
    assert solution.status is OpfStatus.ITERATION_LIMIT
    assert solution.fallback == ""


def test_without_ipopt_the_message_says_how_to_get_it(case, monkeypatch):
    without(monkeypatch, "ipyopt")
    solution = solve(case, options=HOPELESS)
    assert solution.status is OpfStatus.ITERATION_LIMIT
    assert "pip install 'gridrl[ipopt]'" in solution.message


def test_two_solvers_that_find_nothing_prove_nothing(case, monkeypatch):
    without(monkeypatch, "clarabel")
    solution = solve(scale_load(case, 2.0))
    assert solution.status is OpfStatus.INFEASIBLE
    assert not solution.proved
    assert "return code 2" in solution.message


def test_what_succeeds_is_left_alone(case):
    assert solve(case).fallback == ""


def test_the_command_line_says_proved(cli):
    ran = cli("opf", pglib_files.path_of("30_ieee"), "--scale-load", 2)
    assert ran.code == 1
    assert "which is proved" in ran.err
    ran = cli("opf", pglib_files.path_of("30_ieee"), "--solver", "soc", "--json")
    assert ran.code == 0
    assert ran.document["lower_bound"] < pglib_files.published("30_ieee")
    assert ran.document["model"] == "SOC"


@pytest.mark.parametrize("solver", ("highs_dc", "pypower", "pandapower_dc"))
def test_json_is_all_there_is_on_standard_output(cli, solver):
    ran = cli("opf", pglib_files.path_of("5_pjm"), "--solver", solver, "--json")
    assert ran.code == 0
    assert ran.document["cost"] == pytest.approx({"pypower": 17551.9}.get(solver, 17479.9), abs=0.1)
    assert ran.document["lower_bound"] is None
