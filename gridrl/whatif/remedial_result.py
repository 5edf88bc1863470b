"""What a remedial search found, as a verdict and as cards in MW, percent and p.u.: a unit door."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gridrl.case import Case
from gridrl.powerflow.flow import flow
from gridrl.powerflow.options import FlowOptions
from gridrl.powerflow.result import FlowResult
from gridrl.security.contingency import Contingencies
from gridrl.security.topology_result import TopologySecurity
from gridrl.whatif.edits import parse_edit
from gridrl.whatif.explain import explanation, loaded_state, moved_flows, unsolved, without
from gridrl.whatif.outlook import REFUSED, Reference, states_outside, values
from gridrl.whatif.ranking import Recommendation
from gridrl.whatif.standing import proof_of, standing_of
from gridrl.whatif.voltages import VoltageStanding, moved_voltages, voltage_standing

MOST_EDITS = 4  # that a verdict spells out


@dataclass(frozen=True, eq=False, kw_only=True)
class RemedialResult:
    """The recommendations, best first, and what was tried."""

    case: Case
    contingencies: Contingencies
    reference: Reference
    base: TopologySecurity
    recommendations: tuple[Recommendation, ...]
    tried: dict[str, int]
    flow: FlowOptions  # of all AC power flows

    @property
    def best(self) -> Recommendation:
        """What is recommended first."""
        return self.recommendations[0]

    def verdict(self) -> str:
        """The outcome in one sentence."""
        best, now = self.best, float(values(self.base, self.reference)[0])
        broken = states_outside(self.base)
        if now <= 1.0 and not broken:
            dark = int(self.reference.unsolved.sum())
            but = f" But {dark} contingencies have no power flow." if dark else ""
            return f"Nothing needs to be done: no overload, worst loading {100 * now:.1f} %.{but}"
        states = f"in {broken} of {1 + len(self.contingencies)} states a voltage is outside"
        if best.kind == "nothing":
            if now <= 1.0:
                return f"No action found that mends the voltages: {states} its limits."
            return f"No action found that lowers the worst loading of {_percent(now)}."
        what = best.action
        if len(best.edits) > MOST_EDITS:
            moved = f", {best.moved_mw:.4g} MW moved" if best.moved_mw else ""
            what = f"{best.kind} in {len(best.edits)} steps{moved}"
        said = []
        if now > 1.0:
            left = "no overload remains" if best.value <= 1.0 else "overloads remain"
            said.append(f"worst loading {_percent(now)} -> {_percent(best.value)}, {left}")
        after = states_outside(best.found)
        if broken or after:
            rest = f"{after} afterwards" if after else "none afterwards"
            said.append(f"{states}, {rest}")
        return f"{what[0].upper()}{what[1:]}: {'; '.join(said)}."

    def to_dict(self) -> dict[str, Any]:
        """Everything in MW and percent, ready for JSON."""
        cards = [self._card(rank, r) for rank, r in enumerate(self.recommendations, 1)]
        return {
            "verdict": self.verdict(), "before": self._before[0], "recommendations": cards,
            "tried": dict(self.tried),
        }  # fmt: skip

    @cached_property
    def _before(self) -> tuple[dict[str, Any], VoltageStanding]:
        voltages = voltage_standing(self.case, self.base, self.flow)
        given = (self.base, self.contingencies, self.reference)
        return standing_of(self.case, *given, voltages), voltages

    def _moves(self, after: Case) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Flows and voltages that an action moves, each in the state that was worst before."""
        outage, branch = loaded_state(self.base)
        voltages = self._before[1]
        flows = {outage: self._solved(after, outage)}
        why = moved_flows(self._worst[outage], flows[outage], branch, self._named(outage))
        if voltages.clean:
            return why, []
        outage = voltages.worst_outage
        now = flows[outage] if outage in flows else self._solved(after, outage)
        return why, moved_voltages(self._worst[outage], now, self._named(outage))

    @cached_property
    def _worst(self) -> dict[int, FlowResult]:
        """The case after the outages (-1: none) that cards compare actions in."""
        outages = {loaded_state(self.base)[0]}
        if not self._before[1].clean:
            outages.add(self._before[1].worst_outage)
        return {outage: self._solved(self.case, outage) for outage in outages}

    def _solved(self, case: Case, outage: int) -> FlowResult:
        return flow(without(case, self.contingencies, outage), options=self.flow)

    def _named(self, outage: int) -> str:
        return self.contingencies.name[outage] if outage >= 0 else ""

    def _card(self, rank: int, r: Recommendation) -> dict[str, Any]:
        before, _ = self._before
        given = (self.contingencies, self.reference)
        mine = voltage_standing(r.case, r.found, self.flow)
        after = standing_of(r.case, r.found, *given, mine)
        why, moved = self._moves(r.case)
        return {
            "rank": rank, "kind": r.kind, "action": r.action, "elements": list(r.elements),
            "steps": r.steps, "moved_mw": r.moved_mw, "cost": r.cost, "cost_unit": r.cost_unit,
            "edits": list(r.edits), "instructions": [str(parse_edit(edit)) for edit in r.edits],
            "after": after,
            "verified": bool(after["status"] in ("ok", "islanded")),
            "proof": proof_of(r.case, r.found, *given), "why": why, "voltages": moved,
            "explanation": explanation(r.kind, before, after, why, moved),
            "unsolved": unsolved(before, after),
        }  # fmt: skip


def _percent(value: float) -> str:
    return f"{100.0 * value:.1f} %" if value < REFUSED else "no power flow"
