"""Baselines against what theory says that they are."""

import numpy as np
import pytest

from irl.agent import Agent
from irl.baselines import METHODS, SEES, Problem, cloned_policy, fit
from irl.checks import NAMES, PRIOR, operators
from irl.errors import IrlError
from irl.evidence import candidate_priors
from irl.gridworld import gridworld, overlapping_rewards, positions
from irl.likelihood import ActionLikelihood
from irl.maxent import fit_map
from irl.mdp import sample
from irl.metrics import pearson
from irl.soft_vi import soft_value_iteration
from irl.sweep import METRICS, Cell, run

SIDE = 4


def tables(overlap: float = 1.0) -> Problem:
    """Three agents on a small gridworld; the last has few episodes."""
    rng = np.random.default_rng(3)
    mdp = gridworld(SIDE, horizon=12)
    truth = overlapping_rewards(SIDE, 3, overlap, rng)
    agents = tuple(
        Agent(
            name=str(i),
            likelihood=ActionLikelihood(
                mdp, sample(mdp, soft_value_iteration(mdp, reward).policy, n, rng)
            ),
        )
        for i, (reward, n) in enumerate(zip(truth, (60, 60, 4), strict=True))
    )
    return Problem(
        agents=agents,
        shared=tuple(f"state {s}" for s in range(mdp.n_state)),
        priors=candidate_priors(mdp.n_state, variances=(4.0,)),
        inputs=positions(SIDE),
        truth=tuple(truth),
    )


def choosers() -> Problem:
    agents, _ = operators((150, 150, 20), np.random.default_rng(1))
    return Problem(agents=tuple(agents), shared=NAMES, priors=(PRIOR,))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_policy_for_every_agent(method: str) -> None:
    problem = tables()
    found = fit(method, problem, np.random.default_rng(0))
    again = fit(method, problem, np.random.default_rng(0))
    assert found.policy is not None
    assert again.policy is not None
    for mine, same in zip(found.policy, again.policy, strict=True):
        np.testing.assert_allclose(mine.sum(axis=2), 1.0, atol=1e-12)
        np.testing.assert_array_equal(mine, same)
    assert (found.theta is None) == (method == "cloning")
    assert method in SEES


@pytest.mark.parametrize("method", ("independent", "pooled", "fedavg", "multitask", "joint"))
def test_methods_for_choices_keep_own_weights_apart(method: str) -> None:
    found = fit(method, choosers(), np.random.default_rng(0))
    assert found.theta is not None
    assert found.policy is None
    assert [theta.size for theta in found.theta] == [5, 5, 5]
    alike = np.ptp([theta[:3] for theta in found.theta], axis=0).max()
    assert (alike < 1e-9) == (method in ("pooled", "fedavg"))
    assert np.ptp([theta[3:] for theta in found.theta], axis=0).max() > 0.1


def test_the_ceiling_is_reached_by_messages() -> None:
    problem = choosers()
    joint, turbo = (fit(m, problem, np.random.default_rng(0)).theta for m in ("joint", "turbo"))
    assert joint is not None
    assert turbo is not None
    assert max(np.abs(a - b).max() for a, b in zip(joint, turbo, strict=True)) < 1e-4


def test_independent_is_one_fit_under_the_total_prior() -> None:
    problem = choosers()
    found = fit("independent", problem, np.random.default_rng(0)).theta
    assert found is not None
    covariance = np.eye(5)
    covariance[:3, :3] = PRIOR.shared + PRIOR.deviation
    alone = fit_map(problem.agents[2].likelihood, np.zeros(5), covariance).theta
    np.testing.assert_allclose(found[2], alone, atol=1e-6)


def test_multitask_pulls_to_the_mean() -> None:
    """The gradient of each loss is the pull: strength times the distance from the mean."""
    problem = tables(0.5)
    found = fit("multitask", problem, np.random.default_rng(0)).theta
    assert found is not None
    mean = np.mean(found, axis=0)
    for agent, theta in zip(problem.agents, found, strict=True):
        slope = agent.likelihood.value(theta)[1]
        # The prior of the mean, variance 100, adds a hundredth of a nat.
        np.testing.assert_allclose(slope, -0.3 * (theta - mean), atol=2e-2)


def test_averaging_is_the_fit_of_all_where_agents_are_one() -> None:
    agents, _ = operators((200,), np.random.default_rng(2))
    twins = tuple(Agent(name=n, likelihood=agents[0].likelihood) for n in "ab")
    total = PRIOR.shared + PRIOR.deviation
    problem = Problem(agents=twins, shared=NAMES, priors=(PRIOR,))
    found = fit("fedavg", problem, np.random.default_rng(0)).theta
    assert found is not None
    covariance = np.eye(5)
    covariance[:3, :3] = 2 * total  # each twin holds half of the common ridge
    want = fit_map(twins[0].likelihood, np.zeros(5), covariance).theta
    np.testing.assert_allclose(found[0], want, atol=1e-3)


def test_sharing_helps_the_agent_with_little_data() -> None:
    problem = tables()
    assert problem.truth is not None
    scores = {}
    for method in ("independent", "turbo"):
        theta = fit(method, problem, np.random.default_rng(0)).theta
        assert theta is not None
        scores[method] = pearson(theta[-1], problem.truth[-1])
    assert scores["turbo"] > scores["independent"] + 0.05


def test_a_clone_counts() -> None:
    problem = tables()
    table = problem.agents[0].likelihood
    assert isinstance(table, ActionLikelihood)
    state, action = int(table.data.state[0]), int(table.data.action[0])
    here = table.data.state == state
    taken = (table.data.action[here] == action).sum()
    want = (taken + 1) / (here.sum() + 5)
    assert cloned_policy(table)[0, state, action] == pytest.approx(want)


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(IrlError, match="No method 'x'"):
        fit("x", choosers(), np.random.default_rng(0))
    with pytest.raises(IrlError, match="needs a table of states; operator 0"):
        fit("cloning", choosers(), np.random.default_rng(0))
    with pytest.raises(IrlError, match="give Problem"):
        fit("multitask_oracle", choosers(), np.random.default_rng(0))


def test_wide_priors_make_maxent_match_features() -> None:
    """Without a prior, expected visits equal those observed (Ziebart 2008)."""
    problem = tables().only(0)
    theta = fit("maxent", problem, np.random.default_rng(0)).theta
    assert theta is not None
    from irl.likelihood import FeatureMatching

    table = problem.agents[0].likelihood
    assert isinstance(table, ActionLikelihood)
    gap = FeatureMatching(table.mdp, table.data).value(theta[0])[1]
    # The prior of variance 100 leaves theta / 100.
    np.testing.assert_allclose(gap, -theta[0] / 100.0, atol=1e-5)


def test_a_row_of_the_sweep_is_drawn_from_its_seed_alone() -> None:
    cell = Cell(kind="sparse", overlap=0.5, demonstrations=(5, 2))
    methods = ("cloning", "maxent", "fedavg")
    one, other = (run(cell, 4, methods)["results"] for _ in range(2))
    for method in methods:
        assert {k: one[method][k] for k in METRICS} == {k: other[method][k] for k in METRICS}
    assert one["cloning"]["correlation"] is None
    assert one["fedavg"] != run(cell, 5, methods)["results"]["fedavg"]
