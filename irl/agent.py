"""One agent's module: its data, its fit under what the others said, and its answer."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from irl.errors import IrlError
from irl.fusion import Belief
from irl.likelihood import Likelihood
from irl.maxent import Fit, fit_map
from irl.messages import SharedMessage
from irl.priors import TurboPrior, check_covariance


class Fitter(Protocol):
    """Finds weights under a Gaussian prior, as `irl.maxent.fit_map` does."""

    def __call__(
        self,
        likelihood: Likelihood,
        mean: NDArray[np.float64],
        covariance: NDArray[np.float64],
        *,
        start: Fit | None,
        tolerance: float,
    ) -> Fit: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Agent:
    """One module: its data, and the prior of the weights that it shares with nobody.

    The first ``n_shared`` parameters of the likelihood are the shared ones.
    """

    name: str
    likelihood: Likelihood
    own_covariance: NDArray[np.float64] | None = None  # [n_own, n_own]; identity by default
    fit: Fitter = fit_map  # how the module fits; `irl.deep.DeepModule` has a network do it


def local_fit(
    agent: Agent,
    prior: TurboPrior,
    cavity: Belief,
    start: Fit | None = None,
    *,
    tolerance: float = 1e-8,
) -> Fit:
    """Fit one agent's data under what the others said; ``start`` and ``tolerance`` as `fit_map`."""
    own = weights_of_own(agent, prior.n_shared)
    mean = np.concatenate([cavity.mean, np.zeros(len(own))])
    covariance = block_diag(cavity.covariance + prior.deviation, own)
    return agent.fit(agent.likelihood, mean, covariance, start=start, tolerance=tolerance)


def extrinsic_message(
    agent: Agent, prior: TurboPrior, fit: Fit, *, number: int, schema: str
) -> SharedMessage:
    """What the agent's data say of the shared weights, its own weights integrated out.

    With H the curvature and ``h = H theta - gradient``, own weights leave by a Schur complement,
    and the deviation by ``(I + H D)^-1``. The prior that came in is in neither.
    """
    n = prior.n_shared
    own = weights_of_own(agent, n)
    curvature = fit.curvature
    pull = curvature @ fit.theta - fit.gradient
    # (I + H_oo C)^-1 H_os: the Schur complement without inverting the own prior C.
    inner = np.eye(len(own)) + curvature[n:, n:] @ own
    carried = curvature[:n, n:] @ own
    shared = curvature[:n, :n] - carried @ np.linalg.solve(inner, curvature[n:, :n])
    shared_pull = pull[:n] - carried @ np.linalg.solve(inner, pull[n:])
    damp = np.eye(n) + shared @ prior.deviation
    both = np.linalg.solve(damp, np.column_stack([shared, shared_pull]))
    precision = _positive((both[:, :n] + both[:, :n].T) / 2)
    return SharedMessage(
        agent=agent.name,
        round=number,
        schema=schema,
        eta=np.asarray(both[:, n], np.float64),
        precision=precision,
        evidence=_evidence(fit, block_diag(prior.deviation, own)),
        n_observation=agent.likelihood.n_observation,
    )


def _evidence(fit: Fit, covariance: NDArray[np.float64]) -> float:
    """The agent's term of the Laplace log evidence.

    At a fixed point the deviation is ``-covariance @ gradient``: that needs no inverse.
    """
    inner = np.eye(len(covariance)) + covariance @ fit.curvature
    distance = float(fit.gradient @ covariance @ fit.gradient)
    return float(-fit.loss - 0.5 * distance - 0.5 * np.linalg.slogdet(inner)[1])


def weights_of_own(agent: Agent, n_shared: int) -> NDArray[np.float64]:
    """Covariance of the agent's own weights, [n_own, n_own]."""
    n_own = agent.likelihood.n_parameter - n_shared
    if n_own < 0:
        raise IrlError(
            f"Agent {agent.name} has {agent.likelihood.n_parameter} weights, fewer than the "
            f"{n_shared} that are shared."
        )
    if agent.own_covariance is None:
        return np.eye(n_own)
    return check_covariance(f"own_covariance of {agent.name}", agent.own_covariance, n_own)


def _positive(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    value, vector = np.linalg.eigh(precision)
    return np.asarray((vector * np.clip(value, 0.0, None)) @ vector.T)
