"""Options of ``gridrl whatif run`` as edits, in the form of a study file."""

from typing import Any

Names = list[str] | None


def edits_of_flags(
    opened: Names, closed: Names, outage: Names, scale_load: float | None,
    scale_generation: float | None, edit: Names,
) -> list[tuple[dict[str, Any], str]]:  # fmt: skip
    """Edits as tables, each with the flag that it came from; scaling first, switching last."""
    found: list[tuple[dict[str, Any], str]] = []
    for verb, factor in (("scale_load", scale_load), ("scale_generation", scale_generation)):
        if factor is not None:
            found.append(({verb: factor}, f"--{verb.replace('_', '-')}"))
    found += [(_edit_of_text(text), f"--edit '{_short(text)}'") for text in edit or ()]
    for verb, names in (("outage", outage), ("open", opened), ("close", closed)):
        found += [({verb: text}, f"--{verb} {_short(text)}") for text in names or ()]
    return found


def _edit_of_text(text: str) -> dict[str, Any]:
    """One edit written as in a study file, with or without its braces."""
    import tomllib

    from gridrl.errors import StudyError

    inner = text.strip().removeprefix("{").removesuffix("}")
    try:
        table: dict[str, Any] = tomllib.loads(f"edit = {{{inner}}}")["edit"]
    except (ValueError, RecursionError, KeyError) as broken:
        said = str(broken).partition(" (at")[0]
        raise StudyError(
            f"--edit '{_short(text)}': {said}. Write it as in a study file, e.g. "
            "--edit 'redispatch = \"gen:3\", p_mw = 120'."
        ) from None
    return table


def _short(text: str, limit: int = 60) -> str:
    """What the user wrote, on one line of a message."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[:limit] + "..."
