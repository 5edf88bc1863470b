"""Turbo-IRL: agents learn what they share by exchanging Gaussian messages, never data.

Agent i wants ``theta_i = [s + delta_i, own_i]``: shared weights, its deviation from them, and
weights that are its own. Each module fits its own data under what the *others* said, and answers
with what its data alone add (the extrinsic message: what came in never goes back out). The agents
form a star around ``s``, so at a fixed point the fits are those of one joint maximum a posteriori
fit to everybody's raw data (`irl.joint.joint_map`); where losses are convex, that is the only one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from irl.agent import Agent, extrinsic_message, local_fit, weights_of_own
from irl.errors import IrlError
from irl.evidence import candidate_priors
from irl.fusion import Belief, fuse, interval, log_evidence, misaligned_agents
from irl.maxent import Fit
from irl.messages import SharedMessage, schema_hash
from irl.priors import TurboPrior

Schedule = Literal["flooding", "sequential", "random"]
# Largest move of a weight at which the evidence of a prior is known well enough to compare.
_ROUGH = 1e-2


@dataclass(frozen=True, eq=False, kw_only=True)
class TurboResult:
    """What each agent wants, what they share, and how the exchange went."""

    agents: tuple[str, ...]
    shared_names: tuple[str, ...]
    prior: TurboPrior
    fits: tuple[Fit, ...]
    shared: Belief
    messages: tuple[SharedMessage, ...]  # of the last round
    change: tuple[float, ...]  # largest move of any weight, by round
    history: tuple[tuple[SharedMessage, ...], ...]  # messages after each round
    converged: bool
    evidence: float  # log evidence of the prior, nats

    @property
    def rounds(self) -> int:
        return len(self.change)

    @property
    def misaligned(self) -> tuple[str, ...]:
        """Agents whose data speak strongly (3 nats) against sharing with the others."""
        return misaligned_agents(self.prior, self.messages)

    def interval(self, level: float = 0.9) -> NDArray[np.float64]:
        """Credible interval of each shared weight, [n_shared, 2]."""
        return interval(self.shared, level)

    def summary(self) -> str:
        """The shared weights with 90 % intervals, and what to know before trusting them."""
        ends = self.interval()
        width = max(map(len, self.shared_names), default=6)
        lines = [
            f"{name:<{width}}  {mean:9.3f}  [{low:.3f}, {high:.3f}]"
            for name, mean, (low, high) in zip(
                self.shared_names, self.shared.mean, ends, strict=True
            )
        ]
        state = "converged" if self.converged else "NOT converged"
        lines.append(f"{state} after {self.rounds} rounds; log evidence {self.evidence:.2f}")
        lines += [
            f"{name}: {fit.reason}"
            for name, fit in zip(self.agents, self.fits, strict=True)
            if not fit.converged
        ]
        lines += [f"{name}: its data speak against the others" for name in self.misaligned]
        return "\n".join(lines)


class TurboIRL:
    """Several agents, one module each.

    Parameters
    ----------
    agents : sequence of Agent
        In any order; names are unique.
    shared : sequence of str
        Names of the shared weights: the first parameters of every agent, in this order.
    prior : TurboPrior, sequence of TurboPrior, or "evidence"
        Of several, the one with the largest evidence is taken; "evidence" stands for those of
        `irl.evidence.candidate_priors`.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        shared: Sequence[str],
        prior: TurboPrior | Sequence[TurboPrior] | Literal["evidence"] = "evidence",
    ) -> None:
        self.agents = tuple(agents)
        self.shared = tuple(shared)
        if isinstance(prior, str):
            if prior != "evidence":
                raise IrlError(f"prior is {prior!r}; it must be a TurboPrior or 'evidence'.")
            self.priors = candidate_priors(len(self.shared))
        else:
            self.priors = (prior,) if isinstance(prior, TurboPrior) else tuple(prior)
        names = [agent.name for agent in self.agents]
        if not names or len(set(names)) < len(names):
            raise IrlError("There must be at least one agent, and no name twice.")
        if not self.priors:
            raise IrlError("There must be at least one prior.")
        for one in self.priors:
            if one.n_shared != len(self.shared):
                raise IrlError(
                    f"The prior has {one.n_shared} shared weights, {len(self.shared)} are named."
                )
        for agent in self.agents:
            weights_of_own(agent, len(self.shared))

    def fit(
        self,
        *,
        schedule: Schedule = "flooding",
        damping: float = 0.0,
        tolerance: float = 1e-5,
        max_rounds: int = 20,
        rng: np.random.Generator | None = None,
    ) -> TurboResult:
        """Exchange messages until no weight moves by more than ``tolerance``.

        Parameters
        ----------
        schedule : {"flooding", "sequential", "random"}
            All at once; one after the other, each hearing those before it; or the same in an
            order drawn afresh each round (which needs ``rng``).
        damping : float
            Share of its old message that an agent keeps, 0 up to below 1.
        """
        if not 0.0 <= damping < 1.0 or max_rounds < 1:
            raise IrlError("damping must lie in 0..1 (without 1), max_rounds be at least 1.")
        if schedule == "random" and rng is None:
            raise IrlError("A random schedule needs rng, a numpy random generator.")
        order = _Order(schedule=schedule, damping=damping, max_rounds=max_rounds, rng=rng)
        if len(self.priors) == 1:
            return self._exchange(self.priors[0], order, tolerance)
        # Which prior is best shows long before the last digit of its weights.
        rough: list[TurboResult] = []
        for prior in self.priors:
            rough.append(
                self._exchange(prior, order, max(tolerance, _ROUGH), rough[-1] if rough else None)
            )
        best = max(rough, key=lambda result: result.evidence)
        fine = self._exchange(best.prior, order, tolerance, best)
        return replace(fine, change=best.change + fine.change, history=best.history + fine.history)

    def _exchange(
        self,
        prior: TurboPrior,
        order: "_Order",
        tolerance: float,
        earlier: TurboResult | None = None,
    ) -> TurboResult:
        """Rounds under one prior; they begin where an ``earlier`` exchange ended."""
        schema = schema_hash(self.shared)
        agents = range(len(self.agents))
        fits: dict[int, Fit] = dict(enumerate(earlier.fits)) if earlier else {}
        held: dict[int, SharedMessage] = {
            i: extrinsic_message(self.agents[i], prior, fit, number=0, schema=schema)
            for i, fit in fits.items()
        }
        accuracy = 1e-3 * max(tolerance, 1e-5)
        change: list[float] = []
        history: list[tuple[SharedMessage, ...]] = []
        while len(change) < order.max_rounds and (not change or change[-1] > tolerance):
            said = dict(held)
            moved = 0.0
            for i in order.of(len(agents)):
                heard = said if order.schedule == "flooding" else held
                cavity = fuse(prior, [m for j, m in heard.items() if j != i])
                fit = local_fit(self.agents[i], prior, cavity, fits.get(i), tolerance=accuracy)
                before = fits[i].theta if i in fits else np.inf
                moved = max(moved, float(np.abs(fit.theta - before).max()))
                fits[i] = fit
                new = extrinsic_message(
                    self.agents[i], prior, fit, number=len(change), schema=schema
                )
                held[i] = _damped(held.get(i), new, order.damping)
            change.append(moved)
            history.append(tuple(held[i] for i in agents))
        messages = history[-1]
        return TurboResult(
            agents=tuple(agent.name for agent in self.agents),
            shared_names=self.shared,
            prior=prior,
            fits=tuple(fits[i] for i in agents),
            shared=fuse(prior, messages),
            messages=messages,
            change=tuple(change),
            history=tuple(history),
            converged=change[-1] <= tolerance and all(fit.converged for fit in fits.values()),
            evidence=log_evidence(prior, messages),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Order:
    """Who speaks when, and how much of its old message an agent keeps."""

    schedule: Schedule
    damping: float
    max_rounds: int
    rng: np.random.Generator | None

    def of(self, n_agent: int) -> list[int]:
        """The agents in the order of the next round."""
        if self.schedule == "random" and self.rng is not None:
            return [int(i) for i in self.rng.permutation(n_agent)]
        return list(range(n_agent))


def _damped(old: SharedMessage | None, new: SharedMessage, damping: float) -> SharedMessage:
    if old is None or damping == 0.0:
        return new
    return SharedMessage(
        agent=new.agent,
        round=new.round,
        schema=new.schema,
        eta=damping * old.eta + (1 - damping) * new.eta,
        precision=damping * old.precision + (1 - damping) * new.precision,
        evidence=new.evidence,
        n_observation=new.n_observation,
    )
