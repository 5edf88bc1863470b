"""Gradients against finite differences, and what theory says about the three likelihoods."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from irl.errors import IrlError
from irl.gridworld import gridworld
from irl.kernels_soft import exponentials
from irl.likelihood import ActionLikelihood, CandidateChoice, FeatureMatching, Likelihood
from irl.mdp import MDP, demonstrations, from_dense, sample
from irl.soft_vi import occupancy, soft_value_iteration, transition_matrix


def corridor(horizon: int | None = None, slip: float = 0.2) -> MDP:
    """Six states in a row; the last is terminal; state 2 lacks the action 'stay'."""
    table = np.zeros((6, 3, 6))
    for s in range(6):
        table[s, 0, max(s - 1, 0)] = table[s, 1, min(s + 1, 5)] = 1 - slip
        table[s, 0, s] += slip
        table[s, 1, s] += slip
        table[s, 2, s] = 1.0
    table[2, 2] = 0.0
    return from_dense(table, 0.9, terminal=np.arange(6) == 5, horizon=horizon)


def choices(rng: np.random.Generator, d: int = 4, n: int = 30) -> CandidateChoice:
    size = rng.integers(1, 6, n)
    start = np.concatenate([[0], np.cumsum(size)])
    return CandidateChoice(
        features=rng.normal(size=(start[-1], d)),
        start=start,
        chosen=start[:-1] + rng.integers(0, size),
        log_sampling=rng.normal(size=start[-1]) / 5,
    )


def problem(kind: str, rng: np.random.Generator) -> Likelihood:
    if kind == "choice":
        return choices(rng)
    horizon = 7 if "finite" in kind else None
    mdp = corridor(horizon)
    features = rng.normal(size=(6, 3, 4))
    policy = soft_value_iteration(mdp, rng.normal(size=(6, 3)) - 5).policy
    data = sample(mdp, policy, 8, rng, max_length=4000)
    return (FeatureMatching if "dual" in kind else ActionLikelihood)(mdp, data, features)


KINDS = ("dual finite", "dual endless", "action finite", "action endless", "choice")


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_with_finite_differences(kind: str) -> None:
    rng = np.random.default_rng(3)
    likelihood = problem(kind, rng)
    theta, step = rng.normal(size=4), 1e-5
    _, gradient = likelihood.value(theta)
    numeric = [
        (likelihood.value(theta + step * e)[0] - likelihood.value(theta - step * e)[0]) / step / 2
        for e in np.eye(4)
    ]
    # Central differences are exact to step^2 times third derivatives, about 1e-9 of the gradient.
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ("dual finite", "dual endless", "choice"))
def test_curvature_of_convex_likelihoods_is_the_hessian(kind: str) -> None:
    rng = np.random.default_rng(4)
    likelihood = problem(kind, rng)
    theta, step = rng.normal(size=4), 1e-5
    numeric = [
        (likelihood.value(theta + step * e)[1] - likelihood.value(theta - step * e)[1]) / step / 2
        for e in np.eye(4)
    ]
    np.testing.assert_allclose(likelihood.curvature(theta), numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_curvature_is_positive_semidefinite(kind: str) -> None:
    rng = np.random.default_rng(5)
    likelihood = problem(kind, rng)
    assert np.linalg.eigvalsh(likelihood.curvature(3 * rng.normal(size=4))).min() > -1e-9


@pytest.mark.parametrize("kind", ("dual finite", "dual endless", "choice"))
def test_convex_likelihoods_lie_below_their_chords(kind: str) -> None:
    rng = np.random.default_rng(6)
    likelihood = problem(kind, rng)
    for a, b in rng.normal(size=(20, 2, 4)) * 3:
        middle = likelihood.value((a + b) / 2)[0]
        assert middle <= (likelihood.value(a)[0] + likelihood.value(b)[0]) / 2 + 1e-9


def test_action_fisher_is_the_expected_hessian_at_the_truth() -> None:
    # Of many episodes drawn from the model: Hessian and Fisher agree up to sampling noise.
    rng = np.random.default_rng(7)
    mdp = corridor(6)
    features, truth = rng.normal(size=(6, 3, 3)), np.array([0.5, -1.0, 0.8])
    policy = soft_value_iteration(mdp, features @ truth).policy
    likelihood = ActionLikelihood(mdp, sample(mdp, policy, 3000, rng), features)
    step = 1e-5
    hessian = np.array(
        [
            (likelihood.value(truth + step * e)[1] - likelihood.value(truth - step * e)[1])
            / (2 * step)
            for e in np.eye(3)
        ]
    )
    fisher = likelihood.curvature(truth)
    assert np.abs(hessian - fisher).max() < 0.1 * np.abs(fisher).max()


def test_dual_and_action_likelihood_are_one_without_chance_and_discount() -> None:
    """The sum of V(s_t) - r - V(s_t+1) telescopes; with chance or discount it does not."""
    rng = np.random.default_rng(8)
    for slip, discount, equal in ((0.0, 1.0, True), (0.2, 1.0, False)):
        mdp = gridworld(4, slip=slip, discount=discount, horizon=9)
        policy = soft_value_iteration(mdp, rng.normal(size=16)).policy
        data = sample(mdp, policy, 12, rng)
        dual, action = FeatureMatching(mdp, data), ActionLikelihood(mdp, data)
        theta = rng.normal(size=16)
        gap = abs(dual.value(theta)[0] - action.value(theta)[0])
        assert (gap < 1e-9) == equal
        slope = np.abs(dual.value(theta)[1] - action.value(theta)[1]).max()
        assert (slope < 1e-9) == equal


def dense_soft_vi(mdp: MDP, reward: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """The textbook's recursion on a dense table."""
    table = np.zeros((mdp.n_state * mdp.n_action, mdp.n_state))
    for row in range(len(table)):
        for k in range(mdp.row_start[row], mdp.row_start[row + 1]):
            table[row, mdp.successor[k]] += mdp.probability[k]
    value = np.zeros(mdp.n_state)
    for _ in range(n):
        q = reward + mdp.discount * (table @ value).reshape(mdp.n_state, -1)
        q[~mdp.available] = -np.inf
        value = np.log(np.exp(q - q.max(1, keepdims=True)).sum(1)) + q.max(1)
    return value


@pytest.mark.parametrize("horizon", (None, 11))
def test_soft_values_agree_with_the_dense_recursion(horizon: int | None) -> None:
    mdp = corridor(horizon)
    reward = np.random.default_rng(9).normal(size=(6, 3))
    want = dense_soft_vi(mdp, reward, horizon or 400)
    got = soft_value_iteration(mdp, reward)
    np.testing.assert_allclose(got.value[0], want, rtol=0, atol=1e-10)
    np.testing.assert_allclose(got.policy.sum(axis=2), 1.0, atol=1e-12)


def test_exponentials_are_those_of_the_c_library() -> None:
    exponent = np.concatenate([[0.0, -1e-300, -0.5, -np.inf], -np.logspace(-12, 2.8, 5000)])
    out, power = np.empty_like(exponent), np.empty(exponent.size, np.int64)
    exponentials(exponent, out, power)
    assert out[3] == pytest.approx(0.0, abs=1e-300)
    # Two units in the last place, one of either library.
    np.testing.assert_allclose(out[4:], np.exp(exponent[4:]), rtol=5e-16)
    assert out[:2].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("discount", (0.5, 0.99, 0.9999))
def test_endless_values_hold_the_soft_bellman_equation(discount: float) -> None:
    rng = np.random.default_rng(12)
    mdp = replace(corridor(), discount=discount)
    reward = 3 * rng.normal(size=(6, 3))
    found = soft_value_iteration(mdp, reward)
    size = np.abs(found.value).max()
    q = reward + discount * (transition_matrix(mdp) @ found.value[0]).reshape(6, 3)
    q[~mdp.available] = -np.inf
    want = np.log(np.exp(q - q.max(axis=1, keepdims=True)).sum(axis=1)) + q.max(axis=1)
    np.testing.assert_allclose(found.value[0], want, rtol=0, atol=1e-12 * size + 1e-11)
    assert (found.policy[0][~mdp.available] == 0.0).all()


def test_endless_occupancy_is_that_of_a_long_horizon() -> None:
    rng = np.random.default_rng(10)
    reward = rng.normal(size=(6, 3))
    endless, long = corridor(None), corridor(400)
    got = occupancy(endless, soft_value_iteration(endless, reward).policy)
    want = occupancy(long, soft_value_iteration(long, reward).policy)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-9)


def test_short_episodes_of_many_lengths_give_a_reward() -> None:
    """Episodes of one to a dozen steps that end in a terminal state or not: nothing vanishes."""
    rng = np.random.default_rng(11)
    mdp = corridor()
    policy = soft_value_iteration(mdp, np.array([0.0, 0, 0, 0, 0, 20.0])).policy
    data = sample(mdp, policy, 200, rng, max_length=6)
    likelihood = ActionLikelihood(mdp, data)
    assert len(set(np.diff(data.start))) > 3
    assert np.abs(likelihood.value(np.zeros(6))[1]).max() > 1
    with pytest.raises(IrlError, match="episodes end early"):
        FeatureMatching(mdp, data)


def test_bad_input_is_named() -> None:
    mdp = corridor()
    with pytest.raises(IrlError, match="step 0: action 2 is not available in state 2"):
        demonstrations(mdp, [([2], [2])])
    with pytest.raises(IrlError, match="cannot lead to state 4"):
        demonstrations(mdp, [([0, 4], [1, 1])])
    with pytest.raises(IrlError, match="no demonstrations"):
        demonstrations(mdp, [])
    with pytest.raises(IrlError, match="below 1"):
        from_dense(np.ones((1, 1, 1)), 1.0)
    with pytest.raises(IrlError, match=r"state 0, action 0: 0\.5"):
        from_dense(np.full((1, 1, 1), 0.5), 0.9)
    with pytest.raises(IrlError, match="decision 0"):
        CandidateChoice(
            features=np.ones((2, 1)), start=np.array([0, 1, 2]), chosen=np.array([1, 1])
        )
