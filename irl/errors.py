"""What inverse RL raises when it is handed something that makes no sense.

A fit that does not converge is a result with a reason, never an exception.
"""

from gridrl.errors import GridrlError


class IrlError(GridrlError, ValueError):
    """A decision process, a demonstration, a prior or a message contradicts itself."""
