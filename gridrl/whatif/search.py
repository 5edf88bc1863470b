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
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from gridrl.actions import MOST_CONFIGURATIONS, Actions, apply_actions, connected
from gridrl.case import Case
from gridrl.errors import GridError
from gridrl.grid import Floats, Ints
from gridrl.powerflow.options import FlowOptions
from gridrl.security.contingency import Contingencies
from gridrl.security.topologies import secure_topologies
from gridrl.security.topology_result import TopologySecurity, taken_together
from gridrl.whatif.outlook import REFUSED, Reference, excess, order_of, values
from gridrl.whatif.screening import Screened, screen

MOST_ACTIONS = 20_000  # screened; on larger grids those next to what is overloaded
BATCH = 8  # states proved at a time
PARTNERS = 14  # actions that combinations are made of
PAIR_OUTAGES = 6
MOST_TRIED = 500  # actions solved in AC
USUAL = 60  # worst contingencies of the case that candidates are solved with before a proof
FEW = 8  # times as many contingencies make that worth while
CONFIRMED = 16  # candidates that are
PROVED = 3  # single actions with all contingencies there, as far as work goes
PROOF_WORK = 7.5e7  # branch loadings in all proofs of single actions, and as many in those of pairs
TRY_WORK = 4e6  # branch loadings in those solves: fewer are tried on large grids

Chosen = tuple[int, ...]


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


@dataclass(frozen=True, eq=False)
class _Task:
    """What all tries of one search share."""

    case: Case
    contingencies: Contingencies
    reference: Reference
    options: FlowOptions
    usual: Ints  # worst contingencies of the case itself
    progress: Callable[[str], None]


def nearest_substations(
    case: Case, base: TopologySecurity, contingencies: Contingencies
) -> Ints | None:
    """On a large grid, the substations next to what is overloaded or lost; None: all of them.

    So many that they have more than `MOST_ACTIONS` configurations: listing all takes seconds.
    """
    terminals = np.bincount(
        case.grid.terminal_substation[connected(case)], minlength=case.grid.n_substation
    )
    many = np.minimum(2.0 ** np.maximum(terminals - 1, 0), MOST_CONFIGURATIONS)
    distance = None if many.sum() < 2 * MOST_ACTIONS else _distance(case, base, contingencies)
    if distance is None:
        return None
    order = np.argsort(distance, kind="stable")
    enough = int(np.searchsorted(np.cumsum(many[order]), 2 * MOST_ACTIONS)) + 1
    return np.sort(order[:enough])


def nearest_actions(
    case: Case, actions: Actions, base: TopologySecurity, contingencies: Contingencies
) -> Actions:
    """On a large grid, the actions next to what is overloaded or lost, `MOST_ACTIONS` of them."""
    if len(actions) <= MOST_ACTIONS:
        return actions
    distance = _distance(case, base, contingencies)
    if distance is None:
        return actions.some(np.arange(MOST_ACTIONS))
    grid = case.grid
    first = np.full(grid.n_element, np.inf)
    np.minimum.at(first, grid.branch_element, distance[grid.from_substation])
    far = np.where(actions.substation >= 0, distance[actions.substation], first[actions.element])
    return actions.some(np.sort(np.argsort(far, kind="stable")[:MOST_ACTIONS]))


def _distance(case: Case, base: TopologySecurity, contingencies: Contingencies) -> Floats | None:
    """[n_substation] branches between it and the ends of what is overloaded or lost then."""
    grid = case.grid
    over = np.flatnonzero(np.nan_to_num(base.pair_loading, nan=0.0) > 1.0)
    lost = [e for k in base.contingency[over] for e in contingencies.elements[k]]
    branch = np.concatenate([base.pair_branch[over], base.branch[base.loading > 1.0]])
    branch = np.union1d(branch, np.flatnonzero(np.isin(grid.branch_element, lost)))
    ends = np.concatenate([grid.from_substation[branch], grid.to_substation[branch]])
    if not ends.size:
        return None
    pairs = (np.ones(grid.n_branch), (grid.from_substation, grid.to_substation))
    graph = coo_array(pairs, shape=(grid.n_substation, grid.n_substation)).tocsr()
    found = dijkstra(graph, directed=False, indices=ends, unweighted=True, min_only=True)
    return np.asarray(found)


def search(
    case: Case,
    actions: Actions,
    contingencies: Contingencies,
    reference: Reference,
    base: TopologySecurity,
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
    base
        The case itself, solved with all contingencies.
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
    screened, covered = screen(case, actions, contingencies, options, keep, base)
    ranking = _checked(proposer.propose(case, actions, screened), len(actions))
    out = Search(
        actions=actions, chosen=[], found=None, value=np.empty(0), over=np.empty(0),
        screened=covered, exhaustive=exhaustive, solves=2 * (each + 1),
    )  # fmt: skip  # the case itself: its standing, and the flows that the screen starts from
    usual = np.argsort(-np.nan_to_num(base.pair_loading, nan=-1.0), kind="stable")[:USUAL]
    usual = base.contingency[usual]
    task = _Task(case, contingencies, reference, options, usual, progress)
    proofs = max(2, int(PROOF_WORK / (each + 1) / case.grid.n_branch))
    budget = min(budget, int(TRY_WORK / case.grid.n_branch) + 2 * proofs * (each + 1))
    enough = min(enough, PROVED) if each >= FEW * USUAL else enough
    pairs = pairs and proofs >= enough  # on a very large grid two proofs are all there is time for
    enough = min(enough, proofs)
    part = 0.72 if pairs else 1.0
    most = min(MOST_TRIED, int(TRY_WORK / (1 + keep) / case.grid.n_branch) + 1)
    count = min(ranking.size, most, max(1, int(0.6 * part * budget / (1 + keep))))
    tried: list[Chosen] = [(int(k),) for k in ranking[:count]]
    progress(f"solving the {count} most promising with their worst outages")
    _try(task, out, tried, screened.worst[ranking[:count]], int(part * budget), enough)
    if pairs and (out.value.size == 0 or out.value.min() > 1.0):
        progress("combining two")
        combined, worst = _pairs(out, screened)
        room = max(0, (budget - out.solves - enough // 2 * each) // (1 + PAIR_OUTAGES))
        _try(task, out, combined[:room], worst[:room], budget, max(1, enough // 2))
    return out


def _checked(ranking: Ints, n: int) -> Ints:
    """What a proposer says, each action once.

    Raises
    ------
    GridError
        It names actions that there are not.
    """
    ranking = np.asarray(ranking)
    whole = ranking.ndim == 1 and (ranking.dtype.kind in "iu" or not ranking.size)
    if not whole or (ranking.size and not 0 <= ranking.min() <= ranking.max() < n):
        raise GridError(
            f"The proposer must return indices of actions, 0 to {n - 1}, most promising first."
        )
    return np.array(list(dict.fromkeys(ranking.tolist())), np.int64)


def _try(
    task: _Task, out: Search, tried: list[Chosen], worst: Ints, budget: int, enough: int
) -> None:
    """Solve combinations with their worst contingencies, then the best of them with all."""
    if not tried:
        return
    case, contingencies, reference = task.case, task.contingencies, task.reference
    bound, over = _bounds(task, out, tried, worst)
    order = [k for k in order_of(bound, over) if bound[k] < REFUSED]
    best = out.value.min() if out.value.size else np.inf
    done = 0
    each = len(contingencies) + 1
    step = max(1, min(BATCH, int(TRY_WORK / each / case.grid.n_branch)))
    for begin in range(0, len(order), step):
        room = max(0, (budget - out.solves) // each, min(2, enough) - done)
        batch = [k for k in order[begin : begin + step] if bound[k] < best or done < enough][:room]
        if not batch:
            break
        chosen = [tried[k] for k in batch]
        task.progress(f"proof of {len(chosen)} with all outages")
        proved = secure_topologies(
            case, apply_actions(case, out.actions, chosen), contingencies, options=task.options
        )
        out.solves += proved.solves
        out.chosen += chosen
        out.found = proved if out.found is None else taken_together([out.found, proved])
        value = values(proved, reference)
        out.value = np.concatenate([out.value, value])
        out.over = np.concatenate([out.over, excess(proved)])
        best = min(best, float(value.min()))
        done += len(batch)


def _bounds(task: _Task, out: Search, tried: list[Chosen], worst: Ints) -> tuple[Floats, Floats]:
    """[n] what is known of combinations after their own worst contingencies, and its excess.

    Where a proof takes very many power flows, those that look best are solved with the worst
    contingencies of the case itself as well: most of what a proof would refuse is refused here.
    """
    known = _solved(task, out, tried, [row[row >= 0] for row in worst])
    bound, over = values(known, task.reference), excess(known)
    if len(task.contingencies) < FEW * task.usual.size:
        return bound, over
    some = order_of(bound, over)[:CONFIRMED]
    known = _solved(task, out, [tried[k] for k in some], [task.usual] * some.size)
    bound[some] = np.maximum(bound[some], values(known, task.reference))
    over[some] = np.maximum(over[some], excess(known))
    rest = np.setdiff1d(np.arange(bound.size), some)
    bound[rest] = np.maximum(bound[rest], bound[some].min(initial=np.inf))
    return bound, over


def _solved(task: _Task, out: Search, tried: list[Chosen], outages: list[Ints]) -> TopologySecurity:
    """Combinations with some contingencies each."""
    of = np.concatenate([[0], np.cumsum([which.size for which in outages])]).astype(np.int64)
    topology = apply_actions(task.case, out.actions, tried)
    known = secure_topologies(
        task.case, topology, task.contingencies, only=(of, np.concatenate(outages)),
        options=task.options,
    )  # fmt: skip
    out.solves += known.solves
    return known


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
