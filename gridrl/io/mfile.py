"""The statements of a MATPOWER case file, without running MATLAB.

A case file is a program: most hold nothing but literal tables, some end with unit conversions
("loads are in kW, impedances in ohm"), and a reader that skips those is silently wrong by a
factor of a thousand. `split` finds every statement; `literals` keeps the tables for the parser,
and `gridrl.io.mprogram` carries out the rest, or refuses it by line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gridrl.errors import CaseError

_STRING = re.compile(r"'(?:[^'\n]|'')*'|\"(?:[^\"\n]|\"\")*\"")
_FIELD = re.compile(r"mpc\.(\w+)\s*=(?!=)\s*(.*)", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?Inf|NaN")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement with its comments removed."""

    line: int  # where it starts, counted from 1
    text: str  # strings kept; rows of tables separated by newlines


@dataclass(frozen=True, kw_only=True)
class Literals:
    """The fields of a case that are written out, and the statements that are not."""

    text: str  # a MATPOWER file of nothing but literal fields
    fields: tuple[str, ...]  # every field of mpc, in file order
    bus_name: tuple[str, ...]  # the entries of mpc.bus_name
    gencost: tuple[tuple[float, ...], ...]  # rows of mpc.gencost; the parser drops some
    program: tuple[Statement, ...]  # what remains to be carried out, in order


def split(text: str) -> list[Statement]:
    """Cut a case file into statements; text inside brackets stays together."""
    out: list[Statement] = []
    lines: list[str] = []
    start = depth = 0
    for number, raw in enumerate(_without_block_comments(text), start=1):
        if depth and not _SPECIAL.search(raw):  # a row of numbers: nothing to look at
            lines.append(raw + "\n")
            continue
        line, masked = _strip_comment(raw)
        if not lines:
            start = number
        end = masked.find("...")
        if end >= 0:  # the next line belongs to this row; what follows the dots is a comment
            line, masked = line[:end], masked[:end]
        cut = 0
        for k, char in enumerate(masked):
            if char in "[{(":
                depth += 1
            elif char in "]})":
                depth = max(depth - 1, 0)
            elif char in ";," and depth == 0:
                _close(out, [*lines, line[cut:k]], start)
                lines, cut, start = [], k + 1, number
        lines.append(line[cut:] + (" " if end >= 0 else "\n"))
        if depth == 0 and end < 0:
            _close(out, lines, start)
            lines = []
    if depth:
        raise CaseError(f"Line {start}: a bracket is opened and never closed. Complete the table.")
    _close(out, lines, start)
    return out


_QUOTIENT = re.compile(
    r"(?<![\w.])(\d+\.?\d*)/(?:(sqrt)\()?(\d+\.?\d*)(?(2)\))(?![\w.(/*^])", re.ASCII
)
_SPECIAL = re.compile(r"[\[\](){}%'\"]|\.\.\.")


def _close(out: list[Statement], lines: Sequence[str], start: int) -> None:
    text = "".join(lines).strip()
    if text:
        out.append(Statement(line=start, text=text))


def _without_block_comments(text: str) -> list[str]:
    lines = text.splitlines()
    inside = 0
    for k, line in enumerate(lines):
        mark = line.strip()
        if mark == "%{":
            inside += 1
        if inside:
            lines[k] = ""
        if mark == "%}":
            inside = max(inside - 1, 0)
    return lines


def _strip_comment(raw: str) -> tuple[str, str]:
    """The line without its comment, and the same with the inside of strings blanked."""
    if "'" in raw or '"' in raw:
        masked = _STRING.sub(lambda m: m.group(0)[0] + "s" * (len(m.group(0)) - 2) + "'", raw)
    else:
        masked = raw
    end = masked.find("%")
    return (raw, masked) if end < 0 else (raw[:end], masked[:end])


def literals(text: str, path: str | Path) -> Literals:
    """Separate what is written out from what must be carried out.

    Raises
    ------
    CaseError
        The file is no MATPOWER case function, or a field is given twice.
    """
    kept: list[str] = []
    fields: list[str] = []
    program: list[Statement] = []
    names: tuple[str, ...] = ()
    gencost: tuple[tuple[float, ...], ...] = ()
    branching = False
    for raw in split(text):
        statement = _with_quotients(raw)
        found = _FIELD.fullmatch(statement.text)
        branching = branching or bool(_CONTROL.match(statement.text))
        if statement.text.startswith("function") and not fields:
            kept.append("function mpc = case_data")
        elif found and not branching and _is_literal(found.group(2)):
            field = found.group(1)
            if field in fields or (field in _TABLES and any(map(_uses_tables, program))):
                raise CaseError(
                    f"{path}, line {statement.line}: mpc.{field} is given "
                    f"{'twice' if field in fields else 'after a computation with tables'}. "
                    "Keep one table of each kind, ahead of any computation."
                )
            fields.append(field)
            if field == "bus_name":
                strings = _STRING.finditer(found.group(2))
                names = tuple(_unquoted(item.group(0)) for item in strings)
            elif field == "gencost":
                gencost = _numbers(found.group(2), f"{path}, line {statement.line}: mpc.gencost")
            elif field in _TABLES:
                kept.append(statement.text.replace(",", " ") + ";")  # the parser wants blanks
        else:
            program.append(statement)
    if "bus" not in fields or "branch" not in fields:
        raise CaseError(
            f"{path} is not a MATPOWER case: mpc.bus or mpc.branch is missing. Version 2 case "
            "files assign mpc.baseMVA, mpc.bus, mpc.gen and mpc.branch."
        )
    if "baseMVA" not in fields:
        kept.append("mpc.baseMVA = 1;")  # the parser wants one; the program computes the true one
    return Literals(
        text="\n".join(kept),
        fields=tuple(fields),
        bus_name=names,
        gencost=gencost,
        program=tuple(program),
    )


def _numbers(table: str, where: str) -> tuple[tuple[float, ...], ...]:
    """The rows of a literal table; all must be equally long, as in MATLAB."""
    try:
        rows = tuple(
            tuple(float(word) for word in line.replace(",", " ").split())
            for line in re.split(r"[;\n]", table.strip()[1:-1])
            if line.strip()
        )
    except ValueError as error:
        raise CaseError(f"{where} holds no table of numbers ({error}). Correct it.") from error
    if len({len(row) for row in rows}) > 1:
        raise CaseError(f"{where} has rows of different length. Give all the same columns.")
    return rows


def _unquoted(item: str) -> str:
    """Text of a string; a doubled quote stands for one."""
    return item[1:-1].replace(item[0] * 2, item[0]).strip()


def _with_quotients(statement: Statement) -> Statement:
    """The statement with quotients inside its table worked out: ``135/sqrt(3)``, ``50/3``."""
    if not re.match(r"mpc\.\w+\s*=\s*\[", statement.text) or "/" not in statement.text:
        return statement

    def value(found: re.Match[str]) -> str:
        above, root, below = found.groups()
        divisor = float(below) ** (0.5 if root else 1.0)
        return repr(float(above) / divisor) if divisor else found.group(0)

    return Statement(line=statement.line, text=_QUOTIENT.sub(value, statement.text))


def _uses_tables(statement: Statement) -> bool:
    return bool(re.search(r"mpc\.(bus|gen|branch)\b", statement.text))


_CONTROL = re.compile(r"(if|for|while|switch|try|return)\b")
_TABLES = ("version", "baseMVA", "bus", "gen", "branch", "dcline")


def _is_literal(value: str) -> bool:
    """Numbers, strings and bracketed lists that are no operand of anything."""
    value = value.strip()
    inner = _STRING.sub("", value[1:-1])
    if value[:1] == "[":
        return value.endswith("]") and not re.search(r"[\[\](){}*/^=:A-Za-df-z]", _words(inner))
    if value[:1] == "{":
        return value.endswith("}")
    return bool(_STRING.fullmatch(value) or _NUMBER.fullmatch(value))


def _words(inner: str) -> str:
    """The inside of a table without the words and exponents that numbers may have."""
    return re.sub(r"\b(?:Inf|inf|NaN|nan)\b|(?<=[\d.])[eE](?=[-+\d])", "", inner)
