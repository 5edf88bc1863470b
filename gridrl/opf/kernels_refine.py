"""Refinement of a Newton step against the full system, by GMRES where that is slow."""

import numpy as np

from gridrl.jit import kernel
from gridrl.opf.kernels_kkt import SLACK_SHARE, residual, solve_condensed

REFINEMENTS = 6
# Directions that GMRES may add.
KRYLOV = 12


@kernel
def solve_refined(
    net, symbolic, v, parts, w, stiffness, active, held, bend_s, damping, soft, matrix,
    right, step, memory, scratch, t, accuracy
):  # fmt: skip
    """Solve the full system to ``accuracy``, or as far as refinement leads.

    The accuracy is absolute: of the gradient of the Lagrangian, and of the balances.

    Plain refinement while it gains a digit at a time; else GMRES, preconditioned by the factors:
    what a cap hides are few directions (Y. Saad, Iterative Methods for Sparse Linear Systems,
    2003, algorithm 9.6).

    Returns
    -------
    (remaining error over the accuracy, solutions with the factors)
    """
    flat, bases, steps, hess = memory
    n, n_source = v.size, bend_s.size
    left = split_right(flat[0], n, n_source)
    none = split_right(flat[1], n, n_source)
    correction = split_step(flat[2], n, n_source)
    solve_condensed(net, symbolic, v, parts, w, held, matrix, right, step, scratch)
    before = np.inf
    for tried in range(REFINEMENTS + 1):
        worst = residual(
            net, v, parts, stiffness, active, held, bend_s, damping, soft, right, step, t,
            accuracy, left,
        )  # fmt: skip
        if worst <= 1.0 or not worst < 1e200:
            return worst, tried + 1
        if worst > 0.1 * before or tried == REFINEMENTS:
            break
        before = worst
        solve_condensed(net, symbolic, v, parts, w, held, matrix, left, correction, scratch)
        add_step(step, 1.0, correction)

    weight = flat[3]
    o = weight.size - t.size
    weight[: o - 2 * n] = 1.0 / accuracy[0]
    weight[o - 2 * n : o] = 1.0 / accuracy[1]
    for k in range(t.size):
        weight[o + k] = 1.0 / (SLACK_SHARE * t[k]) if active[k] else 0.0
    flat[1][:] = 0.0
    size = _norm(flat[0], weight)
    for k in range(flat[0].size):
        bases[0, k] = flat[0][k] / size
    hess[:] = 0.0
    hess[KRYLOV + 1, 0] = size  # the last row holds the rotated right-hand side
    used = 0
    plain = tried + 1
    for j in range(KRYLOV):
        basis = split_right(bases[j], n, n_source)
        towards = split_step(steps[j], n, n_source)
        solve_condensed(net, symbolic, v, parts, w, held, matrix, basis, towards, scratch)
        residual(
            net, v, parts, stiffness, active, held, bend_s, damping, soft, none, towards, t,
            accuracy, left,
        )  # fmt: skip
        flat[0] *= -1.0
        used = j + 1
        if _extend(flat[0], bases, hess, weight, j) <= 1.0:
            break
    for j in range(used - 1, -1, -1):
        value = hess[KRYLOV + 1, j]
        for i in range(j + 1, used):
            value -= hess[j, i] * hess[KRYLOV + 2, i]
        hess[KRYLOV + 2, j] = value / hess[j, j]
    for j in range(used):
        add_step(step, hess[KRYLOV + 2, j], split_step(steps[j], n, n_source))
    worst = residual(
        net, v, parts, stiffness, active, held, bend_s, damping, soft, right, step, t, accuracy,
        left,
    )  # fmt: skip
    return worst, plain + used


@kernel
def krylov_memory(n, n_source, nh):
    """Work space of `solve_refined`."""
    size = 4 * n + n_source + nh
    return (
        np.zeros((4, size)), np.zeros((KRYLOV + 1, size)), np.zeros((KRYLOV, size)),
        np.zeros((KRYLOV + 5, KRYLOV + 1)),
    )  # fmt: skip


@kernel
def split_right(flat, n, n_source):
    """Parts of a right-hand side within one array: r1[n, 2], r1_source, r2[n, 2], r3."""
    a = 2 * n + n_source
    return (
        flat[: 2 * n].reshape(n, 2), flat[2 * n : a], flat[a : a + 2 * n].reshape(n, 2),
        flat[a + 2 * n :],
    )  # fmt: skip


@kernel
def split_step(flat, n, n_source):
    """Parts of a step within one array: va, v, s, lam[n, 2], y."""
    a = 2 * n + n_source
    return (
        flat[:n], flat[n : 2 * n], flat[2 * n : a], flat[a : a + 2 * n].reshape(n, 2),
        flat[a + 2 * n :],
    )  # fmt: skip


@kernel
def add_step(step, factor, other):
    for i in range(step[0].size):
        step[0][i] += factor * other[0][i]
        step[1][i] += factor * other[1][i]
        step[3][i, 0] += factor * other[3][i, 0]
        step[3][i, 1] += factor * other[3][i, 1]
    for k in range(step[2].size):
        step[2][k] += factor * other[2][k]
    for k in range(step[4].size):
        step[4][k] += factor * other[4][k]


@kernel
def _norm(x, weight):
    total = 0.0
    for k in range(x.size):
        total += (weight[k] * x[k]) ** 2
    return np.sqrt(total)


@kernel
def _extend(x, bases, hess, weight, j):
    """Orthogonalise ``x`` into basis j + 1, rotate the Hessenberg column; the new error."""
    last = bases.shape[0] - 1
    for _ in range(2):  # twice is enough
        for i in range(j + 1):
            dot = 0.0
            for k in range(x.size):
                dot += weight[k] ** 2 * x[k] * bases[i, k]
            hess[i, j] += dot
            for k in range(x.size):
                x[k] -= dot * bases[i, k]
    size = _norm(x, weight)
    if size > 0.0:
        for k in range(x.size):
            bases[j + 1, k] = x[k] / size
    cosine, sine, rotated = hess[last + 3], hess[last + 4], hess[last + 1]
    for i in range(j):
        a, b = hess[i, j], hess[i + 1, j]
        hess[i, j] = cosine[i] * a + sine[i] * b
        hess[i + 1, j] = -sine[i] * a + cosine[i] * b
    length = np.hypot(hess[j, j], size)
    cosine[j] = hess[j, j] / length
    sine[j] = size / length
    hess[j, j] = length
    rotated[j + 1] = -sine[j] * rotated[j]
    rotated[j] *= cosine[j]
    return abs(rotated[j + 1])
