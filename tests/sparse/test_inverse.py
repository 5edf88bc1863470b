"""The selected inverse against the dense inverse of factors filled at random."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gridrl.sparse.kernels_inverse import selected_inverse
from gridrl.sparse.pattern import analyse
from tests.sparse.test_pattern import random_graph


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), extra=st.integers(0, 40), seed=st.integers(0, 1000))
def test_blocks_on_the_pattern_equal_the_dense_inverse(n, extra, seed):
    pattern = analyse(n, *random_graph(n, extra, seed))
    rng = np.random.default_rng(seed)
    u_row = np.repeat(np.arange(n), np.diff(pattern.u_ptr))
    l_row = np.repeat(np.arange(n), np.diff(pattern.l_ptr))
    u, low = rng.uniform(-0.5, 0.5, (2, u_row.size, 2, 2))
    diagonal = np.eye(2) + rng.uniform(-0.3, 0.3, (n, 2, 2))
    upper, lower = np.zeros((n, 2, n, 2)), np.zeros((n, 2, n, 2))
    upper[u_row, :, pattern.u_idx] = u
    lower[l_row, :, pattern.l_idx] = low
    every = np.arange(n)
    upper[every, :, every] = diagonal
    lower[every, :, every] = np.eye(2)
    product = lower.reshape(2 * n, 2 * n) @ upper.reshape(2 * n, 2 * n)
    inverse = np.linalg.inv(product).reshape(n, 2, n, 2)
    empty = np.empty(0, np.int64)
    arrays = (empty, empty, empty, pattern.u_ptr, pattern.u_idx, pattern.l_ptr, pattern.l_idx)
    above, below, on = selected_inverse(
        arrays, pattern.l_of_u, (low.ravel(), u.ravel(), np.linalg.inv(diagonal).ravel())
    )
    size = np.abs(inverse).max()
    for got, want in (
        (above, inverse[u_row, :, pattern.u_idx]),
        (below, inverse[pattern.u_idx, :, u_row]),
        (on, inverse[every, :, every]),
    ):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * size)
