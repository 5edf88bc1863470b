"""The report: it loads nothing, runs nothing, and holds the right numbers, whatever the names."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gridrl
from gridrl.case import Case
from gridrl.grid import Grid
from gridrl.whatif import Study, StudyResult, StudySettings
from gridrl.whatif.report import render, write_report
from gridrl.whatif.report_map import LOOKS, canvas_of, looks, svg
from gridrl.whatif.tables import comparison_rows

QUIET = StudySettings(recommend=False)
ATTACK = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
VOID = {"meta", "link", "br", "hr", "img", "input"}
ADVICE = {
    "verdict": ATTACK,
    "before": {"worst_loading_percent": 156.2, "overloads": [{"element": "x"}], "n1_insecure": 35},
    "tried": {"candidates": 178, "ac_solves": 60, "exhaustive_ac_solves": 3560},
    "recommendations": [
        {
            "rank": 1, "kind": "line", "action": ATTACK, "steps": 1, "cost": None, "cost_unit": "",
            "verified": True, "explanation": ATTACK, "unsolved": [ATTACK],
            "after": {"worst_loading_percent": 88.8, "overloads": [], "n1_insecure": 3},
            "proof": {"n0_status": "ok", "n1_outages": 54, "n1_insecure": 3, "n1_diverged": 0,
                      "worst": [{"outage": ATTACK, "branch": ATTACK, "loading_percent": 111.1}]},
            "why": [{"element": ATTACK, "before_mw": 1.5, "after_mw": -2.5,
                     "before_percent": 9.0, "after_percent": None}],
        },
        {"rank": 2, "kind": "nothing", "action": "Do nothing", "verified": False},
    ],
}  # fmt: skip


class Page(HTMLParser):
    """Every element and attribute of a page, and whether its tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def parsed(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314 - our own


def solved(case: Case, name: str = "evening") -> StudyResult:
    study = Study(case=case, name=name, settings=QUIET)
    study = study.adding("tie <out>", {"open": "line:26"}, {"rating": "line:5", "percent": 80})
    study = study.adding("split", {"split": "15", "busbar2": ["line:21", "line:22"]})
    study = study.adding("dark", {"outage": "ext_grid:0"})
    return study.adding("cut", {"open": "line:21"}).run()


@pytest.fixture(scope="module")
def result() -> StudyResult:
    return solved(gridrl.load("case39"))


def renamed(grid: Grid) -> Grid:
    """The grid with an attack in every place where a file may put text."""
    return replace(
        grid,
        name=ATTACK,
        bus_name=(ATTACK,) * grid.n_bus,
        substation_name=(ATTACK,) * grid.n_substation,
        element_name=(ATTACK,) * grid.n_element,
        bus_area=(ATTACK,) * grid.n_bus,
    )


def test_it_asks_for_nothing_and_runs_nothing(result: StudyResult) -> None:
    page = Page(render(result))
    assert not {"script", "link", "iframe", "img", "object", "embed", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"{tag} {name}"
        assert name not in ("src", "action", "srcset", "style"), f"{tag} {name}={value}"
        assert name != "href" or value.startswith("#v"), f"{tag} {name}={value}"
        assert "//" not in value, f"{tag} {name}={value}"
    policy = [v for t, n, v in page.attributes if (t, n) == ("meta", "content") and "src" in v]
    assert policy[0].startswith("default-src 'none'")
    assert "url(" not in render(result)
    assert "@import" not in render(result)


def test_names_stay_text(result: StudyResult) -> None:
    case = result.base.case
    named = replace(case, grid=renamed(case.grid), source=ATTACK, origin=ATTACK, notes=(ATTACK,))
    hostile = solved(named, name=ATTACK)
    first = replace(
        hostile.variants[0],
        advice=ADVICE,
        variant=replace(hostile.variants[0].variant, name=ATTACK),
    )
    hostile = replace(hostile, variants=(first, *hostile.variants[1:]))
    text = render(hostile)
    page = Page(text)
    assert not {"script", "img"} & set(page.tags)
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert "{{7*7}}" in text, "a template in a name is text too"
    assert "<script" not in text


def test_its_numbers_are_those_of_the_tables(result: StudyResult) -> None:
    text = render(result)
    for row in comparison_rows(result):
        if row["status"] == "ok":
            assert f"{row['worst_loading_percent']:.1f}" in text
            assert f"{row['n1_insecure']} of {row['n1_outages']}" in text
    assert "tie &lt;out&gt;" in text
    assert "No power flow: dark." in text
    assert "Load without supply: dark, cut." in text
    assert result.base.case.digest in text


def test_a_recommendation_comes_with_its_proof(result: StudyResult) -> None:
    advised = replace(result, variants=(replace(result.variants[0], advice=ADVICE),))
    text = re.sub(r"\s+", " ", render(advised))
    assert "Checked by AC power flow" in text
    assert "3 of 54 outages not secure" in text
    assert "156.2" in text
    assert "88.8" in text
    assert "Not checked" in text
    assert "178 candidates, 60 AC power flows; trying everything would take 3,560" in text


def test_the_map_shows_every_branch_in_its_class(result: StudyResult) -> None:
    canvas = canvas_of(result.base.case.grid)
    for variant in result:
        look, loading = looks(variant)
        root = parsed(svg(canvas, variant))
        drawn = [
            p.get("class")
            for p in root.iter("path")
            if not (p.get("class") or "").startswith("bus")
        ]
        assert sorted(drawn) == sorted(LOOKS[k].css for k in look)  # type: ignore[type-var]
        live = np.isfinite(loading) & (look < 4)
        assert ((loading[live] > 100) == (look[live] == 3)).all()
    tie = result["tie <out>"]
    look, loading = looks(tie)
    assert LOOKS[look[26]].text == "out of service"
    titles = [t.text or "" for t in parsed(svg(canvas, tie)).iter("title")]
    worst = int(np.nanargmax(loading))
    label = tie.case.grid.branch_label[worst]
    assert any(t.startswith(f"{label}: ") and f"{loading[worst]:.1f} %" in t for t in titles)
    numbers = [t.text for t in parsed(svg(canvas, tie)).iter("text")]
    assert f"{loading[worst]:.0f} %" in numbers


def test_split_dark_and_limited_buses_are_told_apart(result: StudyResult) -> None:
    canvas = canvas_of(result.base.case.grid)

    def classes(name: str) -> list[str]:
        root = parsed(svg(canvas, result[name]))
        return [
            e.get("class") or "" for e in root.iter() if (e.get("class") or "").startswith("bus")
        ]

    assert classes("split").count("bus split") == 1
    assert sum("dark" in c for c in classes("dark")) == 39
    assert classes("base").count("bus limit") == 1


def test_large_grids_are_drawn_in_few_elements() -> None:
    case = gridrl.load("case2848rte")
    settings = StudySettings(recommend=False, n1=False)
    result = Study(case=case, settings=settings).run()
    picture = svg(canvas_of(case.grid), result.base)
    assert len(picture) < 1_000_000
    over = int((100 * np.nan_to_num(result.base.flow.loading()) > 100).sum())
    root = parsed(picture)
    assert sum(p.get("class") == "c3" for p in root.iter("path")) == over
    assert len(render(result)) < 2_000_000


def test_many_variants_keep_the_report_small(case14: Case) -> None:
    study = Study(case=case14, settings=QUIET)
    for k in range(60):
        study = study.adding(f"v{k}", {"scale_load": 0.7 + 0.01 * k})
    text = render(study.run())
    assert text.count("<h2 id=") == 40
    assert text.count('href="#v') == 40
    assert "21 milder variants have no section of their own" in text
    assert all(f">v{k}<" in text for k in range(60)), "the table has all of them"


def test_it_is_written_to_a_file(result: StudyResult, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, result)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    from gridrl.errors import StudyError

    with pytest.raises(StudyError, match="Cannot write"):
        write_report(tmp_path / "none" / "x.html", result)


@pytest.mark.parametrize("table", ("variants", "outages", "branches", "buses", "units"))
def test_tables_go_to_parquet_and_back(result: StudyResult, tmp_path: Path, table: str) -> None:
    import pyarrow.parquet

    from gridrl.whatif.export import table_rows, write

    path = tmp_path / "x.parquet"
    write(path, result, table)
    back: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    rows = table_rows(result, table)
    assert len(back) == len(rows)
    for got, want in zip(back, rows, strict=True):
        for key, value in want.items():
            if isinstance(value, float) and not np.isfinite(value):
                assert got[key] is None
            else:
                assert got[key] == value
