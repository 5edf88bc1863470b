"""Substitution with the base's factors, all lanes alike."""

import numpy as np

from gridrl.jit import kernel
from gridrl.sparse.lanes import borrowed, fma, fnma, load, splat, store


@kernel
def forward(lanes, pattern, low, x):
    """``x`` becomes L^-1 x."""
    pattern, low, x = borrowed((pattern, low, x))
    l_ptr, l_idx = pattern[5], pattern[6]
    n_lane = len(lanes)
    zero = splat(lanes, x, 0.0)
    for i in range(l_ptr.size - 1):
        a0 = load(lanes, x, 2 * i * n_lane)
        a1 = load(lanes, x, (2 * i + 1) * n_lane)
        b0, b1 = zero, zero
        for p in range(l_ptr[i], l_ptr[i + 1]):
            j = np.int64(l_idx[p])
            y0 = load(lanes, x, 2 * j * n_lane)
            y1 = load(lanes, x, (2 * j + 1) * n_lane)
            a0 = fnma(splat(lanes, x, low[4 * p]), y0, a0)
            a1 = fnma(splat(lanes, x, low[4 * p + 2]), y0, a1)
            b0 = fma(splat(lanes, x, low[4 * p + 1]), y1, b0)
            b1 = fma(splat(lanes, x, low[4 * p + 3]), y1, b1)
        store(lanes, x, 2 * i * n_lane, a0 - b0)
        store(lanes, x, (2 * i + 1) * n_lane, a1 - b1)


@kernel
def backward(lanes, pattern, u, d, x):
    """``x`` becomes U^-1 x."""
    pattern, u, d, x = borrowed((pattern, u, d, x))
    u_ptr, u_idx = pattern[3], pattern[4]
    n_lane = len(lanes)
    zero = splat(lanes, x, 0.0)
    for i in range(u_ptr.size - 2, -1, -1):
        a0 = load(lanes, x, 2 * i * n_lane)
        a1 = load(lanes, x, (2 * i + 1) * n_lane)
        b0, b1 = zero, zero
        for p in range(u_ptr[i], u_ptr[i + 1]):
            j = np.int64(u_idx[p])
            y0 = load(lanes, x, 2 * j * n_lane)
            y1 = load(lanes, x, (2 * j + 1) * n_lane)
            a0 = fnma(splat(lanes, x, u[4 * p]), y0, a0)
            a1 = fnma(splat(lanes, x, u[4 * p + 2]), y0, a1)
            b0 = fma(splat(lanes, x, u[4 * p + 1]), y1, b0)
            b1 = fma(splat(lanes, x, u[4 * p + 3]), y1, b1)
        a0 = a0 - b0
        a1 = a1 - b1
        x0 = splat(lanes, x, d[4 * i]) * a0 + splat(lanes, x, d[4 * i + 1]) * a1
        x1 = splat(lanes, x, d[4 * i + 2]) * a0 + splat(lanes, x, d[4 * i + 3]) * a1
        store(lanes, x, 2 * i * n_lane, x0)
        store(lanes, x, (2 * i + 1) * n_lane, x1)
