"""Search for switching actions: screened by DC sensitivities, then decided by AC power flows.

Every action and every outage after it is screened (DC, around the AC flows of the present state).
The best of these are solved in AC with their worst outages; what looks best then is solved with all
outages, best first, until nothing left can be better. Combinations of two are tried among the best.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

from gridrl.actions import Actions, apply_actions
from gridrl.case import Case
from gridrl.grid import Bools, Floats, Ints, Topology
from gridrl.powerflow.engine import Engine, prepare
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.sensitivity import (
    Losses,
    Sensitivities,
    dc_losses,
    loading_after,
    loading_after_losses,
    sensitivities,
    through,
)
from gridrl.security.contingency import Contingencies
from gridrl.security.topologies import TopologySecurity, secure_topologies, taken_together
from gridrl.whatif.outlook import REFUSED, Reference, excess, order_of, values
from gridrl.whatif.screening import moves_of

SCREEN_WORK = 3e10  # branch loadings in the screen of outages: some ten seconds
BATCH = 8  # states proved at a time
PARTNERS = 14  # actions that combinations are made of
PAIR_OUTAGES = 6
DOUBT = 0.02  # loading that the screen may be off
MOST_TRIED = 500  # actions solved in AC: more of them never held the best one

Chosen = tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Screened:
    """What the DC screen says of every action."""

    value: Floats  # [n_action] worst loading; NaN where the screen does not cover the action
    over: Floats  # [n_action] overloads summed over the losses
    doubtful: Bools  # [n_action] whether it seems to overload or to weaken the intact grid
    worst: Ints  # [n_action, k] contingencies with the highest loadings, -1: none

    def ranking(self) -> Ints:
        """Actions, best first; those that the screen does not cover come first, to be solved."""
        value = np.where(np.isnan(self.value), -1.0, self.value)
        return np.lexsort((value, self.over, np.round(value * 200.0), self.doubtful))


class Proposer(Protocol):
    """Names the actions worth an AC power flow; a learned policy plugs in here."""

    def propose(self, case: Case, actions: Actions, screened: Screened) -> Ints:
        """Indices of actions, most promising first."""
        ...


class ScreenProposer:
    """The order of the DC screen."""

    def propose(self, case: Case, actions: Actions, screened: Screened) -> Ints:  # noqa: ARG002
        return screened.ranking()


@dataclass(eq=False, kw_only=True)
class Search:
    """What a search found: combinations of actions with all their contingencies solved."""

    actions: Actions
    chosen: list[Chosen]  # [n]
    found: TopologySecurity | None  # [n]
    value: Floats  # [n] see `gridrl.whatif.outlook.values`
    over: Floats  # [n]
    screened: int = 0  # actions in the DC screen
    solves: int = 0  # AC power flows
    exhaustive: int = 0  # those that solving every action would take


def screen(
    case: Case, actions: Actions, contingencies: Contingencies, options: FlowOptions, keep: int
) -> tuple[Screened, int]:
    """The DC screen of all actions, and how many it covered.

    Flows before an action are those of AC power flows, intact and after every loss, wherever these
    have a solution; only what the action changes is DC.
    """
    moves, covered = moves_of(case, actions)
    engine = prepare(case, options=options)
    base = engine.flow()
    solved = bool(base.solved()[0])
    unit, branch, which = _lost(case, contingencies)
    found = sensitivities(
        case, np.concatenate([moves.part_branch, branch[branch >= 0]]),
        s_from=base.s_from[0] if solved else None, s_to=base.s_to[0] if solved else None,
        unit_p=base.unit_power().real if solved else None,
    )  # fmt: skip
    fits = (branch < 0) | (found.column_of[np.maximum(branch, 0)] >= 0)
    unit, branch, which = unit[fits], branch[fits], which[fits]
    losses = dc_losses(found, unit[branch < 0], branch[branch >= 0])
    alone = loading_after(found, moves)
    order = np.flatnonzero(np.isfinite(alone))
    alone = alone[order]
    afford = max(8, int(SCREEN_WORK / max(1, order.size * found.inv2.size)))
    if which.size > afford:
        worst = ((losses.flow**2 + losses.q2) * found.inv2).max(axis=1)
        kept = np.sort(np.argsort(-worst, kind="stable")[:afford])
        losses, which = _some(losses, kept), which[kept]
    if solved:
        losses, kept = _anchored(engine, found, losses)
        which = which[kept]
    loading, cuts = loading_after_losses(found, moves, losses, order)
    n = len(actions)
    screened = Screened(
        value=np.full(n, np.nan), over=np.zeros(n), doubtful=np.zeros(n, np.bool_),
        worst=np.full((n, keep), -1, np.int64),
    )  # fmt: skip
    screened.value[covered] = np.inf
    at = covered[order]
    screened.value[at] = np.maximum(alone, loading.max(axis=1, initial=0.0))
    screened.over[at] = np.maximum(loading - 1.0, 0.0).sum(axis=1)
    highest = np.sqrt(((found.flow**2 + found.q2) * found.inv2).max())
    screened.doubtful[at] = (cuts > 0) | (alone > max(1.0, highest) + DOUBT)
    most = min(keep, which.size)
    if most:
        top = np.argpartition(-loading, most - 1, axis=1)[:, :most]
        screened.worst[at[:, None], np.arange(most)[None, :]] = which[top]
    return screened, covered.size


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


def search(
    case: Case,
    actions: Actions,
    contingencies: Contingencies,
    reference: Reference,
    *,
    options: FlowOptions,
    share: float,
    pairs: bool,
    enough: int,
    proposer: Proposer,
    progress: Callable[[str], None] = lambda _: None,
) -> Search:
    """Find the actions, and combinations of two, with the lowest worst loading.

    Parameters
    ----------
    share
        AC power flows that may be spent, of those that solving every action would take.
    enough
        Actions to prove with all contingencies even if the first is known to be best.
    """
    each = len(contingencies)
    exhaustive = len(actions) * (each + 1)
    budget = int(share * exhaustive)
    keep = min(8, max(3, each // 6)) if each else 0
    progress(f"screening {len(actions)} actions")
    screened, covered = screen(case, actions, contingencies, options, keep)
    ranking = proposer.propose(case, actions, screened)
    out = Search(
        actions=actions, chosen=[], found=None, value=np.empty(0), over=np.empty(0),
        screened=covered, exhaustive=exhaustive, solves=each + 1,
    )  # fmt: skip
    part = 0.72 if pairs else 1.0
    count = min(ranking.size, MOST_TRIED, max(1, int(0.6 * part * budget / (1 + keep))))
    tried: list[Chosen] = [(int(k),) for k in ranking[:count]]
    progress(f"solving the {count} most promising with their worst outages")
    _try(case, out, tried, screened.worst[ranking[:count]], contingencies, reference, options,
         int(part * budget), enough)  # fmt: skip
    if pairs and (out.value.size == 0 or out.value.min() > 1.0):
        progress("combining two")
        combined, worst = _pairs(out, screened)
        room = max(0, (budget - out.solves - enough // 2 * each) // (1 + PAIR_OUTAGES))
        _try(case, out, combined[:room], worst[:room], contingencies, reference, options, budget,
             max(1, enough // 2))  # fmt: skip
    return out


def _try(
    case: Case, out: Search, tried: list[Chosen], worst: Ints, contingencies: Contingencies,
    reference: Reference, options: FlowOptions, budget: int, enough: int,
) -> None:  # fmt: skip
    """Solve combinations with their worst contingencies, then the best of them with all."""
    if not tried:
        return
    of = np.concatenate([[0], np.cumsum((worst >= 0).sum(axis=1))]).astype(np.int64)
    topology = apply_actions(case, out.actions, tried)
    known = secure_topologies(
        case, topology, contingencies, only=(of, worst[worst >= 0]), options=options
    )
    out.solves += known.solves
    bound = values(known, reference)
    order = [k for k in order_of(bound, excess(known)) if bound[k] < REFUSED]
    best = out.value.min() if out.value.size else np.inf
    done = 0
    each = len(contingencies) + 1
    for begin in range(0, len(order), BATCH):
        room = max((budget - out.solves) // each, min(2, enough) - done)
        batch = [k for k in order[begin : begin + BATCH] if bound[k] < best or done < enough][:room]
        if not batch:
            break
        chosen = [tried[k] for k in batch]
        proved = secure_topologies(
            case, apply_actions(case, out.actions, chosen), contingencies, options=options
        )
        out.solves += proved.solves
        out.chosen += chosen
        out.found = proved if out.found is None else taken_together([out.found, proved])
        value = values(proved, reference)
        out.value = np.concatenate([out.value, value])
        out.over = np.concatenate([out.over, excess(proved)])
        best = min(best, float(value.min()))
        done += len(batch)


def _pairs(out: Search, screened: Screened) -> tuple[list[Chosen], Ints]:
    """Combinations of two of the best actions, most promising first, with outages to try."""
    order = order_of(out.value, out.over)
    partners = [out.chosen[k][0] for k in order if out.value[k] < REFUSED]
    seen = set(partners)
    partners += [int(k) for k in screened.ranking()[: 4 * PARTNERS] if int(k) not in seen]
    partners = _spread(out.actions, partners)[:PARTNERS]
    rank = {k: at for at, k in enumerate(partners)}
    found: list[Chosen] = [
        pair for pair in combinations(partners, 2) if out.actions.compatible(*pair)
    ]
    found.sort(key=lambda pair: rank[pair[0]] + rank[pair[1]])
    worst = np.full((len(found), PAIR_OUTAGES), -1, np.int64)
    for row, pair in enumerate(found):
        both = screened.worst[list(pair)].T.ravel()
        some = [int(k) for k in dict.fromkeys(both) if k >= 0][:PAIR_OUTAGES]
        worst[row, : len(some)] = some
    return found, worst


def _spread(actions: Actions, partners: list[int], each: int = 3) -> list[int]:
    """The same order, with at most ``each`` actions of one substation."""
    count: dict[int, int] = {}
    out = []
    for k in partners:
        s = int(actions.substation[k])
        count[s] = count.get(s, 0) + 1
        if s < 0 or count[s] <= each:
            out.append(k)
    return out
