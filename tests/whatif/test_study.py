"""Studies: batches equal single solutions and pandapower, failed physics is a row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks
import pytest

import gridrl
from gridrl.case import Case
from gridrl.errors import StudyError
from gridrl.powerflow import FlowOptions
from gridrl.whatif import Study, StudySettings, Variant, parse_edit
from gridrl.whatif.results import BASE, topology_change
from gridrl.whatif.tables import change_rows, comparison_rows, outage_rows, violation_rows

QUIET = StudySettings(recommend=False, flow=FlowOptions())  # one thread: in order

EDITS: dict[str, list[dict[str, Any]]] = {
    "line": [{"open": "line:26"}],
    "load": [{"scale_load": 1.04}, {"redispatch": "gen:3", "p_mw": 500}],
    "tap": [{"tap": "trafo:3", "ratio_percent": 3}],
    "rating": [{"rating": "line:28", "percent": 60}],
    "split": [{"split": "15", "busbar2": ["line:21", "line:22"]}],
    "both": [{"split": "15", "busbar2": ["line:21", "line:22"]}, {"scale_load": 1.02}],
    "area": [{"scale_load": 0.9, "area": "2"}, {"outage": "gen:5"}],
}


@pytest.fixture(scope="module")
def study() -> Study:
    made = Study(case=gridrl.load("case39"), settings=QUIET)
    for name, edits in EDITS.items():
        made = made.adding(name, *edits)
    return made


@pytest.fixture(scope="module")
def result(study: Study) -> Any:
    return study.run()


@pytest.mark.parametrize("name", EDITS)
def test_a_variant_in_the_batch_is_what_it_is_alone(study: Study, result: Any, name: str) -> None:
    found = result[name]
    alone = gridrl.flow(found.case)
    n = study.case.grid.n_substation
    # Both stop at a mismatch of 1e-8 p.u.; Newton leaves them far below it.
    np.testing.assert_allclose(found.flow.v[0, :n], alone.v[0, :n], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.flow.s_from, alone.s_from, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.flow.s_to, alone.s_to, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.flow.loading(), alone.loading(), rtol=0, atol=1e-7)
    secured = gridrl.security(found.case)
    np.testing.assert_array_equal(found.n1.status, secured.status)
    np.testing.assert_array_equal(found.n1.overloads, secured.overloads)


@pytest.mark.parametrize("name", EDITS)
def test_the_batch_alone_is_right_without_outages(study: Study, result: Any, name: str) -> None:
    bare = replace(study, settings=replace(QUIET, n1=False)).run()[name]
    assert bare.n1 is None
    n = study.case.grid.n_substation
    np.testing.assert_allclose(bare.flow.v[0, :n], result[name].flow.v[0, :n], rtol=0, atol=1e-9)
    np.testing.assert_allclose(bare.flow.loading(), result[name].flow.loading(), atol=1e-7)


def test_a_branch_below_its_rating_is_no_violation(result: Any) -> None:
    loading = 100 * result["rating"].flow.loading()
    assert 90 < loading[28] < 100  # 56 % of a rating cut to 60 %
    assert [row["kind"] for row in violation_rows(result["rating"])] == ["voltage"]


def test_numbers_are_those_of_pandapower(result: Any) -> None:
    net = pandapower.networks.case39()
    net.line.loc[26, "in_service"] = False
    pp.runpp(net, tolerance_mva=1e-9, numba=False)
    rows = {row["id"]: row for row in change_rows(result.base, result["line"], "branches")
            if row["kind"] == "line"}  # fmt: skip
    for k, want in net.res_line.iterrows():
        row = rows[str(k)]
        for column in ("p_from_mw", "q_from_mvar", "p_to_mw", "q_to_mvar", "loading_percent"):
            assert row[f"{column}_after"] == pytest.approx(want[column], abs=1e-6)
    assert rows["26"]["in_service_after"] is False
    assert rows["26"]["in_service_before"] is True
    row = comparison_rows(result)[1]
    assert row["losses_mw"] == pytest.approx(
        float(net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum()), abs=1e-6
    )
    over = net.res_line.index[net.res_line.loading_percent > 100]
    found = [row for row in violation_rows(result["line"]) if row["kind"] == "current"]
    assert sorted(row["element"] for row in found) == sorted(f"line:{k}" for k in over)
    assert [row["value"] for row in found] == sorted((row["value"] for row in found), reverse=True)


def test_change_is_after_less_before(result: Any) -> None:
    for table, column in (("branches", "p_from_mw"), ("buses", "vm_pu"), ("units", "p_mw")):
        rows = change_rows(result.base, result["load"], table)
        for row in rows:
            assert row[f"{column}_change"] == pytest.approx(
                row[f"{column}_after"] - row[f"{column}_before"], nan_ok=True
            )
        assert any(abs(row[f"{column}_change"]) > 1e-6 for row in rows)


def test_a_split_bus_is_compared_busbar_by_busbar(result: Any) -> None:
    rows = change_rows(result.base, result["split"], "buses")
    two = [row for row in rows if row["id"] == "15"]
    assert [row["busbar"] for row in two] == [1, 2]
    assert two[0]["vm_pu_before"] == two[1]["vm_pu_before"]
    assert two[0]["vm_pu_after"] != two[1]["vm_pu_after"]
    assert len(rows) == 40
    back = change_rows(result["split"], result.base, "buses")
    assert [row["vm_pu_change"] for row in back] == pytest.approx(
        [-row["vm_pu_change"] for row in rows]
    )


def test_topology_depth_counts_substations_and_elements(study: Study, result: Any) -> None:
    depth = {row["variant"]: row["topology_depth"] for row in comparison_rows(result)}
    assert depth == {
        BASE: 0, "line": 1, "load": 0, "tap": 0, "rating": 0, "split": 1, "both": 1, "area": 1,
    }  # fmt: skip


def test_swapping_the_names_of_busbars_is_no_change(study: Study) -> None:
    case = study.case_of(study.variants[4])
    here = case.grid.terminal_substation == 15
    busbar = case.topology.busbar.copy()
    busbar[0, here] = 3 - busbar[0, here]
    swapped = replace(case, topology=replace(case.topology, busbar=busbar))
    assert topology_change(case, swapped).depth == 0
    assert topology_change(study.case, swapped).busbars == ("15 (16)",)


def test_what_collapses_is_a_row(case14: Case) -> None:
    study = Study(case=case14, settings=QUIET)
    study = study.adding("dark", {"outage": "ext_grid:0"})
    study = study.adding("collapse", {"scale_load": 9})
    result = study.adding("fine", {"scale_load": 1.01}).run()
    rows = {row["variant"]: row for row in result.comparison()}
    assert [row["status"] for row in rows.values()] == ["ok", "blackout", "diverged", "ok"]
    assert rows["dark"]["lost_load_mw"] == pytest.approx(259.0)
    for name in ("dark", "collapse"):
        assert rows[name]["n1_outages"] is None
        assert np.isnan(rows[name]["worst_loading_percent"])
        assert violation_rows(result[name]) == []
        assert outage_rows(result[name]) == []


def test_lost_load_is_a_violation(case39: Case) -> None:
    # The generator's step-up line carries a load as well: 680 MW, by `gridrl security case39`.
    result = Study(case=case39, settings=QUIET).adding("cut", {"open": "line:21"}).run()["cut"]
    assert result.status == "islanded"
    (lost,) = [row for row in violation_rows(result) if row["kind"] == "lost load"]
    assert lost["value"] == pytest.approx(680.0)


def test_a_base_without_reference_leaves_its_variants_alone(case14: Case) -> None:
    study = Study(
        case=case14, settings=QUIET, base_edits=(parse_edit({"outage": "ext_grid:0"}),)
    ).adding("back", {"close": "ext_grid:0"})
    result = study.run()
    assert [found.status for found in result] == ["blackout", "ok"]
    other = replace(study, settings=replace(QUIET, flow=FlowOptions(island_rule="generator")))
    assert [found.solved for found in other.run()] == [True, True]


def test_own_outages_replace_n_minus_1(case39: Case) -> None:
    outages = (("pair", ("line:1", "line:2")), ("", ("gen:3",)))
    study = Study(case=case39, settings=replace(QUIET, outages=outages))
    rows = outage_rows(study.run().base)
    assert {row["contingency"] for row in rows} == {"pair", "gen:3"}
    assert StudySettings.from_dict(study.settings.to_dict()) == study.settings


def test_names_are_unique_and_base_is_taken(case14: Case) -> None:
    study = Study(case=case14)
    with pytest.raises(StudyError, match="'base' is the case itself"):
        study.adding("base", {"open": "line:1"})
    with pytest.raises(StudyError, match="two variants are called 'a'"):
        study.adding("a").adding("a")
    with pytest.raises(StudyError, match="needs a name"):
        study.adding(" ")
    with pytest.raises(StudyError, match=r"25,000 variants are more than the 20,000"):
        Study(case=case14, variants=tuple(Variant(name=str(k)) for k in range(25_000)))


def test_a_wrong_edit_is_found_before_anything_is_solved(case14: Case) -> None:
    said: list[float] = []
    study = Study(case=case14).adding("a", {"scale_load": 1.1})
    study = study.adding("b", {"open": "line:1"}, {"open": "line:1"})
    with pytest.raises(StudyError, match=r"variant 'b', edit 2: line:1 is out of service already"):
        study.run(lambda share, _: said.append(share))
    assert said == []


def test_progress_grows_to_one(study: Study) -> None:
    said: list[tuple[float, str]] = []
    study.run(lambda share, what: said.append((share, what)))
    shares = [share for share, _ in said]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any(what == "split: N-1" for _, what in said)


def test_finished_variants_can_be_skipped(study: Study) -> None:
    names = [result.name for result in study.solve(skip=[BASE, "line", "load", "tap"])]
    assert sorted(names) == ["area", "both", "rating", "split"]


def test_an_unknown_variant_is_answered_with_the_nearest(result: Any) -> None:
    with pytest.raises(StudyError, match=r"No variant 'slpit'\. Did you mean split"):
        result["slpit"]


def test_a_time_series_is_a_family_of_variants(tmp_path: Path, case39: Case) -> None:
    from gridrl.whatif.series import read_series

    path = tmp_path / "day.csv"
    path.write_text(
        "time,load:3.p_mw,load:3.q_mvar,gen:2.p_mw,scale_load\n"
        "00:00,300,100,600,0.9\n00:30,310,,620,\n01:00,,90,,1.05\n"
    )
    steps = read_series(path, case39, "day")
    assert [step.name for step in steps] == ["day 00:00", "day 00:30", "day 01:00"]
    result = Study(case=case39, variants=steps, settings=QUIET).run()
    net = pandapower.networks.case39()
    for step, (p, q, gen, factor) in zip(
        result.variants, ((300, 100, 600, 0.9), (310, None, 620, 1), (None, 90, None, 1.05)),
        strict=True,
    ):  # fmt: skip
        now = pandapower.networks.case39()
        for column, value in (("p_mw", p), ("q_mvar", q)):
            if value is not None:
                now.load.loc[3, column] = value
        now.load[["p_mw", "q_mvar"]] *= factor  # edits are made from left to right
        if gen is not None:
            now.gen.loc[2, "p_mw"] = gen
        pp.runpp(now, tolerance_mva=1e-9, numba=False)
        np.testing.assert_allclose(
            np.abs(step.flow.v[0, step.case.grid.bus_substation]), now.res_bus.vm_pu, atol=1e-9
        )
    assert len(net.load) == 21


@pytest.mark.parametrize(
    ("text", "words"),
    (
        ("time,scale_load\n", "holds no time step"),
        ("time\n1\n", "no column beside the time"),
        ("time,load:3\n1,2\n", "line 1, column 'load:3': write an element and a quantity"),
        ("time,load:99.p_mw\n1,2\n", "line 1, column 'load:99.p_mw': No element 'load:99'"),
        ("time,gen:1.q_mvar\n1,2\n", "q_mvar of a gen cannot be set"),
        ("time,line:1.p_mw\n1,2\n", "p_mw of a line cannot be set"),
        ("time,scale_load\n1,2\n2,x\n", "line 3, column 'scale_load': 'x' is not a number"),
        ("time,scale_load\n1,2\n2\n", "line 3: 1 cells, but the header has 2"),
        ("time,scale_load\n1,-2\n", "line 2: 'scale_load' is -2; give 0 to 10"),
        ("time,load:3.p_mw,load:3.p_mw\n1,2,3\n", "line 2: two columns set load:3.p_mw"),
        ("time,scale_load\n1," + "9" * 200_000, "day.csv is not a CSV file: field larger than"),
    ),
)
def test_a_bad_time_series_is_refused_with_its_place(
    tmp_path: Path, case39: Case, text: str, words: str
) -> None:
    from gridrl.errors import GridrlError
    from gridrl.whatif.series import read_series

    path = tmp_path / "day.csv"
    path.write_text(text)
    with pytest.raises(GridrlError) as caught:
        read_series(path, case39, "day")
    assert words in str(caught.value)
    assert str(caught.value).startswith("day.csv")


def test_what_is_changed_in_the_base_is_said_once(case14: Case) -> None:
    edits = (parse_edit({"scale_load": 1.1}),)
    result = Study(case=case14, settings=QUIET, base_edits=edits).adding("a").run()
    assert [row["edits"] for row in result.comparison()] == ["scale load by 1.1", "nothing changed"]
    load = [row["load_mw"] for row in result.comparison()]
    assert load == pytest.approx([1.1 * 259.0] * 2)


def test_two_variants_are_compared_with_each_other(result: Any) -> None:
    other = result.against("line")
    assert {r.name for r in other} == {r.name for r in result}
    row = change_rows(other.base, other["split"], "branches")[27]
    before = change_rows(result.base, result["line"], "branches")[27]
    assert row["p_from_mw_before"] == before["p_from_mw_after"]
    depth = {row["variant"]: row["topology_depth"] for row in other.comparison()}
    assert (depth["line"], depth[BASE], depth["split"]) == (0, 1, 2)


# --- whatever is asked ------------------------------------------------------------------------
VERBS = ("open", "close", "outage", "split", "merge", "scale_load", "redispatch", "tap", "rating")


def random_edit(case: Case, rng: np.random.Generator) -> dict[str, Any]:
    """An edit that may or may not make sense on this case."""
    grid = case.grid

    def element() -> str:
        e = int(rng.integers(grid.n_element))
        return f"{grid.element_kind[e]}:{grid.element_id[e]}"

    verb = str(rng.choice(VERBS))
    if verb == "scale_load":
        return {verb: float(rng.uniform(0, 3))}
    if verb in ("split", "merge"):
        bus = int(rng.integers(grid.n_bus))
        out: dict[str, Any] = {verb: grid.bus_id[bus]}
        if verb == "split":
            at = grid.terminal_substation == grid.bus_substation[bus]
            owner = np.concatenate([grid.branch_element, grid.branch_element, grid.unit_element])
            names = [f"{grid.element_kind[e]}:{grid.element_id[e]}" for e in owner[at]]
            out["busbar2"] = [name for name in names if rng.random() < 0.5] or ["line:0"]
        return out
    extra = {
        "redispatch": {"p_mw": float(rng.uniform(-50, 200))},
        "tap": {"ratio_percent": float(rng.uniform(-10, 10))},
        "rating": {"percent": float(rng.uniform(50, 150))},
    }
    return {verb: element()} | extra.get(verb, {})


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_edited_ends_in_rows_that_are_right_alone(seed: int) -> None:
    from gridrl.errors import GridrlError
    from gridrl.whatif import apply_edits
    from gridrl.whatif.report import render

    rng = np.random.default_rng(seed)
    source = ("case14", "case39", "example_multivoltage", "tests/cases/features.raw",
              "tests/cases/features.m", "case9")[seed]  # fmt: skip
    case = gridrl.load(source)
    study, said = Study(case=case, settings=QUIET), [""]
    for k in range(12):
        edits = []
        for _ in range(int(rng.integers(1, 5))):
            edit = parse_edit(random_edit(case, rng))
            try:
                apply_edits(case, [*edits, edit])
            except GridrlError as refused:
                said.append(str(refused))
            else:
                edits.append(edit)
        study = study.adding(f"v{k}", *edits)
    assert not any("\n" in text for text in said)
    result = study.run()
    statuses = {found.status for found in result}
    assert statuses <= {"ok", "islanded", "diverged", "blackout"}
    assert "ok" in statuses
    for found in result:
        if found.solved:
            alone = gridrl.flow(found.case)
            # Stubborn states stop at 1e-8 p.u. of power; weak grids turn that into more voltage.
            np.testing.assert_allclose(found.flow.v, alone.v, rtol=0, atol=1e-6)
    assert len(render(result)) > 10_000


def test_what_is_recommended_is_what_its_edits_do() -> None:
    from gridrl.whatif import apply_edits
    from gridrl.whatif.arrays import n1_bytes

    study = Study(case=gridrl.load("case24_ieee_rts")).adding("out", {"open": "line:4"})
    result = study.run()["out"]
    assert result.n1 is not None
    assert result.advice is not None
    assert len(n1_bytes(result.n1)) > 0
    before, best = result.advice["before"], result.advice["recommendations"][0]
    assert before["worst_loading_percent"] == pytest.approx(100 * np.nanmax(result.flow.loading()))
    assert best["kind"] != "nothing"
    after = apply_edits(result.case, [parse_edit(edit) for edit in best["edits"]])
    # The recommendation was proved on its own numbers; its edits are rounded for people.
    worst = 100 * np.nanmax(gridrl.flow(after).loading())
    assert worst == pytest.approx(best["after"]["worst_loading_percent"], abs=0.05)
    secured = gridrl.security(after, contingencies=result.n1.contingencies)
    assert 100 * np.nanmax(secured.loading) == pytest.approx(
        best["after"]["worst_n1_percent"], abs=0.05
    )
    assert worst < before["worst_loading_percent"]
