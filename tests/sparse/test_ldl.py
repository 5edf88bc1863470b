"""Block LDL^T against dense linear algebra: solutions and inertia."""

import numpy as np
import pytest

from gridrl.sparse.kernels_ldl import (
    factorise,
    invert_block,
    solve_in_place,
    update_targets,
)
from gridrl.sparse.pattern import analyse


def graph(rng, n):
    """A connected random graph: a tree and some chords, no pair twice."""
    pairs = {(int(rng.integers(k)), k) for k in range(1, n)}
    for _ in range(n):
        a, b = sorted(int(x) for x in rng.integers(n, size=2))
        if a != b:
            pairs.add((a, b))
    left, right = np.array(sorted(pairs)).T
    return left, right


def blocks(rng, n, left, right):
    """A random symmetric matrix of 4x4 blocks on the graph, dense and as the kernels take it."""
    pattern = analyse(n, left, right)
    start, stop = pattern.row[left], pattern.row[right]
    low, high = np.minimum(start, stop), np.maximum(start, stop)
    column = np.repeat(np.arange(n), np.diff(pattern.u_ptr))
    place = np.searchsorted(column * n + pattern.u_idx, low * n + high)
    diagonal = rng.normal(size=(n, 4, 4))
    diagonal += diagonal.transpose(0, 2, 1)
    lower = np.zeros((pattern.u_idx.size, 4, 4))
    lower[place] = rng.normal(size=(left.size, 4, 4))
    dense = np.zeros((n, 4, n, 4))
    dense[np.arange(n), :, np.arange(n), :] = diagonal
    dense[high, :, low, :] = lower[place]
    dense[low, :, high, :] = lower[place].transpose(0, 2, 1)
    return pattern, diagonal, lower, dense.reshape(4 * n, 4 * n)


@pytest.mark.parametrize("n", (1, 2, 7, 40))
def test_solution_and_inertia_are_those_of_the_dense_matrix(n):
    rng = np.random.default_rng(n)
    left, right = graph(rng, n) if n > 1 else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    pattern, diagonal, lower, dense = blocks(rng, n, left, right)
    symbolic = (pattern.u_ptr, pattern.u_idx, *update_targets(pattern.u_ptr, pattern.u_idx))
    inverse, factor = np.zeros_like(diagonal), np.zeros_like(lower)
    negative = factorise(symbolic, diagonal, lower, inverse, factor)
    assert negative == (np.linalg.eigvalsh(dense) < 0).sum()
    b = rng.normal(size=(n, 4))
    x = b.copy()
    solve_in_place(symbolic, inverse, factor, x)
    # No pivoting between blocks: some growth, seen up to 1e3.
    np.testing.assert_allclose(dense @ x.ravel(), b.ravel(), rtol=0, atol=1e-8)


def test_inertia_of_saddle_points_of_every_shape():
    rng = np.random.default_rng(3)
    for _ in range(300):
        block = rng.normal(size=(4, 4)) * 10.0 ** rng.integers(-3, 4, size=(4, 4))
        block += block.T
        block[2:, 2:] = 0.0  # as at a node without a generator
        want = (np.linalg.eigvalsh(block) < 0).sum()
        inverse = np.zeros((4, 4))
        assert invert_block(block, inverse) == want
        # Entries differ by 1e6, condition numbers by more.
        scale = np.abs(block).max() * np.abs(inverse).max()
        np.testing.assert_allclose(block @ inverse, np.eye(4), rtol=0, atol=1e-13 * scale)


def test_a_singular_block_is_said_to_be_singular():
    empty = np.zeros((0, 4, 4))
    symbolic = (
        np.zeros(2, np.int64),
        np.zeros(0, np.int32),
        np.zeros(2, np.int64),
        np.zeros(0, np.int64),
    )
    for block in (np.zeros((1, 4, 4)), np.full((1, 4, 4), np.nan)):
        got = factorise(symbolic, block, empty, np.zeros((1, 4, 4)), empty)
        assert got == -1
