"""What is simulated: beside `obs.simulate` of Grid2Op, and beside real steps."""

from dataclasses import fields, replace

import numpy as np
import pytest

from gridrl.env.choices import all_choices
from gridrl.env.simulate import compare, simulate, taken
from gridrl.env.state import Ending, Orders, State
from gridrl.env.step import copied, reset, step
from gridrl.env.world import World
from gridrl.errors import ScenarioError
from gridrl.grid import Injection
from gridrl.rewards import PHYSICAL


def same(a: State, b: State, but: tuple[str, ...] = ()) -> None:
    for field in fields(a):
        if field.name not in but:
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


@pytest.fixture(scope="module")
def sure(peaceful: World) -> World:
    """A world whose forecasts come true."""
    series = peaceful.series
    return replace(peaceful, series=replace(series, p_forecast=series.p, q_forecast=series.q))


def test_a_forecast_that_comes_true_is_the_next_step(sure: World) -> None:
    state = reset(sure, np.random.default_rng(0), batch=20)
    choices = all_choices(sure)
    orders = choices.orders(state, np.arange(20) * 5)
    real, outcome = step(sure, state, orders)
    tried, told = simulate(sure, state, orders)
    same(tried, real)
    np.testing.assert_array_equal(told.verdict, outcome.verdict)


def test_simulating_changes_nothing(world: World) -> None:
    state = reset(world, np.random.default_rng(0), batch=3)
    before = copied(state)
    simulate(world, state, ahead=0)
    compare(world, state, all_choices(world), np.arange(4))
    same(state, before)


def test_no_new_attack_is_foreseen_and_one_that_goes_on_is(world: World) -> None:
    state = reset(world, np.random.default_rng(5), batch=6)
    tried, _ = simulate(world, state)
    assert (tried.attacked == -1).all()
    state, _ = step(world, state)  # whose opponents attack at once
    held = state.running & (state.attacked >= 0)
    assert held.any()
    back = np.zeros((6, world.case.grid.n_branch), np.int8)
    back[np.flatnonzero(held), state.attacked[held]] = 1
    for ahead, verdict, attacked in ((1, 2, state.attacked), (12, None, -1)):
        tried, outcome = simulate(
            world, state, Orders(set_line=back), ahead=ahead, injection=_now(world, state)
        )
        if verdict is not None:
            assert (outcome.verdict[held] == verdict).all()
        np.testing.assert_array_equal(tried.attacked[held], np.broadcast_to(attacked, 6)[held])


def _now(world: World, state: State) -> Injection:
    series = world.series
    return Injection(p=series.p[state.row], q=series.q[state.row], v_set=series.v_set[state.row])


def test_what_is_loaded_can_be_handed_in(sure: World) -> None:
    state = reset(sure, np.random.default_rng(0), batch=4)
    series = sure.series
    following = Injection(
        p=series.p[state.row + 1], q=series.q[state.row + 1], v_set=series.v_set[state.row + 1]
    )
    same(simulate(sure, state, injection=following)[0], step(sure, state)[0])


def test_many_choices_are_compared_as_one_by_one(world: World) -> None:
    state = reset(world, np.random.default_rng(3), batch=3)
    choices = all_choices(world)
    only = np.ones((3, len(choices)), np.bool_)
    only[1, ::2] = False
    found = compare(world, state, choices, only=only, reward_fn=PHYSICAL)
    assert np.isinf(found.worst[~only]).all()
    assert found.lost.any()
    for k in range(0, len(choices), 23):
        after, outcome = simulate(world, state, choices.orders(state, np.full(3, k)))
        np.testing.assert_array_equal(found.verdict[:, k][only[:, k]], outcome.verdict[only[:, k]])
        np.testing.assert_array_equal(found.ending[:, k][only[:, k]], after.ending[only[:, k]])
        worst = np.where(after.running, after.rho.max(axis=1), np.inf)
        np.testing.assert_allclose(found.worst[:, k][only[:, k]], worst[only[:, k]], atol=1e-7)
    assert found.terms.shape == (3, len(choices), len(PHYSICAL.names))
    over = found.terms[..., PHYSICAL.names.index("game_over")]
    np.testing.assert_array_equal(over, np.where(found.lost, -1.0, 0.0))


def test_waiting_counts_down_what_counts_down(peaceful: World) -> None:
    state = reset(peaceful, np.random.default_rng(0), batch=1)
    order = np.zeros((1, peaceful.case.grid.n_branch), np.int8)
    order[0, 2] = -1
    state, _ = step(peaceful, state, Orders(set_line=order))
    order[0, 2] = 1
    now = _now(peaceful, state)
    verdicts = [
        simulate(peaceful, state, Orders(set_line=order), ahead=h, injection=now)[1].verdict[0]
        for h in range(6)
    ]
    assert verdicts == [2, 2, 2, 2, 0, 0]  # a cooldown of 3


def test_wrong_use_is_told(world: World) -> None:
    state = reset(world, np.random.default_rng(0), batch=2)
    with pytest.raises(ScenarioError, match="Forecasts reach 288 steps ahead, not 289"):
        simulate(world, state, ahead=289)
    with pytest.raises(ScenarioError, match="beyond the batch of 2"):
        simulate(world, state, of=np.array([2]))
    small = Injection(p=np.zeros((1, 3)), q=np.zeros((1, 3)), v_set=np.ones((1, 3)))
    with pytest.raises(ScenarioError, match=r"The injection has shape \(1, 3\)"):
        simulate(world, state, injection=small)
    with pytest.raises(ScenarioError, match="only has shape"):
        compare(world, state, all_choices(world), only=np.ones((1, 1), np.bool_))
    assert (simulate(world, taken(state, np.array([1, 1])))[0].ending == Ending.RUNNING).all()


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "kinds", "aheads"),
    (
        ("rte_case14_realistic", ("busbar", "line"), (0, 1)),
        # with dispatch, `time_step=0` of Grid2Op adds it to powers that contain it already
        ("educ_case14_storage", ("redispatch", "curtail", "storage", "busbar"), (1,)),
        ("l2rpn_neurips_2020_track1", ("busbar", "line"), (0, 1)),
        ("l2rpn_idf_2023", ("busbar", "line"), (1, 5, 12)),
    ),
)
def test_simulated_steps_are_grid2ops(
    name: str, kinds: tuple[str, ...], aheads: tuple[int, ...]
) -> None:
    pytest.importorskip("lightsim2grid")
    from benchmarks.peers.grid2op_simulate import simulated_beside
    from benchmarks.peers.grid2op_world import no_opponent, shipped

    both = shipped(name, episodes=1, playable=True, **no_opponent())
    report = simulated_beside(both, 25, np.random.default_rng(1), kinds=kinds, aheads=aheads)
    assert report.differences == []
    assert report.max_delta_rho <= 1e-5
    assert report.steps > 40
