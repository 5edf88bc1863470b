"""Remedial actions against exhaustive search, against proofs by another path, and against edits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gridrl
from gridrl.actions import apply_actions, unitary_actions
from gridrl.errors import CaseError, ElementError, GridError
from gridrl.security import Contingencies, n_minus_1, security
from gridrl.security.topologies import secure_topologies
from gridrl.whatif import apply_edits, parse_edit
from gridrl.whatif.outlook import REFUSED, reference_of, values
from gridrl.whatif.remedial import RemedialOptions, recommend
from gridrl.whatif.stress import Stress, read_stress, stress_of, stressed_case

STRESSED = Path(__file__).parents[2] / "scenarios" / "data" / "stressed"
# Developed on: not one of the published cases.
MESHED = Stress(case="case_ieee30", load_scale=1.09, outage=("trafo:5",), seed=1005)
SWITCHING = RemedialOptions(redispatch=False, curtailment=False, shedding=False, voltage=False)


@pytest.fixture(scope="module")
def meshed():
    return stressed_case(MESHED)


@pytest.fixture(scope="module")
def recommended(meshed):
    return recommend(meshed)


def test_the_best_unitary_action_is_found(meshed):
    contingencies = n_minus_1(meshed)
    base = secure_topologies(meshed, meshed.topology, contingencies)
    reference = reference_of(base)
    actions = unitary_actions(meshed)
    topology = apply_actions(meshed, actions, [(k,) for k in range(len(actions))])
    every = values(secure_topologies(meshed, topology, contingencies), reference)
    result = recommend(meshed, options=replace(SWITCHING, combinations=False))
    assert values(base, reference)[0] > every.min() + 0.02  # there is something to find
    assert result.best.value <= every.min() + 0.01
    assert result.tried["ac_solves"] <= 0.1 * result.tried["exhaustive_ac_solves"]


def test_what_is_recommended_is_proved_by_the_security_sweep_too(recommended):
    for r in recommended.recommendations:
        swept = security(r.case, contingencies=recommended.contingencies)
        # 1e-8 p.u. of mismatch on either path
        np.testing.assert_allclose(r.found.pair_loading, swept.loading, atol=1e-6)
        np.testing.assert_allclose(r.found.loading[0], np.nanmax(swept.base.loading(0)), atol=1e-6)


def test_the_edits_make_the_case_that_was_proved(meshed, recommended):
    for r in recommended.recommendations:
        made = apply_edits(meshed, [parse_edit(edit) for edit in r.edits])
        np.testing.assert_array_equal(made.topology.closed, r.case.topology.closed)
        np.testing.assert_array_equal(made.topology.busbar, r.case.topology.busbar)
        np.testing.assert_allclose(made.injection.p, r.case.injection.p, atol=1e-12)
        np.testing.assert_allclose(made.injection.q, r.case.injection.q, atol=1e-12)


def test_nothing_is_listed_and_no_line_is_worse_than_it(recommended):
    kinds = [r.kind for r in recommended.recommendations]
    assert kinds.count("nothing") == 1
    idle = recommended.recommendations[kinds.index("nothing")]
    assert all(r.value <= idle.value + 1e-3 for r in recommended.recommendations)
    assert all(r.value < REFUSED for r in recommended.recommendations)


def test_the_result_is_plain_json_in_percent_and_mw(recommended):
    made = json.loads(json.dumps(recommended.to_dict(), allow_nan=False))
    assert {"verdict", "before", "recommendations", "tried"} <= set(made)
    first = made["recommendations"][0]
    assert first["rank"] == 1
    assert first["verified"]
    assert first["proof"]["n1_outages"] == made["before"]["n1_outages"]
    assert made["before"]["worst_n1_percent"] > 100.0
    switched = [r for r in made["recommendations"] if r["kind"] in ("split", "combination", "line")]
    assert switched
    for row in switched:
        relieved = row["why"][0]
        assert relieved["element"] in row["explanation"]
        assert relieved["before_percent"] > 100.0


def test_the_same_case_gives_the_same_list(meshed, recommended):
    again = recommend(meshed).to_dict()
    assert again == recommended.to_dict()


def test_a_secure_case_needs_nothing():
    case = gridrl.load("case14")  # its published voltages are above their limits
    result = recommend(replace(case, grid=replace(case.grid, v_max=case.grid.v_max + 0.1)))
    assert [r.kind for r in result.recommendations] == ["nothing"]
    assert "Nothing needs to be done" in result.verdict()


def test_what_is_locked_is_left_alone(meshed):
    locked = tuple(f"line:{k}" for k in range(20))
    options = replace(SWITCHING, buses=(), locked=locked)
    made = recommend(meshed, options=options)
    for r in made.recommendations:
        assert not set(locked) & {str(v) for edit in r.edits for v in edit.values()}
        assert not any("split" in edit for edit in r.edits)
    with pytest.raises(ElementError, match="line:999"):
        recommend(meshed, options=replace(SWITCHING, locked=("line:999",)))


def test_redispatch_keeps_every_unit_within_its_limits(meshed):
    p = meshed.injection.p[0]
    narrow = replace(meshed, grid=replace(meshed.grid, p_min=p - 0.03, p_max=p + 0.02))
    options = RemedialOptions(switching=False, curtailment=False, shedding=False)
    free, held = (recommend(case, options=options) for case in (meshed, narrow))
    steered = ~np.isin(np.array(meshed.grid.unit_kind), ["load", "shunt"])
    changes = [
        np.abs(r.case.injection.p[0] - p)[steered]
        for r in held.recommendations
        if r.kind != "nothing"
    ]
    assert all(change.max() <= 0.03 + 1e-9 for change in changes)
    for r in held.recommendations:
        moved = (r.case.injection.p[0] - p)[steered]
        assert (moved <= 0.02 + 1e-9).all()
        assert (moved >= -0.03 - 1e-9).all()
    wide = [np.abs(r.case.injection.p[0] - p)[steered].max() for r in free.recommendations]
    assert max(wide) > 0.03  # the limits bind


def test_shedding_and_redispatch_balance_but_for_losses(meshed):
    options = RemedialOptions(switching=False)
    made = recommend(meshed, options=options)
    reference = meshed.grid.is_reference
    before = gridrl.flow(meshed).unit_power().real
    for r in made.recommendations:
        after = gridrl.flow(r.case).unit_power().real
        losses = before.sum() - after.sum()
        planned = (r.case.injection.p[0] - meshed.injection.p[0])[~reference].sum()
        taken = (after - before)[reference].sum()
        assert abs(planned + taken + losses) < 1e-6
        assert after[reference].sum() <= meshed.grid.p_max[reference].sum() + 0.05


def test_a_proposer_decides_what_is_tried(meshed):
    class OnlyOpenings:
        def propose(self, case, actions, screened):  # noqa: ARG002
            return screened.ranking()[np.isin(screened.ranking(), np.flatnonzero(actions.kind < 2))]

    made = recommend(
        meshed, options=replace(SWITCHING, combinations=False), proposer=OnlyOpenings()
    )
    assert {r.kind for r in made.recommendations} <= {"line", "nothing"}


def test_a_substation_split_already_is_rearranged_too(meshed):
    # No case of rank one for the screen: AC decides. Joined again, the grid is as good as before.
    joined = recommend(meshed, options=replace(SWITCHING, combinations=False))
    reference = joined.reference
    actions = unitary_actions(meshed, elements=False)
    topology = apply_actions(meshed, actions, [(k,) for k in range(len(actions))])
    contingencies = n_minus_1(meshed)
    every = values(secure_topologies(meshed, topology, contingencies), reference)
    bad = int(np.argmax(np.where(every < REFUSED, every, 0.0)))
    split = replace(meshed, topology=apply_actions(meshed, actions, [(bad,)]))
    made = recommend(split, options=replace(SWITCHING, combinations=False))
    before = values(made.base, made.reference)[0]
    assert before > 1.1 * values(joined.base, reference)[0]
    assert made.best.value <= values(joined.base, reference)[0] + 0.01


def test_a_proposer_that_names_no_action_is_told_so(meshed):
    class Wrong:
        def propose(self, case, actions, screened):  # noqa: ARG002
            return np.array([len(actions)])

    with pytest.raises(GridError, match="indices of actions"):
        recommend(meshed, options=SWITCHING, proposer=Wrong())


def test_storage_charges_within_its_limits_and_long_lists_are_put_together():
    import pandapower as pp

    from gridrl.io.pandapower import load_pandapower

    net = pp.create_empty_network(sn_mva=10.0)
    a, b = pp.create_bus(net, 20.0), pp.create_bus(net, 20.0)
    pp.create_ext_grid(net, a)
    pp.create_line_from_parameters(net, a, b, 1.0, 0.2, 0.3, 10.0, 0.2)
    pp.create_load(net, a, 1.0)
    for _ in range(6):
        pp.create_storage(net, b, p_mw=-2.0, max_e_mwh=9.0, min_p_mw=-3.0, max_p_mw=1.0)
    net.storage["controllable"] = False
    case = load_pandapower(net, name="batteries")  # 12 MW through a line of 6.9 MVA
    best = recommend(case, options=RemedialOptions(switching=False)).to_dict()["recommendations"][0]
    assert best["kind"] == "curtailment"
    assert best["after"]["worst_loading_percent"] <= 100.0
    assert all("storage" in edit and -3.0 <= edit["p_mw"] <= 1.0 for edit in best["edits"])
    made = apply_edits(case, [parse_edit(edit) for edit in best["edits"]])
    assert np.nanmax(gridrl.flow(made).loading()) <= 1.0

    from gridrl.whatif.explain import dispatch_edits, dispatch_words

    change = np.where(np.array(case.grid.unit_kind) == "storage", -0.1, 0.0)  # 1 MW each, p.u.
    words = dispatch_words(case, change)
    assert words.startswith("charge +6 MW at storage:0 from -2 to -1 MW, ")
    assert words.endswith(" and 3 more")
    assert len(dispatch_edits(case, change)) == 6


def test_without_contingencies_the_intact_grid_decides(meshed):
    rated = replace(meshed, grid=replace(meshed.grid, i_max_from=0.6 * meshed.grid.i_max_from))
    none = Contingencies(name=(), elements=())
    made = recommend(rated, contingencies=none)
    assert made.recommendations[0].kind != "nothing"
    row = made.to_dict()["recommendations"][0]
    assert row["after"]["worst_n1_percent"] is None
    assert row["proof"]["n1_outages"] == 0


def test_a_case_without_a_power_flow_is_a_row():
    case = gridrl.scale_load(gridrl.load("case14"), 6.0)
    made = recommend(case, options=SWITCHING).to_dict()
    assert made["before"]["status"] == "diverged"
    assert made["before"]["worst_loading_percent"] is None
    json.dumps(made, allow_nan=False)


def test_a_single_line_has_no_way_out():
    case = gridrl.load("case14")
    rated = replace(case, grid=replace(case.grid, i_max_from=np.full(case.grid.n_branch, 1e-3)))
    made = recommend(rated, options=replace(SWITCHING, buses=()))
    assert made.recommendations[0].kind in ("nothing", "line")


# --- stressed cases ---------------------------------------------------------------------------
def test_there_are_thirty_stressed_cases_and_all_are_recipes():
    files = sorted(STRESSED.glob("*.toml"))
    assert len(files) >= 30
    assert {read_stress(path).case for path in files} == {
        "case14", "case30", "case_ieee30", "case57", "case118", "case300"
    }  # fmt: skip


@pytest.mark.parametrize("path", sorted(STRESSED.glob("*_01.toml")), ids=lambda p: p.stem)
def test_a_stressed_case_is_as_overloaded_as_its_file_says(path):
    case = stressed_case(read_stress(path))
    contingencies = n_minus_1(case)
    base = secure_topologies(case, case.topology, contingencies)
    said = float(path.read_text(encoding="utf-8").split("action: ")[1].split(" %")[0])
    assert 100 * values(base, reference_of(base))[0] == pytest.approx(said, abs=0.06)


def test_the_published_state_is_secure_by_the_rating_rule():
    case = stressed_case(Stress(case="case57"))
    swept = security(case)
    assert np.nanmax(swept.loading) <= 1.0 + 1e-6
    assert np.nanmax(swept.loading) > 0.95  # the rule binds


@pytest.mark.parametrize(
    ("table", "says"),
    (
        ({}, "'case' is missing"),
        ({"case": "case14", "load": 1.1}, "unknown: load"),
        ({"case": "case14", "load_scale": -1.0}, "must be positive"),
        ({"case": "case14", "ratings": "guess"}, "'file' or 'n_minus_1'"),
        ({"case": "case14", "load_scale": "much"}, "x.toml"),
    ),
)
def test_a_bad_recipe_is_one_sentence(table, says):
    with pytest.raises(CaseError, match=says):
        stress_of(table, "x.toml")


def test_an_unknown_option_value_is_refused():
    with pytest.raises(ValueError, match="top is 0"):
        RemedialOptions(top=0)
    with pytest.raises(ValueError, match="share is 2"):
        RemedialOptions(share=2.0)
