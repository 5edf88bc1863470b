"""Cost tables of a pandapower net as cost functions in per unit.

A cost is a function of the element's own ``p_mw`` and ``q_mvar``, which count consumption
positive for loads and storages; it is turned around here. (pandapower's own optimal power flow
negates the whole function of a load instead, which is the same for linear costs alone.)
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from gridrl.case import Fate, ReportRow
from gridrl.costs import CostRow, Costs, join
from gridrl.errors import CaseError

_CONSUMERS = ("load", "storage")
_TABLES = ("gen", "ext_grid", "sgen", *_CONSUMERS)
_POLYNOMIALS = {
    False: ("cp0_eur", "cp1_eur_per_mw", "cp2_eur_per_mw2"),
    True: ("cq0_eur", "cq1_eur_per_mvar", "cq2_eur_per_mvar2"),
}
_DCLINE = "costs of DC lines: their power is not optimised here"
_NOWHERE = "names no element that an optimal power flow could dispatch"

UnitOf = Callable[[str, int], int | None]


def read_costs(net: Any, unit_of: UnitOf) -> tuple[Costs, list[ReportRow]]:
    """Costs of the units that ``unit_of(table, index)`` finds, and what was left out.

    Raises
    ------
    CaseError
        A row is no cost function, or prices what another one prices; the message names it.
    """
    found: dict[tuple[int, bool], CostRow] = {}
    rows: list[ReportRow] = []
    base = float(net.sn_mva)
    for table, functions in (("poly_cost", _polynomials), ("pwl_cost", _piecewise)):
        frame = net.get(table)
        if not isinstance(frame, pd.DataFrame) or not len(frame):
            continue
        kept = 0
        lost: dict[str, list[str]] = {}
        for index, row in frame.iterrows():
            et = str(row.get("et"))
            unit = unit_of(et, _element(row.get("element"))) if et in _TABLES else None
            if unit is None:
                why = _DCLINE if et == "dcline" else _NOWHERE
                lost.setdefault(why, []).append(str(index))
                continue
            kept += 1
            for function in functions(row, unit, base, f"{table}:{index} ({et}:{row['element']})"):
                key = (unit, function.of_reactive)
                if key in found:
                    raise CaseError(
                        f"{table}:{index}: {et}:{row['element']} has two costs for the same power. "
                        "Keep one of them."
                    )
                found[key] = function
        if kept:
            rows.append(ReportRow(fate=Fate.KEPT, kind=table, count=kept, note=""))
        rows += [
            ReportRow(fate=Fate.REFUSED, kind=table, count=len(ids), note=why, elements=tuple(ids))
            for why, ids in lost.items()
        ]
    return join(list(found.values())), rows


def _element(value: Any) -> int:
    """The element's index; -1, which no element has, for what is no whole number."""
    number = _number(value)
    return int(number) if np.isfinite(number) and number == int(number) else -1


def _number(value: Any) -> float:
    """``value`` as a float, NaN for what is no number."""
    if isinstance(value, bool | str) or not isinstance(value, int | float | np.number):
        return np.nan
    try:
        return float(value)
    except OverflowError:  # an integer beyond any float
        return np.inf


def _polynomials(row: Any, unit: int, base: float, label: str) -> list[CostRow]:
    sign = -1.0 if row["et"] in _CONSUMERS else 1.0
    out = []
    for of_reactive, names in _POLYNOMIALS.items():
        terms = []
        for power, name in enumerate(names):
            value = 0.0 if row.get(name) is None else _number(row[name])
            if not np.isfinite(value):
                raise CaseError(f"{label}: {name} is not a finite number. Give its value.")
            terms.append(value * (sign * base) ** power)
        if any(terms) or not of_reactive:
            out.append(CostRow(unit=unit, of_reactive=of_reactive, coefficient=tuple(terms)))
    return out


def _piecewise(row: Any, unit: int, base: float, label: str) -> list[CostRow]:
    """Points of ``[[from, to, slope], ...]``; the cost at the first is its power times its slope.

    That constant is pandapower's; it does not change the optimum.
    """
    areas = row.get("points")
    power_type = row.get("power_type", "p")
    shaped = isinstance(areas, list | tuple | np.ndarray) and len(areas) > 0
    shaped = shaped and all(isinstance(a, list | tuple | np.ndarray) and len(a) == 3 for a in areas)
    if not shaped or power_type not in ("p", "q"):
        raise CaseError(
            f"{label}: points must be a list of [from, to, slope] in MW and currency/MWh, and "
            "power_type 'p' or 'q'. Correct the row."
        )
    numbers = np.array([[_number(value) for value in area] for area in areas])
    start, stop, slope = numbers.T
    if not np.isfinite(numbers).all() or (stop <= start).any() or (start[1:] != stop[:-1]).any():
        raise CaseError(
            f"{label}: the ranges of points must be finite, not empty, and each must begin where "
            "the one before ends. Correct the row."
        )
    x = np.append(start, stop[-1])
    y = np.append(0.0, np.cumsum((stop - start) * slope)) + start[0] * slope[0]
    if row["et"] in _CONSUMERS:
        x, y = -x[::-1], y[::-1]
    points = tuple(zip((x / base).tolist(), y.tolist(), strict=True))
    return [CostRow(unit=unit, of_reactive=power_type == "q", points=points)]
