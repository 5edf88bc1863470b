"""Every contingency against pandapower, one by one, and against our own single power flows."""

import networkx as nx
import numpy as np
import pandapower as pp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gridrl
from gridrl.io.pandapower import build_named, load_pandapower
from gridrl.powerflow import FlowOptions, FlowStatus
from gridrl.security import SecurityOptions, n_minus_1, security
from gridrl.security.contingency import contingencies_of
from gridrl.security.kernels_bridges import cutting_branches
from gridrl.security.tables import contingency_rows, violation_rows
from tests.cases import zoo

SOLVED = (FlowStatus.OK, FlowStatus.ISLANDED)
LOADING = ("line", "trafo", "trafo3w")


def assert_every_contingency_equals_pandapower(net, name):
    case = load_pandapower(net, name=name)
    result = security(case)
    load_before = served(net)
    for k in range(len(result.contingencies)):
        element = result.contingencies.elements[k][0]
        kind, ident = case.grid.element_kind[element], int(case.grid.element_id[element])
        net[kind].loc[ident, "in_service"] = False
        converged = runs(net)
        net[kind].loc[ident, "in_service"] = True
        label = result.contingencies.name[k]
        assert (result.status[k] in SOLVED) == converged, label
        if not converged:
            continue
        assert 100 * result.loading[k] == pytest.approx(highest_loading(net), abs=1e-4), label
        lost = load_before - net.res_load.p_mw.sum()
        if kind != "gen" and not (net.load.const_z_p_percent.any()):
            assert case.grid.s_base_mva * result.lost_load[k] == pytest.approx(lost, abs=1e-6), (
                label
            )
    return result


def runs(net):
    for init in ("dc", "flat"):
        try:
            pp.runpp(net, tolerance_mva=1e-7, init=init, max_iteration=30, numba=False)
        except pp.LoadflowNotConverged:
            continue
        return True
    return False


def served(net):
    assert runs(net)
    return net.res_load.p_mw.sum()


def highest_loading(net):
    values = [net[f"res_{t}"].loading_percent.to_numpy() for t in LOADING if len(net[t])]
    every = np.concatenate(values)
    # case300 without trafo:119: the reference stands alone, and pandapower has NaN everywhere
    return every[np.isfinite(every)].max(initial=0.0)


@pytest.mark.parametrize("name", ("case14", "case57", "case118"))
def test_n_minus_1_equals_a_pandapower_loop(name):
    assert_every_contingency_equals_pandapower(build_named(name), name)


@pytest.mark.slow
def test_n_minus_1_of_case300_diverges_where_pandapower_does():
    result = assert_every_contingency_equals_pandapower(build_named("case300"), "case300")
    assert (result.status == FlowStatus.DIVERGED).sum() == 27


@pytest.mark.parametrize("build", (zoo.three_windings, zoo.open_ends, zoo.islands, zoo.wards,
                                   zoo.several_references), ids=lambda b: b.__name__)  # fmt: skip
def test_n_minus_1_with_odd_elements(build):
    assert_every_contingency_equals_pandapower(build(), build.__name__)


@pytest.mark.parametrize("limits", (False, True))
def test_a_row_is_what_a_single_flow_finds(case118, limits):
    options = FlowOptions(enforce_q_limits=limits)
    result = security(case118, options=SecurityOptions(flow=options))
    for k in range(0, len(result.contingencies), 9):
        element = result.contingencies.elements[k][0]
        grid = case118.grid
        name = f"{grid.element_kind[element]}:{grid.element_id[element]}"
        single = gridrl.flow(gridrl.open_elements(case118, [name]), options=options)
        assert single.status[0] == result.status[k]
        assert np.nanmax(single.loading()) == pytest.approx(result.loading[k], abs=1e-7)
        v = np.abs(single.v[0])
        node = result.voltage_node[k]
        assert v[node] == pytest.approx(result.voltage[k], abs=1e-7)
        beyond = np.maximum(v - case118.grid.v_max, case118.grid.v_min - v)
        assert np.nanmax(beyond) == pytest.approx(beyond[node], abs=1e-6)


def tightened(case, factor=1.05):
    """The case with every branch rated a little above its present flow: many violations."""
    from dataclasses import replace

    result = gridrl.flow(case)
    i_from, i_to = result.current()
    grid = replace(
        case.grid, i_max_from=factor * i_from + 1e-3, i_max_to=factor * i_to + 1e-3,
        s_max=np.full(case.grid.n_branch, np.inf),
    )  # fmt: skip
    return replace(case, grid=grid)


def test_violations_are_all_that_exceed_a_limit_and_did_not_before(case118):
    case = tightened(case118)
    result = security(case)
    assert result.violation_branch.size > 1000
    for k in range(0, len(result.contingencies), 17):
        element = result.contingencies.elements[k][0]
        name = f"{case.grid.element_kind[element]}:{case.grid.element_id[element]}"
        loading = gridrl.flow(gridrl.open_elements(case, [name])).loading()
        mine = (result.violation_of == k) & (result.violation_branch >= 0)
        got = dict(zip(result.violation_branch[mine], result.violation_value[mine], strict=True))
        want = {b: loading[b] for b in np.flatnonzero(np.nan_to_num(loading) > 1.0)}
        assert got.keys() == want.keys()
        assert result.overloads[k] == len(want)
        for b, value in want.items():
            assert got[b] == pytest.approx(value, abs=1e-7)


def test_what_was_violated_before_counts_only_when_worse(case118):
    case = tightened(case118, factor=0.9)
    result = security(case)
    base = result.base.loading()
    assert (base > 1.0).all()
    branch = result.violation_branch >= 0
    worse = result.violation_value[branch] - base[result.violation_branch[branch]]
    assert worse.min() > 0.01 - 1e-9


def test_threads_do_not_change_the_result(case118):
    case = tightened(case118)
    one = security(case)
    two = security(case, options=SecurityOptions(flow=FlowOptions(threads=2)))
    for name in ("status", "loading", "branch", "voltage", "violation_of", "violation_value"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_n_minus_2_and_generators_together(case14):
    sets = [("line:0", "line:1"), ("line:2", "gen:0"), ("gen:0", "gen:1", "trafo:0")]
    result = security(case14, contingencies=contingencies_of(case14, sets))
    net = build_named("case14")
    for k, names in enumerate(sets):
        for name in names:
            kind, ident = name.split(":")
            net[kind].loc[int(ident), "in_service"] = False
        blackout = names == sets[0]  # both lines of the only external grid
        if blackout:
            assert result.status[k] == FlowStatus.ISLANDED
            assert result.lost_load[k] == pytest.approx(2.59)
        else:
            assert runs(net)
            assert 100 * result.loading[k] == pytest.approx(highest_loading(net), abs=1e-4)
        net = build_named("case14")


def test_a_case_without_solution_is_rows_that_say_so(case118):
    result = security(gridrl.scale_load(case118, 40.0))
    assert (result.status == FlowStatus.DIVERGED).all()
    assert result.insecure().all()
    assert len(contingency_rows(case118, result, 5)) == 5


def test_rows_are_worst_first_and_in_users_units(case118):
    case = tightened(case118)
    result = security(case)
    rows = contingency_rows(case, result)
    loadings = [row["worst_loading_percent"] for row in rows if row["status"] != "diverged"]
    assert loadings == sorted(loadings, reverse=True)
    assert len(violation_rows(case, result)) == result.violation_of.size
    assert {row["unit"] for row in violation_rows(case, result)} <= {"%", "pu"}


def test_progress_ends_at_the_total(case118):
    seen = []
    security(case118, progress=lambda done, total: seen.append((done, total)))
    n = len(n_minus_1(case118))
    assert seen[-1] == (n, n)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 30), m=st.integers(0, 45), seed=st.integers(0, 999))
def test_bridges_equal_networkx(n, m, seed):
    rng = np.random.default_rng(seed)
    f, t = rng.integers(n, size=(2, m))
    off = rng.random(m) < 0.1
    f, t = np.where(off | (f == t), -1, f), np.where(f == t, -1, t)
    sources = rng.integers(n, size=rng.integers(1, 4))
    graph = nx.MultiGraph()
    graph.add_nodes_from(range(n + 1))
    pairs = [(a, b, k) for k, (a, b) in enumerate(zip(f, t, strict=True)) if a >= 0 and b >= 0]
    pairs += [(n, s, m + k) for k, s in enumerate(sources)]
    graph.add_edges_from(pairs)
    single = nx.Graph(graph)
    want = np.zeros(m, bool)
    for a, b in nx.bridges(single):
        keys = list(graph[a][b])
        if len(keys) == 1 and keys[0] < m:
            want[keys[0]] = True
    got = cutting_branches(n, f.astype(np.int64), t.astype(np.int64), sources.astype(np.int64))
    np.testing.assert_array_equal(got, want)


def test_losing_most_of_the_load_ranks_before_any_overload():
    case = gridrl.load("case39")
    rows = contingency_rows(case, security(case))
    cut = next(k for k, row in enumerate(rows) if row["lost_load_mw"] > 6000)
    first_overload = next(k for k, row in enumerate(rows) if row["overloads"])
    assert cut < first_overload
    assert rows[0]["status"] == "diverged"
