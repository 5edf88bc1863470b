"""LDL^T of a symmetric indefinite matrix of 4x4 blocks on a fixed pattern, with its inertia.

Columns are eliminated in a given order without pivoting between blocks; within a block all pivots
are free. The count of negative eigenvalues is exact by Sylvester's law of inertia.
"""

import numpy as np

from gridrl.jit import kernel


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


@kernel
def invert_block(block, inverse):
    """Invert a symmetric 4x4 block; its number of negative eigenvalues, -1 where it is singular.

    Two pivots of size two, the first the one whose smaller eigenvalue is largest. Inertia adds up
    over pivots (Haynsworth, Linear Algebra and its Applications 1, 1968).
    """
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
    a, b, c = block[i, i], block[i, j], block[j, j]
    det = a * c - b * b
    p, q, r = c / det, -b / det, a / det  # inverse of the pivot
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
    s, t, u = f / det, -e / det, d / det  # inverse of the Schur complement
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
    negative = 0
    for k in range(u_ptr.size - 1):
        sign = invert_block(diagonal[k], inverse[k])
        if sign < 0:
            return -1
        negative += sign
        pivot = inverse[k]
        first, last = u_ptr[k], u_ptr[k + 1]
        for a in range(first, last):
            for r in range(4):
                for s in range(4):
                    total = 0.0
                    for q in range(4):
                        total += lower[a, r, q] * pivot[q, s]
                    factor[a, r, s] = total
        at = start[k]
        for a in range(first, last):
            for b in range(first, a):
                to = target[at]
                at += 1
                for r in range(4):
                    for s in range(4):
                        total = lower[to, r, s]
                        for q in range(4):
                            total -= factor[a, r, q] * lower[b, s, q]
                        lower[to, r, s] = total
            row = u_idx[a]
            for r in range(4):
                for s in range(r + 1):
                    total = diagonal[row, r, s]
                    for q in range(4):
                        total -= factor[a, r, q] * lower[a, s, q]
                    diagonal[row, r, s] = total
                    diagonal[row, s, r] = total
    return negative


@kernel
def solve_in_place(symbolic, inverse, factor, b):
    """Solve for one right-hand side, float64[n, 4], in place."""
    u_ptr, u_idx, _start, _target = symbolic
    n = u_ptr.size - 1
    for k in range(n):
        b0, b1, b2, b3 = b[k, 0], b[k, 1], b[k, 2], b[k, 3]
        for a in range(u_ptr[k], u_ptr[k + 1]):
            row = u_idx[a]
            for r in range(4):
                b[row, r] -= (
                    factor[a, r, 0] * b0
                    + factor[a, r, 1] * b1
                    + factor[a, r, 2] * b2
                    + factor[a, r, 3] * b3
                )
    for k in range(n - 1, -1, -1):
        b0, b1, b2, b3 = b[k, 0], b[k, 1], b[k, 2], b[k, 3]
        x0 = x1 = x2 = x3 = 0.0
        for a in range(u_ptr[k], u_ptr[k + 1]):
            row = u_idx[a]
            for r in range(4):
                v = b[row, r]
                x0 -= factor[a, r, 0] * v
                x1 -= factor[a, r, 1] * v
                x2 -= factor[a, r, 2] * v
                x3 -= factor[a, r, 3] * v
        p = inverse[k]
        b[k, 0] = x0 + p[0, 0] * b0 + p[0, 1] * b1 + p[0, 2] * b2 + p[0, 3] * b3
        b[k, 1] = x1 + p[1, 0] * b0 + p[1, 1] * b1 + p[1, 2] * b2 + p[1, 3] * b3
        b[k, 2] = x2 + p[2, 0] * b0 + p[2, 1] * b1 + p[2, 2] * b2 + p[2, 3] * b3
        b[k, 3] = x3 + p[3, 0] * b0 + p[3, 1] * b1 + p[3, 2] * b2 + p[3, 3] * b3
