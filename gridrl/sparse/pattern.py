"""One elimination order and one fill pattern for every switching state of a grid.

The pattern is that of the node admittance matrix with every branch present at every busbar that
it could ever sit on. An open branch or an empty busbar is zeros and an identity row inside the
pattern: no switching state needs a new analysis.

Vocabulary: a *node* is a busbar of a substation, in the grid's order; a *row* is the same node in
elimination order.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from gridrl.sparse.kernels_symbolic import elimination_tree, postorder, rows_of_u

Ints = NDArray[np.int64]
REMEMBERED = 32  # patterns: 40 MB on a grid of 9241 buses


@dataclass(frozen=True, eq=False, kw_only=True)
class Pattern:
    """Elimination order, admittance pattern and fill pattern of ``n`` nodes."""

    node: Ints  # [n] node of every row
    row: Ints  # [n] row of every node
    y_ptr: Ints  # [n + 1] off-diagonal admittance entries of each row
    y_idx: NDArray[np.int32]  # [n_entry] their columns, ascending
    y_row: Ints  # [n_entry] their rows
    u_ptr: Ints  # [n + 1] entries of each row of U right of the diagonal
    u_idx: NDArray[np.int32]  # [n_fill]
    l_ptr: Ints  # [n + 1] entries of each row of L left of the diagonal
    l_idx: NDArray[np.int32]  # [n_fill]
    l_of_u: Ints  # [n_fill] position in L of the transposed entry of U
    parent: Ints  # [n] elimination tree, -1 at roots

    @property
    def n(self) -> int:
        return int(self.node.size)

    def entry(self, rows: Ints, columns: Ints) -> Ints:
        """Position of every off-diagonal (row, column) among the admittance entries.

        The entries must exist: they do for the node pairs that `analyse` was given.
        """
        key = self.y_row * self.n + self.y_idx
        return np.searchsorted(key, rows * self.n + columns).astype(np.int64)


def analyse(n: int, left: Ints, right: Ints) -> Pattern:
    """Order ``n`` nodes joined by the pairs (left, right) and find the fill of elimination.

    The last few analyses are remembered: a study prepares one grid many times.
    """
    return _analysed(n, left.astype(np.int64).tobytes(), right.astype(np.int64).tobytes())


@lru_cache(maxsize=REMEMBERED)
def _analysed(n: int, left_bytes: bytes, right_bytes: bytes) -> Pattern:
    left, right = np.frombuffer(left_bytes, np.int64), np.frombuffer(right_bytes, np.int64)
    rows = np.concatenate([left, right])
    columns = np.concatenate([right, left])
    adjacency = scipy.sparse.coo_array((np.ones(rows.size), (rows, columns)), shape=(n, n)).tocsr()
    order = _minimum_degree(adjacency)
    ptr, idx = _permuted(adjacency, order)
    order = order[postorder(elimination_tree(ptr, idx))]
    ptr, idx = _permuted(adjacency, order)
    parent = elimination_tree(ptr, idx)
    u_ptr, u_idx = rows_of_u(ptr, idx, parent)
    u_row = np.repeat(np.arange(n), np.diff(u_ptr))
    by_column = np.lexsort((u_row, u_idx))
    l_ptr = np.zeros(n + 1, np.int64)
    l_ptr[1:] = np.cumsum(np.bincount(u_idx, minlength=n))
    l_of_u = np.empty(u_idx.size, np.int64)
    l_of_u[by_column] = np.arange(u_idx.size)
    row = np.empty(n, np.int64)
    row[order] = np.arange(n)
    return Pattern(
        node=order,
        row=row,
        y_ptr=ptr,
        y_idx=idx.astype(np.int32),
        y_row=np.repeat(np.arange(n), np.diff(ptr)),
        u_ptr=u_ptr,
        u_idx=u_idx,
        l_ptr=l_ptr,
        l_idx=u_row[by_column].astype(np.int32),
        l_of_u=l_of_u,
        parent=parent,
    )


def _minimum_degree(adjacency: scipy.sparse.csr_array) -> Ints:
    """SuperLU's multiple minimum degree order of a symmetric pattern."""
    n = adjacency.shape[0]
    dominant = adjacency.copy()
    dominant.data[:] = -1.0
    matrix = (dominant + scipy.sparse.diags_array(np.full(n, n + 1.0))).tocsc()
    factor = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    order = np.empty(n, np.int64)
    order[factor.perm_c] = np.arange(n)
    return order


def _permuted(adjacency: scipy.sparse.csr_array, order: Ints) -> tuple[Ints, Ints]:
    """Row pointers and sorted columns of the pattern in elimination order."""
    moved = adjacency[order][:, order].tocsr()
    moved.sum_duplicates()
    moved.sort_indices()
    return moved.indptr.astype(np.int64), moved.indices.astype(np.int64)
