"""Small changes to a loaded case, by the names that its user knows: open, scale.

Pure functions from `Case` to `Case`; the grid itself is shared, never copied.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from gridrl.case import Case
from gridrl.errors import ElementError, GridError

LOAD_KINDS = frozenset({"load", "motor", "asymmetric_load"})


def open_elements(case: Case, names: Iterable[str]) -> Case:
    """The case with these elements out of service.

    Parameters
    ----------
    case
        Any case.
    names
        Elements as `Grid.find_element` understands them: ``line:12``, a unique name or id. All
        branches of an element open (a three-winding transformer has three), all its units leave
        their busbar (a DC line has two).

    Raises
    ------
    ElementError
        A name fits no element or several, or means one that is out of service already.
    """
    grid = case.grid
    closed = case.topology.closed.copy()
    busbar = case.topology.busbar.copy()
    unit_busbar = busbar[:, 2 * grid.n_branch :]  # a view
    for name in names:
        element = grid.find_element(name)
        branch = grid.branch_element == element
        unit = grid.unit_element == element
        in_service = closed[:, branch].any() or (unit_busbar[:, unit] > 0).any()
        if not in_service:
            raise ElementError(
                f"{grid.element_label[element]} of {grid.name} is out of service already. "
                "Leave it out of the list."
            )
        closed[:, branch] = False
        unit_busbar[:, unit] = 0
    return replace(case, topology=replace(case.topology, busbar=busbar, closed=closed))


def scale_load(case: Case, factor: float) -> Case:
    """The case with active and reactive power of every load multiplied by ``factor``.

    Loads are the units of kind load, motor and asymmetric_load; generation stays, so the
    reference machines cover the difference.

    Raises
    ------
    GridError
        ``factor`` is negative, infinite or not a number.
    """
    if not (np.isfinite(factor) and factor >= 0):
        raise GridError(
            f"The load cannot be scaled by {factor:g}. Give a number of 0 or more; 1 changes "
            "nothing."
        )
    is_load = np.array([kind in LOAD_KINDS for kind in case.grid.unit_kind], dtype=bool)
    scale = np.where(is_load, factor, 1.0)
    injection = replace(case.injection, p=case.injection.p * scale, q=case.injection.q * scale)
    return replace(case, injection=injection)
