"""Optimal power flow: the model, its solvers, and the judge of what they find."""

from gridrl.opf.batch import OpfBatch, solve_many
from gridrl.opf.registry import SOLVERS, solve
from gridrl.opf.solution import OpfSolution, OpfStatus, PrimalDual
from gridrl.opf.verify import Verdict, Violation, verify

__all__ = [
    "SOLVERS",
    "OpfBatch",
    "OpfSolution",
    "OpfStatus",
    "PrimalDual",
    "Verdict",
    "Violation",
    "solve",
    "solve_many",
    "verify",
]
