"""What a contender of a benchmark is, and where those outside the package are found.

An adapter is a module ``benchmarks/peers/<name>.py`` with a function ``contender()``. It imports
its program when it is asked to prepare, so that a missing one is a row of the result.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gridrl.bench.problem import Problem
from gridrl.errors import CaseError
from gridrl.grid import Complexes

SAME = "same"  # model: solves the very equations that were posed
PEERS = "gridrl_peers"  # name under which the adapters are imported


class Refused(Exception):
    """A contender cannot take a problem; the message says why."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Algorithm:
    """One way in which a contender solves a problem."""

    name: str
    variant: str = ""  # only rows of one variant are compared: where the start differs, say
    most: int = 0  # states that it is given at most, where it is slow; 0: all


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepared:
    """A problem made ready: only ``run`` is timed."""

    run: Callable[[], object]
    # [B, n_substation + n_split] p.u. of the last run, NaN where it found none
    voltages: Callable[[], Complexes] | None = None
    # largest difference in p.u. to such voltages, for programs that do not give theirs
    difference: Callable[[Complexes], float] | None = None
    model: str = SAME
    note: str = ""
    threads: int = 1
    comparable: bool = False  # whether a ratio has a meaning although the model is another
    states: int = 0  # states of one run, where they are not those of the problem


class Contender(Protocol):
    """A program that takes part."""

    name: str

    def version(self) -> str:
        """Version of the program; ImportError where it is not installed."""

    def algorithms(self, problem: Problem) -> Sequence[Algorithm]:
        """What it offers for a problem; empty where the task is not its own."""

    def prepare(self, problem: Problem, algorithm: str) -> Prepared:
        """Translate a problem; `Refused` where it cannot be."""


def checkout() -> Path:
    """The repository's folder ``benchmarks``.

    Raises
    ------
    CaseError
        This is an installed copy without the repository around it.
    """
    for root in (Path(__file__).resolve().parents[2], Path.cwd()):
        folder = root / "benchmarks"
        if (folder / "suites").is_dir() and (folder / "peers").is_dir():
            return folder
    raise CaseError(
        "Suites and adapters of the benchmarks are part of the repository, not of the installed "
        "package. Clone it and run `gridrl bench` there."
    )


def peer_names() -> list[str]:
    """Adapters that the repository has."""
    folder = checkout() / "peers"
    return sorted(
        path.stem
        for path in folder.glob("*.py")
        if path.stem != "__init__" and "def contender(" in path.read_text(encoding="utf-8")
    )


def load_peer(name: str) -> Contender:
    """The contender of the adapter ``benchmarks/peers/<name>.py``."""
    made: Contender = peer_module(name).contender()
    return made


def peer_module(name: str) -> Any:
    """The module ``benchmarks/peers/<name>.py``.

    The folder becomes a package of a name of its own: ``benchmarks`` is a name that other
    distributions also put at the top level.
    """
    if PEERS not in sys.modules:
        folder = checkout() / "peers"
        spec = importlib.util.spec_from_file_location(
            PEERS, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules[PEERS] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{PEERS}.{name}")
