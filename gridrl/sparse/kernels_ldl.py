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


@kernel
def invert_block(block, inverse, work):
    """Invert a symmetric 4x4 block by pivoted elimination; False where it is singular.

    ``work`` is float64[4, 8].
    """
    total = 0.0
    for i in range(4):
        for j in range(4):
            work[i, j] = block[i, j]
            work[i, 4 + j] = 0.0
            total += abs(block[i, j])
        work[i, 4 + i] = 1.0
    if not total < np.inf:  # NaN too
        return False
    for k in range(4):
        p = k
        for i in range(k + 1, 4):
            if abs(work[i, k]) > abs(work[p, k]):
                p = i
        if work[p, k] == 0.0:
            return False
        if p != k:
            for j in range(8):
                swap = work[k, j]
                work[k, j] = work[p, j]
                work[p, j] = swap
        scale = 1.0 / work[k, k]
        for j in range(k, 8):
            work[k, j] *= scale
        for i in range(4):
            if i != k:
                w = work[i, k]
                if w != 0.0:
                    for j in range(k, 8):
                        work[i, j] -= w * work[k, j]
    for i in range(4):
        for j in range(4):
            inverse[i, j] = work[i, 4 + j]
    return True


@kernel
def negative_eigenvalues(block, m):
    """How many eigenvalues of a symmetric 4x4 block are negative (Bunch and Parlett, 1971).

    ``m`` is float64[4, 4] of work space.
    """
    for i in range(4):
        for j in range(4):
            m[i, j] = block[i, j]
    negative = 0
    size = 4
    while size > 0:
        diagonal = 0.0
        p = 0
        other = 0.0
        r = 0
        s = 0
        for a in range(size):
            if abs(m[a, a]) >= diagonal:
                diagonal = abs(m[a, a])
                p = a
            for b in range(a):
                if abs(m[a, b]) > other:
                    other = abs(m[a, b])
                    r = a
                    s = b
        if size == 1 or diagonal >= 0.6404 * other:  # (1 + sqrt(17)) / 8
            _swap(m, p, size - 1)
            size -= 1
            pivot = m[size, size]
            if pivot < 0.0:
                negative += 1
            if pivot == 0.0:
                return negative + 5  # singular: no count is right
            for a in range(size):
                w = m[a, size] / pivot
                for b in range(size):
                    m[a, b] -= w * m[size, b]
        else:
            _swap(m, r, size - 1)  # r > s
            _swap(m, s, size - 2)
            size -= 2
            negative += 1  # such a 2x2 pivot has one eigenvalue of each sign
            p11 = m[size, size]
            p12 = m[size, size + 1]
            p22 = m[size + 1, size + 1]
            det = p11 * p22 - p12 * p12
            for a in range(size):
                x = m[a, size]
                y = m[a, size + 1]
                w1 = (p22 * x - p12 * y) / det
                w2 = (p11 * y - p12 * x) / det
                for b in range(size):
                    m[a, b] -= w1 * m[size, b] + w2 * m[size + 1, b]
    return negative


@kernel
def _swap(m, a, b):
    """Exchange two rows and the same columns."""
    if a != b:
        for j in range(4):
            keep = m[a, j]
            m[a, j] = m[b, j]
            m[b, j] = keep
        for i in range(4):
            keep = m[i, a]
            m[i, a] = m[i, b]
            m[i, b] = keep


@kernel
def factorise(symbolic, diagonal, lower, inverse, factor, work):
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
    work : float64[4, 8]
    """
    u_ptr, u_idx, start, target = symbolic
    negative = 0
    for k in range(u_ptr.size - 1):
        negative += negative_eigenvalues(diagonal[k], work[:, :4])
        if not invert_block(diagonal[k], inverse[k], work):
            return -1
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
