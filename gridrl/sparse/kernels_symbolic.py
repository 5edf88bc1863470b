"""Symbolic analysis of a symmetric pattern: elimination tree, postorder, rows of U."""

import numpy as np

from gridrl.jit import kernel


@kernel
def elimination_tree(ptr, idx):
    """Parent of every row in the elimination tree, -1 at roots (Liu 1986).

    Parameters
    ----------
    ptr, idx : int64[n + 1], int64[nnz]
        Symmetric pattern without diagonal, rows in elimination order.
    """
    n = ptr.size - 1
    parent = np.full(n, -1, np.int64)
    ancestor = np.full(n, -1, np.int64)
    for i in range(n):
        for p in range(ptr[i], ptr[i + 1]):
            k = idx[p]
            while k >= 0 and k < i:
                following = ancestor[k]
                ancestor[k] = i
                if following < 0:
                    parent[k] = i
                k = following if following != i else np.int64(-1)
    return parent


@kernel
def postorder(parent):
    """Order in which every child comes just before its parent's other business."""
    n = parent.size
    head = np.full(n + 1, -1, np.int64)
    following = np.full(n, -1, np.int64)
    for k in range(n - 1, -1, -1):
        p = parent[k] if parent[k] >= 0 else n
        following[k] = head[p]
        head[p] = k
    order = np.empty(n, np.int64)
    stack = np.empty(n + 1, np.int64)
    done = 0
    top = 0
    stack[0] = n
    while top >= 0:
        k = stack[top]
        child = head[k]
        if child >= 0:
            head[k] = following[child]
            top += 1
            stack[top] = child
        else:
            top -= 1
            if k < n:
                order[done] = k
                done += 1
    return order


@kernel
def rows_of_u(ptr, idx, parent):
    """Columns right of the diagonal in every row of U, sorted, as (uptr, uidx)."""
    n = ptr.size - 1
    uptr = np.zeros(n + 1, np.int64)
    uidx = np.empty(max(16, 4 * idx.size), np.int32)
    mark = np.full(n, -1, np.int64)
    head = np.full(n, -1, np.int64)
    following = np.full(n, -1, np.int64)
    used = 0
    for i in range(n):
        begin = used
        if used + n - i > uidx.size:
            wider = np.empty(2 * uidx.size + n, np.int32)
            wider[:used] = uidx[:used]
            uidx = wider
        for p in range(ptr[i], ptr[i + 1]):
            j = idx[p]
            if j > i:
                mark[j] = i
                uidx[used] = j
                used += 1
        child = head[i]
        while child >= 0:
            for p in range(uptr[child], uptr[child + 1]):
                j = np.int64(uidx[p])
                if j > i and mark[j] != i:
                    mark[j] = i
                    uidx[used] = j
                    used += 1
            child = following[child]
        uidx[begin:used].sort()
        uptr[i + 1] = used
        if parent[i] >= 0:
            following[i] = head[parent[i]]
            head[parent[i]] = i
    return uptr, uidx[:used].copy()
