"""What Turbo-IRL is compared with: nine methods behind one call, `fit`.

All get the same agents. What each is allowed to see differs, and is said in `SEES`:

- ``cloning``: behaviour cloning, counts of actions by state with one pseudo-count per action.
- ``maxent``: MaxEnt IRL of each agent alone (Ziebart et al. 2008), its prior only wide enough to
  keep the solution finite.
- ``deep_maxent``: Deep MaxEnt IRL of each agent alone (Wulfmeier et al. 2015).
- ``independent``: each agent alone with the same likelihood, the same candidate priors and the
  same choice by evidence as Turbo-IRL. The fair one: all that it lacks are the others.
- ``pooled``: all agents share one vector of shared weights, by one fit to all raw data.
- ``fedavg``: federated averaging (McMahan et al. 2017) of the shared weights.
- ``multitask``: multi-task MCE IRL (Gleave and Habryka 2018), raw data of all in one fit that
  pulls each agent to the mean of all with a fixed strength.
- ``multitask_oracle``: the same with the strength of `STRENGTHS` that is best for each agent's
  *true* weights, which nobody knows: an upper bound.
- ``joint``: one maximum a posteriori fit to all raw data under the prior that Turbo-IRL chose.
  Its ceiling.
- ``turbo``: Turbo-IRL itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from irl.agent import Agent, weights_of_own
from irl.errors import IrlError
from irl.joint import joint_map
from irl.likelihood import ActionLikelihood, FeatureMatching, Likelihood
from irl.maxent import fit_map
from irl.metrics import pearson
from irl.priors import TurboPrior, iid
from irl.soft_vi import soft_value_iteration
from irl.turbo import TurboIRL

# Variance of a weight that keeps maximum likelihood finite and is hardly felt otherwise.
WIDE = 100.0
# Pull to the mean, nats per squared unit of a weight; the best of `STRENGTHS` on average over
# worlds that no published table contains.
FIXED_STRENGTH = 0.3
STRENGTHS = (0.1, 0.3, 1.0, 3.0)
FEDERATED_ROUNDS, LOCAL_STEPS = 20, 5


@dataclass(frozen=True, eq=False, kw_only=True)
class Recovered:
    """What a method says of each agent."""

    method: str
    theta: tuple[NDArray[np.float64], ...] | None  # weights of each agent; cloning has none
    policy: tuple[NDArray[np.float64], ...] | None  # [T, n_state, n_action] of each, if tabular
    prior: TurboPrior | None = None  # under which it was fitted, where one was chosen


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """Agents that share their first weights, and what the methods may use."""

    agents: tuple[Agent, ...]
    shared: tuple[str, ...]  # names of the shared weights
    priors: tuple[TurboPrior, ...]  # candidates, of which evidence chooses
    inputs: ArrayLike | None = None  # [d, k] of the network; the identity by default
    truth: tuple[NDArray[np.float64], ...] | None = None  # weights of each agent, for the oracle

    @property
    def n_shared(self) -> int:
        return len(self.shared)

    def only(self, agent: int) -> "Problem":
        """The same with one agent alone."""
        truth = None if self.truth is None else (self.truth[agent],)
        return replace(self, agents=(self.agents[agent],), truth=truth)


Thetas = tuple[NDArray[np.float64], ...]
Method = Callable[[Problem, np.random.Generator], tuple[Thetas | None, TurboPrior | None]]


def fit(method: str, problem: Problem, rng: np.random.Generator) -> Recovered:
    """Fit all agents by one method of `METHODS`.

    Raises
    ------
    IrlError
        The method is unknown, or needs a table of states that the agents do not have, or true
        rewards that are not given.
    """
    if method not in METHODS:
        raise IrlError(f"No method '{method}'. There are: {', '.join(METHODS)}.")
    theta, prior = METHODS[method](problem, rng)
    policy: Thetas | None = None
    if theta is None:
        policy = tuple(cloned_policy(_tabular(agent)) for agent in problem.agents)
    elif all(isinstance(agent.likelihood, ActionLikelihood) for agent in problem.agents):
        policy = tuple(
            soft_value_iteration(table.mdp, table.features @ one).policy
            for table, one in zip(map(_tabular, problem.agents), theta, strict=True)
        )
    return Recovered(method=method, theta=theta, policy=policy, prior=prior)


def cloned_policy(table: ActionLikelihood, pseudo_count: float = 1.0) -> NDArray[np.float64]:
    """Relative frequency of each available action by state, [T, n_state, n_action].

    Counts are those of all steps together: by step there would be next to none.
    """
    mdp, data = table.mdp, table.data
    count = pseudo_count * mdp.available.astype(np.float64)
    np.add.at(count, (data.state, data.action), 1.0)
    policy = count / count.sum(axis=1, keepdims=True)
    return np.repeat(policy[None], mdp.n_step, axis=0)


def _tabular(agent: Agent) -> ActionLikelihood:
    if not isinstance(agent.likelihood, ActionLikelihood):
        raise IrlError(
            f"This method needs a table of states; {agent.name} has a likelihood of another kind. "
            "Use independent, pooled, fedavg, multitask or joint."
        )
    return agent.likelihood


def _cloning(problem: Problem, _rng: np.random.Generator) -> tuple[None, None]:
    for agent in problem.agents:
        _tabular(agent)
    return None, None


def _maxent(problem: Problem, _rng: np.random.Generator) -> tuple[Thetas, None]:
    return tuple(_wide(_matching(agent)) for agent in problem.agents), None


def _wide(likelihood: Likelihood) -> NDArray[np.float64]:
    d = likelihood.n_parameter
    return fit_map(likelihood, np.zeros(d), iid(d, WIDE)).theta


def _matching(agent: Agent) -> FeatureMatching:
    table = _tabular(agent)
    return FeatureMatching(table.mdp, table.data, table.features)


def _deep_maxent(problem: Problem, rng: np.random.Generator) -> tuple[Thetas, None]:
    from irl.deep import deep_maxent  # loads torch

    def one(agent: Agent) -> NDArray[np.float64]:
        matching = _matching(agent)
        inputs = np.eye(matching.n_parameter) if problem.inputs is None else problem.inputs
        return deep_maxent(matching, inputs, rng)

    return tuple(one(agent) for agent in problem.agents), None


def _turbo(problem: Problem, _rng: np.random.Generator) -> tuple[Thetas, TurboPrior]:
    found = TurboIRL(problem.agents, problem.shared, problem.priors).fit(tolerance=1e-3)
    return tuple(one.theta for one in found.fits), found.prior


def _independent(problem: Problem, _rng: np.random.Generator) -> tuple[Thetas, None]:
    """With nobody to hear, a prior is its total: candidates of equal total are tried once."""
    totals: dict[bytes, TurboPrior] = {}
    for prior in problem.priors:
        total = prior.shared + prior.deviation
        key = np.round(total / np.abs(total).max(), 6).tobytes() + f"{total[0, 0]:.6g}".encode()
        totals.setdefault(key, TurboPrior(shared=total, deviation=np.zeros_like(total)))
    fits = [
        TurboIRL([agent], problem.shared, tuple(totals.values())).fit(tolerance=1e-3)
        for agent in problem.agents
    ]
    return tuple(found.fits[0].theta for found in fits), None


def _pooled(problem: Problem, _rng: np.random.Generator) -> tuple[Thetas, TurboPrior]:
    """Evidence chooses the prior; the exchange finds which, the raw data give the weights."""
    one_for_all = tuple(
        TurboPrior(shared=prior.shared + prior.deviation, deviation=np.zeros_like(prior.shared))
        for prior in problem.priors
    )
    chosen = TurboIRL(problem.agents, problem.shared, one_for_all).fit(tolerance=1e-2).prior
    return tuple(joint_map(problem.agents, chosen)[2]), chosen


def _joint(problem: Problem, rng: np.random.Generator) -> tuple[Thetas, TurboPrior]:
    prior = problem.priors[0] if len(problem.priors) == 1 else _turbo(problem, rng)[1]
    return tuple(joint_map(problem.agents, prior)[2]), prior


def _multitask(problem: Problem, _rng: np.random.Generator) -> tuple[Thetas, None]:
    return _pulled(problem, FIXED_STRENGTH), None


def _multitask_oracle(problem: Problem, _rng: np.random.Generator) -> tuple[Thetas, None]:
    truth = problem.truth
    if truth is None:
        raise IrlError("multitask_oracle chooses by the true weights: give Problem(truth=...).")

    tried = [_pulled(problem, strength) for strength in STRENGTHS]
    best = []
    for i, want in enumerate(truth):
        likeness = [pearson(theta[i], want) for theta in tried]
        best.append(tried[int(np.argmax(likeness))][i])
    return tuple(best), None


def _pulled(problem: Problem, strength: float) -> Thetas:
    """Losses plus half of strength times the squared distance of each agent from the mean.

    The mean is the best common point, so this is a joint fit with a flat prior of what is shared.
    """
    n = problem.n_shared
    prior = TurboPrior(shared=iid(n, WIDE), deviation=iid(n, 1.0 / strength))
    return tuple(joint_map(problem.agents, prior)[2])


def _fedavg(problem: Problem, _rng: np.random.Generator) -> tuple[Thetas, None]:
    """Every round each agent takes a few steps from the common weights; then they are averaged.

    Steps are L-BFGS iterations on the agent's own loss with its share of a ridge; the average is
    weighted by observations. Own weights stay at home.
    """
    n, agents = problem.n_shared, problem.agents
    size = np.array([agent.likelihood.n_observation for agent in agents], np.float64)
    weight = size / size.sum()
    variance = float(np.mean([np.diag(p.shared + p.deviation).mean() for p in problem.priors]))
    common = np.zeros(n)
    own = [np.zeros(agent.likelihood.n_parameter - n) for agent in agents]
    for _ in range(FEDERATED_ROUNDS):
        answers = []
        for i, agent in enumerate(agents):
            ridge = np.concatenate(
                [np.full(n, weight[i] / variance), 1.0 / np.diag(weights_of_own(agent, n))]
            )
            found = minimize(
                _ridged,
                np.concatenate([common, own[i]]),
                args=(agent.likelihood, ridge),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": LOCAL_STEPS},
            ).x
            answers.append(found[:n])
            own[i] = found[n:]
        common = weight @ np.array(answers)
    return tuple(np.concatenate([common, one]) for one in own), None


def _ridged(
    theta: NDArray[np.float64], likelihood: Likelihood, ridge: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    loss, gradient = likelihood.value(theta)
    return loss + 0.5 * float(ridge @ theta**2), gradient + ridge * theta


METHODS: Mapping[str, Method] = {
    "cloning": _cloning,
    "maxent": _maxent,
    "deep_maxent": _deep_maxent,
    "independent": _independent,
    "pooled": _pooled,
    "fedavg": _fedavg,
    "multitask": _multitask,
    "multitask_oracle": _multitask_oracle,
    "turbo": _turbo,
    "joint": _joint,
}
# Methods that fit each agent without a word from the others.
ALONE = ("cloning", "maxent", "deep_maxent", "independent")
# What leaves an agent: nothing, weights, messages, or all of its raw data.
SEES: Mapping[str, str] = {
    "cloning": "nothing",
    "maxent": "nothing",
    "deep_maxent": "nothing",
    "independent": "nothing",
    "pooled": "raw data",
    "fedavg": "weights",
    "multitask": "raw data",
    "multitask_oracle": "raw data and the truth",
    "joint": "raw data",
    "turbo": "messages",
}
