"""The powsybl door, judged by PowSyBl OpenLoadFlow on the same files."""

import builtins
import contextlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gridrl.case import Fate
from gridrl.errors import CaseError, GridError, MissingExtra
from gridrl.io.powsybl import load_powsybl
from tests import reference_newton

pp = pytest.importorskip("pypowsybl")
from tests.cases import openloadflow  # noqa: E402 - needs pypowsybl

# Flows differ by rounding only: seen 4e-11 MVA on ieee300.
ATOL_FLOW_MVA = 1e-8
# OpenLoadFlow stops at a mismatch of 1e-10 p.u. per equation.
ATOL_BALANCE_MVA = 1e-6
CASES = "tests/cases"

NETWORKS = {
    "ieee14": pp.network.create_ieee14,
    "ieee118": pp.network.create_ieee118,
    "ieee300": pp.network.create_ieee300,
    "eurostag": pp.network.create_eurostag_tutorial_example1_network,  # tap, 4 voltages
    "tie_lines": pp.network.create_eurostag_tutorial_example1_with_tie_lines_and_areas,
    "four_substations": pp.network.create_four_substations_node_breaker_network,  # SVC, DC, shift
    "metrix": pp.network.create_metrix_tutorial_six_buses_network,  # node-breaker, phase shifter
    "micro_be": pp.network.create_micro_grid_be_network,  # 3 windings, boundary lines
    "micro_nl": pp.network.create_micro_grid_nl_network,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Files of powsybl's own networks, written once."""
    folder = tmp_path_factory.mktemp("xiidm")
    done = {}

    def write(name):
        if name not in done:
            done[name] = folder / f"{name}.xiidm"
            NETWORKS[name]().save(str(done[name]), format="XIIDM")
        return done[name]

    return write


def of_kind(case, kind):
    return [row for row in case.report if row.kind == kind]


def solved(path):
    """Case, network solved with the case's own reference as slack, and powsybl's voltages."""
    case = load_powsybl(path)
    network = pp.network.load(str(path))
    grid = case.grid
    place = grid.unit_substation[np.flatnonzero(grid.is_reference)[0]]
    bus = int(np.flatnonzero(grid.bus_substation == place)[0])
    openloadflow.run(network, openloadflow.bus_view_id(network, grid, bus))
    return case, network, openloadflow.voltages(network, case)


@pytest.mark.parametrize("name", (*NETWORKS, "small.uct"))
def test_flows_and_balances_are_openloadflows(saved, name):
    path = f"{CASES}/{name}" if name.endswith(".uct") else saved(name)
    case, network, v = solved(path)
    openloadflow.assert_flows_equal(network, case, v, atol_mva=ATOL_FLOW_MVA)
    left = openloadflow.imbalance_mva(network, case, v)
    slack = 2 * case.grid.unit_substation[case.grid.is_reference]
    left[slack] = 1j * left[slack].imag  # OpenLoadFlow leaves the slack's P out of its generator
    assert np.abs(left).max() < ATOL_BALANCE_MVA


# micro_be has a generator that regulates a remote bus, which the report refuses.
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"micro_be"}))
def test_power_flow_finds_openloadflows_voltages(saved, name):
    case, _, want = solved(saved(name))
    got = reference_newton.solve(case)
    live = ~np.isnan(got)
    reference = 2 * case.grid.unit_substation[np.flatnonzero(case.grid.is_reference)[0]]
    turn = np.exp(1j * (np.angle(want[reference]) - np.angle(got[reference])))
    if case.grid.is_reference.sum() > 1:  # each synchronous part has its own angle origin
        got, want, turn = np.abs(got), np.abs(want), 1
    np.testing.assert_allclose(got[live] * turn, want[live], rtol=0, atol=1e-8)


def test_cgmes_zip_gives_the_same_flows(tmp_path):
    path = tmp_path / "ieee14.zip"
    pp.network.create_ieee14().save(str(path), format="CGMES")
    case, network, v = solved(path)
    openloadflow.assert_flows_equal(network, case, v, atol_mva=ATOL_FLOW_MVA)
    assert case.origin.startswith("ZIP file read by pypowsybl")


def test_open_terminals_keep_an_energised_stub(tmp_path):
    network = pp.network.create_ieee14()
    line = "L2-3-1"
    network.update_lines(id=line, connected2=False)
    network.update_loads(id="B14-L", connected=False)
    path = tmp_path / "open.xiidm"
    network.save(str(path), format="XIIDM")
    case, network, v = solved(path)
    openloadflow.assert_flows_equal(network, case, v, atol_mva=ATOL_FLOW_MVA)
    grid, busbar = case.grid, case.topology.busbar[0]
    k = grid.branch_element.tolist().index(grid.find_element(line))
    assert (busbar[k], busbar[grid.n_branch + k], case.topology.closed[0, k]) == (1, 0, True)
    unit = grid.unit_element.tolist().index(grid.find_element("B14-L"))
    assert busbar[2 * grid.n_branch + unit] == 0


def test_compensator_at_a_reactive_power(tmp_path):
    network = pp.network.create_four_substations_node_breaker_network()
    network.update_static_var_compensators(id="SVC", target_q=30.0)
    network.update_static_var_compensators(id="SVC", regulation_mode="REACTIVE_POWER")
    path = tmp_path / "svc.xiidm"
    network.save(str(path), format="XIIDM")
    case, network, _ = solved(path)
    unit = case.grid.unit_label.index("svc:SVC")
    want = -network.get_static_var_compensators().loc["SVC", "q"]
    assert case.injection.q[0, unit] * 100 == pytest.approx(want, abs=1e-9)
    assert not case.grid.controls_voltage[unit]


def test_limits_are_the_permanent_ones_at_each_side(saved):
    case = load_powsybl(saved("four_substations"))
    grid = case.grid
    k = grid.branch_element.tolist().index(grid.find_element("LINE_S3S4"))
    # 931 A at 400 kV on both sides: sqrt(3) 0.4 0.931 = 0.645 kMVA.
    want = np.sqrt(3) * 400 * 0.931 / 100
    assert grid.i_max_from[k] == pytest.approx(want, rel=1e-12)
    assert grid.i_max_to[k] == pytest.approx(want, rel=1e-12)
    assert of_kind(case, "temporary limit")[0].fate is Fate.REFUSED


def test_what_is_not_represented_is_named(saved):
    case = load_powsybl(saved("micro_be"))
    remote = of_kind(case, "remote voltage control")
    assert remote[0].fate is Fate.REFUSED
    assert remote[0].elements == ("3a3b27be-b18b-4385-b557-6735d733baf0",)
    assert of_kind(case, "ratio tap control")
    assert of_kind(load_powsybl(saved("micro_nl")), "load model")[0].fate is Fate.REFUSED
    assert of_kind(load_powsybl(saved("four_substations")), "dcline")[0].fate is Fate.MAPPED


def test_buses_keep_the_names_of_the_file(saved):
    grid = load_powsybl(saved("eurostag")).grid
    assert grid.bus_id == ("NGEN", "NHV1", "NHV2", "NLOAD")
    assert load_powsybl(saved("four_substations")).grid.bus_id[0] == "S1VL1_0"


def test_slack_terminal_of_the_file_is_the_reference(tmp_path):
    network = pp.network.create_ieee14()
    network.remove_extensions("slackTerminal", ["VL1"])
    network.create_extensions("slackTerminal", voltage_level_id="VL2", element_id="B2-G")
    path = tmp_path / "slack.xiidm"
    network.save(str(path), format="XIIDM")
    case = load_powsybl(path)
    assert [case.grid.unit_label[k] for k in np.flatnonzero(case.grid.is_reference)] == ["gen:B2-G"]
    assert "slack terminal" in of_kind(case, "reference")[0].note


def test_line_without_impedance_joins_its_buses(tmp_path):
    network = pp.network.create_ieee14()
    network.update_lines(id="L2-3-1", r=0.0, x=0.0)
    path = tmp_path / "short.xiidm"
    network.save(str(path), format="XIIDM")
    case = load_powsybl(path)
    assert case.grid.n_substation == 13
    assert of_kind(case, "line without impedance")[0].elements == ("L2-3-1",)


@pytest.mark.parametrize(
    ("change", "message"),
    (
        (lambda n: n.update_2_windings_transformers(id="T4-7-1", r=0.0, x=0.0), "T4-7-1.*impeda"),
        (
            lambda n: n.update_generators(
                id=n.get_generators().index.tolist(), voltage_regulator_on=[False] * 5
            ),
            "No connected generator holds a voltage",
        ),
    ),
    ids=["trafo without impedance", "nobody holds a voltage"],
)
def test_impossible_network_is_refused_by_name(tmp_path, change, message):
    network = pp.network.create_ieee14()
    change(network)
    path = tmp_path / "bad.xiidm"
    network.save(str(path), format="XIIDM")
    with pytest.raises((CaseError, GridError), match=message):
        load_powsybl(path)


def test_archive_bomb_is_refused_unopened(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model_EQ.xml", b"\0" * 50_000_000)
    with pytest.raises(CaseError, match="unpacks to 50000000 bytes"):
        load_powsybl(path)


def test_xml_entities_are_refused(tmp_path, saved):
    text = saved("ieee14").read_text()
    head, rest = text.split("?>", 1)
    attack = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
    (tmp_path / "x.xiidm").write_text(f"{head}?>{attack}{rest}")
    with pytest.raises(CaseError, match="declares XML entities"):
        load_powsybl(tmp_path / "x.xiidm")


@pytest.mark.parametrize("suffix", (".xiidm", ".zip", ".uct", ".jiidm", ".biidm"))
def test_garbage_is_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(bytes(np.random.default_rng(1).integers(0, 256, 500, dtype=np.uint8)))
    with pytest.raises(CaseError, match=r"x\."):
        load_powsybl(path)


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(CaseError, match="suffixes"):
        load_powsybl(tmp_path / "x.doc")


def test_missing_extra_says_what_to_install(monkeypatch, saved):
    path = saved("ieee14")
    monkeypatch.setitem(sys.modules, "pypowsybl", None)
    with pytest.raises(MissingExtra, match=r"pip install 'gridrl\[powsybl\]'"):
        load_powsybl(path)
    assert builtins.ImportError in MissingExtra.__mro__


@pytest.mark.slow
@pytest.mark.parametrize("name", ("micro_be", "small.uct"))
def test_mutated_files_never_crash(tmp_path, saved, name):
    rng = np.random.default_rng(7)
    source = f"{CASES}/{name}" if name.endswith(".uct") else saved(name)
    data = Path(source).read_bytes()
    path = tmp_path / f"m.{str(source).rsplit('.', 1)[1]}"
    for _ in range(300):
        path.write_bytes(mutated(data, rng))
        with contextlib.suppress(CaseError, GridError):
            load_powsybl(path)


def mutated(data, rng):
    """Some bytes changed, a stretch cut out or doubled, or a number replaced."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(out)))
        what = rng.integers(4)
        if what == 0:
            out[at] = int(rng.integers(256))
        elif what == 1:
            del out[at : at + int(rng.integers(1, 60))]
        elif what == 2:
            out[at:at] = out[at : at + int(rng.integers(1, 60))]
        else:
            token = [b"NaN", b"-1", b"0", b"1e308", b"Infinity", b"", b"99999"][rng.integers(7)]
            out[at : at + 2] = token
    return bytes(out)
