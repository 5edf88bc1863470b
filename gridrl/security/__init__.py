"""AC N-1 and N-k security: what breaks, by how much, and what loses supply."""

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
