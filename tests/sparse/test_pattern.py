"""The symbolic analysis against a numeric factorisation, and SIMD values against numpy."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from gridrl.jit import kernel
from gridrl.sparse.lanes import (
    absolute,
    any_of,
    cast,
    choose,
    fma,
    fnma,
    greater,
    larger,
    load,
    smaller,
    splat,
    store,
)
from gridrl.sparse.pattern import analyse


def random_graph(n, extra, seed):
    rng = np.random.default_rng(seed)
    tree = np.array([[k, rng.integers(k)] for k in range(1, n)]).reshape(-1, 2)
    more = rng.integers(n, size=(extra, 2))
    pairs = np.concatenate([tree, more[more[:, 0] != more[:, 1]]])
    return pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), extra=st.integers(0, 60), seed=st.integers(0, 1000))
def test_fill_pattern_is_exactly_what_elimination_fills(n, extra, seed):
    left, right = random_graph(n, extra, seed)
    pattern = analyse(n, left, right)
    assert sorted(pattern.node) == list(range(n))
    np.testing.assert_array_equal(pattern.node[pattern.row], np.arange(n))
    # dense elimination of a matrix of ones: numbers that cannot cancel
    a = np.zeros((n, n), bool)
    a[pattern.row[left], pattern.row[right]] = a[pattern.row[right], pattern.row[left]] = True
    for k in range(n):
        below = np.flatnonzero(a[k + 1 :, k]) + k + 1
        a[np.ix_(below, below)] = True
    for i in range(n):
        want = np.flatnonzero(a[i, i + 1 :]) + i + 1
        np.testing.assert_array_equal(pattern.u_idx[pattern.u_ptr[i] : pattern.u_ptr[i + 1]], want)
        assert pattern.parent[i] == (want[0] if want.size else -1)
        left_of = pattern.l_idx[pattern.l_ptr[i] : pattern.l_ptr[i + 1]]
        np.testing.assert_array_equal(left_of, np.flatnonzero(a[i, :i]))


def test_transposed_positions_match():
    left, right = random_graph(40, 30, 3)
    p = analyse(40, left, right)
    row_of_u = np.repeat(np.arange(40), np.diff(p.u_ptr))
    row_of_l = np.repeat(np.arange(40), np.diff(p.l_ptr))
    np.testing.assert_array_equal(p.l_idx[p.l_of_u], row_of_u)
    np.testing.assert_array_equal(row_of_l[p.l_of_u], p.u_idx)


def test_entries_are_found_by_row_and_column():
    left, right = random_graph(30, 20, 7)
    p = analyse(30, left, right)
    at = p.entry(p.row[left], p.row[right])
    np.testing.assert_array_equal(p.y_row[at], p.row[left])
    np.testing.assert_array_equal(p.y_idx[at], p.row[right])


def test_order_keeps_fill_low_on_a_real_grid(case118):
    g = case118.grid
    pattern = analyse(g.n_substation, g.from_substation, g.to_substation)
    graph = scipy.sparse.coo_array(
        (np.ones(g.n_branch), (g.from_substation, g.to_substation)), shape=(118, 118)
    )
    assert pattern.u_idx.size < 1.6 * (graph + graph.T).nnz / 2


@kernel
def _all_operations(lanes, a, b, c, out):
    n = len(lanes)
    x, y, z = load(lanes, a, 0), load(lanes, b, 0), load(lanes, c, 0)
    store(lanes, out, 0, x + y)
    store(lanes, out, n, x - y)
    store(lanes, out, 2 * n, x * y)
    store(lanes, out, 3 * n, x / y)
    store(lanes, out, 4 * n, -x)
    store(lanes, out, 5 * n, fma(x, y, z))
    store(lanes, out, 6 * n, fnma(x, y, z))
    store(lanes, out, 7 * n, absolute(x))
    store(lanes, out, 8 * n, larger(x, y))
    store(lanes, out, 9 * n, smaller(x, y))
    store(lanes, out, 10 * n, choose(greater(x, y), x, splat(lanes, a, 7.0)))
    return any_of(greater(x, y))


@pytest.mark.parametrize("lanes", ((0,), (0,) * 4, (0,) * 8), ids=len)
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_lane_operations_equal_numpy(lanes, dtype):
    n = len(lanes)
    rng = np.random.default_rng(n)
    a, b, c = (rng.normal(size=n).astype(dtype) for _ in range(3))
    out = np.zeros(11 * n, dtype)
    assert _all_operations(lanes, a, b, c, out) == (a > b).any()
    want = [
        a + b, a - b, a * b, a / b, -a, a * b + c, c - a * b, np.abs(a), np.maximum(a, b),
        np.minimum(a, b), np.where(a > b, a, 7),
    ]  # fmt: skip
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(out.reshape(11, n), want, rtol=8 * eps, atol=8 * eps)


@kernel
def _convert(lanes, a, out):
    store(lanes, out, 0, cast(out, load(lanes, a, 0)))


def test_cast_rounds_to_single_precision():
    a = np.array([1 / 3] * 8)
    out = np.zeros(8, np.float32)
    _convert((0,) * 8, a, out)
    np.testing.assert_array_equal(out, a.astype(np.float32))
