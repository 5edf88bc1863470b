"""Rollouts side by side with Grid2Op (backend LightSim), never copying a state."""

import numpy as np
import pytest

from benchmarks.peers.grid2op_rollout import Report, draw, rollout
from benchmarks.peers.grid2op_world import begin, no_opponent, shipped
from gridrl.env.action_sets import choices_of
from gridrl.env.step import reset, step

pytest.importorskip("grid2op")
pytest.importorskip("lightsim2grid")

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

# Grid2Op keeps loadings as float32, whose digits end at 1e-7 of a loading of 1.
RHO = 1e-5
EVERYTHING = ("busbar", "line", "redispatch", "curtail", "storage")


def checked(report: Report) -> None:
    assert report.differences == []
    assert report.max_delta_rho <= RHO
    assert report.same_death_step


# Deaths of doing nothing, published with the environments' statistics.
@pytest.mark.parametrize(
    ("name", "episode", "dies"),
    (("rte_case14_realistic", 0, 799), ("rte_case5_example", 0, None)),
)
def test_doing_nothing_ends_where_grid2op_ends(name: str, episode: int, dies: int | None) -> None:
    both = shipped(name, episodes=1)
    steps = dies or both.world.series.horizon(0)
    report = rollout(both, steps, np.random.default_rng(0), kinds=(), only=np.array([episode]))
    checked(report)
    if dies:
        assert report.deaths == [(episode, dies, dies)]


@pytest.mark.parametrize("name", ("rte_case5_example", "rte_case14_realistic", "l2rpn_wcci_2020"))
def test_random_switching_has_the_same_consequences(name: str) -> None:
    both = shipped(name, episodes=2)
    report = rollout(both, 150, np.random.default_rng(1))
    checked(report)
    assert report.illegal > 0  # the comparison met orders that the rules refuse
    assert report.episodes > 3  # and deaths


@pytest.mark.parametrize("kinds", (("redispatch",), ("curtail",), ("storage",), EVERYTHING))
def test_generators_and_storage_move_alike(kinds: tuple[str, ...]) -> None:
    both = shipped("educ_case14_storage", episodes=1, playable=True)
    checked(rollout(both, 100, np.random.default_rng(2), kinds=kinds))


def test_targets_and_balances_are_grid2ops_to_the_last_digit() -> None:
    # Where its solver stops depends on them: rounded differently, a dispatch is 0.4 MW away.
    both = shipped("educ_case14_redisp", episodes=1, playable=True)
    rng, kinds = np.random.default_rng(5), ("redispatch", "curtail")
    begin(both.env, 0)
    state, seen = reset(both.world, rng, episode=np.array([0])), 0
    for _ in range(80):
        action, orders = draw(both, rng, kinds, 0.7)
        obs, _, done, _ = both.env.step(action)
        state, _ = step(both.world, state, orders)
        if done:
            break
        for name, value in (("target_dispatch", state.target), ("actual_dispatch", state.actual)):
            np.testing.assert_array_equal(np.float32(value[0] * both.base), getattr(obs, name))
        seen += int((state.target != 0).sum() > 2)
    assert seen > 10


def test_maintenance_takes_the_same_lines_out() -> None:
    both = shipped("l2rpn_neurips_2020_track1", episodes=1, **no_opponent())
    (row, *_), (line, *_) = np.nonzero(both.world.series.maintenance)
    report = rollout(both, row + 20, np.random.default_rng(3), kinds=("line",), chance=0.0)
    checked(report)
    assert report.episodes == 1  # it got there
    assert not both.env.get_current_line_status()[line]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kinds"),
    (
        ("rte_case5_example", ("busbar", "line")),
        ("rte_case14_realistic", ("busbar", "line")),
        ("l2rpn_case14_sandbox", EVERYTHING[:4]),
        ("educ_case14_storage", EVERYTHING),
        ("l2rpn_wcci_2020", ("busbar", "line")),
        ("l2rpn_neurips_2020_track1", EVERYTHING[:4]),
        ("l2rpn_icaps_2021", ("busbar", "line")),
        ("l2rpn_idf_2023", EVERYTHING),
        ("l2rpn_wcci_2022_dev", EVERYTHING),
    ),
)
def test_long_random_rollouts_agree(name: str, kinds: tuple[str, ...]) -> None:
    both = shipped(name, playable=True, **no_opponent())
    checked(rollout(both, 2000, np.random.default_rng(4), kinds=kinds))


# van der Sar et al. 2025, after Subramanian et al. 2021: 178, 133 and 73 orders on 14 substations
@pytest.mark.parametrize(("name", "orders"), (("substations", 178), ("n0", 133), ("n1", 73)))
def test_action_sets_have_their_published_sizes(name: str, orders: int) -> None:
    world = shipped("l2rpn_case14_sandbox", episodes=1).world
    assert len(choices_of(world, name)) == 1 + orders  # doing nothing is not counted there
