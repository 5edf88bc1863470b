"""Remedial changes of powers and voltages: what is done to injections, set points, taps and shunts.

Redispatch, curtailment and shedding relieve loadings (`gridrl.whatif.redispatch`); voltages are
brought within their limits afterwards (`gridrl.whatif.voltage`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.powerflow.options import FlowOptions
from gridrl.security.contingency import Contingencies
from gridrl.security.topology_result import TopologySecurity
from gridrl.whatif.dispatch_program import Answers
from gridrl.whatif.explain import dispatch_edits, dispatch_words
from gridrl.whatif.levers import (
    lever_edits,
    lever_words,
    moved_elements,
    operations,
    power_change,
)
from gridrl.whatif.outlook import Reference, values
from gridrl.whatif.ranking import GAIN, SHEDDING, Recommendation, ranked
from gridrl.whatif.redispatch import (
    Dispatch,
    Means,
    dispatch,
    generation_cost,
    has_means,
    used_means,
)
from gridrl.whatif.voltage import Mended, mend

Say = Callable[[str], None]
Edits = tuple[dict[str, Any], ...]
DISPATCH_WORK = 5e7  # branch loadings that are worth a second start of redispatch


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


_KINDS = {
    Means.REDISPATCH: "redispatch", Means.CURTAILMENT: "curtailment", Means.SHEDDING: "shedding",
}  # fmt: skip


@dataclass(eq=False)
class Task:
    """What all attempts to change injections and set points share."""

    case: Case
    base: TopologySecurity
    contingencies: Contingencies
    reference: Reference
    options: RemedialOptions
    tried: dict[str, int]
    say: Say
    spent: float = 0.0  # branch loadings of AC power flows

    @property
    def means(self) -> tuple[Means, ...]:
        """The means that the options allow."""
        options = self.options
        allowed = (options.redispatch, options.curtailment, options.shedding)
        return tuple(kind for kind, on in zip(Means, allowed, strict=True) if on)


def nothing_done(case: Case, base: TopologySecurity, value: float) -> Recommendation:
    """The recommendation that all others are held against."""
    return Recommendation(
        kind="nothing", action="do nothing", elements=(), steps=0, moved_mw=0.0, cost=0.0,
        cost_unit="", edits=(), case=case, found=base, value=value, places=frozenset(),
    )  # fmt: skip


def dispatched(task: Task, switched: list[Recommendation]) -> list[Recommendation]:
    """Changes of injections: alone, and on top of the best switching if neither is enough.

    Shedding comes last, on top of what got furthest without it.
    """
    out: list[Recommendation] = []
    best = min(switched, key=lambda r: r.value, default=None)
    starts = [nothing_done(task.case, task.base, float(values(task.base, task.reference)[0]))]
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


def _with_means(task: Task, chain: _Chain, means: Means) -> list[Recommendation]:
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


def mended(task: Task, found: list[Recommendation]) -> list[Recommendation]:
    """Voltages within their limits: alone, or on top of what relieves the loadings best.

    Where that sheds load, on top of what does best without as well. The first of ``found`` is
    doing nothing.
    """
    if not task.options.voltage:
        return []
    nothing, *others = found
    helping = [r for r in others if r.value < nothing.value]
    gentle = [r for r in helping if r.burden[0] < SHEDDING]
    starts = list({id(r): r for r in (_first(nothing, gentle), _first(nothing, helping))}.values())
    locked = [task.case.grid.find_element(name) for name in task.options.locked]
    out = []
    for start in starts:
        if not start.outside:
            continue
        after = f" after {start.action}" if start.edits else ""
        for better in mend(
            start.case, task.contingencies, task.reference, start.found, task.options.flow,
            [None, *task.means], locked, progress=partial(_after, task.say, after),
        ):  # fmt: skip
            spent = task.tried.get("voltage_ac_solves", 0) + better.solves
            task.tried["voltage_ac_solves"] = spent
            out.append(_by_levers(start, better))
    return out


def _first(nothing: Recommendation, others: list[Recommendation]) -> Recommendation:
    """The one that ranks first, doing nothing where there is no other."""
    best = [r for r in ranked([nothing, *others], 1) if r.kind != "nothing"]
    return best[0] if best else nothing


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
        places=_on_top(start, f"voltage {used}"),
    )  # fmt: skip


def _on_top(start: Recommendation, kind: str) -> frozenset[str]:
    """What is touched: a place with changed powers, or with shedding, is another than it alone."""
    shed = kind == "shedding" or any(place.endswith(", shedding") for place in start.places)
    how = ", shedding" if shed else ", powers"
    return frozenset({kind, *(place.split(", ")[0] + how for place in start.places)})


def _together(first: Edits, second: Edits) -> Edits:
    """Edits of one variant: a later set point of an element replaces the earlier one."""
    by_what = {next(iter(edit.items())): edit for edit in first}
    return tuple((by_what | {next(iter(edit.items())): edit for edit in second}).values())


def _after(say: Say, after: str, what: str) -> None:
    say(what + after)


def _said(say: Say, what: str, detail: str) -> None:
    say(f"{what}: {detail}")


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
        places=_on_top(start, kind),
    )  # fmt: skip
