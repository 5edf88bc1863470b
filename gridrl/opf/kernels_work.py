"""What the kernels of the interior point hand to each other: names for bundles of arrays.

``n`` nodes, ``n_source`` sources, ``m`` branches, ``nh`` inequalities; see
`gridrl.opf.kernels_model` for their order.
"""

from collections import namedtuple

import numpy as np

from gridrl.jit import inlined
from gridrl.opf.kernels_refine import krylov_memory, split_right, split_step

# A point: float64 va[n], v[n], s[n_source], balance multipliers lam[n, 2], slacks t[nh] and
# multipliers y[nh] of the inequalities.
Point = namedtuple("Point", ("va", "v", "s", "lam", "t", "y"))
# What `evaluate` fills.
Values = namedtuple("Values", ("g", "h", "flow"))
# The problem, its pattern, and the Newton system at the present point.
System = namedtuple(
    "System",
    (
        "net", "symbolic", "block_of", "active", "held",  # see `gridrl.opf.arrange`
        "parts", "slope", "bend",  # derivatives of constraints and of costs
        "w", "stiffness", "matrix", "scratch", "memory",  # see `gridrl.opf.kernels_kkt`
        "caution",  # float64[1]: the last damping that was needed
        "choices", "costs",  # ways to factorise, see `gridrl.opf.kernels_newton`
    ),
)  # fmt: skip
# A Newton step on its way: right-hand side, barrier target[nh], the step, and the changes of
# slacks and of inequalities that it brings.
Direction = namedtuple("Direction", ("right", "target", "step", "dt", "change"))


@inlined
def new_system(net, symbolic, block_of, active, held, n, n_source, m, choices):
    """Arrays that one solution needs, once for all its iterations."""
    nh = active.size
    n_fill = symbolic[1].size
    parts = (np.zeros((m, 12)), np.zeros((m, 6)), np.zeros((m, 6)), np.zeros(n))
    matrix = (
        np.zeros((n, 4, 4)), np.zeros((n_fill, 4, 4)), np.zeros((n, 4, 4)),
        np.zeros((n_fill, 4, 4)), np.zeros(n_source),
    )  # fmt: skip
    scratch = (
        np.zeros((n, 4)), np.zeros((n, 2)), np.zeros(nh), np.zeros((n, 2)), np.zeros(n_source),
    )  # fmt: skip
    return System(
        net, symbolic, block_of, active, held, parts, np.zeros(n_source), np.zeros(n_source),
        np.zeros(nh), np.zeros(nh), matrix, scratch, krylov_memory(n, n_source, nh),
        np.zeros(1), choices, np.zeros(choices.shape[0]),
    )  # fmt: skip


@inlined
def new_values(n, m, nh):
    return Values(np.zeros((n, 2)), np.zeros(nh), np.zeros((m, 8)))


@inlined
def new_direction(n, n_source, nh):
    size = 4 * n + n_source + nh
    return Direction(
        split_right(np.zeros(size), n, n_source), np.zeros(nh),
        split_step(np.zeros(size), n, n_source), np.zeros(nh), np.zeros(nh),
    )  # fmt: skip


@inlined
def copied(point):
    """A copy of a point."""
    return Point(
        point.va.copy(), point.v.copy(), point.s.copy(), point.lam.copy(), point.t.copy(),
        point.y.copy(),
    )  # fmt: skip


@inlined
def take_primal(point, other):
    """Give ``point`` the variables and slacks of ``other``."""
    point.va[:] = other.va
    point.v[:] = other.v
    point.s[:] = other.s
    point.t[:] = other.t


@inlined
def take_values(values, other):
    values.g[:] = other.g
    values.h[:] = other.h
    values.flow[:] = other.flow
