"""Figures that speak of the exchange itself: its fixed point, and how honest its intervals are.

Operators with planted weights choose among random candidates by conditional logit, a convex
problem, so there is one joint fit to all raw data to compare with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from irl.agent import Agent, extrinsic_message, local_fit
from irl.fusion import Belief, fuse, interval
from irl.joint import joint_map
from irl.likelihood import CandidateChoice
from irl.messages import SharedMessage
from irl.priors import TurboPrior, iid
from irl.turbo import Schedule, TurboIRL

N_SHARED, N_OWN, N_CANDIDATE = 3, 2, 6
NAMES = tuple(f"shared {k}" for k in range(N_SHARED))
SPREAD = 0.1  # standard deviation of an agent's deviation from what is shared
PRIOR = TurboPrior(shared=iid(N_SHARED, 1.0), deviation=iid(N_SHARED, SPREAD**2))


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """How far exchanges ended from the joint fit to all raw data, at worst."""

    max_gap: float  # of any weight
    rounds: int
    problems: int


def choices(
    theta: NDArray[np.float64], n_decision: int, rng: np.random.Generator
) -> CandidateChoice:
    """Decisions among random candidates, drawn from the model itself."""
    features = rng.normal(size=(n_decision, N_CANDIDATE, theta.size))
    utility = features @ theta + rng.gumbel(size=(n_decision, N_CANDIDATE))
    start = N_CANDIDATE * np.arange(n_decision + 1)
    return CandidateChoice(
        features=features.reshape(-1, theta.size),
        start=start,
        chosen=start[:-1] + utility.argmax(axis=1),
    )


def operators(
    sizes: Sequence[int], rng: np.random.Generator, spread: float = SPREAD
) -> tuple[list[Agent], NDArray[np.float64]]:
    """One agent for each number of decisions, and the shared weights that all start from."""
    shared = rng.normal(size=N_SHARED)
    agents = []
    for i, size in enumerate(sizes):
        theta = np.concatenate(
            [shared + spread * rng.normal(size=N_SHARED), rng.normal(size=N_OWN)]
        )
        agents.append(Agent(name=f"operator {i}", likelihood=choices(theta, size, rng)))
    return agents, shared


def fixed_point(rng: np.random.Generator, *, max_rounds: int = 8) -> FixedPoint:
    """Exchanges of 2 to 8 agents in every order against the joint fit."""
    schedules: tuple[Schedule, ...] = ("flooding", "sequential", "random")
    gap, rounds, problems = 0.0, 0, 0
    for n_agent in (2, 3, 5, 8):
        agents, _ = operators([150] * (n_agent - 1) + [20], rng)
        _, shared, theta = joint_map(agents, PRIOR)
        for schedule in schedules:
            found = TurboIRL(agents, NAMES, PRIOR).fit(
                schedule=schedule, rng=rng, max_rounds=max_rounds
            )
            gaps = [np.abs(f.theta - t).max() for f, t in zip(found.fits, theta, strict=True)]
            gap = max(gap, *map(float, gaps), float(np.abs(found.shared.mean - shared).max()))
            rounds, problems = max(rounds, found.rounds), problems + 1
    return FixedPoint(max_gap=gap, rounds=rounds, problems=problems)


def accumulated(agents: Sequence[Agent], rounds: int = 6) -> Belief:
    """The ablation that counts twice: what all said becomes the prior of all, round by round."""
    held: list[SharedMessage] = []
    for number in range(rounds):
        heard = fuse(PRIOR, held)
        for agent in agents:
            fit = local_fit(agent, PRIOR, heard)
            said = extrinsic_message(agent, PRIOR, fit, number=number, schema="")
            held.append(replace(said, agent=f"{agent.name}, round {number}"))
    return fuse(PRIOR, held)


def coverage90(
    worlds: int, rng: np.random.Generator, *, counting_twice: bool = False
) -> tuple[float, float]:
    """Share of shared weights within their 90 % intervals, and its standard error.

    Worlds are drawn from the prior; agents have 60, 60 and 20 decisions. Weights of one world are
    taken together for the error.
    """
    inside = []
    for _ in range(worlds):
        agents, truth = operators((60, 60, 20), rng)
        if counting_twice:
            belief = accumulated(agents)
        else:
            belief = TurboIRL(agents, NAMES, PRIOR).fit(tolerance=1e-3).shared
        ends = interval(belief, 0.9)
        inside.append(float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()))
    return float(np.mean(inside)), float(np.std(inside) / np.sqrt(worlds))
