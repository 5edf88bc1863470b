"""``gridrl whatif`` as a user meets it."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

STUDY = """\
name = "evening"
case = "case39"
[[variant]]
name = "tie out"
edits = [{open = "line:26"}]
"""


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "studies.sqlite"
    monkeypatch.setenv("GRIDRL_STORE", str(path))
    return path


def written(tmp_path: Path, text: str = STUDY) -> Path:
    path = tmp_path / "evening.toml"
    path.write_text(text)
    return path


def test_a_study_is_run_kept_listed_shown_and_deleted(cli: Cli, tmp_path: Path) -> None:
    ran = cli("whatif", "run", written(tmp_path), "--no-recommend")
    assert ran.code == 0
    assert "evening: 1 variant of case39" in ran.out
    assert "Study 1 is kept in" in ran.err
    assert "100 %" in ran.err  # progress
    listed = cli("whatif", "list")
    assert "evening" in listed.out
    rows = cli("whatif", "list", "--json").document["studies"]
    assert [(row["id"], row["variants"], row["finished"]) for row in rows] == [(1, 2, 2)]
    shown = cli("whatif", "show", "1")
    assert shown.out == ran.out
    one = cli("whatif", "show", "1", "--variant", "tie out", "--top", "3")
    assert "1 elements switched differently" in one.out
    assert "157.5" in one.out
    same = cli("whatif", "rerun", "1")
    assert same.code == 0
    assert "all 2 variants were solved again with the same result" in same.out
    assert cli("whatif", "delete", "1", "--yes").code == 0
    assert "No study in" in cli("whatif", "list").out


def test_variants_are_compared_with_each_other(cli: Cli, tmp_path: Path) -> None:
    cli("whatif", "run", written(tmp_path), "--no-recommend")
    found = cli("whatif", "show", "1", "--variant", "base", "--against", "tie out", "--json")
    (row,) = found.document["variants"]
    assert (row["variant"], row["topology_depth"]) == ("base", 1)
    assert row["branches"][26]["p_from_mw_before"] == 0.0
    assert "Did you mean tie out" in cli("whatif", "show", "1", "--against", "tie ou").err


def test_a_case_that_changed_since_is_noticed(cli: Cli, tmp_path: Path) -> None:
    case = tmp_path / "mine.m"
    text = Path("tests/cases/features.m").read_text()
    case.write_text(text)
    path = written(tmp_path, f'case = "{case}"\n')
    assert cli("whatif", "run", path, "--no-recommend").code == 0
    assert "has changed" not in cli("whatif", "rerun", "1").err
    case.write_text(text.replace("baseMVA = 50", "baseMVA = 60"))
    changed = cli("whatif", "rerun", "1")
    assert "mine.m has changed since study 1 was made" in changed.err
    assert "same result" in changed.out
    case.unlink()
    assert cli("whatif", "rerun", "1").code == 0


def test_flags_make_one_variant(cli: Cli) -> None:
    found = cli(
        *("whatif", "run", "case39", "--open", "line:26", "--outage", "gen:5", "--scale-load"),
        *("1.02", "--edit", 'redispatch = "gen:3", p_mw = 500', "--json", "--no-recommend"),
    ).document
    base, variant = found["variants"]
    assert base["edits"] == "nothing changed"
    assert variant["edits"] == (
        "scale load by 1.02; dispatch gen:3 to 500 MW; outage of gen:5; open line:26"
    )
    assert variant["edit_tables"][1] == {"redispatch": "gen:3", "p_mw": 500.0}
    assert len(variant["branches"]) == 46
    assert variant["n1_outages"] == len(variant["outages"])


def test_options_beat_the_study_file(cli: Cli, tmp_path: Path) -> None:
    found = cli(
        *("whatif", "run", written(tmp_path), "--no-n1", "--q-limits", "--name", "mine"),
        *("--no-keep", "--json", "--island-rule", "generator"),
    ).document
    assert found["study"] == "mine"
    assert found["settings"]["n1"] is False
    assert found["settings"]["flow"]["enforce_q_limits"] is True
    assert found["settings"]["flow"]["island_rule"] == "generator"
    assert found["variants"][0]["outages"] == []
    assert cli("whatif", "list", "--json").document["studies"] == []


def test_export_writes_what_the_suffix_says(cli: Cli, tmp_path: Path) -> None:
    cli("whatif", "run", written(tmp_path), "--no-recommend")
    report, table = tmp_path / "r.html", tmp_path / "r.csv"
    ran = cli("whatif", "export", "1", report, table, "--table", "outages")
    assert ran.code == 0
    assert "<!doctype html>" in report.read_text()
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {row["variant"] for row in rows} == {"base", "tie out"}
    assert len(rows) == 55 + 54
    bad = cli("whatif", "export", "1", tmp_path / "r.docx")
    assert bad.code == 2
    assert "is none of .html, .json, .csv, .parquet" in bad.err
    assert "Did you mean outages" in cli("whatif", "export", "1", table, "--table", "outage").err


def test_a_violation_can_fail_the_command(cli: Cli, tmp_path: Path) -> None:
    path = written(tmp_path)
    assert cli("whatif", "run", path, "--no-keep", "--fail-on-violation").code == 1
    assert cli("whatif", "run", path, "--no-keep").code == 0


def test_ctrl_c_says_what_is_kept(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gridrl.whatif.store import Store

    real = Store.add

    def interrupted(self: Store, number: int, result: Any, base: Any) -> None:
        if result.name == "tie out":
            raise KeyboardInterrupt
        real(self, number, result, base)

    monkeypatch.setattr(Store, "add", interrupted)
    ran = cli("whatif", "run", written(tmp_path), "--no-recommend")
    assert ran.code == 130
    assert (
        "Stopped. 1 of 2 variants are kept as study 1; `gridrl whatif rerun 1` goes on." in ran.err
    )
    monkeypatch.setattr(Store, "add", real)
    assert "1 variants are not finished" in cli("whatif", "show", "1").err
    assert cli("whatif", "rerun", "1").code == 0
    assert cli("whatif", "list", "--json").document["studies"][0]["finished"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    (
        (("run", "case39", "--open", "line:99"), "--open line:99: No element 'line:99' in case39"),
        (("run", "case39", "--edit", "redispatch = gen"), "--edit 'redispatch = gen': "),
        (("run", "case39", "--edit", "a = 1\nb = 2"), "Write it as in a study file"),
        (("run", "case39", "--edit", "}"), "an edit is a table like"),
        (("run", "case39", "--scale-load", "nan"), "--scale-load: 'scale_load' is nan"),
        (("run", "case39", "--report", "x.docx"), "--report x.docx: the file's ending chooses"),
        (("run", "nothing.toml"), "Cannot read study file nothing.toml"),
        (("run", "caze39"), "'caze39' is neither a file nor a name"),
        (("run", "x" * 5000), "cannot be read: File name too long"),
        (("run", "x" * 5000 + ".toml"), "File name too long"),
        (("run", "case39", "--report", "x" * 5000 + ".html"), "File name too long"),
        (("list", "--store", "x" * 5000), "File name too long"),
        (("show", "1"), "There is no store of studies at"),
        (("rerun", "1"), "There is no store of studies at"),
        (("delete", "1", "--yes"), "There is no store of studies at"),
        (("export", "1", "x.html"), "There is no store of studies at"),
        (("list", "--store", "/proc/none/x"), "cannot be made"),
    ),
)
def test_wrong_use_is_one_sentence(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    ran = cli("whatif", *arguments)
    assert ran.code == 2
    assert words in ran.err
    assert ran.err.startswith("gridrl: ")
    assert ran.err.count("\n") == 1
    assert ran.out == ""


def test_edits_by_options_do_not_go_with_a_study_file(cli: Cli, tmp_path: Path) -> None:
    ran = cli("whatif", "run", written(tmp_path), "--open", "line:3")
    assert ran.code == 2
    assert "edits by options belong to a case; evening.toml is a study file" in ran.err
    assert cli("whatif", "list", "--json").document["studies"] == []


def test_the_example_is_what_its_page_says(cli: Cli, tmp_path: Path) -> None:
    ran = cli("whatif", "run", "examples/evening_peak.toml", "--json", "--no-recommend")
    rows = {row["variant"]: row for row in ran.document["variants"]}
    assert rows["base"]["overloads"] == 0
    trip = rows["gen 25 out"]
    assert (trip["overloads"], trip["worst_branch"]) == (1, "trafo:63")
    assert rows["gen 25 out, 19 up"]["overloads"] == 0
    assert len(rows) == 8
    assert not any(row["lost_load_mw"] for name, row in rows.items() if name != "line 43 open")


def test_reading_a_store_that_is_not_there_makes_none(cli: Cli, tmp_path: Path) -> None:
    where = tmp_path / "other.sqlite"
    for asked in (("show", 1), ("rerun", 1), ("delete", 1, "--yes")):
        ran = cli("whatif", *asked, "--store", where)
        assert ran.code == 2
        assert "There is no store of studies at" in ran.err
        assert not where.exists()
