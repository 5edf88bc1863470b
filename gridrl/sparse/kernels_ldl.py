"""LDL^T of a symmetric indefinite matrix of 4x4 blocks on a fixed pattern, with its inertia.

Columns are eliminated in a given order without pivoting between blocks; within a block all pivots
are free. The count of negative eigenvalues is exact by Sylvester's law of inertia.
"""

import numpy as np

from gridrl.jit import inlined, kernel
from gridrl.sparse.lanes import fma, fnma, load, splat, store


@kernel
def update_targets(u_ptr, u_idx):
    """Where each pair of blocks of a column updates the remaining matrix.

    Parameters
    ----------
    u_ptr, u_idx : int64[n + 1], int32[n_fill]
        Rows below the diagonal of every column, ascending.

    Returns
    -------
    int64[n + 1], int64[n_pair]
        For column k and entries b < a of it, in order of a, then b: the block (row of a, column
        of b).
    """
    n = u_ptr.size - 1
    start = np.zeros(n + 1, np.int64)
    for k in range(n):
        size = u_ptr[k + 1] - u_ptr[k]
        start[k + 1] = start[k] + size * (size - 1) // 2
    target = np.empty(start[n], np.int64)
    for k in range(n):
        at = start[k]
        for a in range(u_ptr[k], u_ptr[k + 1]):
            row = u_idx[a]
            for b in range(u_ptr[k], a):
                column = u_idx[b]
                low = u_ptr[column]
                high = u_ptr[column + 1]
                while high - low > 1:
                    middle = (low + high) // 2
                    if u_idx[middle] <= row:
                        low = middle
                    else:
                        high = middle
                target[at] = low
                at += 1
    return start, target


# The six ways to split four rows into a pivot of two and the rest.
SPLITS = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2), (1, 2, 0, 3), (1, 3, 0, 2), (2, 3, 0, 1))
# A pivot is good enough where no entry of L that it makes can be larger than this.
GROWTH = 5.0
FOUR = (0, 0, 0, 0)


@kernel
def invert_block(block, inverse):
    """Invert a symmetric 4x4 block; its number of negative eigenvalues, -1 where it is singular.

    Two pivots of size two: the first is of rows 0 and 2 if that is good enough, else the one whose
    smaller eigenvalue is largest. Inertia adds up over pivots (Haynsworth, Linear Algebra and its
    Applications 1, 1968).
    """
    a, b, c = block[0, 0], block[0, 2], block[2, 2]
    rest = max(abs(block[1, 0]), abs(block[1, 2]), abs(block[3, 0]), abs(block[3, 2]))
    if GROWTH * abs(a * c - b * b) > (abs(a) + abs(b) + abs(c)) * rest:
        return _invert_by(block, inverse, 0, 2, 1, 3)
    best = -1.0
    choice = 0
    for k in range(6):
        i, j = SPLITS[k][0], SPLITS[k][1]
        size = abs(block[i, i]) + abs(block[j, j]) + abs(block[i, j])
        det = abs(block[i, i] * block[j, j] - block[i, j] * block[i, j])
        if det > best * size:
            best = det / size
            choice = k
    if not 0.0 < best < np.inf:  # NaN too
        return -1
    i, j, k, m = SPLITS[choice]
    return _invert_by(block, inverse, i, j, k, m)


@inlined
def _invert_by(block, inverse, i, j, k, m):
    """Invert a block by the pivot of rows i and j, then that of what is left of k and m."""
    a, b, c = block[i, i], block[i, j], block[j, j]
    det = a * c - b * b
    share = 1.0 / det
    p, q, r = c * share, -b * share, a * share  # inverse of the pivot
    negative = 1 if det < 0.0 else (2 if a < 0.0 else 0)
    # Rows of L: what the rest has in common with the pivot
    ki, kj, mi, mj = block[k, i], block[k, j], block[m, i], block[m, j]
    ki_, kj_ = ki * p + kj * q, ki * q + kj * r
    mi_, mj_ = mi * p + mj * q, mi * q + mj * r
    d = block[k, k] - ki_ * ki - kj_ * kj
    e = block[k, m] - ki_ * mi - kj_ * mj
    f = block[m, m] - mi_ * mi - mj_ * mj
    det = d * f - e * e
    if det == 0.0 or not abs(det) < np.inf:
        return -1
    negative += 1 if det < 0.0 else (2 if d < 0.0 else 0)
    share = 1.0 / det
    s, t, u = f * share, -e * share, d * share  # inverse of the Schur complement
    inverse[k, k], inverse[m, m] = s, u
    inverse[k, m] = inverse[m, k] = t
    inverse[i, k] = inverse[k, i] = -(ki_ * s + mi_ * t)
    inverse[j, k] = inverse[k, j] = -(kj_ * s + mj_ * t)
    inverse[i, m] = inverse[m, i] = -(ki_ * t + mi_ * u)
    inverse[j, m] = inverse[m, j] = -(kj_ * t + mj_ * u)
    inverse[i, i] = p - ki_ * inverse[i, k] - mi_ * inverse[i, m]
    inverse[i, j] = inverse[j, i] = q - ki_ * inverse[j, k] - mi_ * inverse[j, m]
    inverse[j, j] = r - kj_ * inverse[j, k] - mj_ * inverse[j, m]
    return negative


@kernel
def factorise(symbolic, diagonal, lower, inverse, factor):
    """Factorise in place; the number of negative eigenvalues, or -1 where a pivot is singular.

    Parameters
    ----------
    symbolic
        ``u_ptr, u_idx`` and what `update_targets` returns.
    diagonal : float64[n, 4, 4]
        Overwritten by the pivots.
    lower : float64[n_fill, 4, 4]
        Blocks below the diagonal, by column; zero where only fill will be. Overwritten.
    inverse, factor : float64[n, 4, 4], float64[n_fill, 4, 4]
        Filled with the inverse pivots and with L.
    """
    u_ptr, u_idx, start, target = symbolic
    flat, flat_lower, flat_factor = diagonal.reshape(-1), lower.reshape(-1), factor.reshape(-1)
    flat_inverse = inverse.reshape(-1)
    n = u_ptr.size - 1
    widest = 0
    for k in range(n):
        widest = max(widest, u_ptr[k + 1] - u_ptr[k])
    turned = np.empty(16 * widest)  # transposed blocks of a column
    negative = 0
    for k in range(n):
        sign = invert_block(diagonal[k], inverse[k])
        if sign < 0:
            return -1
        negative += sign
        first, last = u_ptr[k], u_ptr[k + 1]
        _scale_column(flat_inverse, 16 * k, flat_lower, 16 * first, 16 * last, flat_factor, turned)
        at = start[k]
        for a in range(first, last):
            for b in range(first, a):
                _subtract(flat_factor, 16 * a, turned, 16 * (b - first), flat_lower, target[at])
                at += 1
            _subtract(flat_factor, 16 * a, turned, 16 * (a - first), flat, u_idx[a])
    return negative


@inlined
def _scale_column(inverse, pivot, lower, first, last, factor, turned):
    """Fill the blocks of L of one column, and the transposed ones they were made from."""
    p0, p1 = load(FOUR, inverse, pivot), load(FOUR, inverse, pivot + 4)
    p2, p3 = load(FOUR, inverse, pivot + 8), load(FOUR, inverse, pivot + 12)
    for a in range(first, last, 16):
        for r in range(4):
            row = a + 4 * r
            to = a - first + r
            x = splat(FOUR, lower, lower[row]) * p0
            x = fma(splat(FOUR, lower, lower[row + 1]), p1, x)
            x = fma(splat(FOUR, lower, lower[row + 2]), p2, x)
            store(FOUR, factor, row, fma(splat(FOUR, lower, lower[row + 3]), p3, x))
            turned[to], turned[to + 4] = lower[row], lower[row + 1]
            turned[to + 8], turned[to + 12] = lower[row + 2], lower[row + 3]


@inlined
def _subtract(factor, a, turned, b, out, block):
    """Subtract the product of two blocks from a block of ``out``."""
    t0, t1 = load(FOUR, turned, b), load(FOUR, turned, b + 4)
    t2, t3 = load(FOUR, turned, b + 8), load(FOUR, turned, b + 12)
    for r in range(4):
        row, to = a + 4 * r, 16 * block + 4 * r
        x = fnma(splat(FOUR, factor, factor[row]), t0, load(FOUR, out, to))
        x = fnma(splat(FOUR, factor, factor[row + 1]), t1, x)
        x = fnma(splat(FOUR, factor, factor[row + 2]), t2, x)
        store(FOUR, out, to, fnma(splat(FOUR, factor, factor[row + 3]), t3, x))


@kernel
def solve_in_place(symbolic, inverse, factor, b):
    """Solve for one right-hand side, float64[n, 4], in place."""
    u_ptr, u_idx, _start, _target = symbolic
    flat, flat_factor, flat_inverse = b.reshape(-1), factor.reshape(-1), inverse.reshape(-1)
    n = u_ptr.size - 1
    for k in range(n):
        b0, b1, b2, b3 = b[k, 0], b[k, 1], b[k, 2], b[k, 3]
        for a in range(u_ptr[k], u_ptr[k + 1]):
            row = u_idx[a]
            for r in range(4):
                b[row, r] -= (factor[a, r, 0] * b0 + factor[a, r, 1] * b1) + (
                    factor[a, r, 2] * b2 + factor[a, r, 3] * b3
                )
    for k in range(n - 1, -1, -1):
        x = splat(FOUR, flat, 0.0)
        y = x
        for r in range(4):
            at = 16 * k + 4 * r
            x = fma(splat(FOUR, flat, b[k, r]), load(FOUR, flat_inverse, at), x)
        for a in range(u_ptr[k], u_ptr[k + 1]):
            row, at = u_idx[a], 16 * a
            x = fnma(splat(FOUR, flat, b[row, 0]), load(FOUR, flat_factor, at), x)
            y = fnma(splat(FOUR, flat, b[row, 1]), load(FOUR, flat_factor, at + 4), y)
            x = fnma(splat(FOUR, flat, b[row, 2]), load(FOUR, flat_factor, at + 8), x)
            y = fnma(splat(FOUR, flat, b[row, 3]), load(FOUR, flat_factor, at + 12), y)
        store(FOUR, flat, 4 * k, x + y)
