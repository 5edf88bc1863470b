"""From switching actions to the DC screen: which branch ends leave a node together.

A configuration of a substation that is one node takes the group of ends on one of its busbars off
the other. Everything else (a substation split already, a transformer of three windings, a reference
on both busbars) is no case of rank one and is left to the AC power flow.
"""

import numpy as np

from gridrl.actions import CLOSE, CONFIGURE, Actions, connected
from gridrl.case import Case
from gridrl.grid import Bools, Ints
from gridrl.powerflow.sensitivity import Moves


def moves_of(case: Case, actions: Actions) -> tuple[Moves, Ints]:
    """The actions that the DC screen covers, as moves, and which actions they are."""
    grid = case.grid
    n = grid.n_branch
    at = connected(case)
    split_now = np.zeros(grid.n_substation, np.bool_)
    split_now[grid.terminal_substation[case.topology.busbar[0] == 2]] = True
    parts: list[Ints] = []
    units: list[Ints] = []
    covered: list[int] = []
    signs: list[Ints] = []
    here_of: dict[int, Ints] = {}
    for k in range(len(actions)):
        if actions.kind[k] != CONFIGURE:
            branch = np.flatnonzero(grid.branch_element == actions.element[k])
            if branch.size != 1 or not _screened(case, int(branch[0]), actions.kind[k] == CLOSE):
                continue
            group = branch
        else:
            s = int(actions.substation[k])
            if split_now[s]:
                continue
            if s not in here_of:
                here_of[s] = np.flatnonzero((grid.terminal_substation == s) & at)
            found = _group(case, here_of[s], actions.on_busbar2(k))
            if found is None:
                continue
            group = found
        ends = group[group < 2 * n]
        covered.append(k)
        parts.append(ends % n)
        signs.append(np.where(ends < n, 1, -1))
        units.append(group[group >= 2 * n] - 2 * n)
    part_of, part_branch = _stacked(parts)
    unit_of, moved_unit = _stacked(units)
    moves = Moves(
        part_of=part_of, part_branch=part_branch, part_sign=_stacked(signs)[1].astype(np.float64),
        unit_of=unit_of, moved_unit=moved_unit,
    )  # fmt: skip
    return moves, np.array(covered, np.int64)


def _screened(case: Case, branch: int, closing: bool) -> bool:
    """Whether both ends of a branch sit on a busbar already."""
    n = case.grid.n_branch
    busbar = case.topology.busbar[0]
    return not closing or bool(busbar[branch] > 0 and busbar[n + branch] > 0)


def _group(case: Case, here: Ints, on2: Ints) -> Ints | None:
    """The terminals that leave the node: those without the reference, else the fewer branches."""
    grid = case.grid
    n = 2 * grid.n_branch
    is_on2: Bools = np.isin(here, on2, assume_unique=True)
    unit = np.maximum(here - n, 0)
    reference = (here >= n) & grid.is_reference[unit]
    first, second = reference[~is_on2].any(), reference[is_on2].any()
    if first and second:
        return None
    if not first and not second:
        branches = here < n
        second = 2 * (branches & is_on2).sum() > branches.sum()
    return here[~is_on2] if second else here[is_on2]


def _stacked(parts: list[Ints]) -> tuple[Ints, Ints]:
    of = np.concatenate([[0], np.cumsum([part.size for part in parts])]).astype(np.int64)
    flat = np.concatenate(parts) if parts else np.empty(0, np.int64)
    return of, flat.astype(np.int64)
