"""The order of elimination, against SuperLU's minimum degree and elimination by definition."""

import numpy as np
import pytest

from gridrl.sparse.kernels_order import minimum_degree
from gridrl.sparse.pattern import analyse


def random_graph(n, extra, seed):
    """A tree with some more pairs, some of them double."""
    rng = np.random.default_rng(seed)
    child = np.arange(1, n)
    left = np.concatenate([child, rng.integers(0, n, extra)])
    right = np.concatenate(
        [(rng.random(n - 1) * child).astype(np.int64), rng.integers(0, n, extra)]
    )
    return left.astype(np.int64), right.astype(np.int64)


def eliminated(n, left, right, node):
    """Rows below the diagonal of every column, by elimination of sets."""
    row = np.argsort(node)
    beside = [set() for _ in range(n)]
    for a, b in zip(row[left], row[right], strict=True):
        if a != b:
            beside[a].add(int(b))
            beside[b].add(int(a))
    columns = []
    for k in range(n):
        later = sorted(j for j in beside[k] if j > k)
        columns.append(later)
        for j in later:
            beside[j] |= set(later) - {j}
    return columns


@pytest.mark.parametrize(("n", "extra"), ((1, 0), (2, 3), (40, 30), (150, 400)))
def test_the_fill_is_that_of_elimination(n, extra):
    left, right = random_graph(n, extra, seed=n)
    node, row, u_ptr, u_idx, block_of = minimum_degree(n, left, right)
    assert np.array_equal(node[row], np.arange(n))
    want = eliminated(n, left, right, node)
    got = [u_idx[u_ptr[k] : u_ptr[k + 1]].tolist() for k in range(n)]
    assert got == want
    for k in range(left.size):
        below, column = max(row[left[k]], row[right[k]]), min(row[left[k]], row[right[k]])
        if below != column:
            assert u_idx[block_of[k]] == below
            assert u_ptr[column] <= block_of[k] < u_ptr[column + 1]


def test_each_node_has_the_fewest_neighbours_left():
    left, right = random_graph(80, 60, seed=3)
    node, _row, _, _, _ = minimum_degree(80, left, right)
    beside = [set() for _ in range(80)]
    for a, b in zip(left, right, strict=True):
        if a != b:
            beside[a].add(int(b))
            beside[b].add(int(a))
    gone = set()
    for i in node:
        degrees = {j: len(beside[j]) for j in range(80) if j not in gone}
        assert degrees[int(i)] == min(degrees.values())
        for j in beside[i]:
            beside[j] |= beside[i]
            beside[j] -= {j, int(i)}
        gone.add(int(i))


def test_fill_is_about_that_of_superlu():
    left, right = random_graph(2000, 900, seed=1)
    fill = minimum_degree(2000, left, right)[3].size
    assert fill < 1.05 * analyse(2000, left, right).u_idx.size
