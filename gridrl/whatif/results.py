"""What a study found: one `VariantResult` for each variant, and the base state beside them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from gridrl.case import Case
from gridrl.errors import StudyError
from gridrl.grid import Bools, Topology
from gridrl.powerflow.options import FlowStatus
from gridrl.powerflow.result import FlowResult
from gridrl.security.result import SecurityResult
from gridrl.whatif.edits import Edit

BASE = "base"  # name of the case without any variant's edits
Advice = Mapping[str, Any]  # RemedialResult.to_dict(): MW, percent and kV


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A name and what is changed under it."""

    name: str
    edits: tuple[Edit, ...] = ()
    family: str = ""  # the time series that it is a step of
    where: str = ""  # place in the user's file, for messages

    def __str__(self) -> str:
        return "; ".join(map(str, self.edits)) or "nothing changed"


@dataclass(frozen=True, eq=False, kw_only=True)
class VariantResult:
    """One solved variant. Failed physics is a status: `flow` and `n1` then hold NaN."""

    variant: Variant
    case: Case  # with the edits made
    flow: FlowResult  # batch of one
    n1: SecurityResult | None = None  # None where not asked for, or where there is no base for them
    advice: Advice | None = None  # what to do about it, where that was asked for
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def solved(self) -> bool:
        return bool(self.flow.solved()[0])

    @property
    def status(self) -> str:
        """How the power flow ended: "ok", "islanded", "diverged" or "blackout"."""
        return FlowStatus(int(self.flow.status[0])).name.lower()


@dataclass(frozen=True, eq=False)
class Fetched(Sequence[VariantResult]):
    """Variants that are read when they are asked for, and not kept: memory stays flat."""

    names: tuple[str, ...]
    load: Callable[[str], VariantResult]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, at: int) -> VariantResult: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[VariantResult]: ...
    def __getitem__(self, at: int | slice) -> VariantResult | Sequence[VariantResult]:
        if isinstance(at, slice):
            return Fetched(self.names[at], self.load)
        return self.load(self.names[at])


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyResult:
    """The base state and every variant that is finished, in the order of the study."""

    name: str
    base: VariantResult
    variants: Sequence[VariantResult]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[VariantResult]:
        """The base state, then the variants."""
        yield self.base
        yield from self.variants

    def __len__(self) -> int:
        return 1 + len(self.variants)

    def __getitem__(self, name: str) -> VariantResult:
        """The variant of this name.

        Raises
        ------
        StudyError
            There is none.
        """
        if name == self.base.name:
            return self.base
        if name not in self.names:
            from gridrl.whatif.places import nearest

            raise StudyError(f"No variant '{name}'. {nearest(name, self.names)}")
        return self.variants[self.names.index(name) - 1]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The base state's name, then those of the variants."""
        if isinstance(self.variants, Fetched):
            return (self.base.name, *self.variants.names)
        return tuple(result.name for result in self)

    def against(self, name: str) -> "StudyResult":
        """The same results compared with another variant than the base."""
        base = self[name]
        others = tuple(other for other in self.names if other != base.name)
        return replace(self, base=base, variants=Fetched(others, self.__getitem__))

    @property
    def shared(self) -> str:
        """In words, what is changed in the base and so in every variant; empty if nothing is."""
        base = self[BASE] if BASE in self.names else None
        return str(base.variant) if base is not None and base.variant.edits else ""

    def comparison(self) -> list[dict[str, Any]]:
        """One row per variant, the base first; see `gridrl.whatif.tables.comparison_rows`."""
        from gridrl.whatif.tables import comparison_rows

        return comparison_rows(self)

    def report(self, path: str | Path) -> None:
        """Write one self-contained HTML file; see `gridrl.whatif.report.write_report`."""
        from gridrl.whatif.report import write_report

        write_report(path, self)


@dataclass(frozen=True, kw_only=True)
class TopologyChange:
    """How far a variant's switching is from the base's."""

    busbars: tuple[str, ...]  # substations whose connected terminals are grouped differently
    switched: tuple[str, ...]  # elements with a branch or unit that was taken in or out

    @property
    def depth(self) -> int:
        """Substations regrouped plus elements switched."""
        return len(self.busbars) + len(self.switched)


def topology_change(base: Case, case: Case) -> TopologyChange:
    """What is switched differently in ``case`` than in ``base``, by label.

    Swapping the names of the two busbars of a substation changes nothing.
    """
    grid = case.grid
    before, after = base.topology, case.topology
    changed_branch = before.closed[0] != after.closed[0]
    connected = (before.busbar[0] > 0) != (after.busbar[0] > 0)
    n = grid.n_branch
    changed_branch |= connected[:n] | connected[n : 2 * n]
    elements = np.zeros(grid.n_element, np.bool_)
    elements[grid.branch_element[changed_branch]] = True
    elements[grid.unit_element[connected[2 * n :]]] = True
    regrouped = _regrouped(base, before, after)
    return TopologyChange(
        busbars=tuple(grid.substation_label[int(s)] for s in np.flatnonzero(regrouped)),
        switched=tuple(grid.element_label[int(e)] for e in np.flatnonzero(elements)),
    )


def _regrouped(base: Case, before: Topology, after: Topology) -> Bools:
    """[n_substation] whether two terminals that share a busbar in one state do not in the other."""
    grid = base.grid
    both = (before.busbar[0] > 0) & (after.busbar[0] > 0)
    moved = np.where(both, before.busbar[0] != after.busbar[0], False)
    stayed = both & ~moved
    n_moved = np.bincount(grid.terminal_substation[moved], minlength=grid.n_substation)
    n_stayed = np.bincount(grid.terminal_substation[stayed], minlength=grid.n_substation)
    return np.asarray((n_moved > 0) & (n_stayed > 0))
