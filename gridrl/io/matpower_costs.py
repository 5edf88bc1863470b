"""MATPOWER's ``gencost`` table as cost functions in per unit.

One row for each generator, or as many again for reactive power. Source: MATPOWER User's Manual,
table B-4; columns counted from zero: MODEL (1 piecewise linear, 2 polynomial), STARTUP, SHUTDOWN,
NCOST, then points (MW, currency/h) or coefficients, highest power first.
"""

import numpy as np

from gridrl.case import Fate, ReportRow
from gridrl.costs import CostRow, Costs, join
from gridrl.errors import CaseError
from gridrl.grid import Floats
from gridrl.io.matpower_tables import refuse

MODEL, STARTUP, SHUTDOWN, NCOST, COST = 0, 1, 2, 3, 4
PIECEWISE, POLYNOMIAL = 1, 2


def read_costs(
    gencost: Floats | None, n_gen: int, first_unit: int, base_mva: float, rows: list[ReportRow]
) -> Costs:
    """Cost functions of the generators, whose first is unit ``first_unit`` of the grid.

    Raises
    ------
    CaseError
        The table has rows for neither every generator nor twice as many.
    GridError
        A row is no cost function; the message names its generator.
    """
    if gencost is None or not gencost.size:
        return Costs.none()
    if gencost.ndim != 2 or gencost.shape[1] <= COST or len(gencost) not in (n_gen, 2 * n_gen):
        raise CaseError(
            f"The gencost table has shape {gencost.shape} for {n_gen} generators. Give one row "
            "for each (or two, active and reactive) with MODEL, STARTUP, SHUTDOWN, NCOST and "
            "the parameters."
        )
    _check(gencost, n_gen)
    functions = []
    for k, row in enumerate(gencost):
        unit, of_reactive = first_unit + k % n_gen, k >= n_gen
        n = int(row[NCOST])
        if row[MODEL] == POLYNOMIAL:
            scale = base_mva ** np.arange(n)
            terms = row[COST : COST + n][::-1] * scale
            if of_reactive and not terms.any():
                continue  # half of such a table is zeros
            functions.append(
                CostRow(unit=unit, of_reactive=of_reactive, coefficient=tuple(terms.tolist()))
            )
        else:
            pairs = row[COST : COST + 2 * n].reshape(n, 2)
            points = tuple((float(x) / base_mva, float(y)) for x, y in pairs)
            functions.append(CostRow(unit=unit, of_reactive=of_reactive, points=points))
    rows.append(ReportRow(fate=Fate.KEPT, kind="gencost", count=len(gencost), note=""))
    once = (gencost[:, STARTUP] != 0) | (gencost[:, SHUTDOWN] != 0)
    if once.any():
        ids = tuple(str(k % n_gen + 1) for k in np.flatnonzero(once))
        note = "startup and shutdown costs are not used: units are never started or stopped"
        rows.append(
            ReportRow(
                fate=Fate.REFUSED, kind="gencost startup", count=len(ids), note=note, elements=ids
            )
        )
    return join(functions)


def _check(gencost: Floats, n_gen: int) -> None:
    names = tuple(
        f"gen {k % n_gen + 1}" + (" (reactive)" if k >= n_gen else "") for k in range(len(gencost))
    )
    model, n = gencost[:, MODEL], gencost[:, NCOST]
    bad = np.isin(model, (PIECEWISE, POLYNOMIAL), invert=True)
    fix = "Correct MODEL."
    refuse(bad, names, "gencost MODEL", "is not 1 (piecewise linear) or 2 (polynomial)", fix)
    width = np.where(model == PIECEWISE, 2 * n, n)
    least = np.where(model == PIECEWISE, 2, 1)
    bad = (n < least) | (n != np.round(n)) | ~(COST + width <= gencost.shape[1])
    problem = "does not fit the columns of its row (points: 2 or more, coefficients: 1 or more)"
    refuse(bad, names, "gencost NCOST", problem, "Correct NCOST or complete the row.")
    used = np.arange(gencost.shape[1]) < COST + width[:, None]
    broken = (~np.isfinite(gencost) & used).any(axis=1)
    refuse(np.asarray(broken), names, "gencost", "is not a finite number", "Give its value.")
    x = gencost[:, COST::2]
    apart = np.diff(x, axis=1) > 0
    inner = np.arange(1, x.shape[1]) < n[:, None]
    bad = (model == PIECEWISE) & np.asarray((~apart & inner).any(axis=1))
    refuse(bad, names, "gencost points", "do not increase in MW", "Sort them or merge equal ones.")
