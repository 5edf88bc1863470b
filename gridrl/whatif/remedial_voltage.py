"""Voltages within their limits as recommendations: alone, or after what relieves loadings."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from gridrl.powerflow.options import FlowOptions
from gridrl.security.contingency import Contingencies
from gridrl.whatif.levers import (
    lever_edits,
    lever_words,
    moved_elements,
    operations,
    power_change,
)
from gridrl.whatif.outlook import Reference
from gridrl.whatif.ranking import KINDS, Recommendation, ranked
from gridrl.whatif.redispatch import Means, used_means
from gridrl.whatif.voltage import Mended, mend

Edits = tuple[dict[str, Any], ...]


def mended(
    found: list[Recommendation], contingencies: Contingencies, reference: Reference,
    flow: FlowOptions, stages: Sequence[Means | None], locked: Collection[int],
    tried: dict[str, int], say: Callable[[str], None],
) -> list[Recommendation]:  # fmt: skip
    """Start from what relieves loadings best, or from doing nothing (the first of ``found``)."""
    nothing, *others = found
    helping = [r for r in others if r.value < nothing.value]
    best = [r for r in ranked([nothing, *helping], 1) if r.kind != "nothing"]
    start = best[0] if best else nothing
    if not start.outside:
        return []
    after = f" after {start.action}" if start.edits else ""
    out = []
    for better in mend(
        start.case, contingencies, reference, start.found, flow, stages, locked,
        progress=lambda what: say(what + after),
    ):  # fmt: skip
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
    kind = "voltage" if used is None else KINDS[used]
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
        places=frozenset({f"voltage {used}"}),
    )  # fmt: skip


def _together(first: Edits, second: Edits) -> Edits:
    """Edits of one variant: a later set point of an element replaces the earlier one."""
    by_what = {next(iter(edit.items())): edit for edit in first}
    return tuple((by_what | {next(iter(edit.items())): edit for edit in second}).values())
