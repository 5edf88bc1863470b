"""What several commands share: the case with its edits, numbers as text, JSON, files.

Everything a person reads goes through here, so that units, missing values and rounding look
alike in every table.
"""

import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gridrl.rows import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from gridrl.case import Case

# Even lightly loaded grids have some branch above this.
_PLACEHOLDER_PERCENT = 20.0

CaseArgument = Annotated[
    str,
    typer.Argument(
        metavar="CASE",
        help="Built-in grid (case14, case118, ...) or a file: MATPOWER .m, pandapower .json, ...",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
OpenOption = Annotated[
    list[str] | None,
    typer.Option(
        "--open",
        metavar="NAME",
        help="Take an element out of service first: kind:id, or a unique name. Repeatable.",
        show_default=False,
    ),
]
ScaleOption = Annotated[
    float, typer.Option("--scale-load", metavar="FACTOR", help="Multiply every load first.")
]
QLimitsOption = Annotated[
    bool, typer.Option("--q-limits", help="Hold generators within their reactive limits.")
]
SlackOption = Annotated[
    bool, typer.Option("--distributed-slack", help="Share the imbalance by slack weight.")
]
IslandOption = Annotated[
    Literal["dead", "generator"],
    typer.Option(
        "--island-rule",
        help="An island without a reference is dead, or its largest generator takes over.",
    ),
]


def read_case(name: str, opened: Sequence[str] | None = None, scale: float = 1.0) -> "Case":
    """The case called ``name`` with the edits that the options ask for."""
    from gridrl.edit import open_elements, scale_load
    from gridrl.io import load

    case = load(name)
    if scale != 1.0:  # NaN too: scale_load refuses it
        case = scale_load(case, scale)
    if opened:
        case = open_elements(case, opened)
    return case


# A file or a pipe has no width of its own.
_WIDTH_ELSEWHERE = 120


# A terminal acts on these; names come from files of strangers.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text without characters that a terminal would act on; tabs and new lines stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def console(*, stderr: bool = False) -> "Console":
    """A console that takes names as they are, with brackets and all, but obeys none of them."""
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    made = Plain(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _WIDTH_ELSEWHERE
    return made


def new_table(title: str, *columns: str, right: Sequence[str] = ()) -> "Table":
    """An empty table; the columns named in ``right`` hold numbers."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(column, justify=justify, overflow="fold")
    return table


def rating_note(highest_percent: float) -> str:
    """A warning, where hardly loaded branches suggest that nobody gave real ratings; or nothing."""
    if highest_percent < _PLACEHOLDER_PERCENT:
        return (
            f"The ratings may be placeholders: no branch is loaded above {highest_percent:.1f} %."
        )
    return ""


def number(value: Any, digits: int = 1) -> str:
    """A number for a table cell; a dash for what does not exist."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:,.{digits}f}" if isinstance(value, float) else str(value)


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout."""
    json.dump(plain(document), sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def check_writeable(path: Path, suffixes: Sequence[str], option: str) -> None:
    """Refuse before the computing, not after it, a file that could not be written."""
    from gridrl.errors import CaseError

    if path.suffix.lower() not in suffixes:
        raise CaseError(
            f"{option} {path}: the file's ending chooses the format, and '{path.suffix}' is none "
            f"of {', '.join(suffixes)}."
        )
    folder = path.parent
    try:
        if path.is_dir():
            raise CaseError(f"{option} {path}: this is a folder. Name a file in it.")
        if not folder.is_dir():
            raise CaseError(f"{option} {path}: there is no folder {folder}. Make it first.")
        existed = path.exists()
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise CaseError(f"{option} {path}: cannot be written ({error.strerror}).") from error


def check_folder(path: Path, option: str) -> None:
    """Refuse before the computing, not after it, a folder that could not be written to."""
    from gridrl.errors import CaseError

    if path.exists() and not path.is_dir():
        raise CaseError(f"{option} {path}: this is a file. Name a folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaseError(f"{option} {path}: cannot be made ({error.strerror}).") from error
    if not os.access(path, os.W_OK):
        raise CaseError(f"{option} {path}: cannot be written to.")
