"""Branches as nodes, joined where one takes over the flow of the other.

The weights are line outage distribution factors of the DC model, with all branches in service and
one busbar in each substation (Wood and Wollenberg, Power Generation, Operation and Control, 11.3).
"""

from collections.abc import Mapping

import numpy as np

from gridrl.arrays import Floats
from gridrl.graphs.batch import GraphBatch, Relation, Static, alike
from gridrl.graphs.parts import LINE, Parts
from gridrl.grid import Grid
from gridrl.observation import Observation

TAKES_OVER: Relation = ("line", "takes_over", "line")
LEAST = 0.05  # share of the lost flow from which two branches are joined


class LineView:
    """Branches with their LODF."""

    name = "line"
    node_features: Mapping[str, tuple[str, ...]] = {"line": LINE}
    edge_features: Mapping[Relation, tuple[str, ...]] = {TAKES_OVER: ("lodf",)}

    def __init__(self, static: Static) -> None:
        self.parts = Parts(static)
        factors = outage_factors(static.grid)
        lost, taking = np.nonzero(np.abs(factors.T) >= LEAST)
        self.index = np.stack([lost, taking]).astype(np.int64)
        self.weight = factors[taking, lost].astype(np.float32)[:, None]

    def __call__(self, seen: Observation) -> GraphBatch:
        """Graphs of a batch of observations; branches out of service keep their node."""
        lines, batch = self.parts.lines(seen), seen.batch
        on = np.asarray(seen.line_status, np.bool_)
        return GraphBatch(
            nodes={"line": lines}, node_mask={"line": np.ones(on.shape, np.bool_)},
            edge_index={TAKES_OVER: alike(self.index, batch)},
            edges={TAKES_OVER: alike(self.weight, batch)},
            edge_mask={TAKES_OVER: on[:, self.index[0]] & on[:, self.index[1]]},
            whole=np.asarray(seen.time, np.float32),
        )  # fmt: skip


def outage_factors(grid: Grid) -> Floats:
    """[n_branch, n_branch] share of the flow of branch l that branch k takes over when l opens.

    0 for branches whose loss cuts the grid, and on the diagonal.
    """
    n, m = grid.n_substation, grid.n_branch
    incidence = np.zeros((m, n))
    rows = np.arange(m)
    incidence[rows, grid.from_substation] = 1.0
    incidence[rows, grid.to_substation] -= 1.0
    weighted = grid.b_dc[:, None] * incidence
    factors = weighted @ np.linalg.pinv(incidence.T @ weighted, hermitian=True) @ incidence.T
    own = 1.0 - np.diag(factors)
    cut = np.abs(own) < 1e-6
    out = factors / np.where(cut, 1.0, own)[None, :]
    out[:, cut] = 0.0
    np.fill_diagonal(out, 0.0)
    return np.asarray(out)
