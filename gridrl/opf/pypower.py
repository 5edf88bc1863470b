"""PYPOWER's ``runopf``: the interior point PIPS in Python, on the same model as ours."""

import io
import time
import warnings
from contextlib import redirect_stdout

import numpy as np

from gridrl.errors import GridError, MissingExtra
from gridrl.opf.ppc import TOLERANCES, solution, tables
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus


def solve(
    problem: OpfProblem, *, tolerance: float = 1e-6, max_iterations: int = 150
) -> OpfSolution:
    """Solve with PYPOWER.

    Parameters
    ----------
    problem
        What `gridrl.opf.problem.build_problem` makes of a case.
    tolerance
        PIPS's four tolerances: feasibility (5e-6 by its own default), gradient, complementarity,
        change of the cost. With less than 1e-6 it ends on some grids at the optimum, and does not
        notice.
    max_iterations
        PIPS stops after so many.

    Raises
    ------
    MissingExtra
        PYPOWER is not installed.
    GridError
        The grid has something that PYPOWER's tables cannot express.
    """
    try:
        from pypower.api import ppoption, runopf
    except ImportError as missing:
        raise MissingExtra(
            "Solver 'pypower' needs PYPOWER: pip install 'gridrl[opf]'."
        ) from missing
    if problem.reference.size > 1:
        raise GridError(
            f"PYPOWER solves one island, and this state has {problem.reference.size}. Use the "
            "solver 'interior_point'."
        )
    began = time.perf_counter()
    made = tables(problem, "PYPOWER")
    case = {
        "version": "2", "baseMVA": made.s_base_mva, "bus": made.bus, "branch": made.branch,
        "gen": made.gen, "gencost": made.gencost,
    }  # fmt: skip
    exact = dict.fromkeys(TOLERANCES, tolerance)
    options = ppoption(
        VERBOSE=0, OUT_ALL=0, OPF_FLOW_LIM=2 if made.by_current else 0,
        PDIPM_MAX_IT=max_iterations, **exact,
    )  # fmt: skip
    built = time.perf_counter()
    # it prints, and divides by zero on its way out of hopeless points
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = runopf(case, options)
            broken = ""
        except (ArithmeticError, ValueError, RuntimeError, IndexError) as error:
            found, broken = None, str(error)
    done = time.perf_counter()
    n = problem.n_node
    if found is None:
        bus, gen, iterations = np.full((n, 15), np.nan), np.full((made.unit.size, 10), np.nan), -1
        status = OpfStatus.FAILED
    else:
        bus, gen = found["bus"], found["gen"]
        iterations = int(found["raw"]["output"].get("iterations", -1))
        limit = iterations >= max_iterations
        status = OpfStatus.ITERATION_LIMIT if limit else OpfStatus.FAILED
        if found["success"]:
            status = OpfStatus.OPTIMAL
    return solution(
        problem, made, solver="pypower", model="AC-I" if made.by_current else "AC-S",
        status=status, v=bus[:, 7] * np.exp(1j * np.radians(bus[:, 8])),
        p_mw=gen[:, 1], q_mvar=gen[:, 2], prices=bus[:, 13:15], iterations=iterations,
        build_s=built - began, solve_s=done - built,
        message=f"PYPOWER's PIPS{': ' + broken if broken else ''}",
    )  # fmt: skip
