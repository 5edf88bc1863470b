"""The benchmark of the engine: what it poses, how it judges, what it writes. Nothing is timed."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridrl.bench import contender as contenders
from gridrl.bench import powerflow
from gridrl.bench.contender import Algorithm, Prepared, Refused, load_peer, peer_names
from gridrl.bench.document import document, rows_to_keep, write
from gridrl.bench.ours import Gridrl
from gridrl.bench.problem import (
    PQ,
    Problem,
    n1_problem,
    pq_problem,
    safe_outages,
    sweep_problem,
    topology_problem,
)
from gridrl.bench.render import insert, summary, tables
from gridrl.bench.runner import FIXED, Row, race
from gridrl.case import Case
from gridrl.errors import CaseError
from gridrl.grid import Complexes
from gridrl.powerflow import FlowStatus, flow
from tests.conftest import Ran

FAST = {"repeats": 1, "patience_s": 0.0}


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture(scope="module")
def outages(case14: Case) -> Problem:
    return n1_problem("case14", case14, rng())


class Planted:
    """A contender that says what it is told to."""

    name = "planted"

    def __init__(self, v: Complexes | None = None, error: Exception | None = None) -> None:
        self._v, self._error = v, error

    def version(self) -> str:
        if isinstance(self._error, ImportError):
            raise self._error
        return "0"

    def algorithms(self, problem: Problem) -> Sequence[Algorithm]:  # noqa: ARG002
        return [Algorithm(name="says")]

    def prepare(self, problem: Problem, algorithm: str) -> Prepared:  # noqa: ARG002
        if self._error is not None:
            raise self._error
        assert self._v is not None
        answer = self._v
        return Prepared(run=lambda: None, voltages=lambda: answer)


def truth(problem: Problem) -> Complexes:
    prepared = Gridrl().prepare(problem, "newton lanes")
    prepared.run()
    assert prepared.voltages is not None
    return np.array(prepared.voltages())


def row_of(rows: list[Row], contender: str) -> Row:
    (found,) = [row for row in rows if row["contender"] == contender]
    return found


# --- what is posed ----------------------------------------------------------------------------
def test_outages_are_those_that_cut_nothing_off(case14: Case, outages: Problem) -> None:
    # case14 has one radial branch: the transformer to bus 8 (index 7)
    assert outages.states == case14.grid.n_branch - 1 == 19
    (left_out,) = set(range(case14.grid.n_branch)) - set(outages.outage.tolist())
    assert 7 in (case14.grid.from_substation[left_out], case14.grid.to_substation[left_out])


def test_a_sample_is_drawn_with_the_generator_it_is_given(case14: Case) -> None:
    one, two = (n1_problem("case14", case14, rng(), 5).outage for _ in range(2))
    assert one.size == 5
    np.testing.assert_array_equal(one, two)
    other = n1_problem("case14", case14, np.random.default_rng(2), 5).outage
    assert set(other.tolist()) != set(one.tolist())


def test_loads_vary_within_ten_percent_and_nothing_else_does(case14: Case) -> None:
    problem = sweep_problem("case14", "sweep", case14, rng(), 50)
    load = np.array([kind == "load" for kind in case14.grid.unit_kind])
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = problem.injection.p / case14.injection.p
    assert 0.9 <= np.nanmin(factor[:, load]) < 0.92
    assert 1.08 < np.nanmax(factor[:, load]) <= 1.1
    np.testing.assert_array_equal(
        problem.injection.p[:, ~load], np.repeat(case14.injection.p[:, ~load], 50, 0)
    )


def test_topologies_split_stay_connected_and_differ(case14: Case) -> None:
    problem = topology_problem("case14", case14, rng(), 24, 3)
    assert problem.states == 24
    second = (problem.topology.busbar == 2).any(axis=1)
    assert second.all()
    assert len({problem.topology.busbar[k].tobytes() for k in range(24)}) > 12
    assert not problem.topology.closed.all()
    used = np.unique(case14.grid.terminal_substation[(problem.topology.busbar == 2).any(axis=0)])
    assert set(used) <= set(problem.split)
    found = flow(case14, topology=problem.topology)
    assert (found.status == FlowStatus.OK).all()


def test_without_voltage_control_the_base_state_stays(case14: Case, outages: Problem) -> None:
    problem = pq_problem(outages)
    v = flow(problem.case).v[0]
    # both are solved to 1e-8 p.u. of power
    np.testing.assert_allclose(v, outages.base_v, rtol=0, atol=1e-6)
    assert problem.variant == PQ
    assert int(problem.case.grid.controls_voltage.sum()) <= 1


# --- how results are judged -------------------------------------------------------------------
def test_rows_have_the_fixed_columns_and_equal_results(case14: Case) -> None:
    for problem in (
        n1_problem("case14", case14, rng()),
        sweep_problem("case14", "sweep", case14, rng(), 16),
        sweep_problem("case14", "single", case14, rng(), 2),
        topology_problem("case14", case14, rng(), 16, 3),
    ):
        rows = race(problem, [Gridrl(), Planted(truth_of_any(problem))], **FAST)
        assert rows
        for row in rows:
            assert tuple(row)[: len(FIXED)] == FIXED
            assert row["equal"], row
            assert row["missed"] in (0, None)
            assert row["per_state_us"] > 0
            assert row["grid_digest"] == case14.digest


def truth_of_any(problem: Problem) -> Complexes:
    algorithm = Gridrl().algorithms(problem)[0].name
    prepared = Gridrl().prepare(problem, algorithm)
    prepared.run()
    assert prepared.voltages is not None
    return np.array(prepared.voltages())


def test_a_wrong_result_is_found_and_gets_no_ratio(outages: Problem) -> None:
    wrong = truth(outages)
    wrong[3, 5] *= 1.0001
    rows = race(outages, [Gridrl(), Right(truth(outages)), Planted(wrong)], **FAST)
    row = row_of(rows, "planted")
    assert row["equal"] is False
    assert row["max_dv_pu"] == pytest.approx(1e-4, rel=0.1)
    assert math.isnan(row["ratio"])
    assert all(r["equal"] for r in rows if r is not row)


class Right(Planted):
    name = "a peer that is right"


def test_states_that_are_not_solved_are_counted(outages: Problem) -> None:
    some = truth(outages)
    some[2] = np.nan
    row = row_of(race(outages, [Gridrl(), Right(truth(outages)), Planted(some)], **FAST), "planted")
    assert (row["missed"], row["solved"], row["equal"]) == (1, outages.states - 1, False)


def test_no_result_at_all_is_not_equal(outages: Problem) -> None:
    nothing = np.full_like(truth(outages), np.nan)
    rows = race(outages, [Gridrl(), Right(truth(outages)), Planted(nothing)], **FAST)
    assert row_of(rows, "planted")["equal"] is False


def test_a_turned_angle_reference_is_no_difference(outages: Problem) -> None:
    turned = truth(outages) * np.exp(0.5j)
    row = row_of(race(outages, [Gridrl(), Planted(turned)], **FAST), "planted")
    assert row["equal"] is True


@pytest.mark.parametrize(
    ("error", "status"),
    (
        (ImportError("no module named planted"), "not installed"),
        (Refused("it knows no transformers"), "refused"),
        (ZeroDivisionError("division by zero"), "failed"),
    ),
)
def test_whoever_cannot_take_part_has_a_row(
    outages: Problem, error: Exception, status: str
) -> None:
    row = row_of(race(outages, [Gridrl(), Planted(error=error)], **FAST), "planted")
    assert row["status"] == status
    assert str(error) in row["note"]
    assert row["equal"] is False


def test_what_brought_the_process_down_is_not_run_again(outages: Problem) -> None:
    barred = frozenset({("planted", "says")})
    rows = race(outages, [Gridrl(), Planted(truth(outages))], barred=barred, **FAST)
    assert row_of(rows, "planted")["status"] == "crashed"


def crashing(
    monkeypatch: pytest.MonkeyPatch, *answers: tuple[list[Row], tuple[str, str, str], int, str]
) -> list[powerflow.Job]:
    """Let children answer so; returns the jobs that they are given."""
    calls: list[powerflow.Job] = []

    def child(job: powerflow.Job, report: Any) -> tuple[list[Row], tuple[str, str, str], int, str]:
        calls.append(job)
        return answers[len(calls) - 1]

    monkeypatch.setattr(powerflow, "_child", child)
    return calls


def test_a_crash_costs_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    single, n1 = ({"case": "case14", "task": task} for task in ("single", "n1"))
    calls = crashing(
        monkeypatch,
        ([single], ("n1", "planted", "says"), -11, "Segmentation fault"),
        ([n1], ("n1", "planted", "says"), 0, ""),
    )
    (job,) = powerflow.jobs(["case14"], ["single", "n1"], quick=True)
    said: list[str] = []
    assert powerflow.run([job], said.append) == [single, n1]
    assert calls[1].tasks == ("n1",)  # what is done stays done
    assert calls[1].barred == (("planted", "says"),)
    assert "code -11" in said[0]


def test_our_own_crash_is_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = {"case": "case14", "task": "sweep"}
    calls = crashing(
        monkeypatch,
        ([], ("n1", "gridrl", "nearby"), -9, "Killed"),
        ([sweep], ("sweep", "gridrl", "engine"), 0, ""),
    )
    (job,) = powerflow.jobs(["case14"], ["n1", "sweep"], quick=True)
    crashed, after = powerflow.run([job])
    assert (crashed["status"], crashed["contender"], crashed["task"]) == ("crashed", "gridrl", "n1")
    assert tuple(crashed)[: len(FIXED)] == FIXED
    assert after is sweep
    assert calls[1].tasks == ("sweep",)


def test_a_child_that_ends_early_is_a_crash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever code it ends with: a result must not lose rows without a word."""
    fake = tmp_path / "python"
    event = {"task": "n1", "contender": "planted", "algorithm": "says", "what": "runs"}
    fake.write_text(f"#!/bin/sh\necho '{json.dumps(event)}'\nexit 0\n", encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setattr(powerflow.sys, "executable", str(fake))
    (job,) = powerflow.jobs(["case14"], ["n1"], quick=True)
    rows, last, code, _ = powerflow._child(job, lambda _: None)
    assert (rows, last, code) == ([], ("n1", "planted", "says"), powerflow.ENDED_EARLY)


# --- the other programs -----------------------------------------------------------------------
def test_every_adapter_names_its_program() -> None:
    names = peer_names()
    assert {"lightsim2grid", "pandapower", "power_grid_model", "powsybl"} <= set(names)
    for name in names:
        assert load_peer(name).name == name


@pytest.mark.peers
# pandapower's import of a part of lightsim2grid that is going to move
@pytest.mark.filterwarnings("ignore:lightsim2grid.gridmodel is deprecated:DeprecationWarning")
@pytest.mark.parametrize("task", ("single", "n1", "sweep", "topology"))
def test_other_programs_find_the_same(case14: Case, task: str) -> None:
    pytest.importorskip("lightsim2grid")
    make: dict[str, Callable[[], Problem]] = {
        "single": lambda: sweep_problem("case14", "single", case14, rng(), 2),
        "n1": lambda: n1_problem("case14", case14, rng()),
        "sweep": lambda: sweep_problem("case14", "sweep", case14, rng(), 8),
        "topology": lambda: topology_problem("case14", case14, rng(), 8, 3),
    }
    peers = [load_peer(name) for name in ("lightsim2grid", "pandapower")]
    rows = race(make[task](), [Gridrl(), *peers], **FAST)
    assert {row["contender"] for row in rows} >= {"gridrl", "lightsim2grid"}
    for row in rows:
        assert row["equal"] or row["model"] == "N-1 of the same grid", row["note"]


# --- what is written --------------------------------------------------------------------------
def test_the_document_says_what_ran_where(outages: Problem, tmp_path: Path) -> None:
    rows = race(outages, [Gridrl(), Planted(truth(outages))], **FAST)
    rows = [{k: None if v != v else v for k, v in row.items()} for row in rows]
    made = document("powerflow", rows, seed=7)
    assert {"suite", "created", "machine", "versions", "threads", "commit", "seed"} <= set(made)
    write(tmp_path / "powerflow.json", made)
    assert json.loads((tmp_path / "powerflow.json").read_text(encoding="utf-8")) == made
    assert "| case14 |" in tables(made)
    assert "| case14 |" in summary(made)


def test_only_what_was_made_alike_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "powerflow.json"
    now = document("powerflow", [], seed=7) | {"commit": "0123456789ab"}
    rows = [{"case": "case14", "task": "n1"}]
    assert rows_to_keep(path, now) == []
    write(path, now | {"rows": rows})
    assert rows_to_keep(path, now) == rows
    for other in ({"seed": 8}, {"commit": "ba9876543210"}, {"versions": {}}, {"machine": {}}):
        write(path, now | {"rows": rows} | other)
        assert rows_to_keep(path, now) == []
    dirty = now | {"commit": "0123456789ab-modified"}
    write(path, dirty | {"rows": rows})
    assert rows_to_keep(path, dirty) == []
    path.write_text("{", encoding="utf-8")
    assert rows_to_keep(path, now) == []


def test_a_page_is_renewed_between_its_marks_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- begin: gridrl bench x -->\nold\n<!-- end: gridrl bench x -->\nafter\n",
        encoding="utf-8",
    )
    assert insert(page, "x", "new")
    assert not insert(page, "x", "new")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "\nnew\n" in text
    assert "old" not in text
    with pytest.raises(CaseError, match="no place for the table"):
        insert(page, "y", "new")


@pytest.mark.slow
def test_the_command_prints_rows(cli: Callable[..., Ran], tmp_path: Path) -> None:
    ran = cli(
        "bench", "powerflow", "--case", "case14", "--task", "n1", "--contender", "lightsim2grid",
        "--quick", "--json", "--out", tmp_path,
    )  # fmt: skip
    assert ran.code == 0
    rows = ran.document["rows"]
    assert {row["contender"] for row in rows} == {"gridrl", "lightsim2grid"}
    assert all(row["equal"] for row in rows)
    assert (tmp_path / "powerflow.json").is_file()
    assert (tmp_path / "powerflow.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    (
        (("nothing",), "No suite 'nothing'"),
        (("powerflow", "--task", "nothing"), "No task nothing. There are: single"),
        (("powerflow", "--contender", "nothing"), "No contender nothing"),
    ),
)
def test_wrong_use_is_one_sentence(
    cli: Callable[..., Ran], arguments: tuple[str, ...], says: str
) -> None:
    ran = cli("bench", *arguments)
    assert ran.code == 2
    assert says in ran.err


def test_an_installed_copy_says_that_it_needs_the_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(contenders, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CaseError, match="part of the repository"):
        contenders.checkout()


def test_the_command_offers_the_tasks_there_are() -> None:
    from gridrl.cli.bench import TASKS

    assert TASKS == powerflow.TASKS


def test_safe_outages_leave_out_what_is_open(case14: Case) -> None:
    first = int(safe_outages(case14)[0])
    closed = case14.topology.closed.copy()
    closed[0, first] = False
    opened = replace(case14, topology=replace(case14.topology, closed=closed))
    assert first not in safe_outages(opened)
