"""The exchange of messages against one joint fit to everybody's raw data."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from irl import checks
from irl.agent import Agent, extrinsic_message, local_fit
from irl.checks import PRIOR, SPREAD, accumulated, choices
from irl.errors import IrlError
from irl.evidence import candidate_priors
from irl.fusion import Belief, alignment, fuse
from irl.gridworld import gridworld, overlapping_rewards, positions
from irl.joint import joint_map
from irl.likelihood import ActionLikelihood, FeatureMatching
from irl.maxent import fit_map
from irl.mdp import sample
from irl.messages import read_message, schema_hash
from irl.priors import TurboPrior, iid, rbf
from irl.soft_vi import soft_value_iteration
from irl.turbo import TurboIRL, TurboResult

NAMES = ("overload", "n_1", "losses")


def operators(
    n_agent: int, rng: np.random.Generator, spread: float = SPREAD, size: int = 150
) -> tuple[list[Agent], NDArray[np.float64]]:
    """Agents with three shared and two own weights; the last has few decisions."""
    return checks.operators([size] * (n_agent - 1) + [20 if n_agent > 1 else size], rng, spread)


@pytest.mark.parametrize("schedule", ("flooding", "sequential", "random"))
@pytest.mark.parametrize("n_agent", (2, 3, 5, 8))
def test_the_fixed_point_is_the_joint_fit_to_all_raw_data(n_agent: int, schedule: str) -> None:
    agents, _ = operators(n_agent, np.random.default_rng(n_agent))
    turbo = TurboIRL(agents, NAMES, PRIOR)
    result = turbo.fit(schedule=schedule, rng=np.random.default_rng(1), max_rounds=8)  # type: ignore[arg-type]
    joint, shared, theta = joint_map(agents, PRIOR)
    assert joint.converged
    assert result.converged
    gaps = [np.abs(f.theta - t).max() for f, t in zip(result.fits, theta, strict=True)]
    assert max(*gaps, np.abs(result.shared.mean - shared).max()) < 1e-4


@pytest.mark.parametrize("kind", ("dual", "action"))
@pytest.mark.parametrize("kernel", ("iid", "rbf"))
def test_tables_of_states_reach_the_joint_fit_too(kind: str, kernel: str) -> None:
    rng = np.random.default_rng(2)
    mdp = gridworld(4, horizon=12)
    likelihood = FeatureMatching if kind == "dual" else ActionLikelihood
    agents = [
        Agent(
            name=str(i),
            likelihood=likelihood(mdp, sample(mdp, soft_value_iteration(mdp, r).policy, n, rng)),
        )
        for i, (r, n) in enumerate(
            zip(overlapping_rewards(4, 3, 0.9, rng), (30, 30, 5), strict=True)
        )
    ]
    shape = iid(16, 1.0) if kernel == "iid" else rbf(positions(4), 1.0, 1.5)
    prior = TurboPrior(shared=3.6 * shape, deviation=0.4 * shape)
    result = TurboIRL(agents, [f"cell {s}" for s in range(16)], prior).fit(max_rounds=8)
    joint, shared, theta = joint_map(agents, prior)
    assert joint.converged
    gaps = [np.abs(f.theta - t).max() for f, t in zip(result.fits, theta, strict=True)]
    assert max(*gaps, np.abs(result.shared.mean - shared).max()) < 1e-4


def test_one_agent_is_its_own_map_fit() -> None:
    agents, _ = operators(1, np.random.default_rng(3))
    result = TurboIRL(agents, NAMES, PRIOR).fit()
    covariance = np.diag([1.01] * 3 + [1.0] * 2)
    alone = fit_map(agents[0].likelihood, np.zeros(5), covariance)
    np.testing.assert_allclose(result.fits[0].theta, alone.theta, atol=1e-8)
    # The shared belief is what that fit says of theta, less the deviation: a larger variance.
    np.testing.assert_allclose(result.shared.mean * 1.01, alone.theta[:3], atol=1e-6)


class Quadratic:
    """A loss whose message is known in closed form."""

    n_parameter, n_observation = 3, 1

    def __init__(self, rng: np.random.Generator) -> None:
        root = rng.normal(size=(3, 3))
        self.hessian, self.centre = root @ root.T, rng.normal(size=3)

    def value(self, theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        away = theta - self.centre
        return float(away @ self.hessian @ away / 2), self.hessian @ away

    def curvature(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.hessian + 0 * np.outer(theta, theta)


def test_what_came_in_never_goes_back_out() -> None:
    """The message of a quadratic loss does not depend on the belief that was heard."""
    rng = np.random.default_rng(4)
    loss = Quadratic(rng)
    agent = Agent(name="a", likelihood=loss)
    for mean in rng.normal(size=(4, 3)) * 5:
        root = rng.normal(size=(3, 3))
        heard = Belief(mean=mean, covariance=root @ root.T)
        fit = local_fit(agent, PRIOR, heard)
        message = extrinsic_message(agent, PRIOR, fit, number=0, schema="")
        # Marginal likelihood of s: centre observed with covariance H^-1 + D.
        want = np.linalg.inv(np.linalg.inv(loss.hessian) + PRIOR.deviation)
        np.testing.assert_allclose(message.precision, want, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(message.eta, want @ loss.centre, rtol=1e-6, atol=1e-7)


def test_twenty_more_rounds_change_nothing() -> None:
    agents, _ = operators(4, np.random.default_rng(5))
    turbo = TurboIRL(agents, NAMES, PRIOR)
    few, many = turbo.fit(), turbo.fit(tolerance=-1.0, max_rounds=25)
    assert many.rounds == 25
    np.testing.assert_allclose(few.shared.mean, many.shared.mean, atol=1e-6)
    np.testing.assert_allclose(few.shared.covariance, many.shared.covariance, rtol=1e-4)


@pytest.mark.slow
def test_intervals_cover_and_double_counting_does_not() -> None:
    """90 % intervals of three shared weights in 60 worlds drawn from the prior."""
    inside, counted_twice = [], []
    for seed in range(60):
        agents, truth = operators(3, np.random.default_rng(seed), size=60)
        for found, belief in (
            (inside, TurboIRL(agents, NAMES, PRIOR).fit(tolerance=1e-3).shared),
            (counted_twice, accumulated(agents)),
        ):
            half = 1.645 * np.sqrt(np.diag(belief.covariance))
            found.append(np.abs(belief.mean - truth) < half)
    # 180 weights, three of a world alike: a standard error of about 0.025.
    assert 0.83 <= np.mean(inside) <= 0.96
    assert np.mean(counted_twice) < 0.8


def test_evidence_shares_where_agents_agree_and_not_where_they_do_not() -> None:
    priors = candidate_priors(3, variances=(1.0,), overlaps=(0.0, 0.5, 0.99))

    def overlap(spread: float) -> float:
        agents, _ = operators(4, np.random.default_rng(6), spread)
        prior = TurboIRL(agents, NAMES, priors).fit().prior
        return float(prior.shared[0, 0] / (prior.shared + prior.deviation)[0, 0])

    assert overlap(0.02) > 0.9
    # Six agents agree by chance now and then: a clear majority is what evidence can promise.
    alone = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        apart = [
            Agent(name=str(i), likelihood=choices(rng.normal(size=5), 100, rng)) for i in range(6)
        ]
        alone += TurboIRL(apart, NAMES, priors).fit().prior.shared[0, 0] < 1e-3
    assert alone >= 7


def test_the_evidence_of_quadratic_losses_is_exact() -> None:
    """Laplace is exact for Gaussians: against the density of all centres together."""
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(8)
    losses = [Quadratic(rng) for _ in range(3)]
    agents = [Agent(name=str(i), likelihood=loss) for i, loss in enumerate(losses)]
    got = TurboIRL(agents, NAMES, PRIOR).fit(tolerance=1e-10).evidence
    noise = [np.linalg.inv(loss.hessian) for loss in losses]
    covariance = np.kron(np.ones((3, 3)), PRIOR.shared) + np.kron(np.eye(3), PRIOR.deviation)
    for i, one in enumerate(noise):
        covariance[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] += one
    centres = np.concatenate([loss.centre for loss in losses])
    want = multivariate_normal(np.zeros(9), covariance).logpdf(centres)
    # The losses lack the constants of a normal density.
    constant = sum(multivariate_normal(np.zeros(3), one).logpdf(np.zeros(3)) for one in noise)
    assert got == pytest.approx(want - constant, abs=1e-7)


def test_a_misaligned_agent_is_flagged_and_nobody_else() -> None:
    rng = np.random.default_rng(9)
    agents, shared = operators(5, rng)
    assert TurboIRL(agents, NAMES, PRIOR).fit().misaligned == ()
    odd = choices(np.concatenate([-shared, [0.0, 0.0]]), 150, rng)
    agents[1] = Agent(name="odd one", likelihood=odd)
    result = TurboIRL(agents, NAMES, PRIOR).fit()
    assert result.misaligned == ("odd one",)
    assert "odd one: its data speak against the others" in result.summary()
    # Of two that disagree nobody can say which is the odd one.
    two = TurboIRL(agents[:2], NAMES, PRIOR).fit()
    assert set(two.misaligned) == {"operator 0", "odd one"}


def test_a_missing_agent_is_done_without() -> None:
    agents, _ = operators(4, np.random.default_rng(10))
    result = TurboIRL(agents, NAMES, PRIOR).fit()
    without = TurboIRL(agents[:3], NAMES, PRIOR).fit()
    # Messages of quadratic-like losses hardly depend on who was heard: dropping is forgetting.
    left = fuse(PRIOR, result.messages[:3])
    np.testing.assert_allclose(left.mean, without.shared.mean, atol=0.05)
    assert alignment(PRIOR, result.messages[:3]).keys() == {a.name for a in agents[:3]}


def test_damping_and_order_lead_to_the_same_point() -> None:
    agents, _ = operators(3, np.random.default_rng(11))
    plain = TurboIRL(agents, NAMES, PRIOR).fit(tolerance=1e-7)
    damped = TurboIRL(agents[::-1], NAMES, PRIOR).fit(damping=0.5, tolerance=1e-7, max_rounds=60)
    np.testing.assert_allclose(plain.shared.mean, damped.shared.mean, atol=1e-6)


def fitted(n: int) -> TurboResult:
    agents, _ = operators(2, np.random.default_rng(12), size=n)
    return TurboIRL(agents, NAMES, PRIOR).fit()


def test_messages_are_small_and_say_nothing_of_single_decisions() -> None:
    for n in (50, 2000):
        text = fitted(n).messages[0].to_json()
        assert len(text) <= 1000
        lists = [v for v in json.loads(text).values() if isinstance(v, list)]
        assert sorted(map(len, lists)) == [3, 6]


def test_messages_come_back_from_json_as_they_went() -> None:
    message = fitted(50).messages[0]
    back = read_message(message.to_json(), schema_hash(NAMES))
    np.testing.assert_array_equal(back.eta, message.eta)
    np.testing.assert_array_equal(back.precision, message.precision)
    assert back.to_json() == message.to_json()


@pytest.mark.parametrize(
    ("change", "words"),
    (
        ({"schema": "0"}, "other shared weights"),
        ({"eta": [1, 2]}, "6 entries of precision for 2 weights"),
        ({"eta": [1, 2, True]}, "not a list of numbers"),
        ({"eta": [1, 2, 10**400]}, "too large"),
        ({"precision": [-1, 0, 0, 1, 0, 1]}, "negative eigenvalue"),
        ({"evidence": "much"}, "not a number"),
        ({"round": -1}, "must not be negative"),
        ({"states": [1]}, "too much: states"),
        ({"format": "x"}, "no message"),
    ),
)
def test_what_is_no_message_is_refused(change: dict[str, object], words: str) -> None:
    content = json.loads(fitted(50).messages[0].to_json()) | change
    with pytest.raises(IrlError, match=words):
        read_message(json.dumps(content), schema_hash(NAMES))


def test_two_parties_reach_the_joint_fit_by_files_alone(tmp_path: Path) -> None:
    agents, _ = operators(2, np.random.default_rng(14))
    schema = schema_hash(NAMES)
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for number in range(6):
        for me in (0, 1):
            other = files[1 - me]
            heard = [read_message(other.read_text(), schema)] if other.exists() else []
            fit = local_fit(agents[me], PRIOR, fuse(PRIOR, heard))
            message = extrinsic_message(agents[me], PRIOR, fit, number=number, schema=schema)
            files[me].write_text(message.to_json())
    got = fuse(PRIOR, [read_message(file.read_text(), schema) for file in files])
    np.testing.assert_allclose(got.mean, joint_map(agents, PRIOR)[1], atol=1e-6)


def test_what_would_count_twice_or_means_something_else_is_not_fused() -> None:
    one, other = fitted(50).messages
    with pytest.raises(IrlError, match="two messages of operator 0: the same data would count"):
        fuse(PRIOR, [one, one])
    with pytest.raises(IrlError, match="operator 1 speak of other shared weights"):
        fuse(PRIOR, [one, replace(other, schema="else")])


def test_bad_input_is_named() -> None:
    agents, _ = operators(2, np.random.default_rng(13))
    with pytest.raises(IrlError, match="3 shared weights, 2 are named"):
        TurboIRL(agents, NAMES[:2], PRIOR)
    with pytest.raises(IrlError, match="no name twice"):
        TurboIRL([agents[0], agents[0]], NAMES, PRIOR)
    with pytest.raises(IrlError, match="random schedule needs rng"):
        TurboIRL(agents, NAMES, PRIOR).fit(schedule="random")
    with pytest.raises(IrlError, match="not symmetric"):
        replace(PRIOR, shared=np.triu(np.ones((3, 3))))
