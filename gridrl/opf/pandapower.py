"""pandapower's ``runopp`` and ``rundcopp``: interior points in Python, on models of their own.

``runopp`` limits currents instead of apparent powers and knows no limits of angle differences
(github.com/e2nIEE/pandapower, issue 827), so its optimum is that of another problem: the tag
``AC-I`` says so, and the judge what that does to the limits of this one.
"""

import logging
import time
import warnings
from typing import Any

import numpy as np

from gridrl.grid import Floats
from gridrl.opf.ppc import TOLERANCES, Tables, solution, tables
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus

UNIT_RATIO = 1e-12  # a ratio this close to 1 is that of a line


def solve(problem: OpfProblem, *, init: str = "flat", tolerance: float = 1e-8) -> OpfSolution:
    """Solve with ``runopp``.

    Parameters
    ----------
    problem
        What `gridrl.opf.problem.build_problem` makes of a case.
    init
        Its own: "flat" or "pf".
    tolerance
        As of `gridrl.opf.pypower.solve`, whose solver it is; by its own default, balances would
        be off by more than 1e-6 p.u. here and there.

    Raises
    ------
    GridError
        The grid has something that PYPOWER's tables, from which pandapower's are made, lack.
    """
    return _solve(problem, dc=False, init=init, tolerance=tolerance)


def solve_dc(problem: OpfProblem) -> OpfSolution:
    """Solve with ``rundcopp``: the linear model, without losses and reactive power."""
    return _solve(problem, dc=True)


def _solve(
    problem: OpfProblem, *, dc: bool, init: str = "flat", tolerance: float = 1e-8
) -> OpfSolution:
    began = time.perf_counter()
    said = "rundcopp" if dc else "runopp: limits of current, none of angles"
    n = problem.n_node
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas, on columns that pandapower builds
        import pandapower

        made = tables(problem, "pandapower")
        net, lookup = _network(made)
        v, power = np.full(n, np.nan + 0j), np.full((2, made.unit.size), np.nan)
        prices = np.full((n, 2), np.nan)
        built = time.perf_counter()
        try:
            if dc:
                pandapower.rundcopp(net)
            else:
                exact = dict.fromkeys(TOLERANCES, tolerance)
                pandapower.runopp(net, init=init, **exact)
            status = OpfStatus.OPTIMAL
        except pandapower.OPFNotConverged:
            status, said = OpfStatus.FAILED, f"{said}; did not converge"
        # what its tables and matrices raise on grids that they cannot take
        except (ArithmeticError, ValueError, RuntimeError, IndexError, KeyError) as error:
            status, said = OpfStatus.FAILED, f"{said}; {error}"
    done = time.perf_counter()
    if status is OpfStatus.OPTIMAL:
        bus = net.res_bus.loc[np.arange(n)]
        size = np.ones(n) if dc else bus.vm_pu.to_numpy()
        v = size * np.exp(1j * np.radians(bus.va_degree.to_numpy()))
        power = _powers(net, lookup, made.unit.size)
        if not dc:
            prices[:, 0], prices[:, 1] = bus.lam_p, bus.lam_q
    return solution(
        problem, made, solver="pandapower_dc" if dc else "pandapower", model="DC" if dc else "AC-I",
        status=status, v=v, p_mw=power[0], q_mvar=power[1], prices=prices, iterations=-1,
        build_s=built - began, solve_s=done - built, message=f"pandapower's {said}",
    )  # fmt: skip


def _powers(net: Any, lookup: Any, n_gen: int) -> Floats:
    """[2, n_gen] MW and Mvar of every row of the generators."""
    power = np.zeros((2, n_gen))
    for kind in ("ext_grid", "gen", "sgen"):
        row = np.flatnonzero(lookup.element_type == kind)
        found = net[f"res_{kind}"].loc[lookup.element.to_numpy()[row].astype(np.int64)]
        power[0, row], power[1, row] = found.p_mw, found.q_mvar
    return np.nan_to_num(power)  # the linear model has no reactive power


def _network(made: Tables) -> tuple[Any, Any]:
    """The network of pandapower, and which element stands for which row of the generators."""
    from pandapower.converter.pypower.from_ppc import from_ppc

    bus, branch = made.bus.copy(), made.branch.copy()
    _as_transformers(bus, branch, made.s_base_mva)
    case = {"version": "2", "baseMVA": made.s_base_mva, "bus": bus, "branch": branch,
            "gen": made.gen.copy(), "gencost": made.gencost.copy()}  # fmt: skip
    log = logging.getLogger("pandapower")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        net = from_ppc(case, f_hz=50)
    finally:
        log.setLevel(level)
    net.ext_grid["controllable"] = True  # else it holds the voltage of the reference at 1 p.u.
    return net, net["_from_ppc_lookups"]["gen"]


def _as_transformers(bus: Floats, branch: Floats, s_base_mva: float) -> None:
    """Change the tables to what ``from_ppc`` reads without loss.

    It puts the ratio on the side of higher voltage and takes charging of transformers for
    magnetisation, with the opposite sign: turn branches round, and make shunts of the charging.
    """
    plain = (np.abs(branch[:, 8] - 1.0) < UNIT_RATIO) & (branch[:, 9] == 0)
    start, stop = branch[:, 0].astype(np.int64), branch[:, 1].astype(np.int64)
    plain &= bus[start, 9] == bus[stop, 9]
    branch[plain, 8] = 0.0
    turned = np.flatnonzero(~plain & (bus[start, 9] < bus[stop, 9]))
    ratio = np.where(plain, 1.0, branch[:, 8])
    half = np.where(plain, 0.0, 0.5 * branch[:, 4] * s_base_mva)
    np.add.at(bus[:, 5], start, half / ratio**2)
    np.add.at(bus[:, 5], stop, half)
    branch[~plain, 4] = 0.0
    branch[turned, 0], branch[turned, 1] = stop[turned], start[turned]
    branch[turned, 2:4] *= (ratio[turned] ** 2)[:, None]
    branch[turned, 8] = 1.0 / ratio[turned]
    branch[turned, 9] *= -1.0
