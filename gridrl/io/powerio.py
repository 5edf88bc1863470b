"""The door for MATPOWER (.m), PSS/E (.raw, revisions 33 to 35) and PowerModels (.json) files.

Powerio parses the text; the meaning of every number is decided here and in `gridrl.io.matpower`
and `gridrl.io.balanced`, and whatever is dropped on the way is named in the report. Nothing in
a file is executed: a MATPOWER file's own conversions go through `gridrl.io.mprogram`.
"""

import io
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gridrl.case import Case, Fate, ReportRow
from gridrl.errors import CaseError
from gridrl.io.balanced import from_network
from gridrl.io.files import decode, read_bytes
from gridrl.io.matpower import from_tables
from gridrl.io.matpower_tables import MatpowerTables
from gridrl.io.mfile import Literals, literals
from gridrl.io.mprogram import Workspace, carry_out
from gridrl.io.rawfile import facts

_TITLES = {"psse": "PSS/E RAW file", "powermodels-json": "PowerModels file"}
_FORMATS = {".m": "matpower", ".raw": "psse", ".json": "powermodels-json"}


def load_powerio(path: str | Path, *, format: str | None = None) -> Case:  # noqa: A002
    """Load a MATPOWER, PSS/E RAW or PowerModels JSON file.

    Parameters
    ----------
    path
        The file. Its suffix tells the format unless ``format`` does.
    format
        "matpower", "psse" or "powermodels-json".

    Raises
    ------
    CaseError, GridError
        The file cannot be read as a network; one sentence says why and what to do.
    """
    path = Path(path)
    kind = format or _FORMATS.get(path.suffix.lower())
    if kind is None or kind not in _FORMATS.values():
        raise CaseError(
            f"{path} has no format that this door reads. Name it .m (MATPOWER), .raw (PSS/E) or "
            ".json (PowerModels), or give format=."
        )
    text = decode(read_bytes(path), path)
    if kind == "matpower":
        return _matpower(text, path)
    raw = facts(text, path) if kind == "psse" else None
    module = _parse(text, kind, path)
    notes: tuple[str, ...] = ()
    if raw is not None:
        notes = (f"PSS/E RAW revision {raw.revision}.",)
    try:
        return from_network(
            module.value,
            name=path.stem,
            report=_diagnostics(module.diagnostics),
            source=str(path),
            origin=f"{_TITLES[kind]} read by powerio {version('powerio')}",
            bus_name={} if raw is None else raw.bus_name,
            raw_loads=() if raw is None else raw.loads,
            notes=notes,
        )
    except (KeyError, TypeError) as error:
        raise CaseError(f"{path} lacks a value that {kind} needs: {error}. Correct it.") from error


def _matpower(text: str, path: Path) -> Case:
    found = literals(text, path)
    module = _parse(found.text, "matpower", path)
    tables = matpower_tables(found, module, path)
    rows = [*_diagnostics(module.diagnostics), *_unread(found, len(module.value.hvdc))]
    names = found.bus_name
    if names and len(names) != len(tables.bus):
        note = f"{len(names)} names for {len(tables.bus)} buses; names left out"
        rows.append(ReportRow(fate=Fate.SUSPECT, kind="bus_name", count=len(names), note=note))
        tables = replace(tables, bus_name=())
    notes: tuple[str, ...] = ()
    if found.program:
        notes = (f"{path.name} ends with {len(found.program)} statements; all were carried out.",)
    return from_tables(
        tables,
        name=path.stem,
        report=rows,
        source=str(path),
        origin=f"MATPOWER file read by powerio {version('powerio')}",
        notes=notes,
    )


def matpower_tables(found: Literals, module: Any, path: Path) -> MatpowerTables:
    """The tables of a parsed case file after its own conversions."""
    ppc = module.value.to_ppc()
    work = Workspace(
        tables={key: np.array(ppc[key], dtype=float) for key in ("bus", "gen", "branch")}
        | {"gencost": np.array(found.gencost, dtype=float)},
        base_mva=float(ppc["baseMVA"]) if "baseMVA" in found.fields else float("nan"),
    )
    carry_out(found.program, work, path)
    return MatpowerTables(
        base_mva=work.base_mva,
        bus=work.tables["bus"],
        gen=work.tables["gen"],
        branch=work.tables["branch"],
        bus_name=found.bus_name,
        gencost=work.tables["gencost"],
    )


def _unread(found: Literals, n_dcline: int) -> list[ReportRow]:
    """Fields of the file that the power flow does not contain."""
    rows = []
    for field in found.fields:
        if field in ("version", "baseMVA", "bus", "gen", "branch", "gencost", "bus_name"):
            continue
        count, note = 1, f"mpc.{field} is not read"
        if field == "dcline":
            count = n_dcline
            note = "left out, as MATPOWER does unless toggle_dcline is on"
        rows.append(ReportRow(fate=Fate.REFUSED, kind=field, count=count, note=note))
    return rows


def _parse(text: str, kind: str, path: Path) -> Any:
    """Powerio's module for ``text``; its errors become ours."""
    import powerio

    try:
        module = powerio.parse(io.BytesIO(text.encode()), format=kind, name=path.name)
    except (ValueError, OSError) as error:
        said = " ".join(str(error).split())[:300]
        raise CaseError(f"{path} cannot be read as {kind}: {said}. Correct the file.") from error
    if not isinstance(module.value, powerio.BalancedNetwork):
        raise CaseError(f"{path} holds a {module.type_name}, not a network. Give the case file.")
    return module


def _diagnostics(diagnostics: Iterable[Any]) -> list[ReportRow]:
    """What the parser itself complains of, one row per distinct message."""
    count: dict[tuple[str, str], int] = {}
    for item in diagnostics:
        key = (str(item.code), " ".join(str(item.message).split()))
        count[key] = count.get(key, 0) + 1
    return [
        ReportRow(
            fate=Fate.REFUSED if code.endswith(("UNSUPPORTED", "DROPPED")) else Fate.SUSPECT,
            kind=code,
            count=n,
            note=note,
        )
        for (code, note), n in count.items()
    ]
