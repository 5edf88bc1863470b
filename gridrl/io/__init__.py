"""The doors: a name or a file becomes a `Case`.

Each door is imported only when its format is met, so that reading a cached case, or a MATPOWER
file, never loads pandapower.
"""

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from gridrl.case import Case
from gridrl.errors import CaseError
from gridrl.io import cache
from gridrl.io.files import read_bytes
from gridrl.io.named import NAMED

_SIMBENCH = "simbench:"
_POWERIO = frozenset({".m", ".raw"})
_POWSYBL = frozenset({".xiidm", ".iidm", ".biidm", ".jiidm", ".xml", ".zip", ".uct"})
_PANDAPOWER_JSON = re.compile(rb'"_class"\s*:\s*"pandapowerNet"')
_PICKLES = frozenset({".p", ".pkl", ".pickle", ".pt"})


def load(source: str | Path) -> Case:
    """Read a network.

    Parameters
    ----------
    source : str or Path
        A file (``.m``, ``.raw``, ``.json``, ``.xiidm``, ``.uct``, CGMES in ``.zip``, ...) or one
        of `names`, also written ``pandapower:case14``; ``simbench:CODE`` with its package.

    Returns
    -------
    Case
        Validated; its ``report`` says what was kept, mapped, refused or looks wrong.

    Raises
    ------
    CaseError
        No such name or file, or it cannot be read as a network.
    GridError
        The network contradicts itself or the physics.
    MissingExtra
        The format needs an optional package.
    """
    text = str(source)
    if text.startswith(_SIMBENCH):
        code = text.removeprefix(_SIMBENCH)
        return cache.through(cache.key_of_name(text), lambda: _load_simbench(code))
    name = text.removeprefix("pandapower:")
    if name != text or (isinstance(source, str) and text in NAMED):
        if name not in NAMED:
            raise CaseError(f"pandapower has no network '{name}'. {_nearest(name)}")
        return cache.through(cache.key_of_name(name), lambda: _load_named(name))
    path = Path(source)
    try:
        there, folder = path.is_file(), path.is_dir()
    except OSError as problem:  # too long a name, a folder that may not be entered
        raise CaseError(f"'{text[:60]}' cannot be read: {problem.strerror}.") from None
    if not there:
        what = "is a folder, not a case file" if folder else "is neither a file nor a name"
        raise CaseError(f"'{text}' {what}. {_nearest(text)}")
    door = _door(path)
    content = read_bytes(path)
    if path.suffix.lower() == ".json" and _PANDAPOWER_JSON.search(content):
        door = _load_pandapower_json
    return cache.through(cache.key_of_file(path, content), lambda: door(path))


def names() -> tuple[str, ...]:
    """Networks that come with pandapower and can be loaded by name."""
    return NAMED


def _nearest(text: str) -> str:
    near = difflib.get_close_matches(text, NAMED, n=3, cutoff=0.5) or ["case14", "case118"]
    return f"Names that exist: {', '.join(near)}, ... (`gridrl.io.names()` lists all)."


def _door(path: Path) -> Callable[[Path], Case]:
    suffix = path.suffix.lower()
    if suffix in _POWERIO or suffix == ".json":
        return _load_powerio
    if suffix in _POWSYBL:
        return _load_powsybl
    if suffix == ".npz":
        return _load_native
    if suffix in _PICKLES:
        raise CaseError(
            f"{path} is a pickle: opening it could run any code. Save the network as JSON "
            "(pandapower.to_json) where it was made, and load that."
        )
    known = ", ".join(sorted(_POWERIO | _POWSYBL | {".json", ".npz"}))
    raise CaseError(f"{path} has the unknown suffix '{suffix}'. gridrl reads {known}.")


def _load_named(name: str) -> Case:
    from gridrl.io.pandapower import build_named, load_pandapower

    return load_pandapower(build_named(name), name=name)


def _load_simbench(code: str) -> Case:
    from gridrl.io.simbench import load_simbench

    return load_simbench(code)


def _load_pandapower_json(path: Path) -> Case:
    from gridrl.io.pandapower import load_pandapower
    from gridrl.io.pandapower_json import read_pandapower_json

    net, rows = read_pandapower_json(path)
    return load_pandapower(net, name=path.stem, source=str(path), report=tuple(rows))


def _load_native(path: Path) -> Case:
    from gridrl.io.native import load_native

    return load_native(path)


def _load_powerio(path: Path) -> Case:
    from gridrl.io.powerio import load_powerio

    return load_powerio(path)


def _load_powsybl(path: Path) -> Case:
    from gridrl.io.powsybl import load_powsybl

    return load_powsybl(path)
