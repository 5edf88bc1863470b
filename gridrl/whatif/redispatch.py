"""Least-cost redispatch, curtailment and load shedding against overloads, before and after N-1.

Rounds of linear programs (see `gridrl.whatif.dispatch_program`), each checked by AC power flows and
linearised again there; what they end with is proved with all contingencies.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from gridrl.case import Case
from gridrl.grid import Bools, Floats, Ints
from gridrl.powerflow.model import DEMAND_KINDS
from gridrl.powerflow.options import FlowOptions
from gridrl.security.contingency import GENERATOR_KINDS, Contingencies
from gridrl.security.topologies import secure_topologies
from gridrl.security.topology_result import TopologySecurity
from gridrl.whatif.dispatch_program import Answers, cheapest_change, linearise
from gridrl.whatif.explain import RENEWABLE, STORAGE_KINDS
from gridrl.whatif.outlook import Reference, excess, values

ROUNDS = 10  # of linear programs before a proof
PROOFS = 3
PATIENCE, SLOW = 2, 0.01  # rounds in a row that bring less than this part
WATCH, MOST_WATCHED = 0.8, 150  # loading from which contingencies are watched, and how many
SHED_PRICE, CURTAIL_PRICE, STORAGE_PRICE = 1e3, 20.0, 5.0  # of redispatch, per p.u.
DIGITS = 3  # of the largest unit: set points are multiples of that, 0.1 MW beside 650 MW


class Means(IntEnum):
    """What may be changed, each including the ones before."""

    REDISPATCH = 1
    CURTAILMENT = 2
    SHEDDING = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class Dispatch:
    """A change of injections with its AC results."""

    case: Case
    change: Floats  # [n_unit] p.u. change of what each unit feeds in; what the reference does: 0
    used: Means
    found: TopologySecurity  # of one state
    value: float  # see `gridrl.whatif.outlook.values`
    solves: int

    @property
    def moved(self) -> float:
        """P.u. moved: half the sum of all changes, with what the reference balances."""
        return float(max(np.maximum(self.change, 0).sum(), np.maximum(-self.change, 0).sum()))


def dispatch(
    case: Case, contingencies: Contingencies, reference: Reference, means: Means,
    base: TopologySecurity, options: FlowOptions, *, start: Dispatch | None = None,
    answers: Answers | None = None, worth: float = np.inf,
    progress: Callable[[str], None] = lambda _: None,
) -> Dispatch | None:  # fmt: skip
    """Change injections so that nothing is overloaded; the best proved, None if nothing helps.

    Rounds of programs look at the contingencies that come near a limit only; what they end with is
    solved with all of them, and what that finds is watched in further rounds.

    Parameters
    ----------
    base
        The case itself, solved with all contingencies.
    start
        What other means of the same case came to: the first program starts there.
    answers
        Sensitivities of this case, where they are at hand.
    worth
        Worst loading from which a change is not worth to be proved.
    """
    low, high, price = bounds(case, means)
    grain = grain_of(case)
    free = np.flatnonzero(high - low > grain)
    if not reference.solved or not free.size:
        return None
    task = _Task(
        case,
        contingencies,
        reference,
        means,
        options,
        (low, high, price),
        free,
        grain,
        answers or Answers(case),
    )
    now = start or Dispatch(
        case=case, change=np.zeros(case.grid.n_unit), used=Means.REDISPATCH, found=base,
        value=float(values(base, reference)[0]), solves=0,
    )  # fmt: skip
    watched = _near_limit(now.found, reference)
    solves, best = 0, None
    for _ in range(PROOFS):
        progress(f"linear programs on {int(watched.sum())} outages")
        after, spent = _rounds(task, replace(now, found=_only(now.found, watched)), watched)
        solves += spent
        worse = best is not None and after.value >= best.value
        if after.value >= worth or not after.change.any() or worse:
            break
        progress(f"proof with {len(contingencies)} outages")
        found = secure_topologies(after.case, after.case.topology, contingencies, options=options)
        solves += found.solves
        now = replace(after, found=found, value=float(values(found, reference)[0]))
        best = now if best is None or now.value < best.value else best
        if now.value <= 1.0 or after.value > 1.0:  # done, or not to be had
            break
        watched |= _near_limit(found, reference)
    return None if best is None else replace(best, solves=solves)


@dataclass(frozen=True, eq=False)
class _Task:
    """What all rounds share."""

    case: Case  # before any change
    contingencies: Contingencies
    reference: Reference
    means: Means
    options: FlowOptions
    bounds: tuple[Floats, Floats, Floats]  # least and largest change, price
    free: Ints
    grain: float
    answers: Answers


def _rounds(task: _Task, best: Dispatch, watched: Bools) -> tuple[Dispatch, int]:
    """Linearise, solve and check until nothing watched is overloaded or nothing improves."""
    low, high, price = task.bounds
    price = price * _merit(task.case, task.free)
    solves, reach, slow, linear = 0, np.inf, 0, None
    which = np.flatnonzero(watched)
    for _ in range(ROUNDS):
        if best.value <= 1.0 or slow == PATIENCE:
            break
        linear = linear or linearise(
            task.answers, best.case, best.found, task.contingencies, task.free, task.options
        )
        near = np.maximum(low, best.change - reach), np.minimum(high, best.change + reach)
        change = cheapest_change(linear, best.change, *near, price)
        if change is None:
            break
        change = _rounded(task, change)
        step = float(np.abs(change - best.change).max())
        if step < task.grain:
            break
        now = with_change(task.case, change)
        found = secure_topologies(
            now, now.topology, task.contingencies, only=(np.array([0, which.size]), which),
            options=task.options,
        )  # fmt: skip
        solves += found.solves
        value = float(values(found, task.reference)[0])
        better = value < best.value - 1e-4 or (
            value < best.value + 1e-4 and excess(found)[0] < excess(best.found)[0] - 1e-3
        )
        if not better:  # the way was too long for a straight line
            reach = 0.3 * step
            continue
        linear = None
        little = value > best.value - SLOW and excess(found)[0] > (1 - SLOW) * excess(best.found)[0]
        slow = slow + 1 if little else 0
        used = used_means(task.case, change)
        best = replace(best, case=now, change=change, used=used, found=found, value=value)
    return best, solves


def _near_limit(found: TopologySecurity, reference: Reference) -> Bools:
    """[n_contingency] those that come near a limit or lost their power flow, the worst of them."""
    hopeless = reference.unsolved[found.contingency]
    after = np.where(hopeless, 0.0, np.nan_to_num(found.pair_loading, nan=np.inf))
    order = np.argsort(-after, kind="stable")[:MOST_WATCHED]
    out = np.zeros(reference.unsolved.size, np.bool_)
    out[found.contingency[order[after[order] > WATCH]]] = True
    return out


def _only(found: TopologySecurity, watched: Bools) -> TopologySecurity:
    """A result of one state with all contingencies, as one with those watched."""
    return found.with_only(watched[found.contingency])


def _rounded(task: _Task, change: Floats) -> Floats:
    """A change that can be told by phone: set points at multiples of the grain."""
    p = task.case.injection.p[0]
    low, high, _ = task.bounds
    whole = np.clip(np.round((p + change) / task.grain) * task.grain - p, low, high)
    return np.where(np.abs(change) < task.grain / 2, 0.0, whole)


def bounds(case: Case, means: Means) -> tuple[Floats, Floats, Floats]:
    """Least and largest change of every unit, p.u., and its price per p.u.

    A generator without a maximum in the file may go down only; one without a minimum, to 0. The
    reference is no variable: it balances, within its own limits. A storage moves with curtailment.
    """
    grid = case.grid
    p = case.injection.p[0]
    kind = np.array(grid.unit_kind)
    there = case.topology.busbar[0, 2 * grid.n_branch :] > 0
    load = np.isin(kind, list(DEMAND_KINDS)) & there & (p < 0)
    machine = np.isin(kind, GENERATOR_KINDS) & there & ~grid.is_reference
    machine &= ~np.isin(kind, ("dcline", "hvdc"))
    storage = machine & np.isin(kind, STORAGE_KINDS)
    renewable = machine & np.isin(kind, RENEWABLE) & ~grid.dispatchable
    steered = machine & ~renewable & ~storage
    low, high = np.zeros(p.size), np.zeros(p.size)
    top = np.where(np.isfinite(grid.p_max), grid.p_max, p)
    bottom = np.where(np.isfinite(grid.p_min), grid.p_min, np.minimum(p, 0.0))
    high[steered] = np.maximum(top - p, 0.0)[steered]
    low[steered] = np.minimum(bottom - p, 0.0)[steered]
    # who stands outside the file's own limits could not be told to stand there
    beyond = (p < grid.p_min - 1e-9) | (p > grid.p_max + 1e-9)
    low[beyond] = high[beyond] = 0.0
    price = np.ones(p.size)
    if means >= Means.CURTAILMENT:
        low[renewable] = np.minimum(-p, 0.0)[renewable]
        price[renewable] = CURTAIL_PRICE
        # within its limits; without them it stops what it does
        high[storage] = np.where(np.isfinite(grid.p_max), top - p, np.maximum(-p, 0.0))[storage]
        low[storage] = np.where(np.isfinite(grid.p_min), bottom - p, np.minimum(-p, 0.0))[storage]
        high, low = np.maximum(high, 0.0), np.minimum(low, 0.0)
        price[storage] = STORAGE_PRICE
    if means >= Means.SHEDDING:
        high[load] = -p[load]
        price[load] = SHED_PRICE
    return low, high, price


def grain_of(case: Case) -> float:
    """Smallest change worth a phone call, p.u.: a power of ten in MW."""
    largest = float(np.abs(case.injection.p[0]).max(initial=0.0)) * case.grid.s_base_mva
    if largest <= 0.0:
        return 1e-3
    return float(10.0 ** (np.floor(np.log10(largest)) - DIGITS)) / case.grid.s_base_mva


def has_means(case: Case, means: Means) -> bool:
    """Whether a kind of means adds anything to those before it."""
    now = bounds(case, means)
    if means is Means.REDISPATCH:
        return bool((now[1] - now[0] > grain_of(case)).any())
    before = bounds(case, Means(means - 1))
    return bool(any((a != b).any() for a, b in zip(now[:2], before[:2], strict=True)))


def used_means(case: Case, change: Floats) -> Means:
    """The last of the means that a change of injections takes."""
    kind = np.array(case.grid.unit_kind)
    moved = change != 0
    if (moved & np.isin(kind, list(DEMAND_KINDS))).any():
        return Means.SHEDDING
    renewable = np.isin(kind, RENEWABLE) & ~case.grid.dispatchable
    renewable |= np.isin(kind, STORAGE_KINDS)
    return Means.CURTAILMENT if (moved & renewable).any() else Means.REDISPATCH


def with_change(case: Case, change: Floats) -> Case:
    """The case with changed injections; a load keeps its power factor."""
    p, q = case.injection.p.copy(), case.injection.q.copy()
    load = np.isin(np.array(case.grid.unit_kind), list(DEMAND_KINDS)) & (p[0] < 0)
    q[0, load] *= (p[0, load] + change[load]) / p[0, load]
    p[0] += change
    return replace(case, injection=replace(case.injection, p=p, q=q))


def _merit(case: Case, free: Ints) -> Floats:
    """[n_unit] price of moving a unit, relative: 1, or more where the file says that it costs more.

    Beside those that are ``free`` to move.
    """
    costs = case.grid.costs
    rank = np.zeros(case.grid.n_unit)
    for k in np.flatnonzero(~costs.of_reactive & (np.diff(costs.point_start) == 0)):
        unit = int(costs.unit[k])
        powers = np.arange(1, costs.coefficient.shape[1])
        p = case.injection.p[0, unit]
        rank[unit] = float((costs.coefficient[k, 1:] * powers * p ** (powers - 1)).sum())
    spread = float(np.ptp(rank[free])) if free.size else 0.0
    if not spread:
        return np.ones_like(rank)
    return np.asarray(1.0 + np.abs(rank - np.median(rank[free])) / spread)


def generation_cost(case: Case, change: Floats) -> float | None:
    """Change of cost in the file's currency per hour; None where a moved unit has no cost."""
    grid, costs = case.grid, case.grid.costs
    of = {int(u): k for k, u in enumerate(costs.unit) if not costs.of_reactive[k]}
    total = 0.0
    for unit in np.flatnonzero(
        (change != 0) & ~np.isin(np.array(grid.unit_kind), list(DEMAND_KINDS))
    ):
        k = of.get(int(unit))
        if k is None or costs.point_start[k] != costs.point_start[k + 1]:
            return None
        p = float(case.injection.p[0, unit])
        power = np.arange(costs.coefficient.shape[1])
        total += float((costs.coefficient[k] * ((p + change[unit]) ** power - p**power)).sum())
    return total
