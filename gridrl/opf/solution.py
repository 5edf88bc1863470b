"""What an optimal power flow found: a dispatch and the voltages that go with it. No cost.

Cost and violations of a solution come from `gridrl.opf.verify` alone, whichever solver made it.
"""

from dataclasses import dataclass, field, fields
from enum import IntEnum

from gridrl.case import Case
from gridrl.grid import Complexes, Floats, Ints


class OpfStatus(IntEnum):
    """How a solver ended; what it found is judged by `gridrl.opf.verify` all the same."""

    OPTIMAL = 0  # a local optimum within the tolerance
    INFEASIBLE = 1  # no point within the limits was found, and none is near
    ITERATION_LIMIT = 2
    FAILED = 3  # the arithmetic broke down, or the solver gave up for another reason
    ISLANDED = 4  # optimal for what is supplied, but some demand has no supply
    TIME_LIMIT = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class PrimalDual:
    """Everything that an interior point knows at a point, to begin from: see `solve`'s ``warm``.

    Nodes, sources and inequalities are those of an `gridrl.opf.problem.OpfProblem`, inequalities in
    the order of `gridrl.opf.kernels_model`. Arrays may have a leading batch axis.
    """

    va: Floats  # [n_node] rad
    v: Floats  # [n_node] p.u.
    s: Floats  # [n_source] p.u.
    balance_price: Floats  # [n_node, 2] currency/h per p.u. of P and Q drawn
    slack: Floats  # [n_inequality] p.u., NaN: what the point leaves
    limit_price: Floats  # [n_inequality] currency/h per p.u., 0 or more
    mu: float | None = None  # slack times (scaled) multiplier to begin with

    def __getitem__(self, k: int | Ints) -> "PrimalDual":
        """One of a batch, or some."""
        parts = {f.name: getattr(self, f.name)[k] for f in fields(self) if f.name != "mu"}
        return PrimalDual(**parts, mu=self.mu)


@dataclass(frozen=True, eq=False, kw_only=True)
class OpfSolution:
    """Dispatch and voltages of one switching state, in per unit."""

    case: Case  # with the topology that the dispatch belongs to
    solver: str
    model: str  # "AC-S" (limits on apparent power), "AC-I" (on current), "DC", "SOC"
    status: OpfStatus
    p: Floats  # [n_unit] p.u., positive into the busbar; 0 where disconnected or dead
    q: Floats  # [n_unit] p.u.
    v: Complexes  # [n_substation, 2] p.u. at busbar 1 and 2, NaN where nothing supplies it
    price_p: Floats  # [n_substation, 2] currency/h per p.u. of active load there, NaN where unknown
    price_q: Floats  # [n_substation, 2] currency/h per p.u. of reactive load
    iterations: int = -1
    start: str = ""  # where the solver began: "flat", "dc", "flow", "warm"
    build_s: float = float("nan")  # seconds until the first iteration
    solve_s: float = float("nan")
    lower_bound: float = float("nan")  # currency/h, certified; of relaxations alone
    fallback: str = ""  # the solver that found this where ``solver`` had failed
    proved: bool = False  # INFEASIBLE by a certificate, not only as far as could be found
    message: str = ""
    state: PrimalDual | None = field(default=None, repr=False)  # of our own solver

    @property
    def ok(self) -> bool:
        """Whether the solver claims an optimum."""
        return self.status in (OpfStatus.OPTIMAL, OpfStatus.ISLANDED)
