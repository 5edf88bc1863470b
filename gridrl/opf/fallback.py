"""What happens where our solver finds no optimum: a proof that there is none, or Ipopt.

Which of the two is there depends on what is installed; the message says what was tried, and what
else could be.
"""

from dataclasses import replace
from importlib.util import find_spec

from gridrl.errors import GridError
from gridrl.opf.problem import OpfProblem
from gridrl.opf.solution import OpfSolution, OpfStatus


def rescue(problem: OpfProblem, failed: OpfSolution) -> OpfSolution:
    """The same problem by other means, after our solver has failed.

    Returns
    -------
    OpfSolution
        Ipopt's optimum with ``fallback`` "ipopt"; or what had failed, its status ``INFEASIBLE``
        where that is proved by the cone relaxation, or where a solver converged to a point of
        least violation and none found an optimum.
    """
    said = f"interior_point ended {failed.status.name.lower()} ({failed.message})"
    spent = 0.0
    if find_spec("clarabel") is not None:
        from gridrl.opf import soc

        try:
            relaxed = soc.solve(problem)
        except GridError:  # loads or costs that have no cone
            pass
        else:
            spent += relaxed.build_s + relaxed.solve_s
            if relaxed.status is OpfStatus.INFEASIBLE:
                return replace(
                    failed, status=OpfStatus.INFEASIBLE, proved=True,
                    solve_s=failed.solve_s + spent,
                    message=f"{said}; no dispatch exists: its cone relaxation is proved infeasible",
                )  # fmt: skip
    if find_spec("ipyopt") is None:
        return replace(
            failed, solve_s=failed.solve_s + spent,
            message=f"{said}; Ipopt might do better: pip install 'gridrl[ipopt]'",
        )  # fmt: skip
    from gridrl.opf import ipopt

    other = ipopt.solve(problem)
    spent += other.build_s + other.solve_s
    message = f"{said}; then {other.message}"
    if other.ok:
        return replace(
            other, solver=failed.solver, fallback="ipopt", build_s=failed.build_s,
            solve_s=failed.solve_s + spent, message=message,
        )  # fmt: skip
    either = OpfStatus.INFEASIBLE in (failed.status, other.status)
    return replace(
        failed, status=OpfStatus.INFEASIBLE if either else failed.status,
        solve_s=failed.solve_s + spent, message=message,
    )  # fmt: skip
