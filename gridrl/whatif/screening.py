"""The DC screen of switching actions: which branch ends leave a node together, and what follows.

A configuration of a substation that is one node takes the group of ends on one of its busbars off
the other. Everything else (a substation split already, a transformer of three windings, a reference
on both busbars) is no case of rank one and is left to the AC power flow.
"""

from dataclasses import dataclass

import numpy as np

from gridrl.actions import CLOSE, CONFIGURE, Actions, connected
from gridrl.case import Case
from gridrl.grid import Bools, Floats, Ints, Topology
from gridrl.powerflow.engine import Engine, prepare
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.sensitivity import (
    Losses,
    Moves,
    Sensitivities,
    dc_losses,
    loading_after,
    loading_after_losses,
    sensitivities,
    through,
)
from gridrl.security.contingency import Contingencies
from gridrl.security.topology_result import TopologySecurity

SCREEN_WORK = 8e8  # branch loadings in the screen of outages: some tenths of a second
FINALISTS = 800  # best actions that are screened with all outages, not only the worst
PASSES = 8
DOUBT = 0.02  # loading that the screen may be off


@dataclass(frozen=True, eq=False, kw_only=True)
class Screened:
    """What the DC screen says of every action."""

    value: Floats  # [n_action] worst loading; NaN where the screen does not cover the action
    over: Floats  # [n_action] overloads summed over the losses
    doubtful: Bools  # [n_action] whether it seems to overload or to weaken the intact grid
    worst: Ints  # [n_action, k] contingencies with the highest loadings, -1: none

    def ranking(self) -> Ints:
        """Actions, best first; those that the screen does not cover take every second place."""
        unknown = np.flatnonzero(np.isnan(self.value))
        order = self.best(self.value.size)
        at = np.concatenate([2 * np.arange(order.size), 2 * np.arange(unknown.size) + 1])
        return np.concatenate([order, unknown])[np.argsort(at, kind="stable")]

    def best(self, most: int) -> Ints:
        """So many of the actions that the screen covers, best first."""
        known = np.flatnonzero(~np.isnan(self.value))
        coarse = np.round(self.value[known] * 200.0) + np.where(self.doubtful[known], 1e9, 0.0)
        if most < known.size:
            kept = coarse <= np.partition(coarse, most - 1)[most - 1]
            known, coarse = known[kept], coarse[kept]
        return known[np.lexsort((self.value[known], self.over[known], coarse))][:most]


def screen(
    case: Case, actions: Actions, contingencies: Contingencies, options: FlowOptions, keep: int,
    standing: TopologySecurity,
) -> tuple[Screened, int]:  # fmt: skip
    """The DC screen of all actions, and how many it covered.

    Flows before an action are those of AC power flows, intact and after every loss, wherever these
    have a solution; only what the action changes is DC. ``standing`` is the case itself, solved
    with all contingencies: its worst losses are screened for every action, the others for the
    actions that look best, as far as `SCREEN_WORK` goes.
    """
    moves, covered = moves_of(case, actions)
    engine = prepare(case, options=options)
    base = engine.flow()
    solved = bool(base.solved()[0])
    unit, branch, which = _lost(case, contingencies)
    loading = np.nan_to_num(standing.pair_loading[which], nan=-1.0)
    finalists = min(FINALISTS, len(moves))
    kept = np.sort(np.argsort(-loading, kind="stable")[: _afford(finalists, case)])
    unit, branch, which = unit[kept], branch[kept], which[kept]
    found = sensitivities(
        case, np.concatenate([moves.part_branch, branch[branch >= 0]]),
        s_from=base.s_from[0] if solved else None, s_to=base.s_to[0] if solved else None,
        unit_p=base.unit_power().real if solved else None,
    )  # fmt: skip
    fits = (branch < 0) | (found.column_of[np.maximum(branch, 0)] >= 0)
    unit, branch, which = unit[fits], branch[fits], which[fits]
    losses = dc_losses(found, unit[branch < 0], branch[branch >= 0])
    alone = loading_after(found, moves)
    if solved and which.size:
        losses, kept = _anchored(engine, found, losses)
        which = which[kept]
    highest = np.sqrt(((found.flow**2 + found.q2) * found.inv2).max())
    screened = _blank(actions, standing, keep)
    screened.value[covered] = np.inf
    task = _Task(found, moves, covered, losses, which, alone, max(1.0, float(highest)), keep)
    whole = np.flatnonzero(np.isfinite(alone))
    first = min(_afford(len(moves), case), -(-which.size // 6))
    worst = np.argsort(-np.nan_to_num(standing.pair_loading[which], nan=-1.0), kind="stable")
    _fill(screened, task, whole, np.sort(worst[:first]))
    if first < which.size:
        _refine(screened, task, np.arange(which.size))
    return screened, covered.size


def _afford(n: int, case: Case) -> int:
    """Losses after each of ``n`` actions that half of `SCREEN_WORK` pays for."""
    return max(8, int(SCREEN_WORK / 2 / max(1, n * case.grid.n_branch)))


def _blank(actions: Actions, standing: TopologySecurity, keep: int) -> Screened:
    """Nothing known of any action, but the worst contingencies of the case."""
    n = len(actions)
    screened = Screened(
        value=np.full(n, np.nan), over=np.zeros(n), doubtful=np.zeros(n, np.bool_),
        worst=np.full((n, keep), -1, np.int64),
    )  # fmt: skip
    known = np.argsort(-np.nan_to_num(standing.pair_loading, nan=-1.0), kind="stable")[:keep]
    screened.worst[:, : known.size] = known
    return screened


@dataclass(frozen=True, eq=False)
class _Task:
    """What both passes of a screen share."""

    found: Sensitivities
    moves: Moves
    covered: Ints  # [n_move] the action of each move
    losses: Losses
    which: Ints  # [n_loss] the contingency of each loss
    alone: Floats  # [n_move] highest loading without any loss
    highest: float  # loading of the intact grid that no action should exceed
    keep: int


def _refine(screened: Screened, task: _Task, every: Ints) -> None:
    """Screen the best actions with all losses, until the best are all screened with all.

    A screen with some losses is a lower bound: what has had no more stays behind at the end.
    """
    place = np.full(screened.value.size, -1, np.int64)
    place[task.covered] = np.arange(task.covered.size)
    whole = ~np.isfinite(task.alone)
    each = max(1, FINALISTS * every.size * task.found.case.grid.n_branch)
    for _ in range(min(PASSES, max(1, round(SCREEN_WORK / each)))):
        at = place[screened.best(FINALISTS)]
        new = np.sort(at[~whole[at]])
        if not new.size:
            return
        _fill(screened, task, new, every)
        whole[new] = True
    screened.doubtful[task.covered[~whole]] = True


def _fill(screened: Screened, task: _Task, order: Ints, some: Ints) -> None:
    """Screen the moves ``order`` with the losses ``some``."""
    loading, cuts = loading_after_losses(task.found, task.moves, _some(task.losses, some), order)
    at, alone = task.covered[order], task.alone[order]
    screened.value[at] = np.maximum(alone, loading.max(axis=1, initial=0.0))
    screened.over[at] = np.maximum(loading - 1.0, 0.0).sum(axis=1)
    screened.doubtful[at] = (cuts > 0) | (alone > task.highest + DOUBT)
    most = min(task.keep, some.size)
    if most:
        top = np.argpartition(-loading, most - 1, axis=1)[:, :most]
        screened.worst[at[:, None], np.arange(most)[None, :]] = task.which[some[top]]


def _lost(case: Case, contingencies: Contingencies) -> tuple[Ints, Ints, Ints]:
    """Unit and branch (-1: none) of each contingency that loses just one, units first."""
    b_of, branch, u_of, unit = contingencies.members(case.grid)
    n_branch, n_unit = np.diff(b_of), np.diff(u_of)
    by_unit = np.flatnonzero((n_unit == 1) & (n_branch == 0))
    by_branch = np.flatnonzero((n_branch == 1) & (n_unit == 0))
    none = np.full(by_unit.size + by_branch.size, -1, np.int64)
    lost_unit, lost_branch = none.copy(), none
    lost_unit[: by_unit.size] = unit[u_of[by_unit]]
    lost_branch[by_unit.size :] = branch[b_of[by_branch]]
    return lost_unit, lost_branch, np.concatenate([by_unit, by_branch])


def _some(losses: Losses, kept: Ints) -> Losses:
    return Losses(
        unit=losses.unit[kept], branch=losses.branch[kept], flow=losses.flow[kept],
        q2=losses.q2[kept],
    )  # fmt: skip


def _anchored(engine: Engine, found: Sensitivities, losses: Losses) -> tuple[Losses, Ints]:
    """The losses that have an AC power flow and cut nothing off, with its flows; and which."""
    case, n = engine.case, losses.unit.size
    busbar = np.repeat(case.topology.busbar, n, axis=0)
    closed = np.repeat(case.topology.closed, n, axis=0)
    by_unit, by_branch = np.flatnonzero(losses.unit >= 0), np.flatnonzero(losses.branch >= 0)
    busbar[by_unit, 2 * case.grid.n_branch + losses.unit[by_unit]] = 0
    closed[by_branch, losses.branch[by_branch]] = False
    result = engine.flow(Topology(busbar=busbar, closed=closed))
    lost = losses.branch[by_branch]
    pivot = found.column[found.column_of[lost], lost]
    keep = result.solved()
    keep[by_branch] &= np.abs(pivot) > 1e-7 * np.abs(case.grid.b_dc[lost])
    kept = np.flatnonzero(keep)
    out = _some(losses, kept)
    p, q2 = through(result.s_from[kept], result.s_to[kept])
    out.flow[:, : p.shape[1]], out.q2[:, : p.shape[1]] = np.nan_to_num(p), np.nan_to_num(q2)
    return out, kept


def moves_of(case: Case, actions: Actions) -> tuple[Moves, Ints]:
    """The actions that the DC screen covers, as moves, and which actions they are."""
    grid = case.grid
    n = grid.n_branch
    at = connected(case)
    split_now = np.zeros(grid.n_substation, np.bool_)
    split_now[grid.terminal_substation[case.topology.busbar[0] == 2]] = True
    covered, owners, terminals = _elements(case, actions)
    configured = np.flatnonzero((actions.kind == CONFIGURE) & (np.diff(actions.moved_of) > 0))
    for s in np.unique(actions.substation[configured]):
        if split_now[s]:
            continue
        here = np.flatnonzero((grid.terminal_substation == s) & at)
        which = configured[actions.substation[configured] == s]
        on2 = np.zeros((which.size, here.size), np.bool_)
        of, place = actions.places(which)
        row = np.repeat(np.arange(which.size), np.diff(of))
        on2[row, np.searchsorted(here, actions.moved[place])] = True
        leaving, fits = _leaving(case, here, on2)
        row, column = np.nonzero(leaving[fits])
        owners.append(sum(part.size for part in covered) + row)
        terminals.append(here[column])
        covered.append(which[fits])
    which, owner, terminal = (np.concatenate(parts) for parts in (covered, owners, terminals))
    is_end = terminal < 2 * n
    ends, units = terminal[is_end], terminal[~is_end] - 2 * n
    moves = Moves(
        part_of=_counted(owner[is_end], which.size), part_branch=ends % n,
        part_sign=np.where(ends < n, 1.0, -1.0),
        unit_of=_counted(owner[~is_end], which.size), moved_unit=units,
    )  # fmt: skip
    return moves, which


def _elements(case: Case, actions: Actions) -> tuple[list[Ints], list[Ints], list[Ints]]:
    """Actions on elements of one branch; owners and from ends of these, each a list of one array.

    An element whose ends do not both sit on a busbar is not screened.
    """
    grid = case.grid
    n = grid.n_branch
    which = np.flatnonzero(actions.kind != CONFIGURE)
    element = actions.element[which]
    branch = np.full(grid.n_element, -1, np.int64)
    branch[grid.branch_element] = np.arange(n)
    single = np.bincount(grid.branch_element, minlength=grid.n_element)[element] == 1
    busbar, branch = case.topology.busbar[0], branch[element]
    ready = (busbar[branch] > 0) & (busbar[n + branch] > 0)
    fits = single & (ready | (actions.kind[which] != CLOSE))
    return [which[fits]], [np.arange(int(fits.sum()))], [branch[fits]]


def _counted(owner: Ints, n: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=n))]).astype(np.int64)


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
