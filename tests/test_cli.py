"""The command line as a user meets it: tables, JSON, files, and one sentence for wrong use."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gridrl
from gridrl.case import Case
from gridrl.rows import csv_cell, plain, write_rows

Cli = Callable[..., Any]


# --- load -------------------------------------------------------------------------------------
def test_load_counts_what_is_there(cli: Cli) -> None:
    ran = cli("load", "case118", "--json")
    assert ran.code == 0
    assert ran.err == ""
    found = ran.document
    # The IEEE 118-bus system as published: 186 branches, 54 machines, 99 loads.
    assert (found["buses"], found["branches"]) == (118, 186)
    elements = found["elements"]
    assert elements["gen"] + elements["ext_grid"] == 54
    assert elements["load"] == 99
    assert [level["vn_kv"] for level in found["voltage_levels"]] == [345.0, 161.0, 138.0]
    assert sum(level["buses"] for level in found["voltage_levels"]) == 118


def test_load_prints_the_loss_report(cli: Cli) -> None:
    ran = cli("load", "example_multivoltage")
    assert ran.code == 0
    assert "Voltage levels" in ran.out
    assert "trafo3w" in ran.out


# --- flow -------------------------------------------------------------------------------------
FLOW_COLUMNS = {
    "buses": {"id", "vm_pu", "va_degree"},
    "branches": {
        *("id", "kind", "p_from_mw", "q_from_mvar", "p_to_mw", "q_to_mvar", "loading_percent"),
    },
}


def test_flow_json_holds_the_promised_columns_and_the_right_numbers(cli: Cli) -> None:
    import pandapower as pp
    import pandapower.networks

    found = cli("flow", "case14", "--json").document
    for table, columns in FLOW_COLUMNS.items():
        assert all(columns <= row.keys() for row in found[table])
    net = pandapower.networks.case14()
    pp.runpp(net, tolerance_mva=1e-9, numba=False)
    vm = {row["id"]: row["vm_pu"] for row in found["buses"]}
    # Both programs stop at 1e-9 MVA or better.
    np.testing.assert_allclose(
        [vm[str(k)] for k in net.bus.index], net.res_bus.vm_pu, rtol=0, atol=1e-10
    )
    p = {row["id"]: row["p_from_mw"] for row in found["branches"] if row["kind"] == "line"}
    np.testing.assert_allclose(
        [p[str(k)] for k in net.line.index], net.res_line.p_from_mw, rtol=0, atol=1e-7
    )


def test_flow_shows_the_most_loaded_branch_first(cli: Cli, case39: Case) -> None:
    ran = cli("flow", "case39", "--top", "3")
    assert ran.code == 0
    loading = 100 * gridrl.flow(case39).loading(0)
    assert f"{np.nanmax(loading):.1f} %" in ran.out.splitlines()[1]
    rows = [line for line in ran.out.splitlines() if "line:" in line or "trafo:" in line]
    assert len(rows) == 1 + 3  # the verdict, and the table


def test_an_outage_and_a_load_level_change_the_flow(cli: Cli) -> None:
    base = cli("flow", "case39", "--json").document
    edited = cli("flow", "case39", "--open", "line:3", "--scale-load", "1.05", "--json").document
    assert base["digest"] != edited["digest"]
    opened = [row for row in edited["branches"] if (row["kind"], row["id"]) == ("line", "3")]
    assert not opened[0]["in_service"]
    assert edited["summary"]["load_mw"] == pytest.approx(1.05 * base["summary"]["load_mw"])


def test_a_collapsed_grid_is_said_to_be_one(cli: Cli) -> None:
    ran = cli("flow", "case39", "--scale-load", "20")
    assert ran.code == 1
    assert "no power flow found" in ran.err
    assert "Traceback" not in ran.err
    found = cli("flow", "case39", "--scale-load", "20", "--json")
    assert found.code == 1
    assert found.document["status"] == "diverged"
    assert found.document["branches"] == []


def test_lost_load_is_told(cli: Cli) -> None:
    # Bus 117 of the IEEE 118-bus system draws 20 MW and hangs on the line 12-117 alone.
    ran = cli("flow", "case118", "--open", "line:170")
    assert ran.code == 0
    assert "20.0 MW of load have no supply" in ran.out
    found = cli("flow", "case118", "--open", "line:170", "--json").document
    assert found["status"] == "islanded"
    assert found["summary"]["lost_load_mw"] == pytest.approx(20.0)
    dead = [row for row in found["buses"] if row["vm_pu"] is None]
    assert [row["name"] for row in dead] == ["117"]


def test_a_picture_is_drawn(cli: Cli, tmp_path: Path) -> None:
    ran = cli("flow", "case14", "--plot", tmp_path / "grid.png")
    assert ran.code == 0
    assert (tmp_path / "grid.png").stat().st_size > 10_000


# --- security ---------------------------------------------------------------------------------
def test_security_json_holds_every_outage_worst_first(cli: Cli, case39: Case) -> None:
    ran = cli("security", "case39", "--json")
    assert ran.code == 0
    found = ran.document
    result = gridrl.security(case39)
    assert found["outages"] == len(result.contingencies) == len(found["contingencies"])
    assert found["insecure"] == result.insecure().sum() > 0
    assert {row["contingency"] for row in found["contingencies"]} == set(result.contingencies.name)
    loading = [
        row["worst_loading_percent"]
        for row in found["contingencies"]
        if row["status"] == "ok" and row["overloads"]
    ]
    assert loading == sorted(loading, reverse=True)
    assert f"{loading[0]:.0f} %" in found["verdict"]
    assert f"{found['insecure']} of {found['outages']} outages insecure" in found["verdict"]


def test_an_outage_does_in_the_sweep_what_it_does_alone(cli: Cli) -> None:
    rows = cli("security", "case39", "--json").document["contingencies"]
    worst = next(row for row in rows if row["kind"] == "line" and row["overloads"])
    alone = cli("flow", "case39", "--open", worst["contingency"], "--json").document["summary"]
    # Both stop at 1e-8 p.u. of mismatch; loadings are of order 100 %.
    assert alone["worst_loading_percent"] == pytest.approx(worst["worst_loading_percent"], abs=1e-4)
    assert alone["worst_branch"] == worst["worst_branch"]
    assert alone["overloads"] == worst["overloads"]


def test_security_prints_a_verdict_and_a_table(cli: Cli) -> None:
    ran = cli("security", "case39", "--top", "4")
    assert ran.code == 0
    assert ran.out.startswith("case39, N-1: ")
    assert "The 4 worst outages" in ran.out
    assert "N-1: 55 of 55" in ran.err  # progress, on the side


def test_a_limit_that_is_broken_before_is_told_apart(cli: Cli) -> None:
    # The machine at bus 36 of case39 holds 1.0636 p.u.; the limit there is 1.06.
    ran = cli("security", "case39")
    assert "Before any outage: 0 overloads, 1 voltages outside their limits" in ran.out


@pytest.mark.parametrize("suffix", (".csv", ".json", ".parquet"))
def test_every_row_lands_in_the_file(cli: Cli, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    ran = cli("security", "case14", "--top", "1", "--out", path)
    assert ran.code == 0
    assert str(path) in ran.err
    want = len(gridrl.security(gridrl.load("case14")).contingencies)
    if suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == want
    elif suffix == ".json":
        assert len(json.loads(path.read_text(encoding="utf-8"))["contingencies"]) == want
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        assert parquet.read_table(path).num_rows == want


def test_two_threads_find_the_same(cli: Cli) -> None:
    one = cli("security", "case118", "--json", "--threads", "1").document
    two = cli("security", "case118", "--json", "--threads", "2").document
    assert one == two


def test_a_script_can_fail_on_a_violation(cli: Cli) -> None:
    assert cli("security", "case39", "--fail-on-violation").code == 1
    assert cli("security", "case39").code == 0


def test_a_list_of_outages_is_read(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "outages.csv"
    path.write_text("corridor, line:26, line:27\nlonely, line:3\n", encoding="utf-8")
    found = cli("security", "case39", "--contingencies", path, "--json").document
    assert {row["contingency"] for row in found["contingencies"]} == {"corridor", "lonely"}
    assert found["verdict"].startswith("outages.csv: ")
    path.write_text("corridor, line:26, line:99\n", encoding="utf-8")
    ran = cli("security", "case39", "--contingencies", path)
    assert ran.code == 2
    assert "line 1" in ran.err
    assert "line:99" in ran.err


def test_a_grid_without_a_power_flow_is_not_studied(cli: Cli) -> None:
    ran = cli("security", "case39", "--scale-load", "20")
    assert ran.code == 1
    assert "no power flow found" in ran.err
    assert ran.out == ""


# --- wrong use --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "said"),
    (
        (("flow", "case999"), "case"),
        (("flow", "no/such/file.m"), "no/such/file.m"),
        (("load", "README.md"), "README.md"),
        (("flow", "case14", "--open", "line:99"), "line:99"),
        (("flow", "case14", "--scale-load", "-1"), "cannot be scaled by -1"),
        (("flow", "case14", "--scale-load", "nan"), "cannot be scaled by nan"),
        (("flow", "case14", "--plot", "grid.bmp"), ".bmp"),
        (("flow", "case14", "--plot", "no/such/folder/grid.png"), "no/such/folder"),
        (("security", "case14", "--out", "rows.xls"), ".xls"),
        (("security", "case14", "--out", "no/such/folder/rows.csv"), "no/such/folder"),
        (("security", "case14", "--contingencies", "no/such/list.csv"), "no/such/list.csv"),
        (("security", "case14", "--open", "nothing"), "nothing"),
    ),
)
def test_wrong_use_is_answered_in_one_sentence(
    cli: Cli, arguments: tuple[str, ...], said: str
) -> None:
    ran = cli(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert said in ran.err
    assert ran.err.startswith("gridrl: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err


def test_a_file_that_cannot_be_read_as_a_grid_is_refused(cli: Cli, tmp_path: Path) -> None:
    for name, content in (("a.m", b"hello"), ("a.json", b"{"), ("a.raw", b"\x00\xff" * 50)):
        path = tmp_path / name
        path.write_bytes(content)
        ran = cli("flow", path)
        assert ran.code == 2, (name, ran.err)
        assert ran.err.startswith("gridrl: ")
        assert "Traceback" not in ran.err


def test_refusing_leaves_no_file_behind(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    assert cli("security", "case999", "--out", out).code == 2
    assert not out.exists()


# --- numbers as text, files -------------------------------------------------------------------
def test_what_is_no_number_becomes_null() -> None:
    document = {"a": np.nan, "b": np.inf, "c": [np.float64("nan"), np.int8(3)], "d": np.bool_(True)}
    assert plain(document) == {"a": None, "b": None, "c": [None, 3], "d": True}
    assert json.dumps(plain(document), allow_nan=False)


@pytest.mark.parametrize("text", ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"))
def test_a_name_cannot_become_a_formula(text: str) -> None:
    assert csv_cell(text) == "'" + text
    assert csv_cell(-1.5) == -1.5
    assert csv_cell("line:1") == "line:1"


def test_tables_survive_every_file_format(tmp_path: Path) -> None:
    rows = [{"name": "=cmd", "x": 1.5, "ok": True}, {"name": "b", "x": np.nan, "ok": False}]
    document = {"rows": rows}
    for suffix in (".csv", ".json", ".parquet"):
        write_rows(tmp_path / f"rows{suffix}", rows, document)
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {"name": "'=cmd", "x": "1.5", "ok": "True"},
            {"name": "b", "x": "", "ok": "False"},
        ]
    read = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert read["rows"][1]["x"] is None
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "rows.parquet").to_pydict()
    assert table == {"name": ["=cmd", "b"], "x": [1.5, None], "ok": [True, False]}


# --- doctor -----------------------------------------------------------------------------------
def test_the_doctor_finds_the_four_packages_ours(cli: Cli) -> None:
    ran = cli("doctor", "--json")
    assert ran.code == 0, ran.out
    findings = {finding["topic"]: finding for finding in ran.document["findings"]}
    for package in ("gridrl", "marl", "irl", "scenarios"):
        assert findings[f"package {package}"]["value"] == "from gridrl"
    assert "cores" in findings["cpu"]["value"]


def test_the_doctor_names_a_package_that_somebody_else_owns(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gridrl import doctor

    owners = {"gridrl": ["gridrl"], "marl": ["marl-lib", "gridrl"], "irl": ["gridrl"]}
    monkeypatch.setattr(doctor, "packages_distributions", lambda: owners)
    ran = cli("doctor")
    assert ran.code == 1
    assert "package marl: from gridrl, marl-lib" in ran.out
    assert "package scenarios: from no distribution" in ran.out


def test_an_unwriteable_cache_is_said_to_be_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from gridrl import jit

    monkeypatch.setattr(jit, "cache_folder", lambda: None)
    ran = cli("doctor")
    assert ran.code == 1
    assert "NUMBA_CACHE_DIR" in ran.out


# --- strangers' names -------------------------------------------------------------------------
def test_a_terminal_obeys_no_name_of_a_file(cli: Cli, tmp_path: Path) -> None:
    text = Path("tests/cases/features.raw").read_text().replace("TOWN  ", "T\x1b[2JN")
    path = tmp_path / "mine.raw"
    path.write_text(text)
    ran = cli("flow", path)
    assert ran.code == 0
    assert "T\N{REPLACEMENT CHARACTER}[2JN" in ran.out
    assert "\x1b" not in ran.out
    wrong = cli("flow", path, "--open", "T\x1b[2J\nN")
    assert wrong.code == 2
    assert "\x1b" not in wrong.err
    assert wrong.err.count("\n") == 1
