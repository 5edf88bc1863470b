"""A study: a base case, named variants of it, and how they are to be solved.

Variants share batches where they share admittances (`gridrl.whatif.solve`); each is then secured
on its own. `Study.solve` yields results as they are finished, so that they can be stored at once.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from gridrl.case import Case
from gridrl.errors import StudyError
from gridrl.powerflow.options import FlowOptions
from gridrl.security.contingency import Contingencies, contingencies_of
from gridrl.security.result import SecurityOptions, SecurityResult
from gridrl.security.sweep import security
from gridrl.whatif.edits import Edit, apply_edits, parse_edit
from gridrl.whatif.results import BASE, Advice, StudyResult, Variant, VariantResult
from gridrl.whatif.solve import solve_variants
from gridrl.whatif.workers import Progress, Shares, side_by_side, usable_cores

CHUNK = 64  # variants that are solved, and kept in memory, side by side
MAX_VARIANTS = 20_000
_REMEDIAL = "gridrl.whatif.remedial"


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """What is done with every variant."""

    flow: FlowOptions = field(default_factory=lambda: FlowOptions(threads=usable_cores()))
    n1: bool = True  # take every element out in turn, or those of ``outages``
    outages: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (name, elements) instead of all
    recommend: bool = True  # where a limit is broken, say what to do about it

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "StudySettings":
        """The settings that `to_dict` wrote.

        Raises
        ------
        StudyError
            Another version of gridrl wrote settings that this one does not have.
        """
        try:
            outages = tuple((name, tuple(elements)) for name, elements in stored["outages"])
            return cls(**{**stored, "flow": FlowOptions(**stored["flow"]), "outages": outages})
        except (KeyError, TypeError, ValueError) as problem:
            raise StudyError(
                f"The stored settings cannot be read by this version of gridrl ({problem}). Make "
                "the study again from its source."
            ) from None


@dataclass(frozen=True, eq=False, kw_only=True)
class Study:
    """A base case and its variants.

    Parameters
    ----------
    case
        The case before anything is changed.
    name
        What the study is called; by default as its case.
    base_edits
        Edits made in every variant, the base included, before its own.
    variants
        Each with a name of its own; ``base`` is taken.

    Raises
    ------
    StudyError
        A name is missing, taken or written twice, or there are too many variants.

    Examples
    --------
    >>> import gridrl
    >>> from gridrl.whatif import Study
    >>> study = Study(case=gridrl.load("case39")).adding("tie", {"open": "line:26"})
    >>> for row in study.run().comparison():
    ...     print(row["variant"], f"{row['worst_loading_percent']:.1f} % on {row['worst_branch']}")
    base 77.0 % on trafo:2
    tie 157.5 % on line:28
    """

    case: Case
    name: str = ""
    base_edits: tuple[Edit, ...] = ()
    variants: tuple[Variant, ...] = ()
    settings: StudySettings = field(default_factory=StudySettings)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.case.source or self.case.grid.name)
        if len(self.variants) > MAX_VARIANTS:
            raise StudyError(
                f"{len(self.variants):,} variants are more than the {MAX_VARIANTS:,} that one "
                "study may have. Make several studies of it."
            )
        seen: set[str] = set()
        for variant in self.variants:
            at = f"{variant.where}: " if variant.where else ""
            if not variant.name.strip():
                raise StudyError(f"{at}a variant needs a name.")
            if variant.name == BASE:
                raise StudyError(f"{at}'{BASE}' is the case itself. Give the variant another name.")
            if variant.name in seen:
                raise StudyError(f"{at}two variants are called '{variant.name}'. Rename one.")
            seen.add(variant.name)

    def adding(self, name: str, *edits: Mapping[str, Any] | Edit) -> "Study":
        """The study with one variant more; edits are tables as in a study file."""
        parsed = tuple(e if isinstance(e, Edit) else parse_edit(e, f"variant '{name}', edit {k}")
                       for k, e in enumerate(edits, 1))  # fmt: skip
        return replace(self, variants=(*self.variants, Variant(name=name, edits=parsed)))

    @cached_property
    def base_case(self) -> Case:
        """The case with the edits that all variants share."""
        return apply_edits(self.case, self.base_edits)

    @property
    def base(self) -> Variant:
        """The base as a variant: what is changed in it is changed in all others, too."""
        return Variant(name=BASE, edits=self.base_edits)

    def case_of(self, variant: Variant) -> Case:
        """The case that a variant means.

        Raises
        ------
        ElementError, StudyError
            An edit fits no element, makes no sense or contradicts another.
        """
        if variant.name == BASE:
            return self.base_case
        return apply_edits(self.base_case, variant.edits)

    def check(self) -> None:
        """Make every edit once, so that what is wrong is said before anything is solved."""
        for variant in self.variants:
            self.case_of(variant)
        if self.settings.outages:
            self._outages(self.base_case)

    def run(self, progress: Progress | None = None) -> StudyResult:
        """Solve everything; for results that survive an interruption see `gridrl.whatif.Store`."""
        base, *found = self.solve(progress)
        by_name = {result.name: result for result in found}
        return StudyResult(
            name=self.name, base=base, variants=tuple(by_name[v.name] for v in self.variants),
            settings=self.settings.to_dict(),
        )  # fmt: skip

    def solve(
        self, progress: Progress | None = None, *, skip: Sequence[str] = ()
    ) -> Iterator[VariantResult]:
        """Yield the base state, then every variant as soon as it is finished, in any order.

        Variants run side by side in as many threads as the settings of the power flow say.

        Parameters
        ----------
        skip
            Names of variants that are not wanted again.
        """
        self.check()
        left = set(skip)
        todo = [v for v in (self.base, *self.variants) if v.name not in left]
        for begin in range(0, len(todo), CHUNK):
            part = todo[begin : begin + CHUNK]
            cases = [self.case_of(v) for v in part]
            series = all(v.family == part[0].family != "" for v in part)
            said = Shares(progress, begin, len(todo))
            said.say(0.0, f"{len(part)} power flows")
            began = time.perf_counter()
            flows = solve_variants(self.base_case, cases, self.settings.flow, sequence=series)
            each = (time.perf_counter() - began) / len(part)
            found = [
                VariantResult(variant=variant, case=case, flow=flow, seconds=each)
                for variant, case, flow in zip(part, cases, flows, strict=True)
            ]
            flow, threads = self.settings.flow, min(self.settings.flow.threads, len(found))
            work = partial(self._secured, replace(flow, threads=1) if threads > 1 else flow)
            # the base begins first, and the others are compared with it: they wait for it
            waiting, base_first = [], found[0].name == BASE
            for result in side_by_side(work, found, threads, said):
                base_first = base_first and result.name != BASE
                if base_first:
                    waiting.append(result)
                    continue
                yield result
                yield from waiting
                waiting.clear()

    def _secured(self, flow: FlowOptions, result: VariantResult, say: Progress) -> VariantResult:
        """The result with its outages solved, and with what to do about overloads."""
        if not (self.settings.n1 and result.solved):
            say(1.0, result.name)
            return result
        began = time.perf_counter()
        options = SecurityOptions(flow=flow)
        outages = self._outages(result.case)
        solved = result.flow.v[0, : result.case.grid.n_substation]
        result = replace(result, case=replace(result.case, start=solved))
        n1 = security(
            result.case, contingencies=outages, options=options,
            progress=lambda done, total: say(0.9 * done / max(total, 1), f"{result.name}: N-1"),
        )  # fmt: skip
        if not n1.base.solved()[0]:
            # Solved beside its siblings, but not from scratch (seen with reactive limits): what
            # the sweep says of its outages would be about nothing.
            say(1.0, result.name)
            return result
        # The sweep names nodes after its own base solution: keep both from one engine.
        result = replace(result, n1=n1, flow=n1.base)
        advice = self._advice(result, n1, flow, say)
        say(1.0, result.name)
        spent = result.seconds + time.perf_counter() - began
        return replace(result, advice=advice, seconds=spent)

    def _outages(self, case: Case) -> Contingencies | None:
        """The outages asked for; None for what `security` takes by default."""
        if not self.settings.outages:
            return None
        found = contingencies_of(case, [elements for _, elements in self.settings.outages])
        names = [name for name, _ in self.settings.outages]
        return Contingencies(
            name=tuple(n or label for n, label in zip(names, found.name, strict=True)),
            elements=found.elements,
        )

    def _advice(
        self, result: VariantResult, n1: SecurityResult, flow: FlowOptions, say: Progress
    ) -> Advice | None:
        """What the remedial search recommends, where a loading or voltage breaks its limit."""
        from gridrl.whatif.tables import overloads, voltages_outside

        remedial = remedial_search()
        broken = overloads(result) or voltages_outside(result)
        if not self.settings.recommend or remedial is None or not broken:
            return None
        say(0.9, f"{result.name}: remedial actions")
        found: dict[str, Any] = remedial.recommend(
            result.case,
            options=remedial.RemedialOptions(flow=flow),
            known=n1,
            progress=lambda what: say(0.9, f"{result.name}: {what}"),
        ).to_dict()
        return found

    @classmethod
    def read(cls, path: str | Path) -> "Study":
        """Read a study file; see `gridrl.whatif.study_file.read_study`."""
        from gridrl.whatif.study_file import read_study

        return read_study(path)


def remedial_search() -> Any:
    """The module that searches for remedial actions, None where this installation has none."""
    try:
        return import_module(_REMEDIAL)
    except ModuleNotFoundError as missing:
        if missing.name != _REMEDIAL:
            raise
        return None
