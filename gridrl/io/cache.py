"""Converted cases on disk, so that the second load of a case need not import pandapower.

A file holds arrays and JSON, never pickles. Its name is a hash of what was read (content, or
name and package versions) and of gridrl's own conversion code: whatever changes, the old file is
simply not found. A cache that cannot be read or written is as if it were not there.
"""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_dir

from gridrl.case import Case, Fate, ReportRow
from gridrl.costs import Costs
from gridrl.errors import GridrlError
from gridrl.grid import Grid, Injection, Topology
from gridrl.steps import Steps

_FORMAT = 1
_PARTS = {
    "costs": Costs,
    "steps": Steps,
    "grid": Grid,
    "topology": Topology,
    "injection": Injection,
}
_CONVERTERS = ("pandapower", "pandas", "numpy", "powerio", "pypowsybl", "simbench")
_PACKAGE = Path(__file__).parent.parent


def folder() -> Path:
    """Where cases are kept: ``GRIDRL_CACHE_DIR``, or the user's cache directory."""
    base = os.environ.get("GRIDRL_CACHE_DIR") or user_cache_dir("gridrl", appauthor=False)
    return Path(base) / "cases"


def key_of_name(name: str) -> str:
    """Key of a network that a package ships."""
    return _key(b"name", name.encode())


def key_of_file(path: Path, content: bytes) -> str:
    """Key of a file: its content, and the path that the `Case` reports as its source."""
    return _key(b"file", os.fsencode(path), content)


def through(key: str, build: Callable[[], Case]) -> Case:
    """The case stored under ``key``, or the one that ``build`` makes, stored for the next time."""
    target = folder() / f"{key}.npz"
    case = _read(target)
    if case is None:
        case = build()
        _write(target, case)
    return case


def arrays_through(
    key: str, build: Callable[[], dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """The arrays stored under ``key``, or those that ``build`` makes, stored for the next time."""
    target = folder() / f"{key}.arrays.npz"
    try:
        with target.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        made = build()
    _store(target, lambda stream: np.savez(stream, allow_pickle=False, **made))
    return made


def _key(*parts: bytes) -> str:
    sha = hashlib.sha256(_own_code())
    for part in parts:
        sha.update(len(part).to_bytes(8, "big") + part)
    return sha.hexdigest()


@cache
def _own_code() -> bytes:
    """Everything but the input that decides what a conversion returns."""
    sha = hashlib.sha256(f"format {_FORMAT}".encode())
    for source in [
        *sorted((_PACKAGE / "io").glob("*.py")),
        *(_PACKAGE / name for name in ("arrays.py", "case.py", "costs.py", "grid.py", "steps.py")),
    ]:
        sha.update(source.name.encode() + source.read_bytes())
    for package in _CONVERTERS:
        try:
            sha.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:
            sha.update(f"{package} missing".encode())
    return sha.digest()


def _write(target: Path, case: Case) -> None:
    _store(target, lambda stream: np.savez_compressed(stream, allow_pickle=False, **pack(case)))


def _store(target: Path, write: Callable[[Any], None]) -> None:
    """Write a file; readers see the whole file or none, and nobody cares if it fails."""
    scratch = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        Path(scratch).replace(target)
    except OSError:
        if scratch is not None:
            Path(scratch).unlink(missing_ok=True)


def _read(target: Path) -> Case | None:
    """The stored case, or None if there is none that can be trusted."""
    try:
        with target.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            case = unpack({key: stored[key] for key in stored.files})
            sound = str(stored["digest"]) == case.digest
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, GridrlError):
        return None
    return case if sound else None


def pack(case: Case) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    for part, kind in _PARTS.items():
        owner = getattr(case.grid if kind in (Costs, Steps) else case, part)
        for item in fields(kind):
            value = getattr(owner, item.name)
            key = f"{part}.{item.name}"
            if not isinstance(value, (Costs, Steps)):  # parts of their own
                (arrays if isinstance(value, np.ndarray) else texts)[key] = value
    texts["report"] = [
        [str(row.fate), row.kind, row.count, row.note, list(row.elements)] for row in case.report
    ]
    texts |= {"source": case.source, "origin": case.origin, "notes": list(case.notes)}
    return arrays | {"texts": np.array(json.dumps(texts)), "digest": np.array(case.digest)}


def unpack(stored: dict[str, Any]) -> Case:
    texts = json.loads(str(stored["texts"]))
    parts: dict[str, Any] = {}
    for part, kind in _PARTS.items():
        values: dict[str, Any] = {}
        for item in fields(kind):
            if item.name in ("costs", "steps"):
                values[item.name] = parts.pop(item.name)
                continue
            key = f"{part}.{item.name}"
            value = stored[key] if key in stored else texts[key]
            values[item.name] = tuple(value) if isinstance(value, list) else value
        parts[part] = kind(**values)
    report = [
        ReportRow(fate=Fate(fate), kind=kind, count=count, note=note, elements=tuple(elements))
        for fate, kind, count, note, elements in texts["report"]
    ]
    return Case(
        **parts,
        report=tuple(report),
        source=texts["source"],
        origin=texts["origin"],
        notes=tuple(texts["notes"]),
    )
