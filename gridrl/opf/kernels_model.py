"""Constraints of the optimal power flow and their derivatives, in one pass over the branches.

Variables of a node are its angle and voltage magnitude, those of a source its power. Inequalities
``h <= 0`` lie in one array, in this order::

    n_node    v_min - v
    n_node    v - v_max
    n_source  lower - s
    n_source  s - upper
    n_line    angle_min - (va_from - va_to)
    n_line    (va_from - va_to) - angle_max
    n_line    flow limit at the from end: (p**2 + q**2) / r - r, or - r v**2 where r is a current
    n_line    flow limit at the to end

Arrays of branches: ``flow[m, 8]`` holds p, q at the from end, p, q at the to end, and the four
sums A, B, C, E of products of admittances with cosine and sine of the angle difference.
``jacobian[m, 12]`` holds the derivatives of the four powers by (angle difference, v_from, v_to),
``limit_jacobian[m, 6]`` those of the two flow limits, ``hessian[m, 6]`` the upper triangle of the
Lagrangian's second derivatives by the same three.
"""

import numpy as np

from gridrl.jit import kernel


@kernel
def evaluate(net, va, v, s, g, h, flow):
    """Fill the balances ``g``, the inequalities ``h`` and the branch flows; return the cost.

    Parameters
    ----------
    net
        The problem's arrays, see `gridrl.opf.interior_point`.
    va, v : float64[n_node]
        Angles and magnitudes.
    s : float64[n_source]
        Chosen powers.
    g : float64[n_node, 2]
        Filled with what each node lacks: power drawn minus power injected, P and Q.
    h : float64[n_inequality]
    flow : float64[n_line, 8]
    """
    start, stop, y, limit, node, source_at, source_q, cost, low, high = net
    n = v.size
    n_source = s.size
    m = start.size
    for i in range(n):
        g[i, 0] = v[i] * (v[i] * node[i, 0] - node[i, 4]) - node[i, 2]
        g[i, 1] = v[i] * (-v[i] * node[i, 1] - node[i, 5]) - node[i, 3]
        h[i] = low[i] - v[i]
        h[n + i] = v[i] - high[i]
    total = 0.0
    o = 2 * n
    terms = cost.shape[1]
    for k in range(n_source):
        g[source_at[k], source_q[k]] -= s[k]
        h[o + k] = low[n + k] - s[k]
        h[o + n_source + k] = s[k] - high[n + k]
        value = 0.0
        for j in range(terms - 1, -1, -1):
            value = value * s[k] + cost[k, j]
        total += value
    o += 2 * n_source
    for k in range(m):
        i = start[k]
        j = stop[k]
        d = va[i] - va[j]
        c = np.cos(d)
        sine = np.sin(d)
        vf = v[i]
        vt = v[j]
        vv = vf * vt
        a = y[k, 2] * c + y[k, 3] * sine
        b = y[k, 2] * sine - y[k, 3] * c
        cc = y[k, 4] * c - y[k, 5] * sine
        e = -y[k, 4] * sine - y[k, 5] * c
        pf = y[k, 0] * vf * vf + vv * a
        qf = -y[k, 1] * vf * vf + vv * b
        pt = y[k, 6] * vt * vt + vv * cc
        qt = -y[k, 7] * vt * vt + vv * e
        flow[k, 0] = pf
        flow[k, 1] = qf
        flow[k, 2] = pt
        flow[k, 3] = qt
        flow[k, 4] = a
        flow[k, 5] = b
        flow[k, 6] = cc
        flow[k, 7] = e
        g[i, 0] += pf
        g[i, 1] += qf
        g[j, 0] += pt
        g[j, 1] += qt
        at = n + n_source + k
        h[o + k] = low[at] - d
        h[o + m + k] = d - high[at]
        h[o + 2 * m + k] = (pf * pf + qf * qf) * limit[k, 0] - limit[k, 1] - limit[k, 2] * vf * vf
        h[o + 3 * m + k] = (pt * pt + qt * qt) * limit[k, 3] - limit[k, 4] - limit[k, 5] * vt * vt
    return total


@kernel
def cost_slopes(cost, s, slope, bend):
    """First and second derivatives of every source's cost."""
    for k in range(s.size):
        first = 0.0
        second = 0.0
        for j in range(cost.shape[1] - 1, 0, -1):
            first = first * s[k] + j * cost[k, j]
            if j > 1:
                second = second * s[k] + j * (j - 1) * cost[k, j]
        slope[k] = first
        bend[k] = second


@kernel
def derivatives(net, v, flow, balance_price, price, jacobian, limit_jacobian, hessian, bend_v):
    """Jacobians of flows and limits, and the Hessian of the Lagrangian without costs.

    Parameters
    ----------
    balance_price : float64[n_node, 2]
        Multipliers of the balances.
    price : float64[n_inequality]
        Multipliers of the inequalities.
    bend_v : float64[n_node]
        Filled with the part of the Hessian by a node's own v that its shunt gives.
    """
    start, stop, y, limit, node, source_at, _source_q, _cost, _low, _high = net
    n = v.size
    m = start.size
    o = 2 * n + 2 * source_at.size + 2 * m
    for i in range(n):
        bend_v[i] = 2.0 * (node[i, 0] * balance_price[i, 0] - node[i, 1] * balance_price[i, 1])
    for k in range(m):
        i = start[k]
        j = stop[k]
        vf = v[i]
        vt = v[j]
        vv = vf * vt
        pf, qf, pt, qt = flow[k, 0], flow[k, 1], flow[k, 2], flow[k, 3]
        a, b, c, e = flow[k, 4], flow[k, 5], flow[k, 6], flow[k, 7]
        a0 = -vv * b
        a1 = 2.0 * y[k, 0] * vf + vt * a
        a2 = vf * a
        b0 = vv * a
        b1 = -2.0 * y[k, 1] * vf + vt * b
        b2 = vf * b
        c0 = vv * e
        c1 = vt * c
        c2 = 2.0 * y[k, 6] * vt + vf * c
        d0 = -vv * c
        d1 = vt * e
        d2 = -2.0 * y[k, 7] * vt + vf * e
        row = jacobian[k]
        row[0], row[1], row[2] = a0, a1, a2
        row[3], row[4], row[5] = b0, b1, b2
        row[6], row[7], row[8] = c0, c1, c2
        row[9], row[10], row[11] = d0, d1, d2
        wf = 2.0 * limit[k, 0]
        wt = 2.0 * limit[k, 3]
        out = limit_jacobian[k]
        out[0] = wf * (pf * a0 + qf * b0)
        out[1] = wf * (pf * a1 + qf * b1) - 2.0 * limit[k, 2] * vf
        out[2] = wf * (pf * a2 + qf * b2)
        out[3] = wt * (pt * c0 + qt * d0)
        out[4] = wt * (pt * c1 + qt * d1)
        out[5] = wt * (pt * c2 + qt * d2) - 2.0 * limit[k, 5] * vt
        mf = wf * price[o + k]
        mt = wt * price[o + m + k]
        wpf = balance_price[i, 0] + mf * pf
        wqf = balance_price[i, 1] + mf * qf
        wpt = balance_price[j, 0] + mt * pt
        wqt = balance_price[j, 1] + mt * qt
        second = wpf * a + wqf * b + wpt * c + wqt * e
        turned = -wpf * b + wqf * a + wpt * e - wqt * c
        bend = hessian[k]
        bend[0] = mf * (a0 * a0 + b0 * b0) + mt * (c0 * c0 + d0 * d0) - vv * second
        bend[1] = mf * (a0 * a1 + b0 * b1) + mt * (c0 * c1 + d0 * d1) + vt * turned
        bend[2] = mf * (a0 * a2 + b0 * b2) + mt * (c0 * c2 + d0 * d2) + vf * turned
        bend[3] = (
            mf * (a1 * a1 + b1 * b1)
            + mt * (c1 * c1 + d1 * d1)
            + 2.0 * (wpf * y[k, 0] - wqf * y[k, 1] - price[o + k] * limit[k, 2])
        )
        bend[4] = mf * (a1 * a2 + b1 * b2) + mt * (c1 * c2 + d1 * d2) + second
        bend[5] = (
            mf * (a2 * a2 + b2 * b2)
            + mt * (c2 * c2 + d2 * d2)
            + 2.0 * (wpt * y[k, 6] - wqt * y[k, 7] - price[o + m + k] * limit[k, 5])
        )


@kernel
def times_inequalities(net, limit_jacobian, x_va, x_v, x_s, out):
    """Change of every inequality along a step: the Jacobian of ``h`` times it."""
    start, stop, _y, _limit, _node, _at, _q, _cost, _low, _high = net
    n = x_v.size
    n_source = x_s.size
    m = start.size
    for i in range(n):
        out[i] = -x_v[i]
        out[n + i] = x_v[i]
    o = 2 * n
    for k in range(n_source):
        out[o + k] = -x_s[k]
        out[o + n_source + k] = x_s[k]
    o += 2 * n_source
    for k in range(m):
        i = start[k]
        j = stop[k]
        d = x_va[i] - x_va[j]
        out[o + k] = -d
        out[o + m + k] = d
        w = limit_jacobian[k]
        out[o + 2 * m + k] = w[0] * d + w[1] * x_v[i] + w[2] * x_v[j]
        out[o + 3 * m + k] = w[3] * d + w[4] * x_v[i] + w[5] * x_v[j]


@kernel
def add_gradients(net, v, jacobian, limit_jacobian, lam, price, out, out_s):
    """Add transposed Jacobians times multipliers: to ``out[n_node, 2]`` and to the sources."""
    start, stop, _y, _limit, node, source_at, source_q, _cost, _low, _high = net
    n = v.size
    n_source = source_at.size
    m = start.size
    for i in range(n):
        out[i, 1] += (
            price[n + i]
            - price[i]
            + lam[i, 0] * (2.0 * v[i] * node[i, 0] - node[i, 4])
            + lam[i, 1] * (-2.0 * v[i] * node[i, 1] - node[i, 5])
        )
    o = 2 * n
    for k in range(n_source):
        out_s[k] += price[o + n_source + k] - price[o + k] - lam[source_at[k], source_q[k]]
    o += 2 * n_source
    for k in range(m):
        i = start[k]
        j = stop[k]
        p1, p2, p3, p4 = lam[i, 0], lam[i, 1], lam[j, 0], lam[j, 1]
        r = jacobian[k]
        w = limit_jacobian[k]
        f1 = price[o + 2 * m + k]
        f2 = price[o + 3 * m + k]
        d = p1 * r[0] + p2 * r[3] + p3 * r[6] + p4 * r[9] + f1 * w[0] + f2 * w[3]
        d += price[o + m + k] - price[o + k]
        out[i, 0] += d
        out[j, 0] -= d
        out[i, 1] += p1 * r[1] + p2 * r[4] + p3 * r[7] + p4 * r[10] + f1 * w[1] + f2 * w[4]
        out[j, 1] += p1 * r[2] + p2 * r[5] + p3 * r[8] + p4 * r[11] + f1 * w[2] + f2 * w[5]


@kernel
def times_balances(net, v, jacobian, x_va, x_v, x_s, out):
    """Change of every balance along a step: the Jacobian of ``g`` times it."""
    start, stop, _y, _limit, node, source_at, source_q, _cost, _low, _high = net
    for i in range(v.size):
        out[i, 0] = x_v[i] * (2.0 * v[i] * node[i, 0] - node[i, 4])
        out[i, 1] = x_v[i] * (-2.0 * v[i] * node[i, 1] - node[i, 5])
    for k in range(source_at.size):
        out[source_at[k], source_q[k]] -= x_s[k]
    for k in range(start.size):
        i = start[k]
        j = stop[k]
        r = jacobian[k]
        d = x_va[i] - x_va[j]
        xf = x_v[i]
        xt = x_v[j]
        out[i, 0] += r[0] * d + r[1] * xf + r[2] * xt
        out[i, 1] += r[3] * d + r[4] * xf + r[5] * xt
        out[j, 0] += r[6] * d + r[7] * xf + r[8] * xt
        out[j, 1] += r[9] * d + r[10] * xf + r[11] * xt
