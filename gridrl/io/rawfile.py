"""What the parser of PSS/E RAW files does not hand on: revision, bus names, load composition.

A RAW file is a list of sections, each ended by a record that starts with 0. Only the header and
the first sections are read here, in the order of the PSS/E Program Operation Manual (revisions
33 to 35).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from gridrl.errors import CaseError

_FIELD = re.compile(r"\s*('[^']*'|\"[^\"]*\"|[^,\s'\"]*)\s*(,|\s|$)")


@dataclass(frozen=True, kw_only=True)
class RawLoad:
    """One load record, MW and MVAr at 1 p.u. voltage; Q is positive when drawn."""

    bus: int
    ident: str
    p: tuple[float, float, float]  # constant power, current, impedance
    q: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class RawFacts:
    """The facts read from the text itself."""

    revision: int
    bus_name: dict[int, str]
    loads: tuple[RawLoad, ...]


def facts(text: str, path: str | Path) -> RawFacts:
    """Read header, bus names and loads.

    Raises
    ------
    CaseError
        The header states no revision from 33 to 35, so the columns cannot be known.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("@!")]
    header = split_record(lines[0]) if lines else []
    stated = header[2] if len(header) > 2 else ""
    if stated.split(".")[0] not in ("33", "34", "35"):
        said = f"revision {stated}" if stated else "no revision"
        raise CaseError(
            f"{path} states {said} in its first line; gridrl reads PSS/E RAW revisions 33, 34 and "
            "35. Save the case in one of these."
        )
    revision = int(stated.split(".")[0])
    sections = _sections(lines[3:])
    first = 0 if revision == 33 else 1  # 34 and 35 start with system-wide data
    buses = sections[first] if len(sections) > first else []
    loads = sections[first + 1] if len(sections) > first + 1 else []
    names = {int(row[0]): row[1] for row in buses if len(row) > 1 and row[0].isdecimal()}
    return RawFacts(
        revision=revision,
        bus_name=names,
        loads=tuple(load for row in loads if (load := _load(row)) is not None),
    )


def split_record(line: str) -> list[str]:
    """Fields of a free-format record: commas or blanks between, quotes around text."""
    out: list[str] = []
    at, line = 0, _without_comment(line).strip()
    while at < len(line):
        found = _FIELD.match(line, at)
        if not found or found.end() == at:
            break
        out.append(found.group(1).strip("'\"").strip())
        at = found.end()
    return out


def _without_comment(line: str) -> str:
    masked = re.sub(r"'[^']*'|\"[^\"]*\"", lambda m: "x" * len(m.group(0)), line)
    end = masked.find("/")
    return line if end < 0 else line[:end]


def _sections(lines: list[str]) -> list[list[list[str]]]:
    out: list[list[list[str]]] = [[]]
    for line in lines:
        start = line.strip()
        if start[:1].upper() == "Q" and start[1:2] in ("", " ", "/"):
            break
        row = split_record(line)
        if row and row[0] == "0" and len(row) == 1:
            if len(out) == 3:
                break
            out.append([])
        elif row:
            out[-1].append(row)
    return out


def _load(row: list[str]) -> RawLoad | None:
    """Columns I, ID, STAT, AREA, ZONE, PL, QL, IP, IQ, YP, YQ; YQ is negative when drawn."""

    def number(column: int) -> float:
        return float(row[column]) if column < len(row) and row[column] else 0.0

    try:
        return RawLoad(
            bus=int(row[0]),
            ident=row[1] if len(row) > 1 else "1",
            p=(number(5), number(7), number(9)),
            q=(number(6), number(8), -number(10)),
        )
    except ValueError:
        return None
