"""Where to draw each substation: the file's own coordinates, or a layout of the graph.

The layout depends on what is built, never on how it is switched, so that a picture does not
move when a line opens.
"""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gridrl.grid import Bools, Floats, Grid, Ints

# Hops to this many substations, spread over the grid, pin the layout; all of them in a small one.
_N_PIVOT = 200
_N_STEP = 150


def positions(grid: Grid) -> tuple[Floats, bool]:
    """Place every substation in the plane.

    Returns
    -------
    xy : float64[n_substation, 2]
        Horizontal and vertical position, in no particular unit; equal scales on both axes.
    from_file : bool
        Whether these are the coordinates of the input file.
    """
    given = _given(grid)
    if given is not None:
        return given, True
    return _spread(grid), False


def _given(grid: Grid) -> Floats | None:
    """Coordinates of the file, if every substation that is not a star point has them."""
    known = np.isfinite(grid.bus_x) & np.isfinite(grid.bus_y)
    count = np.bincount(grid.bus_substation[known], minlength=grid.n_substation)
    if not (count[~grid.is_star] > 0).all():
        return None
    xy = np.zeros((grid.n_substation, 2))
    for axis, value in enumerate((grid.bus_x, grid.bus_y)):
        total = np.bincount(grid.bus_substation[known], value[known], minlength=grid.n_substation)
        xy[:, axis] = total / np.maximum(count, 1)
    if np.ptp(xy[~grid.is_star], axis=0).max() == 0:
        return None  # all on one spot says nothing
    _place_stars(grid, xy, count == 0)
    y = xy[:, 1]
    if np.abs(xy[:, 0]).max() <= 180 and y.min() > 20 and y.max() < 72 and np.ptp(y) < 30:
        xy[:, 0] *= np.cos(np.radians(y.mean()))  # longitude and latitude of a country
    return xy


def _place_stars(grid: Grid, xy: Floats, unknown: Bools) -> None:
    """Put substations without coordinates amid their neighbours."""
    for s in np.flatnonzero(unknown):
        near = np.concatenate(
            [
                grid.to_substation[grid.from_substation == s],
                grid.from_substation[grid.to_substation == s],
            ]
        )
        if near.size:
            xy[s] = xy[near].mean(axis=0)


def _spread(grid: Grid) -> Floats:
    """Lay out every connected part by its hop distances, and the parts side by side."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    n = grid.n_substation
    length = np.where(grid.vn_kv[grid.from_substation] == grid.vn_kv[grid.to_substation], 1.0, 0.6)
    pair = np.stack(
        [
            np.minimum(grid.from_substation, grid.to_substation),
            np.maximum(grid.from_substation, grid.to_substation),
        ]
    )
    pair, first = np.unique(pair, axis=1, return_index=True)  # parallel branches count once
    graph = sp.csr_array((length[first], (pair[0], pair[1])), shape=(n, n))
    graph = sp.csr_array(graph + graph.T)
    n_part, part = connected_components(graph, directed=False)
    sizes = np.bincount(part, minlength=n_part)
    xy = np.zeros((n, 2))
    x_next, y_top, row_height = 0.0, 0.0, 0.0
    width = 1.0
    for p in np.argsort(-sizes, kind="stable"):
        member = np.flatnonzero(part == p)
        own = _stress_layout(graph[member][:, member]) if member.size > 1 else np.zeros((1, 2))
        own = own - own.min(axis=0)
        extent = own.max(axis=0) + 2.0
        width = max(width, float(extent[0]))
        if x_next > 0 and x_next + extent[0] > width:
            x_next, y_top, row_height = 0.0, y_top - row_height, 0.0
        xy[member] = own + np.array([x_next, y_top - extent[1]])
        x_next += float(extent[0])
        row_height = max(row_height, float(extent[1]))
    return xy


def _stress_layout(graph: Any) -> Floats:
    """Positions whose distances match the hop distances (sparse stress, Ortmann et al. 2016).

    Starts from pivot MDS (Brandes and Pich 2006), then moves every substation to where its
    neighbours and all pivots want it, with weight 1 / distance squared.
    """
    import scipy.sparse as sp
    from scipy.sparse.csgraph import dijkstra

    near = sp.coo_array(graph)
    n = int(near.shape[0])
    pivot = _pivots(graph, n)
    hops = cast("Floats", dijkstra(graph, directed=False, indices=pivot)).T  # [n, n_pivot]
    xy = _pivot_mds(hops)

    # A pivot speaks for the substations that are nearer to it than to any other pivot.
    crowd = np.bincount(hops.argmin(axis=1), minlength=pivot.size).astype(np.float64)
    with np.errstate(divide="ignore"):
        far_weight = np.where(hops > 0, crowd / hops**2, 0.0)
    row, col, want = near.row, near.col, near.data
    near_weight = 1.0 / want**2
    total = far_weight.sum(axis=1) + np.bincount(row, near_weight, minlength=n)
    for _ in range(_N_STEP):
        gap = xy[:, None, :] - xy[None, pivot, :]
        scale = hops / np.maximum(np.hypot(gap[..., 0], gap[..., 1]), 1e-9)
        wish = np.einsum("ij,ijk->ik", far_weight, xy[None, pivot, :] + gap * scale[..., None])
        step = xy[row] - xy[col]
        scale_near = want / np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)
        pull = near_weight[:, None] * (xy[col] + step * scale_near[:, None])
        for axis in range(2):
            wish[:, axis] += np.bincount(row, pull[:, axis], minlength=n)
        xy = wish / total[:, None]
    return _level(xy)


def _pivots(graph: Any, n: int) -> Ints:
    """Substations far from each other: each next one is the farthest from those before."""
    from scipy.sparse.csgraph import dijkstra

    if n <= _N_PIVOT:
        return np.arange(n)
    chosen = [0]
    nearest = np.full(n, np.inf)
    for _ in range(_N_PIVOT):
        hops = cast("Floats", dijkstra(graph, directed=False, indices=[chosen[-1]]))
        nearest = np.minimum(nearest, hops[0])
        chosen.append(int(nearest.argmax()))
    return np.array(chosen[1:], dtype=np.int64)


def _pivot_mds(hops: Floats) -> Floats:
    """The two directions along which hop distances to the pivots vary most."""
    squared = hops**2
    centred = -0.5 * (
        squared
        - squared.mean(axis=0, keepdims=True)
        - squared.mean(axis=1, keepdims=True)
        + squared.mean()
    )
    _, vectors = np.linalg.eigh(centred.T @ centred)
    xy: NDArray[np.float64] = centred @ vectors[:, :-3:-1]
    if xy.shape[1] < 2:
        xy = np.column_stack([xy[:, 0], np.zeros(len(xy))])
    spread = np.sqrt((xy**2).mean())
    xy = xy * (np.sqrt((hops**2).mean()) / max(spread, 1e-12))
    # Substations that the pivots cannot tell apart would stay on one spot for ever.
    angle = np.arange(len(xy)) * 2.399963  # the golden angle: even, and no random numbers
    return xy + 0.1 * np.column_stack([np.cos(angle), np.sin(angle)])


def _level(xy: Floats) -> Floats:
    """Turn the layout so that its long side lies flat, as pages do."""
    centred = xy - xy.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    turned: NDArray[np.float64] = centred @ vectors[:, ::-1]
    return turned
