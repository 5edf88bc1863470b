"""The one place that decides how kernels are compiled, cached and announced.

Numba's file cache sees an edit only in the file of the function itself, not in a kernel that it
calls. So the cache folder's name carries a hash of all kernel sources: any edit to any of them
starts a fresh folder. The folder lies in the user's cache directory, because the installed
package may be read-only; where nothing is writeable, kernels are compiled in memory.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite.binding import get_host_cpu_features
from platformdirs import user_cache_dir

Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGE = Path(__file__).parent
_announce = True


def kernel_sources() -> list[Path]:
    """Every file whose text decides what the kernels compile to."""
    return sorted(
        [Path(__file__), _PACKAGE / "sparse" / "lanes.py", *_PACKAGE.rglob("kernels*.py")]
    )


@cache
def cache_folder() -> Path | None:
    """Folder of the compiled kernels, or None where no folder can be written."""
    sha = hashlib.sha256()
    for source in kernel_sources():
        sha.update(source.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or user_cache_dir("gridrl", appauthor=False)
    checked = "-boundscheck" if numba.config.BOUNDSCHECK else ""
    folder = Path(base) / "kernels" / (sha.hexdigest()[:16] + checked)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return None
    return folder


@cache
def lane_count() -> int:
    """States that one SIMD value holds: what fills two float64 registers of this processor.

    Measured on one with AVX-512: 16 lanes take 0.7 times the time of 8; with AVX2, 8 are best.
    ``GRIDRL_LANES`` overrules it (8 or 16).
    """
    given = os.environ.get("GRIDRL_LANES")
    if given in ("8", "16"):
        return int(given)
    features = numba.config.CPU_FEATURES or get_host_cpu_features().flatten()
    return 16 if "+avx512f" in features.split(",") else 8


def kernel(function: Function) -> Function:
    """Compile ``function`` with the project's settings: nogil, no Python, IEEE arithmetic."""
    return _compiled(function, inline=False)


def inlined(function: Function) -> Function:
    """A kernel that becomes part of its callers: passing arrays costs more than its work."""
    return _compiled(function, inline=True)


def _compiled(function: Function, inline: bool) -> Function:
    folder = cache_folder()
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder) if folder else before
    try:
        compiled = numba.njit(
            function,
            cache=folder is not None,
            error_model="numpy",
            nogil=True,
            forceinline=inline,
        )
    finally:
        numba.config.CACHE_DIR = before
    return compiled  # type: ignore[no-any-return]


def set_announcing(on: bool) -> None:
    """Whether first-time compilation is announced on standard error."""
    global _announce  # noqa: PLW0603 - a process-wide console setting
    _announce = on


def is_warm(what: str) -> bool:
    """Whether the kernels called ``what`` were compiled and cached before."""
    folder = cache_folder()
    return folder is not None and (folder / f"{what}.done").exists()


def announced(what: str) -> AbstractContextManager[None]:
    """Say that the kernels called ``what`` are being compiled if this CPU never ran them."""
    return _QUIET if what in _seen else _announcing(what)


@contextmanager
def _announcing(what: str) -> Iterator[None]:
    warm = is_warm(what)
    if not warm and _announce:
        print(
            f"gridrl: compiling the {what} kernels for this CPU, once; up to two minutes ...",
            file=sys.stderr,
            flush=True,
        )
    began = time.perf_counter()
    yield
    _seen.add(what)
    folder = cache_folder()
    if not warm:
        if folder is not None:
            (folder / f"{what}.done").touch()
        if _announce:
            print(
                f"gridrl: done in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True
            )


_seen: set[str] = set()
_QUIET = nullcontext()
