"""Operators that are programs: from a batch of grid states to orders, with their reasons.

>>> import gridrl.policies
>>> gridrl.policies.load("greedy", threshold=0.9).name
'greedy'
"""

from gridrl.policies.policy import Decision, Policy
from gridrl.policies.registry import load, names, parse

__all__ = ["Decision", "Policy", "load", "names", "parse"]
