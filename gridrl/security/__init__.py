"""AC N-1 and N-k security: what breaks, by how much, and what loses supply.

The package can be called: ``gridrl.security(case)`` is `gridrl.security.security(case)`, in
whatever order its parts were imported (docs/decisions/0002).
"""

import sys
from types import ModuleType
from typing import Any

from gridrl.security.contingency import Contingencies, n_minus_1, read_contingencies
from gridrl.security.result import SecurityOptions, SecurityResult
from gridrl.security.sweep import security

__all__ = [
    "Contingencies",
    "SecurityOptions",
    "SecurityResult",
    "n_minus_1",
    "read_contingencies",
    "security",
]


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> SecurityResult:
        return security(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
