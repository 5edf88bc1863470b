"""Recommendations, and which of them comes first."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.security.topology_result import TopologySecurity
from gridrl.whatif.outlook import excess, outside

GAIN = 0.01  # loading by which an action must improve the worst one to be worth a line
LESS = 0.95  # or the part of all overloads, or of all voltages outside, that it must leave at most
SAME = 1e-3  # loading by which what helps otherwise may raise the worst one
SHEDDING = 3  # burden of what cuts demand
ALIKE = 2  # recommendations that may touch one substation


@dataclass(frozen=True, eq=False, kw_only=True)
class Recommendation:
    """One thing to do, with the AC results after it."""

    kind: str  # nothing, line, split, combination, voltage, redispatch, curtailment, ...
    action: str  # in an operator's words
    elements: tuple[str, ...]
    steps: int  # switching steps
    moved_mw: float
    cost: float | None
    cost_unit: str
    edits: tuple[dict[str, Any], ...]
    case: Case  # afterwards
    found: TopologySecurity  # afterwards, of one state, with all contingencies
    value: float  # worst loading, see `gridrl.whatif.outlook.values`
    places: frozenset[str]  # what is touched, for variety in the list

    @property
    def outside(self) -> int:
        """Voltages outside their limits, see `gridrl.whatif.outlook.outside`."""
        return int(outside(self.found)[0])

    @property
    def burden(self) -> tuple[int, float]:
        """Shedding after curtailment after redispatch after switching, then by MW."""
        shed = any("shed" in edit for edit in self.edits)
        curtailed = any("curtail" in edit or "storage" in edit for edit in self.edits)
        moved = 1 if self.moved_mw else 0
        return (SHEDDING if shed else 2 if curtailed else moved, round(self.moved_mw, 1))


def ranked(found: list[Recommendation], top: int) -> list[Recommendation]:
    """Best first; few that touch the same place; doing nothing (the first) in its place, always.

    Secure ones come first, then those after which the intact grid keeps its limits, then shedding,
    then the rest; among those with the same loadings, the ones that leave fewer voltages outside.
    """
    order = [at for at in range(len(found)) if found[at].kind == "nothing" or _helps(found, at)]
    count: dict[str, int] = {}
    out: list[Recommendation] = []
    for r in sorted((found[at] for at in order), key=_key):
        crowded = any(count.get(place, 0) >= ALIKE for place in r.places)
        listed = sum(other.kind != "nothing" for other in out)
        if r.kind != "nothing" and (crowded or listed >= top):
            continue
        out.append(r)
        for place in r.places:
            count[place] = count.get(place, 0) + 1
    return out


def _helps(found: list[Recommendation], at: int) -> bool:
    nothing, r = found[0], found[at]
    over, before = float(excess(r.found)[0]), float(excess(nothing.found)[0])
    kept = r.value < max(1.0, nothing.value) + SAME
    return (
        (r.value < nothing.value - GAIN and nothing.value > 1.0)
        or (r.value < nothing.value + SAME and over < LESS * before)
        or (kept and r.outside < LESS * nothing.outside)
    )


def _key(r: Recommendation) -> tuple[Any, ...]:
    intact = float(np.nan_to_num(r.found.loading[0], nan=np.inf))
    broken = intact > 1.0 or bool(r.found.voltage[0])
    secure = r.value <= 1.0 and not r.outside
    sheds = r.burden[0] == SHEDDING  # for voltages alone only where it mends the intact grid
    tier = 3 if broken else 2 if sheds else 0 if secure else 1
    value = 0.0 if r.value <= 1.0 else round(r.value * 200.0)
    return (tier, value, sheds, r.outside, r.burden, float(excess(r.found)[0]), r.steps, r.value)
