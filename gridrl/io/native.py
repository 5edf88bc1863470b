"""A case as gridrl holds it, in one file: what no other format can say comes back unchanged.

A ``.npz`` archive of arrays and JSON, never pickles. Two-ports that came from another program
(a simulator's own model) are kept to the last digit; a MATPOWER or pandapower file would make
lines and transformers of them.
"""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from gridrl.case import Case
from gridrl.errors import CaseError, GridrlError
from gridrl.io.cache import pack, unpack
from gridrl.io.files import LIMIT_BYTES
from gridrl.io.validate import validate


def save(case: Case, path: Path) -> None:
    """Write a case.

    Raises
    ------
    CaseError
        The file cannot be written, or its name does not end in ``.npz``.
    """
    if path.suffix != ".npz":
        raise CaseError(f"{path}: gridrl's own case files end in .npz. Name it so.")
    try:
        with path.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **pack(case))
    except OSError as broken:
        raise CaseError(f"{path} cannot be written: {broken.strerror}.") from broken


def load_native(path: Path) -> Case:
    """Read a case that `save` wrote.

    Raises
    ------
    CaseError
        The file is damaged, too big, or something else.
    GridError
        The network contradicts itself or the physics.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # a small file may unpack to a huge one
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LIMIT_BYTES:
            raise CaseError(f"{path} unpacks to {size} bytes; gridrl reads at most {LIMIT_BYTES}.")
        with np.load(path, allow_pickle=False) as stored:
            found = {key: stored[key] for key in stored.files}
        case = unpack(found)
        sound = str(found["digest"]) == case.digest
    except GridrlError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as broken:
        raise CaseError(f"{path} is no case that gridrl wrote, or is damaged.") from broken
    if not sound:
        raise CaseError(f"{path} was changed after gridrl wrote it: its digest does not fit.")
    return replace(case, report=(*case.report, *validate(case)), source=str(path))
