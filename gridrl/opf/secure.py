"""AC N-1 of an optimal dispatch, and whether switching makes it worse.

An optimal dispatch loads branches to their ratings, so that as a rule it is not N-1 secure, with or
without switching. What counts is therefore how a switched state compares with the dispatch of the
grid as it was.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.opf.solution import OpfSolution
from gridrl.powerflow.options import FlowOptions, FlowStatus
from gridrl.security import security
from gridrl.security.result import SecurityOptions, SecurityResult
from gridrl.security.tables import contingency_rows

ROUNDING = 1e-6


class Comparison(StrEnum):
    """How a state stands in N-1."""

    SECURE = "secure"
    NO_WORSE = "no worse than before switching"
    WORSE = "worse than before switching"


@dataclass(frozen=True, eq=False, kw_only=True)
class N1:
    """What the single outages do to a dispatch."""

    case: Case  # with the dispatch as injection
    result: SecurityResult

    @property
    def insecure(self) -> int:
        """Outages that overload, break a voltage limit, cut load off or have no power flow."""
        return int(self.result.insecure().sum())

    @property
    def severity(self) -> tuple[float, float, float, float]:
        """Outages without power flow, p.u. load cut off, outages insecure, sum of overloads."""
        result = self.result
        unsolved = np.isin(result.status, (FlowStatus.DIVERGED, FlowStatus.BLACKOUT)).sum()
        over = result.violation_value[result.violation_branch >= 0] - 1.0
        return (
            float(unsolved),
            float(result.lost_load.sum()),
            float(self.insecure),
            float(np.maximum(over, 0.0).sum()),
        )

    def compared_with(self, before: "N1") -> Comparison:
        """Secure, or else no worse in any respect of `severity`, or worse."""
        if not self.insecure:
            return Comparison.SECURE
        pairs = zip(self.severity, before.severity, strict=True)
        no_worse = all(now <= then * (1 + ROUNDING) + ROUNDING for now, then in pairs)
        return Comparison.NO_WORSE if no_worse else Comparison.WORSE

    def row(self, top: int) -> dict[str, Any]:
        """Counts, the worst loading, and the worst outages, in percent and MW."""
        loading = self.result.loading
        known = loading[np.isfinite(loading)]
        unsolved, lost, insecure, _ = self.severity
        return {
            "contingencies": len(self.result.contingencies),
            "insecure": int(insecure),
            "without_power_flow": int(unsolved),
            "worst_loading_percent": float(100.0 * known.max()) if known.size else float("nan"),
            "lost_load_mw": float(lost * self.case.grid.s_base_mva),
            "worst": contingency_rows(self.case, self.result, top),
        }


def dispatched(solution: OpfSolution) -> Case:
    """The case with the dispatch as its injection and the voltages as set points."""
    case = solution.case
    grid = case.grid
    at = case.topology.busbar[0, 2 * grid.n_branch :].astype(np.int64) - 1
    v = np.abs(solution.v[grid.unit_substation, np.maximum(at, 0)])
    own = case.injection
    held = np.isfinite(own.v_set[0]) & np.isfinite(v) & (at >= 0)
    injection = replace(
        own,
        p=np.where(grid.dispatchable | grid.is_reference, solution.p, own.p[0])[None],
        q=np.where(grid.dispatchable, solution.q, own.q[0])[None],
        v_set=np.where(held, v, own.v_set[0])[None],
    )
    return replace(case, injection=injection)


def n1(solution: OpfSolution, *, limit: float = 1.0, threads: int = 1) -> N1:
    """Every single outage at the dispatch.

    Parameters
    ----------
    limit
        Loading that is allowed after an outage, 1 is the rating: above 1 where operators have time
        to correct.
    """
    case = dispatched(solution)
    options = SecurityOptions(flow=FlowOptions(threads=threads), threshold=limit)
    return N1(case=case, result=security(case, options=options))
