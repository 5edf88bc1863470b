"""Permanent limits of a powsybl network as branch ratings in per unit."""

from dataclasses import replace
from typing import Any

import numpy as np

from gridrl.case import Fate, ReportRow
from gridrl.grid import Floats
from gridrl.io.assemble import Branches, Buses
from gridrl.io.powsybl_places import S_BASE_MVA, Frame

_ENDS = {"ONE": 0, "TWO": 1, "THREE": 2, "NONE": 0}


def with_limits(branches: Branches, buses: Buses, network: Any, rows: list[ReportRow]) -> Branches:
    """Ratings from the selected permanent current (A) and apparent power (MVA) limits.

    A current rating counts at the side that states it, an apparent power rating at both.
    """
    frame = network.get_loading_limits(all_attributes=True, show_inactive_sets=False)
    limits = Frame.read("limit", frame.reset_index().set_index("element_id"))
    if not len(limits):
        return branches
    at = _rows_of(branches, network)
    i_from, i_to = branches.i_max_from.copy(), branches.i_max_to.copy()
    s_max = branches.s_max.copy()
    left: dict[str, set[str]] = {}
    read = 0
    columns = (limits.texts(c) for c in ("side", "type"))
    duration = limits.data["acceptable_duration"].astype(float)
    value = limits.data["value"].astype(float)
    for ident, side, kind, seconds, bound in zip(limits.id, *columns, duration, value, strict=True):
        where = at.get((ident, _ENDS.get(side, 0)))
        if where is None or seconds != -1 or kind not in ("CURRENT", "APPARENT_POWER"):
            left.setdefault("temporary" if seconds != -1 else kind.lower(), set()).add(ident)
            continue
        if not np.isfinite(bound) or bound <= 0 or bound > 1e15:
            continue
        k, far = where
        read += 1
        if kind == "APPARENT_POWER":
            s_max[k] = min(s_max[k], bound / S_BASE_MVA)
        else:
            _current(i_to if far else i_from, k, bound, _vn(branches, buses, k, far))
    if read:
        rows.append(ReportRow(fate=Fate.KEPT, kind="permanent limit", count=read, note=""))
    for kind, idents in sorted(left.items()):
        note = "only permanent current and apparent power limits are read"
        ids = tuple(sorted(idents))
        row = ReportRow(
            fate=Fate.REFUSED, kind=f"{kind} limit", count=len(ids), note=note, elements=ids
        )
        rows.append(row)
    return replace(branches, i_max_from=i_from, i_max_to=i_to, s_max=s_max)


def _current(i_max: Floats, k: int, bound_a: float, vn_kv: float) -> None:
    i_max[k] = min(i_max[k], bound_a * np.sqrt(3) * vn_kv / (1000 * S_BASE_MVA))


def _vn(branches: Branches, buses: Buses, k: int, far: bool) -> float:
    return float(buses.vn_kv[int((branches.to_bus if far else branches.from_bus)[k])])


def _rows_of(branches: Branches, network: Any) -> dict[tuple[str, int], tuple[int, bool]]:
    """(element, side number) -> (branch row, whether it is the row's to end)."""
    out: dict[tuple[str, int], tuple[int, bool]] = {}
    legs: dict[str, int] = {}
    tie_of = dict(
        zip(*(list(c) for c in _halves(network)), strict=True)
    )  # half line -> tie line, in file order
    half_ids = [ident for ident, tie in tie_of.items() if tie]
    for k, (kind, ident) in enumerate(zip(branches.kind, branches.id, strict=True)):
        if kind in ("trafo3w", "tie_line"):
            leg = legs.get(ident, 0)
            legs[ident] = leg + 1
            out[ident, leg] = (k, False)
        else:
            out[ident, 0] = (k, False)
            out[ident, 1] = (k, True)
    ties: dict[str, int] = {}
    for half in half_ids:
        leg = ties.get(tie_of[half], 0)
        ties[tie_of[half]] = leg + 1
        out[half, 0] = out[tie_of[half], leg]
    return out


def _halves(network: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    frame = Frame.read("boundary line", network.get_boundary_lines(all_attributes=True))
    return frame.id, frame.texts("tie_line_id")
