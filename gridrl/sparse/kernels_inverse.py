"""Those blocks of an inverse that lie on the fill pattern of its factors."""

import numpy as np

from gridrl.jit import inlined, kernel


@kernel
def selected_inverse(pattern, l_of_u, factors):
    """Blocks of the inverse of L U at the diagonal and at every entry of U and its transpose.

    Takahashi, Fagan and Chen (1973), for 2x2 blocks: every product needs only blocks of the
    pattern, because the columns of a row of U are joined to each other.

    Parameters
    ----------
    pattern : see `gridrl.powerflow.model.Model.pattern_arrays`
    l_of_u : int64[n_fill], position in L of the transposed entry of U
    factors : (low, u, d), flat 2x2 blocks; d holds inverted diagonal blocks

    Returns
    -------
    upper, lower : float64[n_fill, 2, 2]
        Block (i, j) and block (j, i) for the entry (i, j) of U.
    diagonal : float64[n, 2, 2]
    """
    u_ptr, u_idx = pattern[3], pattern[4]
    low, u, d = factors
    n = u_ptr.size - 1
    upper, lower = np.zeros((u_idx.size, 2, 2)), np.zeros((u_idx.size, 2, 2))
    diagonal = np.zeros((n, 2, 2))
    place = np.full(n, -1, np.int64)
    for i in range(n - 1, -1, -1):
        begin, end = u_ptr[i], u_ptr[i + 1]
        for p in range(begin, end):
            place[u_idx[p]] = p
        # U_i Z and Z L_i, summed over the columns k of row i
        for p in range(begin, end):
            k = np.int64(u_idx[p])
            _subtract(u, p, diagonal, k, upper, p)
            _subtract_after(low, l_of_u[p], diagonal, k, lower, p)
            for q in range(u_ptr[k], u_ptr[k + 1]):
                at = place[u_idx[q]]
                if at < begin:
                    continue
                _subtract(u, p, upper, q, upper, at)
                _subtract(u, at, lower, q, upper, p)
                _subtract_after(low, l_of_u[at], upper, q, lower, p)
                _subtract_after(low, l_of_u[p], lower, q, lower, at)
        inverse = np.array([[d[4 * i], d[4 * i + 1]], [d[4 * i + 2], d[4 * i + 3]]], np.float64)
        total = np.eye(2)
        for p in range(begin, end):
            upper[p] = _product(inverse, upper[p])
            for a in range(2):
                for b in range(2):
                    total[a, b] -= u[4 * p + 2 * a] * lower[p, 0, b]
                    total[a, b] -= u[4 * p + 2 * a + 1] * lower[p, 1, b]
        diagonal[i] = _product(inverse, total)
        for p in range(begin, end):
            place[u_idx[p]] = -1
    return upper, lower, diagonal


@inlined
def _subtract(factor, p, blocks, q, out, at):
    """``out[at] -= factor_p blocks[q]``."""
    for a in range(2):
        for b in range(2):
            out[at, a, b] -= factor[4 * p + 2 * a] * blocks[q, 0, b]
            out[at, a, b] -= factor[4 * p + 2 * a + 1] * blocks[q, 1, b]


@inlined
def _subtract_after(factor, p, blocks, q, out, at):
    """``out[at] -= blocks[q] factor_p``."""
    for a in range(2):
        for b in range(2):
            out[at, a, b] -= blocks[q, a, 0] * factor[4 * p + b]
            out[at, a, b] -= blocks[q, a, 1] * factor[4 * p + 2 + b]


@inlined
def _product(left, right):
    out = np.empty((2, 2))
    for a in range(2):
        for b in range(2):
            out[a, b] = left[a, 0] * right[0, b] + left[a, 1] * right[1, b]
    return out
