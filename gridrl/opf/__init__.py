"""Optimal power flow: the model, its solvers, and the judge of what they find."""

from gridrl.opf.solution import OpfSolution, OpfStatus
from gridrl.opf.verify import Verdict, Violation, verify

__all__ = ["OpfSolution", "OpfStatus", "Verdict", "Violation", "verify"]
