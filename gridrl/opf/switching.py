"""Switching that makes the optimal dispatch cheaper: opened branches and split substations.

Actions are ranked by what the prices of the present optimum say that they save; the first of the
ranking are solved in full, the cheapest are kept, and the search goes on from there. Every cost is
that of an AC optimal power flow, checked by `gridrl.opf.verify`. After R. P. O'Neill, E. B. Fisher
and others on transmission switching; the ranking is the line profit of P. A. Ruiz, J. M. Foster,
A. Rudkevich and M. C. Caramanis, IEEE Transactions on Power Systems 27(4), 2012, over what is left
of the grid between the ends.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gridrl.actions import Actions, action_words, apply_actions, unitary_actions
from gridrl.case import Case
from gridrl.errors import GridError
from gridrl.grid import Floats
from gridrl.opf.batch import solve_many
from gridrl.opf.interior_point import Options
from gridrl.opf.interior_point import solve as solve_one
from gridrl.opf.problem import build_problem
from gridrl.opf.profit import profits
from gridrl.opf.solution import OpfSolution, OpfStatus
from gridrl.opf.verify import verify

LIMITS = 1e-6  # p.u.; a solution that breaks a limit by more does not count
GAIN = 1e-5  # relative: less saving is not worth a switch
# A switching state that takes many times the iterations of its parent has, as a rule, no optimum.
QUICK = Options(retry=False, max_iterations=100, mu_warm=1e-3)

Chosen = tuple[int, ...]  # actions of a state, ascending


@dataclass(frozen=True, kw_only=True)
class SwitchingOptions:
    """How far to search."""

    max_switches: int = 8
    screen: int | None = 16  # openings, and splits, solved in full at each state; None: all
    beam: int = 4  # states that each step goes on from
    widen: int = 2  # times the screen is widened where nothing helps
    splits: bool = False  # substations too
    budget: int | None = None  # AC optimal power flows at most
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("max_switches", 1), ("beam", 1), ("widen", 0), ("threads", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give {least} or more.")
        for name in ("screen", "budget"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; give 1 or more, or None.")


@dataclass(frozen=True, eq=False, kw_only=True)
class Switched:
    """One switching state with its optimum."""

    chosen: Chosen
    cost: float  # currency/h, by the judge
    solution: OpfSolution


@dataclass(eq=False, kw_only=True)
class Search:
    """A search as far as it has come; it may be stopped between any two steps."""

    case: Case
    actions: Actions
    base: Switched
    best: Switched
    ac_opfs: int = 1
    history: list[Switched] = field(default_factory=list)  # every new best, in order
    known: dict[Chosen, float] = field(default_factory=dict)  # costs of all states that were solved

    @property
    def saving(self) -> float:
        """Share of the base cost that the best state saves."""
        return 1.0 - self.best.cost / self.base.cost if self.base.cost else 0.0

    def words(self) -> list[str]:
        """What to switch, in an operator's words."""
        return [action_words(self.case, self.actions, k) for k in self.best.chosen]


Accept = Callable[[Switched], bool]
Progress = Callable[[Search], None]


def begin(case: Case, options: SwitchingOptions) -> Search:
    """Solve the case as it is switched, and list the actions.

    Raises
    ------
    GridError
        The case has no optimum that could be improved on.
    """
    base = _judged((), solve_one(build_problem(case)))
    if base is None:
        raise GridError(
            f"{case.grid.name} has no optimal dispatch as it is switched, so no switching can "
            "improve on it. `gridrl opf` says which limits are missed."
        )
    actions = unitary_actions(case, substations=None if options.splits else ())
    return Search(case=case, actions=actions, base=base, best=base, known={(): base.cost})


def switch(
    case: Case,
    *,
    options: SwitchingOptions | None = None,
    accept: Accept | None = None,
    progress: Progress | None = None,
) -> Search:
    """Search for switching states whose optimal dispatch is cheaper.

    Parameters
    ----------
    accept
        Whether a state may be taken and gone on from, such as one that is N-1 secure; asked of
        those that are cheaper than what they come from.
    progress
        Called after every batch of optimal power flows.

    Raises
    ------
    GridError
        The case has no optimum that could be improved on.
    """
    options = options or SwitchingOptions()
    search = begin(case, options)
    improve(search, options, accept=accept, progress=progress)
    return search


def improve(
    search: Search,
    options: SwitchingOptions,
    *,
    accept: Accept | None = None,
    progress: Progress | None = None,
) -> None:
    """Go on until nothing helps, the switches or the budget are used up; ``search`` is updated.

    Whenever this is interrupted, ``search`` holds the best that was found.
    """
    frontier = [search.best]
    for _ in range(options.max_switches):
        children: list[Switched] = []
        for parent in frontier:
            children += _children(search, parent, options, accept, progress)
        frontier = sorted(children, key=lambda state: state.cost)[: options.beam]
        if not frontier:
            return


def _children(
    search: Search,
    parent: Switched,
    options: SwitchingOptions,
    accept: Accept | None,
    progress: Progress | None,
) -> list[Switched]:
    """States one action further that cost less than their parent, among those screened."""
    ranking = _ranked(search, parent)
    found: list[Switched] = []
    width = (options.screen or len(ranking)) * (2 if options.splits else 1)
    for widened in range(options.widen + 1):
        picks = ranking[widened * width : (widened + 1) * width]
        if options.budget is not None:
            picks = picks[: max(0, options.budget - search.ac_opfs)]
        if not picks:
            break
        for state in _solved(search, parent, picks, options.threads):
            if accept is not None and not accept(state):
                continue
            found.append(state)
            if state.cost < search.best.cost * (1.0 - GAIN):
                search.best = state
        if search.best in found:
            search.history.append(search.best)
        if progress is not None:
            progress(search)
        if found:
            break
    return found


def _ranked(search: Search, parent: Switched) -> list[Chosen]:
    """States one action further that were not solved yet, most promising first.

    First those whose action helped a sibling of the parent, then in order of profit.
    """
    value = profits(parent.solution, search.actions)
    value[~np.isfinite(value)] = -np.inf
    order = _in_turn(value, search.actions)
    helped: dict[int, float] = {}
    for k in parent.chosen:
        before = tuple(c for c in parent.chosen if c != k)
        limit = search.known.get(before, np.inf)
        for other in order:
            cost = search.known.get(_with(before, other), np.inf)
            if cost < limit * (1.0 - GAIN):
                helped[other] = min(cost, helped.get(other, np.inf))
    first = sorted(helped, key=lambda k: helped[k])
    ranking = []
    for k in dict.fromkeys([*first, *order]):
        state = _with(parent.chosen, k)
        fits = all(search.actions.compatible(k, c) for c in parent.chosen)
        if fits and state not in search.known:
            ranking.append(state)
    return ranking


def _in_turn(value: Floats, actions: Actions) -> list[int]:
    """Openings and splits in turn, the best of each first: their promises do not compare."""
    order = np.argsort(-value, kind="stable")
    order = order[value[order] > -np.inf]
    of_element = actions.element[order] >= 0
    rank = np.where(of_element, np.cumsum(of_element), np.cumsum(~of_element))
    return [int(k) for k in order[np.argsort(rank, kind="stable")]]


def _with(chosen: Chosen, k: int) -> Chosen:
    return tuple(sorted((*chosen, k)))


def _solved(search: Search, parent: Switched, picks: list[Chosen], threads: int) -> list[Switched]:
    """The states that cost less than their parent and cut nothing off."""
    topology = apply_actions(search.case, search.actions, picks)
    # Opened branches share the pattern of the case; where substations are split, of the parent.
    split = any(search.actions.element[k] < 0 for k in parent.chosen)
    case = parent.solution.case if split else search.case
    batch = solve_many(
        case, topology=topology, warm=parent.solution, options=QUICK, threads=threads
    )
    search.ac_opfs += len(picks)
    out = []
    for k, chosen in enumerate(picks):
        state = _judged(chosen, batch.solution(k))
        search.known[chosen] = state.cost if state else np.inf
        if state and state.cost < parent.cost * (1.0 - GAIN):
            out.append(state)
    return out


def _judged(chosen: Chosen, solution: OpfSolution) -> Switched | None:
    """The state with its cost, if the judge finds nothing wrong with it."""
    if solution.status is not OpfStatus.OPTIMAL:
        return None
    verdict = verify(solution.case, solution.p, solution.q, solution.v)
    if not verdict.max_violation_pu <= LIMITS:
        return None
    return Switched(chosen=chosen, cost=verdict.cost, solution=solution)
