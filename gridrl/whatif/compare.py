"""How far two solutions of one variant are apart."""

from typing import Any

import numpy as np

from gridrl.whatif.results import VariantResult

SAME_PU = 1e-6
SAME_MVA = 1e-4


def reproduction_row(stored: VariantResult, again: VariantResult) -> dict[str, Any]:
    """A variant solved again beside its stored result.

    Columns: ``variant, same, status, status_now, max_dv_pu, max_ds_mva, n1_same``. Differences are
    NaN where either has no solution.
    """
    dv, ds = _differences(stored, again)
    n1 = _same_outages(stored, again)
    close = not (dv > SAME_PU or ds > SAME_MVA)  # NaN: neither has a solution
    return {
        "variant": stored.name,
        "same": stored.status == again.status and close and n1,
        "status": stored.status,
        "status_now": again.status,
        "max_dv_pu": dv,
        "max_ds_mva": ds,
        "n1_same": n1,
    }


def _differences(stored: VariantResult, again: VariantResult) -> tuple[float, float]:
    if not (stored.solved and again.solved) or stored.flow.v.shape != again.flow.v.shape:
        return float("nan"), float("nan")
    base = stored.case.grid.s_base_mva
    dv = np.nan_to_num(np.abs(stored.flow.v - again.flow.v)).max(initial=0.0)
    ds = max(
        np.nan_to_num(np.abs(getattr(stored.flow, name) - getattr(again.flow, name))).max(initial=0)
        for name in ("s_from", "s_to")
    )
    return float(dv), float(ds * base)


def _same_outages(stored: VariantResult, again: VariantResult) -> bool:
    one, other = stored.n1, again.n1
    if one is None or other is None:
        return one is other
    return (
        one.contingencies.name == other.contingencies.name
        and np.array_equal(one.status, other.status)
        and bool(np.allclose(one.loading, other.loading, rtol=0, atol=SAME_PU, equal_nan=True))
    )
