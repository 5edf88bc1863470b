"""All solvers behind one call; a solver is one file and one line here."""

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import Any

from gridrl.case import Case
from gridrl.errors import GridError
from gridrl.opf.fallback import rescue
from gridrl.opf.problem import OpfProblem, build_problem
from gridrl.opf.solution import OpfSolution, OpfStatus

OURS = "interior_point"
SOLVERS = {
    OURS: "gridrl.opf.multistart:solve",
    "ipopt": "gridrl.opf.ipopt:solve",
    "pypower": "gridrl.opf.pypower:solve",
    "pandapower": "gridrl.opf.pandapower:solve",
    "pandapower_dc": "gridrl.opf.pandapower:solve_dc",
    "highs_dc": "gridrl.opf.highs_dc:solve",
    "highs_switching": "gridrl.opf.highs_switching:solve",
    "soc": "gridrl.opf.soc:solve",
}


def solve(case: Case, solver: str = OURS, *, fallback: bool = True, **settings: Any) -> OpfSolution:
    """Optimal power flow of the case's own switching state.

    Parameters
    ----------
    case
        Grid, switching and loading. Units that may not be dispatched keep their power.
    solver
        One of `SOLVERS`.
    fallback
        Where our own solver finds no optimum, try to prove that there is none (extra ``opf``), and
        else hand over to Ipopt (extra ``ipopt``). ``fallback`` and ``message`` of the solution say
        so.
    settings
        ``start`` ("auto", "flat", "dc", "flow"), ``warm`` (an `OpfSolution` to begin from),
        ``starts`` (of ours: the best of so many), and what else the solver's own ``solve`` takes.

    Returns
    -------
    OpfSolution
        In any case; its ``status`` says how it ended, and `gridrl.opf.verify` what it is worth.

    Raises
    ------
    GridError
        No such solver or setting, contradicting limits, a cost that is not convex, or something in
        the grid that the solver does not know.
    MissingExtra
        The solver is not installed.
    """
    find(solver, settings)
    return solve_problem(build_problem(case), solver, fallback=fallback, **settings)


def solve_problem(
    problem: OpfProblem, solver: str = OURS, *, fallback: bool = True, **settings: Any
) -> OpfSolution:
    """As `solve`, for a problem that is built already."""
    found: OpfSolution = find(solver, settings)(problem, **settings)
    late = found.status is OpfStatus.TIME_LIMIT  # as the user wished
    if fallback and solver == OURS and not found.ok and not late:
        return rescue(problem, found)
    return found


def find(solver: str, settings: dict[str, Any]) -> Callable[..., OpfSolution]:
    """The function behind a name, if it takes these settings."""
    if solver not in SOLVERS:
        raise GridError(f"There is no OPF solver '{solver}'. Choose one of {', '.join(SOLVERS)}.")
    module, _, name = SOLVERS[solver].partition(":")
    function: Callable[..., OpfSolution] = getattr(import_module(module), name)
    known = list(signature(function).parameters)[1:] if settings else []
    for setting in settings:
        if setting not in known:
            raise GridError(
                f"Solver '{solver}' has no setting '{setting}'. It has: "
                f"{', '.join(known) or 'none'}."
            )
    return function
