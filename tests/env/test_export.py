"""Scenarios of ours, played by Grid2Op itself (backend LightSim)."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import scenarios
from gridrl.env.opponent import NOBODY
from gridrl.env.state import Orders
from gridrl.env.step import reset, step
from gridrl.errors import CaseError

pytest.importorskip("grid2op")
pytest.importorskip("lightsim2grid")

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    "name", ("ieee14", "ieee57", pytest.param("ieee30", marks=pytest.mark.slow))
)
def test_grid2op_sees_the_same_grid_step_by_step(name: str, tmp_path: Path) -> None:
    import grid2op
    from lightsim2grid import LightSimBackend

    from benchmarks.peers.grid2op_export import export
    from benchmarks.peers.grid2op_world import no_opponent

    world = scenarios.load(name).world()
    rules = replace(world.rules, rho_side="from", redispatch="slsqp")  # as Grid2Op has it
    world = replace(world, rules=rules, opponent=NOBODY)
    export(world, tmp_path / name, episodes=1)
    env = grid2op.make(str(tmp_path / name), backend=LightSimBackend(), **no_opponent())
    obs = env.reset()
    state = reset(world, np.random.default_rng(0), episode=np.array([0]))
    grid = world.case.grid
    labels = [f"{grid.element_kind[e]}_{grid.element_id[e]}" for e in grid.branch_element]
    at = [labels.index(str(label)) for label in env.name_line]
    rng, done, fleet = np.random.default_rng(2), False, world.fleet
    gens = [str(label) for label in env.name_gen]
    units = [f"{grid.element_kind[e]}_{grid.element_id[e]}" for e in grid.unit_element]
    mine = [gens.index(units[m]) for m in fleet.gen_unit]
    for k in range(80):
        np.testing.assert_allclose(state.rho[0, at], obs.rho, rtol=0, atol=2e-5)
        np.testing.assert_array_equal(state.overflow[0, at], obs.timestep_overflow)
        np.testing.assert_array_equal(state.line_cooldown[0, at], obs.time_before_cooldown_line)
        action, orders = env.action_space(), Orders()
        if k % 9 == 4:  # close what is open, or open a line
            way = np.zeros((1, grid.n_branch), np.int8)
            out = np.flatnonzero(~state.closed[0])
            way[0, out[0] if out.size else rng.integers(grid.n_branch)] = 1 if out.size else -1
            action = env.action_space({"set_line_status": way[0, at].astype(np.int32)})
            orders = Orders(set_line=way)
        elif k % 9 == 7 and fleet.redispatchable.any():
            g = int(rng.choice(np.flatnonzero(fleet.redispatchable)))
            mw = np.zeros(fleet.n_gen, np.float32)
            mw[g] = 0.5 * grid.s_base_mva * fleet.ramp_up[g]
            theirs = np.zeros(len(gens), np.float32)
            theirs[mine] = mw
            action = env.action_space({"redispatch": theirs})
            orders = Orders(redispatch=mw[None].astype(float) / grid.s_base_mva)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            obs, _, done, info = env.step(action)
        state, outcome = step(world, state, orders)
        assert (outcome.verdict[0] > 0) == (info["is_illegal"] or info["is_ambiguous"])
        assert done != state.running[0]
        if done:
            break
    assert k > 5


def test_what_grid2op_cannot_say_is_named(tmp_path: Path) -> None:
    from benchmarks.peers.grid2op_export import export

    world = scenarios.load("ieee5").world()
    grid = world.case.grid
    kinds = tuple("sgen" if kind == "gen" else kind for kind in grid.unit_kind)
    odd = replace(world, case=replace(world.case, grid=replace(grid, unit_kind=kinds)))
    with pytest.raises(CaseError, match="no counterpart of sgen"):
        export(odd, tmp_path / "odd")
