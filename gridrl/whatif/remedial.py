"""Remedial actions: ranked, explained, and each proved by AC power flows, before and after N-1.

`recommend` searches switching (`gridrl.whatif.search`), changes of injections
(`gridrl.whatif.redispatch`) and, where voltages are outside their limits, set points, taps and
shunts (`gridrl.whatif.voltage`), and says of each what it does, what it moves and what it leaves.
Loading decides, then voltages, see `gridrl.whatif.ranking`; doing nothing is always in the list.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

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
from gridrl.whatif.levers import (
    lever_edits,
    lever_words,
    moved_elements,
    operations,
    power_change,
)
from gridrl.whatif.outlook import REFUSED, Reference, order_of, reference_of, values
from gridrl.whatif.places import find_substation
from gridrl.whatif.ranking import GAIN, Recommendation, ranked
from gridrl.whatif.redispatch import (
    Dispatch,
    Means,
    dispatch,
    generation_cost,
    has_means,
    used_means,
)
from gridrl.whatif.remedial_result import RemedialResult
from gridrl.whatif.search import Proposer, ScreenProposer, Search, nearest_actions, search
from gridrl.whatif.voltage import Mended, mend

Say = Callable[[str], None]
Edits = tuple[dict[str, Any], ...]


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
_KINDS = {
    Means.REDISPATCH: "redispatch", Means.CURTAILMENT: "curtailment", Means.SHEDDING: "shedding",
}  # fmt: skip


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
    if now > 1.0:
        actions = _allowed(case, options)
        switched: list[Recommendation] = []
        if options.switching:
            near = nearest_actions(case, actions, base, contingencies)
            result = search(
                case, near, contingencies, reference, base, options=options.flow,
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
        found += _dispatched(case, base, switched, contingencies, reference, options, tried, say)
    found += _mended(found, contingencies, reference, options, tried, say)
    return RemedialResult(
        case=case, contingencies=contingencies, reference=reference, base=base,
        recommendations=tuple(ranked(found, options.top)), tried=tried, flow=options.flow,
    )  # fmt: skip


def _allowed(case: Case, options: RemedialOptions) -> Actions:
    grid = case.grid
    buses = options.buses
    return unitary_actions(
        case,
        substations=None if buses is None else [find_substation(grid, bus) for bus in buses],
        closable=[grid.find_element(name) for name in options.closable],
        locked=[grid.find_element(name) for name in options.locked],
    )


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


def _dispatched(
    case: Case, base: TopologySecurity, switched: list[Recommendation],
    contingencies: Contingencies, reference: Reference, options: RemedialOptions,
    tried: dict[str, int], say: Say,
) -> list[Recommendation]:  # fmt: skip
    """Changes of injections: alone, and on top of the best switching if neither is enough."""
    out: list[Recommendation] = []
    allowed = [m for m, on in zip(Means, _means(options), strict=True) if on]
    best = min((r for r in switched), key=lambda r: r.value, default=None)
    starts = [_nothing(case, base, float(values(base, reference)[0]))]
    if best is not None and 1.0 < best.value < starts[0].value - GAIN:
        starts.append(best)
    for start in starts:
        last: Dispatch | None = None
        answers: Answers | None = None
        for means in allowed:
            enough = any(r.value <= 1.0 for r in (*switched, *out))
            if means is Means.SHEDDING and (enough or start is not starts[-1]):
                continue
            if not has_means(start.case, means):
                continue
            what = f"{means.name.lower()} {'after ' + start.action if start.edits else ''}".strip()
            answers = answers or Answers(start.case)
            worth = (start.value if last is None else last.value) - GAIN
            found = dispatch(
                start.case, contingencies, reference, means, start.found, options.flow,
                start=last, answers=answers, worth=max(worth, 1.0),
                progress=partial(_said, say, what),
            )  # fmt: skip
            if found is None:
                continue
            last = found
            tried["ac_solves"] += found.solves
            if found.value < start.value - GAIN or found.value <= 1.0:
                out.append(_by_dispatch(start, found))
            if found.value <= 1.0:
                break
    return out


def _mended(
    found: list[Recommendation], contingencies: Contingencies, reference: Reference,
    options: RemedialOptions, tried: dict[str, int], say: Say,
) -> list[Recommendation]:  # fmt: skip
    """Voltages within their limits: alone, and on top of what relieves the loadings best."""
    if not options.voltage:
        return []
    nothing, *others = found
    helping = [r for r in others if r.value < nothing.value]
    starts = [r for r in ranked([nothing, *helping], 1) if r.kind != "nothing"] or [nothing]
    locked = [nothing.case.grid.find_element(name) for name in options.locked]
    stages = [None, *(m for m, on in zip(Means, _means(options), strict=True) if on)]
    out = []
    for start in starts:
        if not start.outside:
            continue
        after = f" after {start.action}" if start.edits else ""
        for better in mend(
            start.case,
            contingencies,
            reference,
            start.found,
            options.flow,
            stages,
            locked,
            progress=lambda what, after=after: say(what + after),  # type: ignore[misc]
        ):
            tried["voltage_ac_solves"] = tried.get("voltage_ac_solves", 0) + better.solves
            out.append(_by_levers(start, better))
    return out


def _by_levers(start: Recommendation, found: Mended) -> Recommendation:
    """What mended voltages, on top of what was done before."""
    levers, case = found.levers, start.case
    power = power_change(levers, found.change)
    moved = float(max(np.maximum(power, 0).sum(), np.maximum(-power, 0).sum()))
    moved *= case.grid.s_base_mva
    used = used_means(case, power) if power.any() else None
    kind = "voltage" if used is None else _KINDS[used]
    words = lever_words(levers, found.change)
    edits = lever_edits(levers, found.change)
    return Recommendation(
        kind="mixed" if start.edits else kind,
        action=f"{start.action}; {words}" if start.edits else words,
        elements=(*start.elements, *moved_elements(levers, found.change)),
        steps=start.steps + operations(levers, found.change), moved_mw=start.moved_mw + moved,
        cost=(start.moved_mw + moved) if moved else start.cost,
        cost_unit="MW moved" if moved else start.cost_unit,
        edits=_together(start.edits, edits), case=found.case, found=found.found, value=found.value,
        places=start.places | {f"voltage {used}"},
    )  # fmt: skip


def _together(first: Edits, second: Edits) -> Edits:
    """Edits of one variant: a later set point of an element replaces the earlier one."""
    by_what = {next(iter(edit.items())): edit for edit in first}
    return tuple((by_what | {next(iter(edit.items())): edit for edit in second}).values())


def _said(say: Say, what: str, detail: str) -> None:
    say(f"{what}: {detail}")


def _means(options: RemedialOptions) -> Iterable[bool]:
    return options.redispatch, options.curtailment, options.shedding


def _by_dispatch(start: Recommendation, found: Dispatch) -> Recommendation:
    case = start.case
    base = case.grid.s_base_mva
    units = np.flatnonzero(found.change)
    moved = found.moved * base
    kind = _KINDS[found.used]
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
