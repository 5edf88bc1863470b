"""Optimal power flow: the model, its solvers, and the judge of what they find."""

from gridrl.opf.registry import SOLVERS, solve
from gridrl.opf.solution import OpfSolution, OpfStatus
from gridrl.opf.verify import Verdict, Violation, verify

__all__ = ["SOLVERS", "OpfSolution", "OpfStatus", "Verdict", "Violation", "solve", "verify"]
