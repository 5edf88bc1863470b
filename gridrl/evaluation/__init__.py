"""How good a policy is: the same episodes for all, what they cost, and how sure that is.

`gridrl.evaluation.run.evaluate` plays; `gridrl evaluate` is its command.
"""

from gridrl.evaluation.run import Task, evaluate
from gridrl.evaluation.summary import summarise

__all__ = ["Task", "evaluate", "summarise"]
