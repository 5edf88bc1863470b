"""Branches whose single outage cuts something off from every reference, and what that is."""

import numpy as np

from gridrl.jit import kernel


@kernel
def cutting_branches(n, end_f, end_t, sources):
    """[n_branch] which branches are `bridges`."""
    return bridges(n, end_f, end_t, sources)[0] > 0


@kernel
def bridges(n, end_f, end_t, sources):
    """The bridges of the graph in which all ``sources`` (rows) are joined.

    Parameters
    ----------
    end_f, end_t : int64[n_branch], rows of both ends, -1 where open
    sources : int64[m], rows that supply themselves

    Returns
    -------
    side : int8[n_branch]
        0: no bridge; 1: a bridge whose from end stays supplied; 2: the to end.
    order : int64[n + 1]
        Rows (and n, where the sources meet) as the search found them.
    first, last : int64[n_branch]
        The outage of bridge k cuts off the rows order[first[k]:last[k]].

    Depth-first search with low points (Tarjan 1974), parallel branches told apart by their number.
    Branches in parts without a source are marked only if they are bridges there.
    """
    n_branch = end_f.size
    total = n_branch + sources.size
    ptr = np.zeros(n + 2, np.int64)
    for k in range(total):
        a, b = _edge(k, n, n_branch, end_f, end_t, sources)
        if a >= 0 and b >= 0:
            ptr[a + 1] += 1
            ptr[b + 1] += 1
    for i in range(n + 1):
        ptr[i + 1] += ptr[i]
    fill = ptr.copy()
    other = np.empty(ptr[n + 1], np.int64)
    edge = np.empty(ptr[n + 1], np.int64)
    for k in range(total):
        a, b = _edge(k, n, n_branch, end_f, end_t, sources)
        if a >= 0 and b >= 0:
            other[fill[a]], edge[fill[a]] = b, k
            other[fill[b]], edge[fill[b]] = a, k
            fill[a] += 1
            fill[b] += 1
    side = np.zeros(total, np.int8)
    first, last = np.zeros(total, np.int64), np.zeros(total, np.int64)
    seen = np.full(n + 1, -1, np.int64)
    low = np.empty(n + 1, np.int64)
    at = ptr[: n + 1].copy()
    stack, via = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    clock = 0
    for offset in range(n + 1):
        root = (n + offset) % (n + 1)
        if seen[root] >= 0:
            continue
        top = 0
        stack[0], via[0] = root, -1
        seen[root] = low[root] = clock
        clock += 1
        while top >= 0:
            i = stack[top]
            if at[i] < ptr[i + 1]:
                j, k = other[at[i]], edge[at[i]]
                at[i] += 1
                if k == via[top]:
                    continue
                if seen[j] >= 0:
                    low[i] = min(low[i], seen[j])
                else:
                    seen[j] = low[j] = clock
                    clock += 1
                    top += 1
                    stack[top], via[top] = j, k
            else:
                if top > 0:
                    above = stack[top - 1]
                    low[above] = min(low[above], low[i])
                    if low[i] > seen[above]:
                        k = via[top]
                        first[k], last[k] = seen[i], clock
                        side[k] = 1 if k >= n_branch or end_f[k] == above else 2
                top -= 1
    order = np.empty(n + 1, np.int64)
    for i in range(n + 1):
        order[seen[i]] = i
    return side[:n_branch].copy(), order, first[:n_branch].copy(), last[:n_branch].copy()


@kernel
def _edge(k, n, n_branch, end_f, end_t, sources):
    if k < n_branch:
        return end_f[k], end_t[k]
    return np.int64(n), sources[k - n_branch]
