"""Which weights the data cannot tell apart, and why: what to read before any weight.

Two rewards explain the same behaviour if they differ by potential shaping, ``v(s) - discount
E v(s')`` (Ng, Harada and Russell 1999; Cao, Cohen and Szpruch 2021). The ambiguity of weights is
the null space of features beside shaping, over all agents at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import null_space

from irl.errors import IrlError
from irl.mdp import MDP
from irl.soft_vi import transition_matrix

_TOLERANCE = 1e-8


def shaping(mdp: MDP) -> NDArray[np.float64]:
    """Potential shaping of each state's potential, [n_state * n_action, n_state].

    Rows of actions that are not available are zero. The horizon is taken as endless.
    """
    rows = np.repeat(np.arange(mdp.n_state), mdp.n_action)
    stay = sp.csr_array((np.ones(rows.size), (np.arange(rows.size), rows)))
    table = (stay - mdp.discount * transition_matrix(mdp)).toarray()
    table[~mdp.available.ravel()] = 0.0
    return np.asarray(table)


def ambiguity(
    mdps: Sequence[MDP],
    shared: Sequence[NDArray[np.float64]],
    own: Sequence[NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """Directions of [shared, own_1, own_2, ...] weights that change no agent's behaviour.

    Parameters
    ----------
    mdps : one for each agent
    shared, own : [n_state, n_action, d], one for each agent
        ``shared`` of equal d everywhere.

    Returns
    -------
    [n_weight, n_direction], orthonormal columns.
    """
    n_agent = len(mdps)
    parts = own or [np.zeros((m.n_state, m.n_action, 0)) for m in mdps]
    if not n_agent or len(shared) != n_agent or len(parts) != n_agent:
        raise IrlError("There must be one set of features for each agent, and an agent.")
    rows, columns = [], []
    for i, (mdp, common, mine) in enumerate(zip(mdps, shared, parts, strict=True)):
        size = mdp.n_state * mdp.n_action
        usable = mdp.available.reshape(size, 1)
        rows.append(common.reshape(size, -1) * usable)
        columns.append((i, mine.reshape(size, -1) * usable, shaping(mdp)))
    width = rows[0].shape[1]
    own_blocks = _diagonal([block for _, block, _ in columns])
    shaped = _diagonal([block for _, _, block in columns])
    table = np.hstack([np.vstack(rows), own_blocks, -shaped])
    directions = null_space(table, rcond=_TOLERANCE / max(table.shape))
    weights = directions[: width + own_blocks.shape[1]]
    # Shaping itself is injective below discount 1, so no direction is lost here.
    basis, strength, _ = np.linalg.svd(weights, full_matrices=False)
    return np.asarray(basis[:, strength > _TOLERANCE])


def _diagonal(blocks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    height, width = (sum(b.shape[k] for b in blocks) for k in (0, 1))
    table = np.zeros((height, width))
    row = column = 0
    for block in blocks:
        table[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return table


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """What the data say of each weight."""

    names: tuple[str, ...]
    eigenvalues: NDArray[np.float64]  # [d] of the curvature, nats, rising
    told: NDArray[np.float64]  # [d] share of the prior variance that the data removed, 0..1
    sentences: tuple[str, ...]  # one for each thing that cannot be told

    @property
    def identified(self) -> bool:
        return not self.sentences


def report(
    curvature: NDArray[np.float64],
    prior_covariance: NDArray[np.float64],
    names: Sequence[str],
    *,
    level: float = 1e-6,
) -> Report:
    """Weights and sums of weights of which the data say nothing.

    Parameters
    ----------
    curvature : [d, d]
        Of the loss at the fit (`irl.maxent.Fit.curvature`).
    prior_covariance : [d, d]
    level : float
        An eigenvalue below this share of the largest counts as nothing.
    """
    d = len(names)
    if curvature.shape != (d, d) or prior_covariance.shape != (d, d):
        raise IrlError(f"{d} names need a curvature and a covariance of shape [{d}, {d}].")
    value, vector = np.linalg.eigh(curvature)
    blind = value <= level * max(float(value[-1]), 1e-300)
    inner = np.eye(d) + prior_covariance @ curvature
    after = np.diag(np.linalg.solve(inner, prior_covariance))
    before = np.diag(prior_covariance)
    told = 1.0 - np.divide(after, before, out=np.ones(d), where=before > 0)
    projector = vector[:, blind] @ vector[:, blind].T
    lone = np.diag(projector) > 1 - 1e-6
    sentences = [
        f"{names[k]} never varies among what could be chosen: its weight is that of the prior."
        for k in map(int, np.flatnonzero(lone))
    ]
    for column in vector[:, blind & ~(vector[lone] ** 2).sum(axis=0).astype(bool)].T:
        members = [int(k) for k in np.flatnonzero(np.abs(column) > 1e-3 * np.abs(column).max())]
        text = " ".join(f"{column[k]:+.2f} {names[k]}" for k in members[:6])
        more = " and more" if len(members) > 6 else ""
        sentences.append(
            f"Moving along ({text}{more}) changes no choice: only the prior tells these apart."
        )
    return Report(
        names=tuple(names),
        eigenvalues=value,
        told=np.asarray(told),
        sentences=tuple(sentences),
    )
