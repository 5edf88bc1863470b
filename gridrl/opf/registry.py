"""All solvers behind one call; a solver is one file and one line here."""

from importlib import import_module
from typing import Any

from gridrl.case import Case
from gridrl.errors import GridError
from gridrl.opf.problem import build_problem
from gridrl.opf.solution import OpfSolution

SOLVERS = {
    "interior_point": "gridrl.opf.interior_point",  # ours
    "ipopt": "gridrl.opf.ipopt",
}


def solve(case: Case, solver: str = "interior_point", **settings: Any) -> OpfSolution:
    """Optimal power flow of the case's own switching state.

    Parameters
    ----------
    case
        Grid, switching and loading. Units that may not be dispatched keep their power.
    solver
        One of `SOLVERS`.
    settings
        ``start`` ("auto", "flat", "dc", "flow"), ``warm`` (an `OpfSolution` to begin from), and
        what else the solver's own ``solve`` takes.

    Returns
    -------
    OpfSolution
        In any case; its ``status`` says how it ended, and `gridrl.opf.verify` what it is worth.

    Raises
    ------
    GridError
        No such solver, contradicting limits, or a cost that is not convex.
    MissingExtra
        The solver is not installed.
    """
    if solver not in SOLVERS:
        raise GridError(f"There is no OPF solver '{solver}'. Choose one of {', '.join(SOLVERS)}.")
    solution: OpfSolution = import_module(SOLVERS[solver]).solve(build_problem(case), **settings)
    return solution
