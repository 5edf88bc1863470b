"""MATPOWER tables as a `Case`: paper arithmetic, powerio's Y_bus, and OpenLoadFlow as judges."""

from dataclasses import replace

import numpy as np
import pytest

from gridrl.case import Fate
from gridrl.errors import CaseError, GridError
from gridrl.io.matpower import from_tables
from gridrl.io.matpower_tables import MatpowerTables
from tests import reference_newton
from tests.cases import matpower_files

FEATURES = "tests/cases/features.m"


def tables_of(path):
    """The literal tables of a file, by powerio alone."""
    powerio = pytest.importorskip("powerio")
    ppc = powerio.parse(str(path)).value.to_ppc()
    return MatpowerTables(
        base_mva=float(ppc["baseMVA"]),
        bus=np.array(ppc["bus"]),
        gen=np.array(ppc["gen"]),
        branch=np.array(ppc["branch"]),
    )


@pytest.fixture(scope="module")
def features():
    return tables_of(FEATURES)


def changed(tables, table, row, column, value):
    array = getattr(tables, table).copy()
    array[row, column] = value
    return replace(tables, **{table: array})


def rows_of(case, kind):
    return [row for row in case.report if row.kind == kind]


def test_transformer_two_port_by_paper_arithmetic(features):
    # 20-50: r + jx = 0.004 + j0.1, b = 0.01, ratio 1.04 at -7.5 degrees (column 8 and 9).
    grid = from_tables(features, name="features").grid
    y, tap, turn = 1 / (0.004 + 0.1j), 1.04, np.exp(-1j * np.pi * 7.5 / 180)
    k = 4
    assert grid.element_kind[grid.branch_element[k]] == "trafo"
    np.testing.assert_allclose(grid.y_ff[k], (y + 0.005j) / tap**2, rtol=1e-14)
    np.testing.assert_allclose(grid.y_ft[k], -y * turn / tap, rtol=1e-14)  # -y / conj(tap turn)
    np.testing.assert_allclose(grid.y_tf[k], -y / (tap * turn), rtol=1e-14)
    np.testing.assert_allclose(grid.y_tt[k], y + 0.005j, rtol=1e-14)
    assert grid.b_dc[k] == pytest.approx(1 / (0.1 * 1.04), rel=1e-14)
    assert grid.shift_dc[k] == pytest.approx(-np.deg2rad(7.5), rel=1e-14)


@pytest.mark.parametrize("name", ("features", "case14", "case118", "case300", "case89pegase"))
def test_admittance_matrix_is_powerios(name):
    powerio = pytest.importorskip("powerio")
    path = FEATURES if name == "features" else matpower_files.path_of(name)
    network = powerio.parse(str(path)).value
    want = network.calc_admittance_matrix().toarray()
    tables = tables_of(path)
    case = from_tables(tables, name=name)
    ybus, node_u, on = reference_newton.network(case)
    got = ybus.toarray()[::2, ::2]
    shunt = np.array([kind == "shunt" for kind in case.grid.unit_kind]) & on
    s_at_one = case.injection.p[0] + 1j * case.injection.q[0]
    np.add.at(got, (node_u[shunt] // 2,) * 2, -s_at_one.conj()[shunt])
    live = tables.bus[:, 1] != 4  # powerio keeps what touches an isolated bus
    if not live.all():
        ends = np.isin(tables.branch[:, :2], tables.bus[~live, 0]).any(axis=1)
        tables = replace(tables, branch=tables.branch[~ends])
        ppc = {"version": "2", "baseMVA": tables.base_mva, "bus": tables.bus}
        ppc |= {"gen": tables.gen, "branch": tables.branch}
        want = powerio.from_ppc(ppc).calc_admittance_matrix().toarray()
    pick = np.ix_(live, live)
    np.testing.assert_allclose(got[pick], want[pick], rtol=1e-12, atol=1e-10)


def test_roles_of_generators(features):
    case = from_tables(features, name="features")
    grid, v_set = case.grid, case.injection.v_set[0]
    gen = [k for k, kind in enumerate(grid.unit_kind) if kind == "gen"]
    on = case.topology.busbar[0, 2 * grid.n_branch :] > 0
    assert on[gen].tolist() == [True, True, False, True, False, True, False]  # off, off, isolated
    # Two generators at the reference bus: the first is the reference, the last sets the voltage.
    assert grid.is_reference[gen].tolist() == [True] + [False] * 6
    assert v_set[gen][:2].tolist() == [1.02, 1.02]
    assert grid.va_reference[gen[0]] == pytest.approx(np.deg2rad(10))
    # Bus 30 is of type 2 without a generator in service; the generator at bus 40 sits on PQ.
    assert grid.controls_voltage[gen].tolist() == [True, True, False, True, False, False, False]
    assert rows_of(case, "bus type")[0].elements == ("30",)
    assert [r.elements for r in rows_of(case, "gen") if r.fate is Fate.MAPPED] == [("6",)]


def test_everything_at_an_isolated_bus_is_disconnected(features):
    case = from_tables(features, name="features")
    grid, busbar = case.grid, case.topology.busbar[0]
    at = grid.terminal_substation == 8
    assert at.sum() == 4  # branch end, load, shunt, generator
    assert (busbar[at] == 0).all()
    assert not case.topology.closed[0, 9]


def test_units_and_limits_are_per_unit(features):
    case = from_tables(features, name="features")
    grid = case.grid
    unit = {label: k for k, label in enumerate(grid.unit_label)}
    p, q = case.injection.p[0], case.injection.q[0]
    load, shunt, gen = unit["load:60"], unit["shunt:60"], unit["gen:4"]
    assert (p[load], q[load]) == (-12 / 50, 3 / 50)
    assert (p[shunt], q[shunt]) == (-0.5 / 50, -4 / 50)  # GS drawn, BS injected, MW at 1 p.u.
    assert (grid.z_share_p[shunt], grid.z_share_q[shunt], grid.z_share_p[load]) == (1, 1, 0)
    limits = (grid.p_min[gen], grid.p_max[gen], grid.q_min[gen], grid.q_max[gen])
    assert limits == (0, 80 / 50, -1, 1)
    assert grid.s_max.tolist()[:3] == [60 / 50, np.inf, 80 / 50]  # RATE_A 0 means unlimited
    assert (grid.v_min[2], grid.v_max[2]) == (0.92, 1.08)


def test_names(features):
    grid = from_tables(features, name="features").grid
    assert grid.branch_label[:3] == ("line:1 (10-20)", "line:2 (10-20 #2)", "line:3 (10-30)")
    assert grid.branch_label[4] == "trafo:5 (20-50)"  # ratio and shift
    assert grid.branch_label[6] == "trafo:7 (40-70)"  # unequal voltages, ratio 0
    assert grid.find_element("10-20 #2") == 1


def test_unknown_base_voltages_are_taken_as_1_kv(features):
    bus = features.bus.copy()
    bus[:, 9] = 0
    case = from_tables(replace(features, bus=bus), name="x")
    assert (case.grid.vn_kv == 1).all()
    row = rows_of(case, "bus")[1]
    assert (row.fate, row.count) == (Fate.SUSPECT, 9)


def test_first_pv_bus_stands_in_for_a_missing_reference(features):
    case = from_tables(changed(features, "bus", 0, 1, 2), name="x")
    assert rows_of(case, "reference bus")[0].elements == ("10",)


def test_unlimited_generator_and_missing_capability_columns(features):
    gen = features.gen[:, :8].copy()
    gen[0, 3] = np.inf
    grid = from_tables(replace(features, gen=gen), name="x").grid
    first = grid.unit_kind.index("gen")
    assert (grid.q_max[first], grid.p_max[first], grid.p_min[first]) == (np.inf, np.inf, -np.inf)


REFUSED = (
    (("bus", 3, 2, np.nan), r"bus 40: PD \(MW\) is not a finite number"),
    (("bus", 3, 0, 30), r"bus 30: BUS_I is used more than once"),
    (("bus", 3, 0, 40.5), r"BUS_I is not a whole number"),
    (("bus", 3, 1, 7), r"bus 40: BUS_TYPE is not 1"),
    (("bus", 3, 9, 0), r"bus 40: BASE_KV \(kV\) is not positive"),
    (("bus", 3, 9, np.inf), r"bus 40: BASE_KV \(kV\) is not a finite number"),
    (("bus", 3, 11, np.nan), r"bus 40: VMAX \(p.u.\) is NaN"),
    (("gen", 3, 0, 99), r"gen 4: GEN_BUS names a bus that is not in the bus table"),
    (("gen", 3, 1, np.inf), r"gen 4: PG \(MW\) is not a finite number"),
    (("gen", 3, 5, 0), r"gen 4: VG \(p.u.\) is not positive"),
    (("gen", 3, 4, np.nan), r"gen 4: QMIN \(MVAr\) is NaN"),
    (("branch", 4, 3, np.nan), r"branch 5 \(20-50\): BR_X \(p.u.\) is not a finite number"),
    (("branch", 4, [2, 3], 0), r"branch 5 \(20-50\): BR_R and BR_X \(p.u.\) are both zero"),
    (("branch", 4, 8, -1), r"branch 5 \(20-50\): TAP is negative"),
    (("branch", 4, 5, -1), r"branch 5 \(20-50\): RATE_A \(MVA\) is negative"),
    (("branch", 4, 1, 20), r"branch 5 \(20-20\): F_BUS and T_BUS are the same bus"),
    (("branch", 4, 1, 21), r"branch 5 \(20-21\): T_BUS names a bus that is not in"),
)


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_impossible_value_is_refused_with_element_field_and_unit(features, change, message):
    with pytest.raises(GridError, match=message):
        from_tables(changed(features, *change), name="x")


@pytest.mark.parametrize("base", (0.0, -100.0, np.nan, np.inf))
def test_impossible_base_is_refused(features, base):
    with pytest.raises(CaseError, match=r"baseMVA is .* MVA; it must be a positive number"):
        from_tables(replace(features, base_mva=base), name="x")


def test_no_reference_is_refused(features):
    gen = features.gen.copy()
    gen[:, 7] = 0
    with pytest.raises(CaseError, match="No bus of type 3"):
        from_tables(replace(features, gen=gen), name="x")


def test_narrow_table_is_refused(features):
    with pytest.raises(CaseError, match="branch table has shape"):
        from_tables(replace(features, branch=features.branch[:, :9]), name="x")


def for_powsybl(tables):
    """Without what powsybl's MATPOWER importer, or OpenLoadFlow, reads differently.

    The importer puts a transformer's charging at one end, drops GS where BS is 0, lets every
    generator hold a voltage and keeps isolated buses; OpenLoadFlow stops generators below PMIN
    and takes the first set point of a bus where MATPOWER takes the last.
    """
    live = tables.bus[tables.bus[:, 1] != 4, 0]
    bus = tables.bus[np.isin(tables.bus[:, 0], live)]
    gen = tables.gen[np.isin(tables.gen[:, 0], live), :10]
    branch = tables.branch[np.isin(tables.branch[:, :2], live).all(axis=1)]
    for b in live:
        here = (gen[:, 0] == b) & (gen[:, 7] > 0)
        gen[here, 5] = gen[here, 5][-1:]
    kind = dict(bus[:, :2].tolist())
    kv = dict(bus[:, [0, 9]].tolist())
    gen[:, 7] *= [kind[b] in (2, 3) for b in gen[:, 0]]
    gen[:, 8:10] = 1e4, -1e4
    trafo = (branch[:, 8] != 0) | (branch[:, 9] != 0)
    trafo |= np.array([kv[f] != kv[t] for f, t in branch[:, :2]])
    branch[trafo, 4] = 0
    bus[(bus[:, 4] != 0) & (bus[:, 5] == 0), 5] = 1e-9
    return replace(tables, bus=bus, gen=gen, branch=branch)


def against_openloadflow(tables, folder, *, angle=True):
    pp = pytest.importorskip("pypowsybl")
    from scipy.io import savemat

    from tests.cases import openloadflow

    tables = for_powsybl(tables)
    mpc = {"version": "2", "baseMVA": tables.base_mva}
    mpc |= {key: getattr(tables, key) for key in ("bus", "gen", "branch")}
    savemat(folder / "x.mat", {"mpc": mpc})
    network = pp.network.load(str(folder / "x.mat"))
    case = from_tables(tables, name="x")
    grid = case.grid
    start = np.ones(2 * grid.n_substation, dtype=complex)
    start[::2] = tables.bus[:, 7] * np.exp(1j * np.deg2rad(tables.bus[:, 8]))
    got = reference_newton.solve(case, v0=start)[::2]
    slack = grid.unit_substation[np.flatnonzero(grid.is_reference)[0]]
    named = network.get_bus_breaker_view_buses(all_attributes=True)
    openloadflow.run(network, named.loc[f"BUS-{grid.bus_id[slack]}", "bus_id"])
    named = network.get_bus_breaker_view_buses(all_attributes=True).join(
        network.get_voltage_levels()["nominal_v"], on="voltage_level_id"
    )
    named = named.loc[[f"BUS-{bus}" for bus in grid.bus_id]]
    want = (named.v_mag / named.nominal_v * np.exp(1j * np.deg2rad(named.v_angle))).to_numpy()
    live = ~np.isnan(got)
    if not angle:
        got, want = np.abs(got), np.abs(want)
    else:
        want = want * np.exp(1j * (np.angle(got[slack]) - np.angle(want[slack])))
    np.testing.assert_allclose(got[live], want[live], rtol=0, atol=1e-8)


def test_features_solve_as_in_openloadflow(features, tmp_path):
    against_openloadflow(features, tmp_path)


@pytest.mark.parametrize("name", ("case9", "case14", "case118", "case300", "case89pegase"))
def test_matpower_cases_solve_as_in_openloadflow(name, tmp_path):
    against_openloadflow(tables_of(matpower_files.path_of(name)), tmp_path)
