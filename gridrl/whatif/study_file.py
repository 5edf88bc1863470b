"""Study files: TOML in, a checked `Study` out. Whatever is wrong is one sentence with its place.

::

    name = "evening peak"
    case = "case39"                    # a name, or a file beside this one
    base = [{scale_load = 1.05}]       # made in every variant

    [[variant]]
    name = "line 26 out"
    edits = [{open = "line:26"}, {redispatch = "gen:3", p_mw = 500}]

    [[series]]
    name = "day"
    file = "day.csv"                   # see gridrl.whatif.series
"""

import difflib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from gridrl.case import Case
from gridrl.errors import CaseError, ElementError, StudyError
from gridrl.io import load
from gridrl.powerflow.options import FlowOptions
from gridrl.security.contingency import read_contingencies
from gridrl.whatif.edits import Edit, apply_edits, parse_edit
from gridrl.whatif.results import Variant
from gridrl.whatif.series import read_series
from gridrl.whatif.stress import Stress, stress_of, stressed, told
from gridrl.whatif.study import Study, StudySettings
from gridrl.whatif.toml_places import Places
from gridrl.whatif.workers import usable_cores

MAX_BYTES = 4 * 2**20

_ROOT: dict[str, type] = {
    "name": str, "case": str, "stress": dict, "base": list, "variant": list, "series": list,
    "n1": bool, "contingencies": str, "recommend": bool,
    "q_limits": bool, "distributed_slack": bool, "island_rule": str, "threads": int,
}  # fmt: skip
_VARIANT: dict[str, type] = {"name": str, "edits": list}
_SERIES: dict[str, type] = {"name": str, "file": str, "edits": list}
_STRESS: dict[str, type] = {field.name: object for field in fields(Stress)}
_CALLED = {
    str: "text in quotes", list: "a list", bool: "true or false", int: "a whole number",
    dict: "a table like {load_scale = 1.1}",
}  # fmt: skip


def read_study(path: str | Path) -> Study:
    """Read a study file and the case it names.

    Raises
    ------
    StudyError
        The file is missing, too large, no TOML, or something in it is unknown, missing, of the
        wrong type or contradictory; the message says in which line.
    ElementError
        An edit names what the case does not have.
    CaseError, GridError
        The case cannot be read.
    """
    path = Path(path)
    reader = _Reader(path, _text(path))
    study = reader.study()
    study.check()
    return study


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise StudyError(f"{path} is a folder. Name a study file (.toml).")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise StudyError(
                f"{path.name} has {size / 2**20:.1f} MiB; a study file may have {MAX_BYTES >> 20}. "
                "Put time series into CSV files of their own."
            )
        return path.read_text(encoding="utf-8-sig")  # as editors of Windows write it
    except OSError as problem:
        raise StudyError(f"Cannot read study file {path}: {problem.strerror}.") from None
    except UnicodeDecodeError as problem:
        raise StudyError(
            f"{path.name} is not a text file in UTF-8 (byte {problem.start})."
        ) from None


class _Reader:
    """One study file while it is read."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        try:
            self._root: dict[str, Any] = tomllib.loads(text)
        except RecursionError:
            raise StudyError(f"{path.name} nests its brackets too deep to be a study.") from None
        except ValueError as broken:
            raise StudyError(f"{path.name} is not valid TOML: {broken}.") from None
        self._places = Places(text)

    def _at(self, table: str = "", index: int = 0, key: str = "", element: int = -1) -> str:
        return f"{self._path.name}, line {self._places.line(table, index, key, element)}"

    def study(self) -> Study:
        self._check(self._root, _ROOT, "a study", lambda key: self._at(key=key))
        case = self._stressed() if "stress" in self._root else self._case(self._named())
        base = self._edits(self._root.get("base", []), "", 0, "base")
        # The shared edits are made here once, so that their place is known if they fail.
        base_case = apply_edits(case, base)
        return Study(
            case=case,
            name=self._root.get("name", self._path.stem),
            base_edits=base,
            variants=(*self._variants(), *self._series(base_case)),
            settings=self._settings(base_case),
        )

    def _named(self) -> str:
        if "case" not in self._root:
            raise StudyError(
                f'{self._path.name} names no case. Write case = "case39", or a file beside it.'
            )
        return str(self._root["case"])

    def _stressed(self) -> Case:
        """The case made worse by the study's recipe, see `gridrl.whatif.stress`."""
        at, recipe = self._at(key="stress"), dict(self._root["stress"])
        self._check(recipe, _STRESS, "a stress recipe", lambda _: at)
        if "case" in recipe and "case" in self._root:
            raise StudyError(f"{at}: the case is named twice. Keep 'case' or that of 'stress'.")
        recipe.setdefault("case", self._root.get("case"))
        if not isinstance(recipe["case"], str):
            raise StudyError(
                f'{at}: stress needs a case, as in stress = {{case = "case118", load_scale = 1.1}}.'
            )
        case = self._case(recipe["case"], "stress" if "case" not in self._root else "case")
        try:
            stress = stress_of(recipe, at)
            made = stressed(case, stress)
        except ElementError as problem:
            raise ElementError(f"{at}: {problem}") from None
        except CaseError as problem:
            said = str(problem)
            raise CaseError(said if said.startswith(at) else f"{at}: {said}") from None
        # its name alone would mean the case before
        return replace(
            made, source=f"{case.source or case.grid.name} (stressed)",
            notes=(*made.notes, told(stress)),
        )  # fmt: skip

    def _check(
        self, table: Any, known: Mapping[str, type], what: str, at: Callable[[str], str]
    ) -> None:
        """Refuse unknown keys and values of the wrong type."""
        if not isinstance(table, dict):
            raise StudyError(f"{at('')}: {what} is a table with {', '.join(known)}.")
        for key, value in table.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
                hint = f"Did you mean '{near[0]}'?" if near else f"It may have {', '.join(known)}."
                raise StudyError(f"{at(key)}: {what} has no '{key[:60]}'. {hint}")
            wanted = known[key]
            if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
                hint = f": write [[{key}]] with two brackets" if isinstance(value, dict) else ""
                raise StudyError(f"{at(key)}: '{key}' must be {_CALLED[wanted]}{hint}.")

    def _case(self, name: str, key: str = "case") -> Case:
        beside = self._path.parent / name
        try:
            return load(beside if beside.is_file() else name)
        except CaseError as problem:
            raise CaseError(f"{self._at(key=key)}: {problem}") from None
        except OSError as problem:
            raise CaseError(f"{self._at(key=key)}: {problem.strerror}.") from None

    def _edits(self, items: Sequence[Any], table: str, index: int, key: str) -> tuple[Edit, ...]:
        edits = []
        for k, item in enumerate(items):
            at = self._at(table, index, key, k)
            if not isinstance(item, dict):
                raise StudyError(f'{at}: an edit is a table like {{open = "line:26"}}.')
            edits.append(parse_edit(item, at))
        return tuple(edits)

    def _variants(self) -> list[Variant]:
        variants = []
        for k, table in enumerate(self._root.get("variant", [])):
            self._check(table, _VARIANT, "a variant", lambda key, k=k: self._at("variant", k, key))  # type: ignore[misc]
            if "name" not in table:
                raise StudyError(f"{self._at('variant', k)}: a variant needs a name.")
            edits = self._edits(table.get("edits", []), "variant", k, "edits")
            at = self._at("variant", k, "name")
            variants.append(Variant(name=table["name"], edits=edits, where=at))
        return variants

    def _series(self, case: Case) -> list[Variant]:
        variants: list[Variant] = []
        for k, table in enumerate(self._root.get("series", [])):
            self._check(table, _SERIES, "a series", lambda key, k=k: self._at("series", k, key))  # type: ignore[misc]
            for key in ("name", "file"):
                if key not in table:
                    raise StudyError(f"{self._at('series', k)}: a series needs a {key}.")
            edits = self._edits(table.get("edits", []), "series", k, "edits")
            variants += read_series(self._path.parent / table["file"], case, table["name"], edits)
        return variants

    def _settings(self, case: Case) -> StudySettings:
        root = self._root
        outages: tuple[tuple[str, tuple[str, ...]], ...] = ()
        if "contingencies" in root:
            found = read_contingencies(self._path.parent / root["contingencies"], case)
            outages = outages_as_names(case, found.name, found.elements)
        asked = {
            "enforce_q_limits": root.get("q_limits", False),
            "distributed_slack": root.get("distributed_slack", False),
            "island_rule": root.get("island_rule", "dead"),
            "threads": root.get("threads", usable_cores()),
        }
        try:
            flow = FlowOptions(**asked)
        except ValueError as problem:
            key = "threads" if "threads" in str(problem) else "island_rule"
            raise StudyError(f"{self._at(key=key)}: {problem}") from None
        return StudySettings(
            flow=flow, n1=root.get("n1", True), outages=outages,
            recommend=root.get("recommend", True),
        )  # fmt: skip


def outages_as_names(
    case: Case, names: Sequence[str], elements: Sequence[Sequence[int]]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Contingencies as a study keeps them: by name, so that they can be stored."""
    grid = case.grid
    return tuple(
        (name, tuple(f"{grid.element_kind[e]}:{grid.element_id[e]}" for e in members))
        for name, members in zip(names, elements, strict=True)
    )
