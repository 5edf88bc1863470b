"""Networks against the convex fit that they should reach."""

import numpy as np
import pytest
import torch

from irl.agent import Agent
from irl.deep import DeepModule, Network, deep_maxent, encode, fingerprint
from irl.errors import IrlError
from irl.gridworld import gridworld, overlapping_rewards, positions
from irl.likelihood import ActionLikelihood, FeatureMatching
from irl.maxent import fit_map
from irl.mdp import sample
from irl.messages import schema_hash
from irl.metrics import pearson
from irl.priors import TurboPrior, iid, rbf
from irl.soft_vi import soft_value_iteration
from irl.turbo import TurboIRL

SIDE = 4
PLACE = positions(SIDE)


def likelihoods(counts: tuple[int, ...]) -> tuple[list[ActionLikelihood], list[np.ndarray]]:
    rng = np.random.default_rng(5)
    mdp = gridworld(SIDE, horizon=12)
    truth = overlapping_rewards(SIDE, len(counts), 0.9, rng)
    return [
        ActionLikelihood(mdp, sample(mdp, soft_value_iteration(mdp, one).policy, n, rng))
        for one, n in zip(truth, counts, strict=True)
    ], list(truth)


@pytest.mark.parametrize("kernel", ("iid", "rbf"))
def test_a_network_under_a_prior_reaches_the_convex_fit(kernel: str) -> None:
    (loss,), _ = likelihoods((20,))
    covariance = iid(SIDE**2, 4.0) if kernel == "iid" else rbf(PLACE, 4.0, 1.5)
    mean = np.linspace(-1, 1, SIDE**2)
    want = fit_map(loss, mean, covariance)
    got = DeepModule(inputs=PLACE, hidden=(32, 32))(loss, mean, covariance)
    assert got.converged
    np.testing.assert_allclose(got.theta, want.theta, rtol=0, atol=5e-3)
    # Smooth fields are known to their jitter only; compare what is above it.
    np.testing.assert_allclose(got.covariance, want.covariance, rtol=0, atol=1e-2)


def test_modules_of_networks_end_where_convex_modules_do() -> None:
    losses, _ = likelihoods((30, 3))
    prior = TurboPrior(shared=rbf(PLACE, 3.0, 1.5), deviation=rbf(PLACE, 0.5, 1.5))
    names = tuple(f"state {s}" for s in range(SIDE**2))
    module = DeepModule(inputs=PLACE, hidden=(32, 32))
    plain, deep = (
        TurboIRL(
            [Agent(name=str(i), likelihood=x, **more) for i, x in enumerate(losses)], names, prior
        ).fit(tolerance=1e-3)
        for more in ({}, {"fit": module})
    )
    for a, b in zip(plain.fits, deep.fits, strict=True):
        np.testing.assert_allclose(a.theta, b.theta, rtol=0, atol=1e-2)
    np.testing.assert_allclose(plain.shared.mean, deep.shared.mean, rtol=0, atol=1e-2)


def test_deep_maxent_recovers_a_reward_from_many_episodes() -> None:
    (loss,), (truth,) = likelihoods((300,))
    matching = FeatureMatching(loss.mdp, loss.data)
    found = deep_maxent(matching, PLACE, np.random.default_rng(0), Network(steps=300))
    again = deep_maxent(matching, PLACE, np.random.default_rng(0), Network(steps=300))
    np.testing.assert_array_equal(found, again)
    assert pearson(found, truth) > 0.9


def test_a_frozen_encoder_gives_features_of_a_linear_head() -> None:
    losses, truth = likelihoods((200,))
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Linear(2, 12), torch.nn.Tanh(), torch.nn.Dropout(0.5))
    before = fingerprint(encoder)
    features = encode(encoder, PLACE)
    np.testing.assert_array_equal(features, encode(encoder, PLACE))  # no dropout while frozen
    assert encoder.training
    assert features.shape == (16, 12)
    assert fingerprint(encoder) == before
    head = ActionLikelihood(losses[0].mdp, losses[0].data, features)
    theta = fit_map(head, np.zeros(12), iid(12, 10.0)).theta
    assert pearson(features @ theta, truth[0]) > 0.8
    with torch.no_grad():
        next(encoder.parameters())[0, 0] += 1e-3
    assert fingerprint(encoder) != before
    assert schema_hash(["a"], [before]) != schema_hash(["a"], [fingerprint(encoder)])


def test_bad_input_is_named() -> None:
    (loss,), _ = likelihoods((2,))
    with pytest.raises(IrlError, match=r"\[16, k\], one row for each parameter"):
        deep_maxent(loss, np.ones((3, 2)), np.random.default_rng(0))
    with pytest.raises(IrlError, match="at least one step"):
        Network(steps=0)
    with pytest.raises(IrlError, match="must give finite numbers"):
        encode(torch.nn.Flatten(0), PLACE)
