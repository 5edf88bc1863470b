"""Line numbers in a TOML file, which `tomllib` does not tell.

It looks for tables, keys and elements of arrays, not for what they mean: only files that `tomllib`
has accepted are asked about.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<long>\"\"\"(?:\\.|[^\\])*?\"\"\"+|'''.*?'''+)
      | (?P<text>"(?:\\.|[^"\\\n])*"|'[^'\n]*')
      | (?P<newline>\n)
      | (?P<mark>[\[\]{}=,])
      | (?P<bare>[^\s\[\]{}=,\#"']+)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass
class _Table:
    """Where a table starts, and the keys in it."""

    line: int
    keys: dict[str, int] = field(default_factory=dict)  # key -> line
    elements: dict[str, list[int]] = field(default_factory=dict)  # key -> lines of its elements


class Places:
    """The lines of a TOML text, by path: ``place("variant", 2, "edits", 0)``."""

    def __init__(self, text: str) -> None:
        self._tables: dict[str, list[_Table]] = {"": [_Table(1)]}
        self._scan(text)

    def line(self, table: str = "", index: int = 0, key: str = "", element: int = -1) -> int:
        """Line of a table (the ``index``-th of that name), of a key in it, of an array's element.

        What is not found is answered with the line of what holds it.
        """
        tables = self._tables.get(table, [])
        if index >= len(tables):
            return self._tables[""][0].keys.get(table, 1)
        found = tables[index]
        elements = found.elements.get(key, [])
        if 0 <= element < len(elements):
            return elements[element]
        if not table and key in self._tables and key not in found.keys:
            return self._tables[key][0].line
        return found.keys.get(key, found.line)

    def _scan(self, text: str) -> None:
        table = self._tables[""][0]
        key, key_line, fresh = "", 1, True  # fresh: at the start of a line, outside any bracket
        depth, in_value, expecting = 0, False, False
        tokens = _tokens(text)
        for line, kind, token in tokens:
            if kind == "newline":
                if depth == 0:
                    fresh, in_value, key = True, False, ""
                continue
            if fresh and token == "[":
                name = _header(tokens)
                table = _Table(line)
                self._tables.setdefault(name, []).append(table)
                fresh = False
            elif in_value:
                if depth == 1 and expecting and token not in ("]", ","):
                    table.elements.setdefault(key, []).append(line)
                    expecting = False
                if token in ("[", "{"):
                    depth += 1
                    expecting = depth == 1 and token == "["
                elif token in ("]", "}"):
                    depth -= 1
                elif token == "," and depth == 1:
                    expecting = True
            elif token == "=":
                in_value = True
                table.keys.setdefault(key, key_line)
            else:
                key, key_line, fresh = key + token.strip("\"'"), line, False


def _tokens(text: str) -> Iterator[tuple[int, str, str]]:
    line = 1
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        if kind != "comment":
            yield line, kind, found.group()
        line += found.group().count("\n")


def _header(tokens: Iterator[tuple[int, str, str]]) -> str:
    """Name in a header, whose first bracket has been read; the rest of the line is consumed."""
    parts = []
    for _, kind, token in tokens:
        if kind == "newline":
            break
        if kind in ("bare", "text"):
            parts.append(token.strip("\"'"))
    return "".join(parts)
