"""Batches of outages, busbar splits and injections, each state rebuilt and solved by pandapower."""

import copy

import numpy as np
import pandapower as pp
import pytest

from gridrl.grid import Injection, Topology
from gridrl.io.pandapower import build_named, load_pandapower
from gridrl.powerflow import FlowOptions, FlowStatus, flow
from gridrl.powerflow.engine import prepare
from tests.cases import zoo
from tests.cases.pandapower_oracle import solve

ATOL = 5e-7  # both stop below a mismatch of 1e-8 p.u.; seen 1.2e-7 with voltage-dependent loads
ENDS = {"line": ("from_bus", "to_bus"), "trafo": ("hv_bus", "lv_bus")}
UNITS = ("load", "gen", "sgen", "shunt", "ext_grid")
NETS = {
    "case14": lambda: build_named("case14"),
    "case118": lambda: build_named("case118"),
    "case89pegase": lambda: build_named("case89pegase"),
    "voltage_dependent_loads": lambda: one_zip_load_per_bus(),  # noqa: PLW0108 - defined below
    "generators": zoo.generators,
}


def one_zip_load_per_bus():
    """Pandapower averages the shares of loads at one bus, so a split would change them."""
    net = build_named("case14")
    rng = np.random.default_rng(0)
    net.load = net.load.drop_duplicates("bus")
    for part in ("p", "q"):
        net.load[f"const_z_{part}_percent"] = rng.uniform(0, 50, len(net.load))
        net.load[f"const_i_{part}_percent"] = rng.uniform(0, 50, len(net.load))
    return net


class Drawn:
    """A random state: the same change made to our topology and to a pandapower net."""

    def __init__(self, net, case, rng):
        grid = case.grid
        self.net = copy.deepcopy(net)
        self.busbar = case.topology.busbar[0].copy()
        self.closed = case.topology.closed[0].copy()
        self.p, self.q = case.injection.p[0].copy(), case.injection.q[0].copy()
        self.new_bus = {}
        for _ in range(rng.integers(1, 3)):
            self._split(case, int(rng.integers(grid.n_substation)), rng)
        for k in rng.choice(grid.n_branch, int(rng.integers(0, 3)), replace=False):
            kind, ident = self._name(case, int(grid.branch_element[k]))
            if kind in ENDS:
                self.closed[k] = False
                self.net[kind].loc[ident, "in_service"] = False
        self._scale(case, rng)

    @staticmethod
    def _name(case, element):
        return case.grid.element_kind[element], int(case.grid.element_id[element])

    def _split(self, case, substation, rng):
        grid = case.grid
        buses = np.flatnonzero(grid.bus_substation == substation)
        if grid.is_star[substation] or buses.size != 1 or substation in self.new_bus:
            return
        old = int(grid.bus_id[int(buses[0])])
        new = pp.create_bus(self.net, vn_kv=self.net.bus.vn_kv.at[old])
        self.new_bus[substation] = new
        n = grid.n_branch
        for terminal in np.flatnonzero(grid.terminal_substation == substation):
            if self.busbar[terminal] != 1 or rng.random() < 0.5:
                continue
            if terminal < 2 * n:
                kind, ident = self._name(case, int(grid.branch_element[terminal % n]))
                column = ENDS[kind][terminal // n] if kind in ENDS else None
            else:
                kind, ident = self._name(case, int(grid.unit_element[terminal - 2 * n]))
                column = "bus" if kind in UNITS else None
            if column:
                self.busbar[terminal] = 2
                self.net[kind].loc[ident, column] = new

    def _scale(self, case, rng):
        for m in range(case.grid.n_unit):
            if case.grid.unit_kind[m] == "load":
                factor = rng.uniform(0.9, 1.1)
                self.p[m] *= factor
                self.q[m] *= factor
                self.net.load.loc[int(case.grid.element_id[int(case.grid.unit_element[m])]),
                                  ["p_mw", "q_mvar"]] *= factor  # fmt: skip


def draw(name, count, seed):
    net = NETS[name]()
    case = load_pandapower(net, name=name)
    rng = np.random.default_rng(seed)
    return case, [Drawn(net, case, rng) for _ in range(count)]


def stacked(case, drawn):
    topology = Topology(
        busbar=np.stack([d.busbar for d in drawn]), closed=np.stack([d.closed for d in drawn])
    )
    injection = Injection(
        p=np.stack([d.p for d in drawn]), q=np.stack([d.q for d in drawn]),
        v_set=np.repeat(case.injection.v_set, len(drawn), axis=0),
    )  # fmt: skip
    return topology, injection


def assert_state_equals(case, result, state, drawn, **options):
    """Voltages on both busbars, flows at both ends, and what is dead, as pandapower has it."""
    try:
        solved = solve(drawn.net, **options)
    except UserWarning:  # pandapower: no reference left
        assert result.status[state] == FlowStatus.BLACKOUT
        return "blackout"
    if not solved:
        assert result.status[state] == FlowStatus.DIVERGED
        return "diverged"
    bus = drawn.net.res_bus
    v = (bus.vm_pu * np.exp(1j * np.deg2rad(bus.va_degree))).to_dict()
    for k in range(case.grid.n_bus):
        substation = int(case.grid.bus_substation[k])
        assert_close(result.v[state, substation], v[int(case.grid.bus_id[k])])
        if substation in drawn.new_bus and result.second_node[substation] >= 0:
            assert_close(result.v[state, result.second_node[substation]],
                         v[drawn.new_bus[substation]])  # fmt: skip
    base = case.grid.s_base_mva
    for k in range(case.grid.n_branch):
        kind, ident = Drawn._name(case, int(case.grid.branch_element[k]))
        if kind not in ENDS:
            continue
        row = drawn.net[f"res_{kind}"].loc[ident]
        names = ("from", "to") if kind == "line" else ("hv", "lv")
        for end, power in zip(names, (result.s_from, result.s_to), strict=True):
            want = complex(row[f"p_{end}_mw"], row[f"q_{end}_mvar"]) / base
            assert abs(power[state, k] - np.nan_to_num(want)) < 10 * ATOL
    return "solved"


def assert_close(got, want):
    if np.isnan(want):
        assert np.isnan(got)
    else:
        assert abs(got - want) < ATOL


@pytest.mark.parametrize("name", NETS)
def test_mixed_states_in_one_batch(name):
    case, drawn = draw(name, 27, seed=5)
    topology, injection = stacked(case, drawn)
    result = flow(case, topology=topology, injection=injection)
    ends = [assert_state_equals(case, result, k, d) for k, d in enumerate(drawn)]
    assert ends.count("solved") >= 9, ends
    assert (result.status == FlowStatus.ISLANDED).any()


def test_reactive_limits_in_a_batch_of_splits():
    case, drawn = draw("case14", 16, seed=8)
    topology, injection = stacked(case, drawn)
    options = FlowOptions(enforce_q_limits=True, restore_voltage=False)
    result = flow(case, topology=topology, injection=injection, options=options)
    ends = [
        assert_state_equals(case, result, k, d, enforce_q_lims=True) for k, d in enumerate(drawn)
    ]
    assert ends.count("solved") >= 8, ends


@pytest.mark.parametrize("name", ("case118", "voltage_dependent_loads"))
def test_injection_sweep_on_base_factors_equals_single_flows(name):
    case, drawn = draw(name, 40, seed=3)
    _, injection = stacked(case, drawn)
    engine = prepare(case)
    for sequence in (False, True):
        swept = engine.flow(injection=injection, sequence=sequence)
        assert swept.batch == 40
        for k in range(0, 40, 7):
            one = Injection(
                p=injection.p[k : k + 1], q=injection.q[k : k + 1],
                v_set=injection.v_set[k : k + 1],
            )  # fmt: skip
            single = flow(case, injection=one)
            np.testing.assert_allclose(swept.v[k], single.v[0], rtol=0, atol=ATOL)
            np.testing.assert_allclose(swept.s_to[k], single.s_to[0], rtol=0, atol=10 * ATOL)


def test_a_state_does_not_depend_on_its_neighbours():
    case, drawn = draw("case118", 24, seed=11)
    topology, injection = stacked(case, drawn)
    result = flow(case, topology=topology, injection=injection)
    order = np.random.default_rng(0).permutation(24)
    mixed = flow(
        case,
        topology=Topology(busbar=topology.busbar[order], closed=topology.closed[order]),
        injection=Injection(
            p=injection.p[order], q=injection.q[order], v_set=injection.v_set[order]
        ),
    )
    np.testing.assert_array_equal(mixed.status, result.status[order])
    np.testing.assert_allclose(mixed.v, result.v[order], rtol=0, atol=ATOL)


def test_threads_do_not_change_a_bit():
    case, drawn = draw("case118", 64, seed=2)
    topology, injection = stacked(case, drawn)
    one = flow(case, topology=topology, injection=injection)
    two = flow(case, topology=topology, injection=injection, options=FlowOptions(threads=2))
    np.testing.assert_array_equal(one.v, two.v)
    np.testing.assert_array_equal(one.iterations, two.iterations)


def test_generator_voltage_set_points_per_state(case118):
    rng = np.random.default_rng(4)
    v_set = case118.injection.v_set + rng.uniform(-0.01, 0.01, (12, case118.grid.n_unit))
    injection = Injection(
        p=np.repeat(case118.injection.p, 12, axis=0), q=np.repeat(case118.injection.q, 12, axis=0),
        v_set=v_set,
    )  # fmt: skip
    result = prepare(case118).flow(injection=injection)
    held = np.flatnonzero(case118.grid.controls_voltage)
    node = case118.grid.unit_substation[held]
    np.testing.assert_allclose(np.abs(result.v[:, node]), v_set[:, held], rtol=0, atol=1e-12)
