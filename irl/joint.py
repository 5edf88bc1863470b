"""The ceiling: one fit to everybody's raw data, which Turbo-IRL reaches without seeing them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from irl.agent import Agent, weights_of_own
from irl.maxent import Fit, fit_map
from irl.priors import TurboPrior


class _Stacked:
    """All agents' data as one likelihood of [s, delta_1, own_1, delta_2, own_2, ...]."""

    def __init__(self, agents: Sequence[Agent], n_shared: int) -> None:
        self._agents = agents
        ends = np.cumsum([n_shared, *(a.likelihood.n_parameter for a in agents)])
        self.n_parameter = int(ends[-1])
        self.n_observation = sum(a.likelihood.n_observation for a in agents)
        self.maps = []
        for agent, first in zip(agents, ends[:-1], strict=True):
            size = agent.likelihood.n_parameter
            one = np.zeros((size, self.n_parameter))
            one[:, first : first + size] = np.eye(size)
            one[:n_shared, :n_shared] = np.eye(n_shared)
            self.maps.append(one)

    def value(self, theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        loss, gradient = 0.0, np.zeros(self.n_parameter)
        for agent, one in zip(self._agents, self.maps, strict=True):
            value, slope = agent.likelihood.value(one @ theta)
            loss, gradient = loss + value, gradient + one.T @ slope
        return loss, gradient

    def curvature(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros((self.n_parameter, self.n_parameter))
        for agent, one in zip(self._agents, self.maps, strict=True):
            total += one.T @ agent.likelihood.curvature(one @ theta) @ one
        return total


def joint_map(
    agents: Sequence[Agent], prior: TurboPrior
) -> tuple[Fit, NDArray[np.float64], list[NDArray[np.float64]]]:
    """One fit to everybody's raw data: the ceiling that Turbo-IRL reaches without seeing them.

    Returns the fit, the shared weights, and the weights of each agent.
    """
    n = prior.n_shared
    stacked = _Stacked(agents, n)
    parts = [block_diag(prior.deviation, weights_of_own(agent, n)) for agent in agents]
    fit = fit_map(stacked, np.zeros(stacked.n_parameter), block_diag(prior.shared, *parts))
    return fit, fit.theta[:n], [one @ fit.theta for one in stacked.maps]
