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
    groups: list[Ints] = []
    covered: list[Ints] = []
    for k in np.flatnonzero(actions.kind != CONFIGURE):
        branch = np.flatnonzero(grid.branch_element == actions.element[k])
        if branch.size == 1 and _screened(case, int(branch[0]), actions.kind[k] == CLOSE):
            groups.append(branch)
            covered.append(np.array([k]))
    configured = np.flatnonzero((actions.kind == CONFIGURE) & (np.diff(actions.moved_of) > 0))
    for s in np.unique(actions.substation[configured]):
        if split_now[s]:
            continue
        here = np.flatnonzero((grid.terminal_substation == s) & at)
        which = configured[actions.substation[configured] == s]
        on2 = np.zeros((which.size, here.size), np.bool_)
        first, last = actions.moved_of[which], actions.moved_of[which + 1]
        row = np.repeat(np.arange(which.size), last - first)
        moved = np.concatenate([actions.moved[a:b] for a, b in zip(first, last, strict=True)])
        on2[row, np.searchsorted(here, moved)] = True
        leaving, fits = _leaving(case, here, on2)
        groups += [here[mask] for mask in leaving[fits]]
        covered.append(which[fits])
    of, terminal = _stacked(groups)
    is_end = terminal < 2 * n
    ends, units = terminal[is_end], terminal[~is_end] - 2 * n
    owner = np.repeat(np.arange(len(groups)), np.diff(of))
    moves = Moves(
        part_of=_counted(owner[is_end], len(groups)), part_branch=ends % n,
        part_sign=np.where(ends < n, 1.0, -1.0),
        unit_of=_counted(owner[~is_end], len(groups)), moved_unit=units,
    )  # fmt: skip
    return moves, _stacked(covered)[1]


def _counted(owner: Ints, n: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=n))]).astype(np.int64)


def _screened(case: Case, branch: int, closing: bool) -> bool:
    """Whether both ends of a branch sit on a busbar already."""
    n = case.grid.n_branch
    busbar = case.topology.busbar[0]
    return not closing or bool(busbar[branch] > 0 and busbar[n + branch] > 0)


def _leaving(case: Case, here: Ints, on2: Bools) -> tuple[Bools, Bools]:
    """[n, terminals] which leave the node: those without the reference, else the fewer branches.

    And [n] whether one of the two groups has no reference.
    """
    grid = case.grid
    n = 2 * grid.n_branch
    reference = (here >= n) & grid.is_reference[np.maximum(here - n, 0)]
    first, second = (reference & ~on2).any(axis=1), (reference & on2).any(axis=1)
    many = 2 * ((here < n) & on2).sum(axis=1) > (here < n).sum()
    other = second | (~first & many)
    return np.asarray(np.where(other[:, None], ~on2, on2)), np.asarray(~(first & second))


def _stacked(parts: list[Ints]) -> tuple[Ints, Ints]:
    of = np.concatenate([[0], np.cumsum([part.size for part in parts])]).astype(np.int64)
    flat = np.concatenate(parts) if parts else np.empty(0, np.int64)
    return of, flat.astype(np.int64)
