"""The arithmetic that some MATPOWER case files end with: unit conversions of whole columns.

Understood are scalar assignments (``Vbase = mpc.bus(1, BASE_KV) * 1e3``), column updates
(``mpc.bus(:, [PD, QD]) = mpc.bus(:, [PD, QD]) / 1e3``), a computed base power, and an ``if``
on a scalar. Anything else is refused by line: a conversion that is skipped makes a case wrong
by orders of magnitude without a sign. No text is ever evaluated by Python.
"""

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gridrl.errors import CaseError
from gridrl.grid import Floats
from gridrl.io.mfile import Statement

# MATPOWER User's Manual, appendix B; columns counted from one, as in the files.
_NAMES = {
    "idx_bus": "PQ PV REF NONE BUS_I BUS_TYPE PD QD GS BS BUS_AREA VM VA BASE_KV ZONE VMAX VMIN",
    "idx_brch": (
        "F_BUS T_BUS BR_R BR_X BR_B RATE_A RATE_B RATE_C TAP SHIFT BR_STATUS PF QF PT QT "
        "MU_SF MU_ST ANGMIN ANGMAX"
    ),
    "idx_gen": (
        "GEN_BUS PG QG QMAX QMIN VG MBASE GEN_STATUS PMAX PMIN MU_PMAX MU_PMIN MU_QMAX MU_QMIN "
        "PC1 PC2 QC1MIN QC1MAX QC2MIN QC2MAX RAMP_AGC RAMP_10 RAMP_30 RAMP_Q APF"
    ),
}
_COLUMNS = {source: names.split() for source, names in _NAMES.items()}
_CONSTANTS = {
    **dict(zip(_COLUMNS["idx_bus"], (1, 2, 3, 4, *range(1, 14)), strict=True)),
    **dict(zip(_COLUMNS["idx_brch"], (*range(1, 12), *range(14, 20), 12, 13), strict=True)),
    **dict(zip(_COLUMNS["idx_gen"], (*range(1, 11), *range(22, 26), *range(11, 22)), strict=True)),
    "pi": math.pi,
    "Inf": math.inf,
}
_FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sqrt": np.sqrt,
    "abs": np.abs,
}
_TOKEN = re.compile(
    r"\s*(?:(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)|(mpc\.\w+|[A-Za-z]\w*)"
    r"|(\.\*|\./|\.\^|[-+*/^()\[\],:]))",
    re.ASCII,
)
_INDEX_NAMES = re.compile(r"\[[\w\s,]*\]\s*=\s*(idx_\w+)", re.DOTALL)
_ASSIGN = re.compile(r"(mpc\.\w+|[A-Za-z]\w*)\s*(\(.*?\))?\s*=(?!=)\s*(.*)", re.DOTALL)
_BINARY: dict[str, tuple[int, Callable[[Floats, Floats], Floats]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, operator.truediv),
    ".*": (2, operator.mul),
    "./": (2, operator.truediv),
    "^": (4, operator.pow),
    ".^": (4, operator.pow),
}
_MAX_DEPTH = 50  # deeper nesting is no unit conversion, and Python's stack is finite


@dataclass(eq=False, kw_only=True)
class Workspace:
    """The variables of a running case file; tables are changed in place."""

    tables: dict[str, Floats]  # "bus", "gen", "branch" -> [rows, columns]
    base_mva: float
    scalars: dict[str, float] = field(default_factory=dict)


def carry_out(program: Sequence[Statement], work: Workspace, path: str | Path) -> None:
    """Carry out every statement in order.

    Raises
    ------
    CaseError
        A statement is not one of the kinds above; the message quotes it and its line.
    """
    skip_to_end = False
    for statement in program:
        text = statement.text
        if text == "return" and not skip_to_end:
            return
        if skip_to_end:
            if re.match(r"(if|for|while|switch|else|elseif)\b", text):
                raise _refusal(statement, path)
            skip_to_end = text != "end"
            continue
        try:
            with np.errstate(all="ignore"):  # the table checks name what is not finite
                if re.match(r"if\b", text):
                    skip_to_end = not _Expression(text[2:], work).scalar()
                else:
                    _step(text, work)
        except (_NotUnderstoodError, ArithmeticError, ValueError) as error:
            raise _refusal(statement, path) from error


class _NotUnderstoodError(Exception):
    """The text is outside the subset."""


def _refusal(statement: Statement, path: str | Path) -> CaseError:
    shown = " ".join(statement.text.split())[:80]
    return CaseError(
        f"{path}, line {statement.line}: '{shown}' is program code that gridrl does not carry out, "
        "so the tables may be in other units. Run the file in MATPOWER and store it with savecase."
    )


def _step(text: str, work: Workspace) -> None:
    if text in ("define_constants", "end"):
        return
    unpack = _INDEX_NAMES.fullmatch(text)
    if unpack:
        if unpack.group(1) not in _COLUMNS:
            raise _NotUnderstoodError(text)
        return
    assign = _ASSIGN.fullmatch(text)
    if not assign:
        raise _NotUnderstoodError(text)
    target, where, value = assign.group(1), assign.group(2), _Expression(assign.group(3), work)
    if target == "mpc.baseMVA" and not where:
        work.base_mva = value.scalar()
    elif target.removeprefix("mpc.") in work.tables and where:
        table = work.tables[target.removeprefix("mpc.")]
        rows, columns = _Expression(where, work).place(table)
        result = value.array()
        if result.shape not in ((1, 1), (len(rows), len(columns))):
            raise _NotUnderstoodError(text)
        table[np.ix_(rows, columns)] = result
    elif "." not in target and not where and target not in _CONSTANTS:
        work.scalars[target] = value.scalar()
    else:
        raise _NotUnderstoodError(text)


class _Expression:
    """Recursive descent over one expression; every value is a [rows, columns] array."""

    def __init__(self, text: str, work: Workspace) -> None:
        self.work = work
        self.words: list[str] = []
        at, text = 0, text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise _NotUnderstoodError(text)
            self.words.append(found.group(0).strip())
            at = found.end()
        self.at = 0
        self.depth = 0

    def array(self) -> Floats:
        value = self._sum(0)
        if self.at != len(self.words):
            raise _NotUnderstoodError(self._peek())
        return value

    def scalar(self) -> float:
        value = self.array()
        if value.shape != (1, 1):
            raise _NotUnderstoodError("a table where a number is needed")
        return float(value[0, 0])

    def place(self, table: Floats) -> tuple[list[int], list[int]]:
        """Rows and columns, counted from zero, of a whole ``(rows, columns)``."""
        place = self._place(table)
        if self.at != len(self.words):
            raise _NotUnderstoodError(self._peek())
        return place

    def _peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def _take(self, wanted: str = "") -> str:
        word = self._peek()
        if not word or (wanted and word != wanted):
            raise _NotUnderstoodError(word)
        self.at += 1
        return word

    def _sum(self, least: int) -> Floats:
        """Precedence climbing: operators that bind at least as strongly as ``least``."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _NotUnderstoodError("nested too deeply")
        left = self._signed()
        while self._peek() in _BINARY and _BINARY[self._peek()][0] >= least:
            word = self._take()
            binding, apply = _BINARY[word]
            right = self._sum(binding + 1)
            if word in "*/^" and (right.size > 1 and (left.size > 1 or word != "*")):
                raise _NotUnderstoodError("a matrix product")
            if word == "^" and left.size > 1:
                raise _NotUnderstoodError("a matrix power")
            if left.size > 1 and right.size > 1 and left.shape != right.shape:
                raise _NotUnderstoodError("tables of different size")
            left = np.asarray(apply(left, right), dtype=float)
        self.depth -= 1
        return left

    def _signed(self) -> Floats:
        if self._peek() in ("-", "+"):
            sign = -1.0 if self._take() == "-" else 1.0
            return sign * self._sum(3)  # tighter than a product, looser than a power
        return self._atom()

    def _atom(self) -> Floats:
        word = self._take()
        if word == "(":
            value = self._sum(0)
            self._take(")")
            return value
        if word[0].isdigit() or word[0] == ".":
            return np.array([[float(word)]])
        if word == "mpc.baseMVA":
            return np.array([[self.work.base_mva]])
        if word.startswith("mpc."):
            table = self.work.tables.get(word[4:])
            if table is None:
                raise _NotUnderstoodError(word)
            rows, columns = self._place(table)
            return np.array(table[np.ix_(rows, columns)])
        if word in _FUNCTIONS and self._peek() == "(":
            return np.asarray(_FUNCTIONS[word](self._atom()))
        return np.array([[self._named(word)]])

    def _named(self, word: str) -> float:
        value = self.work.scalars.get(word, _CONSTANTS.get(word))
        if value is None:
            raise _NotUnderstoodError(word)
        return float(value)

    def _place(self, table: Floats) -> tuple[list[int], list[int]]:
        self._take("(")
        rows = self._indices(table.shape[0])
        self._take(",")
        columns = self._indices(table.shape[1])
        self._take(")")
        return rows, columns

    def _indices(self, size: int) -> list[int]:
        """``:``, one index, or a bracketed list of indices."""
        word = self._take()
        if word == ":":
            return list(range(size))
        picked = [word]
        if word == "[":
            picked = []
            while self._peek() != "]":
                item = self._take()
                if item != ",":
                    picked.append(item)
            self._take("]")
        out = [int(p) if p.isdigit() else int(self._named(p)) for p in picked]
        if any(not 1 <= index <= size for index in out):
            raise _NotUnderstoodError("an index outside the table")
        return [index - 1 for index in out]
