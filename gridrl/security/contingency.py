"""Which elements fail together: N-1 over a case, N-k lists, and files that users write."""

import csv
import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gridrl.case import Case
from gridrl.errors import CaseError, ElementError
from gridrl.grid import Grid, Ints

BRANCH_KINDS = ("line", "trafo", "trafo3w", "impedance", "switch", "tie_line")
GENERATOR_KINDS = ("gen", "sgen", "storage", "dcline", "hvdc", "generator", "battery")
DEFAULT_KINDS = ("line", "trafo", "trafo3w", "impedance", "tie_line", "gen", "generator")
MAX_FILE_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False, kw_only=True)
class Contingencies:
    """A list of contingencies, each a set of elements that fail together."""

    name: tuple[str, ...]  # [n] as reported
    elements: tuple[tuple[int, ...], ...]  # [n] element indices of the grid

    def __len__(self) -> int:
        return len(self.name)

    def members(self, grid: Grid) -> tuple[Ints, Ints, Ints, Ints]:
        """Branches and units of every contingency: (b_of, b_branch, u_of, u_unit)."""
        of = np.cumsum([0, *(len(set_) for set_ in self.elements)], dtype=np.int64)
        flat = np.fromiter(chain.from_iterable(self.elements), np.int64, count=int(of[-1]))
        n = grid.n_element
        return *_owned(grid.branch_element, n, of, flat), *_owned(grid.unit_element, n, of, flat)


def _owned(owner: Ints, n: int, of: Ints, elements: Ints) -> tuple[Ints, Ints]:
    """What belongs to the elements ``elements[of[k]:of[k + 1]]`` of each contingency."""
    by_element = np.argsort(owner, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=n))]).astype(np.int64)
    count = first[elements + 1] - first[elements]
    ends = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    entry = np.arange(ends[-1]) + np.repeat(first[elements] - ends[:-1], count)
    return ends[of], by_element[entry].astype(np.int64)


def n_minus_1(
    case: Case, kinds: Sequence[str] = DEFAULT_KINDS, *, reference_too: bool = False
) -> Contingencies:
    """Every element of the given kinds that is in service, one at a time.

    A generator that is the grid's only angle reference is left out unless ``reference_too``: where
    no other may take over, its loss says nothing about the grid, only about the choice of
    reference.
    """
    grid = case.grid
    in_service = np.zeros(grid.n_element, np.bool_)
    busbar = case.topology.busbar[0]
    n_branch = grid.n_branch
    energised = case.topology.closed[0] & (
        (busbar[:n_branch] > 0) | (busbar[n_branch : 2 * n_branch] > 0)
    )
    in_service[grid.branch_element[energised]] = True
    connected = busbar[2 * n_branch :] > 0
    in_service[grid.unit_element[connected]] = True
    references = np.flatnonzero(grid.is_reference & connected)
    if references.size == 1 and not reference_too:
        in_service[grid.unit_element[references[0]]] = False
    wanted = [e for e in range(grid.n_element) if in_service[e] and grid.element_kind[e] in kinds]
    return Contingencies(
        name=tuple(grid.element_label[e] for e in wanted), elements=tuple((e,) for e in wanted)
    )


def contingencies_of(case: Case, sets: Iterable[Sequence[str]]) -> Contingencies:
    """Contingencies from names: each a sequence of element names or ``kind:id``.

    Raises
    ------
    ElementError
        A name fits no element or several, or a set is empty.
    """
    names, elements = [], []
    for set_ in sets:
        if not set_:
            raise ElementError("A contingency names no element. Give at least one.")
        found = tuple(dict.fromkeys(case.grid.find_element(text) for text in set_))
        elements.append(found)
        names.append(" + ".join(case.grid.element_label[e] for e in found))
    return Contingencies(name=tuple(names), elements=tuple(elements))


def read_contingencies(path: str | Path, case: Case) -> Contingencies:
    """Read contingencies from a ``.csv``, ``.json`` or ``.toml`` file.

    CSV: one contingency per line: a name, then its elements. JSON and TOML: a list
    ``contingency`` of tables with ``name`` (optional) and ``elements``.

    Raises
    ------
    CaseError
        The file is missing, too large, or not of that form; the message says where.
    ElementError
        It names an element that the case does not have.
    """
    path = Path(path)
    entries = _entries(path)
    names, elements = [], []
    for where, name, texts in entries:
        try:
            found = contingencies_of(case, [texts])
        except ElementError as unknown:
            raise ElementError(f"{path.name}, {where}: {unknown}") from None
        names.append(name or found.name[0])
        elements.append(found.elements[0])
    if not names:
        raise CaseError(f"{path.name} holds no contingency. Give one name and element per line.")
    return Contingencies(name=tuple(names), elements=tuple(elements))


def _entries(path: Path) -> list[tuple[str, str, list[str]]]:
    """(place in the file, name, elements) of every contingency."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CaseError(f"{path.name} is larger than {MAX_FILE_BYTES >> 20} MiB.")
        text = path.read_text(encoding="utf-8")
    except OSError as missing:
        raise CaseError(f"Cannot read contingency file {path}: {missing.strerror}.") from None
    except UnicodeDecodeError:
        raise CaseError(f"{path.name} is not a text file in UTF-8.") from None
    except ValueError as problem:  # a name that can be no file's
        raise CaseError(f"Cannot read contingency file {path.name!r}: {problem}.") from None
    suffix = path.suffix.lower()
    if suffix == ".csv":
        rows = csv.reader(text.splitlines())
        try:
            cells = [(number, [c.strip() for c in row]) for number, row in enumerate(rows, 1)]
        except csv.Error as broken:
            raise CaseError(f"{path.name}, line {rows.line_num}: {broken}.") from None
        return [
            (f"line {number}", row[0], [c for c in row[1:] if c])
            for number, row in cells
            if any(row) and not row[0].startswith("#")
        ]
    if suffix not in (".json", ".toml"):
        raise CaseError(f"{path.name}: contingency files end in .csv, .json or .toml.")
    try:
        data: Any = json.loads(text) if suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, RecursionError) as broken:
        raise CaseError(f"{path.name} is not valid {suffix[1:].upper()}: {broken}.") from None
    table = data.get("contingency") if isinstance(data, dict) else data
    if not isinstance(table, list):
        raise CaseError(f"{path.name} needs a list 'contingency' of tables with 'elements'.")
    entries = []
    for number, item in enumerate(table, 1):
        texts = item.get("elements") if isinstance(item, dict) else None
        if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            raise CaseError(
                f"{path.name}, contingency {number}: 'elements' must be a list of element names."
            )
        entries.append((f"contingency {number}", str(item.get("name", "")), texts))
    return entries
