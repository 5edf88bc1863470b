"""Planted operators of a grid: whether their weights are found again, and choices follow.

Decisions come from `irl.grid_task.play`: the lists of candidates, with what each would lead to, are
those of a grid in operation. For every world of the experiment weights are planted afresh and the
choices on these lists are drawn anew, so that worlds differ in everything but the situations.
Held-out situations are other episodes; ``strange`` ones are played by operators who order at
random, so that the switching is one that no log has seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridrl.env import world_of
from irl.agent import Agent
from irl.baselines import Problem, fit
from irl.evidence import candidate_priors
from irl.grid_task import OWN, SHARED, best, boltzmann, grid_task, play
from irl.likelihood import CandidateChoice
from irl.metrics import held_out_loss, pearson
from irl.rates import exchange_rate
from irl.turbo import TurboIRL

METHODS = ("independent", "pooled", "fedavg", "multitask", "multitask_oracle", "turbo", "joint")
DEMONSTRATORS = ("boltzmann", "greedy")
EPSILON = 0.05  # of greedy demonstrators: any candidate
N_SHARED = len(SHARED)
# Planted weights, in units of the spread of a feature among candidates.
SHARED_MEAN, SHARED_SD, OWN_MEAN, OWN_SD = 2.0, 0.6, 1.0, 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Situations:
    """Candidate lists of each operator, features divided by their spread among candidates."""

    seen: tuple[CandidateChoice, ...]
    held_out: tuple[CandidateChoice, ...]  # other episodes
    strange: tuple[CandidateChoice, ...]  # other episodes, switching at random


def situations(
    scenario: str, n_decision: int, n_test: int, rng: np.random.Generator, n_operator: int = 3
) -> Situations:
    """Play a scenario for situations to decide in; half of its episodes are kept for tests."""
    world = world_of(scenario)
    task = grid_task(world, n_operator)
    episode = rng.permutation(world.series.n_episode)
    half = max(1, episode.size // 2)
    usual = [
        np.concatenate([[3.0, 5.0, 0.5], [0.1, 1.0, 0.3, 5.0, 1.0]]) for _ in range(n_operator)
    ]
    nobody = [np.zeros(N_SHARED + len(OWN)) for _ in range(n_operator)]
    train = play(task, boltzmann(usual, rng), n_decision, rng, episode=episode[:half])
    held, strange = (
        play(task, boltzmann(weights, rng), n_test, rng, episode=episode[half:])
        for weights in (usual, nobody)
    )
    common = np.mean([_spread(log)[:N_SHARED] for log in train], axis=0)
    scales = [np.concatenate([common, _spread(log)[N_SHARED:]]) for log in train]
    scales = [np.where(scale > 0, scale, 1.0) for scale in scales]
    return Situations(
        seen=_scaled(train, scales), held_out=_scaled(held, scales),
        strange=_scaled(strange, scales),
    )  # fmt: skip


def _spread(log: CandidateChoice) -> Floats:
    """Standard deviation of each feature among the candidates of a decision, [d]."""
    return np.asarray(_centred(log.features, log).std(axis=0))


def _centred(values: Floats, log: CandidateChoice) -> Floats:
    size = np.diff(log.start)
    mean = np.add.reduceat(values, log.start[:-1], axis=0) / size.reshape(
        -1, *[1] * (values.ndim - 1)
    )
    return np.asarray(values - np.repeat(mean, size, axis=0))


def _scaled(
    logs: Sequence[CandidateChoice], scales: Sequence[Floats]
) -> tuple[CandidateChoice, ...]:
    return tuple(
        replace(log, features=log.features / scale) for log, scale in zip(logs, scales, strict=True)
    )


def chosen_by(
    log: CandidateChoice, weights: Floats, demonstrator: str, rng: np.random.Generator
) -> CandidateChoice:
    """The same lists with the choices of an operator who has these weights."""
    utility = log.features @ weights
    if demonstrator == "boltzmann":
        return replace(log, chosen=best(utility + rng.gumbel(size=utility.size), log.start))
    some = log.start[:-1] + rng.integers(0, np.diff(log.start))
    careless = rng.random(some.size) < EPSILON
    return replace(log, chosen=np.where(careless, some, best(utility, log.start)))


def first(log: CandidateChoice, n: int) -> CandidateChoice:
    """The first ``n`` decisions."""
    end = int(log.start[n])
    return replace(log, features=log.features[:end], start=log.start[: n + 1],
                   chosen=log.chosen[:n], log_sampling=None)  # fmt: skip


def run(
    places: Situations, seed: int, *, decisions: Sequence[int], spread: float, demonstrator: str
) -> dict[str, Any]:
    """One world: plant weights, choose, fit by every method, judge the last operator.

    Parameters
    ----------
    decisions
        Of each operator; the last one is judged.
    spread
        Standard deviation of an operator's shared weights from what is shared.
    """
    rng = np.random.default_rng([seed, round(1000 * spread), *decisions])
    shared = SHARED_MEAN + SHARED_SD * rng.normal(size=N_SHARED)
    logs, weights = [], []
    for log, n in zip(places.seen, decisions, strict=True):
        own = OWN_MEAN + OWN_SD * rng.normal(size=len(OWN))
        theta = np.concatenate([shared + spread * rng.normal(size=N_SHARED), own])
        mixed = _shuffled(log, rng)
        logs.append(chosen_by(first(mixed, n), theta, demonstrator, rng))
        weights.append(theta)
    problem = Problem(
        agents=tuple(Agent(name=f"operator_{i}", likelihood=log) for i, log in enumerate(logs)),
        shared=SHARED,
        priors=candidate_priors(N_SHARED, variances=(1.0, 4.0)),
        truth=tuple(weights),
    )
    test = chosen_by(places.held_out[-1], weights[-1], demonstrator, rng)
    results = {}
    for method in METHODS:
        sub = problem.only(-1) if method == "independent" else problem
        found = fit(method, sub, rng)
        assert found.theta is not None
        results[method] = _judged(found.theta[-1], weights[-1], test, places.strange[-1])
    return {
        "seed": seed, "decisions": list(decisions), "spread": spread,
        "demonstrator": demonstrator, "rates_covered": _rates_covered(problem, weights[-1]),
        "results": results,
    }  # fmt: skip


def _shuffled(log: CandidateChoice, rng: np.random.Generator) -> CandidateChoice:
    """The decisions in another order, so that few of them are not always the same ones."""
    order = rng.permutation(log.n_observation)
    size = np.diff(log.start)[order]
    start = np.concatenate([[0], np.cumsum(size)])
    rows = np.repeat(log.start[:-1][order] - start[:-1], size) + np.arange(start[-1])
    inside = (log.chosen - log.start[:-1])[order]
    return CandidateChoice(features=log.features[rows], start=start, chosen=start[:-1] + inside)


def _judged(
    found: Floats, truth: Floats, held: CandidateChoice, strange: CandidateChoice
) -> dict[str, float]:
    gap = np.linalg.norm(found[:N_SHARED] - truth[:N_SHARED])
    scores = {
        "shared_error": float(gap / np.linalg.norm(truth[:N_SHARED])),
        "utility_correlation": pearson(
            _centred(held.features @ found, held), _centred(held.features @ truth, held)
        ),
        "regret": regret(held, found, truth),
        "regret_strange": regret(strange, found, truth),
        "top1": float((best(held.features @ found, held.start) == held.chosen).mean()),
        "nll": held_out_loss(held, found),
    }
    return {name: round(x, 5) for name, x in scores.items()}


def regret(log: CandidateChoice, found: Floats, truth: Floats) -> float:
    """Utility lost by taking what ``found`` likes best, as a share of best minus average."""
    utility = log.features @ truth
    mine = utility[best(log.features @ found, log.start)]
    top = np.maximum.reduceat(utility, log.start[:-1])
    mean = np.add.reduceat(utility, log.start[:-1]) / np.diff(log.start)
    return float((top - mine).sum() / (top - mean).sum())


def _rates_covered(problem: Problem, truth: Floats) -> float:
    """Share of the last operator's exchange rates that lie within their 90 % intervals."""
    found = TurboIRL(problem.agents, problem.shared, problem.priors).fit().fits[-1]
    names = (*SHARED, *OWN)
    inside = []
    for k, name in enumerate(names[1:], 1):
        rate = exchange_rate(names, found.theta, found.covariance, name, names[0])
        inside.append(rate.low <= truth[k] / truth[0] <= rate.high)
    return float(np.mean(inside))
