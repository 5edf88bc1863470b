"""A problem as PYPOWER's tables, for the programs that take those; and the way back.

PYPOWER knows symmetric π branches without conductance, one rating for both ends, and loads of
constant power. What does not fit is refused, with one exception: no-load losses of transformers
become shunts at both ends. Then the ratings do not see them, which the judge would show. A unit
door: its tables hold MW and degrees.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridrl.errors import GridError, offending
from gridrl.grid import Complexes, Floats, Ints
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus

# Relative to the series admittance: files print five digits, and doors compute with all of them.
EXACT = 1e-9
LEAK = 1e-4  # conductance up to this, relative to the same, is a no-load loss
NO_LIMIT = 1e10  # PYPOWER takes this and more for no limit
TOLERANCES = ("PDIPM_FEASTOL", "PDIPM_GRADTOL", "PDIPM_COMPTOL", "PDIPM_COSTTOL")  # of PIPS
FLAT_ANGLE = 1e-9  # degrees: it takes an angle limit of zero for none


@dataclass(frozen=True, eq=False, kw_only=True)
class Tables:
    """PYPOWER's case and which unit stands in which row of its generators."""

    bus: Floats
    branch: Floats
    gen: Floats
    gencost: Floats
    s_base_mva: float
    unit: Ints  # [n_gen]
    by_current: bool  # ratings are of current


def tables(problem: OpfProblem, program: str) -> Tables:
    """The problem as PYPOWER's tables.

    Raises
    ------
    GridError
        Something has no counterpart there; the message names it.
    """
    grid = problem.case.grid
    base = grid.s_base_mva
    drawing = np.flatnonzero((problem.p_current != 0) | (problem.q_current != 0))
    if drawing.size:
        buses = ", ".join(grid.substation_label[k] for k in problem.substation[drawing][:5])
        raise GridError(
            f"{program} knows no loads of constant current, and {drawing.size} buses have some: "
            f"{buses}. Use the solver 'interior_point', or make them constant power."
        )
    chosen = problem.sources.chosen_p | problem.sources.chosen_q
    unit = np.flatnonzero(chosen & (problem.unit_node >= 0))
    branch, leak, by_current = _branches(problem, program)
    bus = _buses(problem, unit)
    for at, share in ((problem.from_node, leak / branch[:, 8] ** 2), (problem.to_node, leak)):
        np.add.at(bus[:, 4], at, share * base)
    return Tables(
        bus=bus, branch=branch, gen=_generators(problem, unit),
        gencost=_costs(problem, unit), s_base_mva=base, unit=unit, by_current=by_current,
    )  # fmt: skip


def _buses(problem: OpfProblem, unit: Ints) -> Floats:
    """Columns: number, type, Pd, Qd, Gs, Bs, area, Vm, Va, kV, zone, Vmax, Vmin."""
    grid, n = problem.case.grid, problem.n_node
    base = grid.s_base_mva
    # chosen units stand among the generators, with all of their power
    fixed = problem.p_fixed + 1j * problem.q_fixed - problem.sources.constant_injection(n)
    bus = np.zeros((n, 13))
    bus[:, 0] = np.arange(n)
    bus[:, 1] = 1
    bus[problem.unit_node[unit], 1] = 2
    bus[problem.reference, 1] = 3
    bus[:, 2], bus[:, 3] = -fixed.real * base, -fixed.imag * base
    bus[:, 4], bus[:, 5] = problem.g_shunt * base, problem.b_shunt * base
    bus[:, 6] = bus[:, 10] = 1
    bus[:, 7] = 1.0
    bus[problem.reference, 8] = np.degrees(problem.reference_angle)
    bus[:, 9] = grid.vn_kv[problem.substation]
    bus[:, 11] = np.where(np.isfinite(problem.v_max), problem.v_max, 10.0)
    bus[:, 12] = problem.v_min
    return bus


def _branches(problem: OpfProblem, program: str) -> tuple[Floats, Floats, bool]:
    """Columns: from, to, r, x, b, rates A B C, ratio, shift, status, angles.

    With the conductance that does not fit in, p.u. at the to end, and whether ratings are of
    current.
    """
    grid, line, m = problem.case.grid, problem.branch, problem.n_line
    y_ff, y_ft, y_tf, y_tt = problem.y.T
    with np.errstate(all="ignore"):
        ratio = np.sqrt(np.abs(y_tt / y_ff))
        shift = 0.5 * np.angle(y_ft / y_tf)
    series = -y_tf * ratio * np.exp(1j * shift)
    # half a turn more has the same quotient; without it, all of y_tt would seem to be charging
    turned = (series * y_tt.conj()).real < 0
    shift = shift + np.pi * turned
    series = np.where(turned, -series, series)
    charging = y_tt - series
    tolerance = EXACT * np.abs(series)
    fits = np.abs(y_ff * ratio**2 - y_tt) <= tolerance
    fits &= np.abs(charging.real) <= LEAK * np.abs(series)
    fits &= np.abs(y_ft * ratio + series * np.exp(1j * shift)) <= tolerance
    if not fits.all():
        wrong = np.zeros(grid.n_branch, dtype=bool)
        wrong[line[~fits]] = True
        raise GridError(
            f"{program} knows only symmetric branches without conductance, which {wrong.sum()} "
            f"are not: {offending(wrong, grid.branch_label)}. Use the solver 'interior_point'."
        )
    impedance = 1.0 / series
    rate, by_current = _ratings(problem, program)
    branch = np.zeros((m, 13))
    branch[:, 0], branch[:, 1] = problem.from_node, problem.to_node
    branch[:, 2], branch[:, 3] = impedance.real, impedance.imag
    branch[:, 4] = 2.0 * charging.imag
    branch[:, 5] = branch[:, 6] = branch[:, 7] = np.where(
        np.isfinite(rate), rate * grid.s_base_mva, 0.0
    )
    branch[:, 8] = ratio
    branch[:, 9] = np.degrees(shift)
    branch[:, 10] = 1
    for column, limit, sign in ((11, problem.angle_min, -1.0), (12, problem.angle_max, 1.0)):
        degrees = np.degrees(limit)
        degrees = np.where(degrees == 0, sign * FLAT_ANGLE, degrees)
        branch[:, column] = np.where(np.isfinite(limit), degrees, sign * 360.0)
    return branch, charging.real, by_current


def _ratings(problem: OpfProblem, program: str) -> tuple[Floats, bool]:
    grid = problem.case.grid
    by_power, by_current = np.isfinite(problem.s_max), np.isfinite(problem.i_max)
    if by_power.any() and by_current.any():
        raise GridError(
            f"{program} limits either power or current, and this grid has branches rated in both "
            "ways. Use the solver 'interior_point'."
        )
    limit = problem.i_max if by_current.any() else problem.s_max
    one_end = np.isfinite(limit[:, 0]) != np.isfinite(limit[:, 1])
    with np.errstate(invalid="ignore"):
        uneven = one_end | (np.abs(limit[:, 0] - limit[:, 1]) > 1e-9 * np.abs(limit[:, 0]))
    uneven &= np.isfinite(limit).any(axis=1)
    if uneven.any():
        wrong = np.zeros(grid.n_branch, dtype=bool)
        wrong[problem.branch[uneven]] = True
        raise GridError(
            f"{program} knows one rating for both ends of a branch, and {wrong.sum()} have two: "
            f"{offending(wrong, grid.branch_label)}. Use the solver 'interior_point'."
        )
    return limit[:, 0], bool(by_current.any())


def _generators(problem: OpfProblem, unit: Ints) -> Floats:
    """Columns: bus, P, Q, Qmax, Qmin, Vg, base, status, Pmax, Pmin, and eleven more."""
    grid, sources = problem.case.grid, problem.sources
    base = grid.s_base_mva
    gen = np.zeros((unit.size, 21))
    gen[:, 0] = problem.unit_node[unit]
    gen[:, 5] = 1.0
    gen[:, 6] = base
    gen[:, 7] = 1
    for chosen, low, high, given, (lowest, highest) in (
        (sources.chosen_p, grid.p_min, grid.p_max, problem.case.injection.p[0], (9, 8)),
        (sources.chosen_q, grid.q_min, grid.q_max, problem.case.injection.q[0], (4, 3)),
    ):
        for column, limit in ((lowest, low), (highest, high)):
            value = np.where(chosen[unit], limit[unit], given[unit])
            gen[:, column] = np.clip(value * base, -NO_LIMIT, NO_LIMIT)
    return gen


def _costs(problem: OpfProblem, unit: Ints) -> Floats:
    """Columns: model, startup, shutdown, n, then n coefficients or points; first P, then Q."""
    costs, base = problem.case.grid.costs, problem.case.grid.s_base_mva
    count = np.diff(costs.point_start)
    width = max(2 * int(count.max(initial=0)), costs.coefficient.shape[1], 2)
    row_of = {int(u): k for k, u in enumerate(unit)}
    both = bool(costs.of_reactive.any())
    gencost = np.zeros((unit.size * (1 + both), 4 + width))
    gencost[:, 0], gencost[:, 3] = 2, 2
    for k in range(costs.n_cost):
        if int(costs.unit[k]) not in row_of:
            continue
        row = gencost[row_of[int(costs.unit[k])] + unit.size * int(costs.of_reactive[k])]
        if count[k]:
            here = slice(costs.point_start[k], costs.point_start[k + 1])
            row[0], row[3] = 1, count[k]
            row[4 : 4 + 2 * count[k] : 2] = costs.point_power[here] * base
            row[5 : 5 + 2 * count[k] : 2] = costs.point_cost[here]
            continue
        terms = costs.coefficient[k] / base ** np.arange(costs.coefficient.shape[1])
        row[3] = terms.size
        row[4 : 4 + terms.size] = terms[::-1]
    return gencost


def solution(
    problem: OpfProblem,
    made: Tables,
    *,
    solver: str,
    model: str,
    status: OpfStatus,
    v: Complexes,
    p_mw: Floats,
    q_mvar: Floats,
    prices: NDArray[np.float64],
    iterations: int,
    build_s: float,
    solve_s: float,
    message: str,
) -> OpfSolution:
    """What a program found as a solution of the case.

    ``v`` [n_node] p.u.; ``p_mw``, ``q_mvar`` [n_gen]; ``prices`` [n_node, 2] currency/h per MW
    and Mvar.
    """
    grid = problem.case.grid
    base = grid.s_base_mva
    at = (problem.substation, problem.busbar)
    voltage = np.full((grid.n_substation, 2), np.nan + 0j)
    voltage[at] = v
    price = np.full((2, grid.n_substation, 2), np.nan)
    price[0][at], price[1][at] = prices[:, 0] * base, prices[:, 1] * base
    p, q = problem.unit_powers(np.abs(v), np.zeros(problem.sources.n))
    for power, chosen, found in (
        (p, problem.sources.chosen_p, p_mw),
        (q, problem.sources.chosen_q, q_mvar),
    ):
        mine = chosen[made.unit]
        power[made.unit[mine]] = found[mine] / base
    if status is OpfStatus.OPTIMAL and problem.lost_demand.any():
        status = OpfStatus.ISLANDED
    return OpfSolution(
        case=problem.case, solver=solver, model=model, status=status, p=p, q=q, v=voltage,
        price_p=price[0], price_q=price[1], iterations=iterations, start="flat",
        build_s=build_s, solve_s=solve_s, message=message,
    )  # fmt: skip
