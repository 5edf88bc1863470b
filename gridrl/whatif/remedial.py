"""Remedial actions: ranked, explained, and each proved by AC power flows, before and after N-1.

`recommend` searches switching (`gridrl.whatif.search`), changes of injections
(`gridrl.whatif.redispatch`) and, where voltages are outside their limits, set points, taps and
shunts (`gridrl.whatif.voltage`), and says of each what it does, what it moves and what it leaves.
Loading decides, then voltages, see `gridrl.whatif.ranking`; doing nothing is always in the list.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from gridrl.actions import (
    Actions,
    action_edit,
    action_elements,
    action_words,
    apply_actions,
    switching_steps,
    unitary_actions,
)
from gridrl.case import Case
from gridrl.powerflow.options import FlowOptions
from gridrl.security.contingency import Contingencies, n_minus_1
from gridrl.security.result import SecurityResult
from gridrl.security.topologies import TopologySecurity, secure_topologies, state_of
from gridrl.whatif.dispatch_program import Answers
from gridrl.whatif.explain import dispatch_edits, dispatch_words
from gridrl.whatif.outlook import REFUSED, Reference, order_of, reference_of, values
from gridrl.whatif.places import find_substation
from gridrl.whatif.ranking import GAIN, KINDS, Recommendation, ranked
from gridrl.whatif.redispatch import (
    Dispatch,
    Means,
    dispatch,
    generation_cost,
    has_means,
)
from gridrl.whatif.remedial_result import RemedialResult
from gridrl.whatif.remedial_voltage import mended
from gridrl.whatif.search import (
    Proposer,
    ScreenProposer,
    Search,
    nearest_actions,
    nearest_substations,
    search,
)

Say = Callable[[str], None]
DISPATCH_WORK = 8e7  # branch loadings that are worth a second start of redispatch


@dataclass(frozen=True, kw_only=True)
class RemedialOptions:
    """What may be done, and how hard to look."""

    top: int = 5  # recommendations besides doing nothing
    switching: bool = True
    combinations: bool = True  # of two switching actions
    redispatch: bool = True
    curtailment: bool = True
    shedding: bool = True
    voltage: bool = True  # set points, taps and shunts where voltages are outside their limits
    buses: tuple[str, ...] | None = None  # buses whose substations may be split; None: all
    closable: tuple[str, ...] = ()  # elements out of service that may be closed
    locked: tuple[str, ...] = ()  # elements that keep their switching, set points and steps
    share: float = 0.08  # of the AC power flows that solving every action would take
    flow: FlowOptions = field(default_factory=FlowOptions)

    def __post_init__(self) -> None:
        if not 1 <= self.top <= 50:
            raise ValueError(f"top is {self.top}; give 1 to 50 recommendations.")
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share is {self.share}; give a part of 1, like 0.08.")


DEFAULT = RemedialOptions()


@dataclass(eq=False)
class _Task:
    """What all attempts to change injections share."""

    case: Case
    base: TopologySecurity
    contingencies: Contingencies
    reference: Reference
    options: RemedialOptions
    means: tuple[Means, ...]
    tried: dict[str, int]
    say: Say
    spent: float = 0.0  # branch loadings of AC power flows


def recommend(
    case: Case,
    *,
    options: RemedialOptions = DEFAULT,
    contingencies: Contingencies | None = None,
    known: SecurityResult | None = None,
    proposer: Proposer | None = None,
    progress: Say | None = None,
) -> RemedialResult:
    """Find what relieves the overloads of a case, before and after each contingency.

    Parameters
    ----------
    contingencies
        By default N-1 over all lines, transformers and generators in service.
    known
        What `gridrl.security` found of this very case, with its contingencies: not solved again.
    proposer
        Names the switching actions worth an AC power flow; by default the DC screen does.
    progress
        Called with what begins.

    Raises
    ------
    ElementError
        An option names an element or bus that the case does not have.

    Examples
    --------
    >>> import gridrl
    >>> from gridrl.whatif.remedial import recommend
    >>> recommend(gridrl.load("case14")).best.action
    'set gen:3 from 1.09 to 1.059 p.u., set gen:2 from 1.07 to 1.06 p.u.'
    """
    say = progress or (lambda _: None)
    if known is not None:
        contingencies, base = known.contingencies, state_of(known)
    else:
        contingencies = n_minus_1(case) if contingencies is None else contingencies
        say(f"solving the case with {len(contingencies)} contingencies")
        base = secure_topologies(case, case.topology, contingencies, options=options.flow)
    if known is not None and options.voltage and base.voltage[0]:
        # a sweep counts the voltages that an outage breaks, not those that stay broken after it
        base = secure_topologies(case, case.topology, contingencies, options=options.flow)
    reference = reference_of(base)
    now = float(values(base, reference)[0])
    tried = {"candidates": 0, "screened_dc": 0, "ac_solves": base.solves, "exhaustive_ac_solves": 0}
    found = [_nothing(case, base, now)]
    allowed = (options.redispatch, options.curtailment, options.shedding)
    means = tuple(kind for kind, on in zip(Means, allowed, strict=True) if on)
    if now > 1.0:
        actions = _allowed(case, options, base, contingencies)
        switched: list[Recommendation] = []
        if options.switching:
            result = search(
                case, actions, contingencies, reference, base, options=options.flow,
                share=options.share, pairs=options.combinations, enough=options.top,
                proposer=proposer or ScreenProposer(), progress=say,
            )  # fmt: skip
            switched = _switching(case, result)
            tried = {
                "candidates": len(actions), "screened_dc": result.screened,
                "ac_solves": result.solves,
                "exhaustive_ac_solves": len(actions) * (len(contingencies) + 1),
            }  # fmt: skip
        found += switched
        task = _Task(case, base, contingencies, reference, options, means, tried, say)
        found += _dispatched(task, switched)
    if options.voltage:
        locked = [case.grid.find_element(name) for name in options.locked]
        found += mended(
            found, contingencies, reference, options.flow, (None, *means), locked, tried, say
        )
    return RemedialResult(
        case=case, contingencies=contingencies, reference=reference, base=base,
        recommendations=tuple(ranked(found, options.top)), tried=tried, flow=options.flow,
    )  # fmt: skip


def _allowed(
    case: Case, options: RemedialOptions, base: TopologySecurity, contingencies: Contingencies
) -> Actions:
    """The actions that the options leave, on a large grid those next to what is overloaded."""
    grid = case.grid
    substations = nearest_substations(case, base, contingencies)
    if options.buses is not None:
        substations = np.array([find_substation(grid, bus) for bus in options.buses], np.int64)
    actions = unitary_actions(
        case,
        substations=None if substations is None else substations.tolist(),
        closable=[grid.find_element(name) for name in options.closable],
        locked=[grid.find_element(name) for name in options.locked],
    )
    return nearest_actions(case, actions, base, contingencies)


def _nothing(case: Case, base: TopologySecurity, value: float) -> Recommendation:
    return Recommendation(
        kind="nothing", action="do nothing", elements=(), steps=0, moved_mw=0.0, cost=0.0,
        cost_unit="", edits=(), case=case, found=base, value=value, places=frozenset(),
    )  # fmt: skip


def _switching(case: Case, result: Search) -> list[Recommendation]:
    """What the search proved, best first."""
    if result.found is None:
        return []
    out = []
    actions, grid = result.actions, case.grid
    for at in order_of(result.value, result.over):
        if result.value[at] >= REFUSED:
            continue
        chosen = result.chosen[int(at)]
        elements = [e for k in chosen for e in action_elements(case, actions, k)]
        kind = "combination" if len(chosen) > 1 else "line"
        if len(chosen) == 1 and actions.substation[chosen[0]] >= 0:
            kind = "split"
        out.append(
            Recommendation(
                kind=kind, action="; ".join(action_words(case, actions, k) for k in chosen),
                elements=tuple(grid.element_label[e] for e in dict.fromkeys(elements)),
                steps=sum(switching_steps(case, actions, k) for k in chosen), moved_mw=0.0,
                cost=0.0, cost_unit="", edits=tuple(action_edit(case, actions, k) for k in chosen),
                case=replace(case, topology=apply_actions(case, actions, [chosen])),
                found=result.found.state(int(at)), value=float(result.value[at]),
                places=frozenset(_place(actions, k) for k in chosen),
            )
        )  # fmt: skip
    return out


def _place(actions: Actions, k: int) -> str:
    s = int(actions.substation[k])
    return f"substation {s}" if s >= 0 else f"element {int(actions.element[k])}"


def _dispatched(task: _Task, switched: list[Recommendation]) -> list[Recommendation]:
    """Changes of injections: alone, and on top of the best switching if neither is enough.

    Shedding comes last, on top of what got furthest without it.
    """
    out: list[Recommendation] = []
    best = min(switched, key=lambda r: r.value, default=None)
    starts = [_nothing(task.case, task.base, float(values(task.base, task.reference)[0]))]
    if best is not None and 1.0 < best.value < starts[0].value - GAIN:
        starts.append(best)
    chains: list[_Chain] = []
    for start in starts:
        if chains and task.spent > DISPATCH_WORK:
            break
        chains.append(_Chain(start))
        for means in (Means.REDISPATCH, Means.CURTAILMENT):
            out += _with_means(task, chains[-1], means)
    if not any(r.value <= 1.0 for r in (*switched, *out)):
        out += _with_means(task, min(chains, key=lambda chain: chain.value), Means.SHEDDING)
    return out


@dataclass(eq=False)
class _Chain:
    """What several means, each with the ones before, made of one start."""

    start: Recommendation
    last: Dispatch | None = None

    @cached_property
    def answers(self) -> Answers:
        return Answers(self.start.case)

    @property
    def value(self) -> float:
        return self.start.value if self.last is None else self.last.value


def _with_means(task: _Task, chain: _Chain, means: Means) -> list[Recommendation]:
    """What one more kind of means adds: one recommendation, or none."""
    start = chain.start
    if chain.value <= 1.0 or means not in task.means or not has_means(start.case, means):
        return []
    what = f"{means.name.lower()} {'after ' + start.action if start.edits else ''}".strip()
    found = dispatch(
        start.case, task.contingencies, task.reference, means, start.found, task.options.flow,
        start=chain.last, answers=chain.answers, worth=max(chain.value - GAIN, 1.0),
        progress=partial(_said, task.say, what),
    )  # fmt: skip
    if found is None:
        return []
    chain.last = found
    task.tried["ac_solves"] += found.solves
    task.spent += found.solves * task.case.grid.n_branch
    return [_by_dispatch(start, found)] if found.value < start.value - GAIN else []


def _said(say: Say, what: str, detail: str) -> None:
    say(f"{what}: {detail}")


def _by_dispatch(start: Recommendation, found: Dispatch) -> Recommendation:
    case = start.case
    base = case.grid.s_base_mva
    units = np.flatnonzero(found.change)
    moved = found.moved * base
    kind = KINDS[found.used]
    money = generation_cost(case, found.change) if found.used is Means.REDISPATCH else None
    words = dispatch_words(case, found.change)
    return Recommendation(
        kind="mixed" if start.edits else kind,
        action=f"{start.action}; {words}" if start.edits else words,
        elements=(*start.elements, *(case.grid.unit_label[int(m)] for m in units)),
        steps=start.steps, moved_mw=moved,
        cost=moved if money is None else money,
        cost_unit="MW moved" if money is None else "currency/h",
        edits=(*start.edits, *dispatch_edits(case, found.change)), case=found.case,
        found=found.found, value=found.value,
        places=start.places | {kind},
    )  # fmt: skip


__all__ = ["Recommendation", "RemedialOptions", "RemedialResult", "recommend"]
