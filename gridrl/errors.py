"""The exceptions gridrl raises when it is used wrongly or handed something it cannot read.

Failure of physics (a state that diverges, a part of the grid that loses supply) is never an
exception: it is a `FlowStatus` in a result row. Every message names the elements concerned
and says what to do about them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class GridrlError(Exception):
    """Base of everything gridrl raises on purpose."""


class GridError(GridrlError, ValueError):
    """The description of a network contradicts itself or the physics."""


class ElementError(GridrlError, LookupError):
    """A name given by the user fits no element, or more than one."""


class CaseError(GridrlError, ValueError):
    """A case name or file cannot be read as a network."""


class StudyError(GridrlError, ValueError):
    """A study, or an edit in it, makes no sense, contradicts itself or cannot be read."""


class RulesError(GridrlError, ValueError):
    """A rule of an environment has a value that makes no sense."""


class ScenarioError(GridrlError, ValueError):
    """A scenario contradicts itself, its series or its grid."""


class PolicyError(GridrlError, ValueError):
    """There is no such policy, or one of its options makes no sense."""


class MissingExtra(GridrlError, ImportError):
    """An optional dependency is needed; the message gives the install command."""


def offending(mask: NDArray[np.bool_], names: Sequence[str], limit: int = 5) -> str:
    """Name the elements selected by ``mask``, at most ``limit`` of them."""
    picked = [names[int(k)] for k in np.flatnonzero(mask)[: limit + 1]]
    return ", ".join(picked[:limit]) + (", ..." if len(picked) > limit else "")
