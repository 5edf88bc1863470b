"""The DC screen of orders, held against a DC power flow of the switched grid."""

from dataclasses import replace

import numpy as np
import pytest

import scenarios
from gridrl.arrays import Floats
from gridrl.env.choices import Choices, all_choices
from gridrl.env.kernels_orders import apply_topology
from gridrl.env.simulate import taken
from gridrl.env.state import State
from gridrl.env.world import World
from gridrl.grid import Injection, Topology
from gridrl.policies.screen import Screen
from gridrl.powerflow.dc import dc_flow
from gridrl.training.states import Trouble, draw_states

ANY = Trouble(most_orders=4, low=0.0, quiet=1.0, high=1e9)


def _as_dc(world: World, state: State) -> State:
    """The states with flows, angles and loadings of a DC power flow."""
    grid = world.case.grid
    found = dc_flow(
        world.case, topology=Topology(busbar=state.busbar, closed=state.closed),
        injection=Injection(p=state.p, q=state.q, v_set=world.series.v_set[state.row]),
    )  # fmt: skip
    second = world.engine.model.second_node
    v = np.full(state.v.shape, np.nan + 0j)
    v[:, : grid.n_substation] = np.exp(1j * found.theta[:, : grid.n_substation])
    both = np.flatnonzero((second >= 0) & (found.second_node >= 0))
    v[:, second[both]] = np.exp(1j * found.theta[:, found.second_node[both]])
    p = np.nan_to_num(found.p_from)
    return replace(
        state, s_from=p + 0j, s_to=-p + 0j, v=v, rho=np.abs(p) / _rating(world),
    )  # fmt: skip


def _rating(world: World) -> Floats:
    grid = world.case.grid
    return np.minimum.reduce([grid.i_max_from, grid.i_max_to, grid.s_max])


def _after(world: World, choices: Choices, state: State, number: int) -> State:
    orders = choices.orders(state, np.array([number]))
    assert orders.set_busbar is not None
    assert orders.set_line is not None
    legal = np.zeros(1, np.int8)
    apply_topology(
        np.ones(1, np.bool_), orders.set_busbar, orders.set_line, legal, state.busbar, state.closed
    )
    return _as_dc(world, state)


def _whole(world: World, state: State) -> bool:
    """Whether everything that carries or takes power has a voltage."""
    grid = world.case.grid
    at = np.where(
        state.busbar[0, 2 * grid.n_branch :] == 2,
        world.engine.model.second_node[grid.unit_substation], grid.unit_substation,
    )  # fmt: skip
    return bool(np.isfinite(state.v[0, at]).all())


@pytest.mark.parametrize("name", ("ieee14", "ieee30"))
def test_loadings_are_those_of_a_dc_flow_after_the_order(name: str) -> None:
    world = scenarios.load(name).world()
    choices = all_choices(world)
    screen = Screen(world, choices)
    drawn = draw_states(world, choices, 40, np.random.default_rng(5), ANY)
    split = (drawn.busbar == 2).any(axis=1) & ~drawn.closed.all(axis=1)
    states = _as_dc(world, taken(drawn, np.flatnonzero(split)[:4]))
    found = screen(states, losses=10**6)
    kinds = {"open": 0, "close": 0, "split": 0, "split again": 0, "join": 0}
    for b in range(states.batch):
        one = taken(states, np.array([b]))
        allowed = choices.allowed(world, one)[0]
        twice = screen._split(states, b)
        for k in np.flatnonzero(np.isfinite(found.loading[b]) & allowed)[1::3].tolist():
            after = _after(world, choices, taken(one, np.array([0])), k)
            if not _whole(world, after):
                continue
            assert found.loading[b, k] == pytest.approx(after.rho.max(), abs=1e-6)
            kinds[_kind(choices, k, twice)] += 1
            if sum(kinds.values()) % 9 == 0:
                assert found.outage[b, k] == pytest.approx(_outage(world, after), abs=1e-6)
    assert kinds["open"] > 5
    assert kinds["split"] > 20
    assert kinds["split again"] > 5
    assert kinds["join"] + kinds["close"] > 0


def _kind(choices: Choices, k: int, split: np.ndarray) -> str:
    if choices.substation[k] < 0:
        return "close" if (choices.set_line[k] == 1).any() else "open"
    if not (choices.set_busbar[k] == 2).any():
        return "join"
    return "split again" if split[choices.substation[k]] else "split"


def _outage(world: World, state: State) -> float:
    """Highest loading after an outage that cuts nothing off, by as many DC flows."""
    worst = 0.0
    element = world.case.grid.branch_element
    for line in np.flatnonzero(state.closed[0]):
        after = taken(state, np.array([0]))
        after.closed[0, element == element[line]] = False
        after = _as_dc(world, after)
        if _whole(world, after):
            worst = max(worst, float(after.rho.max()))
    return worst


def test_what_has_no_power_flow_is_left_unknown() -> None:
    world = scenarios.load("ieee14").world()
    choices = all_choices(world)
    states = draw_states(world, choices, 20, np.random.default_rng(1), ANY)
    states.rho[0] = np.nan
    found = Screen(world, choices)(states)
    assert np.isnan(found.loading[0]).all()
    assert not found.features()[0].any()
    assert np.isfinite(found.loading[1, 0])
