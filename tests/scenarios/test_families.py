"""Regions, SimBench, cases of one's own, frozen packs."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gridrl
import gridrl.env
import scenarios
from gridrl.env.observe import facts_of
from gridrl.env.state import Ending, Orders
from gridrl.env.step import reset, step
from gridrl.errors import CaseError, ScenarioError
from gridrl.rewards import PHYSICAL
from scenarios.region import region_of
from scenarios.scenario import Battery

FAST = [name for name in scenarios.names() if name != "mv_rural"]


# --- regions --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "buses",
    (
        scenarios.load("ieee118_region36").region,  # with the reference machine
        tuple(str(bus) for bus in range(32)),  # without: another one takes its place
    ),
    ids=("36", "west"),
)
def test_a_region_keeps_its_voltages_and_flows(buses: tuple[str, ...]) -> None:
    whole = gridrl.load("case118")
    part = region_of(whole, buses)
    assert part.grid.is_reference.sum() == 1
    big, small = gridrl.flow(whole), gridrl.flow(part)
    at = [int(whole.grid.bus_substation[whole.grid.bus_id.index(bus)]) for bus in part.grid.bus_id]
    np.testing.assert_allclose(small.v[0, : len(at)], big.v[0, at], atol=1e-7)
    label = {name: k for k, name in enumerate(whole.grid.branch_label)}
    known = [label[name] for name in part.grid.branch_label]
    np.testing.assert_allclose(small.s_from[0], big.s_from[0, known], atol=1e-7)
    np.testing.assert_allclose(small.s_to[0], big.s_to[0, known], atol=1e-7)


def test_the_region_is_that_of_the_competitions() -> None:
    case = scenarios.load("ieee118_region36").case
    assert (case.grid.n_substation, case.grid.n_branch) == (36, 59)
    whole = gridrl.load("case118").grid
    inside = np.isin(whole.substation_bus, scenarios.load("ieee118_region36").region)
    cut = inside[whole.from_substation] != inside[whole.to_substation]
    assert sum(name.startswith("boundary") for name in case.grid.element_id) == cut.sum() == 8


def test_a_region_that_cannot_stand_alone_is_refused() -> None:
    case = gridrl.load("case118")
    with pytest.raises(ScenarioError, match="names bus 999, which case118"):
        region_of(case, ("999",))
    with pytest.raises(ScenarioError, match="no generator that holds a voltage"):
        region_of(case, ("1", "2"))


# --- SimBench -------------------------------------------------------------------------------
@pytest.mark.slow
def test_simbench_flows_are_those_of_pandapower() -> None:
    """Its own profiles, its own net, its own solver: every bus, at moments of all seasons."""
    pytest.importorskip("simbench")
    import pandapower as pp
    import simbench

    scenario = scenarios.load("mv_rural")
    world = scenario.world()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = simbench.get_simbench_net("1-MV-rural--2-sw")
        year = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    assert world.series.step_s == 900
    state = reset(world, np.random.default_rng(0), episode=np.array([0, 9, 20, 33]), first=48)
    grid = world.case.grid
    for b, name in enumerate(world.series.names[e] for e in state.episode):
        row = int(name.removeprefix("day-")) * 96 + 48
        for (table, column), values in year.items():
            net[table].loc[values.columns, column] = values.loc[row]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pp.runpp(net, calculate_voltage_angles=True)
        got = np.abs(state.v[b, grid.bus_substation])
        want = net.res_bus.vm_pu.loc[[int(bus) for bus in grid.bus_id]].to_numpy()
        live = np.isfinite(want)
        np.testing.assert_allclose(got[live], want[live], atol=1e-6)


@pytest.mark.slow
def test_curtailment_mends_voltages() -> None:
    pytest.importorskip("simbench")
    world = scenarios.load("mv_rural").world()
    start = reset(world, np.random.default_rng(0), episode=np.arange(8), first=40)
    curtail = np.where(world.fleet.renewable, 0.0, np.nan)[None].repeat(8, axis=0)
    terms = {}
    for name, orders in (("nothing", Orders()), ("curtail", Orders(curtail=curtail))):
        state, outcome = step(world, start, orders)
        assert state.running.all()  # the grid above makes up for it
        terms[name] = PHYSICAL(facts_of(world, start, state, outcome))
    voltage = PHYSICAL.names.index("voltage")
    assert terms["nothing"][:, voltage].min() < -0.01
    assert (terms["curtail"][:, voltage] > -1e-9).all()
    assert (terms["curtail"][:, PHYSICAL.names.index("curtailment")] < 0).all()


def test_the_voltage_term_is_what_is_outside() -> None:
    world = scenarios.load("ieee14").world()
    before = reset(world, np.random.default_rng(0), batch=3)
    after, outcome = step(world, before)
    v = after.v.copy()
    v[:, 3] *= 1.2 / np.abs(v[:, 3])
    v[1, 4] *= 0.9 / np.abs(v[1, 4])
    found = PHYSICAL(facts_of(world, before, replace(after, v=v), outcome))
    term = found[:, PHYSICAL.names.index("voltage")]
    others = np.delete(np.abs(after.v), [3, 4], axis=1)
    low, high = np.delete(world.case.grid.v_min, [3, 4]), np.delete(world.case.grid.v_max, [3, 4])
    rest = np.array([
        np.maximum(0, np.maximum(row[: low.size] - high, low - row[: low.size]))[
            np.isfinite(row[: low.size])
        ].sum()
        for row in others
    ])  # fmt: skip
    own = np.array([1.2 - 1.06, 1.2 - 1.06 + 0.94 - 0.9, 1.2 - 1.06])
    fourth = np.maximum(np.abs(after.v[[0, 2], 4]) - 1.06, 0)
    own[[0, 2]] += fourth
    np.testing.assert_allclose(-term, own + rest, atol=1e-9)


def test_simbench_codes_are_checked() -> None:
    pytest.importorskip("simbench")
    with pytest.raises(CaseError, match="SimBench has no grid '1-MV-nowhere'"):
        gridrl.load("simbench:1-MV-nowhere")


# --- one's own ------------------------------------------------------------------------------
def test_a_case_alone_is_a_scenario() -> None:
    scenario = scenarios.from_case("case_ieee30")
    assert scenario.family == "own"
    assert not np.intersect1d(scenario.episodes("train"), scenario.episodes("test")).size
    env = gridrl.env.make(scenario.world(), steps=3)
    env.reset(seed=0)
    assert env.step(0)[2] is False
    other = scenarios.from_case(gridrl.load("case14"), "mine")
    assert other.name == "mine"
    assert other.case.grid.n_substation == 14


def test_a_net_of_ones_own_is_named_in_a_file(tmp_path: Path) -> None:
    import pandapower as pp
    import pandapower.networks as networks

    net = networks.case9()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.to_json(net, str(tmp_path / "net.json"))
    path = tmp_path / "my.toml"
    path.write_text('[grid]\ncase = "net.json"\n[series]\nepisodes = 2\ndays = 0.1\n')
    world = scenarios.load(path).world()
    assert world.case.grid.n_substation == 9
    env = gridrl.env.make(path, steps=2)
    env.reset(seed=0)
    env.step(0)


def test_storage_of_a_file_takes_orders(tmp_path: Path) -> None:
    import pandapower as pp
    import pandapower.networks as networks

    net = networks.case9()
    pp.create_storage(net, 4, p_mw=0.0, max_e_mwh=20.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.to_json(net, str(tmp_path / "net.json"))
    path = tmp_path / "my.toml"
    path.write_text(
        '[grid]\ncase = "net.json"\n[series]\nepisodes = 1\ndays = 0.5\n[fleet]\nramp = 0.1\n'
        '[[storage]]\nelement = "storage:0"\nenergy_mwh = 20\npower_mw = 6\nefficiency = 0.9\n'
    )
    scenario = scenarios.load(path)
    assert scenario.batteries == (
        Battery(element="storage:0", energy_mwh=20.0, power_mw=6.0, efficiency=0.9),
    )
    world = scenario.world()
    state = reset(world, np.random.default_rng(0), batch=1)
    base = world.case.grid.s_base_mva
    after, outcome = step(world, state, Orders(storage=np.array([[6.0 / base]])))
    assert outcome.verdict[0] == 0
    gained = (after.charge - state.charge)[0, 0] * base
    assert gained == pytest.approx(6.0 * 0.9 / 12)  # five minutes
    assert after.ending[0] == Ending.RUNNING


# --- packs ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FAST)
def test_packs_are_frozen_and_disjoint(name: str) -> None:
    scenario = scenarios.load(name)
    assert dict(scenario.frozen).keys() == {"train", "test"}
    scenario.verify()
    train, test = scenario.episodes("train"), scenario.episodes("test")
    assert not np.intersect1d(train, test).size
    assert np.array_equal(np.union1d(train, test), scenario.episodes())
    rows = [
        {row.tobytes() for row in scenario.world(pack=pack).series.p} for pack in ("train", "test")
    ]
    assert not rows[0] & rows[1]  # not one moment is in both


@pytest.mark.slow
def test_packs_of_simbench_are_frozen() -> None:
    pytest.importorskip("simbench")
    scenarios.load("mv_rural").verify()


def test_a_pack_that_changed_is_noticed() -> None:
    scenario = scenarios.load("ieee5")
    assert scenario.recipe is not None
    other = replace(scenario, recipe=replace(scenario.recipe, seed=6))
    with pytest.raises(ScenarioError, match="Pack 'train' of ieee5 has changed"):
        other.verify()


def test_families_are_listed() -> None:
    assert "ieee118_region36" in scenarios.names("ieee")
    assert scenarios.names("distribution") == ("mv_rural",)


# --- places in messages ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "says"),
    (
        ("[grid]\ncase = 'case5'\n[fleet]\nramp = 2\n", r"\[fleet\] ramp is 2; give 0 to 1"),
        ("[grid]\ncase = 3\n", r"\[grid\] case must be a text"),
        ("[grid]\ncase = 'case5'\nregion = 'all'\n", r"\[grid\] region must be a list of texts"),
        (
            "[grid]\ncase = 'case5'\n[[hazard]]\nelement = 'line:0'\nsteps = 1\n[[hazard]]\n",
            r"\[\[hazard\]\] number 2: element must be a text",
        ),
        (
            "[grid]\ncase = 'case5'\n[[storage]]\nelement = 'storage:0'\n",
            r"\[\[storage\]\] number 1: energy_mwh must be a number; add it",
        ),
        ("[grid]\ncase = 'case5'\n[packs]\ndev = 'x'\n", r"\[packs\] has no entry 'dev'"),
        ("[grid]\ncase = 'case5'\n[series]\nprofiles = 'mine'\n", "there is 'simbench'"),
        ("[grid]\ncase = 'case5'\nx = \n", r"is no TOML: .*line 3, column 5"),
    ),
)
def test_messages_name_the_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=says):
        scenarios.load(path)


def test_profiles_need_a_grid_of_simbench(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[grid]\ncase = 'case5'\n[series]\nprofiles = 'simbench'\n")
    with pytest.raises(ScenarioError, match="Profiles of SimBench fit its own grids"):
        _ = scenarios.load(path).series
