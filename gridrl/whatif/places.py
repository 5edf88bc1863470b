"""Which bus, terminal, area or kind a user means; what does not fit is answered with what would."""

import difflib
from collections.abc import Iterable

import numpy as np

from gridrl.errors import ElementError
from gridrl.grid import Bools, Grid, Ints

# Windings of a transformer and ends of a line, by the names in use, counted from 0.
_SIDES = {"from": 0, "to": 1, "hv": 0, "mv": 1, "lv": -1, "1": 0, "2": 1, "3": 2}


def find_substation(grid: Grid, bus: str) -> int:
    """Substation of the bus with this id, label ("12 (West)", as tables show it) or unique name.

    Raises
    ------
    ElementError
        No bus fits, or several of different substations do.
    """
    text = bus.removeprefix("bus:")
    if text in grid.bus_id:
        return int(grid.bus_substation[grid.bus_id.index(text)])
    if text in grid.substation_label:
        return grid.substation_label.index(text)
    named = {
        int(grid.bus_substation[k]) for k, name in enumerate(grid.bus_name) if name and name == text
    }
    if len(named) == 1:
        return named.pop()
    if named:
        choices = ", ".join(grid.substation_bus[s] for s in sorted(named)[:8])
        raise ElementError(f"'{text}' is the name of {len(named)} buses: {choices}. Write its id.")
    known = [*grid.bus_id, *(name for name in grid.bus_name if name)]
    raise ElementError(f"No bus '{text}' in {grid.name}. {nearest(text, known)}")


def nearest(text: str, known: Iterable[str]) -> str:
    """A hint which of ``known`` was meant."""
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    if not known:
        return "There is none."
    more = ", ..." if len(known) > 8 else ""
    return f"There is: {', '.join(known[:8])}{more}."


def area_of_substation(grid: Grid, area: str) -> Bools:
    """[n_substation] whether a substation lies in the area; that of its first bus counts.

    Raises
    ------
    ElementError
        The file has no such area.
    """
    if area not in grid.bus_area:
        known = sorted({name for name in grid.bus_area if name})
        if not known:
            raise ElementError(f"No bus of {grid.name} states an area, so '{area}' means nothing.")
        raise ElementError(f"No area '{area}' in {grid.name}. {nearest(area, known)}")
    inside = np.zeros(grid.n_substation, np.bool_)
    for bus in range(grid.n_bus - 1, -1, -1):
        inside[int(grid.bus_substation[bus])] = grid.bus_area[bus] == area
    return inside


def terminals_at(grid: Grid, substation: int, text: str) -> Ints:
    """Terminals of an element at a substation; ``element@side`` where it has two there.

    Raises
    ------
    ElementError
        The element does not touch the substation, or touches it twice and no side is given.
    """
    name, _, side = text.partition("@")
    element = grid.find_element(name)
    branches = np.flatnonzero(grid.branch_element == element)
    units = np.flatnonzero(grid.unit_element == element)
    n = grid.n_branch
    every = np.concatenate([branches, n + branches, 2 * n + units])
    here = every[grid.terminal_substation[every] == substation]
    label, bus = grid.element_label[element], grid.substation_label[substation]
    if not here.size:
        buses = [grid.substation_label[int(s)] for s in grid.terminal_substation[every]]
        raise ElementError(f"{label} is not connected to bus {bus}, but to {', '.join(buses)}.")
    ends = here[here < 2 * n] if branches.size else here
    if side:
        wanted = winding_terminal(grid, element, side)
        if wanted not in here:
            raise ElementError(f"'{side}' of {label} is not at bus {bus}.")
        return np.asarray([wanted], np.int64)
    twice = ends.size > 1 and (branches.size > 0 or grid.element_kind[element] in _TWO_ENDED)
    if twice:
        raise ElementError(
            f"{label} meets bus {bus} with {ends.size} terminals. Say which, as in {name}@hv "
            "or @1, @2."
        )
    return np.asarray(here, np.int64)


_TWO_ENDED = ("dcline", "hvdc")


def winding_terminal(grid: Grid, element: int, side: str) -> int:
    """Terminal of an element on the side called "from", "to", "hv", "mv", "lv", "1", "2" or "3".

    Raises
    ------
    ElementError
        The element has no such side.
    """
    outer = outer_terminals(grid, element)
    label = grid.element_label[element]
    if side not in _SIDES:
        raise ElementError(f"{label} has no side '{side}'. {nearest(side, _SIDES)}")
    position = _SIDES[side]
    if position >= len(outer) or (side == "mv" and len(outer) < 3):
        raise ElementError(f"{label} has {len(outer)} sides, so '{side}' is none of them.")
    return outer[position]


def outer_terminals(grid: Grid, element: int) -> list[int]:
    """Terminals of an element in the order of its windings, without those at a star point."""
    n = grid.n_branch
    branches = np.flatnonzero(grid.branch_element == element).tolist()
    units = np.flatnonzero(grid.unit_element == element).tolist()
    if not branches:
        return [2 * n + m for m in units]
    ends = [end for k in branches for end in (k, n + k)]
    return [t for t in ends if not grid.is_star[grid.terminal_substation[t]]]
