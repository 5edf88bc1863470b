"""Metrics ignore what they must ignore, see what they must see."""

import numpy as np
import pytest
from numpy.typing import NDArray

from irl import metrics
from irl.errors import IrlError
from irl.gridworld import gridworld
from irl.identifiability import ambiguity, report, shaping
from irl.likelihood import state_features
from irl.mdp import MDP
from irl.soft_vi import soft_value_iteration

MDP_4 = gridworld(4, slip=0.2, discount=0.9, horizon=None)


@pytest.fixture
def rewards() -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(2, 16, 5))


def test_starc_ignores_shaping_and_scale_and_sees_the_rest(rewards: NDArray[np.float64]) -> None:
    one, other = rewards
    potential = np.random.default_rng(1).normal(size=16)
    shaped = 3.0 * one + (shaping(MDP_4) @ potential).reshape(16, 5)
    assert metrics.starc(MDP_4, shaped, one) < 1e-9
    assert metrics.starc(MDP_4, -one, one) == pytest.approx(1.0)
    assert 0.2 < metrics.starc(MDP_4, other, one) < 1.0
    assert metrics.starc(MDP_4, one, other) == pytest.approx(metrics.starc(MDP_4, other, one))


def test_epic_ignores_shaping_of_triples_and_scale(rewards: NDArray[np.float64]) -> None:
    one, other = rewards
    potential = np.random.default_rng(2).normal(size=16)
    triples = np.repeat(one[:, :, None], 16, axis=2)
    shaped = 2.0 * triples + 0.9 * potential[None, None] - potential[:, None, None] + 1.0
    assert metrics.epic(MDP_4, shaped, one) < 1e-7
    assert metrics.epic(MDP_4, -one, one) == pytest.approx(1.0)
    assert 0.2 < metrics.epic(MDP_4, other, one) < 1.0


def test_correlations_and_standardised_error(rewards: NDArray[np.float64]) -> None:
    from scipy import stats

    one, other = (r[:, 0] for r in rewards)
    assert metrics.pearson(one, other) == pytest.approx(stats.pearsonr(one, other).statistic)
    assert metrics.spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    standard = [(r - r.mean()) / r.std() for r in (one, other)]
    want = ((standard[0] - standard[1]) ** 2).mean()
    assert metrics.standardised_mse(one, other) == pytest.approx(want)
    assert metrics.pearson(np.ones(4), np.arange(4)) == 0.0


@pytest.mark.parametrize("mdp", (MDP_4, gridworld(4, slip=0.2, discount=0.9, horizon=6)))
def test_value_difference_is_zero_for_the_truth_and_one_for_chance(mdp: MDP) -> None:
    true = np.random.default_rng(3).normal(size=16)
    assert metrics.value_difference(mdp, 2 * true, true) == pytest.approx(0.0, abs=1e-12)
    assert metrics.value_difference(mdp, np.zeros(16), true) == pytest.approx(1.0)
    assert metrics.value_difference(mdp, np.zeros(16), true, soft=True) == pytest.approx(1.0)
    assert metrics.value_difference(mdp, -true, true) > 1.0
    # A hard policy ignores scale; a soft one that cares less loses something.
    assert metrics.value_difference(mdp, 0.1 * true, true, soft=True) > 0.05


def test_the_best_policy_is_the_soft_one_at_temperature_zero() -> None:
    true = np.random.default_rng(4).normal(size=16)
    cold = soft_value_iteration(MDP_4, 5000 * true).policy
    np.testing.assert_allclose(metrics.best_policy(MDP_4, true), cold, atol=1e-3)


def test_coverage_counts_and_refuses_what_does_not_fit() -> None:
    assert metrics.coverage([[0, 1], [0, 1]], [0.5, 2.0]) == 0.5
    with pytest.raises(IrlError, match="do not fit"):
        metrics.coverage([[0, 1]], [0.5, 2.0])


# --- identifiability: ranks known from theory on a 6 x 6 gridworld -----------------------------
def world(slip: float = 0.1, discount: float = 0.95) -> MDP:
    return gridworld(6, slip=slip, discount=discount, horizon=None)


def test_one_environment_leaves_a_potential_for_every_state() -> None:
    every = np.eye(180).reshape(36, 5, 180)
    assert ambiguity([world()], [every]).shape == (180, 36)


@pytest.mark.parametrize("second", (world(slip=0.4), world(discount=0.7)), ids=["slip", "discount"])
def test_two_environments_leave_only_a_constant(second: MDP) -> None:
    pair = np.hstack([shaping(world()), -shaping(second)])
    assert np.linalg.matrix_rank(pair, tol=1e-8) == 71
    every = np.eye(180).reshape(36, 5, 180)
    assert ambiguity([world(), second], [every, every]).shape[1] == 1


@pytest.mark.parametrize("slip", (0.0, 0.1))
def test_rewards_of_states_are_known_up_to_a_constant(slip: float) -> None:
    mdp = world(slip)
    direction = ambiguity([mdp], [state_features(mdp)])
    assert direction.shape == (36, 1)
    np.testing.assert_allclose(np.abs(direction), 1 / 6, atol=1e-8)


def test_shared_and_own_parts_need_different_features() -> None:
    mdps = [world()] * 3
    hot = state_features(mdps[0])
    assert ambiguity(mdps, [hot] * 3, [hot] * 3).shape[1] == 39
    rng = np.random.default_rng(5)
    common = state_features(mdps[0], rng.normal(size=(36, 4)))
    own = [state_features(mdps[0], rng.normal(size=(36, 3))) for _ in range(3)]
    assert ambiguity(mdps, [common] * 3, own).shape[1] == 0


def test_the_report_says_what_cannot_be_told_and_why() -> None:
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(50, 2))
    # c repeats b, d never varies.
    rows = np.column_stack([rows, rows[:, 1], np.zeros(50)])
    found = report(rows.T @ rows, np.eye(4), ("a", "b", "c", "d"))
    assert not found.identified
    assert len(found.sentences) == 2
    assert found.sentences[0].startswith("d never varies")
    assert "b" in found.sentences[1]
    assert "c" in found.sentences[1]
    assert found.told[0] > 0.9
    assert found.told[3] == pytest.approx(0.0, abs=1e-9)
    assert report(np.eye(2), np.eye(2), ("a", "b")).identified
