"""Operators of a grid: what candidates lead to, against stepping the environment itself."""

from dataclasses import replace

import numpy as np
import pytest

from gridrl.env import world_of
from gridrl.env.step import reset, step
from gridrl.policies.outages import after_outages
from irl.errors import IrlError
from irl.grid_study import Situations, chosen_by, regret, run
from irl.grid_task import (
    OWN,
    SHARED,
    GridTask,
    _some,
    best,
    boltzmann,
    candidates,
    greedy,
    grid_task,
    play,
)

D = len(SHARED) + len(OWN)
WEIGHTS = [np.array([3.0, 5.0, 0.5, 0.1, 1.0, 0.3, 5.0, 1.0])] * 3


@pytest.fixture(scope="module")
def task() -> GridTask:
    return grid_task(world_of("ieee30"), 3, switching=4)


def test_areas_divide_the_grid(task: GridTask) -> None:
    assert np.array([a.substation for a in task.areas]).sum(axis=0).tolist() == [1] * 30
    numbers = np.concatenate([a.number[1:] for a in task.areas])
    assert sorted(numbers.tolist()) == list(range(1, len(task.choices)))
    for area in task.areas:
        of = task.choices.substation[area.number]
        assert area.substation[of[of >= 0]].all()


def test_features_are_those_of_the_step_that_follows(task: GridTask) -> None:
    """With perfect forecasts, what is simulated is what happens."""
    rng = np.random.default_rng(0)
    world = task.world
    series = world.series
    exact = replace(world, series=replace(series, p_forecast=series.p, q_forecast=series.q))
    own = replace(task, world=exact)
    state = reset(exact, rng, batch=2)
    listed = candidates(own, state, 1, rng)
    assert listed.features.shape == (listed.start[-1], D)
    assert (np.diff(listed.start) >= 3).all()
    area = task.areas[1].substation
    grid = world.case.grid
    for b in range(2):
        for k in range(int(listed.start[b]), int(listed.start[b + 1])):
            orders = _some(listed.orders, np.array([k, k]))
            after, _ = step(exact, state, orders)
            rho = after.rho[b]
            got = dict(zip((*SHARED, *OWN), -listed.features[k], strict=True))
            assert got["overload"] == pytest.approx(np.maximum(rho - 0.9, 0).sum(), abs=1e-9)
            lost_mw = (after.s_from + after.s_to).real[b].sum() * grid.s_base_mva
            assert got["losses"] == pytest.approx(lost_mw, abs=1e-6)
            ties = area[grid.from_substation] ^ area[grid.to_substation]
            assert got["tie_lines"] == pytest.approx(rho[ties].mean(), abs=1e-9)
            seen = after_outages(exact, after)
            beyond = np.where(seen.lost, 1.0, np.clip(seen.loading - 1.0, 0, 1))[b].mean()
            assert got["n_1"] == pytest.approx(beyond, abs=1e-6)
    first = listed.start[:-1]
    assert not listed.features[first][:, [3, 4]].any()  # do nothing costs nothing


def test_logs_are_of_the_model_that_chose(task: GridTask) -> None:
    logs = play(task, boltzmann(WEIGHTS, np.random.default_rng(1)), 20, np.random.default_rng(2),
                batch=8)  # fmt: skip
    again = play(task, boltzmann(WEIGHTS, np.random.default_rng(1)), 20, np.random.default_rng(2),
                 batch=8)  # fmt: skip
    for one, other in zip(logs, again, strict=True):
        assert one.n_observation == 20
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.chosen, other.chosen)
    sure = play(task, greedy(WEIGHTS, 0.0, np.random.default_rng(1)), 20,
                np.random.default_rng(2), batch=8)  # fmt: skip
    for log in sure:
        np.testing.assert_array_equal(log.chosen, best(log.features @ WEIGHTS[0], log.start))


def test_regret_is_nothing_for_the_truth_and_one_for_no_idea(task: GridTask) -> None:
    logs = play(task, boltzmann(WEIGHTS, np.random.default_rng(3)), 24, np.random.default_rng(4),
                batch=8)  # fmt: skip
    assert regret(logs[0], WEIGHTS[0], WEIGHTS[0]) == 0.0
    assert regret(logs[0], -WEIGHTS[0], WEIGHTS[0]) > 1.0
    by_hand = chosen_by(logs[0], WEIGHTS[0], "greedy", np.random.default_rng(0))
    top = best(logs[0].features @ WEIGHTS[0], logs[0].start)
    assert (by_hand.chosen == top).mean() > 0.7


@pytest.mark.slow
def test_planted_weights_are_found_again(task: GridTask) -> None:
    """With 300 decisions each, the shared weights of all operators come back."""
    logs = play(task, boltzmann(WEIGHTS, np.random.default_rng(5)), 300, np.random.default_rng(6))
    logs = tuple(replace(x, features=x.features / x.features.std(axis=0).clip(1e-9)) for x in logs)
    places = Situations(seen=logs, held_out=logs, strange=logs)
    row = run(places, 0, decisions=(300, 300, 25), spread=0.0, demonstrator="boltzmann")
    results = row["results"]
    assert results["turbo"]["shared_error"] < 0.5 * results["independent"]["shared_error"]
    assert results["turbo"]["utility_correlation"] > 0.9
    assert abs(results["turbo"]["shared_error"] - results["joint"]["shared_error"]) < 1e-3


def test_what_cannot_be_divided_is_said() -> None:
    with pytest.raises(IrlError, match="operators cannot divide"):
        grid_task(world_of("ieee5"), 6)
