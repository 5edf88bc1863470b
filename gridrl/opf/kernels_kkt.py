"""The Newton system of the interior point: condensed to 4x4 blocks of the grid, solved, refined.

With multipliers ``lam`` of the balances and ``y`` of the inequalities, a step solves::

    W dx + Jg^T dlam + Jh^T dy = r1        W: Hessian of the Lagrangian, and damping
    Jg dx - soft dlam          = r2
    Jh dx - (t / y + soft) dy  = r3        t: slacks of the inequalities

Inequalities and sources are eliminated, so that a block of angle, voltage and two multipliers is
left for every node. An active flow limit or angle limit would enter that matrix with a weight
``y / t`` that drowns everything else; its weight is capped, and the error is taken out again by
refining the solution against the system above.
"""

import numpy as np

from gridrl.jit import kernel
from gridrl.opf.kernels_model import add_gradients, times_balances, times_inequalities
from gridrl.sparse.kernels_ldl import factorise, solve_in_place

# Remaining error, over the accuracy asked for, above which the factors are of no use.
LOOSE = 100.0
# Weight that holds a variable still.
HOLD = 1e16
# The step of a slack may be wrong by this share of the slack.
SLACK_SHARE = 5e-2

RIGHT, WRONG, SINGULAR = 0, 1, 2


@kernel
def weights(limit_jacobian, active, t, y, soft, n_bound, m, cap, stiffness, w):
    """Weight of every inequality in the condensed matrix, and its true inverse weight.

    ``stiffness`` is filled with ``t / y + soft`` (soft for limits of branches alone), ``w`` with
    the capped inverse.
    """
    for k in range(t.size):
        if not active[k]:
            w[k] = 0.0
            stiffness[k] = 0.0
            continue
        stiffness[k] = t[k] / y[k]
        if k < n_bound:
            w[k] = y[k] / t[k]
            continue
        stiffness[k] += soft
        size = 2.0
        branch = (k - n_bound) % m
        side = (k - n_bound) // m
        if side >= 2:
            row = limit_jacobian[branch]
            o = 3 * (side - 2)
            size = 2.0 * row[o] ** 2 + row[o + 1] ** 2 + row[o + 2] ** 2
        w[k] = 1.0 / (stiffness[k] + size / cap)


@kernel
def assemble(net, block_of, v, parts, w, held, bend_s, damping, soft, diagonal, lower, pivot_s):
    """Fill the blocks of the condensed matrix and the pivots of the sources.

    ``parts`` are the Jacobians and Hessians that `derivatives` fills; ``held`` is bool[n_node, 2]
    (angle, voltage). False where a source's pivot is not positive.
    """
    start, stop, _y, _limit, node, source_at, source_q, _cost, _low, _high = net
    n = v.size
    n_source = source_at.size
    diagonal[:] = 0.0
    lower[:] = 0.0
    for i in range(n):
        d = diagonal[i]
        d[0, 0] = damping + (HOLD if held[i, 0] else 0.0)
        d[1, 1] = parts[3][i] + w[i] + w[n + i] + damping + (HOLD if held[i, 1] else 0.0)
        a = 2.0 * v[i] * node[i, 0] - node[i, 4]
        b = -2.0 * v[i] * node[i, 1] - node[i, 5]
        d[1, 2] = a
        d[2, 1] = a
        d[1, 3] = b
        d[3, 1] = b
        d[2, 2] = -soft
        d[3, 3] = -soft
    o = 2 * n
    good = True
    for k in range(n_source):
        pivot = bend_s[k] + w[o + k] + w[o + n_source + k] + damping
        pivot_s[k] = pivot
        if not pivot > 0.0:
            good = False
            pivot_s[k] = 1.0
        at = 2 + source_q[k]
        diagonal[source_at[k], at, at] -= 1.0 / pivot_s[k]
    _add_branches(start, stop, block_of, parts, w[o + 2 * n_source :], diagonal, lower)
    return good


@kernel
def _add_branches(start, stop, block_of, parts, w, diagonal, lower):
    """Add what branches and their limits, of weights ``w``, give to the blocks."""
    jacobian, limit_jacobian, hessian, _bend_v = parts
    m = start.size
    cross = np.empty((4, 4))
    for k in range(m):
        i = start[k]
        j = stop[k]
        r = jacobian[k]
        e = limit_jacobian[k]
        bend = hessian[k]
        wf = w[2 * m + k]
        wt = w[3 * m + k]
        h00 = bend[0] + wf * e[0] * e[0] + wt * e[3] * e[3] + w[k] + w[m + k]
        h01 = bend[1] + wf * e[0] * e[1] + wt * e[3] * e[4]
        h02 = bend[2] + wf * e[0] * e[2] + wt * e[3] * e[5]
        h11 = bend[3] + wf * e[1] * e[1] + wt * e[4] * e[4]
        h12 = bend[4] + wf * e[1] * e[2] + wt * e[4] * e[5]
        h22 = bend[5] + wf * e[2] * e[2] + wt * e[5] * e[5]
        d = diagonal[i]
        d[0, 0] += h00
        d[0, 1] += h01
        d[1, 0] += h01
        d[1, 1] += h11
        for q in range(2):
            d[2 + q, 0] += r[3 * q]
            d[0, 2 + q] += r[3 * q]
            d[2 + q, 1] += r[3 * q + 1]
            d[1, 2 + q] += r[3 * q + 1]
        d = diagonal[j]
        d[0, 0] += h00
        d[0, 1] -= h02
        d[1, 0] -= h02
        d[1, 1] += h22
        for q in range(2):
            d[2 + q, 0] -= r[6 + 3 * q]
            d[0, 2 + q] -= r[6 + 3 * q]
            d[2 + q, 1] += r[8 + 3 * q]
            d[1, 2 + q] += r[8 + 3 * q]
        # Rows: the from end's block; columns: the to end's.
        cross[0, 0], cross[0, 1], cross[0, 2], cross[0, 3] = -h00, h02, r[6], r[9]
        cross[1, 0], cross[1, 1], cross[1, 2], cross[1, 3] = -h01, h12, r[7], r[10]
        cross[2, 0], cross[2, 1], cross[2, 2], cross[2, 3] = -r[0], r[2], 0.0, 0.0
        cross[3, 0], cross[3, 1], cross[3, 2], cross[3, 3] = -r[3], r[5], 0.0, 0.0
        to = lower[block_of[k]]
        if i > j:
            for a in range(4):
                for b in range(4):
                    to[a, b] += cross[a, b]
        else:
            for a in range(4):
                for b in range(4):
                    to[a, b] += cross[b, a]


@kernel
def factorise_kkt(net, symbolic, block_of, v, parts, w, held, bend_s, damping, soft, matrix):
    """Assemble and factorise: RIGHT inertia for a descent, WRONG, or SINGULAR."""
    diagonal, lower, inverse, factor, pivot_s = matrix
    good = assemble(
        net, block_of, v, parts, w, held, bend_s, damping, soft, diagonal, lower, pivot_s
    )
    if not good:
        return SINGULAR
    negative = factorise(symbolic, diagonal, lower, inverse, factor)
    if negative < 0:
        return SINGULAR
    return RIGHT if negative == 2 * v.size else WRONG


@kernel
def solve_condensed(net, symbolic, v, parts, w, held, matrix, right, step, scratch):
    """Solve with the factors for one right-hand side; ``right`` is left as it was.

    ``right`` is (r1[n_node, 2], r1_source, r2[n_node, 2], r3); ``step`` is (va, v, s, lam, y).
    """
    _start, _stop, _y, _limit, _node, source_at, source_q, _cost, _low, _high = net
    jacobian, limit_jacobian, _hessian, _bend_v = parts
    _diagonal, _lower, inverse, factor, pivot_s = matrix
    r1, r1_s, r2, r3 = right
    x_va, x_v, x_s, lam, y = step
    b, zero, q, first, first_s = scratch
    n = v.size
    for k in range(q.size):
        q[k] = w[k] * r3[k]
    first[:] = r1
    first_s[:] = r1_s
    add_gradients(net, v, jacobian, limit_jacobian, zero, q, first, first_s)
    for i in range(n):
        b[i, 0] = 0.0 if held[i, 0] else first[i, 0]
        b[i, 1] = 0.0 if held[i, 1] else first[i, 1]
        b[i, 2] = r2[i, 0]
        b[i, 3] = r2[i, 1]
    for k in range(source_at.size):
        b[source_at[k], 2 + source_q[k]] += first_s[k] / pivot_s[k]
    solve_in_place(symbolic, inverse, factor, b)
    for i in range(n):
        x_va[i] = 0.0 if held[i, 0] else b[i, 0]
        x_v[i] = 0.0 if held[i, 1] else b[i, 1]
        lam[i, 0] = b[i, 2]
        lam[i, 1] = b[i, 3]
    for k in range(source_at.size):
        x_s[k] = (first_s[k] + lam[source_at[k], source_q[k]]) / pivot_s[k]
    times_inequalities(net, limit_jacobian, x_va, x_v, x_s, y)
    for k in range(y.size):
        y[k] = w[k] * (y[k] - r3[k])


@kernel
def residual(
    net, v, parts, stiffness, active, held, bend_s, damping, soft, right, step, t, accuracy, out
):  # fmt: skip
    """Fill ``out`` with ``right`` minus the true system times ``step``.

    Returns the largest entry, over ``accuracy``: that of the gradient and that of the balances; of
    the inequalities, over a share of the slack.
    """
    start, stop, _y, _limit, _node, source_at, _q, _cost, _low, _high = net
    jacobian, limit_jacobian, hessian, bend_v = parts
    r1, r1_s, r2, r3 = right
    x_va, x_v, x_s, lam, y = step
    o1, o1_s, o2, o3 = out
    n = v.size
    for i in range(n):
        o1[i, 0] = damping * x_va[i]
        o1[i, 1] = (bend_v[i] + damping) * x_v[i]
    for k in range(x_s.size):
        o1_s[k] = (bend_s[k] + damping) * x_s[k]
    for k in range(start.size):
        i = start[k]
        j = stop[k]
        bend = hessian[k]
        d = x_va[i] - x_va[j]
        xf = x_v[i]
        xt = x_v[j]
        turn = bend[0] * d + bend[1] * xf + bend[2] * xt
        o1[i, 0] += turn
        o1[j, 0] -= turn
        o1[i, 1] += bend[1] * d + bend[3] * xf + bend[4] * xt
        o1[j, 1] += bend[2] * d + bend[4] * xf + bend[5] * xt
    add_gradients(net, v, jacobian, limit_jacobian, lam, y, o1, o1_s)
    times_balances(net, v, jacobian, x_va, x_v, x_s, o2)
    times_inequalities(net, limit_jacobian, x_va, x_v, x_s, o3)
    worst = lacking = 0.0
    for i in range(n):
        for q in range(2):
            o1[i, q] = 0.0 if held[i, q] else r1[i, q] - o1[i, q]
            o2[i, q] = r2[i, q] - o2[i, q] + soft * lam[i, q]
            worst = max(worst, abs(o1[i, q]))
            lacking = max(lacking, abs(o2[i, q]))
    for k in range(x_s.size):
        o1_s[k] = r1_s[k] - o1_s[k]
        worst = max(worst, abs(o1_s[k]))
    worst = max(worst / accuracy[0], lacking / accuracy[1])
    for k in range(y.size):
        if active[k]:
            o3[k] = r3[k] - o3[k] + stiffness[k] * y[k]
            worst = max(worst, abs(o3[k]) / (SLACK_SHARE * t[k]))
        else:
            o3[k] = 0.0
    return worst
