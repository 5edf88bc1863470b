"""Order and fill of a symmetric elimination on a graph, in one compiled call: minimum degree.

The next node is always one with the fewest neighbours left; its neighbours become neighbours of
each other (D. J. Rose, A graph-theoretic study of the numerical solution of sparse positive
definite systems of linear equations, 1972). Grids are so sparse that the graphs of elimination are
kept as they are, without quotients: a thousand nodes take a tenth of a millisecond.
"""

import numpy as np

from gridrl.jit import inlined, kernel


@kernel
def minimum_degree(n, left, right):
    """Order and fill of ``n`` nodes joined by the pairs (left, right), each int64[n_pair].

    Returns
    -------
    node, row : int64[n]
        Node of every row in order of elimination, and the way back.
    u_ptr, u_idx : int64[n + 1], int32[n_fill]
        Rows below the diagonal of every column, ascending.
    block_of : int64[n_pair]
        Entry of each pair among those; 0 where it joins a node with itself.
    """
    at, size, pool, end = _neighbours(n, left, right)
    room = size.copy()
    mark = np.full(n, -1, np.int64)
    head = np.full(n + 1, -1, np.int64)  # of a list of the nodes of each degree
    after, before = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    for i in range(n - 1, -1, -1):
        _enter(head, after, before, i, size[i])
    node, row = np.empty(n, np.int64), np.empty(n, np.int64)
    u_ptr = np.zeros(n + 1, np.int64)
    u_idx = np.empty(pool.size, np.int32)
    least = stamp = 0
    for step in range(n):
        while head[least] < 0:
            least += 1
        i = head[least]
        _leave(head, after, before, i, size[i])
        node[step], row[i] = i, step
        first, count = u_ptr[step], size[i]
        u_ptr[step + 1] = first + count
        if first + count > u_idx.size:
            u_idx = _longer(u_idx, first, count)
        u_idx[first : first + count] = pool[at[i] : at[i] + count]
        for k in range(first, first + count):
            j = u_idx[k]
            _leave(head, after, before, j, size[j])
            stamp += 1
            pool, end = _join(i, j, u_idx[first : first + count], at, size, room, pool, end,
                              mark, stamp)  # fmt: skip
            _enter(head, after, before, j, size[j])
            least = min(least, size[j])
    u_idx = u_idx[: u_ptr[n]].copy()
    for step in range(n):
        for k in range(u_ptr[step], u_ptr[step + 1]):
            u_idx[k] = row[u_idx[k]]
        u_idx[u_ptr[step] : u_ptr[step + 1]].sort()
    return node, row, u_ptr, u_idx, _entries(row, u_ptr, u_idx, left, right)


@kernel
def _neighbours(n, left, right):
    """Lists of neighbours in one pool: where each begins, its length, the pool, its used part."""
    size = np.zeros(n, np.int64)
    for k in range(left.size):
        if left[k] != right[k]:
            size[left[k]] += 1
            size[right[k]] += 1
    at = np.zeros(n, np.int64)
    end = 0
    for i in range(n):
        at[i] = end
        end += size[i]
    pool = np.empty(8 * end + 64, np.int32)
    size[:] = 0
    for k in range(left.size):
        i, j = left[k], right[k]
        if i != j:
            pool[at[i] + size[i]] = j
            pool[at[j] + size[j]] = i
            size[i] += 1
            size[j] += 1
    mark = np.full(n, -1, np.int64)
    for i in range(n):  # parallel branches join the same two
        count = 0
        for k in range(at[i], at[i] + size[i]):
            if mark[pool[k]] != i:
                mark[pool[k]] = i
                pool[at[i] + count] = pool[k]
                count += 1
        size[i] = count
    return at, size, pool, end


@inlined
def _enter(head, after, before, i, degree):
    before[i], after[i] = -1, head[degree]
    if head[degree] >= 0:
        before[head[degree]] = i
    head[degree] = i


@inlined
def _leave(head, after, before, i, degree):
    if before[i] >= 0:
        after[before[i]] = after[i]
    else:
        head[degree] = after[i]
    if after[i] >= 0:
        before[after[i]] = before[i]


@kernel
def _join(i, j, group, at, size, room, pool, end, mark, stamp):
    """Replace node ``i`` among the neighbours of ``j`` by the others of its group."""
    mark[j] = stamp
    count, begin = 0, at[j]
    for k in range(begin, begin + size[j]):
        other = pool[k]
        if other != i:
            mark[other] = stamp
            pool[begin + count] = other
            count += 1
    need = count
    for other in group:
        need += mark[other] != stamp
    if need > room[j]:  # move to the end of the pool, with room to grow
        if end + 2 * need > pool.size:
            pool = _longer(pool, end, 2 * need)
        pool[end : end + count] = pool[begin : begin + count]
        at[j], room[j] = end, 2 * need
        begin = end
        end += 2 * need
    for other in group:
        if mark[other] != stamp:
            pool[begin + count] = other
            count += 1
    size[j] = count
    return pool, end


@kernel
def _longer(array, used, more):
    longer = np.empty(2 * array.size + more, array.dtype)
    longer[:used] = array[:used]
    return longer


@kernel
def _entries(row, u_ptr, u_idx, left, right):
    """Entry of each pair in the pattern."""
    out = np.zeros(left.size, np.int64)
    for k in range(left.size):
        a, b = row[left[k]], row[right[k]]
        if a != b:
            column, below = min(a, b), max(a, b)
            first, last = u_ptr[column], u_ptr[column + 1]
            out[k] = first + np.searchsorted(u_idx[first:last], below)
    return out
