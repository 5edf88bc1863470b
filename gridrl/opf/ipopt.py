"""Ipopt as the wheels of ``ipyopt`` ship it (linear solver MUMPS), with our derivatives.

Independent of our solver from the Newton system on; the model and its first and second
derivatives are the same, which is what makes times comparable.
"""

import time
from typing import Any

import numpy as np

from gridrl.errors import MissingExtra
from gridrl.grid import Floats, Ints
from gridrl.jit import announced
from gridrl.opf.arrange import FAR, Arranged, arrange, solution
from gridrl.opf.kernels_model import cost_slopes, derivatives, evaluate
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus
from gridrl.opf.start import choose_start

# Ipopt's return codes (IpReturnCodes_inc.h)
_STATUS = {
    0: OpfStatus.OPTIMAL,
    1: OpfStatus.OPTIMAL,
    2: OpfStatus.INFEASIBLE,
    -1: OpfStatus.ITERATION_LIMIT,
    -4: OpfStatus.TIME_LIMIT,
    -5: OpfStatus.TIME_LIMIT,
}


def solve(
    problem: OpfProblem,
    *,
    start: str = "flat",
    warm: OpfSolution | None = None,
    tolerance: float = 1e-8,
    time_limit_s: float = np.inf,
    options: dict[str, Any] | None = None,
) -> OpfSolution:
    """Solve with Ipopt.

    Parameters
    ----------
    problem
        What `gridrl.opf.problem.build_problem` makes of a case.
    start, warm
        As for `gridrl.opf.interior_point.solve`.
    tolerance
        Ipopt's ``tol``.
    time_limit_s
        Of wall time.
    options
        Any options of Ipopt.

    Raises
    ------
    MissingExtra
        ``ipyopt`` is not installed.
    """
    try:
        import ipyopt
    except ImportError as missing:
        raise MissingExtra("Solver 'ipopt' needs ipyopt: pip install 'gridrl[ipopt]'.") from missing
    began = time.perf_counter()
    with announced("optimal power flow model"):
        model = _Model(problem, arrange(problem))
        first = choose_start(problem, "flat" if start == "auto" else start, warm)
    iterations = [0]

    def count(_mode: int, iteration: int, *_rest: float) -> bool:
        iterations[0] = iteration
        return True

    # It would widen limits by 1e-8 and clip the solution in the end, which unbalances nodes by up
    # to 1e-4 p.u.
    settings: dict[str, Any] = {"print_level": 0, "sb": "yes", "tol": tolerance}
    settings |= {"bound_relax_factor": 0.0}
    if np.isfinite(time_limit_s):
        settings["max_wall_time"] = float(time_limit_s)
    nlp = ipyopt.Problem(
        *model.bounds(), model.jacobian_places(), model.hessian_places(),
        model.cost, model.gradient, model.constraints, model.jacobian, model.hessian,
        intermediate_callback=count,
        ipopt_options=settings | (options or {}),
    )  # fmt: skip
    built = time.perf_counter()
    node = model.arranged.node
    x = np.concatenate([first.va[node], first.v[node], first.s])
    x = np.clip(x, model.low, model.high)
    multipliers = np.zeros(model.n_constraint)
    x, _cost, code = nlp.solve(x, mult_g=multipliers)
    done = time.perf_counter()
    n = problem.n_node
    return solution(
        problem, model.arranged, solver="ipopt", status=_STATUS.get(code, OpfStatus.FAILED),
        va=x[:n], v=x[n : 2 * n], s=x[2 * n :],
        prices=np.ascontiguousarray(multipliers[: 2 * n].reshape(n, 2)),
        iterations=iterations[0], start=first.name, build_s=built - began, solve_s=done - built,
        message=f"Ipopt with MUMPS as the wheel of ipyopt ships it, return code {code}",
    )  # fmt: skip


class _Model:
    """Callbacks of Ipopt: variables are angles, voltages, sources; constraints balances, limits.

    The only state is the point last evaluated, so that flows are computed once for each.
    """

    def __init__(self, problem: OpfProblem, arranged: Arranged) -> None:
        self.arranged = arranged
        n, m, ns = problem.n_node, problem.n_line, problem.sources.n
        self.n, self.m, self.ns = n, m, ns
        net = arranged.net
        self.start, self.stop = net[0].astype(np.int64), net[1].astype(np.int64)
        low, high = net[8], net[9]
        va_low, va_high = np.full(n, -FAR), np.full(n, FAR)
        held = arranged.row[problem.reference]
        va_low[held] = va_high[held] = problem.reference_angle
        self.low = np.concatenate([va_low, low[: n + ns]])
        self.high = np.concatenate([va_high, high[: n + ns]])
        o = 2 * n + 2 * ns + 2 * m
        self.rated = np.flatnonzero(arranged.active[o : o + m])
        self.angled = np.flatnonzero(
            arranged.active[o - 2 * m : o - m] | arranged.active[o - m : o]
        )
        self.angle_low, self.angle_high = low[n + ns :][self.angled], high[n + ns :][self.angled]
        self.n_constraint = 2 * n + 2 * self.rated.size + self.angled.size
        self.g, self.h, self.flow = (
            np.zeros((n, 2)),
            np.zeros(arranged.active.size),
            np.zeros((m, 8)),
        )
        self.parts = (np.zeros((m, 12)), np.zeros((m, 6)), np.zeros((m, 6)), np.zeros(n))
        self.slope, self.bend = np.zeros(ns), np.zeros(ns)
        self.price = np.zeros(arranged.active.size)
        self.value = 0.0
        self.x = np.full(2 * n + ns, np.nan)

    def _at(self, x: Floats) -> None:
        if not np.array_equal(x, self.x):
            self.x = x.copy()
            n = self.n
            self.value = evaluate(
                self.arranged.net, self.x[:n], self.x[n : 2 * n], self.x[2 * n :],
                self.g, self.h, self.flow,
            )  # fmt: skip

    def bounds(self) -> tuple[int, Floats, Floats, int, Floats, Floats]:
        size = 2 * self.rated.size
        zero = np.zeros(2 * self.n)
        g_low = np.concatenate([zero, np.full(size, -FAR), self.angle_low])
        g_high = np.concatenate([zero, np.zeros(size), self.angle_high])
        return self.low.size, self.low, self.high, self.n_constraint, g_low, g_high

    def cost(self, x: Floats) -> float:
        self._at(x)
        return self.value

    def gradient(self, x: Floats, out: Floats) -> None:
        cost_slopes(self.arranged.net[7], x[2 * self.n :], self.slope, self.bend)
        out[: 2 * self.n] = 0.0
        out[2 * self.n :] = self.slope

    def constraints(self, x: Floats, out: Floats) -> None:
        self._at(x)
        n, size = self.n, self.rated.size
        o = 2 * n + 2 * self.ns + 2 * self.m
        out[: 2 * n] = self.g.ravel()
        out[2 * n : 2 * n + size] = self.h[o + self.rated]
        out[2 * n + size : 2 * n + 2 * size] = self.h[o + self.m + self.rated]
        out[2 * n + 2 * size :] = (x[self.start] - x[self.stop])[self.angled]

    def _columns(self, lines: Ints) -> list[Ints]:
        """Variables of a branch: both angles, both voltages."""
        start, stop = self.start[lines], self.stop[lines]
        return [start, stop, self.n + start, self.n + stop]

    def jacobian_places(self) -> tuple[Ints, Ints]:
        n, size = self.n, self.rated.size
        net = self.arranged.net
        node, source = np.arange(n), np.arange(self.ns)
        every = np.arange(self.m)
        rows = [2 * node, 2 * node + 1, 2 * net[5].astype(np.int64) + net[6].astype(np.int64)]
        columns = [n + node, n + node, 2 * n + source]
        for at in (2 * self.start, 2 * self.start + 1, 2 * self.stop, 2 * self.stop + 1):
            rows += [at] * 4
            columns += self._columns(every)
        for side in range(2):
            rows += [2 * n + side * size + np.arange(size)] * 4
            columns += self._columns(self.rated)
        rows += [2 * n + 2 * size + np.arange(self.angled.size)] * 2
        columns += self._columns(self.angled)[:2]
        return np.concatenate(rows), np.concatenate(columns)

    def _derive(self, x: Floats, balance: Floats, price: Floats) -> None:
        self._at(x)
        derivatives(
            self.arranged.net, self.x[self.n : 2 * self.n], self.flow, balance, price, *self.parts
        )

    def jacobian(self, x: Floats, out: Floats) -> None:
        n = self.n
        self._derive(x, np.zeros((n, 2)), self.price)
        jac, limits = self.parts[0], self.parts[1][self.rated]
        node = self.arranged.net[4]
        v = x[n : 2 * n]
        values = [2 * v * node[:, 0] - node[:, 4], -2 * v * node[:, 1] - node[:, 5]]
        values.append(np.full(self.ns, -1.0))
        for table, count in ((jac, 4), (limits, 2)):
            for k in range(count):
                by_angle, by_from, by_to = table[:, 3 * k : 3 * k + 3].T
                values += [by_angle, -by_angle, by_from, by_to]
        values += [np.ones(self.angled.size), -np.ones(self.angled.size)]
        np.concatenate(values, out=out)

    def hessian_places(self) -> tuple[Ints, Ints]:
        n = self.n
        node, source = np.arange(n), np.arange(self.ns)
        va_f, va_t, v_f, v_t = self._columns(np.arange(self.m))
        rows, columns = [n + node, 2 * n + source], [n + node, 2 * n + source]
        for a, b in ((va_f, va_f), (va_f, va_t), (va_t, va_t), (v_f, va_f), (v_f, va_t),
                     (v_t, va_f), (v_t, va_t), (v_f, v_f), (v_f, v_t), (v_t, v_t)):  # fmt: skip
            rows.append(np.maximum(a, b))
            columns.append(np.minimum(a, b))
        return np.concatenate(rows), np.concatenate(columns)

    def hessian(self, x: Floats, multipliers: Floats, factor: float, out: Floats) -> None:
        n, size = self.n, self.rated.size
        o = 2 * n + 2 * self.ns + 2 * self.m
        price = np.zeros_like(self.price)
        price[o + self.rated] = multipliers[2 * n : 2 * n + size]
        price[o + self.m + self.rated] = multipliers[2 * n + size : 2 * n + 2 * size]
        balance = np.ascontiguousarray(multipliers[: 2 * n].reshape(n, 2))
        self._derive(x, balance, price)
        cost_slopes(self.arranged.net[7], x[2 * n :], self.slope, self.bend)
        h00, h01, h02, h11, h12, h22 = self.parts[2].T
        np.concatenate(
            [
                self.parts[3],
                factor * self.bend,
                h00,
                -h00,
                h00,
                h01,
                -h01,
                h02,
                -h02,
                h11,
                h12,
                h22,
            ],
            out=out,
        )
