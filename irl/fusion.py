"""What a coordinator does with messages: fuse them, weigh the prior, find who does not fit.

It sees messages alone. Whoever holds them can do this; there need be no server.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from irl.errors import IrlError
from irl.messages import SharedMessage
from irl.priors import TurboPrior


@dataclass(frozen=True, eq=False, kw_only=True)
class Belief:
    """A Gaussian belief of the shared weights."""

    mean: NDArray[np.float64]  # [n_shared]
    covariance: NDArray[np.float64]  # [n_shared, n_shared]


def fuse(prior: TurboPrior, messages: Sequence[SharedMessage]) -> Belief:
    """The prior times all messages; without messages, the prior.

    Raises
    ------
    IrlError
        If an agent speaks twice (its data would count twice), or of other weights.
    """
    n = prior.n_shared
    names = [m.agent for m in messages]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise IrlError(
            f"There are two messages of {', '.join(twice)}: the same data would count twice. "
            "Keep the latest of each agent."
        )
    odd = [m.agent for m in messages if m.eta.size != n or m.schema != messages[0].schema]
    if odd:
        raise IrlError(
            f"The messages of {', '.join(odd)} speak of other shared weights than the rest, or "
            f"not of {n}. Agree on names, units and order first."
        )
    precision = sum((m.precision for m in messages), np.zeros((n, n)))
    eta = sum((m.eta for m in messages), np.zeros(n))
    # Without inverting the prior, which a smooth field would not survive.
    covariance = np.linalg.solve(np.eye(n) + prior.shared @ precision, prior.shared)
    covariance = (covariance + covariance.T) / 2
    return Belief(mean=covariance @ eta, covariance=covariance)


def interval(belief: Belief, level: float = 0.9) -> NDArray[np.float64]:
    """Central credible interval of each weight, [n, 2]."""
    if not 0.0 < level < 1.0:
        raise IrlError(f"level is {level}; it must lie between 0 and 1.")
    half = norm.ppf(0.5 + level / 2) * np.sqrt(np.diag(belief.covariance))
    return np.stack([belief.mean - half, belief.mean + half], axis=1)


def log_evidence(prior: TurboPrior, messages: Sequence[SharedMessage]) -> float:
    """Laplace log evidence of the prior at a fixed point, nats: what `evidence` maximises."""
    belief = fuse(prior, messages)
    precision = sum((m.precision for m in messages), np.zeros((prior.n_shared,) * 2))
    distance = belief.mean @ np.linalg.lstsq(prior.shared, belief.mean, rcond=1e-12)[0]
    spread = np.linalg.slogdet(np.eye(prior.n_shared) + prior.shared @ precision)[1]
    return float(sum(m.evidence for m in messages) - 0.5 * distance - 0.5 * spread)


def information(prior: TurboPrior, messages: Sequence[SharedMessage]) -> float:
    """What messages tell of the shared weights, nats: ``log det(I + prior * precision) / 2``.

    Drawn against what an agent heard, what it says is its curve in an EXIT chart (ten Brink 2001).
    """
    precision = sum((m.precision for m in messages), np.zeros((prior.n_shared,) * 2))
    inner = np.eye(prior.n_shared) + prior.shared @ precision
    return float(0.5 * np.linalg.slogdet(inner)[1])


def alignment(prior: TurboPrior, messages: Sequence[SharedMessage]) -> dict[str, float]:
    """Log Bayes factor of each agent for sharing with the others, against wanting its own thing.

    From messages alone. Below about -3 the agent's data speak against the others: misaligned,
    mistaken or hostile. Of two agents that disagree, nobody can say which is the odd one.
    """
    whole = _gaussian_evidence(prior, messages)
    return {
        one.agent: whole
        - _gaussian_evidence(prior, [m for m in messages if m is not one])
        - _gaussian_evidence(prior, [one])
        for one in messages
    }


def misaligned_agents(
    prior: TurboPrior, messages: Sequence[SharedMessage], threshold: float = -3.0
) -> tuple[str, ...]:
    """Agents whose `alignment` is below ``threshold`` nats, the oddest first.

    The oddest is set aside before the others are judged: they must not look odd beside it.
    Where only two are left and disagree, both are named.
    """
    left = list(messages)
    odd: list[str] = []
    while len(left) > 1:
        scores = alignment(prior, left)
        worst = min(scores, key=lambda name: scores[name])
        if scores[worst] >= threshold:
            break
        if len(left) == 2:
            return (*odd, *(m.agent for m in left))
        odd.append(worst)
        left = [m for m in left if m.agent != worst]
    return tuple(odd)


def _gaussian_evidence(prior: TurboPrior, messages: Sequence[SharedMessage]) -> float:
    """Log integral of prior and messages, up to constants of the messages."""
    n = prior.n_shared
    belief = fuse(prior, messages)
    eta = sum((m.eta for m in messages), np.zeros(n))
    precision = sum((m.precision for m in messages), np.zeros((n, n)))
    spread = np.linalg.slogdet(np.eye(n) + prior.shared @ precision)[1]
    return float(0.5 * eta @ belief.mean - 0.5 * spread)
