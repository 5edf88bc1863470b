"""``gridrl opf`` as a user meets it."""

import csv
import json

import pytest

import gridrl
from tests.cases import pglib_files

CASE = pglib_files.path_of("30_ieee")


def test_json_holds_cost_dispatch_and_prices(cli):
    ran = cli("opf", CASE, "--json")
    assert ran.code == 0
    found = ran.document
    assert found["status"] == "optimal"
    assert found["cost"] == pytest.approx(pglib_files.published("30_ieee"), rel=5e-5)
    assert found["max_violation_pu"] < 1e-6
    assert {v["kind"] for v in found["violations"]} >= {"p_balance", "q_balance", "flow", "angle"}
    units = {row["id"]: row for row in found["units"]}
    case = gridrl.load(CASE)
    load = -case.injection.p[0][~case.grid.dispatchable].sum() * case.grid.s_base_mva
    assert sum(row["p_mw"] for row in units.values()) == pytest.approx(
        load + found["losses_mw"], abs=1e-4
    )
    assert units["4"]["at_limit"].split()[-1] == "q_max"
    prices = {row["id"]: row["price_per_mwh"] for row in found["buses"]}
    # The unit at bus 1 is between its limits: its marginal cost is the price there.
    assert prices["1"] == pytest.approx(18.4215, abs=1e-3)
    assert max(row["loading_percent"] or 0 for row in found["branches"]) == pytest.approx(100.0)


def test_the_table_names_units_and_full_branches(cli):
    ran = cli("opf", CASE)
    assert ran.code == 0
    assert "cost 8,208.5" in ran.out
    assert "Judge: largest violation" in ran.out
    assert "gen:1" in ran.out
    assert "1 of 1 branches at their rating" in ran.out


def test_the_dispatch_goes_to_files(cli, tmp_path):
    assert cli("opf", CASE, "--out", tmp_path / "d.csv").code == 0
    with (tmp_path / "d.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert cli("opf", CASE, "--out", tmp_path / "d.json").code == 0
    assert json.loads((tmp_path / "d.json").read_text())["status"] == "optimal"
    ran = cli("opf", CASE, "--out", tmp_path / "d.txt")
    assert ran.code == 2
    assert ".csv" in ran.err


def test_an_infeasible_problem_names_what_is_missed(cli):
    ran = cli("opf", CASE, "--scale-load", 2)
    assert ran.code == 1
    assert "no dispatch meets all limits" in ran.err
    assert "p_balance" in ran.err
    assert "Traceback" not in ran.err


def test_wrong_use_is_one_sentence(cli):
    ran = cli("opf", CASE, "--solver", "simplex")
    assert ran.code == 2
    assert ran.err.strip().endswith(
        "Choose one of interior_point, ipopt, pypower, pandapower, "
        "pandapower_dc, highs_dc, highs_switching, soc."
    )


def test_a_grid_without_costs_says_so(cli):
    ran = cli("opf", "example_simple")
    assert ran.code == 0
    assert "No unit has a cost" in ran.out


API = pglib_files.path_of("30_as__api")


def test_switching_says_what_to_open_and_what_it_saves(cli):
    ran = cli("opf", API, "--switch", "--max-switches", 2, "--budget", 40)
    assert ran.code == 0
    assert "4,996.21 -> 2,797" in ran.out
    assert "44.01 %" in ran.out
    assert ran.out.count("open line:") == 2
    assert "N-1 at the optimal dispatch" in ran.out
    assert "1 switched: cost" in ran.err


def test_switching_in_json_can_be_taken_up(cli):
    ran = cli("opf", API, "--switch", "--max-switches", 1, "--budget", 20, "--json")
    assert ran.code == 0
    found = ran.document
    assert found["saving_percent"] == pytest.approx(38.10, abs=0.01)
    assert found["ac_opfs"] <= 20
    assert found["stopped"] is False
    assert set(found["n1"]) == {"verdict", "before", "after"}
    assert found["solution"]["max_violation_pu"] < 1e-6
    again = cli("opf", API, "--open", found["switch"][0]["open"], "--json")
    assert again.document["cost"] == pytest.approx(found["cost"], rel=1e-6)


def test_n1_secure_says_where_nothing_is_left(cli):
    ran = cli("opf", API, "--switch", "--n1-secure", "--budget", 20)
    assert ran.code == 0
    assert "No switching was found" in ran.out
    assert "no worse in N-1" in ran.out


def test_a_senseless_limit_after_outages_is_refused(cli):
    for limit in ("0", "nan", "20000"):
        ran = cli("opf", API, "--switch", "--n1-limit", limit)
        assert ran.code == 2
        assert "--n1-limit" in ran.err


def test_switching_an_infeasible_case_is_no_crash(cli):
    ran = cli("opf", CASE, "--scale-load", 2, "--switch")
    assert ran.code == 1
    assert "no dispatch meets all limits" in ran.err
